//! What a container has changed of its image: what is in its own layer, as against those below.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, fstatat};
use xattr::FileExt;

use super::container::Container;
use super::overlay::UPPER;
use super::{ContainerId, LauncherError, Tried, state, storage};

/// What has become of a file.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Change {
    /// Where it is, or was, in the container.
    pub(crate) path: PathBuf,
    /// What has become of it.
    pub(crate) kind: ChangeKind,
}

/// As `docker diff` tells them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum ChangeKind {
    /// It is new.
    Added,
    /// It, or something in it, is another.
    Changed,
    /// It is gone.
    Deleted,
}

impl ChangeKind {
    /// The letter that it is shown by.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.letter(), self.path.display())
    }
}

/// What a container has changed, by path.
pub(crate) fn diff(id: &ContainerId) -> Result<Vec<Change>, LauncherError> {
    let Container { files, .. } = Container::find(id)?;
    let layers = state::layers(&files)?;
    if layers.is_empty() {
        return Err(LauncherError::NoLayers(id.clone()));
    }
    let lower: Vec<PathBuf> = layers.iter().rev().map(storage::folder).collect();
    let mut changes = Vec::new();
    open_folder(&files.join(UPPER))
        .and_then(|upper| collect(upper, &lower, Path::new(""), &mut changes))
        .tried(|| format!("read what {id} has changed"))?;
    changes.sort();
    Ok(changes)
}

/// Collects what is in a folder of the container's own layer; `lower` has the topmost layer first. The container
/// runs: what is gone is left out, and no link of its making is followed.
fn collect(
    upper: OwnedFd,
    lower: &[PathBuf],
    folder: &Path,
    changes: &mut Vec<Change>,
) -> io::Result<()> {
    let mut upper = Dir::from_fd(upper)?;
    let names = upper.iter().map(|entry| Ok(entry?.file_name().to_owned()));
    for name in names.collect::<nix::Result<Vec<_>>>()? {
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Some(data) = there(fstatat(&upper, &*name, AtFlags::AT_SYMLINK_NOFOLLOW))? else {
            continue;
        };
        let path = folder.join(OsStr::from_bytes(name.to_bytes()));
        let is_gone = data.st_mode & libc::S_IFMT == libc::S_IFCHR && data.st_rdev == 0;
        let kind = match (is_gone, is_in(lower, &path)?) {
            // It was made and removed again.
            (true, false) => continue,
            (true, true) => ChangeKind::Deleted,
            (false, true) => ChangeKind::Changed,
            (false, false) => ChangeKind::Added,
        };
        changes.push(Change { path: Path::new("/").join(&path), kind });
        if data.st_mode & libc::S_IFMT == libc::S_IFDIR
            && let Some(inner) = there(openat(&upper, &*name, FOLDER, Mode::empty()))?
        {
            let inner = File::from(inner);
            let lower = if is_opaque(&inner)? { &[] } else { lower };
            collect(inner.into(), lower, &path, changes)?;
        }
    }
    Ok(())
}

/// Whether these layers together have something at a path.
fn is_in(lower: &[PathBuf], path: &Path) -> io::Result<bool> {
    for layer in lower {
        if let Some(data) = lstat(&layer.join(path))? {
            return Ok(!is_whiteout(&data));
        }
        if hides(layer, path)? {
            break;
        }
    }
    Ok(false)
}

/// Whether a layer hides what those below have at a path: a folder on the way is gone, another one, or none.
fn hides(layer: &Path, path: &Path) -> io::Result<bool> {
    let folders = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
    for folder in folders {
        let folder = layer.join(folder);
        match lstat(&folder)? {
            Some(data) if !data.is_dir() || is_opaque(&open_folder(&folder)?.into())? => {
                return Ok(true);
            }
            _ => {}
        }
    }
    Ok(false)
}

const FOLDER: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, FOLDER, Mode::empty())?)
}

/// What is there, if something is; no link is followed.
fn lstat(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        data => data.map(Some),
    }
}

/// What was found, unless it is gone or another by now.
fn there<T>(found: nix::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        found => Ok(Some(found?)),
    }
}

/// Whether it stands for something that is gone: a character device with the number 0 (`overlayfs`).
fn is_whiteout(data: &fs::Metadata) -> bool {
    data.file_type().is_char_device() && data.rdev() == 0
}

/// Whether nothing of the layers below is left in a folder.
fn is_opaque(folder: &File) -> io::Result<bool> {
    let value = folder.get_xattr("trusted.overlay.opaque")?;
    Ok(value.is_some_and(|value| value == b"y"))
}
