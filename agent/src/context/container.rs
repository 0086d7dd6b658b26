//! The containers of the host. The probes tell which tasks belong together and give each container a number; the
//! path of its cgroup says which runtime made it, and by which id people know it, or else the one that watches
//! it does. Both are known when its first event is: an event never waits for this.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shrike_common::{CgroupId, ContainerId, Event, Header, Membership, Pid};

use super::cgroup::Cgroups;
use super::cgroup_path::{self, CgroupPath, Qos, Runtime};
use super::conmon::Conmon;
use super::process::Processes;
use super::runtime::{Details, Directory, Id, Key, Record, Scope};

/// How many that are gone are remembered: the events of their last tasks may come later.
const ENDED: usize = 1024;

/// The most that are known; beyond, the events of new ones have the container's number only.
const CAPACITY: usize = 16_384;

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
    /// By what a runtime can be asked for it.
    pub(crate) key: Option<Key>,
    /// The name that people gave it, where that is known without a question.
    name: Option<Box<str>>,
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
    /// The number of each, by the path of its cgroup.
    numbers: HashMap<Box<[u8]>, ContainerId>,
    /// Those that a runtime is at work in, which have no number yet.
    entering: HashMap<CgroupId, Container>,
    /// Those whose cgroup is gone, the first one first.
    ended: VecDeque<ContainerId>,
    /// Where processes are asked for their cgroups in other hierarchies, if they are of this host.
    proc: Option<PathBuf>,
    refused: u64,
}

/// What an event has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// A container has come to be known, by a task that is in it.
    Known(ContainerId),
    /// The cgroup of one was removed.
    Gone(ContainerId),
}

impl Container {
    /// What the path of a cgroup says: the outermost container is the one that somebody outside has made, and
    /// those in it may call themselves anything.
    fn of_path(path: &[u8]) -> Option<Self> {
        let outer = CgroupPath::new(path).containers().next()?;
        Some(Self {
            runtime: outer.runtime,
            id: shown(outer.id),
            pod: outer.pod.map(|pod| Pod { uid: pod.uid.to_string().into(), qos: pod.qos }),
            cgroup: outer.cgroup.into(),
            key: Id::parse(outer.id).map(|id| Key { scope: Scope::of_cgroup(outer.cgroup), id }),
            name: None,
            record: None,
        })
    }

    /// One that the probes have told from the host, in a cgroup that no runtime is known to name so. The runtimes
    /// below the others, like runc, give it the container's id if nobody wants it otherwise; one of a user has
    /// none, but that of the session.
    fn unnamed(cgroup: CgroupId, path: &[u8]) -> Self {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let is_unit = UNITS.iter().any(|unit| name.ends_with(unit));
        let id = if name.is_empty() || is_unit {
            format!("cgroup-{}", cgroup.0).into()
        } else {
            shown(name)
        };
        let cgroup = path.into();
        Self {
            runtime: Runtime::Unknown,
            id,
            pod: None,
            cgroup,
            key: None,
            name: None,
            record: None,
        }
    }

