//! The first task of a container, as whoever did not make it finds it.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cgroup::Cgroup;
use super::task::Task;
use super::{ContainerId, LauncherError, Tried, state};

/// What tells a task from all others: its pid may be another's later.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FirstTask {
    pid: libc::pid_t,
    /// When it began, in ticks of the kernel's clock since the boot.
    start: u64,
}

/// The first task of a container that runs, held.
pub(super) struct Held {
    id: ContainerId,
    task: Task,
}

impl FirstTask {
    /// The task with this pid, which must not be waited for meanwhile.
    pub(super) fn of(pid: libc::pid_t) -> Result<Self, LauncherError> {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).tried(|| format!("read {path}"))?;
        let start = start(&text).ok_or_else(|| io::Error::other("no time of its start"));
        Ok(Self { pid, start: start.tried(|| format!("read {path}"))? })
    }

    /// As it was written down.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (pid, start) = text.split_once(' ')?;
        Some(Self { pid: pid.parse().ok().filter(|&pid| pid > 0)?, start: start.parse().ok()? })
    }
}

impl FirstTask {
    /// The host's pid of it.
    pub(super) fn pid(self) -> libc::pid_t {
        self.pid
    }
}

impl fmt::Display for FirstTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.start)
    }
}

impl Held {
    /// The first task of the container of that name.
    pub(super) fn find(id: &ContainerId) -> Result<Self, LauncherError> {
        let gone = || LauncherError::NotRunning(id.clone());
        let task = FirstTask::parse(&state::first_task(id)?).ok_or_else(gone)?;
        let held = Self { id: id.clone(), task: Task::open(task.pid).map_err(|_| gone())? };
        let cgroups = fs::read_to_string(held.proc().join("cgroup")).map_err(|_| gone())?;
        if FirstTask::of(task.pid).ok() != Some(task) || !Cgroup::has(id, &cgroups) {
            return Err(gone());
        }
        // What was read is its own if it has not ended.
        held.check()?;
        Ok(held)
    }

    /// Its folder in `/proc`: what was opened there is its own if it has not ended by then.
    pub(super) fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.task.pid))
    }

    /// The task itself.
    pub(super) fn into_task(self) -> Task {
        self.task
    }

    /// An error if it has ended.
    pub(super) fn check(&self) -> Result<(), LauncherError> {
        let mut fds = [PollFd::new(self.task.pidfd.as_fd(), PollFlags::POLLIN)];
        let ended = poll(&mut fds, PollTimeout::ZERO);
        match ended.tried(|| format!("watch the first task of {}", self.id))? {
            0 => Ok(()),
            _ => Err(LauncherError::NotRunning(self.id.clone())),
        }
    }
}

/// When the task began (`proc_pid_stat(5)`): the field after those that follow its name, which may have anything
/// in it.
fn start(stat: &str) -> Option<u64> {
    const FIELD: usize = 22;
    /// The name is the second one.
    const BEFORE: usize = 3;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(FIELD - BEFORE)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_known_by_its_start() {
        let own = i32::try_from(std::process::id()).unwrap();
        let task = FirstTask::of(own).unwrap();
        assert_eq!(FirstTask::parse(&task.to_string()), Some(task));
        assert!(task.start > 0 && FirstTask::of(1).unwrap().start <= task.start);
        for bad in ["", "1", "1 x", "-1 5", "0 5", "x 5"] {
            assert_eq!(FirstTask::parse(bad), None, "{bad:?}");
        }
        assert_eq!(
            start("7 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 99 0"),
            Some(99)
        );
    }

    #[test]
    fn who_is_in_another_cgroup_is_another_containers() {
        let has = |text: &str| Cgroup::has(&"a-1".parse().unwrap(), text);
        assert!(has("1:cpu:/\n0::/shrike/a-1\n") && has("0::/shrike/a-1/sub"));
        assert!(!has("0::/shrike/a-12\n") && !has("0::/x/shrike/a-1") && !has(""));
    }
}
