//! The root file systems of containers from images. Each layer is unpacked once on this host, and every
//! container with it sees it below a layer of its own, which takes what the container writes.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::slice;

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, chdir, chroot, fork};

use super::detached::Detached;
use super::image::{Image, ImageError, LayerId};
use super::overlay::{Overlay, UPPER, WORK};
use super::state::State;
use super::{LauncherError, Tried};

/// Where the layers are, a folder for each.
const LAYERS: &str = "/var/lib/shrike/layers";

/// Where one is unpacked. Its name is none of a layer.
const NEW: &str = "new";

/// Where an overlay shows itself, in the folder that has what is written.
const MERGED: &str = "merged";

/// All layers on this host. While one has it, nobody else adds or removes any.
pub(super) struct Store {
    dir: &'static Path,
    _lock: Flock<File>,
}

/// Makes the root file system of a container that is run from an image: of layers that it shares with others, or
/// of its own files alone, where owners are to be changed.
pub(super) fn provide(
    image: &mut Image,
    state: &State,
    is_shared: bool,
) -> Result<Detached, LauncherError> {
    let own = state.own()?;
    let (upper, empty) = (own.join(UPPER), own.join(MERGED));
    for (folder, mode) in [(&upper, 0o755), (&own.join(WORK), 0o700), (&empty, 0o700)] {
        make(folder, mode)?;
    }
    let show = |lower: &[PathBuf]| Overlay::open(lower, own).and_then(|overlay| overlay.mount());
    let is_possible = is_shared && {
        let shown = show(slice::from_ref(&empty));
        if let Err(error) = &shown {
            tracing::warn!(
                "layers are copied for this container alone: {} cannot be the upper folder of an \
                 overlay: {error}",
                own.display()
            );
        }
        shown.is_ok()
    };
    if !is_possible {
        let all = image.layers()?.len();
        in_folder(&upper, |root| (0..all).try_for_each(|layer| image.unpack(layer, root)))?;
        return Detached::open(&upper);
    }
    let store = Store::open()?;
    let ids = image.layers()?;
    let layers = store.unpack(image, &ids)?;
    // Before others may remove what nobody has.
    state.take_layers(&ids)?;
    let mount = show(&layers).tried(|| format!("mount the layers for {}", state.id()))?;
    Ok(Detached::new(&upper, mount))
}

impl Store {
    /// Waits until nobody else has it.
    pub(super) fn open() -> Result<Self, LauncherError> {
        let dir = Path::new(LAYERS);
        make(dir, 0o700)?;
        let file = File::open(dir).tried(|| format!("open {LAYERS}"))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive);
        Ok(Self {
            dir,
            _lock: lock.map_err(|(_, errno)| errno).tried(|| format!("lock {LAYERS}"))?,
        })
    }

    /// The store, if there is one.
    pub(super) fn find() -> Result<Option<Self>, LauncherError> {
        if Path::new(LAYERS).exists() { Self::open().map(Some) } else { Ok(None) }
    }

    /// The folders of layers, unpacked where they are not yet.
    fn unpack(&self, image: &mut Image, ids: &[LayerId]) -> Result<Vec<PathBuf>, LauncherError> {
        let mut layers: Vec<PathBuf> = Vec::new();
        for (index, id) in ids.iter().enumerate() {
            let layer = folder(id);
            if !layer.exists() {
                tracing::debug!("unpacking layer {} of {}: {}", index + 1, ids.len(), id.as_str());
                let new = unpack_over(&layers, |root| image.unpack(index, root))?;
                fs::rename(&new, &layer).tried(|| format!("keep {}", layer.display()))?;
            }
            layers.push(layer);
        }
        self.clear()?;
        Ok(layers)
    }

    /// The folders of layers that are not among these, and what was left of the unpacking of one.
    pub(super) fn others(&self, used: &BTreeSet<LayerId>) -> Vec<PathBuf> {
        let used: BTreeSet<PathBuf> = used.iter().map(folder).collect();
        let entries = fs::read_dir(self.dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| !used.contains(path)).collect()
    }

    /// Removes the place where layers are unpacked.
    fn clear(&self) -> Result<(), LauncherError> {
        let new = self.dir.join(NEW);
        match fs::remove_dir_all(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).tried(|| format!("remove {}", new.display()))
            }
            _ => Ok(()),
        }
    }

    /// The store goes with its last layer.
    pub(super) fn remove_if_empty(self) {
        let _ = fs::remove_dir(self.dir);
    }
}

