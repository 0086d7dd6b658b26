//! What the container sees: its root file system, the kernel's file systems in it, devices, volumes;
//! what of them is masked or read-only; and the move into it.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, fstat, makedev, umask};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{chdir, fchdir, pivot_root, symlinkat};

use super::context::Context;
use super::detached::Detached;
use super::device::Devices;
use super::mount::{Depth, Kind, Tree, by_descriptor, is_folder, set_read_only};
use super::relabel::{mark, relabel};
use super::selinux::{self, Contexts};
use super::signal::Signals;
use super::spec::{Relabel, Root, Sharing, Spec, Tmpfs, UserMode, Volume};
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
    /// Files of its own.
    pub(super) files: Vec<OwnFile>,
    /// The objects of an IPC namespace that is another container's, and where they are shown.
    pub(super) ipc: Vec<(&'static Path, Detached)>,
    /// What `SELinux` knows the files of its own file systems by.
    pub(super) context: Option<String>,
}

/// A file of the container's own that the host keeps for it.
pub(super) struct OwnFile {
    pub(super) target: PathBuf,
    pub(super) mount: Detached,
}

impl Sources {
    /// Gives the container what is for it alone, and the volumes that ask for it.
    pub(super) fn relabel(
        &self,
        spec: &Spec,
        contexts: &Contexts,
        signals: &Signals,
    ) -> Result<(), LauncherError> {
        for file in &self.files {
            let marked = file.mount.root().and_then(|root| mark(root.as_fd(), &contexts.files));
            marked.tried(|| format!("give {} a context", file.mount.source().display()))?;
        }
        for (volume, shown) in spec.volumes.iter().zip(&self.volumes) {
            match volume.relabel {
                Some(Relabel::Private) => relabel(shown, &contexts.files, signals)?,
                Some(Relabel::Shared) => relabel(shown, &contexts.shared_files, signals)?,
                None => {}
            }
        }
        Ok(())
    }

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
    let kernel = kernel_file_systems(spec, devices, sources, &tree)?;
    // Before something of others is mounted in its place.
    let terminal = spec.tty.then(|| Terminal::make(spec, &tree)).transpose()?;
    mounts(spec, sources, &tree)?;
    if let Some(kernel) = kernel.filter(|_| !spec.security.shows_system_paths()) {
        kernel.restrict(&tree, sources.context.as_deref())?;
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
fn mounts(spec: &Spec, sources: &Sources, tree: &Tree) -> Result<(), LauncherError> {
    enum Mount<'a> {
        File(&'a Detached),
        Volume(&'a Volume, &'a Detached),
        Tmpfs(&'a Tmpfs),
    }
    // First, so that a volume in the same place covers them.
    let files = sources.files.iter().map(|file| (&file.target, Mount::File(&file.mount)));
    let volumes = spec.volumes.iter().zip(&sources.volumes);
    let volumes = volumes.map(|(volume, shown)| (&volume.target, Mount::Volume(volume, shown)));
    let tmpfs = spec.tmpfs.iter().map(|tmpfs| (&tmpfs.target, Mount::Tmpfs(tmpfs)));
    let mut mounts: Vec<_> = files.chain(volumes).chain(tmpfs).collect();
    mounts.sort_by_key(|&(target, _)| target);
    for (target, mount) in mounts {
        let read_only = match mount {
            Mount::File(file) => {
                let target = &tree.behind_links(target)?;
                tree.attach(file, target)?;
                if spec.read_only {
                    tree.make_read_only(target)?;
                }
                false
            }
            Mount::Volume(volume, shown) => {
                tree.attach(shown, target)?;
                volume.read_only
            }
            Mount::Tmpfs(tmpfs) => {
                let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
                flags.set(MsFlags::MS_NOEXEC, !tmpfs.exec);
                let options = selinux::options(&tmpfs.options, sources.context.as_deref());
                tree.mount("tmpfs", target, flags, &options)?;
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

/// The file systems by which a container sees the kernel, found by descriptor: what the root file system has in
/// their places may be changed meanwhile, by whoever else has it.
struct Kernel {
    proc: Tree,
    sys: Tree,
}

/// Mounts them; those that are to be restricted are returned.
fn kernel_file_systems(
    spec: &Spec,
    devices: &Devices,
    sources: &Sources,
    tree: &Tree,
) -> Result<Option<Kernel>, LauncherError> {
    let safe = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let context = sources.context.as_deref();
    let proc = new_mount(c"proc", safe, &[])?;
    tree.put(&proc, Path::new("/proc"))?;
    if spec.privileged {
        // With everything that is mounted there: devices, cgroups, securityfs, bpf, tracefs.
        for hosts in ["/dev", "/sys"].map(Path::new) {
            tree.put(&Detached::open(hosts)?, hosts)?;
        }
        if spec.tty {
            mount_terminals(tree, context)?;
        }
        return Ok(None);
    }
    make_dev(spec, devices, sources, tree)?;
    let sys = new_mount(c"sysfs", safe | libc::MOUNT_ATTR_RDONLY, &[])?;
    tree.put(&sys, Path::new("/sys"))?;
    let kernel = Kernel { proc: Tree::of(&proc)?, sys: Tree::of(&sys)? };
    if host_has_cgroup2() {
        let cgroups = new_mount(c"cgroup2", safe | libc::MOUNT_ATTR_RDONLY, &[])?;
        kernel.sys.put(&cgroups, Path::new("/fs/cgroup"))?;
    }
    Ok(Some(kernel))
}

/// Mounts a file system of this type where nobody sees it.
fn new_mount(
    fs_type: &CStr,
    attributes: u64,
    options: &[(&CStr, &str)],
) -> Result<Detached, LauncherError> {
    let name = Path::new(OsStr::from_bytes(fs_type.to_bytes()));
    let mount = Context::open(fs_type).and_then(|context| {
        options.iter().try_for_each(|(key, value)| context.set(key, value))?;
        context.mount(attributes)
    });
    Ok(Detached::new(name, mount.tried(|| format!("mount {}", name.display()))?))
}

/// A `/dev` with what programs need, and nothing of the host's but what was asked for.
fn make_dev(
    spec: &Spec,
    devices: &Devices,
    Sources { ipc, context, .. }: &Sources,
    tree: &Tree,
) -> Result<(), LauncherError> {
    let context = context.as_deref();
    let (nosuid, noexec) = (MsFlags::MS_NOSUID, MsFlags::MS_NOEXEC);
    let nodev = MsFlags::MS_NODEV;
    let strict = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_STRICTATIME;
    let mut options = vec![(c"mode", "755"), (c"size", "64k")];
    options.extend(context.map(|context| (c"context", context)));
    tree.put(&new_mount(c"tmpfs", strict, &options)?, Path::new("/dev"))?;
    mount_terminals(tree, context)?;
    if spec.ipc == Sharing::Host {
        for dir in ["/dev/shm", "/dev/mqueue"].map(Path::new).into_iter().filter(|dir| dir.is_dir())
        {
            tree.bind(dir, dir)?;
        }
    } else if !ipc.is_empty() {
        ipc.iter().try_for_each(|(path, shown)| tree.attach(shown, path))?;
    } else {
        let shm = selinux::options(&format!("mode=1777,size={}", spec.shm_size.0), context);
        tree.mount("tmpfs", Path::new("/dev/shm"), nosuid | nodev | noexec, &shm)?;
        let queues = Path::new("/dev/mqueue");
        tree.mount("mqueue", queues, nosuid | nodev | noexec, "")?;
        // With users of its own, the folder is still that of the host's root, who made the namespace.
        if let Some(context) = context.filter(|_| spec.users == UserMode::Host)
            && let Some(root) = tree.find(queues)?
        {
            mark(root.as_fd(), context).tried(|| format!("give {} a context", queues.display()))?;
        }
    }
    let dev = tree.find_or_make(Path::new("/dev"), Kind::Folder)?;
    for (name, target) in LINKS {
        symlinkat(target, dev.as_fd(), name).tried(|| format!("link /dev/{name}"))?;
    }
    devices.make(tree, &spec.users)
}

/// Terminals of the container's own.
fn mount_terminals(tree: &Tree, context: Option<&str>) -> Result<(), LauncherError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let options = selinux::options("newinstance,ptmxmode=0666,mode=0620,gid=5", context);
    tree.mount("devpts", Path::new("/dev/pts"), flags, &options)
}

fn host_has_cgroup2() -> bool {
    let is_cgroup2 =
        |path: &str| statfs(path).is_ok_and(|stat| stat.filesystem_type() == CGROUP2_SUPER_MAGIC);
    is_cgroup2("/sys/fs/cgroup") || is_cgroup2("/sys/fs/cgroup/unified")
}

impl Kernel {
    /// Masks and protects what a container has no business with, as far as this kernel has it.
    fn restrict(&self, tree: &Tree, context: Option<&str>) -> Result<(), LauncherError> {
        let mut covers = Covers::new(tree, context)?;
        for path in MASKED.into_iter().map(str::to_owned).chain(self.thermal_throttles()?) {
            let Some(at) = self.find(&path)? else { continue };
            covers.cover(&at).tried(|| format!("mask {path}"))?;
        }
        for path in READ_ONLY {
            let Some(at) = self.find(path)? else { continue };
            let what = || format!("make {path} read-only in the container");
            let shown = Detached::open(&by_descriptor(&at))?;
            set_read_only(&shown.root().tried(what)?, Depth::Whole).tried(what)?;
            shown.attach(&at).tried(what)?;
        }
        Ok(())
    }

    /// Opens what one of the two has at this path of the container's.
    fn find(&self, path: &str) -> Result<Option<OwnedFd>, LauncherError> {
        let of = |tree: &Tree, path: &str| tree.find(Path::new(path));
        match (path.strip_prefix("/proc/"), path.strip_prefix("/sys/")) {
            (Some(path), _) => of(&self.proc, path),
            (_, Some(path)) => of(&self.sys, path),
            (None, None) => Ok(None),
        }
    }

    /// The counters of each processor that Docker masks as well.
    fn thermal_throttles(&self) -> Result<Vec<String>, LauncherError> {
        let mut paths = Vec::new();
        for number in 0.. {
            let cpu = format!("/sys/devices/system/cpu/cpu{number}");
            if self.find(&cpu)?.is_none() {
                break;
            }
            paths.push(format!("{cpu}/thermal_throttle"));
        }
        Ok(paths)
    }
}

/// What covers what is masked: an empty folder a folder, `/dev/null` a file.
struct Covers<'a> {
    /// All are the same.
    folder: Option<Detached>,
    /// What `SELinux` knows it by.
    context: Option<&'a str>,
    null: PathBuf,
    _null: OwnedFd,
}

impl<'a> Covers<'a> {
    /// Takes the container's `/dev/null`, which must be that: a volume may be in its place (CVE-2025-31133).
    fn new(tree: &Tree, context: Option<&'a str>) -> Result<Self, LauncherError> {
        const NULL: libc::dev_t = makedev(1, 3);
        let what = || "mask by /dev/null".to_owned();
        let null = tree.find(Path::new("/dev/null"))?.ok_or(Errno::ENOENT).tried(what)?;
        let stat = fstat(&null).tried(what)?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFCHR || stat.st_rdev != NULL {
            return Err(LauncherError::Setup(
                "/dev/null is not the device of that name".to_owned(),
            ));
        }
        Ok(Self { folder: None, context, null: by_descriptor(&null), _null: null })
    }

    fn cover(&mut self, at: &OwnedFd) -> io::Result<()> {
        if !is_folder(at.as_fd())? {
            let (null, none) = (Some(&self.null), None::<&str>);
            return Ok(mount(null, &by_descriptor(at), none, MsFlags::MS_BIND, none)?);
        }
        if let Some(folder) = &self.folder {
            return folder.again()?.attach(at);
        }
        let context = Context::open(c"tmpfs")?;
        // That of the folder itself.
        context.set(c"nr_inodes", "1")?;
        context.set(c"mode", "755")?;
        self.context.map_or(Ok(()), |label| context.set(c"context", label))?;
        let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        let folder = Detached::new(Path::new("tmpfs"), context.mount(attributes)?);
        folder.attach(at)?;
        self.folder = Some(folder);
        Ok(())
    }
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
