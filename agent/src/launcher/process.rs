//! A container from its beginning to its end, seen from outside: its first task is made in new
//! namespaces and in its cgroup by one `clone3`, watched by a pidfd, and cleaned up after.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::cgroup::Cgroup;
use super::detached::Detached;
use super::device::Devices;
use super::execution::{self, Execution, GO, read_report};
use super::image::{Image, ImageConfig};
use super::init::Init;
use super::log::Log;
use super::monitor;
use super::network::Membership;
use super::record::{End, Process};
use super::rootfs::{self, Sources};
use super::signal::Signals;
use super::state::{State, is_at};
use super::stdio::Stdio;
use super::storage;
use super::task::{Task, clone3};
use super::userns::UserNamespace;
use super::{
    ContainerId, LauncherError, PidMode, Root, Sharing, Spec, Tried, UserMode, seal, seccomp,
    ulimit,
};

/// A command that does not mind being asked to end is killed when it is asked that often.
const LAST_WARNING: u32 = 3;

/// Runs a container and returns its command's exit code: 128 and the signal's number if a signal
/// ended it. Nothing of it is left afterwards.
pub(crate) fn run(spec: &Spec) -> Result<u8, LauncherError> {
    let signals = begin(spec)?;
    let state = State::create(spec, false)?;
    perform(state, &signals, Stdio::inherited(), || Ok(()))
}

/// Runs a container in the background, and comes back when its command has been started. It is removed when
/// that has ended, unless it is kept.
pub(crate) fn run_detached(spec: &Spec, is_kept: bool) -> Result<(), LauncherError> {
    let signals = begin(spec)?;
    let mut state = State::create(spec, false)?;
    if is_kept {
        state.keep();
    }
    detach(state, &signals)
}

/// Makes a container, which is started later.
pub(crate) fn create(spec: &Spec) -> Result<(), LauncherError> {
    spec.check()?;
    seccomp::prepare(spec)?;
    // Better told now than at its start.
    let (Root::Folder(root) | Root::Archive(root)) = &spec.root;
    fs::metadata(root).tried(|| format!("open {}", root.display()))?;
    State::create(spec, true).map(drop)
}

/// Starts a container that does not run, in the background.
pub(crate) fn start(id: &ContainerId) -> Result<(), LauncherError> {
    seal::ensure()?;
    let signals = Signals::block()?;
    detach(State::open(id)?, &signals)
}

/// Starts a container that does not run, and stays until its command has ended. Returns its exit code.
pub(crate) fn start_attached(id: &ContainerId) -> Result<u8, LauncherError> {
    seal::ensure()?;
    let signals = Signals::block()?;
    perform(State::open(id)?, &signals, Stdio::inherited(), || Ok(()))
}

fn detach(state: State, signals: &Signals) -> Result<(), LauncherError> {
    let files = state.own().to_owned();
    monitor::detach(&files, signals, |started| {
        perform(state, signals, Stdio::logged(&files)?, started)
    })
}

fn begin(spec: &Spec) -> Result<Signals, LauncherError> {
    spec.check()?;
    seal::ensure()?;
    Signals::block()
}

/// Runs a container from its beginning to its end.
fn perform(
    mut state: State,
    signals: &Signals,
    stdio: Stdio,
    started: impl FnOnce() -> Result<(), LauncherError>,
) -> Result<u8, LauncherError> {
    let spec = &state.spec().clone();
    let devices = Devices::find(spec)?;
    let filter = seccomp::prepare(spec)?;
    let volumes = rootfs::volumes(spec)?;
    let (root, config) = provide_root(spec, &state, signals)?;
    let (membership, files) = Membership::join(spec, &state, signals)?.unzip();
    let sources = Sources { root, volumes, files: files.unwrap_or_default() };
    let process = process(spec, config)?;
    let execution = Execution {
        spec,
        process: &process,
        capabilities: spec.capability_set(),
        filter: filter.as_ref(),
        signals: signals.before,
    };
    let membership = membership.as_ref();
    let init = Init { spec, sources: &sources, devices: &devices, membership, execution };
    let cgroup = Cgroup::create(&state, &spec.resources, &devices)?;
    let (launcher, theirs) = UnixStream::pair().tried(|| "make a socket".to_owned())?;
    let unified = cgroup.open_unified()?;
    // The task has descriptors of the host's until the command takes over.
    execution::hide_from_tracers()?;
    let task = clone3(namespaces(spec), unified.as_ref());
    let task =
        task.tried(|| "make the namespaces (are there limits in /proc/sys/user?)".to_owned());
    let Some(task) = task? else {
        drop(launcher);
        execution::run(theirs, |launcher| {
            stdio.take()?;
            init.perform(launcher)
        })
    };
    drop((theirs, unified));
    let mut log = stdio.log();
    let attach = || membership.map_or(Ok(()), |joined| joined.attach(task.pid));
    let outcome = adjust(spec, &sources, &cgroup, &task)
        .and_then(|()| attach())
        .and_then(|()| state.take_pid(task.pid))
        .and_then(|()| let_go(launcher))
        .and_then(|()| state.start(process.clone()))
        .and_then(|()| started())
        .and_then(|()| watch(&task, signals, log.as_mut()));
    if outcome.is_err() {
        // It may have ended by itself, and is to be waited for in any case.
        let _ = task.signal(Signal::SIGKILL);
        let _ = task.wait();
    }
    let code = outcome?;
    let killed = cgroup.killed_for_memory().unwrap_or_default();
    if killed > 0 {
        tracing::warn!(
            "the kernel has killed {killed} of the container's processes: it had no memory left \
             (--memory)"
        );
    }
    // Nothing writes any more then.
    drop(cgroup);
    let log_lost = log.map_or(0, Log::finish);
    state.end(End { at: Timestamp::now(), code, oom_killed: killed > 0, log_lost })?;
    Ok(code)
}

