//! The folders of a container on this host: one holds its name while it runs, the other has what is written down
//! of it, which layers it has, and what it writes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::cgroup::Cgroup;
use super::first_task::FirstTask;
use super::image::LayerId;
use super::record::{End, Process, Record};
use super::selinux::Contexts;
use super::storage::Store;
use super::{ContainerId, LauncherError, Spec, Tried, folder, lock, network};

/// Where running containers have a folder each, locked while they run.
const RUNNING: &str = "/run/shrike/containers";

/// Where containers have a folder for files each: below `/run` nothing may be executed on many hosts.
const FILES: &str = "/var/lib/shrike/containers";

/// What says which layers a container has, in the folder of its files.
const LAYERS: &str = "layers";

/// What says which task is the first one of a running container, in the folder of its name.
const FIRST_TASK: &str = "first-task";

/// The folders of a container that somebody works on; removed when this is dropped, but for the files of one
/// that is kept.
pub(super) struct State {
    name: Name,
    files: PathBuf,
    record: Record,
    /// Whether it is to be kept once it has been started.
    keeps: bool,
}

impl State {
    /// Takes a name for a new container. What an earlier one has left behind is removed. Its files are beside its
    /// name, in memory, unless it needs a disk: an agent's own container has none that it may write to.
    pub(super) fn create(
        spec: &Spec,
        is_kept: bool,
        needs_disk: bool,
    ) -> Result<Self, LauncherError> {
        let id = &spec.id;
        let name = Name::take(id)?.ok_or_else(|| LauncherError::NameInUse(id.clone()))?;
        let on_disk = Path::new(FILES).join(id.as_str());
        if Record::read(&on_disk)?.is_some_and(|record| record.is_kept) {
            return Err(LauncherError::NameKept(id.clone()));
        }
        remove(&on_disk)?;
        let files = if needs_disk { on_disk } else { name.dir.clone() };
        // Nothing is kept of what cannot be written down.
        let mut state = Self { name, files, record: Record::new(spec, false), keeps: false };
        let files = &state.files;
        make(files).tried(|| format!("create {}", files.display()))?;
        let record = Record::new(spec, is_kept);
        record.write(files)?;
        state.record = record;
        Ok(state)
    }

    /// Takes the name of a container that is there and does not run.
    pub(super) fn open(id: &ContainerId) -> Result<Self, LauncherError> {
        let files = folder(id);
        let unknown = || LauncherError::NoContainer(id.clone());
        // Before the name makes a folder.
        Record::read(&files)?.ok_or_else(unknown)?;
        let name = Name::take(id)?.ok_or_else(|| LauncherError::Running(id.clone()))?;
        let record = Record::read(&files)?.ok_or_else(unknown)?;
        Ok(Self { name, files, record, keeps: false })
    }

    /// The container's name.
    pub(super) fn id(&self) -> &ContainerId {
        &self.record.spec.id
    }

    /// What the container was to be.
    pub(super) fn spec(&self) -> &Spec {
        &self.record.spec
    }

    /// Whether an earlier container of that name was left behind: what is there of it, is nobody's.
    pub(super) fn was_left(&self) -> bool {
        self.name.was_left
    }

    /// What `SELinux` knows the container by.
    pub(super) fn contexts(&self) -> Option<&Contexts> {
        self.record.selinux.as_ref()
    }

    /// Says what that is from now on.
    pub(super) fn take_contexts(
        &mut self,
        contexts: Option<Contexts>,
    ) -> Result<(), LauncherError> {
        if self.record.selinux == contexts {
            return Ok(());
        }
        self.record.selinux = contexts;
        self.record.write(&self.files)
    }

    /// The folder for the container's own files.
    pub(super) fn own(&self) -> &Path {
        &self.files
    }

    /// Says which layers the container has, from the lowest on.
    pub(super) fn take_layers(&self, layers: &[LayerId]) -> Result<(), LauncherError> {
        let file = self.files.join(LAYERS);
        let lines: Vec<&str> = layers.iter().map(LayerId::as_str).collect();
        fs::write(&file, lines.join("\n")).tried(|| format!("write {}", file.display()))
    }

