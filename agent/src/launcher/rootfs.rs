//! What the container sees: its root file system, the kernel's file systems in it, devices, volumes;
//! what of them is masked or read-only; and the move into it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, umask};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{chdir, fchdir, pivot_root, symlinkat};

use super::detached::Detached;
use super::device::Devices;
use super::mount::{Depth, Kind, Tree, by_descriptor, is_folder, set_read_only};
use super::spec::{Root, Sharing, Spec, Tmpfs, UserMode, Volume};
use super::terminal::Terminal;
use super::userns::{self, UserNamespace};
use super::{LauncherError, Tried, propagation};

/// What Docker hides from containers (moby, `daemon/pkg/oci/defaults.go`).
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What Docker lets containers read only.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Links in `/dev`: name and target.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];

/// What of the host a container sees, opened by the launcher.
pub(super) struct Sources {
    /// The root file system.
    pub(super) root: Detached,
    /// The volumes, in the order of the specification.
    pub(super) volumes: Vec<Detached>,
    /// The objects of an IPC namespace that is another container's, and where they are shown.
    pub(super) ipc: Vec<(&'static Path, Detached)>,
}

impl Sources {
    /// Has the root file system, and the volumes that ask for it, show their files as those of the container's
    /// users.
    pub(super) fn map(&self, spec: &Spec, users: &UserNamespace) -> Result<(), LauncherError> {
        let mapped =
            self.root.map(users, "take an image (--image), which is unpacked for it alone");
        match (mapped, &spec.root) {
            // Only the ids that all containers have are known.
            (Err(LauncherError::NotMappable { path, .. }), Root::Archive(_))
                if spec.users == UserMode::Remapped =>
            {
                userns::give(&path)?;
            }
            (mapped, _) => mapped?,
        }
        let volumes = spec.volumes.iter().zip(&self.volumes).filter(|(volume, _)| volume.idmap);
        for (_, shown) in volumes {
            shown.map(users, "leave idmap away and change who owns the files")?;
        }
        Ok(())
    }
}

/// Opens what the volumes show.
pub(super) fn volumes(spec: &Spec) -> Result<Vec<Detached>, LauncherError> {
    let opened = spec.volumes.iter().map(|volume| {
        propagation::check(volume)?;
        Detached::open_with(&volume.source, propagation::flag(volume))
    });
    opened.collect()
}

/// Builds what the container sees and makes it the root of this mount namespace, which must be the
/// container's own.
pub(super) fn enter(
    spec: &Spec,
    devices: &Devices,
    sources: &Sources,
) -> Result<Option<Terminal>, LauncherError> {
    detach_from_host()?;
    let tree = Tree::over_root(&sources.root)?;
    umask(Mode::empty());
    kernel_file_systems(spec, devices, &sources.ipc, &tree)?;
    // Before something of others is mounted in its place.
    let terminal = spec.tty.then(|| Terminal::make(spec, &tree)).transpose()?;
    mounts(spec, &sources.volumes, &tree)?;
    if !spec.privileged && !spec.security.shows_system_paths() {
        restrict(&tree)?;
    }
    pivot(&tree)?;
    if spec.read_only {
        let root = Tree::open(Path::new("/"))?;
        set_read_only(&root.as_fd(), Depth::Mount)
            .tried(|| "make the root read-only".to_owned())?;
    }
    umask(Mode::from_bits_truncate(0o022));
    Ok(terminal)
}

/// Mounts what was asked for: what is above first.
fn mounts(spec: &Spec, volumes: &[Detached], tree: &Tree) -> Result<(), LauncherError> {
    enum Mount<'a> {
        Volume(&'a Volume, &'a Detached),
        Tmpfs(&'a Tmpfs),
    }
    let volumes = spec.volumes.iter().zip(volumes);
    let volumes = volumes.map(|(volume, shown)| (&volume.target, Mount::Volume(volume, shown)));
    let tmpfs = spec.tmpfs.iter().map(|tmpfs| (&tmpfs.target, Mount::Tmpfs(tmpfs)));
    let mut mounts: Vec<_> = volumes.chain(tmpfs).collect();
    mounts.sort_by_key(|&(target, _)| target);
    for (target, mount) in mounts {
        let read_only = match mount {
            Mount::Volume(volume, shown) => {
                tree.attach(shown, target)?;
                volume.read_only
            }
            Mount::Tmpfs(tmpfs) => {
                let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
                flags.set(MsFlags::MS_NOEXEC, !tmpfs.exec);
                tree.mount("tmpfs", target, flags, &tmpfs.options)?;
                tmpfs.read_only
            }
        };
        if read_only {
            tree.make_read_only(target)?;
        }
    }
    Ok(())
}

/// Nothing that is mounted from here on may show on the host, and nothing of the host's in here.
fn detach_from_host() -> Result<(), LauncherError> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .tried(|| "make the mounts private".to_owned())
}