/// What is executed, by what was asked for and what the image says.
fn process(spec: &Spec, config: ImageConfig) -> Result<Process, LauncherError> {
    let args = if spec.command.is_empty() { config.command } else { spec.command.clone() };
    if args.is_empty() {
        return Err(LauncherError::NoCommand);
    }
    let cwd = spec.workdir.clone().or(config.workdir);
    Ok(Process {
        args,
        env: config.env.into_iter().chain(spec.env.iter().cloned()).collect(),
        cwd: cwd.unwrap_or_else(|| "/".into()),
        user: spec.user.or(config.user).unwrap_or_default(),
    })
}

/// Lets a task go on, and comes back when its command has taken over.
pub(super) fn let_go(mut task: UnixStream) -> Result<(), LauncherError> {
    task.write_all(&[GO]).tried(|| "start the container".to_owned())?;
    // Closed without a word when the command takes over.
    let mut report = Vec::new();
    task.read_to_end(&mut report).tried(|| "hear from the container".to_owned())?;
    read_report(&report).map_or(Ok(()), Err)
}

/// Adds the first task to what it was not born in, and sets whom the container's files belong to.
fn adjust(
    spec: &Spec,
    sources: &Sources,
    cgroup: &Cgroup,
    task: &Task,
) -> Result<(), LauncherError> {
    cgroup.join_legacy(task.pid.unsigned_abs())?;
    if spec.users == UserMode::Remapped {
        sources.map(spec, &UserNamespace::map(task.pid)?)?;
    }
    allow(spec, task)?;
    match &spec.pid_file {
        Some(file) => {
            fs::write(file, format!("{}\n", task.pid)).tried(|| format!("write {}", file.display()))
        }
        None => Ok(()),
    }
}

/// Sets what only the host's root may set of a task that executes something.
pub(super) fn allow(spec: &Spec, task: &Task) -> Result<(), LauncherError> {
    if let Some(adjustment) = spec.oom_score_adj {
        fs::write(format!("/proc/{}/oom_score_adj", task.pid), adjustment.to_string())
            .tried(|| format!("set oom_score_adj to {adjustment}"))?;
    }
    spec.ulimits.iter().try_for_each(|limit| ulimit::allow(task.pid, limit))
}

/// Passes signals on, and writes down what is said, until the task ends. Returns its exit code.
pub(super) fn watch(
    task: &Task,
    signals: &Signals,
    mut log: Option<&mut Log>,
) -> Result<u8, LauncherError> {
    let mut warnings = 0;
    loop {
        let watched = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![watched(task.pidfd.as_fd()), watched(signals.fd.as_fd())];
        fds.extend(log.iter().flat_map(|log| log.pipes()).map(watched));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).tried(|| "wait for the container".to_owned()),
        }
        let has_ended = fds.first().and_then(PollFd::any).unwrap_or(false);
        drop(fds);
        if has_ended {
            return task.wait().tried(|| "wait for the container".to_owned());
        }
        if let Some(log) = &mut log {
            log.drain();
        }
        while let Some(mut signal) = signals.next() {
            if matches!(signal, Signal::SIGINT | Signal::SIGTERM) {
                warnings += 1;
                if warnings >= LAST_WARNING {
                    signal = Signal::SIGKILL;
                }
            }
            // It may just have ended.
            let _ = task.signal(signal);
        }
    }
}

/// The root file system, and what the image says of it.
fn provide_root(
    spec: &Spec,
    state: &State,
    signals: &Signals,
) -> Result<(Detached, ImageConfig), LauncherError> {
    match &spec.root {
        Root::Folder(folder) => {
            let folder = fs::canonicalize(folder).tried(|| format!("open {}", folder.display()))?;
            if !folder.is_dir() {
                return Err(LauncherError::NoRootfs(folder));
            }
            let opened = File::open(&folder).tried(|| format!("open {}", folder.display()))?;
            if is_at(&opened, Path::new("/")) {
                return Err(LauncherError::HostRootfs(folder));
            }
            Ok((Detached::open(&folder)?, ImageConfig::default()))
        }
        Root::Archive(archive) => {
            let mut image = Image::open(archive)?;
            let config = image.config()?;
            spec.check_user(config.user)?;
            // An overlay cannot be shown with other owners.
            let is_shared = spec.users == UserMode::Host;
            Ok((storage::provide(&mut image, state, signals, is_shared)?, config))
        }
    }
}

/// The `CLONE_NEW*` flags of what the container does not share. Its cgroup namespace comes later: the
/// task must be in its cgroups by then.
fn namespaces(spec: &Spec) -> libc::c_int {
    let mut flags = libc::CLONE_NEWNS;
    if spec.uts == Sharing::Private {
        flags |= libc::CLONE_NEWUTS;
    }
    if spec.ipc == Sharing::Private {
        flags |= libc::CLONE_NEWIPC;
    }
    if spec.pid == PidMode::Private {
        flags |= libc::CLONE_NEWPID;
    }
    if spec.network.is_own() {
        flags |= libc::CLONE_NEWNET;
    }
    // The others belong to it then.
    if spec.users == UserMode::Remapped {
        flags |= libc::CLONE_NEWUSER;
    }
    flags
}
