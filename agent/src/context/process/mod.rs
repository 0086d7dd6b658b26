//! Processes: what each one runs and where it came from. The table is filled from `/proc` once the
//! probes are attached, follows their events from then on, and is compared with `/proc` again when
//! events were lost.

mod environment;
mod folder;
mod merge;
mod place;
mod scan;
mod stat;
mod table;
mod text;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;

use shrike_common::{Control, Exec, Pid, StartTime, Uid};

pub(crate) use environment::without_password;
pub(crate) use folder::Folder;
pub(crate) use place::{Cgroup, Place};
pub(crate) use scan::Scan;
pub(crate) use table::Processes;

/// The most processes in the table; beyond, new ones are known by their events' headers only.
const CAPACITY: usize = 131_072;

/// Nanoseconds in a clock tick of `/proc` (`USER_HZ`).
const TICK: u64 = Control::TICK;

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    /// When it started; rounded down to a tick until an event tells it.
    pub(crate) start: StartTime,
    /// Its parent when the table came to know it, and when that one started; 0 if not known. A
    /// process that is left behind keeps the one that it had.
    pub(crate) parent: (Pid, StartTime),
    /// What it belongs to.
    pub(crate) standing: Standing,
    /// Its pid in its own pid namespace.
    pub(crate) vpid: Pid,
    /// Where it is.
    pub(crate) place: Arc<Place>,
    name: Name,
    image: Image,
    /// The latest time at which it is known to have been there.
    heard: u64,
    /// When it ended.
    ended: Option<u64>,
    /// How many processes in the table are linked to it as their parent.
    children: u32,
    /// Whether its parent counts it.
    is_linked: bool,
    /// Whether it was created by a child of its parent, and so runs what that one ran.
    is_sibling: bool,
}

/// What a process belongs to, as of its last exec, or when it was created or last scanned: no event tells of
/// `setsid(2)` and its like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Standing {
    /// Its process group.
    pub(crate) group: Pid,
    /// Its session.
    pub(crate) session: Pid,
    /// Its controlling terminal (kernel `dev_t`); 0 if it has none.
    pub(crate) tty: u32,
    /// The user who has logged in; [`Standing::NOBODY`] if nobody has.
    pub(crate) loginuid: Uid,
}

/// What a process runs.
#[derive(Clone, Debug, Default)]
struct Image {
    exe: Arc<[u8]>,
    /// Each is ended by NUL.
    args: Arc<[u8]>,
    /// Those of its environment that are told, likewise.
    env: Arc<[u8]>,
    cwd: Arc<[u8]>,
    /// 0 if not known.
    inode: u64,
    dev: u32,
    /// A set of `Exec::UPPER` and `Exec::UNLINKED`.
    file: u32,
    /// Whether there may be more arguments.
    is_args_cut: bool,
    /// Whether there may be more of its environment that would be told.
    is_env_cut: bool,
    /// The time of which this is known: of the exec, or of the scan; 0 if it is a guess. A child
    /// inherits it.
    since: u64,
}

/// The name of a thread.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Name([u8; Name::LEN]);

/// A process in the table. Whether it is the one that is meant, [`same`] says.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    pid: Pid,
    /// When it started, in ticks: scans and events agree on that.
    tick: u64,
}

impl Process {
    /// The name of its main thread.
    pub(crate) fn name(&self) -> &[u8] {
        self.name.bytes()
    }

    /// The path of its executable; empty if not known.
    pub(crate) fn exe(&self) -> &[u8] {
        &self.image.exe
    }

    /// The inode number of its executable and the device of the superblock (kernel `dev_t`), if an
    /// event told them.
    pub(crate) fn exe_file(&self) -> Option<(u64, u32)> {
        (self.image.inode != 0).then_some((self.image.inode, self.image.dev))
    }

    /// Whether its executable is in the layer of an overlay that is written to; `None` if no event told.
    pub(crate) fn is_upper(&self) -> Option<bool> {
        self.exe_file().map(|_| self.image.file & Exec::UPPER != 0)
    }

    /// The arguments, the program's own name first.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = &[u8]> {
        arguments(self.raw_arguments())
    }

    /// The variables of its environment that are told.
    pub(crate) fn environment(&self) -> impl Iterator<Item = &[u8]> {
        arguments(&self.image.env)
    }

    /// Whether there may be more arguments, or more of the last one.
    pub(crate) fn is_arguments_cut(&self) -> bool {
        self.image.is_args_cut
    }

    /// Whether there may be more of these.
    pub(crate) fn is_environment_cut(&self) -> bool {
        self.image.is_env_cut
    }

    /// The directory that it was in when it executed its program; empty if not known.
    pub(crate) fn cwd(&self) -> &[u8] {
        &self.image.cwd
    }

    /// The arguments, each ended by NUL.
    pub(crate) fn raw_arguments(&self) -> &[u8] {
        &self.image.args
    }

    /// Whether no other process has the very same arguments.
    pub(crate) fn has_own_arguments(&self) -> bool {
        // The other handle is that of all texts.
        Arc::strong_count(&self.image.args) <= 2
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }
}

impl Standing {
    /// What the kernel has where nobody has logged in.
    pub(crate) const NOBODY: Uid = Uid(u32::MAX);
}

impl Default for Standing {
    /// Of one of which nothing is known.
    fn default() -> Self {
        Self { group: Pid(0), session: Pid(0), tty: 0, loginuid: Self::NOBODY }
    }
}

impl Image {
    /// The image of a child that was created at `time`.
    fn inherited(&self, time: u64) -> Self {
        // A scan may have seen later what its parent runs.
        let since = if self.since <= time { self.since } else { 0 };
        Self { since, ..self.clone() }
    }
}

impl Name {
    /// As `task_struct.comm` has it.
    const LEN: usize = 16;

    fn new(bytes: &[u8]) -> Self {
        let mut name = [0; Self::LEN];
        for (to, from) in name.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self(name)
    }

    fn bytes(&self) -> &[u8] {
        self.0.split(|&byte| byte == 0).next().unwrap_or_default()
    }
}

impl Key {
    fn new(pid: Pid, start: StartTime) -> Self {
        Self { pid, tick: start.0 / TICK }
    }
}

/// Arguments that are each ended by NUL.
pub(crate) fn arguments(args: &[u8]) -> impl Iterator<Item = &[u8]> {
    let list = args.strip_suffix(b"\0").unwrap_or(args);
    list.split(|&byte| byte == 0).filter(|_| !args.is_empty())
}

/// This process.
pub(crate) fn own() -> io::Result<(Pid, StartTime)> {
    let pid = Pid(std::process::id());
    Ok((pid, Folder::open(Path::new("/proc"), pid)?.stat()?.start))
}

/// Whether two start times are of one process: `/proc` counts in ticks, events in nanoseconds. Two of
/// events differ also within a tick.
fn same(a: StartTime, b: StartTime) -> bool {
    let is_rounded = a.0.is_multiple_of(TICK) || b.0.is_multiple_of(TICK);
    a == b || (is_rounded && a.0 / TICK == b.0 / TICK)
}
