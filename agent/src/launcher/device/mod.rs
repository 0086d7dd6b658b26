//! A container's devices: the files of them that it finds, and the ones that it may use, by whatever
//! file. The kernel asks the container's cgroup when such a file is made, and when it is opened: by a
//! [`program`], or by a [`list`] where the hierarchy is of v1.

mod list;
mod program;
mod rule;

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use cgroups_rs::fs::devices::DevicesController;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag, fstatat, major, makedev, minor, mknodat};
use nix::unistd::{Gid, Uid, fchownat};

use self::list::ListError;
pub(super) use self::program::Program;
use self::program::ProgramError;
use self::rule::Rule;
use super::detached::Detached;
use super::mount::{Kind, Tree};
use super::spec::{Access, Device, DeviceKind, DeviceRule, UserMode};
use super::{LauncherError, Spec, Tried};

/// Devices that every program may need: name, major and minor number.
const STANDARD: [(&str, u32, u32); 6] = [
    ("full", 1, 7),
    ("null", 1, 3),
    ("random", 1, 8),
    ("tty", 5, 0),
    ("urandom", 1, 9),
    ("zero", 1, 5),
];

/// What a container has of devices.
pub(super) struct Devices {
    nodes: Vec<Node>,
    rules: Vec<Rule>,
}

/// The file of a device.
struct Node {
    /// Where it is on the host.
    source: PathBuf,
    /// Where it is in the container.
    path: PathBuf,
    kind: DeviceKind,
    major: u32,
    minor: u32,
    mode: Mode,
    uid: Uid,
    gid: Gid,
}

