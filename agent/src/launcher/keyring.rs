//! The session keyring of a container: keys of whoever starts it are none of its own.

use std::fs;
use std::io;

use super::selinux::Contexts;
use super::{LauncherError, Tried};

/// What `SELinux` is to know a new key by, as the kernel is told it; nothing for what it would do by itself.
const ATTRIBUTE: &str = "/proc/thread-self/attr/keycreate";

/// Gives this task a session keyring of its own, empty. It is for the processes of that context.
pub(super) fn join_new(contexts: Option<&Contexts>) -> Result<(), LauncherError> {
    let what = || "give the container a session keyring".to_owned();
    let label = |context: &str| fs::write(ATTRIBUTE, context).tried(what);
    contexts.map_or(Ok(()), |contexts| label(&contexts.process))?;
    join().tried(what)?;
    contexts.map_or(Ok(()), |_| label("\n"))
}

fn join() -> io::Result<()> {
    /// `KEYCTL_JOIN_SESSION_KEYRING`.
    const JOIN: libc::c_ulong = 1;
    let no_name: *const libc::c_char = std::ptr::null();
    // SAFETY: without a name the operation touches no memory.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, JOIN, no_name) };
    match io::Error::last_os_error() {
        _ if joined >= 0 => Ok(()),
        // A kernel without keys (CONFIG_KEYS).
        error if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        error => Err(error),
    }
}
