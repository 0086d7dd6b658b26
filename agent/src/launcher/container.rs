//! The containers of this host, as their commands see them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use serde::Serialize;

use super::cgroup::Cgroup;
use super::first_task::{FirstTask, Held};
use super::log::{Line, LogQuery, read_log};
use super::record::{End, Record};
use super::state::{self, State};
use super::task::Task;
use super::usage::Usage;
use super::{ContainerId, LauncherError, StopSignal, Tried};

/// How often is looked whether something has come to pass that nobody tells.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a launcher may take to clean up after its container.
const PATIENCE: Duration = Duration::from_secs(10);

/// A container, at some time.
#[derive(Debug)]
pub(crate) struct Container {
    /// What is written down of it.
    pub(crate) record: Record,
    /// How it fares.
    pub(crate) status: Status,
    /// The folder of its files.
    pub(crate) files: PathBuf,
}

/// How a container fares.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub(crate) enum Status {
    /// It has not been started yet.
    Created,
    /// It is being started, or cleaned up after.
    Changing,
    /// It runs.
    Running {
        /// The host's pid of its first task.
        pid: libc::pid_t,
    },
    /// It would run, if it were not frozen.
    Paused {
        /// The host's pid of its first task.
        pid: libc::pid_t,
    },
    /// Its command has ended.
    Exited(End),
    /// It ran, and nobody was there to see its end: its launcher was killed, or the host went down.
    Lost,
}

impl Status {
    /// The word for it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changing => "changing",
            Self::Running { .. } => "running",
            Self::Paused { .. } => "paused",
            Self::Exited(_) => "exited",
            Self::Lost => "lost",
        }
    }

    /// The host's pid of the first task, if there is one.
    pub(crate) fn pid(&self) -> Option<libc::pid_t> {
        match self {
            Self::Running { pid } | Self::Paused { pid } => Some(*pid),
            _ => None,
        }
    }
}

impl Container {
    /// The container of that name.
    pub(crate) fn find(id: &ContainerId) -> Result<Self, LauncherError> {
        let files = state::folder(id);
        // Looked at before the record: an end that comes meanwhile is written down.
        let is_running = state::is_running(id)?;
        let first = state::first_task(id).ok().and_then(|text| FirstTask::parse(&text));
        let record = Record::read(&files)?.ok_or_else(|| LauncherError::NoContainer(id.clone()))?;
        let status = match (is_running, first.map(FirstTask::pid)) {
            (true, Some(pid)) if Cgroup::is_frozen(id) => Status::Paused { pid },
            (true, Some(pid)) => Status::Running { pid },
            (true, None) => Status::Changing,
            (false, _) => match (&record.ended, record.started) {
                (Some(end), _) => Status::Exited(end.clone()),
                (None, Some(_)) => Status::Lost,
                (None, None) => Status::Created,
            },
        };
        Ok(Self { record, status, files })
    }

    /// All containers, by name.
    pub(crate) fn all() -> Vec<Self> {
        let found = |id| match Self::find(&id) {
            Ok(container) => Some(container),
            // It has just been removed.
            Err(LauncherError::NoContainer(_)) => None,
            Err(error) => {
                tracing::warn!("{:#}", anyhow::Error::from(error));
                None
            }
        };
        state::all().into_iter().filter_map(found).collect()
    }

    /// Its name.
    pub(crate) fn id(&self) -> &ContainerId {
        &self.record.spec.id
    }

    /// Its first task.
    pub(super) fn task(&self) -> Result<Task, LauncherError> {
        Held::find(self.id()).map(Held::into_task)
    }

    /// Its first task, if that has not ended: its launcher may still be cleaning up after it.
    fn running_task(&self) -> Result<Option<Task>, LauncherError> {
        match self.task() {
            Err(LauncherError::NotRunning(_) | LauncherError::NoContainer(_)) => Ok(None),
            task => task.map(Some),
        }
    }

    /// Its cgroups, in each hierarchy.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        Cgroup::all_of(self.id())
    }

    /// The namespaces of its first task by kind, as `/proc/PID/ns` has them.
    pub(crate) fn namespaces(&self) -> BTreeMap<String, String> {
        let Some(pid) = self.status.pid() else { return BTreeMap::new() };
        let entries = fs::read_dir(format!("/proc/{pid}/ns")).into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let name = entry.file_name().into_string().ok()?;
            Some((name, target.to_string_lossy().into_owned()))
        });
        named.filter(|(name, _)| !name.ends_with("_for_children")).collect()
    }

    /// Its layers, from the lowest on.
    pub(crate) fn layers(&self) -> Result<Vec<String>, LauncherError> {
        let layers = state::layers(&self.files)?;
        Ok(layers.iter().map(|layer| layer.as_str().to_owned()).collect())
    }

    /// What it uses.
    pub(crate) fn usage(&self) -> Result<Usage, LauncherError> {
        if self.status.pid().is_none() {
            return Err(LauncherError::NotRunning(self.id().clone()));
        }
        Usage::read(&self.cgroups()).tried(|| format!("read what {} uses", self.id()))
    }

    /// Hands out what it has written.
    pub(crate) fn log(
        &self,
        query: LogQuery,
        each: impl FnMut(&Line<'_>) -> io::Result<()>,
    ) -> Result<(), LauncherError> {
        let is_over = || Ok(!state::is_running(self.id())?);
        read_log(&self.files, query, is_over, each)
    }
}

