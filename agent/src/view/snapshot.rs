//! The containers and processes of this host at some time, as `shrike ps` and `shrike tree` show them and as
//! their JSON has them.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shrike_common::{ContainerId, Namespaces, NsId, NsType};

use super::look::{Look, Row, Spot};
use super::namespaces;
use crate::context::cgroup_path::{CgroupPath, Runtime};
use crate::context::container::{self, shown};
use crate::context::mountinfo;
use crate::context::process::{Standing, arguments};
use crate::context::runtime::{self, Details};

/// The most arguments of a process that are told.
const ARGUMENTS: usize = 256;

/// The most memory for the arguments and directories of all, in bytes: each process may have thousands of
/// arguments, and they may be long.
const ROOM: usize = 32 << 20;

/// The containers and processes of this host.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Snapshot {
    /// Where it is from.
    pub(crate) source: Source,
    /// When it was taken.
    pub(crate) time: Timestamp,
    /// The namespaces of the host.
    #[serde(with = "namespaces")]
    pub(crate) host: Namespaces,
    /// Those with processes, the oldest first.
    pub(crate) containers: Vec<Container>,
    /// Those that have not ended, by pid.
    pub(crate) processes: Vec<Process>,
}

/// Where a snapshot is from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// The agent that runs.
    Agent,
    /// `/proc`: there is no agent.
    Proc,
}

/// A container.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Container {
    /// Its id or name as its runtime has it; of a nested one, behind its parent's and a slash. No other
    /// container of the snapshot has this one.
    pub(crate) id: String,
    /// The numbers by which the agent knows it. The outermost container has those of all that are in it: what
    /// the kernel tells apart in there need not be what is named so.
    pub(crate) numbers: Vec<u64>,
    /// Who made it.
    pub(crate) runtime: String,
    /// The container that it is in.
    pub(crate) parent: Option<String>,
    /// What people call it.
    pub(crate) name: Option<String>,
    /// The image that it was made from.
    pub(crate) image: Option<String>,
    /// The pod of Kubernetes that it is in.
    pub(crate) pod: Option<Pod>,
    /// The path of its own cgroup; empty if not known.
    pub(crate) cgroup: String,
    /// The namespaces of its first process.
    #[serde(with = "namespaces")]
    pub(crate) namespaces: Namespaces,
    /// Which of these are the host's.
    pub(crate) host_namespaces: Vec<String>,
    /// Whether the agent watches its boundary; `None` without an agent.
    pub(crate) boundary: Option<Boundary>,
    /// The pid of its first process: the oldest one.
    pub(crate) first: u32,
    /// When that has started.
    pub(crate) started: Timestamp,
    /// How many processes it has, without those of containers in it.
    pub(crate) processes: usize,
}

/// A pod.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Pod {
    /// Which one.
    pub(crate) uid: String,
    /// Its class of service.
    pub(crate) qos: String,
    /// Its name.
    pub(crate) name: Option<String>,
    /// The namespace of Kubernetes that it is in.
    pub(crate) namespace: Option<String>,
}

/// What the agent makes of a container.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Boundary {
    /// To the kernel it is none, or none yet: its processes are the host's.
    None,
    /// Its boundary is recorded, and what crosses it is told.
    Watched,
}

