//! The launcher's own program, which no container may write: one can always execute it, as
//! `/proc/self/exe` or by a script with that interpreter, and write to it later by what it was
//! handed then (CVE-2019-5736).

use std::convert::Infallible;
use std::env;
use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::AtFlags;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::execveat;

use super::mount::{Depth, c_string, set_read_only};
use super::{LauncherError, Tried};

const SELF: &str = "/proc/self/exe";

/// Sees to it that the program is on a mount that is read-only: if it is not, executes it again from a mount
/// of its own, which is nowhere to be found. Must be called before anything is begun.
pub(super) fn ensure() -> Result<(), LauncherError> {
    let is_sealed = statvfs(SELF).is_ok_and(|stat| stat.flags().contains(FsFlags::ST_RDONLY));
    if is_sealed {
        return Ok(());
    }
    let Err(error) = execute_again();
    Err(error).tried(|| "protect the launcher's program from containers".to_owned())
}

fn execute_again() -> io::Result<Infallible> {
    let program = clone_mount()?;
    set_read_only(&program, Depth::Mount)?;
    let arguments = env::args_os().map(|argument| c_string(&argument));
    let arguments: Vec<CString> = arguments.collect::<Result<_, _>>()?;
    let environment = env::vars_os().map(|(name, value)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).map_err(io::Error::from)
    });
    let environment: Vec<CString> = environment.collect::<Result<_, _>>()?;
    Ok(execveat(&program, c"", &arguments, &environment, AtFlags::AT_EMPTY_PATH)?)
}

/// A mount of the program alone, which is not attached anywhere (`open_tree(2)`).
fn clone_mount() -> io::Result<OwnedFd> {
    let path = c_string(SELF)?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the text ends with NUL and outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
