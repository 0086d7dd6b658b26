//! Overlays: folders of which the kernel shows one above the other, and writes to the topmost only.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, fchdir};

use super::context::Context;

/// The folder in a container's own one that takes what it writes.
pub(super) const UPPER: &str = "upper";

/// The folder that the kernel prepares changes in.
pub(super) const WORK: &str = "work";

/// The folders of an overlay that is not mounted.
pub(super) struct Overlay {
    /// The topmost first.
    lower: Vec<OwnedFd>,
    upper: OwnedFd,
    work: OwnedFd,
}

impl Overlay {
    /// Opens the folders: `lower` from the lowest on, and in `own` those that take what is written.
    pub(super) fn open(lower: &[PathBuf], own: &Path) -> io::Result<Self> {
        let folder = |path: &Path| -> io::Result<OwnedFd> {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            Ok(open(path, flags, Mode::empty())?)
        };
        Ok(Self {
            lower: lower.iter().rev().map(|path| folder(path)).collect::<Result<_, _>>()?,
            upper: folder(&own.join(UPPER))?,
            work: folder(&own.join(WORK))?,
        })
    }

    /// Mounts it where nobody sees it: the descriptor is the only way to it (`fsmount(2)`). Its files are known to
    /// `SELinux` by `context`, if there is one.
    pub(super) fn mount(&self, context: Option<&str>) -> io::Result<OwnedFd> {
        // An option has 255 bytes at most. In the folder of descriptors a name has two or three.
        let before = open(".", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        chdir("/proc/self/fd")?;
        let mounted = self.mount_from_descriptors(context);
        fchdir(before.as_fd())?;
        mounted
    }

    fn mount_from_descriptors(&self, label: Option<&str>) -> io::Result<OwnedFd> {
        let name = |fd: &OwnedFd| fd.as_raw_fd().to_string();
        let lower = self.lower.iter().map(name).collect::<Vec<_>>().join(":");
        let context = Context::open(c"overlay")?;
        label.map_or(Ok(()), |label| context.set(c"context", label))?;
        context.set(c"lowerdir", &lower)?;
        context.set(c"upperdir", &name(&self.upper))?;
        context.set(c"workdir", &name(&self.work))?;
        // A layer has been the upper folder of another overlay, which an index would hold against it.
        context.set(c"index", "off")?;
        context.mount(0)
    }
}
