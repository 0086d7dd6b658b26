//! The containers of the host. The probes tell which tasks belong together and give each container a number; the
//! path of its cgroup says which runtime made it, and by which id people know it, or else the one that watches
//! it does. Both are known when its first event is: an event never waits for this.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use shrike_common::{CgroupId, ContainerId, Event, Header, Membership, StartTime};

use super::cgroup::{self, Cgroups, Hierarchy, UNIFIED};
use super::cgroup_path::{self, CgroupPath, Qos, Runtime};
use super::conmon::Conmon;
use super::mountinfo;
use super::process::{Folder, Processes};
use super::runtime::{Details, Directory, Family, Id, Key, Record, Scope};
use crate::detect::HOST;

/// How many that are gone are remembered: the events of their last tasks may come later.
const ENDED: usize = 1024;

/// The most that are known; beyond, the events of new ones have the container's number only.
const CAPACITY: usize = 16_384;

/// How long it is until it is looked again for those that are over, in nanoseconds.
const SWEEP: u64 = 1_000_000_000;

/// How long the ids are that people write: the first digits of a digest.
const SHORT: usize = 12;

/// How systemd calls the cgroups that it makes.
const UNITS: [&[u8]; 3] = [b".scope", b".service", b".slice"];

/// A container.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    /// Who made it.
    pub(crate) runtime: Runtime,
    /// Its id or name there. One that no runtime has named is known by its cgroup.
    pub(crate) id: Box<str>,
    /// The pod of Kubernetes that it is in.
    pub(crate) pod: Option<Pod>,
    /// The path of its own cgroup.
    pub(crate) cgroup: Box<[u8]>,
    /// The hierarchy of that.
    hierarchy: Hierarchy,
    /// By what a runtime can be asked for it.
    pub(crate) key: Option<Key>,
    /// The name that people gave it, where that is known without a question.
    name: Option<Box<str>>,
    /// When it came to be known here.
    pub(crate) since: Instant,
    /// When its first process has started, of those that led to the one by which it came to be known.
    pub(crate) started: Option<StartTime>,
    /// What its runtime has written down of it.
    pub(crate) record: Option<Arc<Record>>,
}

/// A pod, as the cgroups of a kubelet name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pod {
    /// Which one.
    pub(crate) uid: Box<str>,
    /// Its class of service.
    pub(crate) qos: Qos,
}

/// The containers of the host.
#[derive(Debug, Default)]
pub(crate) struct Containers {
    cgroups: Cgroups,
    table: HashMap<ContainerId, Container>,
    /// Those in each cgroup, by its path, with its hierarchy.
    numbers: HashMap<Box<[u8]>, Vec<(Hierarchy, ContainerId)>>,
    /// Where those are at home that were there before the agent: their tasks may be elsewhere by now.
    homes: HashMap<ContainerId, CgroupId>,
    /// Those whose cgroup is gone, the first one first.
    ended: VecDeque<ContainerId>,
    /// Where processes are asked for their cgroups in other hierarchies, if they are of this host.
    proc: Option<PathBuf>,
    /// Those that found no room.
    refused: HashSet<ContainerId>,
    /// When it was last looked for those without a process, in nanoseconds of boot time.
    swept: u64,
}

/// What an event has changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// A container has come to be known.
    Known(ContainerId),
    /// The cgroup of these was removed.
    Gone(Vec<ContainerId>),
}

impl Container {
    /// What the path of a cgroup says: the outermost container is the one that somebody outside has made, and
    /// those in it may call themselves anything.
    fn of_path(path: &[u8]) -> Option<Self> {
        let outer = CgroupPath::new(path).containers().next()?;
        // One may be called like that, and is not to be taken for it.
        let id = match shown(outer.id) {
            id if *id == *HOST => format!("{}:{id}", outer.runtime.name()).into(),
            id => id,
        };
        Some(Self {
            runtime: outer.runtime,
            id,
            pod: outer.pod.map(|pod| Pod { uid: pod.uid.to_string().into(), qos: pod.qos }),
            cgroup: outer.cgroup.into(),
            hierarchy: UNIFIED,
            key: Id::parse(outer.id).map(|id| Key { scope: Scope::of_cgroup(outer.cgroup), id }),
            name: None,
            since: Instant::now(),
            started: None,
            record: None,
        })
    }

