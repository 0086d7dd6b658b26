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

use shrike_common::{CgroupId, ContainerId, Event, Header, Membership, NsId, StartTime};

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
    /// The mount namespace of the process by which it came to be known; 0 if that is not known.
    mnt: NsId,
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

/// What an event, or another look, has changed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Change {
    /// It has come to be known.
    pub(crate) known: Option<ContainerId>,
    /// Their cgroup was removed.
    pub(crate) gone: Vec<ContainerId>,
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
            mnt: NsId(0),
            record: None,
        })
    }

    /// One that the probes have told from the host, in a cgroup that no runtime is known to name so. The runtimes
    /// below the others, like runc, give it the container's id if nobody wants it otherwise; one of a user has
    /// none, but that of the session.
    fn unnamed(cgroup: CgroupId, path: &[u8]) -> Self {
        let name = own_name(path).filter(|name| **name != *HOST.as_bytes());
        let id = name.map_or_else(|| by_number(cgroup).into(), shown);
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
            mnt: NsId(0),
            record: None,
        }
    }

    /// With what its conmon tells.
    fn watched(self, conmon: &Conmon<'_>) -> Self {
        let Conmon { pid, start, uid, id, name, bundle } = *conmon;
        let key = Key { scope: Scope::of_user(uid), id };
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

    /// Its key, where nothing else tells it from others in its cgroup: that is not its own.
    pub(crate) fn only_key(&self) -> Option<Key> {
        self.key.filter(|_| CgroupPath::new(&self.cgroup).containers().next().is_none())
    }

    /// Whether its cgroup is its own, by all that is known.
    fn has_own_cgroup(&self) -> bool {
        self.only_key().is_none()
            && (self.runtime != Runtime::Unknown || own_name(&self.cgroup).is_some())
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
    ) -> Change {
        let gone = self.end_former(event);
        self.cgroups.apply(event);
        Change { known: self.learn(header, event, processes), gone }
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
    pub(crate) fn merge(&mut self, cgroups: Cgroups) -> Change {
        let left = self.cgroups.merge(cgroups);
        let gone = left.iter().flat_map(|path| self.removed(UNIFIED, path)).collect();
        Change { known: None, gone }
    }

    /// The path of a cgroup of the unified hierarchy.
    pub(crate) fn cgroup(&self, id: CgroupId) -> Option<&[u8]> {
        self.cgroups.path(id)
    }

    /// The container with this number.
    pub(crate) fn get(&self, number: ContainerId) -> Option<&Container> {
        self.table.get(&number)
    }

    /// The container of a process in this cgroup and mount namespace: of those that have the cgroup, or one above
    /// it, the one with these mounts, or the only one if the cgroup is its own.
    pub(crate) fn at(&self, path: &[u8], mnt: NsId) -> Option<ContainerId> {
        let mut path = path;
        while !path.is_empty() {
            let neighbours = self.numbers.get(path).map(Vec::as_slice).unwrap_or_default();
            if let Some(number) = self.among(neighbours, mnt) {
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

    /// The one of those in a cgroup that a process with these mounts is of.
    fn among(&self, neighbours: &[(Hierarchy, ContainerId)], mnt: NsId) -> Option<ContainerId> {
        let known = |&(_, number): &_| Some((number, self.table.get(&number)?));
        let mut all = neighbours.iter().filter_map(known);
        let by_mounts = all.clone().rfind(|(_, one)| mnt != NsId(0) && one.mnt == mnt);
        let (number, _) = by_mounts.or_else(|| {
            let only = all.next().filter(|(_, one)| one.has_own_cgroup())?;
            all.next().is_none().then_some(only)
        })?;
        Some(number)
    }

    /// The container of an event's task comes to be known, if that is new.
    fn learn(
        &mut self,
        header: &Header,
        event: &Event<'_>,
        processes: &Processes,
    ) -> Option<ContainerId> {
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
        Some(number)
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
        container.mnt = witness.map(|witness| witness.ns.mnt).unwrap_or_default();
        if matches!(container.runtime, Runtime::Podman | Runtime::Unknown)
            && let Some(witness) = witness
        {
            // What its cgroup says is whose it is, whoever else is above it.
            let id = container.key.map(|key| key.id);
            if let Some(conmon) = Conmon::above(processes, (witness.tgid, witness.start), id) {
                container = container.watched(&conmon);
            }
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

    /// Has those end of whom an event tells that their cgroup is gone.
    fn end_former(&mut self, event: &Event<'_>) -> Vec<ContainerId> {
        match event {
            Event::CgroupRmdir(removed) => self.removed(removed.hierarchy, removed.path.bytes),
            // Another one by that path was there before, of whose end nobody has told.
            Event::CgroupMkdir(made)
                if made.hierarchy == UNIFIED && self.cgroups.path(made.made).is_none() =>
            {
                self.removed(UNIFIED, made.path.bytes)
            }
            _ => Vec::new(),
        }
    }

    /// A cgroup was removed, which nobody was in any more. Returns whose it was.
    fn removed(&mut self, hierarchy: Hierarchy, path: &[u8]) -> Vec<ContainerId> {
        let Some(neighbours) = self.numbers.get_mut(path) else { return Vec::new() };
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
        gone
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

/// The name of a cgroup, unless it is one of systemd's: in there is more than one container.
fn own_name(path: &[u8]) -> Option<&[u8]> {
    let name = path.rsplit(|&byte| byte == b'/').next()?;
    let is_unit = UNITS.iter().any(|unit| name.ends_with(unit));
    (!name.is_empty() && !is_unit).then_some(name)
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
mod tests;
