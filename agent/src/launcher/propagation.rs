//! Volumes that show what is mounted below them later, on the host or in the container.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::spec::{Propagation, Volume};
use super::{LauncherError, Tried};

/// What `mount_setattr(2)` is told of a volume's mounts, which are like those of the host that they are made of.
pub(super) fn flag(volume: &Volume) -> u64 {
    match volume.propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
        // They are, since those of the host are.
        Propagation::Shared => 0,
    }
}

/// An error if the host's mount is none that others hear of.
pub(super) fn check(volume: &Volume) -> Result<(), LauncherError> {
    let accepted: &[&str] = match volume.propagation {
        Propagation::Private => return Ok(()),
        Propagation::Slave => &["shared:", "master:"],
        Propagation::Shared => &["shared:"],
    };
    let source = &volume.source;
    let fields = optional_fields(source);
    let fields = fields.tried(|| format!("find the mount of {}", source.display()))?;
    let is_accepted =
        fields.iter().any(|field| accepted.iter().any(|start| field.starts_with(start)));
    if is_accepted { Ok(()) } else { Err(LauncherError::NotShared(source.clone())) }
}

/// What `/proc/self/mountinfo` says of the propagation of the mount that a path is on.
fn optional_fields(path: &Path) -> io::Result<Vec<String>> {
    let file = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(str::trim);
    let missing = || io::Error::other("it is not among those of this process");
    let id = id.ok_or_else(missing)?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    fields_of(&mounts, id).ok_or_else(missing)
}

/// The fields between those of all mounts and the hyphen (`proc_pid_mountinfo(5)`).
fn fields_of(mounts: &str, id: &str) -> Option<Vec<String>> {
    const BEFORE: usize = 6;
    let mount = mounts.lines().find(|line| line.split(' ').next() == Some(id))?;
    let fields = mount.split(' ').skip(BEFORE).take_while(|&field| field != "-");
    Some(fields.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_mount_shares() {
        let mounts = "21 1 8:1 / / rw - ext4 /dev/sda rw\n\
            22 21 0:5 / /a rw,nosuid shared:7 master:3 - tmpfs none rw\n\
            2 21 0:6 / /b rw master:1 - tmpfs none rw\n";
        assert_eq!(fields_of(mounts, "21"), Some(Vec::new()));
        assert_eq!(fields_of(mounts, "22"), Some(vec!["shared:7".into(), "master:3".into()]));
        assert_eq!(fields_of(mounts, "2"), Some(vec!["master:1".into()]));
        assert_eq!(fields_of(mounts, "3"), None);
        assert!(optional_fields(Path::new("/proc")).is_ok());
    }
}
