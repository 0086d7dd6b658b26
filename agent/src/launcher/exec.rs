//! A command that joins a container which runs: `docker exec`.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;

use super::cgroup::Cgroup;
use super::container::{Container, Status};
use super::execution::{self, Entrance, Execution};
use super::label::Label;
use super::process::{allow, let_join, watch};
use super::record::Process;
use super::signal::Signals;
use super::state::is_at;
use super::task::clone3;
use super::{ContainerId, LauncherError, Tried, User, keyring, seal, seccomp, userns};
use crate::capability::Capabilities;

/// A command for a container that runs.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// The container.
    pub(crate) id: ContainerId,
    /// The command and its arguments.
    pub(crate) args: Vec<String>,
    /// Whom it runs as; by default, whom the container's own command runs as.
    pub(crate) user: Option<User>,
    /// Its environment beyond that of the container's own command, as `NAME=VALUE`.
    pub(crate) env: Vec<String>,
    /// Where it starts; by default, where the container's own command did.
    pub(crate) cwd: Option<PathBuf>,
    /// All capabilities, and no `AppArmor` profile.
    pub(crate) privileged: bool,
}

/// Executes it and returns its exit code. It ends with the launcher, and with the container.
pub(crate) fn exec(command: &Command) -> Result<u8, LauncherError> {
    seal::ensure()?;
    let signals = Signals::block()?;
    let container = Container::find(&command.id)?;
    if matches!(container.status, Status::Paused { .. }) {
        return Err(LauncherError::Paused(command.id.clone()));
    }
    let spec = &container.record.spec;
    spec.check_user(command.user)?;
    let process = process(command, &container)?;
    let filter = seccomp::prepare(spec)?;
    let execution = Execution {
        spec,
        process: &process,
        contexts: container.record.selinux.as_ref(),
        capabilities: if command.privileged { Capabilities::ALL } else { spec.capability_set() },
        filter: filter.as_ref(),
        signals: signals.before,
    };
    let namespaces = Namespaces::open(container.task()?.pid)?;
    // With the descriptors in hand: it is the container's task that they are of.
    container.task()?;
    let unified = Cgroup::unified_of(&command.id).map(File::open).transpose();
    let unified = unified.tried(|| format!("open the cgroup of {}", command.id))?;
    let apparmor = spec.security.apparmor().filter(|_| !command.privileged);
    let (launcher, theirs) = UnixStream::pair().tried(|| "make a socket".to_owned())?;
    // Before there is a task that the container's could look into (CVE-2016-9962).
    execution::hide_from_tracers()?;
    namespaces.join_as_parent()?;
    let task = clone3(0, unified.as_ref()).tried(|| "make a task in the container".to_owned())?;
    let Some(task) = task else {
        drop(launcher);
        execution::run(theirs, |launcher| {
            let labels = namespaces.join(launcher, || {
                keyring::join_new(execution.contexts)?;
                Label::prepare(apparmor, execution.contexts)
            })?;
            execution.perform(launcher, Entrance { labels, ..Entrance::default() })
        })
    };
    drop((theirs, unified));
    let outcome = Cgroup::join_legacy_of(&command.id, task.pid)
        .tried(|| format!("add a task to the cgroups of {}", command.id))
        .and_then(|()| allow(spec, &task))
        .and_then(|()| let_join(launcher))
        .and_then(|()| watch(&task, &signals, None, None, None));
    if outcome.is_err() {
        // It may have ended by itself, and is to be waited for in any case.
        let _ = task.signal(Signal::SIGKILL);
        let _ = task.wait();
    }
    outcome
}

/// What is executed: what was asked for, and of the container's own command what was not.
fn process(command: &Command, container: &Container) -> Result<Process, LauncherError> {
    let own = container.record.process.as_ref();
    let own = own.ok_or_else(|| LauncherError::NotRunning(command.id.clone()))?;
    Ok(Process {
        args: command.args.clone(),
        env: [&*own.env, &*command.env].concat(),
        cwd: command.cwd.clone().unwrap_or_else(|| own.cwd.clone()),
        user: command.user.unwrap_or(own.user),
        stop_signal: None,
    })
}

/// The namespaces of a task that are not the launcher's own.
struct Namespaces(Vec<(CloneFlags, File)>);

impl Namespaces {
    /// In the order in which they are joined: what is joined behind the user namespace, is as its root. The files
    /// come last: with them the host's own `/proc` is out of reach.
    const KINDS: [(&'static str, CloneFlags); 8] = [
        ("user", CloneFlags::CLONE_NEWUSER),
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("net", CloneFlags::CLONE_NEWNET),
        ("time", CLONE_NEWTIME),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("mnt", CloneFlags::CLONE_NEWNS),
    ];

    fn open(pid: libc::pid_t) -> Result<Self, LauncherError> {
        let mut namespaces = Vec::new();
        for (name, flag) in Self::KINDS {
            let path = PathBuf::from(format!("/proc/{pid}/ns/{name}"));
            let file = match File::open(&path) {
                // This kernel has none of the kind.
                Err(error) if error.kind() == io::ErrorKind::NotFound && name == "time" => continue,
                file => file.tried(|| format!("open {}", path.display()))?,
            };
            if !is_at(&file, &Path::new("/proc/self/ns").join(name)) {
                namespaces.push((flag, file));
            }
        }
        Ok(Self(namespaces))
    }

    /// Joins what a task can only be born into.
    fn join_as_parent(&self) -> Result<(), LauncherError> {
        self.join_those(|flag| flag == CloneFlags::CLONE_NEWPID)
    }

    /// Joins the others. `last` is done by the container's root, while the host's files are still there.
    fn join<T>(
        &self,
        launcher: &UnixStream,
        last: impl FnOnce() -> Result<T, LauncherError>,
    ) -> Result<T, LauncherError> {
        const LATER: CloneFlags = CloneFlags::CLONE_NEWPID.union(CloneFlags::CLONE_NEWNS);
        self.join_those(|flag| !LATER.contains(flag))?;
        if self.0.iter().any(|&(flag, _)| flag == CloneFlags::CLONE_NEWUSER) {
            userns::become_root(launcher)?;
        }
        let done = last()?;
        self.join_those(|flag| flag == CloneFlags::CLONE_NEWNS)?;
        Ok(done)
    }

    fn join_those(&self, which: impl Fn(CloneFlags) -> bool) -> Result<(), LauncherError> {
        for (flag, file) in self.0.iter().filter(|&&(flag, _)| which(flag)) {
            setns(file, *flag).tried(|| format!("join the container's namespaces ({flag:?})"))?;
        }
        Ok(())
    }
}

/// `libc` has it, `nix` has not.
const CLONE_NEWTIME: CloneFlags = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);
