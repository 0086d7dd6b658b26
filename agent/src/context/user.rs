//! The names of users and groups, of the host and of containers. Read from `/etc/passwd` and `/etc/group`
//! themselves: name services need the C library's plug-ins, which a static binary does not have, and
//! could block.
//!
//! The files of a container are whatever it puts there: see [`file`](super::file) for how they are read. Its links
//! are followed, as they are for its own programs: not to follow any would lose images that keep the file
//! elsewhere and gain nothing. What is too large is refused whole, told in the log and counted; half a table would
//! be wrong names.
//!
//! What remains: if a container has a file system of its own making (FUSE) in that place, its server decides
//! when the look-up returns. So a container's files are read by a thread that may wait, never the one of the
//! events: hand it a clone, which shares the names, and [`ContainerUsers::update`] with what comes back.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{FileStat, Mode};
use shrike_common::{ContainerId, Gid, Pid, Uid};

use super::file::{self, Found};
use super::process::Folder;

/// The most that is read of a file.
const MAX_BYTES: usize = 1 << 20;

/// The most entries of a file.
const MAX_ENTRIES: usize = 1 << 16;

/// The longest name (`LOGIN_NAME_MAX`); a longer one is no entry.
const MAX_NAME: usize = 256;

/// The most containers whose names are kept: each holds a descriptor.
const MAX_CONTAINERS: usize = 256;

/// The most memory for the names of containers, in bytes, about.
const MAX_MEMORY: usize = 32 << 20;

/// What an entry takes besides its name, in bytes, about.
const ENTRY: usize = 96;

/// By id.
type Names = HashMap<u32, Box<str>>;

/// The users and groups of one root.
#[derive(Clone, Debug, Default)]
pub(crate) struct Users {
    root: Root,
    passwd: Table,
    group: Table,
    uids: IdMap,
    gids: IdMap,
}

/// Which ids of the host a user namespace has, and as which (`user_namespaces(7)`); all as they are if there is
/// none.
#[derive(Clone, Debug, Default)]
struct IdMap(Option<Vec<Extent>>);

/// Ids that follow each other in both.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Extent {
    inside: u32,
    outside: u32,
    count: u32,
}

/// Those of containers.
#[derive(Debug, Default)]
pub(crate) struct ContainerUsers {
    tables: HashMap<ContainerId, Kept>,
    /// How often one was asked for, or kept.
    turn: Cell<u64>,
    memory: usize,
    refused: u64,
    evicted: u64,
}

/// Those of one container.
#[derive(Debug)]
struct Kept {
    users: Users,
    /// When they were asked for last.
    turn: Cell<u64>,
    /// When they were read last.
    read: u64,
}

/// Where the files are.
#[derive(Clone, Debug)]
enum Root {
    Folder(PathBuf),
    /// In the root of a process: its folder in `/proc`.
    Process {
        pid: Pid,
        folder: Arc<Folder>,
    },
}

/// The names of one file. passwd(5) and group(5) agree on what matters: the name is first, the id third.
#[derive(Clone, Debug, Default)]
struct Table {
    /// Of which file, if there is one.
    version: Option<Version>,
    names: Arc<Names>,
    refusal: Option<Refusal>,
    refused: u64,
}

/// What changes with a file. A writer sets the time of its last write at will, never that of its last change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Version {
    file: (u64, u64),
    size: i64,
    written: (i64, i64),
    changed: (i64, i64),
}

/// Why a file is not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    File(#[from] file::Refusal),
    #[error("it has more than {MAX_ENTRIES} entries")]
    TooManyEntries,
}

impl Users {
    /// Reads the files below a root; empty as long as there are none.
    pub(crate) fn read(root: &Path) -> Self {
        Self::read_in(Root::Folder(root.to_owned()))
    }

    /// Reads the files in the root of a process, given its folder in `/proc`. That, and not the pid, says which
    /// process is meant. May wait for the container: see above.
    pub(crate) fn read_of_process(pid: Pid, folder: Folder) -> Self {
        let [uids, gids] = ["uid_map", "gid_map"].map(|name| IdMap::read(&folder, name));
        let users = Self::read_in(Root::Process { pid, folder: Arc::new(folder) });
        Self { uids, gids, ..users }
    }

