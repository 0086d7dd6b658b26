//! What a container sees beside its root file system.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::SpecError;

/// A file system in memory.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Tmpfs {
    /// Where the container sees it.
    pub(crate) target: PathBuf,
    /// Whether nobody can write it.
    pub(crate) read_only: bool,
    /// Whether programs on it can be executed.
    pub(crate) exec: bool,
    /// What the file system itself is told (`tmpfs(5)`).
    pub(crate) options: String,
}

/// A file or folder of the host that the container sees.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Volume {
    /// Where it is on the host.
    pub(crate) source: PathBuf,
    /// Where the container sees it.
    pub(crate) target: PathBuf,
    /// Whether the container cannot write it.
    pub(crate) read_only: bool,
    /// Whether its files belong to the users of the container who have the same ids as their owners.
    pub(crate) idmap: bool,
}

impl FromStr for Volume {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut parts = text.split(':');
        let (source, target) = match (parts.next(), parts.next()) {
            (Some(source), Some(target)) => (PathBuf::from(source), PathBuf::from(target)),
            _ => return Err(SpecError::Volume),
        };
        let (mut read_only, mut idmap) = (false, false);
        for option in parts.next().into_iter().flat_map(|options| options.split(',')) {
            match option {
                "ro" => read_only = true,
                "rw" => read_only = false,
                "idmap" => idmap = true,
                _ => return Err(SpecError::Volume),
            }
        }
        if parts.next().is_some() || !source.is_absolute() || !target.is_absolute() {
            return Err(SpecError::Volume);
        }
        if !is_below_root(&target) {
            return Err(SpecError::VolumeTarget);
        }
        Ok(Self { source, target, read_only, idmap })
    }
}

/// Whether an absolute path names something below the root, and cannot lead out of it.
pub(super) fn is_below_root(path: &Path) -> bool {
    let mut components = path.components().skip(1).peekable();
    components.peek().is_some() && components.all(|part| matches!(part, Component::Normal(_)))
}

impl FromStr for Tmpfs {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        const PASSED_ON: [&str; 6] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"];
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        let target = PathBuf::from(target);
        if !target.is_absolute() || !is_below_root(&target) {
            return Err(SpecError::Tmpfs);
        }
        let mut tmpfs = Self { target, read_only: false, exec: false, options: String::new() };
        let mut passed_on = Vec::new();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => tmpfs.read_only = true,
                "rw" => tmpfs.read_only = false,
                "exec" => tmpfs.exec = true,
                "noexec" => tmpfs.exec = false,
                _ if option.split_once('=').is_some_and(|(name, _)| PASSED_ON.contains(&name)) => {
                    passed_on.push(option);
                }
                _ => return Err(SpecError::Tmpfs),
            }
        }
        tmpfs.options = passed_on.join(",");
        Ok(tmpfs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_volumes() {
        let volume = |text: &str| text.parse::<Volume>();
        let options = |text: &str| volume(text).map(|volume| (volume.read_only, volume.idmap));
        let expected = Volume {
            source: "/srv/data".into(),
            target: "/data".into(),
            read_only: true,
            idmap: false,
        };
        assert_eq!(volume("/srv/data:/data:ro"), Ok(expected));
        assert_eq!(options("/a:/b"), Ok((false, false)));
        assert_eq!(options("/a:/b:rw"), Ok((false, false)));
        assert_eq!(options("/a:/b:idmap"), Ok((false, true)));
        assert_eq!(options("/a:/b:ro,idmap"), Ok((true, true)));
        for bad in ["/a", "a:/b", "/a:b", "/a:/b:rx", "/a:/b:", "/a:/b:ro,", "/a:/b:ro:ro", ""] {
            assert_eq!(volume(bad), Err(SpecError::Volume), "{bad:?}");
        }
        for bad in ["/a:/", "/a:/b/../..", "/a:/.."] {
            assert_eq!(volume(bad), Err(SpecError::VolumeTarget), "{bad:?}");
        }
    }

    #[test]
    fn reads_file_systems_in_memory() {
        let tmpfs: Tmpfs = "/run:size=1m,exec,ro,mode=755".parse().unwrap();
        assert_eq!(
            (tmpfs.exec, tmpfs.read_only, &*tmpfs.options),
            (true, true, "size=1m,mode=755")
        );
        let tmpfs: Tmpfs = "/run".parse().unwrap();
        assert_eq!((tmpfs.exec, tmpfs.read_only, &*tmpfs.options), (false, false, ""));
        for bad in ["", "run", "/", "/a/../..", "/run:dev", "/run:size", "/run:huge=always"] {
            assert_eq!(bad.parse::<Tmpfs>(), Err(SpecError::Tmpfs), "{bad:?}");
        }
    }
}
