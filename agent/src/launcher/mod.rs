//! A container runtime of our own: `shrike container run`.
//!
//! It is entered before any thread or async runtime exists, because what it does belongs to one
//! task (namespaces, credentials, the working directory), and a child that is made by `clone` has
//! only the thread that made it. The rest of the agent starts containers by executing it.
//!
//! The way of a container: a [`Spec`] is what was asked for; [`process`] prepares what the
//! container needs from outside ([`state`], [`cgroup`], [`device`], [`storage`], [`network`]), makes its first
//! [`task`] in new namespaces, and waits for it, in the background by a [`monitor`]; [`init`] is that task: it builds what
//! the container sees ([`rootfs`]), gives up what it must not have ([`privilege`], [`seccomp`], [`label`]), and
//! executes the command ([`execution`]). [`exec`] has another task do that last part in a container that
//! runs. A [`container`] is what the other commands see of it.

mod block;
mod cgroup;
mod container;
mod context;
mod detached;
mod device;
mod diff;
mod errand;
mod exec;
mod execution;
mod fault;
mod first_task;
mod folder;
mod handover;
mod image;
mod init;
mod keyring;
mod label;
mod limit;
mod lock;
mod log;
mod monitor;
mod mount;
mod namespace;
pub(crate) mod network;
mod overlay;
mod privilege;
mod process;
mod propagation;
mod reaper;
mod record;
mod relabel;
mod rootfs;
mod seal;
mod seccomp;
mod security;
mod selinux;
mod signal;
mod spec;
mod state;
mod stdio;
mod storage;
mod task;
mod terminal;
mod ulimit;
mod unpacker;
mod usage;
mod userns;

use std::io;
use std::path::PathBuf;

use nix::sys::signal::Signal;

pub(crate) use container::{Container, Status, freeze, kill, remove, stop, wait};
pub(crate) use diff::{Change, diff};
pub(crate) use exec::{Command, exec};
pub(crate) use log::{LogQuery, Stream};
pub(crate) use process::{create, run, run_detached, start, start_attached};
pub(crate) use reaper::Reaper;
pub(crate) use seal::ensure as seal;
pub(crate) use security::SecurityOption;
pub(crate) use spec::{
    BitRate, BlockIo, CapabilityChange, ContainerId, CpuList, Cpus, Device, DeviceRule, HostEntry,
    Mount, Network, NetworkName, NetworkOptions, Rate, Resources, Root, Sharing, Size, Spec,
    StopSignal, Swap, Sysctl, Throttle, TimeOffset, Tmpfs, Ulimit, User, UserMode, Volume, Way,
    bytes_per_second, capabilities, operations_per_second,
};
pub(crate) use state::clean_up;
pub(crate) use usage::Usage;

