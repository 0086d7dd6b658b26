//! The folders of a container on this host: they hold its name while it runs, and what was unpacked
//! for it. They go with it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::cgroup::Cgroup;
use super::{ContainerId, LauncherError, Tried};

/// Where running containers have a folder each, locked while they run.
const RUNNING: &str = "/run/shrike/containers";

/// Where images are unpacked: below `/run` nothing may be executed on many hosts.
const UNPACKED: &str = "/var/lib/shrike/containers";

/// The folders of one container; removed when this is dropped.
pub(super) struct State {
    id: ContainerId,
    dir: PathBuf,
    unpacked: PathBuf,
    /// Held until the end: whoever finds the folder unlocked knows that it was left behind.
    _lock: Flock<File>,
}

impl State {
    /// Takes the name. What an earlier container of that name has left behind is removed.
    pub(super) fn create(id: &ContainerId) -> Result<Self, LauncherError> {
        let dir = Path::new(RUNNING).join(id.as_str());
        make(&dir).tried(|| format!("create {}", dir.display()))?;
        let file = File::open(&dir).tried(|| format!("open {}", dir.display()))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| LauncherError::NameInUse(id.clone()))?;
        let unpacked = Path::new(UNPACKED).join(id.as_str());
        let state = Self { id: id.clone(), dir, unpacked, _lock: lock };
        remove(&state.unpacked);
        Ok(state)
    }

    /// The container's name.
    pub(super) fn id(&self) -> &ContainerId {
        &self.id
    }

    /// An empty folder to unpack an image into.
    pub(super) fn unpacked(&self) -> Result<&Path, LauncherError> {
        let dir = &self.unpacked;
        make(dir).tried(|| format!("create {}", dir.display()))?;
        Ok(dir)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        remove(&self.unpacked);
        remove(&self.dir);
        // Gone with the last container, and not before.
        for dir in [UNPACKED, RUNNING] {
            let _ = fs::remove_dir(dir);
        }
    }
}

/// Removes what is left of containers that do not run any more, and returns what that was.
pub(crate) fn clean_up() -> Result<Vec<PathBuf>, LauncherError> {
    let mut removed = Vec::new();
    // Held until the end: no container can take the name meanwhile.
    let mut locks = Vec::new();
    let mut running = BTreeSet::new();
    for dir in entries(Path::new(RUNNING)) {
        let file = File::open(&dir).tried(|| format!("open {}", dir.display()))?;
        if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            locks.push(lock);
            removed.push(dir);
        } else {
            running.extend(dir.file_name().map(OsStr::to_owned));
        }
    }
    let is_left = |path: &PathBuf| path.file_name().is_some_and(|name| !running.contains(name));
    removed.extend(entries(Path::new(UNPACKED)).into_iter().filter(is_left));
    for dir in &removed {
        remove(dir);
    }
    for dir in [UNPACKED, RUNNING] {
        let _ = fs::remove_dir(dir);
    }
    for dir in Cgroup::all().into_iter().filter(is_left) {
        Cgroup::left(&dir).tried(|| format!("remove the cgroup {}", dir.display()))?;
        removed.push(dir);
    }
    Ok(removed)
}

/// What is in a folder; nothing if it is not there.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Makes a folder that only root may look into.
fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn remove(dir: &Path) {
    match fs::remove_dir_all(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!("cannot remove {}: {error}", dir.display()),
    }
}
