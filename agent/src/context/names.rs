//! What ids are called: by the files of the host, or of the container whose task acts. A container's are read
//! once it is known, by a thread that may have to wait for it, never by the one of the events.

use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use shrike_common::{ContainerId, Gid, Header, Pid, StartTime, Uid};

use super::process;
use super::user::{ContainerUsers, Users};

/// How many containers may wait to be read. More come only while one keeps the thread waiting.
const QUEUE: usize = 256;

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
    New(ContainerId, Box<Users>),
    Again(ContainerId, Box<Users>),
}

impl Names {
    /// Those of this host.
    pub(crate) fn of_host() -> io::Result<Self> {
        let host = Users::read(Path::new("/proc/1/root"));
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

    /// A container has come to be known, by one of its processes.
    pub(crate) fn learn(&mut self, container: ContainerId, header: &Header) {
        if let Some(reader) = &mut self.reader {
            reader.want(Wanted::New(container, header.tgid, header.start));
        }
    }

    /// A container is gone.
    pub(crate) fn forget(&mut self, container: ContainerId) {
        self.containers.remove(container);
    }

    /// Follows what changes: the host's files, and those of one container at a time.
    pub(crate) fn refresh(&mut self) {
        self.host.refresh();
        let Some(reader) = &mut self.reader else { return };
        while let Ok(read) = reader.read.try_recv() {
            match read {
                Read::New(container, users) => self.containers.insert(container, *users),
                Read::Again(container, users) => self.containers.update(container, *users),
            }
        }
        if let Some((container, users)) = self.containers.stalest() {
            reader.want(Wanted::Again(container, Box::new(users)));
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
                if let Some(read) = serve(wanted)
                    && done.send(read).is_err()
                {
                    break;
                }
            }
        })?;
        Ok(Self { wanted, read, refused: 0 })
    }

    fn want(&mut self, wanted: Wanted) {
        if let Err(TrySendError::Full(Wanted::New(..))) = self.wanted.try_send(wanted) {
            self.refused += 1;
        }
    }
}

/// Reads; nothing if the process has ended.
fn serve(wanted: Wanted) -> Option<Read> {
    match wanted {
        Wanted::New(container, pid, start) => {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let path = format!("/proc/{}", pid.0);
            let folder = open(&*path, flags, Mode::empty()).ok()?;
            // The folder is of the process that had the pid when it was opened: it is the one that was meant if
            // that has not ended since.
            if !process::is_of(&path, start) {
                return None;
            }
            Some(Read::New(container, Box::new(Users::read_of_process(pid, folder))))
        }
        Wanted::Again(container, mut users) => {
            users.refresh();
            Some(Read::Again(container, users))
        }
    }
}
