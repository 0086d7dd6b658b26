//! The launcher of a container in the background: a process of its own, which nobody waits for. It stays as long
//! as the container runs, writes its log and its end down, and takes it along if it is killed.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::kill;
use nix::unistd::{ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

use super::execution::{read_report, report};
use super::signal::Signals;
use super::{LauncherError, Tried};

/// What it sends when the command has been started.
const STARTED: &[u8] = b"s";

/// What it has to say afterwards, in the folder of the container's files.
const FILE: &str = "launcher.log";

/// Has `work` done by a process of its own, and comes back as soon as that says that it has started, or why it
/// could not. What `work` owns is that process's alone from then on. `files` has room for what it has to say later.
pub(super) fn detach<W>(files: &Path, signals: &Signals, work: W) -> Result<(), LauncherError>
where
    W: FnOnce(&mut dyn FnMut() -> Result<(), LauncherError>) -> Result<u8, LauncherError>,
{
    let (ours, theirs) = UnixStream::pair().tried(|| "make a socket".to_owned())?;
    // SAFETY: this program has one thread here, so no lock of the C library is held by another one.
    let forked = unsafe { fork() };
    match forked.tried(|| "make a process for the launcher".to_owned())? {
        ForkResult::Parent { child } => {
            std::mem::forget(work);
            drop(theirs);
            wait_for(child, ours, signals)
        }
        ForkResult::Child => {
            drop(ours);
            let is_done = monitor(files, theirs, work);
            std::process::exit(i32::from(!is_done))
        }
    }
}

/// Does the work, and reports to whoever waits that it has started, or why it could not.
fn monitor<W>(files: &Path, mut waiting: UnixStream, work: W) -> bool
where
    W: FnOnce(&mut dyn FnMut() -> Result<(), LauncherError>) -> Result<u8, LauncherError>,
{
    // It cannot fail: a process that was just made leads no group.
    let _ = setsid();
    let mut has_started = false;
    let outcome = work(&mut || {
        leave_terminal(files).tried(|| format!("write {}", files.join(FILE).display()))?;
        has_started = true;
        // Nobody is there to read it if the one that waited was killed.
        let _ = waiting.write_all(STARTED);
        let _ = waiting.shutdown(std::net::Shutdown::Both);
        Ok(())
    });
    match outcome {
        Ok(_) => return true,
        Err(error) if has_started => tracing::error!("{:#}", anyhow::Error::from(error)),
        Err(error) => drop(waiting.write_all(&report(&error))),
    }
    false
}

/// What is said from now on goes to a file, and no folder is kept from being unmounted.
fn leave_terminal(files: &Path) -> io::Result<()> {
    let log = OpenOptions::new().append(true).create(true).open(files.join(FILE))?;
    let nothing = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(nothing.as_fd())?;
    dup2_stdout(nothing.as_fd())?;
    dup2_stderr(log.as_fd())?;
    Ok(chdir("/")?)
}

/// Waits for what the monitor has to say; signals that come meanwhile are for it.
fn wait_for(monitor: Pid, mut stream: UnixStream, signals: &Signals) -> Result<(), LauncherError> {
    let mut said = Vec::new();
    loop {
        let mut fds = [
            PollFd::new(stream.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.fd.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).tried(|| "wait for the launcher".to_owned()),
        }
        while let Some(signal) = signals.next() {
            // It may just have ended.
            let _ = kill(monitor, signal);
        }
        if fds[0].any().unwrap_or(false) {
            stream.read_to_end(&mut said).tried(|| "hear from the launcher".to_owned())?;
            break;
        }
    }
    if said == STARTED {
        return Ok(());
    }
    Err(read_report(&said)
        .unwrap_or_else(|| LauncherError::Setup("the launcher was killed".to_owned())))
}
