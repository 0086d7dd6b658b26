//! The folder of a process in `/proc`. What is read from it is that process's: once it has ended nothing more is
//! found there, whoever has its pid then.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::mem;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::Mode;
use shrike_common::{Pid, StartTime};

use super::same;
use super::stat::Stat;

/// What nearly every file has room in.
const ROOM: usize = 4096;

/// The most bytes that are read of `stat`, `status` and their like.
const SHORT: usize = 16 << 10;

/// What `/proc` shows behind the path of a file that has no name any more.
const DELETED: &[u8] = b" (deleted)";

/// The flags to open a folder with.
const FOLDER: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// The folder of a process, or of a thread.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

impl Folder {
    /// That of whichever process has this pid.
    pub(crate) fn open(proc: &Path, pid: Pid) -> io::Result<Self> {
        Ok(Self(open(&proc.join(pid.0.to_string()), FOLDER, Mode::empty())?))
    }

    /// That of the process with this pid that started at that time; `None` if it has ended.
    pub(crate) fn of(proc: &Path, pid: Pid, start: StartTime) -> Option<Self> {
        let folder = Self::open(proc, pid).ok()?;
        folder.stat().is_ok_and(|stat| same(stat.start, start)).then_some(folder)
    }

    /// The names of its threads that have not been reaped.
    pub(super) fn threads(&self) -> io::Result<Vec<CString>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut tasks = Dir::openat(&self.0, "task", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in tasks.iter() {
            let name = entry?.file_name().to_owned();
            names.extend((!name.to_bytes().starts_with(b".")).then_some(name));
        }
        Ok(names)
    }

    /// The folder of one of its threads.
    pub(super) fn thread(&self, name: &CStr) -> io::Result<Self> {
        let path = [b"task/", name.to_bytes()].concat();
        Ok(Self(openat(&self.0, &*path, FOLDER, Mode::empty())?))
    }

    /// Its root directory.
    pub(crate) fn root(&self) -> Result<OwnedFd, Errno> {
        openat(&self.0, "root", FOLDER, Mode::empty())
    }

    pub(super) fn stat(&self) -> io::Result<Stat> {
        Stat::parse(&self.short("stat")?).ok_or(ErrorKind::InvalidData.into())
    }

    /// A file of a few lines.
    pub(crate) fn short(&self, name: &str) -> io::Result<Vec<u8>> {
        self.content(name, SHORT)
    }

    /// The beginning of a file: what a process writes over its own arguments may have any length.
    pub(super) fn content(&self, name: &str, most: usize) -> io::Result<Vec<u8>> {
        let file = openat(&self.0, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let (mut file, mut content) = (File::from(file), vec![0; most.min(ROOM)]);
        let mut length = 0;
        // These files are read to the end or until there is no more room: where there is some left, there is no
        // need to ask again.
        while let Some(room) = content.get_mut(length..).filter(|room| !room.is_empty()) {
            let read = file.read(room)?;
            let is_all = read < room.len();
            length += read;
            if is_all {
                break;
            }
            if length == content.len() {
                content.resize((2 * length).min(most), 0);
            }
        }
        content.truncate(length);
        Ok(content)
    }

    /// What a link of its says.
    pub(super) fn link(&self, name: &str) -> Result<Vec<u8>, Errno> {
        Ok(readlinkat(&self.0, name)?.into_vec())
    }

    /// Where a link of its leads (`exe`, `cwd`), as the probes tell it: without a remark that the file has no name
    /// any more. Kernel threads have no executable. `None` if that takes a right that the agent does not have.
    pub(super) fn target(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let mut path = match self.link(name) {
            Ok(path) => path,
            Err(Errno::ENOENT) => return Ok(Some(Vec::new())),
            Err(Errno::EACCES | Errno::EPERM) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // A file may be called like that.
        if path.ends_with(DELETED) && self.is_unlinked(name) {
            path.truncate(path.len() - DELETED.len());
        }
        Ok(Some(path))
    }

    /// Whether the file that a link leads to has no name any more, as far as is known without asking who serves
    /// its file system: that may be the process, and never answer.
    fn is_unlinked(&self, name: &str) -> bool {
        let Ok(name) = CString::new(name) else { return false };
        // SAFETY: it consists of integers, for which zero is a value.
        let mut stat: libc::statx = unsafe { mem::zeroed() };
        // SAFETY: the name ends with NUL, and there is room for the answer.
        let failed = unsafe {
            libc::statx(
                self.0.as_raw_fd(),
                name.as_ptr(),
                libc::AT_STATX_DONT_SYNC,
                libc::STATX_NLINK,
                &raw mut stat,
            )
        };
        failed == 0 && stat.stx_nlink == 0
    }
}
