//! Errands: what is done by a process of its own, which it changes, and which brings back descriptors.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use super::execution::{die_with, hide_from_tracers, read_report, report};
use super::{LauncherError, Tried, handover};

/// What the first byte of the answer is if it is none of an error's.
const DONE: u8 = 0;

/// What an errand brings back.
pub(super) struct Brought {
    pub(super) number: i32,
    pub(super) fds: Vec<OwnedFd>,
}

/// Does something in a process of its own. `None` in a further process that the errand has made, which is told
/// from the one on the errand by that.
pub(super) fn run(
    errand: impl FnOnce() -> Result<Option<Brought>, LauncherError>,
) -> Result<Option<Brought>, LauncherError> {
    let (ours, mut theirs) = UnixStream::pair().tried(|| "make a socket".to_owned())?;
    // SAFETY: this program has one thread here, so no lock of the C library is held by another one.
    match unsafe { fork() }.tried(|| "make a process".to_owned())? {
        ForkResult::Child => {
            drop(ours);
            // Whoever is made in a namespace of others is hidden from them from its birth on.
            let outcome = die_with(&theirs).and_then(|()| hide_from_tracers());
            // Nobody is there to read it if the launcher was killed.
            let _ = match outcome.and_then(|()| errand()) {
                Ok(None) => return Ok(None),
                Ok(Some(Brought { number, fds })) => {
                    let answer = [&[DONE], &number.to_ne_bytes()[..]].concat();
                    handover::send(&theirs, &answer, &fds)
                }
                Err(error) => theirs.write_all(&report(&error)),
            };
            // Without the launcher's own clean-up, which this is a copy of.
            // SAFETY: ends the task and does nothing else.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(theirs);
            let answer = handover::receive(&ours);
            wait(child).tried(|| "wait for a process".to_owned())?;
            let (answer, fds) = answer.tried(|| "hear from a process".to_owned())?;
            match answer.split_first() {
                Some((&DONE, number)) => {
                    let number = number.try_into().map(i32::from_ne_bytes).unwrap_or_default();
                    Ok(Some(Brought { number, fds }))
                }
                _ => Err(read_report(&answer).unwrap_or_else(|| {
                    LauncherError::Setup("a process of the launcher's was killed".to_owned())
                })),
            }
        }
    }
}

fn wait(child: Pid) -> nix::Result<()> {
    loop {
        match waitpid(child, None) {
            Err(Errno::EINTR) => {}
            ended => return ended.map(drop),
        }
    }
}
