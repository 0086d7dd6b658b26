//! Namespaces that a container joins: those of a container that runs, or of files. A process of the launcher's
//! enters them, and makes the container's first task there: a pid namespace has those that are born in it, and
//! what is made anew belongs to the user namespace that it is made in.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;
use nix::sys::statfs::{FsType, NSFS_MAGIC, TMPFS_MAGIC, fstatfs};

use super::detached::Detached;
use super::errand::{self, Brought};
use super::first_task::Held;
use super::mount::by_descriptor;
use super::spec::{Joined, TimeOffset};
use super::task::Task;
use super::{ContainerId, LauncherError, Network, Sharing, Spec, Tried, UserMode};

/// What shows the objects of an IPC namespace, where containers have it, and by which file system.
const IPC_FOLDERS: [(&str, FsType); 2] =
    [("/dev/shm", TMPFS_MAGIC), ("/dev/mqueue", FsType(0x1980_0202))];

/// A kind of namespaces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Cgroup,
    Ipc,
    Network,
    Pid,
    Time,
    User,
    Uts,
}

/// The namespaces that a container joins, and those that must be made before it.
pub(super) struct Namespaces {
    /// In the order in which they are entered.
    joined: Vec<Namespace>,
    /// Entered by the container's first task itself: who is in it can only be born into cgroups below its own.
    cgroup: Option<Namespace>,
    /// What the clocks show beyond the host's, if they are the container's own.
    clocks: Option<Vec<TimeOffset>>,
}

/// A namespace that is there.
struct Namespace {
    kind: Kind,
    /// As it was asked for.
    name: Joined,
    file: File,
}

