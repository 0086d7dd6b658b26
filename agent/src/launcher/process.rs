//! A container from its beginning to its end, seen from outside: its first task is made in new
//! namespaces and in its cgroup by one `clone3`, watched by a pidfd, and cleaned up after.

use std::fs::{self, File};
use std::io::{self, Read, Write};
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
use super::first_task::FirstTask;
use super::image::{Image, ImageConfig};
use super::init::Init;
use super::log::Log;
use super::monitor;
use super::namespace::{self, Namespaces};
use super::network::Membership;
use super::record::{End, Process};
use super::rootfs::{self, Sources};
use super::selinux::Contexts;
use super::signal::Signals;
use super::state::{State, is_at};
use super::stdio::Stdio;
use super::storage;
use super::task::{Task, clone3};
use super::terminal::{self, Console};
use super::userns::UserNamespace;
use super::{
    ContainerId, LauncherError, Network, Root, Sharing, Spec, StopSignal, Tried, UserMode, seal,
    seccomp, ulimit,
};

/// A command that does not mind being asked to end is killed when it is asked that often.
const LAST_WARNING: u32 = 3;

/// Runs a container and returns its command's exit code: 128 and the signal's number if a signal
/// ended it. Nothing of it is left afterwards.
pub(crate) fn run(spec: &Spec) -> Result<u8, LauncherError> {
    terminal::check(spec)?;
    let signals = begin(spec)?;
    // Layers need one, and what is written above them; so do networks.
    let needs_disk =
        matches!(spec.root, Root::Archive(_)) || matches!(spec.network, Network::Named(_));
    let state = State::create(spec, false, needs_disk)?;
    perform(state, &signals, Stdio::inherited(), || Ok(()))
}

/// Runs a container in the background, and comes back when its command has been started. It is removed when
/// that has ended, unless it is kept.
pub(crate) fn run_detached(spec: &Spec, is_kept: bool) -> Result<(), LauncherError> {
    let signals = begin(spec)?;
    let mut state = State::create(spec, false, true)?;
    if is_kept {
        state.keep();
    }
    detach(state, &signals)
}

/// Makes a container, which is started later.
pub(crate) fn create(spec: &Spec) -> Result<(), LauncherError> {
    seal::forget_pages();
    spec.check()?;
    seccomp::prepare(spec)?;
    // Better told now than at its start.
    let (Root::Folder(root) | Root::Archive(root)) = &spec.root;
    fs::metadata(root).tried(|| format!("open {}", root.display()))?;
    State::create(spec, true, true).map(drop)
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
    let state = State::open(id)?;
    terminal::check(state.spec())?;
    perform(state, &signals, Stdio::inherited(), || Ok(()))
}

fn detach(state: State, signals: &Signals) -> Result<(), LauncherError> {
    if state.spec().tty {
        return Err(LauncherError::TerminalOfNobody);
    }
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
    let namespaces = Namespaces::find(spec)?;
    let contexts = Contexts::provide(&mut state, signals)?;
    let contexts = contexts.as_ref();
    let volumes = rootfs::volumes(spec)?;
    let (root, config) = provide_root(spec, &state, signals, contexts)?;
    let (membership, files) = Membership::join(spec, &state, signals)?.unzip();
    let files = files.unwrap_or_default();
    let ipc = namespace::ipc_folders(spec)?;
    let context = contexts.map(|contexts| contexts.files.clone());
    let sources = Sources { root, volumes, files, ipc, context };
    let process = process(spec, config)?;
    let execution = Execution {
        spec,
        process: &process,
        contexts,
        capabilities: spec.capability_set(),
        filter: filter.as_ref(),
        signals: signals.before,
    };
    let membership = membership.as_ref();
    let init = Init {
        spec,
        sources: &sources,
        devices: &devices,
        namespaces: &namespaces,
        membership,
        execution,
    };
    let cgroup = Cgroup::create(&state, &spec.resources, &devices)?;
    // As late as can be: it cannot be undone.
    contexts.map_or(Ok(()), |contexts| sources.relabel(spec, contexts, signals))?;
    let (launcher, theirs) = UnixStream::pair().tried(|| "make a socket".to_owned())?;
    let unified = cgroup.open_unified()?;
    // The task has descriptors of the host's until the command takes over.
    execution::hide_from_tracers()?;
    let task = namespaces.with(|flags| {
        clone3(flags | new_namespaces(spec), unified.as_ref())
            .tried(|| "make the namespaces (are there limits in /proc/sys/user?)".to_owned())
    });
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
        .and_then(|()| let_go(launcher, spec))
        .and_then(|console| {
            // It is a child of the launcher's, so that its pid is not another's.
            state.note_first_task(&FirstTask::of(task.pid)?)?;
            state.start(process.clone())?;
            started()?;
            watch(&task, signals, process.stop_signal, log.as_mut(), console)
        });
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
    let args = command(spec, &config);
    if args.is_empty() {
        return Err(LauncherError::NoCommand);
    }
    let cwd = spec.workdir.clone().or(config.workdir);
    Ok(Process {
        args,
        env: config.env.into_iter().chain(spec.env.iter().cloned()).collect(),
        cwd: cwd.unwrap_or_else(|| "/".into()),
        user: spec.user.or(config.user).unwrap_or_default(),
        stop_signal: spec.stop_signal.or(config.stop_signal),
    })
}