    /// One that the probes have told from the host, in a cgroup that no runtime is known to name so. The runtimes
    /// below the others, like runc, give it the container's id if nobody wants it otherwise; one of a user has
    /// none, but that of the session.
    fn unnamed(cgroup: CgroupId, path: &[u8]) -> Self {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let is_unit = UNITS.iter().any(|unit| name.ends_with(unit));
        let id = if name.is_empty() || is_unit || *name == *HOST.as_bytes() {
            by_number(cgroup).into()
        } else {
            shown(name)
        };
        Self {
            runtime: Runtime::Unknown,
            id,
            pod: None,
            cgroup: path.into(),
            hierarchy: UNIFIED,
            key: None,
            name: None,
            since: Instant::now(),
            started: None,
            record: None,
        }
    }

    /// With what its conmon tells.
    fn watched(self, conmon: &Conmon<'_>) -> Self {
        let Conmon { pid, start, uid, id, name, bundle } = *conmon;
        let key = match self.key {
            // Its cgroup is another's: it is in a container that Podman did not make.
            Some(key) if key.id != id => return self,
            _ => Key { scope: Scope::of_user(uid), id },
        };
        let bundle = Path::new(OsStr::from_bytes(bundle));
        Self {
            runtime: Runtime::Podman,
            id: id.to_string().into(),
            key: Some(key),
            name: Some(String::from_utf8_lossy(name).into()),
            record: Some(Arc::new(Record::new(key, (pid, start), bundle))),
            ..self
        }
    }

    /// Its name, where nobody has to be asked for that.
    pub(crate) fn name(&self) -> Option<&str> {
        // These have no other id.
        let is_name = matches!(
            self.runtime,
            Runtime::LibvirtLxc | Runtime::Lxc | Runtime::Shrike | Runtime::SystemdNspawn
        );
        self.name.as_deref().or_else(|| is_name.then_some(&*self.id))
    }

    /// Whether what is told of its pod can be believed: the labels that say so to Docker and Podman may be the
    /// image's.
    pub(crate) fn has_pod(&self, details: &Details) -> bool {
        self.pod.is_some() || matches!(details.family, Family::Containerd | Family::CriO)
    }

    /// What its runtime tells of it, as far as that is known.
    pub(crate) fn details(&self, runtimes: Option<&Directory>) -> Option<Arc<Details>> {
        let told = runtimes.and_then(|runtimes| runtimes.get(&self.key?));
        told.or_else(|| self.record.as_ref()?.details().cloned())
    }

    /// Its id as it is mostly written.
    pub(crate) fn short_id(&self) -> &str {
        short(&self.id)
    }

    /// The innermost container that the path of a cgroup names below its own. It was made in there, by a
    /// runtime or by whoever wants to look like one.
    pub(crate) fn nested<'p>(&self, path: &'p [u8]) -> Option<cgroup_path::Container<'p>> {
        mountinfo::below(path, &self.cgroup)?;
        let inner = CgroupPath::new(path).containers().last()?;
        (*inner.cgroup != *self.cgroup).then_some(inner)
    }
}

impl Containers {
    /// Those of this host, whose unified hierarchy is at `root`; events tell of them one by one. Those that were
    /// there before are at home in the cgroups of `homes`. Where that hierarchy has no name for one, its first
    /// process is asked in `proc`.
    pub(crate) fn of_host(
        root: &Path,
        proc: &Path,
        homes: &[(CgroupId, ContainerId)],
    ) -> io::Result<Self> {
        let cgroups = Cgroups::scan(root)?;
        let mut shortest: HashMap<ContainerId, CgroupId> = HashMap::new();
        let length = |id| cgroups.path(id).map_or(usize::MAX, <[u8]>::len);
        for &(cgroup, container) in homes {
            let home = shortest.entry(container).or_insert(cgroup);
            // It may have others below.
            if length(cgroup) < length(*home) {
                *home = cgroup;
            }
        }
        Ok(Self { cgroups, homes: shortest, proc: Some(proc.to_owned()), ..Self::default() })
    }

