//! Files that get another context of `SELinux`: where a file system shows what is on a disk, its files are known
//! by what is written there.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Instant;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, stat};

use super::detached::Detached;
use super::mount::by_descriptor;
use super::signal::Signals;
use super::unpacker::PATIENCE;
use super::{LauncherError, Tried};

/// The attribute that has the context.
const ATTRIBUTE: &str = "security.selinux";

/// What a system consists of: whoever shows one of these to a container does not mean that nothing else can use it
/// any more.
const REFUSED: [&str; 27] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/etc/passwd",
    "/etc/pki",
    "/etc/selinux",
    "/etc/shadow",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
    "/var/lib/shrike",
    "/var/log",
];

/// How deep folders may be: each takes a descriptor while what is in it is given away.
const DEPTH: usize = 256;

/// A walk through files that get a context.
struct Walk<'a> {
    context: &'a str,
    refused: Vec<(libc::dev_t, libc::ino_t)>,
    signals: &'a Signals,
    begin: Instant,
    is_told: bool,
    /// Where it is.
    path: PathBuf,
}

/// Gives a file, or a folder with all that is in it, to those who may use files of this context. It goes by
/// descriptors, since what is in there may be exchanged meanwhile by who has it, and follows no link.
pub(super) fn relabel(
    files: &Detached,
    context: &str,
    signals: &Signals,
) -> Result<(), LauncherError> {
    let refused = REFUSED.into_iter().filter_map(|path| stat(path).ok());
    let mut walk = Walk {
        context,
        refused: refused.map(|stat| (stat.st_dev, stat.st_ino)).collect(),
        signals,
        begin: Instant::now(),
        is_told: false,
        path: files.source().to_owned(),
    };
    let root = files.root().tried(|| format!("open {}", files.source().display()))?;
    walk.give(&root, 0)
}

/// The same for what the launcher itself has made. On a file system without labels it needs none.
pub(super) fn mark(at: BorrowedFd<'_>, context: &str) -> io::Result<()> {
    match set(at, context) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        marked => marked,
    }
}

impl Walk<'_> {
    fn give(&mut self, at: &OwnedFd, depth: usize) -> Result<(), LauncherError> {
        let stat = fstat(at).tried(|| self.what())?;
        if self.refused.contains(&(stat.st_dev, stat.st_ino)) {
            return Err(LauncherError::NotRelabelled(self.path.clone()));
        }
        match set(at.as_fd(), self.context) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                return Err(LauncherError::NoLabels(self.path.clone()));
            }
            set => set.tried(|| self.what())?,
        }
        if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFDIR.bits() {
            return Ok(());
        }
        if depth == DEPTH {
            return Err(LauncherError::TooDeep(self.path.clone()));
        }
        self.signals.check()?;
        if !self.is_told && self.begin.elapsed() > PATIENCE {
            self.is_told = true;
            tracing::info!("giving files the context {}", self.context);
        }
        for name in names(at).tried(|| self.what())? {
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let entry = match openat(at, name.as_os_str(), flags, Mode::empty()) {
                Err(Errno::ENOENT) => continue,
                entry => entry.tried(|| self.what())?,
            };
            self.path.push(&name);
            self.give(&entry, depth + 1)?;
            self.path.pop();
        }
        Ok(())
    }

    fn what(&self) -> String {
        format!("give {} the context {}", self.path.display(), self.context)
    }
}

/// What is in a folder.
fn names(folder: &OwnedFd) -> Result<Vec<OsString>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut names = Vec::new();
    for entry in Dir::openat(folder, ".", flags, Mode::empty())?.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// Sets the context of what is open, be it a link. What has it already is not touched. The kernel takes the text
/// with its NUL.
fn set(at: BorrowedFd<'_>, context: &str) -> io::Result<()> {
    let (path, value) = (by_descriptor(&at.as_raw_fd()), format!("{context}\0"));
    if xattr::get_deref(&path, ATTRIBUTE)?.is_some_and(|own| own == value.as_bytes()) {
        return Ok(());
    }
    xattr::set_deref(path, ATTRIBUTE, value.as_bytes())
}
