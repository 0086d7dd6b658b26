//! The root of the unified cgroup hierarchy, where programs see the tasks of the whole host.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The inode number of the directory of the root cgroup; a mount in a cgroup namespace, or of a
/// part of the tree, shows another one first.
const ROOT_INODE: u64 = 1;

/// Why the root cgroup cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "no mount of the cgroup v2 hierarchy shows its root; mount the host's /sys/fs/cgroup here, \
         or run in the host's cgroup namespace"
    )]
    NoRoot,
}

/// The directory of the root cgroup.
pub(crate) fn root() -> Result<PathBuf, CgroupError> {
    let path = Path::new("/proc/self/mountinfo");
    let mounts =
        fs::read(path).map_err(|source| CgroupError::Read { path: path.into(), source })?;
    let is_root = |dir: &PathBuf| fs::metadata(dir).is_ok_and(|data| data.ino() == ROOT_INODE);
    cgroup2_mounts(&mounts).find(is_root).ok_or(CgroupError::NoRoot)
}

/// Opens it.
pub(super) fn open_root() -> Result<File, CgroupError> {
    let path = root()?;
    File::open(&path).map_err(|source| CgroupError::Read { path, source })
}

/// Where `mountinfo` says that cgroup v2 is mounted (`Documentation/filesystems/proc.rst`, 3.5).
fn cgroup2_mounts(mounts: &[u8]) -> impl Iterator<Item = PathBuf> {
    mounts.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b' ');
        let target = fields.nth(4)?;
        // Behind a variable number of optional fields.
        let fs_type = fields.skip_while(|field| *field != b"-").nth(1)?;
        (fs_type == b"cgroup2").then(|| PathBuf::from(std::ffi::OsStr::from_bytes(target)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_mount_of_cgroup_v2() {
        let mounts = b"24 1 0:22 / /proc rw,nosuid - proc proc rw\n\
            34 29 0:30 / /sys/fs/cgroup rw,nosuid shared:9 master:1 - cgroup2 cgroup2 rw\n\
            35 29 0:31 /x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            36 29 0:30 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n\
            37 29\n";
        let found: Vec<_> = cgroup2_mounts(mounts).collect();
        assert_eq!(found, [Path::new("/sys/fs/cgroup"), Path::new("/sys/fs/cgroup/unified")]);
    }
}