/// Why a namespace cannot be joined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamespaceError {
    #[error("cannot open the {kind} namespace {}", path.display())]
    Open { kind: Kind, path: PathBuf, source: io::Error },
    #[error("{} is no namespace: expected a file like /proc/PID/ns/{} or /run/netns/NAME", .0.display(), .1.file())]
    NoNamespace(PathBuf, Kind),
    #[error("{} is a namespace of another kind: expected a {kind} namespace", path.display())]
    OtherKind { path: PathBuf, kind: Kind },
    #[error("{0} has the users of the host: leave {option} out", option = Kind::User.option())]
    UsersOfHost(Joined),
    #[error(
        "the {kind} namespace of {name} belongs to other users than those that the container joins ({option})",
        option = kind.option()
    )]
    OtherUsers { kind: Kind, name: Joined },
    #[error("cannot join the {kind} namespace of {name} ({option})", option = kind.option())]
    Join { kind: Kind, name: Joined, source: io::Error },
    #[error("the pid namespace of {0} has come to its end with its first process (--pid)")]
    Ended(Joined),
    #[error("this kernel has no time namespaces, since Linux 5.6 by CONFIG_TIME_NS (--timens)")]
    NoTime,
    #[error("cannot set the clock {clock} of the container to {seconds} seconds beyond the host's")]
    Clock { clock: &'static str, seconds: i64, source: io::Error },
    #[error("{path} of the container {id} is not what it shares (--ipc)")]
    NoIpcFolder { id: ContainerId, path: &'static str },
}

impl Namespaces {
    /// Opens what is to be joined.
    pub(super) fn find(spec: &Spec) -> Result<Self, LauncherError> {
        let mut joined = Vec::new();
        let mut add = |kind, name: Option<&Joined>| -> Result<(), LauncherError> {
            joined.extend(name.map(|name| Namespace::open(kind, name)).transpose()?);
            Ok(())
        };
        if let Network::Joined(name) = &spec.network {
            add(Kind::Network, Some(name))?;
        }
        add(Kind::Ipc, other(&spec.ipc))?;
        add(Kind::Uts, other(&spec.uts))?;
        add(Kind::Time, other(&spec.time))?;
        add(Kind::Pid, other(&spec.pid))?;
        // The last one: who has entered it has no power over what belongs to others any more.
        if let UserMode::Joined(name) = &spec.users {
            add(Kind::User, Some(name))?;
        }
        let cgroup = other(spec.cgroupns()).map(|name| Namespace::open(Kind::Cgroup, name));
        let clocks = (spec.time == Sharing::Private).then(|| spec.time_offsets.clone());
        let all = Self { joined, cgroup: cgroup.transpose()?, clocks };
        all.check_owners(spec)?;
        Ok(all)
    }

    /// A user namespace has power over what belongs to it.
    fn check_owners(&self, spec: &Spec) -> Result<(), LauncherError> {
        let Some(users) = self.joined.iter().find(|namespace| namespace.kind == Kind::User) else {
            return Ok(());
        };
        let id = |file: &File| -> io::Result<_> {
            let data = file.metadata()?;
            Ok((data.dev(), data.ino()))
        };
        let what = || format!("look at the user namespace of {}", users.name);
        let hosts = File::open("/proc/self/ns/user").and_then(|file| id(&file)).tried(what)?;
        let theirs = id(&users.file).tried(what)?;
        if theirs == hosts {
            return Err(NamespaceError::UsersOfHost(users.name.clone()).into());
        }
        let asked: Vec<_> = spec.joined_with_users().collect();
        let with_users = |namespace: &&Namespace| {
            asked.iter().any(|&(option, _)| option == namespace.kind.option())
        };
        for namespace in self.joined.iter().chain(&self.cgroup).filter(with_users) {
            let Namespace { kind, name, file: _ } = namespace;
            let owner = namespace.owner().and_then(|owner| id(&owner));
            if owner.tried(|| format!("ask whose the {kind} namespace of {name} is"))? != theirs {
                return Err(NamespaceError::OtherUsers { kind: *kind, name: name.clone() }.into());
            }
        }
        Ok(())
    }

    /// Has the first task of a container made in them by `create`, which is told the flags of `clone(2)` that this
    /// takes. `None` in the new task.
    pub(super) fn with(
        &self,
        create: impl FnOnce(libc::c_int) -> Result<Option<Task>, LauncherError>,
    ) -> Result<Option<Task>, LauncherError> {
        if self.joined.is_empty() && self.clocks.is_none() {
            return create(0);
        }
        let made = errand::run(|| {
            self.joined.iter().try_for_each(Namespace::enter)?;
            if let Some(offsets) = &self.clocks {
                set_clocks(offsets)?;
            }
            // A child of the launcher's, and not of the process that is on the errand.
            let task = create(libc::CLONE_PARENT).map_err(|error| self.explain(error))?;
            Ok(task.map(Brought::from))
        })?;
        made.map(Task::try_from).transpose()
    }

    /// What the kernel calls a lack of memory.
    fn explain(&self, error: LauncherError) -> LauncherError {
        let pid = self.joined.iter().find(|namespace| namespace.kind == Kind::Pid);
        match (&error, pid) {
            (LauncherError::System { source, .. }, Some(pid))
                if source.raw_os_error() == Some(libc::ENOMEM) =>
            {
                NamespaceError::Ended(pid.name.clone()).into()
            }
            _ => error,
        }
    }

    /// Enters the cgroup namespace, if one is to be joined.
    pub(super) fn enter_cgroup(&self) -> Result<(), LauncherError> {
        self.cgroup.as_ref().map_or(Ok(()), Namespace::enter)
    }
}

impl Namespace {
    fn open(kind: Kind, name: &Joined) -> Result<Self, LauncherError> {
        let file = match name {
            Joined::Path(path) => open_file(kind, path)?,
            Joined::Container(id) => {
                let task = Held::find(id)?;
                let file = open_file(kind, &task.proc().join("ns").join(kind.file()))?;
                // Until now it was that of this process.
                task.check()?;
                file
            }
        };
        Ok(Self { kind, name: name.clone(), file })
    }

    fn enter(&self) -> Result<(), LauncherError> {
        let Self { kind, name, file } = self;
        setns(file, CloneFlags::from_bits_retain(kind.flag())).map_err(|errno| {
            NamespaceError::Join { kind: *kind, name: name.clone(), source: errno.into() }.into()
        })
    }

    /// The user namespace that it belongs to.
    fn owner(&self) -> io::Result<File> {
        // SAFETY: the operation takes no argument and makes a descriptor.
        let fd = unsafe { libc::ioctl(self.file.as_raw_fd(), libc::NS_GET_USERNS) };
        match fd {
            // SAFETY: the kernel has just made this descriptor for us.
            0.. => Ok(unsafe { File::from_raw_fd(fd) }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Kind {
    /// What it is called in `/proc/PID/ns`.
    fn file(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Network => "net",
            Self::Pid => "pid",
            Self::Time => "time",
            Self::User => "user",
            Self::Uts => "uts",
        }
    }

    fn flag(self) -> libc::c_int {
        match self {
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Network => libc::CLONE_NEWNET,
            Self::Pid => libc::CLONE_NEWPID,
            Self::Time => libc::CLONE_NEWTIME,
            Self::User => libc::CLONE_NEWUSER,
            Self::Uts => libc::CLONE_NEWUTS,
        }
    }

    /// What asks for it.
    fn option(self) -> &'static str {
        match self {
            Self::Cgroup => "--cgroupns",
            Self::Ipc => "--ipc",
            Self::Network => "--network",
            Self::Pid => "--pid",
            Self::Time => "--timens",
            Self::User => "--userns",
            Self::Uts => "--uts",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipc => "IPC",
            Self::Network => "network",
            Self::Uts => "UTS",
            _ => self.file(),
        })
    }
}

/// The namespace of others, if it is theirs.
fn other(sharing: &Sharing) -> Option<&Joined> {
    match sharing {
        Sharing::Joined(name) => Some(name),
        Sharing::Private | Sharing::Host => None,
    }
}

/// Opens the file of a namespace. What it is is known before it is opened for more than that: a device may mind.
fn open_file(kind: Kind, path: &Path) -> Result<File, LauncherError> {
    let failed = |source| NamespaceError::Open { kind, path: path.to_owned(), source };
    let place = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
    let place = place.map_err(|errno| match errno {
        Errno::ENOENT if kind == Kind::Time && Path::new("/proc/self/ns").exists() => {
            NamespaceError::NoTime
        }
        errno => failed(errno.into()),
    })?;
    let stat = fstatfs(&place).map_err(|errno| failed(errno.into()))?;
    if stat.filesystem_type() != NSFS_MAGIC {
        return Err(NamespaceError::NoNamespace(path.to_owned(), kind).into());
    }
    let file = File::open(by_descriptor(&place)).map_err(failed)?;
    // SAFETY: the operation takes no argument and returns a number.
    let found = unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE) };
    if found != kind.flag() {
        return Err(NamespaceError::OtherKind { path: path.to_owned(), kind }.into());
    }
    Ok(file)
}

