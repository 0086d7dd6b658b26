//! The process that unpacks layers: the folder that it unpacks into is all that there is to it, since a layer says
//! what it likes about paths and links; and nobody else sees what is mounted for it.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, chdir, chroot, fork, getpid, getppid};

use super::fault::{self, Role};
use super::image::ImageError;
use super::signal::Signals;
use super::{LauncherError, Tried};

/// Whatever takes longer is told.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What the process may have of memory: archives can make their readers keep as much as they say.
const MEMORY: u64 = 1 << 30;

/// Has something unpacked into the folder, which is found, or mounted, in the process itself.
pub(super) fn run<'a>(
    signals: &Signals,
    unpack: impl FnOnce(&Path) -> Result<(), ImageError>,
    folder: impl FnOnce() -> Result<&'a Path, LauncherError>,
) -> Result<(), LauncherError> {
    let (ours, mut theirs) = UnixStream::pair().tried(|| "make a socket".to_owned())?;
    let launcher = getpid();
    // SAFETY: this program has one thread here, so no lock of the C library is held by another one.
    match unsafe { fork() }.tried(|| "make a process that unpacks".to_owned())? {
        ForkResult::Child => {
            drop(ours);
            fault::enter(Role::Unpacker);
            let unpacked = confine(launcher, folder).and_then(|()| Ok(unpack(Path::new("/"))?));
            if let Err(error) = unpacked {
                // Nobody is there to read it if the launcher was killed.
                let _ = write!(theirs, "{:#}", anyhow::Error::from(error));
            }
            // Without the launcher's own clean-up, which this has a copy of.
            // SAFETY: ends the task and does nothing else.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(theirs);
            let outcome = follow(ours, signals);
            if outcome.is_err() {
                // It is a child of ours, so that the number is not another's.
                let _ = kill(child, Signal::SIGKILL);
            }
            let ended = ended(child).tried(|| "wait for what unpacks".to_owned())?;
            match (outcome?.as_str(), ended) {
                ("", WaitStatus::Exited(_, 0)) => Ok(()),
                ("", WaitStatus::Signaled(_, Signal::SIGABRT, _)) => {
                    Err(ImageError::Memory(MEMORY >> 20).into())
                }
                ("", other) => Err(ImageError::Unpacker(format!("it ended with {other:?}")).into()),
                (error, _) => Err(ImageError::Unpacker(error.to_owned()).into()),
            }
        }
    }
}

/// Reads what the process says, which is an error, until it ends.
fn follow(mut stream: UnixStream, signals: &Signals) -> Result<String, LauncherError> {
    let what = || "hear from what unpacks".to_owned();
    stream.set_nonblocking(true).tried(what)?;
    let begin = Instant::now();
    let mut is_told = false;
    let mut error = String::new();
    loop {
        match stream.read_to_string(&mut error) {
            Ok(_) => return Ok(error),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).tried(what),
        }
        if !is_told && begin.elapsed() > PATIENCE {
            is_told = true;
            tracing::info!("unpacking the image");
        }
        let mut fds = [
            PollFd::new(stream.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.fd.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::from(500_u16)) {
            Ok(_) | Err(Errno::EINTR) => signals.check()?,
            Err(errno) => return Err(errno).tried(what),
        }
    }
}

fn ended(child: Pid) -> nix::Result<WaitStatus> {
    loop {
        match waitpid(child, None) {
            Err(Errno::EINTR) => {}
            ended => return ended,
        }
    }
}

/// Makes a folder the root of this process, in mounts of its own.
fn confine<'a>(
    launcher: Pid,
    folder: impl FnOnce() -> Result<&'a Path, LauncherError>,
) -> Result<(), LauncherError> {
    set_pdeathsig(Signal::SIGKILL).tried(|| "follow the launcher's end".to_owned())?;
    if getppid() != launcher {
        // It ended before that: who comes next may remove what is unpacked here.
        return Err(LauncherError::Setup("the launcher has ended".to_owned()));
    }
    setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY).tried(|| "limit its memory".to_owned())?;
    unshare(CloneFlags::CLONE_NEWNS).tried(|| "leave the host's mounts".to_owned())?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .tried(|| "make the mounts private".to_owned())?;
    let folder = folder()?;
    chroot(folder).tried(|| format!("make {} the root", folder.display()))?;
    chdir("/").tried(|| "enter the new root".to_owned())
}