    fn read_in(root: Root) -> Self {
        let mut users = Self { root, ..Self::default() };
        users.refresh();
        users
    }

    /// Reads each file again that was changed. Those of a process that has ended stay as they were.
    pub(crate) fn refresh(&mut self) {
        let Self { root: place, passwd, group, .. } = self;
        let root = match place.open() {
            Err(Errno::ENOENT | Errno::ESRCH) => return,
            root => root,
        };
        passwd.refresh(&root, "etc/passwd", place);
        group.refresh(&root, "etc/group", place);
    }

    /// The name of a user, by the host's id of it.
    pub(crate) fn name(&self, uid: Uid) -> Option<&str> {
        self.passwd.name(self.uids.inside(uid.0)?)
    }

    /// The name of a group, likewise.
    pub(crate) fn group(&self, gid: Gid) -> Option<&str> {
        self.group.name(self.gids.inside(gid.0)?)
    }

    /// How often a file was refused.
    pub(crate) fn refused(&self) -> u64 {
        self.passwd.refused + self.group.refused
    }

    /// The memory that the names take, in bytes, about.
    fn memory(&self) -> usize {
        let of = |table: &Table| table.names.values().map(|name| name.len() + ENTRY).sum::<usize>();
        of(&self.passwd) + of(&self.group)
    }
}

impl ContainerUsers {
    /// Keeps those of a container. Where there is no room, those that were not asked for the longest go.
    pub(crate) fn insert(&mut self, container: ContainerId, users: Users) {
        self.refused += users.refused();
        self.remove(container);
        let turn = self.next_turn();
        self.keep(container, users, turn);
    }

    /// Takes those of a container that were refreshed elsewhere; nothing if it is gone meanwhile.
    pub(crate) fn update(&mut self, container: ContainerId, users: Users) {
        let turn = self.tables.get(&container).map(|kept| kept.turn.get());
        if let (Some(turn), Some(former)) = (turn, self.remove(container)) {
            self.refused += users.refused().saturating_sub(former.refused());
            self.keep(container, users, turn);
        }
    }

    /// Has others refreshed before those of a container, which takes long.
    pub(crate) fn postpone(&mut self, container: ContainerId) {
        let turn = self.next_turn();
        if let Some(kept) = self.tables.get_mut(&container) {
            kept.read = turn;
        }
    }

    /// Forgets a container that is gone.
    pub(crate) fn remove(&mut self, container: ContainerId) -> Option<Users> {
        let kept = self.tables.remove(&container)?;
        self.memory = self.memory.saturating_sub(kept.users.memory());
        Some(kept.users)
    }

    /// Those of a container, if they are here.
    pub(crate) fn get(&self, container: ContainerId) -> Option<&Users> {
        let kept = self.tables.get(&container)?;
        kept.turn.set(self.next_turn());
        Some(&kept.users)
    }

    /// Whether those of a container are here.
    pub(crate) fn has(&self, container: ContainerId) -> bool {
        self.tables.contains_key(&container)
    }

    /// Those that were not refreshed for the longest.
    pub(crate) fn stalest(&self) -> Option<(ContainerId, Users)> {
        let (container, kept) = self.tables.iter().min_by_key(|(_, kept)| kept.read)?;
        Some((*container, kept.users.clone()))
    }

    /// How often a file of a container was refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// How many containers' names had to go for others'.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    fn next_turn(&self) -> u64 {
        self.turn.set(self.turn.get() + 1);
        self.turn.get()
    }

    fn keep(&mut self, container: ContainerId, users: Users, turn: u64) {
        let read = self.next_turn();
        self.memory += users.memory();
        self.tables.insert(container, Kept { users, turn: Cell::new(turn), read });
        while self.tables.len() > MAX_CONTAINERS || self.memory > MAX_MEMORY {
            let oldest =
                self.tables.iter().min_by_key(|(_, kept)| kept.turn.get()).map(|(id, _)| *id);
            let Some(oldest) = oldest else { break };
            self.remove(oldest);
            self.evicted += 1;
        }
    }
}

impl Root {
    fn open(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match self {
            Self::Folder(path) => open(path, flags, Mode::empty()),
            Self::Process { folder, .. } => folder.root(),
        }
    }
}