/// A process.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Process {
    /// Its pid.
    pub(crate) pid: u32,
    /// Its pid in its own pid namespace.
    pub(crate) vpid: u32,
    /// The nearest ancestor that is still there; without an agent, the parent that it has now.
    pub(crate) parent: Option<u32>,
    /// When it has started.
    pub(crate) started: Timestamp,
    /// The effective user.
    pub(crate) uid: u32,
    /// The name of that, to itself.
    pub(crate) user: Option<String>,
    /// The name of its main thread.
    pub(crate) name: String,
    /// The path of its program; empty if not known, or of the kernel's own.
    pub(crate) exe: String,
    /// Whether its program is in the layer of an overlay that is written to; `None` if no event told.
    pub(crate) exe_upper_layer: Option<bool>,
    /// Its arguments, the program's own name first.
    pub(crate) args: Vec<String>,
    /// Whether there are more of them, which are left out for their number or length.
    #[serde(default)]
    pub(crate) args_cut: bool,
    /// The directory that it was in when it executed its program; `None` if that is not known, or what is told
    /// of all would be too long.
    pub(crate) cwd: Option<String>,
    /// Its process group; 0 if not known.
    #[serde(default)]
    pub(crate) group: u32,
    /// Its session; 0 if not known.
    #[serde(default)]
    pub(crate) session: u32,
    /// The device of its controlling terminal, as rules have it; `None` if it has none.
    pub(crate) tty: Option<u32>,
    /// The user who has logged in; `None` if nobody has.
    pub(crate) loginuid: Option<u32>,
    /// The path of its cgroup; empty if not known.
    pub(crate) cgroup: String,
    /// Its namespaces.
    #[serde(with = "namespaces")]
    pub(crate) namespaces: Namespaces,
    /// The [id](Container::id) of its container.
    pub(crate) container: Option<String>,
    /// Whether it is a container's, to the kernel; `None` if no event has told yet.
    pub(crate) membership: Option<String>,
}

/// What tells a container from others.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Key {
    Cgroup(Box<[u8]>),
    Runtime(runtime::Key),
    Number(ContainerId),
    PidNamespace(NsId),
}

/// What is found of a container.
struct Found {
    id: String,
    runtime: Runtime,
    name: Option<String>,
    image: Option<String>,
    pod: Option<Pod>,
    cgroup: Box<[u8]>,
    parent: Option<Key>,
    numbers: Vec<u64>,
    /// The indexes of its processes.
    rows: Vec<usize>,
}

/// The containers of a look.
#[derive(Default)]
struct Finds(BTreeMap<Key, Found>);

impl Snapshot {
    /// Works out what a look has seen.
    pub(crate) fn of(look: &Look, time: Timestamp) -> Self {
        let mut finds = Finds::default();
        let keys: Vec<Option<Key>> =
            look.spots.iter().map(|spot| finds.add(spot, &look.host)).collect();
        for (index, row) in look.rows.iter().enumerate() {
            let key = keys.get(row.spot).and_then(Option::as_ref);
            if let Some(found) = key.and_then(|key| finds.0.get_mut(key)) {
                found.rows.push(index);
            }
        }
        let ids = finds.ids();
        let mut containers: Vec<_> =
            finds.0.iter().filter_map(|(key, found)| found.container(key, &ids, look)).collect();
        containers.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
        let mut room = ROOM;
        let process = |row: &Row| {
            let spot = look.spots.get(row.spot)?;
            let id = keys.get(row.spot)?.as_ref().and_then(|key| ids.get(key));
            Some(Process::of(look, row, spot, id, &mut room))
        };
        let processes = look.rows.iter().filter_map(process).collect();
        Self { source: look.source, time, host: look.host, containers, processes }
    }

    /// The container with this id.
    pub(crate) fn container(&self, id: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.id == id)
    }
}

impl Process {
    fn of(
        look: &Look,
        row: &Row,
        spot: &Spot,
        container: Option<&String>,
        room: &mut usize,
    ) -> Self {
        let [name, exe, cwd, args] = look.texts(row);
        let mut kept = |bytes: &[u8]| {
            *room = room.checked_sub(bytes.len() + size_of::<String>())?;
            Some(text(bytes))
        };
        let cwd = Some(cwd).filter(|cwd| !cwd.is_empty()).and_then(&mut kept);
        let list = arguments(args);
        let kept: Vec<_> = list.take(ARGUMENTS).map_while(kept).collect();
        let Standing { group, session, tty, loginuid } = row.standing;
        let place = &spot.place;
        Self {
            pid: row.pid.0,
            vpid: row.vpid.0,
            parent: row.parent.map(|parent| parent.0),
            started: look.clock.timestamp(row.start.0),
            uid: place.uid.0,
            user: spot.user.as_deref().map(str::to_owned),
            name: text(name),
            exe: text(exe),
            exe_upper_layer: row.is_upper,
            args_cut: row.is_args_cut || kept.len() < arguments(args).count(),
            args: kept,
            cwd,
            group: group.0,
            session: session.0,
            tty: (tty != 0).then_some(tty),
            loginuid: (loginuid != Standing::NOBODY).then_some(loginuid.0),
            cgroup: text(&spot.path),
            namespaces: place.ns,
            container: container.cloned(),
            membership: place.membership.map(|membership| membership.name().to_owned()),
        }
    }
}

