//! The root file systems of containers from images. Each layer is unpacked once on this host, and every
//! container with it sees it below a layer of its own, which takes what the container writes.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::slice;

use nix::fcntl::{Flock, FlockArg};

use super::detached::Detached;
use super::image::{Image, ImageError, LayerId};
use super::overlay::{Overlay, UPPER, WORK};
use super::relabel::relabel;
use super::selinux::Contexts;
use super::signal::Signals;
use super::state::State;
use super::{LauncherError, Tried, folder, lock, unpacker};

/// Where the layers are, a folder for each.
const LAYERS: &str = "/var/lib/shrike/layers";

/// How many layers an overlay can have: an option of a file system has 255 bytes at most, and a layer takes four.
const MOST: usize = 63;

/// Where one is unpacked. Its name is none of a layer.
const NEW: &str = "new";

/// Where an overlay shows itself, in the folder that has what is written.
const MERGED: &str = "merged";

/// What says that a container has a copy of its layers, in its own folder.
const COPIED: &str = "copied";

/// All layers on this host. While one has it, nobody else removes any, nor adds any to those that it looks at.
pub(super) struct Store {
    dir: &'static Path,
    _lock: Flock<File>,
}

/// Makes the root file system of a container that is run from an image: of layers that it shares with others, or
/// of its own files alone, where owners are to be changed.
pub(super) fn provide(
    image: &mut Image,
    state: &State,
    signals: &Signals,
    is_shared: bool,
    contexts: Option<&Contexts>,
) -> Result<Detached, LauncherError> {
    let context = contexts.map(|contexts| &*contexts.files);
    let ids = image.layers();
    let own = state.own();
    let (upper, empty) = (own.join(UPPER), own.join(MERGED));
    for (folder, mode) in [(&upper, 0o755), (&own.join(WORK), 0o700), (&empty, 0o700)] {
        make(folder, mode)?;
    }
    let show =
        |lower: &[PathBuf]| Overlay::open(lower, own).and_then(|overlay| overlay.mount(context));
    if is_shared && ids.len() > MOST {
        tracing::warn!(
            "{} layers are copied for this container alone: overlays have {MOST}",
            ids.len()
        );
    }
    let is_possible = is_shared && ids.len() <= MOST && {
        // Where all layers are there, others have them in overlays.
        let is_known = Store::has_all(&ids);
        let shown = if is_known { Ok(()) } else { show(slice::from_ref(&empty)).map(drop) };
        if let (Err(error), Some(context)) = (&shown, context)
            && error.kind() == io::ErrorKind::PermissionDenied
        {
            let error = io::Error::from(error.kind());
            return Err(error).tried(|| format!("mount an overlay with the context {context}"));
        }
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
        let done = own.join(COPIED);
        if !done.exists() {
            let unpack =
                |root: &Path| (0..ids.len()).try_for_each(|layer| image.unpack(layer, root));
            unpacker::run(signals, unpack, || Ok(&upper))?;
            fs::write(&done, "").tried(|| format!("write {}", done.display()))?;
        }
        let copy = Detached::open(&upper)?;
        context.map_or(Ok(()), |context| relabel(&copy, context, signals))?;
        return Ok(copy);
    }
    let mut store = Store::open(FlockArg::LockSharedNonblock, || signals.check())?;
    let layers = if Store::has_all(&ids) {
        ids.iter().map(folder).collect()
    } else {
        drop(store);
        store = Store::open(FlockArg::LockExclusiveNonblock, || signals.check())?;
        store.unpack(image, &ids, signals)?
    };
    // Before others may remove what nobody has.
    state.take_layers(&ids)?;
    let mount = show(&layers).tried(|| format!("mount the layers for {}", state.id()))?;
    Ok(Detached::new(&upper, mount))
}

impl Store {
    /// Waits until nobody else has it, or only others who share it, as long as `go_on` holds.
    pub(super) fn open(
        lock: FlockArg,
        go_on: impl Fn() -> Result<(), LauncherError>,
    ) -> Result<Self, LauncherError> {
        let dir = Path::new(LAYERS);
        let lock = lock::take(dir, lock, "another launcher that unpacks layers", go_on)?;
        Ok(Self { dir, _lock: lock })
    }

    /// The store, if there is one.
    pub(super) fn find() -> Result<Option<Self>, LauncherError> {
        if !Path::new(LAYERS).exists() {
            return Ok(None);
        }
        Self::open(FlockArg::LockExclusiveNonblock, || Ok(())).map(Some)
    }

    /// Whether all of these are there.
    fn has_all(ids: &[LayerId]) -> bool {
        ids.iter().all(|id| folder(id).exists())
    }

    /// The folders of layers, unpacked where they are not yet.
    fn unpack(
        &self,
        image: &mut Image,
        ids: &[LayerId],
        signals: &Signals,
    ) -> Result<Vec<PathBuf>, LauncherError> {
        let layers = self.unpack_missing(image, ids, signals);
        // Also of a layer that could not be unpacked.
        let cleared = self.clear();
        layers.and_then(|layers| cleared.map(|()| layers))
    }

    fn unpack_missing(
        &self,
        image: &mut Image,
        ids: &[LayerId],
        signals: &Signals,
    ) -> Result<Vec<PathBuf>, LauncherError> {
        let mut layers: Vec<PathBuf> = Vec::new();
        for (index, id) in ids.iter().enumerate() {
            let layer = folder(id);
            if !layer.exists() {
                tracing::debug!("unpacking layer {} of {}: {}", index + 1, ids.len(), id.as_str());
                let new = unpack_over(&layers, signals, |root| image.unpack(index, root))?;
                // What has the name is trusted from then on, also after a power cut.
                sync(&new)
                    .and_then(|()| fs::rename(&new, &layer))
                    .and_then(|()| File::open(self.dir)?.sync_all())
                    .tried(|| format!("keep {}", layer.display()))?;
            }
            layers.push(layer);
        }
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
    signals: &Signals,
    unpack: impl FnOnce(&Path) -> Result<(), ImageError>,
) -> Result<PathBuf, LauncherError> {
    let new = Path::new(LAYERS).join(NEW);
    let (upper, merged) = (new.join(UPPER), new.join(MERGED));
    let _ = fs::remove_dir_all(&new);
    for (folder, mode) in [(&upper, 0o755), (&new.join(WORK), 0o700), (&merged, 0o700)] {
        make(folder, mode)?;
    }
    if lower.is_empty() {
        unpacker::run(signals, unpack, || Ok(&upper))?;
    } else {
        let overlay = Overlay::open(lower, &new).and_then(|overlay| overlay.mount(None));
        let overlay = overlay.tried(|| "mount the layers below".to_owned())?;
        unpacker::run(signals, unpack, || {
            let at = File::open(&merged);
            at.and_then(|at| Detached::new(&upper, overlay).attach(&at))
                .tried(|| "show the layers below".to_owned())?;
            Ok(&merged)
        })?;
    }
    Ok(upper)
}

/// Writes to the disk all that belongs to the file system of a folder.
fn sync(folder: &Path) -> io::Result<()> {
    let folder = File::open(folder)?;
    // SAFETY: the descriptor is open.
    let result = unsafe { libc::syncfs(folder.as_raw_fd()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a folder with this mode, whatever is usual here.
fn make(dir: &Path, mode: u32) -> Result<(), LauncherError> {
    folder::make(dir, mode)
        .and_then(|()| fs::set_permissions(dir, Permissions::from_mode(mode)))
        .tried(|| format!("create {}", dir.display()))
}
