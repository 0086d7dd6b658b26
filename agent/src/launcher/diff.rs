//! What a container has changed of its image: what is in its own layer, as against those below.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::overlay::UPPER;
use super::state::Running;
use super::storage;
use super::{ContainerId, LauncherError, Tried};

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

/// What a running container has changed, by path.
pub(crate) fn diff(id: &ContainerId) -> Result<Vec<Change>, LauncherError> {
    let Running { files, layers } = Running::find(id)?;
    if layers.is_empty() {
        return Err(LauncherError::NoLayers(id.clone()));
    }
    let lower: Vec<PathBuf> = layers.iter().rev().map(storage::folder).collect();
    let mut changes = Vec::new();
    collect(&files.join(UPPER), &lower, Path::new(""), &mut changes)
        .tried(|| format!("read what {id} has changed"))?;
    changes.sort();
    Ok(changes)
}

/// Collects what is in a folder of the container's own layer; `lower` has the topmost layer first.
fn collect(
    upper: &Path,
    lower: &[PathBuf],
    folder: &Path,
    changes: &mut Vec<Change>,
) -> io::Result<()> {
    for entry in fs::read_dir(upper.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        let data = entry.metadata()?;
        let was_there = is_in(lower, &path)?;
        let kind = match (is_whiteout(&data), was_there) {
            // It was made and removed again.
            (true, false) => continue,
            (true, true) => ChangeKind::Deleted,
            (false, true) => ChangeKind::Changed,
            (false, false) => ChangeKind::Added,
        };
        changes.push(Change { path: Path::new("/").join(&path), kind });
        if data.is_dir() {
            let hidden = is_opaque(&entry.path())?;
            collect(upper, if hidden { &[] } else { lower }, &path, changes)?;
        }
    }
    Ok(())
}

/// Whether these layers together have something at a path.
fn is_in(lower: &[PathBuf], path: &Path) -> io::Result<bool> {
    for layer in lower {
        match fs::symlink_metadata(layer.join(path)) {
            Ok(data) => return Ok(!is_whiteout(&data)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(error) => return Err(error),
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
        match fs::symlink_metadata(&folder) {
            Ok(data) if !data.is_dir() => return Ok(true),
            Ok(_) if is_opaque(&folder)? => return Ok(true),
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether it stands for something that is gone: a character device with the number 0 (`overlayfs`).
fn is_whiteout(data: &fs::Metadata) -> bool {
    data.file_type().is_char_device() && data.rdev() == 0
}

/// Whether nothing of the layers below is left in a folder.
fn is_opaque(folder: &Path) -> io::Result<bool> {
    let value = xattr::get(folder, "trusted.overlay.opaque")?;
    Ok(value.is_some_and(|value| value == b"y"))
}
