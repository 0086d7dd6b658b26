//! The signals of a launcher: it passes them on to its container, and ends cleanly if there is none yet.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::{LauncherError, Tried};

/// Signals that are passed on to the container.
const FORWARDED: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Signals that are waited for instead of ending the launcher.
pub(super) struct Signals {
    pub(super) fd: SignalFd,
    /// What was blocked before.
    pub(super) before: SigSet,
}

impl Signals {
    pub(super) fn block() -> Result<Self, LauncherError> {
        let set: SigSet = FORWARDED.into_iter().collect();
        let before =
            set.thread_swap_mask(SigmaskHow::SIG_BLOCK).tried(|| "block signals".to_owned())?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&set, flags).tried(|| "receive signals".to_owned())?;
        Ok(Self { fd, before })
    }

    /// An error if a signal has arrived that asks for the end, while there is no container to pass it on to.
    pub(super) fn check(&self) -> Result<(), LauncherError> {
        match self.next() {
            Some(signal @ (Signal::SIGUSR1 | Signal::SIGUSR2)) => {
                tracing::debug!("{signal} is not passed on: there is no container yet");
                Ok(())
            }
            Some(signal) => Err(LauncherError::Interrupted(signal)),
            None => Ok(()),
        }
    }

    /// A signal that has arrived.
    pub(super) fn next(&self) -> Option<Signal> {
        let info = self.fd.read_signal().ok()??;
        Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()
    }
}

/// Has this task mind all signals in their usual ways: what the launcher ignores, or was told to, is not the
/// command's.
pub(super) fn reset() {
    /// The last one of those in real time.
    const LAST: libc::c_int = 64;
    // What the kernel takes for the usual way, without flags. The C library has signals of its own, and lets
    // nobody change them.
    let usual = [0_u64; 4];
    let none: *const u64 = std::ptr::null();
    for number in 1..=LAST {
        // SAFETY: the kernel's struct has four words, and those signals that cannot be changed are left alone.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, number, usual.as_ptr(), none, size_of::<u64>())
        };
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // A signal that came too late for the container ends the launcher, now that all is cleaned
        // up. The mask was valid before.
        let _ = self.before.thread_set_mask();
    }
}
