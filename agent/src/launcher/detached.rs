//! Mounts that are nowhere yet: a file or folder with all that is mounted below it, opened where it is and
//! given its place later, by another task that may not look there itself.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::mount::{Depth, Kind, UNCHANGED, c_string, is_folder, set_attributes};
use super::{LauncherError, Tried};

/// A mount that is nowhere yet.
pub(super) struct Detached {
    source: PathBuf,
    mount: OwnedFd,
}

impl Detached {
    /// Opens what is at `source`. What is mounted below it later does not show.
    pub(super) fn open(source: &Path) -> Result<Self, LauncherError> {
        let mount = open_tree(source).tried(|| format!("open {}", source.display()))?;
        let private = libc::mount_attr { propagation: libc::MS_PRIVATE, ..UNCHANGED };
        set_attributes(&mount, Depth::Whole, &private)
            .tried(|| format!("make {} private", source.display()))?;
        Ok(Self { source: source.to_owned(), mount })
    }

    /// Where it was opened.
    pub(super) fn source(&self) -> &Path {
        &self.source
    }

    /// What it can be mounted on.
    pub(super) fn kind(&self) -> io::Result<Kind> {
        Ok(if is_folder(self.mount.as_fd())? { Kind::Folder } else { Kind::File })
    }

    /// Gives it its place.
    pub(super) fn attach(&self, at: &impl AsRawFd) -> io::Result<()> {
        let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
        // SAFETY: the descriptors are open, the paths empty strings.
        let result = unsafe {
            libc::syscall(
                libc::SYS_move_mount,
                self.mount.as_raw_fd(),
                c"".as_ptr(),
                at.as_raw_fd(),
                c"".as_ptr(),
                flags,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// A descriptor of its root, which stays that of the mount when it has its place.
    pub(super) fn root(&self) -> io::Result<OwnedFd> {
        self.mount.try_clone()
    }
}

fn open_tree(source: &Path) -> io::Result<OwnedFd> {
    let source = c_string(source)?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path is a string that outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            source.as_ptr(),
            flags | libc::AT_RECURSIVE.cast_unsigned(),
        )
    };
    match libc::c_int::try_from(result).map_err(io::Error::other)? {
        // SAFETY: the kernel has just made this descriptor for us.
        fd @ 0.. => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
