//! A look at the tables of the context. The event thread takes it, so it is quick: what can be worked out
//! later is, on another thread.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use shrike_common::{ContainerId, Namespaces, Pid, StartTime};

use super::snapshot::Source;
use crate::context::cgroup_path::CgroupPath;
use crate::context::clock::Clock;
use crate::context::container::{Container, Containers};
use crate::context::names::Names;
use crate::context::process::{Cgroup, Place, Process, Processes, Standing};
use crate::context::runtime::{Details, Directory};

/// The processes of the host at some time, and what is known of where they are.
#[derive(Debug)]
pub(crate) struct Look {
    /// Who took it.
    pub(super) source: Source,
    /// When it was taken.
    pub(super) clock: Clock,
    /// The host's namespaces.
    pub(super) host: Namespaces,
    /// By pid; each pid once.
    pub(super) rows: Vec<Row>,
    /// Where processes are.
    pub(super) spots: Vec<Spot>,
    /// Names of programs and arguments, one after the other. Those of the table are counted, and must not be
    /// held by somebody else.
    texts: Vec<u8>,
}

/// A process.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) pid: Pid,
    pub(super) vpid: Pid,
    pub(super) start: StartTime,
    /// The nearest ancestor that is still there.
    pub(super) parent: Option<Pid>,
    /// What it belongs to.
    pub(super) standing: Standing,
    /// Whether its program is in the layer of an overlay that is written to, if an event told.
    pub(super) is_upper: Option<bool>,
    /// The index of its spot.
    pub(super) spot: usize,
    name: Range<usize>,
    exe: Range<usize>,
    cwd: Range<usize>,
    args: Range<usize>,
    pub(super) is_args_cut: bool,
}

/// A place with what is known of it.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) place: Arc<Place>,
    /// The path of its cgroup; empty if not known.
    pub(super) path: Box<[u8]>,
    /// The container there; 0 if no event has told of one.
    pub(super) number: ContainerId,
    pub(super) container: Option<Container>,
    /// What its runtime has told.
    pub(super) details: Option<Arc<Details>>,
    /// The name of the user, to those in there.
    pub(super) user: Option<Box<str>>,
}

/// What a look is taken at.
pub(crate) struct Tables<'a> {
    /// The processes.
    pub(crate) processes: &'a Processes,
    /// The containers.
    pub(crate) containers: &'a Containers,
    /// What runtimes tell of their containers, if they can be asked.
    pub(crate) runtimes: Option<&'a Directory>,
    /// The names of users.
    pub(crate) names: &'a Names,
    /// The namespaces of the host.
    pub(crate) host: Namespaces,
    /// The time of day.
    pub(crate) clock: Clock,
}

/// What a look has met already: by the address of what the table has, so that what processes share is copied once.
struct Album {
    texts: Vec<u8>,
    known: HashMap<*const u8, Range<usize>>,
    spots: Vec<Spot>,
    places: HashMap<*const Place, usize>,
}

impl Look {
    /// Takes one.
    pub(crate) fn take(tables: &Tables<'_>, source: Source) -> Self {
        let Tables { processes, host, clock, .. } = *tables;
        let mut rows: Vec<Row> = Vec::with_capacity(processes.len());
        let mut album = Album {
            texts: Vec::with_capacity(processes.text_bytes()),
            known: HashMap::with_capacity(processes.len()),
            spots: Vec::new(),
            places: HashMap::new(),
        };
        for (pid, process) in processes.alive() {
            let row = Row {
                pid,
                vpid: process.vpid,
                start: process.start,
                parent: processes.living_ancestor(process).map(|(pid, _)| pid),
                standing: process.standing,
                is_upper: process.is_upper(),
                spot: album.spot(process, tables),
                // That of the table is its own.
                name: album.add(process.name()),
                exe: album.text(process.exe()),
                is_args_cut: process.is_arguments_cut(),
                cwd: album.text(process.cwd()),
                args: match process.raw_arguments() {
                    args if process.has_own_arguments() => album.add(args),
                    args => album.text(args),
                },
            };
            // The end of an earlier one was lost.
            if rows.last().is_some_and(|last| last.pid == pid) {
                rows.pop();
            }
            rows.push(row);
        }
        let Album { texts, spots, .. } = album;
        Self { source, clock, host, rows, spots, texts }
    }

    /// The name of a process's main thread, the path of its program, the directory that it was in, and its
    /// arguments.
    pub(super) fn texts(&self, row: &Row) -> [&[u8]; 4] {
        [&row.name, &row.exe, &row.cwd, &row.args]
            .map(|range| self.texts.get(range.clone()).unwrap_or_default())
    }
}

impl Album {
    fn text(&mut self, text: &[u8]) -> Range<usize> {
        if text.is_empty() {
            return 0..0;
        }
        if let Some(known) = self.known.get(&text.as_ptr()) {
            return known.clone();
        }
        let range = self.add(text);
        self.known.insert(text.as_ptr(), range.clone());
        range
    }

    fn add(&mut self, text: &[u8]) -> Range<usize> {
        let start = self.texts.len();
        self.texts.extend_from_slice(text);
        start..self.texts.len()
    }

    fn spot(&mut self, process: &Process, tables: &Tables<'_>) -> usize {
        match self.places.entry(Arc::as_ptr(&process.place)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.spots.push(Spot::of(&process.place, tables));
                *new.insert(self.spots.len() - 1)
            }
        }
    }
}

impl Spot {
    fn of(place: &Arc<Place>, tables: &Tables<'_>) -> Self {
        let Tables { containers, runtimes, names, host, .. } = tables;
        let path = match &place.cgroup {
            Cgroup::Id(id) => containers.cgroup(*id).unwrap_or_default(),
            Cgroup::Path(path) => path,
        };
        let number = match place.membership {
            Some(_) => place.container,
            // It was there before the agent. One of the host's may be in the same cgroup.
            None if place.is_partly_apart(host) => {
                containers.at(path, place.ns.mnt).unwrap_or_default()
            }
            None => ContainerId(0),
        };
        let is_hosts = number == ContainerId(0)
            && !place.is_apart(host)
            && CgroupPath::new(path).containers().next().is_none();
        // Those of a container that no event has told of are not known.
        let user = (is_hosts || number != ContainerId(0)).then(|| names.user(number, place.uid));
        let container = containers.get(number);
        Self {
            place: place.clone(),
            path: path.into(),
            number,
            container: container.cloned(),
            details: container.and_then(|container| container.details(*runtimes)),
            user: user.flatten().map(Into::into),
        }
    }
}
