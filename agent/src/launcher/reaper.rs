//! The first process of a container that wants one beside its command (`--init`): it starts the command, passes
//! signals on to it, waits for whoever has lost their parents, and ends as the command does. It is this program,
//! executed anew in the container: it has nothing of the launcher's but its arguments.

use std::convert::Infallible;
use std::env;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid, getsid, setpgid, tcsetpgrp, write};

use super::execution::{Executable, die_with_parent, report};
use super::signal::set_default;
use super::{LauncherError, Tried};

/// What the first process is told: by its command line, which everybody in the container may read.
#[derive(Debug)]
pub(crate) struct Reaper {
    /// Where errors are written to; closed when the command takes over.
    pub(crate) report: RawFd,
    /// The signals that the command should find blocked.
    pub(crate) blocked: Vec<i32>,
    pub(crate) command: Vec<String>,
}

/// The launcher's program, opened where it is known to be that.
pub(super) struct Program(OwnedFd);

impl Program {
    pub(super) fn open() -> Result<Self, LauncherError> {
        const SELF: &str = "/proc/self/exe";
        let program = open(SELF, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
        Ok(Self(program.tried(|| format!("open {SELF}"))?))
    }

    /// Its execution as the first process of the container. Signals are blocked until it is ready for them.
    pub(super) fn prepare(
        self,
        report: &UnixStream,
        blocked: &SigSet,
        command: &[String],
        env: &[String],
    ) -> Result<Executable, LauncherError> {
        let what = || "prepare a first process for the command (--init)".to_owned();
        SigSet::all().thread_set_mask().tried(what)?;
        fcntl(report, FcntlArg::F_SETFD(FdFlag::empty())).tried(what)?;
        let blocked: Vec<_> = blocked.iter().map(|signal| (signal as i32).to_string()).collect();
        let mut arguments = ["shrike", "container", "reap"].map(str::to_owned).to_vec();
        arguments.push(format!("--report={}", report.as_raw_fd()));
        arguments.extend(blocked.iter().map(|signal| format!("--blocked={signal}")));
        arguments.push("--".to_owned());
        arguments.extend_from_slice(command);
        Executable::by_descriptor(self.0, &arguments, env)
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Reaper {
    /// Starts the command, and returns its exit code at its end.
    pub(crate) fn run(self) -> u8 {
        // SAFETY: whoever executes this program with the option hands the descriptor over.
        let report_to = unsafe { OwnedFd::from_raw_fd(self.report) };
        let child = match self.start(&report_to) {
            Ok(child) => child,
            Err(error) => {
                // The launcher tells it.
                let _ = write(&report_to, &report(&error));
                return error.exit_code();
            }
        };
        drop(report_to);
        follow(child)
    }

    fn start(&self, report_to: &OwnedFd) -> Result<Pid, LauncherError> {
        let what = || "start the command (--init)".to_owned();
        fcntl(report_to, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).tried(what)?;
        SigSet::all().thread_set_mask().tried(what)?;
        set_default(Signal::SIGCHLD).tried(what)?;
        if getpid() != Pid::from_raw(1) {
            set_child_subreaper(true).tried(what)?;
        }
        let env = env::vars_os().filter_map(|(name, value)| {
            Some(format!("{}={}", name.into_string().ok()?, value.into_string().ok()?))
        });
        let env: Vec<String> = env.collect();
        let executable = Executable::of(&self.command, &env)?;
        // SAFETY: this program has one thread here, so no lock of the C library is held by another one.
        match unsafe { fork() }.tried(what)? {
            ForkResult::Parent { child } => Ok(child),
            ForkResult::Child => {
                let Err(error) = self.become_command(executable);
                let _ = write(report_to, &report(&error));
                // SAFETY: ends the process and does nothing else.
                unsafe { libc::_exit(error.exit_code().into()) }
            }
        }
    }

    fn become_command(&self, executable: Executable) -> Result<Infallible, LauncherError> {
        let what = || "prepare the command (--init)".to_owned();
        die_with_parent()?;
        // With a terminal of its own: what is typed there to interrupt is for the command alone.
        if getsid(None) == Ok(getppid()) {
            setpgid(Pid::from_raw(0), Pid::from_raw(0)).tried(what)?;
            // There may be none.
            let _ = tcsetpgrp(io::stdin(), getpid());
        }
        set_default(Signal::SIGPIPE).tried(what)?;
        let blocked = self.blocked.iter().filter_map(|&signal| Signal::try_from(signal).ok());
        blocked.collect::<SigSet>().thread_set_mask().tried(what)?;
        executable.execute()
    }
}

/// Passes signals on to the command, and waits for orphans, until the command ends.
fn follow(child: Pid) -> u8 {
    let all = SigSet::all();
    loop {
        let mut signal = 0;
        // SAFETY: the set and the number outlive the call.
        if unsafe { libc::sigwait(all.as_ref(), &raw mut signal) } != 0 {
            continue;
        }
        if signal != libc::SIGCHLD {
            // SAFETY: takes numbers; the command has not been waited for, so that its pid is its own.
            unsafe { libc::kill(child.as_raw(), signal) };
            continue;
        }
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            match status {
                WaitStatus::Exited(pid, code) if pid == child => {
                    return u8::try_from(code).unwrap_or(u8::MAX);
                }
                WaitStatus::Signaled(pid, signal, _) if pid == child => {
                    return 128 + u8::try_from(signal as i32).unwrap_or_default();
                }
                WaitStatus::StillAlive => break,
                _ => {}
            }
        }
    }
}
