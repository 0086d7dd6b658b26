//! Mounts that are nowhere yet: a file or folder with all that is mounted below it, opened where it is and
//! given its place later, by another task that may not look there itself.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::stat::{SFlag, fstat};

use super::mount::{Depth, Kind, UNCHANGED, c_string, is_folder, set_attributes};
use super::userns::UserNamespace;
use super::{LauncherError, Tried};

/// A mount that is nowhere yet.
pub(super) struct Detached {
    source: PathBuf,
    mount: OwnedFd,
}

impl Detached {
    /// Opens what is at `source`. What is mounted below it later does not show.
    pub(super) fn open(source: &Path) -> Result<Self, LauncherError> {
        Self::open_with(source, libc::MS_PRIVATE)
    }

    /// The same with another propagation, as for `mount_setattr(2)`.
    pub(super) fn open_with(source: &Path, propagation: u64) -> Result<Self, LauncherError> {
        let what = || format!("open {}", source.display());
        let path = c_string(source).tried(what)?;
        let mount = open_tree(&libc::AT_FDCWD, &path, 0).tried(what)?;
        let attributes = libc::mount_attr { propagation, ..UNCHANGED };
        set_attributes(&mount, Depth::Whole, &attributes)
            .tried(|| format!("set the propagation of {}", source.display()))?;
        Ok(Self { source: source.to_owned(), mount })
    }

    /// A mount like that of what is open, in the mounts that this process is in.
    pub(super) fn of(file: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        let mount = open_tree(&file, c"", libc::AT_EMPTY_PATH)?;
        let private = libc::mount_attr { propagation: libc::MS_PRIVATE, ..UNCHANGED };
        set_attributes(&mount, Depth::Whole, &private)?;
        Ok(mount)
    }

    /// A mount that was made so, for what is at `source`.
    pub(super) fn new(source: &Path, mount: OwnedFd) -> Self {
        Self { source: source.to_owned(), mount }
    }

    /// The same once more, of one that has its place.
    pub(super) fn again(&self) -> io::Result<Self> {
        let mount = open_tree(&self.mount, c"", libc::AT_EMPTY_PATH)?;
        Ok(Self { source: self.source.clone(), mount })
    }

    /// Where it was opened.
    pub(super) fn source(&self) -> &Path {
        &self.source
    }

    /// What it can be mounted on.
    pub(super) fn kind(&self) -> io::Result<Kind> {
        Ok(if is_folder(self.mount.as_fd())? { Kind::Folder } else { Kind::File })
    }

    /// What type of file it is and, if it is a device, its number.
    pub(super) fn device(&self) -> io::Result<(SFlag, libc::dev_t)> {
        let stat = fstat(&self.mount)?;
        Ok((SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()), stat.st_rdev))
    }

    /// Shows each file as that of the user of this namespace who has its owner's id there (`mount_setattr(2)`,
    /// "ID-mapped mounts"). `instead` is what else one can do where the file system does not have it.
    pub(super) fn map(
        &self,
        users: &UserNamespace,
        instead: &'static str,
    ) -> Result<(), LauncherError> {
        let mapped = libc::mount_attr {
            attr_set: libc::MOUNT_ATTR_IDMAP,
            userns_fd: users.as_fd().as_raw_fd().unsigned_abs().into(),
            ..UNCHANGED
        };
        match set_attributes(&self.mount, Depth::Whole, &mapped) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                Err(LauncherError::NotMappable { path: self.source.clone(), instead })
            }
            result => result.tried(|| {
                format!("map the owners of {} to the container's", self.source.display())
            }),
        }
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

fn open_tree(folder: &impl AsRawFd, path: &CStr, flags: libc::c_int) -> io::Result<OwnedFd> {
    let more = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    let flags = more | (libc::AT_RECURSIVE | flags).cast_unsigned();
    // SAFETY: the path is a string that outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_open_tree, folder.as_raw_fd(), path.as_ptr(), flags) };
    match libc::c_int::try_from(result).map_err(io::Error::other)? {
        // SAFETY: the kernel has just made this descriptor for us.
        fd @ 0.. => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