impl Default for Root {
    /// Nowhere.
    fn default() -> Self {
        Self::Folder(PathBuf::new())
    }
}

impl Table {
    fn name(&self, id: u32) -> Option<&str> {
        self.names.get(&id).map(AsRef::as_ref)
    }

    /// Reads the file again if it was changed. A refusal is told once, until something else is found there.
    fn refresh(&mut self, root: &Result<OwnedFd, Errno>, path: &str, place: &Root) {
        let outcome = root.as_ref().map_err(|&errno| file::Refusal::from(errno).into());
        match outcome.and_then(|root| self.changed(root, path)) {
            Ok(None) => {}
            Ok(Some(names)) => {
                self.names = Arc::new(names);
                self.refusal = None;
            }
            Err(refusal) => {
                // Those of a file that is not there any more are nobody's names.
                self.names = Arc::default();
                if self.refusal.replace(refusal) != Some(refusal) {
                    self.refused += 1;
                    tracing::warn!("no names from /{path} below {place}: {refusal}");
                }
            }
        }
    }

    /// The names, if the file is another than before.
    fn changed(&mut self, root: &OwnedFd, path: &str) -> Result<Option<Names>, Refusal> {
        let before = self.version.take();
        let Some(found) = Found::below(root, path)? else { return Ok(Some(Names::new())) };
        // If the file is written to while it is read, this is not its version any more.
        let version = Version::of(found.stat());
        if before == Some(version) {
            self.version = before;
            return Ok(None);
        }
        let names = found.read(MAX_BYTES).map_err(Refusal::from).and_then(|text| parse(&text));
        // What is out of reach is tried again, what is refused for what it is only when it changes.
        if !matches!(names, Err(Refusal::File(file::Refusal::Unreachable(_)))) {
            self.version = Some(version);
        }
        names.map(Some)
    }
}

impl IdMap {
    /// Reads that of a process; one that cannot be read has no ids of the host.
    fn read(folder: &Folder, name: &str) -> Self {
        let text = folder.short(name).unwrap_or_default();
        let lines = str::from_utf8(&text).unwrap_or_default().lines();
        Self(Some(lines.filter_map(Extent::parse).collect()))
    }

    /// The id in the namespace, of the host's.
    fn inside(&self, id: u32) -> Option<u32> {
        let Some(extents) = &self.0 else { return Some(id) };
        extents.iter().find_map(|extent| {
            let offset = id.checked_sub(extent.outside).filter(|offset| *offset < extent.count)?;
            extent.inside.checked_add(offset)
        })
    }
}

impl Extent {
    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split_whitespace().map_while(|number| number.parse().ok());
        let mut next = || numbers.next();
        Some(Self { inside: next()?, outside: next()?, count: next()? })
    }
}

impl Version {
    fn of(stat: &FileStat) -> Self {
        Self {
            file: (stat.st_dev, stat.st_ino),
            size: stat.st_size,
            written: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Process { pid, .. } => write!(f, "/proc/{}/root", pid.0),
        }
    }
}

fn parse(text: &[u8]) -> Result<Names, Refusal> {
    let mut names = Names::new();
    let entries = text.split(|&byte| byte == b'\n').filter_map(entry);
    for (number, (id, name)) in entries.enumerate() {
        if number == MAX_ENTRIES {
            return Err(Refusal::TooManyEntries);
        }
        // The first entry of an id is the one that getpwuid(3) gives.
        names.entry(id).or_insert_with(|| String::from_utf8_lossy(name).into());
    }
    Ok(names)
}

/// The id and the name in a line; none if it is a comment, or one of NIS (`+name`).
fn entry(line: &[u8]) -> Option<(u32, &[u8])> {
    let mut fields = line.split(|&byte| byte == b':');
    let (name, id) = (fields.next()?, fields.nth(1)?);
    let is_name = !name.is_empty() && name.len() <= MAX_NAME && !b"#+-".contains(name.first()?);
    // No sign, which `parse` would take.
    let id = str::from_utf8(id).ok().filter(|id| !id.starts_with('+'))?;
    Some((id.parse().ok().filter(|_| is_name)?, name))
}

#[cfg(test)]
mod tests;
