//! The folders of a container on this host: they hold its name while it runs, say which layers it has, and
//! take what it writes. They go with it.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::cgroup::Cgroup;
use super::first_task::FirstTask;
use super::image::LayerId;
use super::storage::Store;
use super::{ContainerId, LauncherError, Tried};

/// Where running containers have a folder each, locked while they run.
const RUNNING: &str = "/run/shrike/containers";

/// Where containers have a folder for files each: below `/run` nothing may be executed on many hosts.
const FILES: &str = "/var/lib/shrike/containers";

/// What says which layers a running container has, in its folder.
const LAYERS: &str = "layers";

/// What says which task is the first one of a running container, in its folder.
const FIRST_TASK: &str = "first-task";

/// The folders of one container; removed when this is dropped.
pub(super) struct State {
    id: ContainerId,
    name: Name,
    files: PathBuf,
}

impl State {
    /// Takes the name. What an earlier container of that name has left behind is removed.
    pub(super) fn create(id: &ContainerId) -> Result<Self, LauncherError> {
        let name = Name::take(id)?.ok_or_else(|| LauncherError::NameInUse(id.clone()))?;
        let files = Path::new(FILES).join(id.as_str());
        remove(&files)?;
        Ok(Self { id: id.clone(), name, files })
    }

    /// The container's name.
    pub(super) fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Whether an earlier container of that name was left behind: what is there of it, is nobody's.
    pub(super) fn was_left(&self) -> bool {
        self.name.was_left
    }

    /// A folder for the container's own files, empty at first.
    pub(super) fn own(&self) -> Result<&Path, LauncherError> {
        let dir = &self.files;
        make(dir).tried(|| format!("create {}", dir.display()))?;
        Ok(dir)
    }

    /// Says which layers the container has, from the lowest on.
    pub(super) fn take_layers(&self, layers: &[LayerId]) -> Result<(), LauncherError> {
        let file = self.name.dir.join(LAYERS);
        let lines: Vec<&str> = layers.iter().map(LayerId::as_str).collect();
        fs::write(&file, lines.join("\n")).tried(|| format!("write {}", file.display()))
    }

    /// Says which task is the container's first one, now that the container runs.
    pub(super) fn note_first_task(&self, task: &FirstTask) -> Result<(), LauncherError> {
        let file = self.name.dir.join(FIRST_TASK);
        fs::write(&file, task.to_string()).tried(|| format!("write {}", file.display()))
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // Still under its name.
        for dir in [&self.files, &self.name.dir] {
            if let Err(error) = remove(dir) {
                tracing::warn!("{:#}", anyhow::Error::from(error));
            }
        }
        remove_parents();
    }
}

/// The name of a container, which nobody else can take meanwhile.
struct Name {
    dir: PathBuf,
    /// Whether its folder was there already, of a launcher that was killed.
    was_left: bool,
    /// Held until the end: whoever finds the folder unlocked knows that it was left behind.
    _lock: Flock<File>,
}

impl Name {
    /// Takes a name; `None` if somebody has it.
    fn take(id: &ContainerId) -> Result<Option<Self>, LauncherError> {
        let dir = Path::new(RUNNING).join(id.as_str());
        loop {
            let was_left = dir.exists();
            make(&dir).tried(|| format!("create {}", dir.display()))?;
            let Some(file) = open(&dir)? else { continue };
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // Whoever had it may have removed it between the two.
                Ok(lock) if is_at(&lock, &dir) => {
                    return Ok(Some(Self { dir, was_left, _lock: lock }));
                }
                Ok(_) => {}
                Err((_, Errno::EAGAIN)) => return Ok(None),
                Err((_, errno)) => return Err(errno).tried(|| format!("lock {}", dir.display())),
            }
        }
    }
}

/// Whether a file is the one at a path.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let id = |data: io::Result<fs::Metadata>| data.ok().map(|data| (data.dev(), data.ino()));
    id(file.metadata()).is_some_and(|own| id(fs::metadata(path)) == Some(own))
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
        if !is_held(&dir)? {
            return Err(LauncherError::NoContainer(id.clone()));
        }
        Ok(Self { files: Path::new(FILES).join(id.as_str()), layers: layers(&dir)? })
    }
}

/// The first task of the container of that name, as it was written down.
pub(super) fn first_task(id: &ContainerId) -> Result<String, LauncherError> {
    let dir = Path::new(RUNNING).join(id.as_str());
    if !is_held(&dir)? {
        return Err(LauncherError::NoContainer(id.clone()));
    }
    let file = dir.join(FIRST_TASK);
    match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(LauncherError::NotStarted(id.clone()))
        }
        text => text.tried(|| format!("read {}", file.display())),
    }
}

/// Whether somebody has the name with this folder. One that nobody holds was left behind.
fn is_held(dir: &Path) -> Result<bool, LauncherError> {
    let Some(file) = open(dir)? else { return Ok(false) };
    Ok(matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EAGAIN))))
}

/// Removes what is left of containers that do not run any more, and layers that no container has, and
/// returns what that was; only tells it if it is to be kept.
pub(crate) fn clean_up(is_kept: bool) -> Result<Vec<PathBuf>, LauncherError> {
    // Held until the end: nobody can take a layer meanwhile.
    let store = Store::find()?;
    let mut left = Vec::new();
    let mut used = BTreeSet::new();
    let mut are_others = false;
    for id in names() {
        let dir = Path::new(RUNNING).join(id.as_str());
        let (was_there, cgroups) = (dir.exists(), Cgroup::all_of(&id));
        // It runs, and another `/run` has its name: an agent in a container has one of its own.
        let is_elsewhere = !was_there && cgroups.iter().any(|dir| Cgroup::is_populated(dir));
        are_others |= is_elsewhere;
        let is_running = is_elsewhere || is_held(&dir)?;
        let name = if is_running || is_kept { None } else { Name::take(&id)? };
        if is_running || !is_kept && name.is_none() {
            used.extend(layers(&dir)?);
            continue;
        }
        let files = Path::new(FILES).join(id.as_str());
        if !is_kept {
            // Whatever still runs in them keeps the rest busy.
            for dir in &cgroups {
                Cgroup::left(dir).tried(|| format!("remove the cgroup {}", dir.display()))?;
            }
        }
        left.extend(cgroups);
        for (dir, is_there) in [(files.clone(), files.exists()), (dir, was_there)] {
            if !is_kept {
                remove(&dir)?;
            }
            if is_there {
                left.push(dir);
            }
        }
    }
    if let Some(store) = store {
        // What others have is not known here.
        let layers = if are_others { Vec::new() } else { store.others(&used) };
        if !is_kept {
            layers.iter().try_for_each(|dir| remove(dir))?;
            store.remove_if_empty();
        }
        left.extend(layers);
    }
    if !is_kept {
        remove_parents();
    }
    Ok(left)
}

/// The names of all containers of which there is something.
fn names() -> BTreeSet<ContainerId> {
    let dirs = [RUNNING, FILES].into_iter().flat_map(|dir| entries(Path::new(dir)));
    let name = |dir: PathBuf| dir.file_name()?.to_str()?.parse().ok();
    dirs.chain(Cgroup::all()).filter_map(name).collect()
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

/// Opens a folder, if it is there.
fn open(dir: &Path) -> Result<Option<File>, LauncherError> {
    match File::open(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some).tried(|| format!("open {}", dir.display())),
    }
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

/// Removes a folder with all that is in it; it need not be there.
fn remove(dir: &Path) -> Result<(), LauncherError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.tried(|| format!("remove {}", dir.display())),
    }
}
