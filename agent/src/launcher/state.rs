//! The folders of a container on this host: they hold its name while it runs, say which layers it has, and
//! take what it writes. They go with it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::cgroup::Cgroup;
use super::image::LayerId;
use super::storage::Store;
use super::{ContainerId, LauncherError, Tried};

/// Where running containers have a folder each, locked while they run.
const RUNNING: &str = "/run/shrike/containers";

/// Where containers have a folder for files each: below `/run` nothing may be executed on many hosts.
const FILES: &str = "/var/lib/shrike/containers";

/// What says which layers a running container has, in its folder.
const LAYERS: &str = "layers";

/// The folders of one container; removed when this is dropped.
pub(super) struct State {
    id: ContainerId,
    dir: PathBuf,
    files: PathBuf,
    /// Held until the end: whoever finds the folder unlocked knows that it was left behind.
    _lock: Flock<File>,
}

impl State {
    /// Takes the name. What an earlier container of that name has left behind is removed.
    pub(super) fn create(id: &ContainerId) -> Result<Self, LauncherError> {
        let dir = Path::new(RUNNING).join(id.as_str());
        make(&dir).tried(|| format!("create {}", dir.display()))?;
        let lock = Flock::lock(open(&dir)?, FlockArg::LockExclusiveNonblock)
            .map_err(|_| LauncherError::NameInUse(id.clone()))?;
        let files = Path::new(FILES).join(id.as_str());
        let state = Self { id: id.clone(), dir, files, _lock: lock };
        remove(&state.files);
        Ok(state)
    }

    /// The container's name.
    pub(super) fn id(&self) -> &ContainerId {
        &self.id
    }

    /// A folder for the container's own files, empty at first.
    pub(super) fn own(&self) -> Result<&Path, LauncherError> {
        let dir = &self.files;
        make(dir).tried(|| format!("create {}", dir.display()))?;
        Ok(dir)
    }

    /// Says which layers the container has, from the lowest on.
    pub(super) fn take_layers(&self, layers: &[LayerId]) -> Result<(), LauncherError> {
        let file = self.dir.join(LAYERS);
        let lines: Vec<&str> = layers.iter().map(LayerId::as_str).collect();
        fs::write(&file, lines.join("\n")).tried(|| format!("write {}", file.display()))
    }
}

impl Drop for State {
    fn drop(&mut self) {
        remove(&self.files);
        remove(&self.dir);
        remove_parents();
    }
}

/// A container that runs, as others see it.
pub(super) struct Running {
    /// The folder of its files.
    pub(super) files: PathBuf,
    /// Its layers, from the lowest on; none if it is not run from an image.
    pub(super) layers: Vec<LayerId>,
}

impl Running {
    /// The container of that name.
    pub(super) fn find(id: &ContainerId) -> Result<Self, LauncherError> {
        let dir = Path::new(RUNNING).join(id.as_str());
        // One that nobody holds was left behind.
        let is_held = dir.exists()
            && matches!(
                Flock::lock(open(&dir)?, FlockArg::LockSharedNonblock),
                Err((_, Errno::EAGAIN))
            );
        if !is_held {
            return Err(LauncherError::NoContainer(id.clone()));
        }
        Ok(Self { files: Path::new(FILES).join(id.as_str()), layers: layers(&dir)? })
    }
}

/// Removes what is left of containers that do not run any more, and layers that no container has, and
/// returns what that was; only tells it if it is to be kept.
pub(crate) fn clean_up(is_kept: bool) -> Result<Vec<PathBuf>, LauncherError> {
    // Both are held until the end: no container can take the name or the layer meanwhile.
    let store = Store::find()?;
    let mut locks = Vec::new();
    let (mut left, mut running, mut used) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for dir in entries(Path::new(RUNNING)) {
        if let Ok(lock) = Flock::lock(open(&dir)?, FlockArg::LockExclusiveNonblock) {
            locks.push(lock);
            left.push(dir);
        } else {
            used.extend(layers(&dir)?);
            running.extend(dir.file_name().map(OsStr::to_owned));
        }
    }
    let is_left = |path: &PathBuf| path.file_name().is_some_and(|name| !running.contains(name));
    left.extend(entries(Path::new(FILES)).into_iter().filter(is_left));
    left.extend(store.iter().flat_map(|store| store.others(&used)));
    let cgroups: Vec<PathBuf> = Cgroup::all().into_iter().filter(is_left).collect();
    if !is_kept {
        // Whatever still runs in them keeps the rest busy.
        for dir in &cgroups {
            Cgroup::left(dir).tried(|| format!("remove the cgroup {}", dir.display()))?;
        }
        for dir in &left {
            remove(dir);
        }
        if let Some(store) = store {
            store.remove_if_empty();
        }
        remove_parents();
    }
    left.extend(cgroups);
    Ok(left)
}

/// The layers of the container with this folder.
fn layers(dir: &Path) -> Result<Vec<LayerId>, LauncherError> {
    let file = dir.join(LAYERS);
    match fs::read_to_string(&file) {
        Ok(text) => Ok(text.lines().filter_map(LayerId::parse).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).tried(|| format!("read {}", file.display())),
    }
}

/// Gone with the last container, and not before.
fn remove_parents() {
    let files = Path::new(FILES);
    for dir in [Path::new(RUNNING), files].into_iter().chain(files.parent()) {
        let _ = fs::remove_dir(dir);
    }
}

fn open(dir: &Path) -> Result<File, LauncherError> {
    File::open(dir).tried(|| format!("open {}", dir.display()))
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