    /// Follows an event, after the processes did: afterwards the container of its task is known.
    pub(crate) fn apply(
        &mut self,
        header: &Header,
        event: &Event<'_>,
        processes: &Processes,
    ) -> Option<Change> {
        self.cgroups.apply(event);
        if let Event::CgroupRmdir(removed) = event {
            return self.removed(removed.hierarchy, removed.path.bytes);
        }
        let number = container_of(header, event);
        let witness = is_at_home(header, event).then_some(header);
        // One that is known by its cgroup only has more to tell by a process.
        let is_known = |known: &Container| known.started.is_some() || witness.is_none();
        if number == ContainerId(0)
            || self.table.get(&number).is_some_and(is_known)
            || !self.has_room(number, header.time, processes)
        {
            return None;
        }
        let home = self.homes.get(&number).copied();
        // Whoever was caught outside says nothing about where the container is.
        let cgroup = home.or(witness.map(|header| header.cgroup))?;
        self.know(number, cgroup, witness, processes);
        Some(Change::Known(number))
    }

    /// The container that a task with this header acts in, or for.
    pub(crate) fn of(&self, header: &Header, event: &Event<'_>) -> Option<&Container> {
        self.table.get(&container_of(header, event))
    }

    /// Another look at the cgroups begins.
    pub(crate) fn begin(&mut self) {
        self.cgroups.begin();
    }

    /// Takes over the cgroups of another look.
    pub(crate) fn merge(&mut self, cgroups: Cgroups) {
        self.cgroups.merge(cgroups);
    }

    /// The path of a cgroup of the unified hierarchy.
    pub(crate) fn cgroup(&self, id: CgroupId) -> Option<&[u8]> {
        self.cgroups.path(id)
    }

    /// The container with this number.
    pub(crate) fn get(&self, number: ContainerId) -> Option<&Container> {
        self.table.get(&number)
    }

    /// The container that has the cgroup with this path, or one above it.
    pub(crate) fn at(&self, path: &[u8]) -> Option<ContainerId> {
        let mut path = path;
        while !path.is_empty() {
            if let Some(&(_, number)) = self.numbers.get(path).and_then(|numbers| numbers.last()) {
                return Some(number);
            }
            path = path.get(..path.iter().rposition(|&byte| byte == b'/')?)?;
        }
        None
    }

    /// How many are known, those that are gone included.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many containers, or cgroups, found no room.
    pub(crate) fn refused(&self) -> u64 {
        let containers = u64::try_from(self.refused.len()).unwrap_or(u64::MAX);
        containers.saturating_add(self.cgroups.refused())
    }

    /// Whether there is room for one more, or for this one. If not, it is looked for those that are over every
    /// now and then: to look takes time.
    fn has_room(&mut self, number: ContainerId, now: u64, processes: &Processes) -> bool {
        if self.table.len() < CAPACITY || self.table.contains_key(&number) {
            return true;
        }
        if now >= self.swept.saturating_add(SWEEP) || self.swept == 0 {
            self.swept = now.max(1);
            self.forget_empty(processes);
        }
        let has_room = self.table.len() < CAPACITY;
        if !has_room && self.refused.len() < CAPACITY {
            self.refused.insert(number);
        }
        has_room
    }

    /// One comes to be known, by its cgroup and a process that is in it.
    fn know(
        &mut self,
        number: ContainerId,
        cgroup: CgroupId,
        witness: Option<&Header>,
        processes: &Processes,
    ) {
        let path = self.cgroups.path(cgroup).unwrap_or_default();
        let mut container = Container::of_path(path)
            .or_else(|| self.ask(witness?))
            .unwrap_or_else(|| Container::unnamed(cgroup, path));
        container.started = witness.map(|witness| started(witness, processes));
        if matches!(container.runtime, Runtime::Podman | Runtime::Unknown)
            && let Some(witness) = witness
            && let Some(conmon) = Conmon::above(processes, witness.tgid, witness.start)
        {
            container = container.watched(&conmon);
        }
        let neighbours = self.numbers.entry(container.cgroup.clone()).or_default();
        if !neighbours.contains(&(container.hierarchy, number)) {
            neighbours.push((container.hierarchy, number));
        }
        self.table.insert(number, container);
    }