/// Makes a time namespace, and sets its clocks before anybody is in it. Those who are born from here on are.
fn set_clocks(offsets: &[TimeOffset]) -> Result<(), LauncherError> {
    // SAFETY: takes a number and touches no memory.
    match Errno::result(unsafe { libc::unshare(libc::CLONE_NEWTIME) }) {
        Err(Errno::EINVAL) => return Err(NamespaceError::NoTime.into()),
        made => made.tried(|| "make a time namespace (--timens)".to_owned())?,
    };
    for TimeOffset { clock, seconds, nanoseconds } in offsets {
        let clock = clock.name();
        fs::write("/proc/self/timens_offsets", format!("{clock} {seconds} {nanoseconds}"))
            .map_err(|source| NamespaceError::Clock { clock, seconds: *seconds, source })?;
    }
    Ok(())
}

/// What a container has of its IPC namespace in its file system, for one that joins it: where, and what.
pub(super) fn ipc_folders(spec: &Spec) -> Result<Vec<(&'static Path, Detached)>, LauncherError> {
    let Sharing::Joined(Joined::Container(id)) = &spec.ipc else { return Ok(Vec::new()) };
    let task = Held::find(id)?;
    let what = || format!("look into the mounts of {id} (--ipc)");
    let mounts = File::open(task.proc().join("ns/mnt")).tried(what)?;
    // That of its mounts may be another one: a launcher can be run in a root of its own.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(&task.proc().join("root"), flags, Mode::empty()).tried(what)?;
    task.check()?;
    // Whoever enters the mounts of others cannot come back.
    let brought = errand::run(|| {
        setns(&mounts, CloneFlags::CLONE_NEWNS).tried(what)?;
        let fds = IPC_FOLDERS.map(|folder| open_ipc_folder(id, &root, folder));
        let fds = fds.into_iter().collect::<Result<_, _>>()?;
        Ok(Some(Brought { number: 0, fds }))
    })?;
    let fds = brought.map(|brought| brought.fds).unwrap_or_default();
    let shown = IPC_FOLDERS.into_iter().zip(fds).map(|((path, _), mount)| {
        let path = Path::new(path);
        (path, Detached::new(path, mount))
    });
    Ok(shown.collect())
}

/// Opens such a folder in the container: what it has in that place instead is not handed on.
fn open_ipc_folder(
    id: &ContainerId,
    root: &OwnedFd,
    (path, fs_type): (&'static str, FsType),
) -> Result<OwnedFd, LauncherError> {
    let what = || format!("open {path} of the container {id} (--ipc)");
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let folder = openat2(root, path, how).tried(what)?;
    let stat = fstatfs(&folder).tried(what)?;
    if stat.filesystem_type() != fs_type {
        return Err(NamespaceError::NoIpcFolder { id: id.clone(), path }.into());
    }
    Detached::of(folder.as_fd()).tried(what)
}