/// Where a layer is.
pub(super) fn folder(id: &LayerId) -> PathBuf {
    Path::new(LAYERS).join(id.as_str())
}

/// Has a layer unpacked above others, and returns the folder with what is new in it. Files that it hides or
/// replaces become the kernel's own marks of that, since it is unpacked into an overlay.
fn unpack_over(
    lower: &[PathBuf],
    unpack: impl FnOnce(&Path) -> Result<(), ImageError>,
) -> Result<PathBuf, LauncherError> {
    let new = Path::new(LAYERS).join(NEW);
    let (upper, merged) = (new.join(UPPER), new.join(MERGED));
    let _ = fs::remove_dir_all(&new);
    for (folder, mode) in [(&upper, 0o755), (&new.join(WORK), 0o700), (&merged, 0o700)] {
        make(folder, mode)?;
    }
    if lower.is_empty() {
        in_folder(&upper, unpack)?;
    } else {
        let overlay = Overlay::open(lower, &new).and_then(|overlay| overlay.mount());
        let overlay = overlay.tried(|| "mount the layers below".to_owned())?;
        in_child(unpack, || {
            let at = File::open(&merged);
            at.and_then(|at| Detached::new(&upper, overlay).attach(&at))
                .tried(|| "show the layers below".to_owned())?;
            Ok(&merged)
        })?;
    }
    Ok(upper)
}

/// Has layers unpacked into a folder.
fn in_folder(
    folder: &Path,
    unpack: impl FnOnce(&Path) -> Result<(), ImageError>,
) -> Result<(), LauncherError> {
    in_child(unpack, || Ok(folder))
}

/// Has a process of its own unpack, to which the folder is all that there is: a layer says what it likes about
/// paths and links, and nobody else sees what is mounted for it.
fn in_child<'a>(
    unpack: impl FnOnce(&Path) -> Result<(), ImageError>,
    folder: impl FnOnce() -> Result<&'a Path, LauncherError>,
) -> Result<(), LauncherError> {
    let (mut ours, mut theirs) = UnixStream::pair().tried(|| "make a socket".to_owned())?;
    // SAFETY: this program has one thread here, so no lock of the C library is held by another one.
    match unsafe { fork() }.tried(|| "make a process that unpacks".to_owned())? {
        ForkResult::Child => {
            drop(ours);
            let unpacked = confine(folder).and_then(|()| Ok(unpack(Path::new("/"))?));
            if let Err(error) = unpacked {
                // Nobody is there to read it if the launcher was killed.
                let _ = write!(theirs, "{:#}", anyhow::Error::from(error));
            }
            // Without the launcher's own clean-up, which this has a copy of.
            // SAFETY: ends the task and does nothing else.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(theirs);
            let mut error = String::new();
            let heard = ours.read_to_string(&mut error);
            let ended = waitpid(child, None).tried(|| "wait for what unpacks".to_owned())?;
            heard.tried(|| "hear from what unpacks".to_owned())?;
            match ended {
                WaitStatus::Exited(_, 0) if error.is_empty() => Ok(()),
                WaitStatus::Exited(..) => Err(ImageError::Unpacker(error).into()),
                other => Err(ImageError::Unpacker(format!("it ended with {other:?}")).into()),
            }
        }
    }
}

/// Makes a folder the root of this process, in mounts of its own.
fn confine<'a>(
    folder: impl FnOnce() -> Result<&'a Path, LauncherError>,
) -> Result<(), LauncherError> {
    set_pdeathsig(Signal::SIGKILL).tried(|| "follow the launcher's end".to_owned())?;
    unshare(CloneFlags::CLONE_NEWNS).tried(|| "leave the host's mounts".to_owned())?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .tried(|| "make the mounts private".to_owned())?;
    let folder = folder()?;
    chroot(folder).tried(|| format!("make {} the root", folder.display()))?;
    chdir("/").tried(|| "enter the new root".to_owned())
}

/// Makes a folder with this mode, whatever is usual here.
fn make(dir: &Path, mode: u32) -> Result<(), LauncherError> {
    let folder = DirBuilder::new().recursive(true).mode(mode).create(dir);
    folder
        .and_then(|()| fs::set_permissions(dir, Permissions::from_mode(mode)))
        .tried(|| format!("create {}", dir.display()))
}