    /// What the cgroups of a process in the hierarchies of version 1 say, where containers have theirs on some
    /// hosts. It may have ended.
    fn ask(&self, witness: &Header) -> Option<Container> {
        let folder = Folder::of(self.proc.as_ref()?, witness.tgid, witness.start)?;
        let text = folder.short("cgroup").ok()?;
        cgroup::lines(&text).find_map(|line| {
            let container = Container::of_path(line.path)?;
            Some(Container { hierarchy: line.hierarchy, ..container })
        })
    }

    /// A cgroup was removed, which nobody was in any more.
    fn removed(&mut self, hierarchy: Hierarchy, path: &[u8]) -> Option<Change> {
        let neighbours = self.numbers.get_mut(path)?;
        let gone: Vec<_> = neighbours
            .extract_if(.., |(own, _)| *own == hierarchy)
            .map(|(_, number)| number)
            .collect();
        if neighbours.is_empty() {
            self.numbers.remove(path);
        }
        for &number in &gone {
            self.end(number);
        }
        (!gone.is_empty()).then_some(Change::Gone(gone))
    }

    /// Forgets those without a process: where several have one cgroup, its end is not theirs.
    fn forget_empty(&mut self, processes: &Processes) {
        let full: HashSet<_> =
            processes.alive().map(|(_, process)| process.place.container).collect();
        self.table.retain(|number, _| full.contains(number));
        self.numbers.retain(|_, numbers| {
            numbers.retain(|(_, number)| full.contains(number));
            !numbers.is_empty()
        });
        self.ended.retain(|number| full.contains(number));
    }

    fn end(&mut self, number: ContainerId) {
        self.ended.push_back(number);
        if self.ended.len() > ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.table.remove(&oldest);
        }
    }
}

/// The container that an event is about: that of the task, as a rule, but the kernel executes what a container
/// set by a task of its own.
pub(crate) fn container_of(header: &Header, event: &Event<'_>) -> ContainerId {
    match event {
        Event::Breach(breach) => breach.container,
        _ => header.container,
    }
}

/// Whether a task is where its container's program was started, or has come since, by all that is known.
pub(crate) fn is_at_home(header: &Header, event: &Event<'_>) -> bool {
    let is_member = Membership::from_code(header.membership) == Some(Membership::Member);
    is_member && !matches!(event, Event::Breach(_))
}

/// When the first process of a container has started, of those that led to one in it: they have its mounts.
fn started(witness: &Header, processes: &Processes) -> StartTime {
    let lineage = processes.lineage(witness.tgid, witness.start);
    let own = lineage.take_while(|(_, process)| process.place.ns.mnt == witness.ns.mnt);
    own.last().map_or(witness.start, |(_, first)| first.start)
}

/// What one is called of which no more is known than a cgroup.
pub(crate) fn by_number(cgroup: CgroupId) -> String {
    format!("cgroup-{}", cgroup.0)
}

/// An id as it is mostly written, of a path.
pub(crate) fn shortened(id: &[u8]) -> String {
    short(&shown(id)).to_owned()
}

/// An id, with what systemd escapes as it was.
pub(crate) fn shown(id: &[u8]) -> Box<str> {
    String::from_utf8_lossy(id).replace("\\x2d", "-").into()
}