/// Why a container does not get its devices.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    #[error("cannot find the device {} (--device)", .0.display())]
    Missing(PathBuf, #[source] io::Error),
    #[error("{} is no device, and no folder of devices: --volume shows other files", .0.display())]
    NoDevice(PathBuf),
    #[error("there is no device in the folder {} (--device)", .0.display())]
    Empty(PathBuf),
    #[error(
        "this host has neither cgroup v2 nor the devices controller of v1, so the container cannot be \
         kept to its devices: give it all of them (--privileged)"
    )]
    NoCgroup,
    #[error(transparent)]
    List(#[from] ListError),
    #[error(transparent)]
    Program(#[from] ProgramError),
}

impl Devices {
    /// Finds on the host what was asked for.
    pub(super) fn find(spec: &Spec) -> Result<Self, DeviceError> {
        if spec.privileged {
            // It has the host's /dev, and may use every device.
            return Ok(Self { nodes: Vec::new(), rules: Vec::new() });
        }
        let mut nodes: Vec<Node> = STANDARD.into_iter().map(Node::standard).collect();
        let mut rules = rule::defaults();
        rules.extend(nodes.iter().map(|node| Rule::allow(node.devices(Access::ALL))));
        for device in &spec.devices {
            let found = nodes_of(device)?;
            for node in &found {
                rule::allow(&mut rules, node.devices(device.access));
            }
            nodes.extend(found);
        }
        for devices in &spec.device_rules {
            rule::allow(&mut rules, *devices);
        }
        Ok(Self { nodes, rules })
    }

    /// Makes the files. The file mode creation mask must be empty.
    pub(super) fn make(&self, tree: &Tree, users: &UserMode) -> Result<(), LauncherError> {
        self.nodes.iter().try_for_each(|node| match users {
            UserMode::Host => node.make(tree),
            // Nobody but the host's root may make devices.
            UserMode::Remapped | UserMode::Joined(_) => node.bind(tree),
        })
    }

    /// Whether the container may use every device.
    pub(super) fn are_all(&self) -> bool {
        self.rules.is_empty()
    }

    /// Has a cgroup of v1 keep to them.
    pub(super) fn set(&self, controller: &DevicesController) -> Result<(), DeviceError> {
        Ok(list::set(controller, &self.rules)?)
    }

    /// What has a cgroup of v2 keep to them.
    pub(super) fn program(&self) -> Program {
        Program::compile(&self.rules)
    }
}

impl Node {
    fn standard((name, major, minor): (&str, u32, u32)) -> Self {
        let path = Path::new("/dev").join(name);
        Self {
            source: path.clone(),
            path,
            kind: DeviceKind::Char,
            major,
            minor,
            mode: Mode::from_bits_truncate(0o666),
            uid: Uid::from_raw(0),
            gid: Gid::from_raw(0),
        }
    }

    /// The same as on the host, at `path`; none if this is no device.
    fn like(data: &fs::Metadata, source: &Path, path: PathBuf) -> Option<Self> {
        let kind = match data.file_type() {
            kind if kind.is_block_device() => DeviceKind::Block,
            kind if kind.is_char_device() => DeviceKind::Char,
            _ => return None,
        };
        Some(Self {
            source: source.to_owned(),
            path,
            kind,
            major: u32::try_from(major(data.rdev())).ok()?,
            minor: u32::try_from(minor(data.rdev())).ok()?,
            mode: Mode::from_bits_truncate(data.mode()),
            uid: Uid::from_raw(data.uid()),
            gid: Gid::from_raw(data.gid()),
        })
    }

    fn is_terminal(&self) -> bool {
        self.kind == DeviceKind::Char && matches!((self.major, self.minor), (5, 2) | (136, _))
    }

    fn devices(&self, access: Access) -> DeviceRule {
        let (major, minor) = (Some(self.major), Some(self.minor));
        DeviceRule { kind: Some(self.kind), major, minor, access }
    }

    fn file_type(&self) -> SFlag {
        match self.kind {
            DeviceKind::Block => SFlag::S_IFBLK,
            DeviceKind::Char => SFlag::S_IFCHR,
        }
    }

    fn number(&self) -> libc::dev_t {
        makedev(self.major.into(), self.minor.into())
    }

    /// Shows the host's file, which must be of this device.
    fn bind(&self, tree: &Tree) -> Result<(), LauncherError> {
        let file = Detached::open(&self.source)?;
        let what = || format!("look at {}", self.source.display());
        if file.device().tried(what)? != (self.file_type(), self.number()) {
            let why = "of this host is not the device of that name";
            return Err(LauncherError::Setup(format!("{} {why}", self.source.display())));
        }
        tree.attach(&file, &self.path)
    }

    fn make(&self, tree: &Tree) -> Result<(), LauncherError> {
        let what = || format!("make {} in the container", self.path.display());
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        let name = self.path.file_name().ok_or(Errno::EINVAL).tried(what)?;
        let parent = tree.find_or_make(parent, Kind::Folder)?;
        let (kind, device) = (self.file_type(), self.number());
        match mknodat(parent.as_fd(), name, kind, self.mode, device) {
            // One of the standard devices was asked for by name.
            Err(Errno::EEXIST) => {
                let there = fstatat(parent.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW);
                let there = there.tried(what)?;
                let is_same =
                    there.st_rdev == device && there.st_mode & SFlag::S_IFMT.bits() == kind.bits();
                let elsewhere =
                    || format!("{}: choose another place (--device HOST:CONTAINER)", what());
                if is_same { Ok(()) } else { Err(Errno::EEXIST).tried(elsewhere) }
            }
            made => {
                made.tried(what)?;
                let (uid, gid) = (Some(self.uid), Some(self.gid));
                fchownat(parent.as_fd(), name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW).tried(what)
            }
        }
    }
}

/// The device, or all that are in the folder.
fn nodes_of(device: &Device) -> Result<Vec<Node>, DeviceError> {
    let Device { source, target, access: _ } = device;
    let missing = |error| DeviceError::Missing(source.clone(), error);
    let path = fs::canonicalize(source).map_err(missing)?;
    let data = fs::symlink_metadata(&path).map_err(missing)?;
    if !data.is_dir() {
        let node = Node::like(&data, &path, target.clone());
        return node.map(|node| vec![node]).ok_or_else(|| DeviceError::NoDevice(source.clone()));
    }
    let mut nodes = Vec::new();
    collect(&path, target, &mut nodes).map_err(missing)?;
    if nodes.is_empty() { Err(DeviceError::Empty(source.clone())) } else { Ok(nodes) }
}

/// Links are not followed: what they lead to is there, or was not asked for. Nor are terminals taken: those
/// in `/dev/pts`, and what makes them, are the container's own.
fn collect(folder: &Path, target: &Path, nodes: &mut Vec<Node>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let target = target.join(entry.file_name());
        let data = entry.metadata()?;
        if data.is_dir() {
            collect(&entry.path(), &target, nodes)?;
        } else {
            let node = Node::like(&data, &entry.path(), target);
            nodes.extend(node.filter(|node| !node.is_terminal()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn device(source: &Path) -> Device {
        Device { source: source.to_owned(), target: "/dev/x".into(), access: Access::READ }
    }

    #[test]
    fn a_device_is_as_on_the_host() {
        let nodes = nodes_of(&device(Path::new("/dev/null"))).unwrap();
        let [node] = nodes.as_slice() else { panic!("{} nodes", nodes.len()) };
        assert_eq!((node.kind, node.major, node.minor), (DeviceKind::Char, 1, 3));
        assert_eq!((node.path.to_str(), node.mode.bits()), (Some("/dev/x"), 0o666));
        assert_eq!(node.devices(Access::READ).to_string(), "c 1:3 r");
    }

    #[test]
    fn what_is_no_device_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(nodes_of(&device(dir.path())), Err(DeviceError::Empty(_))));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        symlink("/dev/null", dir.path().join("link")).unwrap();
        assert!(matches!(nodes_of(&device(dir.path())), Err(DeviceError::Empty(_))));
        assert!(matches!(nodes_of(&device(&file)), Err(DeviceError::NoDevice(_))));
        let missing = nodes_of(&device(&dir.path().join("missing")));
        assert!(matches!(missing, Err(DeviceError::Missing(..))));
        assert_eq!(nodes_of(&device(&dir.path().join("link"))).unwrap().len(), 1);
    }
}
