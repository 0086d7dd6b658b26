//! What ids are called: by the files of the host, or of the container whose task acts. A container's are read
//! once it is known, by a thread that may have to wait for it, never by the one of the events.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use shrike_common::{ContainerId, Event, Gid, Header, Pid, StartTime, Uid};

use super::container::is_at_home;
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

/// The thread that reads.
#[derive(Debug)]
struct Reader {
    wanted: SyncSender<Wanted>,
    read: Receiver<Read>,
    /// Those that were asked for and are still there.
    awaited: HashSet<ContainerId>,
    /// Whether one is being read again.
    is_refreshing: bool,
    /// How many were not read, because too many waited.
    refused: u64,
}

/// What is to be read.
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
                    reader.is_refreshing = false;
                    self.containers.update(container, *users);
                }
            }
        }
        if !reader.is_refreshing
            && let Some((container, users)) = self.containers.stalest()
        {
            let again = Wanted::Again(container, Box::new(users));
            reader.is_refreshing = reader.wanted.try_send(again).is_ok();
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

    fn of(&self, container: ContainerId) -> Option<&Users> {
        match container {
            ContainerId(0) => Some(&self.host),
            container => self.containers.get(container),
        }
    }
}

impl Reader {
    fn start() -> io::Result<Self> {
        let (wanted, waiting) = mpsc::sync_channel(QUEUE);
        let (done, read) = mpsc::channel();
        thread::Builder::new().name("names".to_owned()).spawn(move || {
            for wanted in waiting {
                // When nobody takes it any more, the agent is ending.
                if done.send(serve(wanted)).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { wanted, read, awaited: HashSet::new(), is_refreshing: false, refused: 0 })
    }

    fn want(&mut self, header: &Header) {
        if !self.awaited.insert(header.container) {
            return;
        }
        let wanted = Wanted::New(header.container, header.tgid, header.start);
        if self.wanted.try_send(wanted).is_err() {
            self.awaited.remove(&header.container);
            self.refused += 1;
        }
    }
}

fn serve(wanted: Wanted) -> Read {
    match wanted {
        Wanted::New(container, pid, start) => {
            Read::New(container, users_of(pid, start).map(Box::new))
        }
        Wanted::Again(container, mut users) => {
            users.refresh();
            Read::Again(container, users)
        }
    }
}

/// Those in the root of a process, if that has not ended.
fn users_of(pid: Pid, start: StartTime) -> Option<Users> {
    let folder = Folder::of(Path::new("/proc"), pid, start)?;
    Some(Users::read_of_process(pid, folder))
}
