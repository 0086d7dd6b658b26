//! The user namespace of a container whose users are not the host's. The launcher writes its map of ids, and
//! the container's first task becomes root in it before it builds anything.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::{LauncherError, Tried, execution};

/// What the container's id 0 is on the host. Every container has the same ids, as with Docker's
/// `userns-remap`. Where distributions give such ids away (`/etc/subuid`), they begin here.
const FIRST: u32 = 100_000;

/// How many ids the container has: those of 16 bits, as images expect.
pub(super) const COUNT: u32 = 65_536;

/// A user namespace that has its ids.
pub(super) struct UserNamespace {
    file: File,
}

impl UserNamespace {
    /// Gives the namespace that a task was made in its ids.
    pub(super) fn map(pid: libc::pid_t) -> Result<Self, LauncherError> {
        for map in ["gid_map", "uid_map"] {
            let path = format!("/proc/{pid}/{map}");
            fs::write(&path, format!("0 {FIRST} {COUNT}\n"))
                .tried(|| format!("write {path}: has this host ids from {FIRST} on?"))?;
        }
        Self::of(pid)
    }

    /// The namespace that a task is in.
    pub(super) fn of(pid: libc::pid_t) -> Result<Self, LauncherError> {
        let path = format!("/proc/{pid}/ns/user");
        let file = File::open(&path).tried(|| format!("open {path}"))?;
        Ok(Self { file })
    }
}

impl AsFd for UserNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Becomes root of the task's own namespace, which has its ids by now. Before, the task is the host's root, for
/// whom the namespace has no id.
pub(super) fn become_root(launcher: &UnixStream) -> Result<(), LauncherError> {
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    setgroups(&[]).tried(|| "leave the host's groups".to_owned())?;
    setresgid(gid, gid, gid).tried(|| "become the container's root group".to_owned())?;
    setresuid(uid, uid, uid).tried(|| "become the container's root".to_owned())?;
    // Changing the user has undone both.
    execution::hide_from_tracers()?;
    execution::die_with(launcher)
}

/// Gives a folder with all that is in it to the container: each file to the user who has its owner's id there.
/// File capabilities are lost.
pub(super) fn give(path: &Path) -> Result<(), LauncherError> {
    let what = || format!("give {} to the container", path.display());
    let data = fs::symlink_metadata(path).tried(what)?;
    // A file with two names has been given already. What nobody in the container can be stays as it is.
    let given = |id: u32| (id < COUNT).then(|| FIRST + id);
    lchown(path, given(data.uid()), given(data.gid())).tried(what)?;
    if data.is_file() {
        // Set-user-id bits go with the owner.
        fs::set_permissions(path, data.permissions()).tried(what)?;
    }
    if data.is_dir() {
        let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for entry in entries.tried(what)? {
            give(&entry.path())?;
        }
    }
    Ok(())
}
