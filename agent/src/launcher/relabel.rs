//! Files that get another context of `SELinux`: where a file system shows what is on a disk, its files are known
//! by what is written there.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat, stat};

use super::detached::Detached;
use super::mount::{by_descriptor, c_string, is_folder};
use super::{LauncherError, Tried};

/// What a system consists of: whoever shows one of these to a container does not mean that nothing else can use it
/// any more.
const REFUSED: [&str; 22] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt",
    "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib",
    "/var/log",
];

/// Gives a file, or a folder with all that is in it, to those who may use files of this context. It goes by
/// descriptors, since what is in there may be exchanged meanwhile by who has it, and follows no link.
pub(super) fn relabel(files: &Detached, context: &str) -> Result<(), LauncherError> {
    let what = || format!("give {} the context {context}", files.source().display());
    let root = files.root().tried(what)?;
    let own = fstat(&root).tried(what)?;
    let is_own = |path: &str| {
        stat(path).is_ok_and(|other| (other.st_dev, other.st_ino) == (own.st_dev, own.st_ino))
    };
    if REFUSED.into_iter().any(is_own) {
        return Err(LauncherError::NotRelabelled(files.source().to_owned()));
    }
    c_string(context).and_then(|context| relabel_all(root.as_fd(), &context)).tried(what)
}

/// The same for the root of a file system that takes no context when it is mounted.
pub(super) fn mark(root: BorrowedFd<'_>, context: &str) -> io::Result<()> {
    set(root, &c_string(context)?)
}

fn relabel_all(at: BorrowedFd<'_>, context: &CStr) -> io::Result<()> {
    set(at, context)?;
    if !is_folder(at)? {
        return Ok(());
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut folder = Dir::openat(at, ".", flags, Mode::empty())?;
    let names = folder.iter().map(|entry| entry.map(|entry| entry.file_name().to_owned()));
    for name in names.collect::<Result<Vec<_>, _>>()? {
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(at, OsStr::from_bytes(name.to_bytes()), flags, Mode::empty()) {
            Ok(entry) => relabel_all(entry.as_fd(), context)?,
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Sets the context of what is open.
fn set(at: BorrowedFd<'_>, context: &CStr) -> io::Result<()> {
    let path = c_string(&by_descriptor(&at.as_raw_fd()))?;
    let value = context.to_bytes_with_nul();
    // SAFETY: both names end with NUL, and the value is as long as is said.
    let result = unsafe {
        libc::setxattr(
            path.as_ptr(),
            c"security.selinux".as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