/// The command with its arguments, as Docker puts them together.
fn command(spec: &Spec, config: &ImageConfig) -> Vec<String> {
    let (program, arguments) = match &spec.entrypoint {
        // What the image says are arguments of its own program. An empty one takes that away.
        Some(own) => {
            let own = Some(own.clone()).filter(|own| !own.is_empty());
            (own.into_iter().collect(), &[][..])
        }
        None => (config.entrypoint.clone(), config.arguments.as_slice()),
    };
    let arguments = if spec.command.is_empty() { arguments } else { &spec.command };
    [program, arguments.to_vec()].concat()
}

/// Lets the first task go on, and comes back when its command has taken over. Returns its terminal, if it has one.
fn let_go(mut task: UnixStream, spec: &Spec) -> Result<Option<Console>, LauncherError> {
    task.write_all(&[GO]).tried(|| "start the container".to_owned())?;
    if !spec.tty {
        return hear(task, Vec::new()).map(|()| None);
    }
    match Console::receive(&task, spec.interactive)? {
        Ok(console) => hear(task, Vec::new()).map(|()| Some(console)),
        Err(begun) => hear(task, begun).map(|()| None),
    }
}

/// Lets a task that joins a container go on, and comes back when its command has taken over.
pub(super) fn let_join(mut task: UnixStream) -> Result<(), LauncherError> {
    task.write_all(&[GO]).tried(|| "start the command".to_owned())?;
    hear(task, Vec::new())
}

/// Waits until a command has taken over: then the task closes its end without a word.
fn hear(mut task: UnixStream, mut report: Vec<u8>) -> Result<(), LauncherError> {
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
    match spec.users {
        UserMode::Host => {}
        UserMode::Remapped => sources.map(spec, &UserNamespace::map(task.pid)?)?,
        UserMode::Joined(_) => sources.map(spec, &UserNamespace::of(task.pid)?)?,
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

/// Passes signals on, and writes down or shows what is said, until the task ends. Returns its exit code.
pub(super) fn watch(
    task: &Task,
    signals: &Signals,
    stop: Option<StopSignal>,
    mut log: Option<&mut Log>,
    mut console: Option<Console>,
) -> Result<u8, LauncherError> {
    let stdin = io::stdin();
    let mut warnings = 0;
    loop {
        let watched = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![watched(task.pidfd.as_fd()), watched(signals.fd.as_fd())];
        fds.extend(log.iter().flat_map(|log| log.pipes()).map(watched));
        fds.extend(console.iter().flat_map(|console| console.sides(&stdin)));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).tried(|| "wait for the container".to_owned()),
        }
        let has_ended = fds.first().and_then(PollFd::any).unwrap_or(false);
        drop(fds);
        if let Some(console) = &mut console {
            console.relay();
        }
        if has_ended {
            if let Some(console) = console {
                console.finish();
            }
            return task.wait().tried(|| "wait for the container".to_owned());
        }
        if let Some(log) = &mut log {
            log.drain();
        }
        while let Some(mut signal) = signals.next() {
            if signal == Signal::SIGWINCH
                && let Some(console) = &console
            {
                console.resize();
                continue;
            }
            if matches!(signal, Signal::SIGINT | Signal::SIGTERM) {
                warnings += 1;
                if warnings >= LAST_WARNING {
                    signal = Signal::SIGKILL;
                }
            }
            let number = match stop {
                Some(stop) if signal == Signal::SIGTERM => stop.number(),
                _ => signal as i32,
            };
            // It may just have ended.
            let _ = task.send(number);
        }
    }
}

/// The root file system, and what the image says of it.
fn provide_root(
    spec: &Spec,
    state: &State,
    signals: &Signals,
    contexts: Option<&Contexts>,
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
            Ok((storage::provide(&mut image, state, signals, is_shared, contexts)?, config))
        }
    }
}

/// The `CLONE_NEW*` flags of what the container does not share. Its cgroup namespace comes later: the
/// task must be in its cgroups by then.
fn new_namespaces(spec: &Spec) -> libc::c_int {
    let mut flags = libc::CLONE_NEWNS;
    if spec.uts == Sharing::Private {
        flags |= libc::CLONE_NEWUTS;
    }
    if spec.ipc == Sharing::Private {
        flags |= libc::CLONE_NEWIPC;
    }
    if spec.pid == Sharing::Private {
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
