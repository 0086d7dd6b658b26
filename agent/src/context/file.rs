//! Files that others than the host's root have put where they are: a container in its root, a user at home. Whoever
//! did may have put anything there, so:
//!
//! - Links are followed within the root only: absolute ones and `..` end there (`RESOLVE_IN_ROOT`), and the links
//!   of `/proc`, which lead anywhere, are refused (`RESOLVE_NO_MAGICLINKS`).
//! - Nothing but a regular file is opened: it is found first (`O_PATH`), which neither waits for the other end
//!   of a FIFO nor wakes a device, and what is opened then is what was found. Files of `/proc` and `/sys` are
//!   refused, though they call themselves regular: to read one can wait, or take away (`/proc/kmsg`).
//! - What is too large is refused whole.
//!
//! What remains: if there is a file system of their own making (FUSE), its server decides when the look-up
//! returns. So this is for threads that may wait.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::sys::statfs::{FsType, PROC_SUPER_MAGIC, SYSFS_MAGIC, fstatfs};

/// File systems of the kernel's whose regular files are none.
const OF_KERNEL: [FsType; 2] = [PROC_SUPER_MAGIC, SYSFS_MAGIC];

/// What is at a path, not opened.
#[derive(Debug)]
pub(super) struct Found {
    place: OwnedFd,
    stat: FileStat,
}

/// Why a file is not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it is no regular file, or one of the kernel's")]
    NotAFile,
    #[error("it has more than {0} bytes")]
    TooLarge(usize),
    #[error("{0}")]
    Unreachable(#[from] Errno),
}

impl Found {
    /// What is at a path below a root; `None` if there is nothing.
    pub(super) fn below(
        root: &OwnedFd,
        path: &(impl NixPath + ?Sized),
    ) -> Result<Option<Self>, Refusal> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let place = match openat2(root, path, how) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            place => place?,
        };
        Ok(Some(Self { stat: fstat(&place)?, place }))
    }

    /// What there was to know when it was found.
    pub(super) fn stat(&self) -> &FileStat {
        &self.stat
    }

    /// Reads it, if it is a file that can be read at once and has no more than `most` bytes.
    pub(super) fn read(&self, most: usize) -> Result<Vec<u8>, Refusal> {
        let Self { place, stat } = self;
        let mode = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        if mode != SFlag::S_IFREG || OF_KERNEL.contains(&fstatfs(place)?.filesystem_type()) {
            return Err(Refusal::NotAFile);
        }
        let mut text = Vec::new();
        // Most of the kernel's other file systems give their files no size.
        if stat.st_size == 0 {
            return Ok(text);
        }
        // Who holds a lease could have an open wait that may (`F_SETLEASE`).
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let path = format!("/proc/self/fd/{}", place.as_raw_fd());
        let opened = File::from(open(&*path, flags, Mode::empty())?);
        // Its size may be another by now: one byte more tells.
        let room = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        opened
            .take(room)
            .read_to_end(&mut text)
            .map_err(|error| Errno::try_from(error).unwrap_or(Errno::EIO))?;
        if text.len() > most { Err(Refusal::TooLarge(most)) } else { Ok(text) }
    }
}