/// The first digits of a digest; other ids whole.
pub(crate) fn short(id: &str) -> &str {
    const DIGEST: usize = 64;
    let is_digest = id.len() == DIGEST && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digest { id.get(..SHORT).unwrap_or(id) } else { id }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use shrike_common::wire::Text;
    use shrike_common::{Breach, CgroupMkdir, CgroupRmdir, Exec, Heartbeat, Pid, Uid};

    use super::super::process;
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn mkdir(containers: &mut Containers, id: u64, path: &str) {
        let path = Text::new(path.as_bytes(), 0);
        let event = CgroupMkdir { made: CgroupId(id), hierarchy: 0, level: 1, path };
        containers.apply(&Header::default(), &Event::CgroupMkdir(event), &Processes::default());
    }

    fn rmdir(containers: &mut Containers, hierarchy: Hierarchy, id: u64, path: &str) {
        let path = Text::new(path.as_bytes(), 0);
        let event = CgroupRmdir { removed: CgroupId(id), hierarchy, level: 1, path };
        containers.apply(&Header::default(), &Event::CgroupRmdir(event), &Processes::default());
    }

    const ACT: Event<'_> = Event::Heartbeat(Heartbeat { backend: 0, reserved: 0 });

    fn act(containers: &mut Containers, header: &Header) {
        containers.apply(header, &ACT, &Processes::default());
    }

    fn start(pid: Pid) -> StartTime {
        StartTime(u64::from(pid.0) * 1_000_000_001)
    }

    fn exec(processes: &mut Processes, header: &Header, path: &str, words: &[&str]) {
        let args = words.join("\0") + "\0";
        let (path, args) = (Text::new(path.as_bytes(), 0), Text::new(args.as_bytes(), 0));
        let exec = Exec { vpid: header.tgid, path, args, ..Exec::default() };
        processes.apply(header, &Event::Exec(exec));
    }

    fn header(container: u64, cgroup: u64, membership: Membership) -> Header {
        Header {
            container: ContainerId(container),
            cgroup: CgroupId(cgroup),
            membership: membership as u32,
            ..Header::default()
        }
    }

    #[test]
    fn a_container_keeps_its_name_wherever_its_tasks_go() {
        let mut containers = Containers::default();
        let path = format!("/system.slice/docker-{ID}.scope");
        mkdir(&mut containers, 7, &path);
        let own = header(1, 7, Membership::Member);
        // A runtime at work says where itself is, not more.
        act(&mut containers, &header(1, 7, Membership::Entering));
        assert!(containers.of(&own, &ACT).is_none());
        act(&mut containers, &own);
        assert_eq!(containers.of(&own, &ACT).unwrap().short_id(), "0123456789ab");
        // It has moved to the root.
        let escaped = header(1, 1, Membership::Member);
        for header in [&own, &escaped] {
            let container = containers.of(header, &ACT).unwrap();
            assert_eq!((&*container.id, container.runtime), (ID, Runtime::Docker));
        }
        assert!(
            containers.of(&header(0, 7, Membership::None), &ACT).is_none(),
            "that is the host's"
        );
        // Another hierarchy may have a cgroup by that name.
        rmdir(&mut containers, 4, 7, &path);
        assert_eq!(containers.at(path.as_bytes()), Some(ContainerId(1)));
        rmdir(&mut containers, UNIFIED, 7, &path);
        assert!(containers.at(path.as_bytes()).is_none());
        assert!(containers.of(&own, &ACT).is_some(), "its last events may come later");
    }

    #[test]
    fn who_was_caught_outside_does_not_say_where_its_container_is() {
        let mut containers = Containers::default();
        let [own, other] = [ID.to_owned(), ID.replace('0', "f")].map(|id| format!("/docker/{id}"));
        mkdir(&mut containers, 7, &own);
        mkdir(&mut containers, 8, &other);
        mkdir(&mut containers, 9, &format!("{own}/below"));
        let breach = Event::Breach(Breach { container: ContainerId(3), ..Breach::default() });
        let escaped = header(3, 8, Membership::Member);
        let caught = |containers: &mut Containers| {
            containers.apply(&escaped, &breach, &Processes::default());
            containers.of(&escaped, &breach).map(|container| container.id.clone())
        };
        assert_eq!(caught(&mut containers), None);
        // The tables of a former agent tell.
        containers.homes = HashMap::from([(ContainerId(3), CgroupId(7))]);
        assert_eq!(caught(&mut containers).as_deref(), Some(ID));
        assert_eq!(containers.of(&escaped, &breach).unwrap().started, None);
        // The rest is known by the first that acts at home.
        let own = Header { tgid: Pid(5), start: start(Pid(5)), ..header(3, 9, Membership::Member) };
        let known = containers.apply(&own, &ACT, &Processes::default());
        assert_eq!(known, Some(Change::Known(ContainerId(3))));
        assert_eq!(containers.of(&own, &ACT).unwrap().started, Some(own.start));
        assert_eq!(containers.apply(&own, &ACT, &Processes::default()), None);
    }

    #[test]
    fn the_shortest_of_its_cgroups_is_a_containers_home() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("docker").join(ID).join("below");
        fs::create_dir_all(&path).unwrap();
        let id = |path: &Path| {
            CgroupId(std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap()))
        };
        let [below, own] = [id(&path), id(path.parent().unwrap())];
        let homes = [(below, ContainerId(3)), (own, ContainerId(3)), (CgroupId(0), ContainerId(3))];
        let containers = Containers::of_host(root.path(), Path::new("/proc"), &homes).unwrap();
        assert_eq!(containers.homes, HashMap::from([(ContainerId(3), own)]));
    }

    #[test]
    fn none_is_called_as_the_host() {
        for (path, expected) in
            [("/lxc.payload.host", "lxc:host"), ("/host", "cgroup-7"), ("/a/hosts", "hosts")]
        {
            let mut containers = Containers::default();
            mkdir(&mut containers, 7, path);
            let task = header(3, 7, Membership::Member);
            act(&mut containers, &task);
            assert_eq!(containers.of(&task, &ACT).unwrap().short_id(), expected, "{path}");
        }
    }

    #[test]
    fn a_cgroup_is_of_the_container_above() {
        let mut containers = Containers::default();
        mkdir(&mut containers, 7, "/own");
        act(&mut containers, &header(3, 7, Membership::Member));
        for path in ["/own", "/own/a/b"] {
            assert_eq!(containers.at(path.as_bytes()), Some(ContainerId(3)), "{path}");
        }
        for path in ["", "/", "/other", "/ow", "/owner", "own"] {
            assert_eq!(containers.at(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    fn what_calls_itself_a_container_in_one_is_nested() {
        let other = ID.replace('0', "f");
        let path = format!("/docker/{ID}/docker/{other}");
        let mut containers = Containers::default();
        mkdir(&mut containers, 8, &path);
        let inner = header(2, 8, Membership::Member);
        act(&mut containers, &inner);
        let outer = containers.of(&inner, &ACT).unwrap();
        assert_eq!(&*outer.id, ID);
        assert_eq!(outer.nested(path.as_bytes()).unwrap().id, other.as_bytes());
        // Where its tasks are that have left it, nothing is within it.
        let elsewhere = format!("/docker/{other}/docker/{ID}");
        for path in [format!("/docker/{ID}/init.scope"), format!("/docker/{ID}"), elsewhere] {
            assert!(outer.nested(path.as_bytes()).is_none(), "{path}");
        }
    }

    #[test]
    fn one_whose_runtime_is_not_known_has_its_cgroups_name_or_number() {
        let session = "/user.slice/user-1000.slice/session-3.scope";
        for (path, id) in [("/own", "own"), (session, "cgroup-9"), ("/", "cgroup-9")] {
            let mut containers = Containers::default();
            mkdir(&mut containers, 9, path);
            let task = header(3, 9, Membership::Member);
            act(&mut containers, &task);
            let container = containers.of(&task, &ACT).unwrap();
            assert_eq!((container.short_id(), container.runtime), (id, Runtime::Unknown));
        }
    }

    /// A user's Podman without a systemd: all containers are in the cgroup of the session.
    #[test]
    fn one_without_a_cgroup_of_its_own_is_told_by_its_conmon() {
        let session = "/user.slice/user-1000.slice/session-3.scope";
        let (mut containers, mut processes) = (Containers::default(), Processes::default());
        mkdir(&mut containers, 9, session);
        let mut ids = [ID.to_owned(), ID.replace('0', "f")];
        for (number, id) in (1..).zip(&ids) {
            let [conmon, first] = [10, 20].map(|base| Pid(base + number));
            let bundle = format!("/home/u/c/overlay-containers/{id}/userdata");
            let name = format!("web-{number}");
            let words = ["conmon", "-c", id, "-b", &bundle, "-n", &name, "--exit-dir", "/x"];
            let of_host = Header {
                tgid: conmon,
                euid: Uid(1000),
                start: start(conmon),
                ..header(0, 9, Membership::None)
            };
            exec(&mut processes, &of_host, "/usr/bin/conmon", &words);
            let own = header(number.into(), 9, Membership::Member);
            let own = Header {
                tgid: first,
                ppid: conmon,
                start: start(first),
                time: start(first).0,
                ..own
            };
            exec(&mut processes, &own, "/bin/sh", &["sh", "-n", "other"]);
            let event = Event::Heartbeat(Heartbeat { backend: 0, reserved: 0 });
            assert_eq!(
                containers.apply(&own, &event, &processes),
                Some(Change::Known(own.container))
            );
            let container = containers.of(&own, &ACT).unwrap();
            assert_eq!((&*container.id, container.runtime), (&**id, Runtime::Podman));
            assert_eq!(container.name(), Some(&*name));
            assert_eq!(container.key.unwrap().scope, Scope::User(1000));
        }
        // Its cgroup says that it is another's.
        ids.swap(0, 1);
        let container =
            Container::of_path(format!("/machine.slice/libpod-{ID}.scope").as_bytes()).unwrap();
        let conmon = |id: &str| Conmon {
            pid: Pid(1),
            start: StartTime(1),
            uid: Uid(0),
            id: Id::parse(id.as_bytes()).unwrap(),
            name: b"n",
            bundle: b"/b",
        };
        let [other, own] = ids.map(|id| container.clone().watched(&conmon(&id)));
        assert_eq!((other.name(), own.name()), (None, Some("n")));
    }

    #[test]
    fn there_is_room_again_when_their_processes_have_ended() {
        let (mut containers, mut processes) = (Containers::default(), Processes::default());
        mkdir(&mut containers, 9, "/session-3.scope");
        let task = |number: u32| {
            let task = header(number.into(), 9, Membership::Member);
            Header { tgid: Pid(number), start: start(Pid(number)), ..task }
        };
        exec(&mut processes, &task(1), "/bin/sh", &["sh"]);
        for number in 1..=u32::try_from(CAPACITY).unwrap() + 1 {
            containers.apply(&task(number), &ACT, &processes);
        }
        assert_eq!((containers.len(), containers.refused()), (2, 0));
        assert!(containers.of(&task(1), &ACT).is_some());
    }

    #[test]
    fn those_that_are_gone_are_forgotten_in_time() {
        let mut containers = Containers::default();
        for number in 1..=u64::try_from(2 * ENDED).unwrap() {
            let path = format!("/own-{number}");
            mkdir(&mut containers, number, &path);
            act(&mut containers, &header(number, number, Membership::Member));
            rmdir(&mut containers, UNIFIED, number, &path);
        }
        assert_eq!(containers.len(), ENDED);
    }

    #[test]
    fn other_hierarchies_are_asked_where_the_unified_one_has_no_name() {
        let proc = tempfile::tempdir().unwrap();
        fs::create_dir(proc.path().join("5")).unwrap();
        let text = format!("3:memory:/docker/{ID}\n0::/\n");
        fs::write(proc.path().join("5/cgroup"), text).unwrap();
        let mut containers =
            Containers { proc: Some(proc.path().to_owned()), ..Containers::default() };
        fs::write(proc.path().join("5/stat"), fs::read("/proc/self/stat").unwrap()).unwrap();
        let (_, start) = process::own().unwrap();
        let task = Header { tgid: Pid(5), start, ..header(4, 1, Membership::Member) };
        act(&mut containers, &task);
        assert_eq!(&*containers.of(&task, &ACT).unwrap().id, ID);
    }
}