/// Why a container could not be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LauncherError {
    #[error("cannot {what}")]
    System { what: String, source: io::Error },
    #[error(transparent)]
    Spec(#[from] spec::SpecError),
    #[error("there is no container {0}")]
    NoContainer(ContainerId),
    #[error("{0} does not run")]
    NotRunning(ContainerId),
    #[error("{0} runs: stop it before, or use --force where that is offered")]
    Running(ContainerId),
    #[error("{0} is paused")]
    Paused(ContainerId),
    #[error("{0} is not paused")]
    NotPaused(ContainerId),
    #[error("{0} has ended while nobody was there to see how")]
    Lost(ContainerId),
    #[error("{0} has ended, and was removed with that: its exit code is not kept (--rm)")]
    Gone(ContainerId),
    #[error("{0} is being started or cleaned up after, and that takes long")]
    Busy(ContainerId),
    #[error("the container {0} is not running yet: it is being set up")]
    NotStarted(ContainerId),
    #[error(
        "{0} has no layers (it is run from a folder, with users of its own, or where overlays cannot be \
         had): there is nothing to compare it with"
    )]
    NoLayers(ContainerId),
    #[error("the name {0} is in use by a running container")]
    NameInUse(ContainerId),
    #[error(
        "the name {0} is in use by a container that does not run: remove it (shrike container rm)"
    )]
    NameKept(ContainerId),
    #[error(transparent)]
    Cgroup(#[from] cgroup::CgroupError),
    #[error(transparent)]
    Device(#[from] device::DeviceError),
    #[error(transparent)]
    Image(#[from] image::ImageError),
    #[error(transparent)]
    Network(#[from] network::NetworkError),
    #[error(transparent)]
    Namespace(#[from] namespace::NamespaceError),
    #[error(transparent)]
    Seccomp(#[from] seccomp::SeccompError),
    #[error("{0} came before there was a container")]
    Interrupted(Signal),
    #[error("only one container can be attached to")]
    OneOnly,
    #[error(
        "the standard input is not a terminal: leave --tty out, or start the launcher from one"
    )]
    NoTerminal,
    #[error("cannot read the environment from {}", path.display())]
    EnvFile { path: PathBuf, source: io::Error },
    #[error("{}, line {line}: {what} (--env-file)", path.display())]
    EnvLine { path: PathBuf, line: usize, what: &'static str },
    #[error(
        "{} is on a mount that is not shared: what is mounted below it does not show elsewhere (mount \
         --make-rshared makes one that is)",
        .0.display()
    )]
    NotShared(PathBuf),
    #[error(
        "SELinux is not active on this host, or has no policy: leave --security-opt label=... out"
    )]
    NoSelinux,
    #[error(
        "this host's policy of SELinux knows no context {0}: see --security-opt label=..., and the policy's own \
         lxc_contexts"
    )]
    NoContext(String),
    #[error(
        "this host's policy of SELinux has no contexts for containers ({}): say what the container's files are \
         known by, too (--security-opt label=filetype:...)",
        .0.display()
    )]
    NoFileType(PathBuf),
    #[error(
        "--pid and --ipc join containers with different contexts of SELinux: it could not reach both"
    )]
    DifferentContexts,
    #[error("{} is on a file system without labels of SELinux: leave :z or :Z out", .0.display())]
    NoLabels(PathBuf),
    #[error(
        "{} is too deep in folders to be given a label here: leave :z or :Z out, and use chcon -R",
        .0.display()
    )]
    TooDeep(PathBuf),
    #[error(
        "{} is a part of the system: with a container's label nothing else could use it any more; leave :z or \
         :Z out, or show a folder below it",
        .0.display()
    )]
    NotRelabelled(PathBuf),
    #[error("a container with a terminal is started with --attach, and run without --detach")]
    TerminalOfNobody,
    #[error("no command is given, and the image names none")]
    NoCommand,
    #[error("cannot set up the container: {0}")]
    Setup(String),
    #[error("cannot execute the command: {0}")]
    NotExecutable(String),
    #[error("cannot find the command: {0}")]
    NotFound(String),
    #[error("{} is not a directory", .0.display())]
    NoRootfs(PathBuf),
    #[error(
        "{} is the host's own root, which a container would change as its own: name another folder \
         (--rootfs), or show it beside one (-v /:/host)",
        .0.display()
    )]
    HostRootfs(PathBuf),
    #[error(
        "{}, or something below it, is on a file system that cannot show its files as those of other users: \
         use one that can, such as ext4 or xfs, or {instead}",
        .path.display()
    )]
    NotMappable { path: PathBuf, instead: &'static str },
}

impl LauncherError {
    /// The exit code that tells the error from those of commands, as `docker run` has it.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NotExecutable(_) => 126,
            Self::NotFound(_) => 127,
            Self::Interrupted(signal) => 128 + u8::try_from(*signal as i32).unwrap_or_default(),
            _ => 125,
        }
    }
}

/// Adds to a system error what was tried. Each is a step that tests can have fail ([`fault`]).
trait Tried<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, LauncherError>;
}

impl<T, E: Into<io::Error>> Tried<T> for Result<T, E> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, LauncherError> {
        let source = match self {
            Ok(done) => match fault::step() {
                Ok(()) => return Ok(done),
                Err(injected) => injected,
            },
            Err(error) => error.into(),
        };
        Err(LauncherError::System { what: what(), source })
    }
}