    /// Says which task is the container's first one, now that the container runs.
    pub(super) fn note_first_task(&self, task: &FirstTask) -> Result<(), LauncherError> {
        let file = self.name.dir.join(FIRST_TASK);
        fs::write(&file, task.to_string()).tried(|| format!("write {}", file.display()))
    }

    /// Says that the container's command has been started. From then on it is kept, if it is to be.
    pub(super) fn start(&mut self, process: Process) -> Result<(), LauncherError> {
        self.record.started = Some(Timestamp::now());
        self.record.process = Some(process);
        self.record.ended = None;
        self.record.is_kept |= self.keeps;
        self.record.write(&self.files)
    }

    /// Has the container kept once it has been started.
    pub(super) fn keep(&mut self) {
        self.keeps = true;
    }

    /// Says how the container has ended.
    pub(super) fn end(&mut self, end: End) -> Result<(), LauncherError> {
        self.record.ended = Some(end);
        if self.record.is_kept { self.record.write(&self.files) } else { Ok(()) }
    }

    /// Has the container removed with all its files.
    pub(super) fn forget(mut self) {
        self.record.is_kept = false;
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // Still under its name.
        if !self.record.is_kept
            && let Err(error) = remove(&self.files)
        {
            tracing::warn!("{:#}", anyhow::Error::from(error));
        }
    }
}

/// The name of a container, which nobody else can take meanwhile. Its folder is removed when this is dropped.
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
        Self::lock(&dir).inspect_err(|_| {
            // Unless somebody else has it by now.
            let lock =
                File::open(&dir).ok().map(|dir| Flock::lock(dir, FlockArg::LockExclusiveNonblock));
            if let Some(Ok(_lock)) = lock {
                let _ = fs::remove_dir(&dir);
            }
            remove_parents();
        })
    }

    fn lock(dir: &Path) -> Result<Option<Self>, LauncherError> {
        loop {
            let was_left = dir.exists();
            make(dir).tried(|| format!("create {}", dir.display()))?;
            let Some(file) = open(dir)? else { continue };
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // Whoever had it may have removed it between the two.
                Ok(lock) if is_at(&lock, dir) => {
                    // That of the one that was left behind.
                    let _ = fs::remove_file(dir.join(FIRST_TASK));
                    return Ok(Some(Self { dir: dir.to_owned(), was_left, _lock: lock }));
                }
                Ok(_) => {}
                Err((_, Errno::EAGAIN)) => return Ok(None),
                Err((_, errno)) => return Err(errno).tried(|| format!("lock {}", dir.display())),
            }
        }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // Still under the lock.
        if let Err(error) = remove(&self.dir) {
            tracing::warn!("{:#}", anyhow::Error::from(error));
        }
        remove_parents();
    }
}

/// Waits until no other launcher takes what only one container can have, as long as `go_on` holds.
pub(super) fn lock_all(
    go_on: impl Fn() -> Result<(), LauncherError>,
) -> Result<Flock<File>, LauncherError> {
    let how = FlockArg::LockExclusiveNonblock;
    lock::take(Path::new(RUNNING), how, "another launcher that starts a container", go_on)
}

/// Whether a file is the one at a path.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let id = |data: io::Result<fs::Metadata>| data.ok().map(|data| (data.dev(), data.ino()));
    id(file.metadata()).is_some_and(|own| id(fs::metadata(path)) == Some(own))
}

/// The folder of a container's files: that of its name, if it has none on a disk.
pub(super) fn folder(id: &ContainerId) -> PathBuf {
    let on_disk = Path::new(FILES).join(id.as_str());
    if on_disk.exists() { on_disk } else { Path::new(RUNNING).join(id.as_str()) }
}

/// Whether somebody works on the container of that name: its launcher, as long as it runs.
pub(super) fn is_running(id: &ContainerId) -> Result<bool, LauncherError> {
    is_held(&Path::new(RUNNING).join(id.as_str()))
}

