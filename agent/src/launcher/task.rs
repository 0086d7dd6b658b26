//! A task, by a descriptor that stays its own when its pid becomes another's (`pidfd_open(2)`).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::LauncherError;
use super::errand::Brought;

/// A task.
pub(super) struct Task {
    pub(super) pid: libc::pid_t,
    pub(super) pidfd: OwnedFd,
}

/// Makes a task in new namespaces, in this cgroup from its birth. `None` in the new task.
pub(super) fn clone3(namespaces: libc::c_int, cgroup: Option<&File>) -> io::Result<Option<Task>> {
    /// `libc` has it in a type that is too narrow.
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all bytes zero are a valid `clone_args`.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    let flags = namespaces | libc::CLONE_PIDFD;
    arguments.flags = u64::from(flags.cast_unsigned());
    arguments.pidfd = (&raw mut pidfd) as u64;
    // A child of the launcher's that another one of them makes has that one's.
    if namespaces & libc::CLONE_PARENT == 0 {
        arguments.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: without CLONE_VM the new task has a copy of everything, as after fork(2); this
    // program has one thread here, so no lock of the C library is held by another one.
    let result = unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>())
    };
    match result {
        0 => Ok(None),
        1.. => {
            let pid = libc::pid_t::try_from(result).map_err(io::Error::other)?;
            // SAFETY: the kernel has just made this descriptor for us.
            Ok(Some(Task { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

impl From<Task> for Brought {
    fn from(task: Task) -> Self {
        Self { number: task.pid, fds: vec![task.pidfd] }
    }
}

impl TryFrom<Brought> for Task {
    type Error = LauncherError;

    fn try_from(Brought { number: pid, fds }: Brought) -> Result<Self, LauncherError> {
        let pidfd = fds.into_iter().next();
        let pidfd = pidfd.ok_or_else(|| LauncherError::Setup("it was not handed over".to_owned()));
        Ok(Self { pid, pidfd: pidfd? })
    }
}

impl Task {
    /// The task with this pid, of which there may be another one later.
    pub(super) fn open(pid: libc::pid_t) -> io::Result<Self> {
        // SAFETY: the call takes numbers only.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        match libc::c_int::try_from(result).map_err(io::Error::other)? {
            // SAFETY: the kernel has just made this descriptor for us.
            fd @ 0.. => Ok(Self { pid, pidfd: unsafe { OwnedFd::from_raw_fd(fd) } }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Sends a signal to this very task: its pid may be another's by now.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        self.send(signal as i32)
    }

    /// The same, by its number: those of real time have no other name.
    pub(super) fn send(&self, number: i32) -> io::Result<()> {
        let none: *const libc::siginfo_t = std::ptr::null();
        let fd = self.pidfd.as_raw_fd();
        // SAFETY: the descriptor is open, and no information is handed over.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, number, none, 0) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits for its end and returns the exit code.
    pub(super) fn wait(&self) -> io::Result<u8> {
        loop {
            match waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED) {
                Ok(WaitStatus::Exited(_, code)) => return Ok(u8::try_from(code).unwrap_or(u8::MAX)),
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    return Ok(128 + u8::try_from(signal as i32).unwrap_or_default());
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