/// Sends a signal to a container's first task.
pub(crate) fn kill(id: &ContainerId, signal: Signal) -> Result<(), LauncherError> {
    let task = Container::find(id)?.task()?;
    task.signal(signal).tried(|| format!("send {signal} to {id}"))
}

/// Asks a container to end, kills it if it does not in time, and waits until all is cleaned up.
pub(crate) fn stop(
    id: &ContainerId,
    signal: Option<Signal>,
    time: Duration,
) -> Result<(), LauncherError> {
    let container = Container::find(id)?;
    let Some(task) = container.running_task()? else { return wait_for_launcher(id) };
    let own = container.record.process.as_ref().and_then(|process| process.stop_signal);
    let usual = own.map_or(Signal::SIGTERM as i32, StopSignal::number);
    let number = signal.map_or(usual, |signal| signal as i32);
    // It may just have ended.
    let _ = task.send(number);
    if matches!(container.status, Status::Paused { .. }) {
        freeze(id, false)?;
    }
    if !has_ended(task.pidfd.as_fd(), time).tried(|| format!("wait for {id}"))? {
        if number != Signal::SIGKILL as i32 {
            tracing::info!("{id} is still there after {} s: it is killed", time.as_secs());
        }
        let _ = task.signal(Signal::SIGKILL);
    }
    wait_for_launcher(id)
}

/// Whether a task ends in time.
fn has_ended(pidfd: impl AsFd, time: Duration) -> io::Result<bool> {
    let begin = Instant::now();
    loop {
        let left = time.saturating_sub(begin.elapsed());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], left) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(0) if begin.elapsed() < time => {}
            Ok(count) => return Ok(count > 0),
        }
    }
}

/// Waits until a launcher whose container has ended has cleaned up.
fn wait_for_launcher(id: &ContainerId) -> Result<(), LauncherError> {
    let begin = Instant::now();
    while state::is_running(id)? {
        if begin.elapsed() > PATIENCE {
            return Err(LauncherError::Busy(id.clone()));
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Waits for a container's end and returns its exit code.
pub(crate) fn wait(id: &ContainerId) -> Result<u8, LauncherError> {
    if let Some(task) = Container::find(id)?.running_task()? {
        has_ended(task.pidfd.as_fd(), Duration::MAX).tried(|| format!("wait for {id}"))?;
    }
    wait_for_launcher(id)?;
    match Container::find(id) {
        Ok(Container { status: Status::Exited(end), .. }) => Ok(end.code),
        Ok(Container { status: Status::Lost, .. }) => Err(LauncherError::Lost(id.clone())),
        Ok(_) => Err(LauncherError::NotRunning(id.clone())),
        Err(LauncherError::NoContainer(_)) => Err(LauncherError::Gone(id.clone())),
        Err(error) => Err(error),
    }
}

/// Stops a container's tasks where they are, or lets them go on (`cgroup.freeze`).
pub(crate) fn freeze(id: &ContainerId, is_frozen: bool) -> Result<(), LauncherError> {
    let container = Container::find(id)?;
    match (&container.status, is_frozen) {
        (Status::Paused { .. }, true) => return Err(LauncherError::Paused(id.clone())),
        (Status::Running { .. }, false) => return Err(LauncherError::NotPaused(id.clone())),
        (Status::Running { .. }, true) | (Status::Paused { .. }, false) => {}
        _ => return Err(LauncherError::NotRunning(id.clone())),
    }
    let what = if is_frozen { "freeze" } else { "thaw" };
    Cgroup::freeze(id, is_frozen).tried(|| format!("{what} {id}"))?;
    let begin = Instant::now();
    while Cgroup::is_frozen(id) != is_frozen {
        if begin.elapsed() > PATIENCE {
            return Err(LauncherError::Busy(id.clone()));
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Removes a container with all that it has written; one that runs only if it may be killed.
pub(crate) fn remove(id: &ContainerId, may_kill: bool) -> Result<(), LauncherError> {
    let was_running = may_kill && state::is_running(id)?;
    if was_running {
        stop(id, Some(Signal::SIGKILL), Duration::ZERO)?;
    }
    match State::open(id) {
        Ok(state) => {
            state.forget();
            Ok(())
        }
        // It was not to be kept: with its end it is gone.
        Err(LauncherError::NoContainer(_)) if was_running => Ok(()),
        // What cannot be understood can be removed all the same.
        Err(LauncherError::System { .. }) if may_kill => state::discard(id),
        Err(error) => Err(error),
    }
}
