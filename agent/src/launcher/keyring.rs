//! The session keyring of a container: keys of whoever starts it are none of its own.

use std::io;

use super::{LauncherError, Tried};

/// Gives this task a session keyring of its own, empty.
pub(super) fn join_new() -> Result<(), LauncherError> {
    /// `KEYCTL_JOIN_SESSION_KEYRING`.
    const JOIN: libc::c_ulong = 1;
    let no_name: *const libc::c_char = std::ptr::null();
    // SAFETY: without a name the operation touches no memory.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, JOIN, no_name) };
    match io::Error::last_os_error() {
        _ if joined >= 0 => Ok(()),
        // A kernel without keys (CONFIG_KEYS).
        error if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        error => Err(error).tried(|| "give the container a session keyring".to_owned()),
    }
}
