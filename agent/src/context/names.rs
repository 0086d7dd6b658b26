//! What ids are called: by the files of the host, or of the container whose task acts. A container's are read
//! once it is known, by threads that may have to wait for it, never by the one of the events.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};

use shrike_common::{ContainerId, Event, Gid, Header, Pid, StartTime, Uid};

use super::container::is_at_home;
use super::errand::{Errand, Errands};
use super::process::Folder;
use super::user::{ContainerUsers, Users};
use crate::node;

/// How many containers may wait to be read: those that an agent finds when it starts come at once.
const QUEUE: usize = 4096;

/// The names of the host and of its containers.
#[derive(Debug, Default)]
pub(crate) struct Names {
    host: Users,
    containers: ContainerUsers,
    /// `None` where the events are not of this host.
    reader: Option<Reader>,
}

/// The threads that read.
#[derive(Debug)]
struct Reader {
    errands: Errands<Reading>,
    read: Receiver<Read>,
    told: Sender<Read>,
    /// Those that were asked for and are still there.
    awaited: HashSet<ContainerId>,
    /// The one that is being read again.
    refreshed: Option<ContainerId>,
    /// How many were not read, because too many waited.
    refused: u64,
    /// How many took long.
    late: u64,
}

/// What is to be read, and to whom that is told.
#[derive(Debug)]
struct Reading {
    wanted: Wanted,
    told: Sender<Read>,
}

/// What is to be read.
#[derive(Debug)]
enum Wanted {
    /// The names of a container, by way of one of its processes.
    New(ContainerId, Pid, StartTime),
    /// Those of one that are here already, if their files have changed.
    Again(ContainerId, Box<Users>),
}

/// What was read.
enum Read {
    /// Nothing, if the process had ended.
    New(ContainerId, Option<Box<Users>>),
    Again(ContainerId, Box<Users>),
    /// Nothing yet: the container takes long, and others are read meanwhile.
    Late(ContainerId),
    /// Nothing: it keeps a thread already, or too many others do.
    Refused(ContainerId),
}

impl Names {
    /// Those of this host.
    pub(crate) fn of_host() -> io::Result<Self> {
        let host = Users::read(node::host_root());
        Ok(Self { host, reader: Some(Reader::start()?), ..Self::default() })
    }

    /// Those of these roots: the host's, and those of containers. They do not follow what changes.
    pub(crate) fn of_roots(host: &Path, containers: &[(ContainerId, &Path)]) -> Self {
        let mut names = Self { host: Users::read(host), ..Self::default() };
        for &(container, root) in containers {
            names.containers.insert(container, Users::read(root));
        }
        names
    }

    /// Follows an event: a container's names are read by way of a process that runs its program, and again by
    /// the next one's if that has ended meanwhile.
    pub(crate) fn apply(&mut self, header: &Header, event: &Event<'_>) {
        if let Some(reader) = &mut self.reader
            && matches!(event, Event::Boundary(_) | Event::Exec(_))
            && header.container != ContainerId(0)
            && is_at_home(header, event)
            && !self.containers.has(header.container)
        {
            reader.want(header);
        }
    }

    /// A container is gone.
    pub(crate) fn forget(&mut self, container: ContainerId) {
        self.containers.remove(container);
        if let Some(reader) = &mut self.reader {
            reader.awaited.remove(&container);
        }
    }

    /// Follows what changes: the host's files, and those of one container at a time.
    pub(crate) fn refresh(&mut self) {
        self.host.refresh();
        let Some(reader) = &mut self.reader else { return };
        while let Ok(read) = reader.read.try_recv() {
            match read {
                Read::New(container, users) => {
                    let is_there = reader.awaited.remove(&container);
                    if let Some(users) = users.filter(|_| is_there) {
                        self.containers.insert(container, *users);
                    }
                }
                Read::Again(container, users) => {
                    reader.is_refreshed(container);
                    self.containers.update(container, *users);
                }
                Read::Late(container) => {
                    reader.is_late(container);
                    if reader.is_refreshed(container) {
                        self.containers.postpone(container);
                    }
                }
                Read::Refused(container) => {
                    reader.refused += 1;
                    reader.awaited.remove(&container);
                    if reader.is_refreshed(container) {
                        self.containers.postpone(container);
                    }
                }
            }
        }
        if reader.refreshed.is_none()
            && let Some((container, users)) = self.containers.stalest()
        {
            reader.refreshed = Some(container);
            reader.send(Wanted::Again(container, Box::new(users)));
        }
    }

    /// The name of a user, to a task of this container, or of the host.
    pub(crate) fn user(&self, container: ContainerId, uid: Uid) -> Option<&str> {
        self.of(container)?.name(uid)
    }

