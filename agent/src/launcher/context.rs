//! File systems that are configured step by step and mounted where nobody sees them (`fsopen(2)`).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::read;

use super::mount::c_string;

/// A file system that is being configured.
pub(super) struct Context(OwnedFd);

impl Context {
    /// Begins with one of this type.
    pub(super) fn open(fs_type: &CStr) -> io::Result<Self> {
        const FSOPEN_CLOEXEC: libc::c_uint = 1;
        // SAFETY: the text ends with NUL.
        let fd =
            answer(unsafe { libc::syscall(libc::SYS_fsopen, fs_type.as_ptr(), FSOPEN_CLOEXEC) })?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sets an option.
    pub(super) fn set(&self, key: &CStr, value: &str) -> io::Result<()> {
        const FSCONFIG_SET_STRING: libc::c_uint = 1;
        let value = c_string(value)?;
        self.configure(FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())
    }

    /// Mounts it, with these of `MOUNT_ATTR_*`: the descriptor is the only way to it.
    pub(super) fn mount(&self, attributes: u64) -> io::Result<OwnedFd> {
        const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
        const FSMOUNT_CLOEXEC: libc::c_uint = 1;
        let none = std::ptr::null();
        self.configure(FSCONFIG_CMD_CREATE, none, none)?;
        // SAFETY: the call takes numbers only.
        let fd = answer(unsafe {
            libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), FSMOUNT_CLOEXEC, attributes)
        })?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn configure(
        &self,
        command: libc::c_uint,
        key: *const libc::c_char,
        value: *const libc::c_char,
    ) -> io::Result<()> {
        let fd = self.0.as_raw_fd();
        // SAFETY: both are null or end with NUL, as the commands want them.
        let result = unsafe { libc::syscall(libc::SYS_fsconfig, fd, command, key, value, 0) };
        answer(result).map(drop).map_err(|error| self.explain(error))
    }

    /// What the file system says about an error, if it says something.
    fn explain(&self, error: io::Error) -> io::Error {
        let mut message = [0; 256];
        match read(self.0.as_fd(), &mut message) {
            Ok(len @ 1..) => {
                let text = String::from_utf8_lossy(message.get(..len).unwrap_or_default());
                io::Error::new(error.kind(), format!("{error}: {}", text.trim_start_matches("e ")))
            }
            _ => error,
        }
    }
}

/// What a system call has answered.
fn answer(result: libc::c_long) -> io::Result<libc::c_int> {
    match libc::c_int::try_from(result) {
        Ok(number @ 0..) => Ok(number),
        Ok(_) => Err(io::Error::last_os_error()),
        Err(_) => Err(Errno::EOVERFLOW.into()),
    }
}
