//! The container's cgroup: made before its first task, which is born in it, and removed after its
//! last. Controllers are written through `cgroups-rs` ([`limit`]), but for block devices ([`block`]) and
//! what of devices has none ([`device`](super::device)); the life of the folders is ours.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use cgroups_rs::CgroupPid;
use cgroups_rs::fs::devices::DevicesController;
use cgroups_rs::fs::hierarchies::{self, UNIFIED_MOUNTPOINT};
use cgroups_rs::fs::{Cgroup as Controllers, Subsystem};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::block::{self, BlockError};
use super::device::{DeviceError, Devices};
use super::spec::Resources;
use super::state::State;
use super::{ContainerId, fault, folder, limit};

/// The cgroup that holds those of all containers.
const PARENT: &str = "shrike";

/// Where a host with cgroup v1 has the v2 hierarchy, if at all.
const HYBRID_MOUNTPOINT: &str = "/sys/fs/cgroup/unified";

/// How long the tasks of a container may take to be gone after they were killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// The cgroup of one container, in each hierarchy; removed when this is dropped.
pub(super) struct Cgroup {
    controllers: Controllers,
    /// Its folder in the v2 hierarchy: what tells the containers of this host apart.
    unified: Option<PathBuf>,
    /// Its folders in v1 hierarchies.
    legacy: Vec<PathBuf>,
}