/// Whether a container runs: here, or with its name in another `/run`.
pub(super) fn runs_anywhere(id: &ContainerId) -> Result<bool, LauncherError> {
    let is_known = Path::new(RUNNING).join(id.as_str()).exists();
    let is_elsewhere = || Cgroup::all_of(id).iter().any(|dir| Cgroup::is_populated(dir));
    Ok(is_running(id)? || !is_known && is_elsewhere())
}

/// Removes the files of a container of which nothing can be known.
pub(super) fn discard(id: &ContainerId) -> Result<(), LauncherError> {
    let _name = Name::take(id)?.ok_or_else(|| LauncherError::Running(id.clone()))?;
    remove(&folder(id))
}

/// The names of all containers that have files.
pub(super) fn all() -> BTreeSet<ContainerId> {
    let dirs = [RUNNING, FILES].into_iter().flat_map(|dir| entries(Path::new(dir)));
    dirs.filter_map(|dir| name(&dir)).collect()
}

/// The first task of the container of that name, as it was written down.
pub(super) fn first_task(id: &ContainerId) -> Result<String, LauncherError> {
    let dir = Path::new(RUNNING).join(id.as_str());
    if !is_held(&dir)? {
        let is_there = folder(id).exists();
        let error = if is_there { LauncherError::NotRunning } else { LauncherError::NoContainer };
        return Err(error(id.clone()));
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

/// Removes what is left of containers whose launcher was killed, and layers that no container has, and returns
///  what that was; only tells it if it is to be kept.
pub(crate) fn clean_up(is_dry: bool) -> Result<Vec<PathBuf>, LauncherError> {
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
        let files = folder(&id);
        let is_running = is_elsewhere || is_held(&dir)?;
        let name = if is_running || is_dry { None } else { Name::take(&id)? };
        if is_running || !is_dry && name.is_none() {
            used.extend(layers(&files)?);
            continue;
        }
        // One that has not been removed: only what it has while it runs is left behind.
        let is_container = match Record::read(&files) {
            Ok(record) => record.is_some_and(|record| record.is_kept),
            Err(error) => {
                tracing::warn!("{:#}", anyhow::Error::from(error));
                true
            }
        };
        if is_container {
            used.extend(layers(&files)?);
        }
        if !is_dry {
            // Whatever still runs in them keeps the rest busy.
            for dir in &cgroups {
                Cgroup::left(dir).tried(|| format!("remove the cgroup {}", dir.display()))?;
            }
        }
        left.extend(cgroups);
        let files = (!is_container).then(|| Path::new(FILES).join(id.as_str()));
        let files = files.into_iter().map(|dir| (dir.exists(), dir));
        for (is_there, dir) in files.chain([(was_there, dir)]) {
            if !is_dry {
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
        if !is_dry {
            layers.iter().try_for_each(|dir| remove(dir))?;
            store.remove_if_empty();
        }
        left.extend(layers);
    }
    left.extend(network::clean_up(is_dry)?);
    if !is_dry {
        remove_parents();
        Cgroup::remove_parents();
    }
    Ok(left)
}

/// The names of all containers of which there is something.
fn names() -> BTreeSet<ContainerId> {
    all().into_iter().chain(Cgroup::all().iter().filter_map(|dir| name(dir))).collect()
}

/// The name of the container with this folder.
fn name(dir: &Path) -> Option<ContainerId> {
    dir.file_name()?.to_str()?.parse().ok()
}

/// The layers of the container with this folder of files.
pub(super) fn layers(dir: &Path) -> Result<Vec<LayerId>, LauncherError> {
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
pub(super) fn make(dir: &Path) -> io::Result<()> {
    folder::make(dir, 0o700)
}

/// Removes a folder with all that is in it; it need not be there.
fn remove(dir: &Path) -> Result<(), LauncherError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.tried(|| format!("remove {}", dir.display())),
    }
}
