//! Overlays: folders of which the kernel shows one above the other, and writes to the topmost only.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, fchdir, read};

use super::mount::c_string;

/// The folder in a container's own one that takes what it writes.
pub(super) const UPPER: &str = "upper";

/// The folder that the kernel prepares changes in.
pub(super) const WORK: &str = "work";

/// The folders of an overlay that is not mounted.
pub(super) struct Overlay {
    /// The topmost first.
    lower: Vec<OwnedFd>,
    upper: OwnedFd,
    work: OwnedFd,
}

impl Overlay {
    /// Opens the folders: `lower` from the lowest on, and in `own` those that take what is written.
    pub(super) fn open(lower: &[PathBuf], own: &Path) -> io::Result<Self> {
        let folder = |path: &Path| -> io::Result<OwnedFd> {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            Ok(open(path, flags, Mode::empty())?)
        };
        Ok(Self {
            lower: lower.iter().rev().map(|path| folder(path)).collect::<Result<_, _>>()?,
            upper: folder(&own.join(UPPER))?,
            work: folder(&own.join(WORK))?,
        })
    }

    /// Mounts it where nobody sees it: the descriptor is the only way to it (`fsmount(2)`).
    pub(super) fn mount(&self) -> io::Result<OwnedFd> {
        // An option has 255 bytes at most. In the folder of descriptors a name has two or three.
        let before = open(".", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        chdir("/proc/self/fd")?;
        let mounted = self.mount_from_descriptors();
        fchdir(before.as_fd())?;
        mounted
    }

    fn mount_from_descriptors(&self) -> io::Result<OwnedFd> {
        let name = |fd: &OwnedFd| fd.as_raw_fd().to_string();
        let lower = self.lower.iter().map(name).collect::<Vec<_>>().join(":");
        let context = Context::open(c"overlay")?;
        context.set(c"lowerdir", &lower)?;
        context.set(c"upperdir", &name(&self.upper))?;
        context.set(c"workdir", &name(&self.work))?;
        // A layer has been the upper folder of another overlay, which an index would hold against it.
        context.set(c"index", "off")?;
        context.mount()
    }
}

/// A file system that is being configured (`fsopen(2)`).
struct Context(OwnedFd);

impl Context {
    fn open(fs_type: &CStr) -> io::Result<Self> {
        const FSOPEN_CLOEXEC: libc::c_uint = 1;
        // SAFETY: the text ends with NUL.
        let fd =
            answer(unsafe { libc::syscall(libc::SYS_fsopen, fs_type.as_ptr(), FSOPEN_CLOEXEC) })?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn set(&self, key: &CStr, value: &str) -> io::Result<()> {
        const FSCONFIG_SET_STRING: libc::c_uint = 1;
        let value = c_string(value)?;
        self.configure(FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())
    }

    fn mount(&self) -> io::Result<OwnedFd> {
        const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
        const FSMOUNT_CLOEXEC: libc::c_uint = 1;
        let none = std::ptr::null();
        self.configure(FSCONFIG_CMD_CREATE, none, none)?;
        // SAFETY: the call takes numbers only.
        let fd = answer(unsafe {
            libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), FSMOUNT_CLOEXEC, 0)
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