    /// With what its conmon tells.
    fn watched(self, conmon: &Conmon<'_>) -> Self {
        let Conmon { pid, start, uid, id, name, bundle } = *conmon;
        let key = match self.key {
            // Its cgroup is another's: it is in a container that Podman did not make.
            Some(key) if key.id != id => return self,
            Some(key) => key,
            None => Key { scope: Scope::of_user(uid), id },
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

    /// What its runtime tells of it, as far as that is known.
    pub(crate) fn details(&self, runtimes: Option<&Directory>) -> Option<Arc<Details>> {
        let told = runtimes.and_then(|runtimes| runtimes.get(&self.key?));
        told.or_else(|| self.record.as_ref()?.details().cloned())
    }

    /// Its id as it is mostly written.
    pub(crate) fn short_id(&self) -> &str {
        short(&self.id)
    }
}

impl Containers {
    /// Those of this host, whose unified hierarchy is at `root`; events tell of them one by one. Where that has no
    /// name for one, its first process is asked in `proc`.
    pub(crate) fn of_host(root: &Path, proc: &Path) -> io::Result<Self> {
        let cgroups = Cgroups::scan(root)?;
        Ok(Self { cgroups, proc: Some(proc.to_owned()), ..Self::default() })
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
            self.entering.remove(&removed.removed);
            let number = self.numbers.remove(removed.path.bytes)?;
            self.end(number);
            return Some(Change::Gone(number));
        }
        let number = match event {
            Event::Breach(breach) => breach.container,
            _ => header.container,
        };
        if number == ContainerId(0) {
            self.enters(header);
            return None;
        }
        self.know(number, header, processes).then_some(Change::Known(number))
    }

    /// The container of a task with this header, or that a runtime is about to start there.
    pub(crate) fn of(&self, header: &Header) -> Option<&Container> {
        match header.container {
            ContainerId(0) => self.entering.get(&header.cgroup),
            number => self.table.get(&number),
        }
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
            if let Some(&number) = self.numbers.get(path) {
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
        self.refused + self.cgroups.refused()
    }

    /// Its first event is that of its first program, which is in its own cgroup or in one below. Returns whether
    /// it was not known before.
    fn know(&mut self, number: ContainerId, header: &Header, processes: &Processes) -> bool {
        if self.table.contains_key(&number) {
            return false;
        }
        if self.table.len() >= CAPACITY {
            self.forget_empty(processes);
        }
        if self.table.len() >= CAPACITY {
            self.refused += 1;
            return false;
        }
        let path = self.cgroups.path(header.cgroup).unwrap_or_default();
        let mut container = Container::of_path(path)
            .or_else(|| self.ask(header.tgid))
            .unwrap_or_else(|| Container::unnamed(header.cgroup, path));
        if matches!(container.runtime, Runtime::Podman | Runtime::Unknown)
            && let Some(conmon) = Conmon::above(processes, header.tgid, header.start)
        {
            container = container.watched(&conmon);
        }
        self.entering.retain(|_, entering| entering.cgroup != container.cgroup);
        self.numbers.insert(container.cgroup.clone(), number);
        self.table.insert(number, container);
        true
    }

    fn enters(&mut self, header: &Header) {
        let is_entering = Membership::from_code(header.membership) == Some(Membership::Entering);
        if is_entering
            && !self.entering.contains_key(&header.cgroup)
            && self.entering.len() < CAPACITY
            && let Some(path) = self.cgroups.path(header.cgroup)
            && let Some(container) = Container::of_path(path)
        {
            self.entering.insert(header.cgroup, container);
        }
    }

    /// What the cgroups of a process in the hierarchies of version 1 say, where containers have theirs on some
    /// hosts. It may have ended.
    fn ask(&self, pid: Pid) -> Option<Container> {
        let path = self.proc.as_ref()?.join(pid.0.to_string()).join("cgroup");
        let text = fs::read(path).ok()?;
        text.split(|&byte| byte == b'\n').find_map(|line| {
            let path = line.splitn(3, |&byte| byte == b':').nth(2)?;
            Container::of_path(path)
        })
    }

    /// Forgets those without a process: where several have one cgroup, its end is not theirs.
    fn forget_empty(&mut self, processes: &Processes) {
        let full: HashSet<_> =
            processes.alive().map(|(_, process)| process.place.container).collect();
        self.table.retain(|number, _| full.contains(number));
        self.numbers.retain(|_, number| full.contains(number));
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

/// The innermost container that the path of a cgroup names below another one. It was made in there, by a
/// runtime or by whoever wants to look like one.
pub(crate) fn nested(path: &[u8]) -> Option<cgroup_path::Container<'_>> {
    CgroupPath::new(path).containers().skip(1).last()
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
    use shrike_common::wire::Text;
    use shrike_common::{CgroupMkdir, CgroupRmdir, Exec, Heartbeat, StartTime, Uid};

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn mkdir(containers: &mut Containers, id: u64, path: &str) {
        let path = Text::new(path.as_bytes(), 0);
        let event = CgroupMkdir { made: CgroupId(id), hierarchy: 0, level: 1, path };
        containers.apply(&Header::default(), &Event::CgroupMkdir(event), &Processes::default());
    }

    fn rmdir(containers: &mut Containers, id: u64, path: &str) {
        let path = Text::new(path.as_bytes(), 0);
        let event = CgroupRmdir { removed: CgroupId(id), hierarchy: 0, level: 1, path };
        containers.apply(&Header::default(), &Event::CgroupRmdir(event), &Processes::default());
    }

    fn act(containers: &mut Containers, header: &Header) {
        let event = Event::Heartbeat(Heartbeat { backend: 0, reserved: 0 });
        containers.apply(header, &event, &Processes::default());
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
        let runtime = header(0, 7, Membership::Entering);
        act(&mut containers, &runtime);
        assert_eq!(containers.of(&runtime).unwrap().short_id(), "0123456789ab");
        let own = header(1, 7, Membership::Member);
        act(&mut containers, &own);
        // It has moved to the root.
        let escaped = header(1, 1, Membership::Member);
        for header in [&own, &escaped] {
            let container = containers.of(header).unwrap();
            assert_eq!((&*container.id, container.runtime), (ID, Runtime::Docker));
        }
        assert!(containers.of(&header(0, 7, Membership::None)).is_none(), "that is the host's");
        rmdir(&mut containers, 7, &path);
        assert!(containers.of(&own).is_some(), "its last events may come later");
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
        assert_eq!(&*containers.of(&inner).unwrap().id, ID);
        assert_eq!(nested(path.as_bytes()).unwrap().id, other.as_bytes());
        assert!(nested(format!("/docker/{ID}/init.scope").as_bytes()).is_none());
    }

    #[test]
    fn one_whose_runtime_is_not_known_has_its_cgroups_name_or_number() {
        let session = "/user.slice/user-1000.slice/session-3.scope";
        for (path, id) in [("/own", "own"), (session, "cgroup-9"), ("/", "cgroup-9")] {
            let mut containers = Containers::default();
            mkdir(&mut containers, 9, path);
            let task = header(3, 9, Membership::Member);
            act(&mut containers, &task);
            let container = containers.of(&task).unwrap();
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
            let container = containers.of(&own).unwrap();
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
        let event = Event::Heartbeat(Heartbeat { backend: 0, reserved: 0 });
        let task = |number: u32| {
            let task = header(number.into(), 9, Membership::Member);
            Header { tgid: Pid(number), start: start(Pid(number)), ..task }
        };
        exec(&mut processes, &task(1), "/bin/sh", &["sh"]);
        for number in 1..=u32::try_from(CAPACITY).unwrap() + 1 {
            containers.apply(&task(number), &event, &processes);
        }
        assert_eq!((containers.len(), containers.refused()), (2, 0));
        assert!(containers.of(&task(1)).is_some());
    }

    #[test]
    fn those_that_are_gone_are_forgotten_in_time() {
        let mut containers = Containers::default();
        for number in 1..=u64::try_from(2 * ENDED).unwrap() {
            let path = format!("/own-{number}");
            mkdir(&mut containers, number, &path);
            act(&mut containers, &header(number, number, Membership::Member));
            rmdir(&mut containers, number, &path);
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
        let task = Header { tgid: Pid(5), ..header(4, 1, Membership::Member) };
        act(&mut containers, &task);
        assert_eq!(&*containers.of(&task).unwrap().id, ID);
    }
}