    /// The name of a group, likewise.
    pub(crate) fn group(&self, container: ContainerId, gid: Gid) -> Option<&str> {
        self.of(container)?.group(gid)
    }

    /// How many files of names, or of containers' names, were not read.
    pub(crate) fn refused(&self) -> u64 {
        let waiting = self.reader.as_ref().map_or(0, |reader| reader.refused);
        self.host.refused() + self.containers.refused() + waiting
    }

    /// How many containers' names had to go for others'.
    pub(crate) fn evicted(&self) -> u64 {
        self.containers.evicted()
    }

    /// How many containers took so long that others' names were read meanwhile.
    pub(crate) fn late(&self) -> u64 {
        self.reader.as_ref().map_or(0, |reader| reader.late)
    }

    fn of(&self, container: ContainerId) -> Option<&Users> {
        match container {
            ContainerId(0) => Some(&self.host),
            container => self.containers.get(container),
        }
    }
}

impl Reader {
    fn start() -> io::Result<Self> {
        let (told, read) = mpsc::channel();
        Ok(Self {
            errands: Errands::start("names", QUEUE)?,
            read,
            told,
            awaited: HashSet::new(),
            refreshed: None,
            refused: 0,
            late: 0,
        })
    }

    fn want(&mut self, header: &Header) {
        if self.awaited.insert(header.container) {
            self.send(Wanted::New(header.container, header.tgid, header.start));
        }
    }

    fn send(&self, wanted: Wanted) {
        self.errands.send(Reading { wanted, told: self.told.clone() });
    }

    /// Whether it is this container that is read again, which is not waited for any more.
    fn is_refreshed(&mut self, container: ContainerId) -> bool {
        self.refreshed.take_if(|refreshed| *refreshed == container).is_some()
    }

    /// Told once: a container could have each time be a line.
    fn is_late(&mut self, ContainerId(number): ContainerId) {
        if self.late == 0 {
            tracing::warn!("the names of container number {number} take long to read");
        }
        self.late += 1;
    }
}

impl Reading {
    /// Fails when the agent is ending: nobody takes it any more.
    fn tell(&self, read: Read) {
        let _ = self.told.send(read);
    }
}

impl Errand for Reading {
    type Party = ContainerId;

    fn party(&self) -> ContainerId {
        let (Wanted::New(container, ..) | Wanted::Again(container, _)) = self.wanted;
        container
    }

    fn run(&self) {
        self.tell(match &self.wanted {
            &Wanted::New(container, pid, start) => {
                Read::New(container, users_of(pid, start).map(Box::new))
            }
            Wanted::Again(container, users) => {
                let mut users = users.clone();
                users.refresh();
                Read::Again(*container, users)
            }
        });
    }

    fn late(&self) {
        self.tell(Read::Late(self.party()));
    }

    fn turn_down(&self) {
        self.tell(Read::Refused(self.party()));
    }
}

/// Those in the root of a process, if that has not ended.
fn users_of(pid: Pid, start: StartTime) -> Option<Users> {
    let folder = Folder::of(Path::new("/proc"), pid, start)?;
    Some(Users::read_of_process(pid, folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_takes_long_keeps_no_other_from_being_read() {
        let [slow, other] = [1, 2].map(ContainerId);
        let mut names = Names { reader: Some(Reader::start().unwrap()), ..Names::default() };
        for container in [slow, other] {
            names.containers.insert(container, Users::default());
        }
        for outcome in [Read::Late, Read::Refused] {
            names.containers.postpone(other);
            let reader = names.reader.as_mut().unwrap();
            reader.refreshed = Some(slow);
            reader.told.send(outcome(slow)).unwrap();
            names.refresh();
            assert_eq!(names.reader.as_ref().unwrap().refreshed, Some(other));
        }
        assert_eq!((names.late(), names.refused()), (1, 1));
    }

    #[test]
    fn one_that_was_turned_down_is_asked_for_again() {
        let mut names = Names { reader: Some(Reader::start().unwrap()), ..Names::default() };
        let reader = names.reader.as_mut().unwrap();
        let is_awaited = |names: &Names, number| {
            names.reader.as_ref().unwrap().awaited.contains(&ContainerId(number))
        };
        for number in [1, 2] {
            reader.awaited.insert(ContainerId(number));
        }
        reader.told.send(Read::Refused(ContainerId(1))).unwrap();
        // What takes long may still come.
        reader.told.send(Read::Late(ContainerId(2))).unwrap();
        names.refresh();
        assert!(!is_awaited(&names, 1) && is_awaited(&names, 2));
    }
}