/// Why there is no cgroup as it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    #[error("cannot {what} the cgroup {path}")]
    Folder { what: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot make the cgroup {path}")]
    Create { path: String, source: cgroups_rs::fs::error::Error },
    #[error("cannot add the container to its cgroup")]
    Join(#[source] cgroups_rs::fs::error::Error),
    #[error("this host has no {0} controller for containers, so the limit cannot be kept")]
    NoController(&'static str),
    #[error("cannot set the {name} limit to {wanted}")]
    Limit { name: &'static str, wanted: String, source: cgroups_rs::fs::error::Error },
    #[error(
        "the limit of memory and swap together, {together}, is below that of memory, {memory} \
         (--memory-swap)"
    )]
    SwapBelowMemory { together: u64, memory: u64 },
    #[error("the {name} limit should be {wanted} and is {found}")]
    NotTaken { name: &'static str, wanted: String, found: String },
    #[error(
        "the cgroup {0} is in use by a container that is not known here: choose another --name"
    )]
    InUse(PathBuf),
    #[error(transparent)]
    Block(#[from] BlockError),
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl Cgroup {
    /// Makes the cgroup, sets its limits, and keeps it to its devices.
    pub(super) fn create(
        state: &State,
        resources: &Resources,
        devices: &Devices,
    ) -> Result<Self, CgroupError> {
        let path = format!("{PARENT}/{}", state.id());
        let hierarchy = hierarchies::auto();
        let is_v2 = hierarchy.v2();
        let block = block::controllers(&resources.block, is_v2);
        // One of v1: of v2 there is none.
        let of_devices = (!is_v2 && !devices.are_all()).then_some("devices");
        let mut needed = limit::controllers(resources);
        needed.extend(block.iter().copied().chain(of_devices));
        if is_v2 && let Some(missing) = needed.iter().find(|name| !has_controller(name)) {
            return Err(CgroupError::NoController(missing));
        }
        let needed = needed.into_iter().map(str::to_owned).collect();
        let controllers = Controllers::load_with_specified_controllers(hierarchy, &path, needed);
        let legacy = if is_v2 { Vec::new() } else { legacy_folders(&controllers, &path) };
        let root = if is_v2 { UNIFIED_MOUNTPOINT } else { HYBRID_MOUNTPOINT };
        let unified = Path::new(root).is_dir().then(|| Path::new(root).join(&path));
        // Before this has a cgroup to remove: one that is in use is another's.
        let dirs: Vec<&PathBuf> = unified.iter().chain(&legacy).collect();
        remove_left(state, &dirs)?;
        let cgroup = Self { controllers, unified, legacy };
        cgroup.make(&path)?;
        let step =
            |what| fault::step().map_err(|source| folder_error(what, Path::new(&path), source));
        limit::set(&cgroup.controllers, is_v2, resources)?;
        step("limit")?;
        if let Some(&controller) = block.first() {
            let dir = cgroup.folder_of(controller).ok_or(CgroupError::NoController(controller))?;
            block::set(dir, is_v2, &resources.block)?;
            step("share out disks to")?;
        }
        if !devices.are_all() {
            cgroup.keep_to(devices)?;
            step("confine")?;
        }
        Ok(cgroup)
    }

    /// The folders of all containers' cgroups, in every hierarchy.
    pub(super) fn all() -> Vec<PathBuf> {
        parents().iter().flat_map(|dir| folders(dir)).collect()
    }

    /// Those of one container.
    pub(super) fn all_of(id: &ContainerId) -> Vec<PathBuf> {
        let dirs = parents().into_iter().map(|dir| dir.join(id.as_str()));
        dirs.filter(|dir| dir.is_dir()).collect()
    }

    /// Whether a task is in the container's cgroup, or below it, by what `/proc/PID/cgroup` says.
    pub(super) fn has(id: &ContainerId, cgroups: &str) -> bool {
        let own = Path::new("/").join(PARENT).join(id.as_str());
        // HIERARCHY:CONTROLLERS:PATH
        cgroups
            .lines()
            .filter_map(|line| line.splitn(3, ':').nth(2))
            .any(|path| Path::new(path).starts_with(&own))
    }

    /// Adds a task to the v1 hierarchies of a container that runs; it is born into that of v2.
    pub(super) fn join_legacy_of(id: &ContainerId, pid: libc::pid_t) -> io::Result<()> {
        let is_legacy = |dir: &&PathBuf| !dir.join("cgroup.events").exists();
        Self::all_of(id)
            .iter()
            .filter(is_legacy)
            .try_for_each(|dir| fs::write(dir.join("cgroup.procs"), pid.to_string()))
    }

    /// The folder of a container in the v2 hierarchy, if this host has one.
    pub(super) fn unified_of(id: &ContainerId) -> Option<PathBuf> {
        Self::all_of(id).into_iter().find(|dir| dir.join("cgroup.events").exists())
    }

    /// Whether the kernel has stopped all tasks of a container where they were.
    pub(super) fn is_frozen(id: &ContainerId) -> bool {
        let events = Self::unified_of(id).map(|dir| fs::read_to_string(dir.join("cgroup.events")));
        events.is_some_and(|events| {
            events.is_ok_and(|text| text.lines().any(|line| line == "frozen 1"))
        })
    }

    /// Has the kernel stop them, or lets them go on.
    pub(super) fn freeze(id: &ContainerId, is_frozen: bool) -> io::Result<()> {
        let dir = Self::unified_of(id)
            .ok_or_else(|| io::Error::other("this host has no cgroup v2, which can do that"))?;
        fs::write(dir.join("cgroup.freeze"), if is_frozen { "1" } else { "0" })
    }

    /// Whether there is a task in a cgroup, or below it.
    pub(super) fn is_populated(dir: &Path) -> bool {
        match fs::read_to_string(dir.join("cgroup.events")) {
            Ok(events) => events.lines().any(|line| line == "populated 1"),
            // Of v1.
            Err(_) => {
                fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|pids| !pids.is_empty())
            }
        }
    }

    /// Removes the folder of a container that is gone, with what still runs in it.
    pub(super) fn left(dir: &Path) -> io::Result<()> {
        if fs::write(dir.join("cgroup.kill"), "1").is_err() {
            // A hierarchy of v1, or Linux before 5.14.
            let tasks = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            for pid in tasks.lines().filter_map(|line| line.parse().ok()) {
                // It may just have ended.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        remove(dir)?;
        let _ = dir.parent().map(fs::remove_dir);
        Ok(())
    }

    /// Removes the cgroups that hold those of all containers, where there is none left.
    pub(super) fn remove_parents() {
        for dir in parents() {
            let _ = fs::remove_dir(dir);
        }
    }

    /// The folder in the v2 hierarchy, for `CLONE_INTO_CGROUP`.
    pub(super) fn open_unified(&self) -> Result<Option<File>, CgroupError> {
        let Some(path) = &self.unified else {
            tracing::warn!(
                "this host has no cgroup v2: the agent cannot tell containers by cgroup"
            );
            return Ok(None);
        };
        let opened = File::open(path).and_then(|file| fault::step().map(|()| file));
        opened.map(Some).map_err(|source| folder_error("open", path, source))
    }

    /// Adds the first task where it is not born into: to the v1 hierarchies.
    pub(super) fn join_legacy(&self, pid: u32) -> Result<(), CgroupError> {
        if self.legacy.is_empty() {
            return Ok(());
        }
        self.controllers
            .add_task_by_tgid(CgroupPid::from(u64::from(pid)))
            .map_err(CgroupError::Join)?;
        fault::step().map_err(|source| folder_error("join", Path::new(PARENT), source))
    }

    /// By the controller of v1 where there is one, by a program in the v2 hierarchy else.
    fn keep_to(&self, devices: &Devices) -> Result<(), CgroupError> {
        if let Some(controller) = self.controllers.controller_of::<DevicesController>() {
            return Ok(devices.set(controller)?);
        }
        let unified = self.open_unified()?.ok_or(DeviceError::NoCgroup)?;
        Ok(devices.program().attach(&unified).map_err(DeviceError::from)?)
    }

    /// The folder that has the files of a controller.
    fn folder_of(&self, controller: &str) -> Option<&Path> {
        if self.controllers.v2() {
            return self.unified.as_deref();
        }
        let root = Path::new(UNIFIED_MOUNTPOINT).join(controller);
        self.legacy.iter().find(|dir| dir.starts_with(&root)).map(PathBuf::as_path)
    }

    fn make(&self, path: &str) -> Result<(), CgroupError> {
        folder::persist(|| self.controllers.create())
            .map_err(|source| CgroupError::Create { path: path.to_owned(), source })?;
        fault::step().map_err(|source| folder_error("make", Path::new(path), source))?;
        let Some(unified) = &self.unified else { return Ok(()) };
        folder::make(unified, 0o755)
            .and_then(|()| fault::step())
            .map_err(|source| folder_error("make", unified, source))
    }

    /// How many of the container's tasks the kernel has killed for lack of memory, if it counts them.
    pub(super) fn killed_for_memory(&self) -> Option<u64> {
        let counts = |path: PathBuf| {
            let text = fs::read_to_string(path).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.parse().ok()
        };
        let legacy = self.legacy.iter().map(|dir| dir.join("memory.oom_control"));
        self.unified.iter().map(|dir| dir.join("memory.events")).chain(legacy).find_map(counts)
    }

    /// Kills what is left in the cgroup. With the host's pids a container's processes outlive its
    /// first one.
    fn kill(&self) {
        if let Some(unified) = &self.unified {
            // Absent before Linux 5.14, and refused at the root only.
            if let Err(error) = fs::write(unified.join("cgroup.kill"), "1") {
                tracing::warn!("cannot kill the tasks of {}: {error}", unified.display());
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.unified.as_ref().is_some_and(|dir| dir.exists()) {
            self.kill();
        }
        for dir in self.unified.iter().chain(&self.legacy) {
            if let Err(error) = remove(dir) {
                tracing::warn!("cannot remove the cgroup {}: {error}", dir.display());
            }
            // The parent goes with its last container.
            let _ = dir.parent().map(fs::remove_dir);
        }
    }
}

/// Removes what a launcher that was killed has left of a container of that name: its limits, and the program of
/// its devices, are not those of this one. What runs without a name here, runs under another `/run`.
fn remove_left(state: &State, dirs: &[&PathBuf]) -> Result<(), CgroupError> {
    for dir in dirs.iter().filter(|dir| dir.exists()) {
        if !state.was_left() && Cgroup::is_populated(dir) {
            return Err(CgroupError::InUse((*dir).clone()));
        }
        Cgroup::left(dir).map_err(|source| folder_error("remove what is left of", dir, source))?;
    }
    Ok(())
}

/// Where the cgroups of containers are, in every hierarchy.
fn parents() -> Vec<PathBuf> {
    let root = Path::new(UNIFIED_MOUNTPOINT);
    if hierarchies::auto().v2() {
        return vec![root.join(PARENT)];
    }
    folders(root).map(|hierarchy| hierarchy.join(PARENT)).collect()
}

/// Whether the v2 hierarchy has a controller.
fn has_controller(name: &str) -> bool {
    let all = fs::read_to_string(Path::new(UNIFIED_MOUNTPOINT).join("cgroup.controllers"));
    all.is_ok_and(|all| all.split_whitespace().any(|other| other == name))
}

/// The folders that `cgroups-rs` makes in v1 hierarchies.
fn legacy_folders(controllers: &Controllers, path: &str) -> Vec<PathBuf> {
    let folder = |subsystem: &Subsystem| {
        let controller = subsystem.controller_name();
        Path::new(UNIFIED_MOUNTPOINT).join(controller).join(path)
    };
    controllers.subsystems().iter().map(folder).collect()
}

/// Removes a cgroup with those that the container made in it, innermost first. A cgroup is busy
/// for a moment after its last task has ended.
fn remove(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return fault::step(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline =>
            {
                thread::sleep(pause);
                pause *= 2;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The folders in a folder; none if it is not there.
fn folders(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

fn folder_error(what: &'static str, path: &Path, source: io::Error) -> CgroupError {
    CgroupError::Folder { what, path: path.to_owned(), source }
}