fn kernel_file_systems(
    spec: &Spec,
    devices: &Devices,
    ipc: &[(&Path, Detached)],
    tree: &Tree,
) -> Result<(), LauncherError> {
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    tree.mount("proc", Path::new("/proc"), safe, "")?;
    if spec.privileged {
        // With everything that is mounted there: devices, cgroups, securityfs, bpf, tracefs.
        tree.bind(Path::new("/dev"), Path::new("/dev"))?;
        if spec.tty {
            mount_terminals(tree)?;
        }
        return tree.bind(Path::new("/sys"), Path::new("/sys"));
    }
    make_dev(spec, devices, ipc, tree)?;
    tree.mount("sysfs", Path::new("/sys"), safe | MsFlags::MS_RDONLY, "")?;
    if host_has_cgroup2() {
        tree.mount("cgroup2", Path::new("/sys/fs/cgroup"), safe | MsFlags::MS_RDONLY, "")?;
    }
    Ok(())
}

/// A `/dev` with what programs need, and nothing of the host's but what was asked for.
fn make_dev(
    spec: &Spec,
    devices: &Devices,
    ipc: &[(&Path, Detached)],
    tree: &Tree,
) -> Result<(), LauncherError> {
    let (nosuid, noexec) = (MsFlags::MS_NOSUID, MsFlags::MS_NOEXEC);
    let nodev = MsFlags::MS_NODEV;
    let strict = nosuid | MsFlags::MS_STRICTATIME;
    tree.mount("tmpfs", Path::new("/dev"), strict, "mode=755,size=64k")?;
    mount_terminals(tree)?;
    if spec.ipc == Sharing::Host {
        for dir in ["/dev/shm", "/dev/mqueue"].map(Path::new).into_iter().filter(|dir| dir.is_dir())
        {
            tree.bind(dir, dir)?;
        }
    } else if !ipc.is_empty() {
        ipc.iter().try_for_each(|(path, shown)| tree.attach(shown, path))?;
    } else {
        let shm = format!("mode=1777,size={}", spec.shm_size.0);
        tree.mount("tmpfs", Path::new("/dev/shm"), nosuid | nodev | noexec, &shm)?;
        tree.mount("mqueue", Path::new("/dev/mqueue"), nosuid | nodev | noexec, "")?;
    }
    let dev = tree.find_or_make(Path::new("/dev"), Kind::Folder)?;
    for (name, target) in LINKS {
        symlinkat(target, dev.as_fd(), name).tried(|| format!("link /dev/{name}"))?;
    }
    devices.make(tree, &spec.users)
}

/// Terminals of the container's own.
fn mount_terminals(tree: &Tree) -> Result<(), LauncherError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let options = "newinstance,ptmxmode=0666,mode=0620,gid=5";
    tree.mount("devpts", Path::new("/dev/pts"), flags, options)
}

fn host_has_cgroup2() -> bool {
    let is_cgroup2 =
        |path: &str| statfs(path).is_ok_and(|stat| stat.filesystem_type() == CGROUP2_SUPER_MAGIC);
    is_cgroup2("/sys/fs/cgroup") || is_cgroup2("/sys/fs/cgroup/unified")
}

/// Masks and protects what a container has no business with, as far as this kernel has it.
fn restrict(tree: &Tree) -> Result<(), LauncherError> {
    let null = tree.find(Path::new("/dev/null"))?;
    for path in MASKED.into_iter().map(str::to_owned).chain(thermal_throttles(tree)?) {
        let Some(at) = tree.find(Path::new(&path))? else { continue };
        mask(&at, null.as_ref()).tried(|| format!("mask {path}"))?;
    }
    for path in READ_ONLY {
        let Some(at) = tree.find(Path::new(path))? else { continue };
        let at = by_descriptor(&at);
        mount(Some(&at), &at, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
            .tried(|| format!("bind {path}"))?;
        tree.make_read_only(Path::new(path))?;
    }
    Ok(())
}

/// The counters of each processor that Docker masks as well.
fn thermal_throttles(tree: &Tree) -> Result<Vec<String>, LauncherError> {
    let mut paths = Vec::new();
    for number in 0.. {
        let cpu = format!("/sys/devices/system/cpu/cpu{number}");
        if tree.find(Path::new(&cpu))?.is_none() {
            break;
        }
        paths.push(format!("{cpu}/thermal_throttle"));
    }
    Ok(paths)
}

/// Covers a folder with an empty one, a file with `/dev/null`.
fn mask(at: &OwnedFd, null: Option<&OwnedFd>) -> Result<(), nix::Error> {
    let target = by_descriptor(at);
    if is_folder(at.as_fd())? {
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        return mount(Some("tmpfs"), &target, Some("tmpfs"), flags, Some("size=0,mode=755"));
    }
    let null = by_descriptor(null.ok_or(nix::Error::ENOENT)?);
    mount(Some(&null), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
}

/// Makes the tree the root, and leaves the old one behind (see the notes of
/// `pivot_root(2)`).
fn pivot(tree: &Tree) -> Result<(), LauncherError> {
    fchdir(tree.as_fd()).tried(|| "enter the new root".to_owned())?;
    pivot_root(".", ".").tried(|| {
        "change the root (pivot_root fails where the host itself runs from its initramfs)"
            .to_owned()
    })?;
    umount2(".", MntFlags::MNT_DETACH).tried(|| "leave the old root".to_owned())?;
    chdir("/").tried(|| "enter the new root".to_owned())
}
