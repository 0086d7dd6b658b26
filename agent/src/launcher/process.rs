//! A container from its beginning to its end, seen from outside: its first task is made in new
//! namespaces and in its cgroup by one `clone3`, watched by a pidfd, and cleaned up after.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::cgroup::Cgroup;
use super::detached::Detached;
use super::device::Devices;
use super::errand::Brought;
use super::first_task::FirstTask;
use super::image::{Image, ImageConfig};
use super::init::{GO, Init, read_report};
use super::namespace::{self, Namespaces};
use super::rootfs::{self, Sources};
use super::signal::Signals;
use super::state::State;
use super::storage;
use super::terminal::{self, Console};
use super::userns::UserNamespace;
use super::{
    LauncherError, Network, PidMode, Root, Sharing, Spec, StopSignal, Tried, UserMode, seal,
    seccomp, ulimit,
};

/// A command that does not mind being asked to end is killed when it is asked that often.
const LAST_WARNING: u32 = 3;

/// The first task of a container.
pub(super) struct Task {
    pid: libc::pid_t,
    pidfd: OwnedFd,
}

/// Runs a container and returns its command's exit code: 128 and the signal's number if a signal
/// ended it. Nothing of it is left afterwards.
pub(crate) fn run(spec: &Spec) -> Result<u8, LauncherError> {
    spec.check()?;
    terminal::check(spec)?;
    seal::ensure()?;
    let signals = Signals::block()?;
    let devices = Devices::find(spec)?;
    let filter = seccomp::prepare(spec)?;
    let namespaces = Namespaces::find(spec)?;
    let state = State::create(&spec.id)?;
    let volumes = rootfs::volumes(spec)?;
    let (root, config) = provide_root(spec, &state, &signals)?;
    let sources = Sources { root, volumes, ipc: namespace::ipc_folders(spec)? };
    let command = command(spec, &config);
    if command.is_empty() {
        return Err(LauncherError::NoCommand);
    }
    let env: Vec<String> = config.env.into_iter().chain(spec.env.iter().cloned()).collect();
    let init = Init {
        spec,
        command: &command,
        sources: &sources,
        devices: &devices,
        namespaces: &namespaces,
        user: spec.user.or(config.user).unwrap_or_default(),
        env: &env,
        workdir: spec.workdir.as_deref().or(config.workdir.as_deref()).unwrap_or(Path::new("/")),
        filter: filter.as_ref(),
        signals: signals.before,
        stop_signal: config.stop_signal,
    };
    let cgroup = Cgroup::create(&state, &spec.resources, &devices)?;
    let (mut launcher, theirs) = UnixStream::pair().tried(|| "make a socket".to_owned())?;
    let unified = cgroup.open_unified()?;
    let task = namespaces.with(|flags| {
        clone3(flags | new_namespaces(spec), unified.as_ref())
            .tried(|| "make the namespaces (are there limits in /proc/sys/user?)".to_owned())
    });
    let Some(task) = task? else {
        drop(launcher);
        init.run(theirs)
    };
    drop((theirs, unified));
    let outcome = supervise(&init, &state, &cgroup, &task, &mut launcher, &signals);
    if outcome.is_err() {
        // It may have ended by itself, and is to be waited for in any case.
        let _ = task.signal(Signal::SIGKILL);
        let _ = task.wait();
    }
    outcome
}

/// Lets the task go, and stays until it ends.
fn supervise(
    init: &Init<'_>,
    state: &State,
    cgroup: &Cgroup,
    task: &Task,
    launcher: &mut UnixStream,
    signals: &Signals,
) -> Result<u8, LauncherError> {
    let spec = init.spec;
    cgroup.join_legacy(task.pid.unsigned_abs())?;
    adjust(spec, init.sources, task)?;
    if let Some(file) = &spec.pid_file {
        fs::write(file, format!("{}\n", task.pid)).tried(|| format!("write {}", file.display()))?;
    }
    launcher.write_all(&[GO]).tried(|| "start the container".to_owned())?;
    let mut report = Vec::new();
    let mut console = None;
    if spec.tty {
        match Console::receive(launcher, spec.interactive)? {
            Ok(taken) => console = Some(taken),
            Err(begun) => report = begun,
        }
    }
    // Closed without a word when the command takes over.
    launcher.read_to_end(&mut report).tried(|| "hear from the container".to_owned())?;
    if let Some(error) = read_report(&report) {
        return Err(error);
    }
    // It is one of this task's children, so that the number is not another's.
    state.note_first_task(&FirstTask::of(task.pid)?)?;
    let stop = spec.stop_signal.or(init.stop_signal);
    let code = watch(task, signals, stop, console)?;
    if let Some(killed @ 1..) = cgroup.killed_for_memory() {
        tracing::warn!(
            "the kernel has killed {killed} of the container's processes: it had no memory left \
             (--memory)"
        );
    }
    Ok(code)
}

/// Sets what only the host's root may set of a task, and whom the container's files belong to.
fn adjust(spec: &Spec, sources: &Sources, task: &Task) -> Result<(), LauncherError> {
    match spec.users {
        UserMode::Host => {}
        UserMode::Remapped => sources.map(spec, &UserNamespace::map(task.pid)?)?,
        UserMode::Joined(_) => sources.map(spec, &UserNamespace::of(task.pid)?)?,
    }
    if let Some(adjustment) = spec.oom_score_adj {
        fs::write(format!("/proc/{}/oom_score_adj", task.pid), adjustment.to_string())
            .tried(|| format!("set oom_score_adj to {adjustment}"))?;
    }
    spec.ulimits.iter().try_for_each(|limit| ulimit::allow(task.pid, limit))
}

/// Passes signals on until the task ends, and relays its terminal, if it has one.
fn watch(
    task: &Task,
    signals: &Signals,
    stop: Option<StopSignal>,
    mut console: Option<Console>,
) -> Result<u8, LauncherError> {
    let stdin = io::stdin();
    let mut warnings = 0;
    loop {
        let mut fds = vec![
            PollFd::new(task.pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.fd.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(console.iter().flat_map(|console| console.sides(&stdin)));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).tried(|| "wait for the container".to_owned()),
        }
        let has_ended = fds.first().and_then(PollFd::any).unwrap_or(false);
        if let Some(console) = &mut console {
            console.relay();
        }
        if has_ended {
            if let Some(console) = console {
                console.finish();
            }
            return task.wait().tried(|| "wait for the container".to_owned());
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
fn new_namespaces(spec: &Spec) -> libc::c_int {
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
    if spec.network == Network::None {
        flags |= libc::CLONE_NEWNET;
    }
    // The others belong to it then.
    if spec.users == UserMode::Remapped {
        flags |= libc::CLONE_NEWUSER;
    }
    flags
}

/// Makes a task in new namespaces, in this cgroup from its birth. `None` in the new task.
fn clone3(namespaces: libc::c_int, cgroup: Option<&File>) -> io::Result<Option<Task>> {
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
    /// Sends a signal to this very task: its pid may be another's by now.
    fn signal(&self, signal: Signal) -> io::Result<()> {
        self.send(signal as i32)
    }

    fn send(&self, number: i32) -> io::Result<()> {
        let none: *const libc::siginfo_t = std::ptr::null();
        let fd = self.pidfd.as_raw_fd();
        // SAFETY: the descriptor is open, and no information is handed over.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, number, none, 0) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits for its end and returns the exit code.
    fn wait(&self) -> io::Result<u8> {
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