impl Finds {
    /// The container of those who are at a spot.
    fn add(&mut self, spot: &Spot, host: &Namespaces) -> Option<Key> {
        let place = &spot.place;
        let mut parent = None;
        let mut chain = CgroupPath::new(&spot.path).containers().peekable();
        if spot.number != ContainerId(0) {
            parent = Some(self.known(spot));
            let own = spot.container.as_ref().map_or(&[][..], |container| &container.cgroup);
            if own.is_empty() || mountinfo::below(&spot.path, own).is_none() {
                // It is somewhere else by now; what it was made as counts.
                return parent;
            }
            chain.next_if(|outer| outer.cgroup == own);
        } else if chain.peek().is_none() {
            return place.is_apart(host).then(|| self.unnamed(place.ns.pid));
        }
        for named in chain {
            let key = Key::Cgroup(named.cgroup.into());
            let pod = named.pod.map(|pod| Pod::new(&pod.uid.to_string(), pod.qos.name()));
            let found = Found::new(shown(named.id).into(), named.runtime, pod, named.cgroup);
            let found = self.0.entry(key.clone()).or_insert(found);
            found.parent = found.parent.take().or(parent);
            parent = Some(key);
        }
        parent
    }

    /// One that events have told of.
    fn known(&mut self, spot: &Spot) -> Key {
        let mut found = if let Some(container) = &spot.container {
            let pod = container.pod.as_ref().map(|pod| Pod::new(&pod.uid, pod.qos.name()));
            let id = container.id.to_string();
            let found = Found::new(id, container.runtime, pod, &container.cgroup);
            Found { name: container.name().map(str::to_owned), ..found }
        } else {
            // There was no room for it.
            Found::new(format!("number-{}", spot.number), Runtime::Unknown, None, &[])
        };
        if let Some(details) = &spot.details {
            found.learn(details);
        }
        let only_key = spot.container.as_ref().and_then(container::Container::only_key);
        let key = match (only_key, &*found.cgroup) {
            (Some(key), _) => Key::Runtime(key),
            (None, []) => Key::Number(spot.number),
            (None, cgroup) => Key::Cgroup(cgroup.into()),
        };
        let found = self.0.entry(key.clone()).or_insert(found);
        if !found.numbers.contains(&spot.number.0) {
            found.numbers.push(spot.number.0);
        }
        key
    }

    /// One that nothing names, and that no event has told of: those in a pid namespace of their own.
    fn unnamed(&mut self, ns: NsId) -> Key {
        let key = Key::PidNamespace(ns);
        let found = || Found::new(format!("pid-{ns}"), Runtime::Unknown, None, &[]);
        self.0.entry(key.clone()).or_insert_with(found);
        key
    }

    /// What each is called: two of different runtimes may have the same name.
    fn ids(&self) -> HashMap<Key, String> {
        let mut ids = HashMap::new();
        let mut count: HashMap<String, usize> = HashMap::new();
        for key in self.0.keys() {
            let id = self.id(key);
            *count.entry(id.clone()).or_default() += 1;
            ids.insert(key.clone(), id);
        }
        for (key, id) in &mut ids {
            if let Some(found) = self.0.get(key)
                && count.get(id).is_some_and(|&count| count > 1)
            {
                *id = format!("{id}@{}", text(&found.cgroup));
            }
        }
        ids
    }

