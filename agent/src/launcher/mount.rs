//! Mounts inside of a root file system that is not trusted: a target is found below the root's own
//! descriptor, so that no link in it leads out, and mounted on by descriptor, so that nothing can
//! be exchanged in between.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::detached::Detached;
use super::{LauncherError, Tried};

/// The root of the container's file system, before it is the root.
pub(super) struct Tree {
    root: OwnedFd,
}

/// What a target must be for something to be mounted on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Folder,
    File,
}

/// What becomes of symbolic links on the way to a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Links {
    /// They lead where they lead, in the tree.
    Followed,
    /// There may be none.
    Refused,
}

impl Tree {
    /// The tree at `path`, which must be a mount.
    pub(super) fn open(path: &Path) -> Result<Self, LauncherError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(path, flags, Mode::empty()).tried(|| format!("open {}", path.display()))?;
        Ok(Self { root })
    }

    /// The tree of a mount that has its place.
    pub(super) fn of(mount: &Detached) -> Result<Self, LauncherError> {
        let root = mount.root().tried(|| format!("open {}", mount.source().display()))?;
        Ok(Self { root })
    }

    /// The tree of `root`, mounted over the root directory: wherever else it might be, the container's own root
    /// may not look there.
    pub(super) fn over_root(root: &Detached) -> Result<Self, LauncherError> {
        let what = || format!("mount {} as the root", root.source().display());
        root.attach(&Self::open(Path::new("/"))?.root).tried(what)?;
        Ok(Self { root: root.root().tried(what)? })
    }

    /// Opens what is at `path` in the tree; `None` if nothing is.
    pub(super) fn find(&self, path: &Path) -> Result<Option<OwnedFd>, LauncherError> {
        match self.resolve(path, OFlag::O_PATH, Links::Followed) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(errno).tried(|| format!("open {} in the container", path.display())),
        }
    }

    /// Opens what is at `path` in the tree; makes it where nothing is.
    pub(super) fn find_or_make(&self, path: &Path, kind: Kind) -> Result<OwnedFd, LauncherError> {
        self.make(path, kind, Links::Followed)
            .tried(|| format!("make {} in the container", path.display()))
    }

    /// Where links lead that begin at `path`. What is there need not be: in many root file systems
    /// `/etc/resolv.conf` is a link to what only a running system has.
    pub(super) fn behind_links(&self, path: &Path) -> Result<PathBuf, LauncherError> {
        /// As many as the kernel follows.
        const MOST: u32 = 40;
        let what = || format!("follow {} in the container", path.display());
        let mut at = path.to_owned();
        for _ in 0..MOST {
            let link = match self.resolve(&at, OFlag::O_PATH | OFlag::O_NOFOLLOW, Links::Followed) {
                Ok(link) if is_link(link.as_fd()).tried(what)? => link,
                Ok(_) | Err(Errno::ENOENT) => return Ok(at),
                Err(errno) => return Err(errno).tried(what),
            };
            let target = PathBuf::from(readlinkat(link, "").tried(what)?);
            at.pop();
            for part in target.components() {
                match part {
                    Component::Normal(name) => at.push(name),
                    Component::ParentDir => drop(at.pop()),
                    Component::RootDir => at = PathBuf::from("/"),
                    Component::CurDir | Component::Prefix(_) => {}
                }
            }
        }
        Err(Errno::ELOOP).tried(what)
    }

    /// Mounts a file system of this type.
    pub(super) fn mount(
        &self,
        fs_type: &str,
        target: &Path,
        flags: MsFlags,
        options: &str,
    ) -> Result<(), LauncherError> {
        let at = self.find_or_make(target, Kind::Folder)?;
        refuse_proc(&at, target)?;
        mount(Some(fs_type), &by_descriptor(&at), Some(fs_type), flags, Some(options))
            .tried(|| format!("mount {fs_type} at {}", target.display()))
    }

    /// Shows a file or folder of the host, with all that is mounted below it.
    pub(super) fn bind(&self, source: &Path, target: &Path) -> Result<(), LauncherError> {
        self.attach(&Detached::open(source)?, target)
    }

    /// Gives a mount its place, which is none in proc: what is shown there would be taken for what the kernel
    /// says, or would be written instead of it (CVE-2019-16884, CVE-2019-19921).
    pub(super) fn attach(&self, mount: &Detached, target: &Path) -> Result<(), LauncherError> {
        let what = || format!("bind {} at {}", mount.source().display(), target.display());
        let at = self.find_or_make(target, mount.kind().tried(what)?)?;
        refuse_proc(&at, target)?;
        mount.attach(&at).tried(what)
    }

    /// Gives a mount that every container has its place, where the root file system may have a folder, or
    /// nothing: a link would have it elsewhere than everybody thinks.
    pub(super) fn put(&self, mount: &Detached, target: &Path) -> Result<(), LauncherError> {
        let what = || format!("mount {} at {}", mount.source().display(), target.display());
        let at = match self.make(target, Kind::Folder, Links::Refused) {
            Err(Errno::ELOOP) => {
                let why = "of the root file system is a symbolic link";
                return Err(LauncherError::Setup(format!("{} {why}", target.display())));
            }
            at => at.tried(what)?,
        };
        mount.attach(&at).tried(what)
    }

    /// Makes what is mounted at `target` read-only, with all that is mounted below it.
    pub(super) fn make_read_only(&self, target: &Path) -> Result<(), LauncherError> {
        // Found anew: the target's old descriptor is beneath the mount.
        let at = self.find(target)?.ok_or(Errno::ENOENT).tried(|| shown("open", target))?;
        set_read_only(&at, Depth::Whole).tried(|| shown("make read-only", target))
    }

    fn resolve(&self, path: &Path, flags: OFlag, links: Links) -> Result<OwnedFd, Errno> {
        let mut resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        resolve.set(ResolveFlag::RESOLVE_NO_SYMLINKS, links == Links::Refused);
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
        openat2(&self.root, path, how)
    }

    fn make(&self, path: &Path, kind: Kind, links: Links) -> Result<OwnedFd, Errno> {
        let mut prefix = PathBuf::from("/");
        let mut at = self.resolve(&prefix, OFlag::O_PATH | OFlag::O_DIRECTORY, links)?;
        let mut names = path.components().filter_map(name).peekable();
        while let Some(name) = names.next() {
            prefix.push(name);
            let is_last = names.peek().is_none();
            at = match self.resolve(&prefix, OFlag::O_PATH, links) {
                Ok(found) => found,
                Err(Errno::ENOENT) if is_last && kind == Kind::File => {
                    let flags =
                        OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                    drop(openat(at.as_fd(), name, flags, Mode::from_bits_truncate(0o644))?);
                    self.resolve(&prefix, OFlag::O_PATH, links)?
                }
                Err(Errno::ENOENT) => {
                    mkdirat(at.as_fd(), name, Mode::from_bits_truncate(0o755))?;
                    self.resolve(&prefix, OFlag::O_PATH, links)?
                }
                Err(errno) => return Err(errno),
            };
        }
        match (is_folder(at.as_fd())?, kind) {
            (true, Kind::File) => Err(Errno::EISDIR),
            (false, Kind::Folder) => Err(Errno::ENOTDIR),
            _ => Ok(at),
        }
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// An error if a target is in proc.
fn refuse_proc(at: &OwnedFd, target: &Path) -> Result<(), LauncherError> {
    let stat = fstatfs(at).tried(|| shown("look at", target))?;
    if stat.filesystem_type() == PROC_SUPER_MAGIC {
        let why = "is in proc, which has what the kernel says and nothing else";
        return Err(LauncherError::Setup(format!("{} {why}", target.display())));
    }
    Ok(())
}

/// How far a change of mounts goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Depth {
    /// The mount alone.
    Mount,
    /// And all below it.
    Whole,
}

/// Makes a mount read-only.
pub(super) fn set_read_only(at: &impl AsRawFd, depth: Depth) -> io::Result<()> {
    let read_only = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, ..UNCHANGED };
    set_attributes(at, depth, &read_only)
}

/// Attributes that leave a mount as it is.
pub(super) const UNCHANGED: libc::mount_attr =
    libc::mount_attr { attr_set: 0, attr_clr: 0, propagation: 0, userns_fd: 0 };

/// Changes attributes of a mount (`mount_setattr(2)`).
pub(super) fn set_attributes(
    at: &impl AsRawFd,
    depth: Depth,
    attributes: &libc::mount_attr,
) -> io::Result<()> {
    let recursive = if depth == Depth::Whole { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the descriptor is open, the path an empty string, and the struct as long as is said.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether a descriptor is of a folder.
pub(super) fn is_folder(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(fstat(fd)?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

fn is_link(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(fstat(fd)?.st_mode & libc::S_IFMT == libc::S_IFLNK)
}

/// A path that leads to what the descriptor is of.
pub(super) fn by_descriptor(fd: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// A path for the system.
pub(super) fn c_string(path: &(impl AsRef<OsStr> + ?Sized)) -> io::Result<CString> {
    Ok(CString::new(path.as_ref().as_bytes())?)
}

fn shown(what: &str, path: &Path) -> String {
    format!("{what} {} in the container", path.display())
}

fn name(component: Component<'_>) -> Option<&OsStr> {
    match component {
        Component::Normal(name) => Some(name),
        _ => None,
    }
}