    /// Its id behind those of the containers that it is in.
    fn id(&self, key: &Key) -> String {
        let mut parts = Vec::new();
        let mut next = Some(key);
        while let Some(found) = next.and_then(|key| self.0.get(key)) {
            parts.push(found.id.as_str());
            // A cgroup has no more than so many levels; and nothing is in itself.
            next = found.parent.as_ref().filter(|_| parts.len() < 64);
        }
        parts.reverse();
        parts.join("/")
    }
}

impl Found {
    fn new(id: String, runtime: Runtime, pod: Option<Pod>, cgroup: &[u8]) -> Self {
        Self {
            id,
            runtime,
            name: None,
            image: None,
            pod,
            cgroup: cgroup.into(),
            parent: None,
            numbers: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Takes over what its runtime tells.
    fn learn(&mut self, details: &Details) {
        let known = |text: &String| (!text.is_empty()).then(|| text.clone());
        self.name = known(&details.name).or(self.name.take());
        self.image = known(&details.image.name);
        if let (Some(pod), Some(told)) = (&mut self.pod, &details.pod) {
            pod.name = known(&told.name);
            pod.namespace = known(&told.namespace);
        }
    }

    /// The container; `None` if nothing runs in it.
    fn container(&self, key: &Key, ids: &HashMap<Key, String>, look: &Look) -> Option<Container> {
        let rows = || self.rows.iter().filter_map(|&row| look.rows.get(row));
        let first = rows().min_by_key(|row| (row.start, row.pid))?;
        let ns = look.spots.get(first.spot)?.place.ns;
        let is_hosts = |ty: &NsType| ns.get(*ty) == look.host.get(*ty) && ns.get(*ty) != NsId(0);
        let host = NsType::ALL.into_iter().filter(is_hosts);
        // The boundary is its own, or that of the one that it is in.
        let is_within =
            |row: &Row| look.spots.get(row.spot).is_some_and(|spot| spot.number != ContainerId(0));
        let boundary = if rows().any(is_within) { Boundary::Watched } else { Boundary::None };
        let parent = self.parent.as_ref();
        let mut numbers = self.numbers.clone();
        numbers.sort_unstable();
        Some(Container {
            id: ids.get(key)?.clone(),
            numbers,
            runtime: self.runtime.name().to_owned(),
            parent: parent.and_then(|parent| ids.get(parent)).cloned(),
            name: self.name.clone(),
            image: self.image.clone(),
            pod: self.pod.clone(),
            cgroup: text(&self.cgroup),
            namespaces: ns,
            host_namespaces: host.map(|ty| ty.name().to_owned()).collect(),
            boundary: (look.source == Source::Agent).then_some(boundary),
            first: first.pid.0,
            started: look.clock.timestamp(first.start.0),
            processes: self.rows.len(),
        })
    }
}

impl Container {
    /// Its id as it is mostly written.
    pub(crate) fn short_id(&self) -> String {
        let parts: Vec<&str> = self.id.split('/').map(container::short).collect();
        parts.join("/")
    }

    /// How well it fits what somebody calls a container: its id, the beginning of that, or its name.
    pub(crate) fn fits(&self, called: &str) -> Option<Fit> {
        let is_called = |name: &String| name == called;
        if self.id == called || self.name.as_ref().is_some_and(is_called) {
            return Some(Fit::Whole);
        }
        self.id.starts_with(called).then_some(Fit::Beginning)
    }
}

impl Pod {
    fn new(uid: &str, qos: &str) -> Self {
        Self { uid: uid.to_owned(), qos: qos.to_owned(), name: None, namespace: None }
    }
}

/// How well a container fits what it is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fit {
    /// It is the beginning of its id.
    Beginning,
    /// It is its id or name.
    Whole,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
