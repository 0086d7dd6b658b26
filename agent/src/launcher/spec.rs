//! What a container is to be, as it was asked for.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use super::security::Security;
use crate::capability::{self, Capabilities};

/// A container as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// What it is called on this host.
    pub(crate) id: ContainerId,
    /// Where its root file system comes from.
    pub(crate) root: Root,
    /// Its command and arguments; the image's own if there are none.
    pub(crate) command: Vec<String>,
    /// All capabilities, the host's devices, nothing masked.
    pub(crate) privileged: bool,
    /// Its process ids.
    pub(crate) pid: PidMode,
    /// Its network.
    pub(crate) network: Network,
    /// What of the host it sees.
    pub(crate) volumes: Vec<Volume>,
    /// Capabilities beyond the default set, and those of it that are taken away, in order.
    pub(crate) capabilities: Vec<CapabilityChange>,
    /// How it is confined beyond that.
    pub(crate) security: Security,
    /// The most memory that it may use, in bytes.
    pub(crate) memory: Option<Size>,
    /// The most processes and threads that it may have.
    pub(crate) pids_limit: Option<u32>,
    /// Whether its root file system cannot be written.
    pub(crate) read_only: bool,
    /// Whom its command runs as.
    pub(crate) user: Option<User>,
    /// Its environment beyond the default, as `NAME=VALUE`.
    pub(crate) env: Vec<String>,
    /// Where its command starts.
    pub(crate) workdir: Option<PathBuf>,
    /// Its host name; by default, its id.
    pub(crate) hostname: Option<String>,
    /// Where the host's id of its first process is written.
    pub(crate) pid_file: Option<PathBuf>,
}

/// The name of a container: also that of its cgroup and folders.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ContainerId(String);

/// Where a root file system comes from.
#[derive(Clone, Debug)]
pub(crate) enum Root {
    /// A folder, used as it is.
    Folder(PathBuf),
    /// An image in an archive, unpacked for this container.
    Archive(PathBuf),
}

/// The pid namespace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PidMode {
    /// A new one.
    Private,
    /// That of whoever starts the container.
    Host,
}

/// The network namespace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Network {
    /// A new one with a loopback device.
    None,
    /// That of whoever starts the container.
    Host,
}

/// A file or folder of the host that the container sees.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Volume {
    /// Where it is on the host.
    pub(crate) source: PathBuf,
    /// Where the container sees it.
    pub(crate) target: PathBuf,
    /// Whether the container cannot write it.
    pub(crate) read_only: bool,
}

/// A change of the default set of capabilities.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CapabilityChange {
    /// These too.
    Add(Capabilities),
    /// Not these.
    Drop(Capabilities),
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Size(pub(crate) u64);

/// A user and a group by number.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct User {
    /// The user.
    pub(crate) uid: u32,
    /// The group.
    pub(crate) gid: u32,
}

/// Why a part of the specification is refused.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum SpecError {
    #[error(
        "a name starts with a letter or digit, and has at most 64 letters, digits, dots, hyphens \
         and underscores"
    )]
    Id,
    #[error("expected SOURCE:TARGET or SOURCE:TARGET:ro, both absolute paths")]
    Volume,
    #[error("the target must be an absolute path below /, without \"..\"")]
    VolumeTarget,
    #[error("expected a number of bytes, or one with a unit: 64k, 512m, 2g")]
    Size,
    #[error("expected UID or UID:GID, numbers below 4294967295")]
    User,
    #[error("there is no capability {0:?}")]
    Capability(String),
}

impl Spec {
    /// The capabilities that the command may use: bounding, permitted and effective set.
    pub(crate) fn capability_set(&self) -> Capabilities {
        if self.privileged {
            return Capabilities::ALL;
        }
        self.capabilities.iter().fold(Capabilities::DOCKER_DEFAULT, |set, change| match *change {
            CapabilityChange::Add(more) => set.union(more),
            CapabilityChange::Drop(less) => set.without(less),
        })
    }
}

impl ContainerId {
    /// A name that no other container has.
    pub(crate) fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string().chars().take(12).collect())
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ContainerId {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        const LONGEST: usize = 64;
        let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let valid = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
            && text.bytes().all(rest)
            && text.len() <= LONGEST;
        if valid { Ok(Self(text.to_owned())) } else { Err(SpecError::Id) }
    }
}

impl FromStr for Volume {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut parts = text.split(':');
        let (source, target) = match (parts.next(), parts.next()) {
            (Some(source), Some(target)) => (PathBuf::from(source), PathBuf::from(target)),
            _ => return Err(SpecError::Volume),
        };
        let read_only = match parts.next() {
            None | Some("rw") => false,
            Some("ro") => true,
            Some(_) => return Err(SpecError::Volume),
        };
        if parts.next().is_some() || !source.is_absolute() || !target.is_absolute() {
            return Err(SpecError::Volume);
        }
        if !is_below_root(&target) {
            return Err(SpecError::VolumeTarget);
        }
        Ok(Self { source, target, read_only })
    }
}

/// Whether an absolute path names something below the root, and cannot lead out of it.
fn is_below_root(path: &Path) -> bool {
    let mut components = path.components().skip(1).peekable();
    components.peek().is_some() && components.all(|part| matches!(part, Component::Normal(_)))
}

impl FromStr for Size {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let lower = text.to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match lower.get(digits.len()..).unwrap_or_default() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            _ => return Err(SpecError::Size),
        };
        let number: u64 = digits.parse().map_err(|_| SpecError::Size)?;
        number.checked_mul(1 << shift).map(Self).ok_or(SpecError::Size)
    }
}

impl FromStr for User {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let number = |text: &str| match text.parse() {
            // The highest number stands for "unchanged" to the system calls.
            Ok(number) if number != u32::MAX && !text.starts_with('+') => Ok(number),
            _ => Err(SpecError::User),
        };
        match text.split_once(':') {
            Some((uid, gid)) => Ok(Self { uid: number(uid)?, gid: number(gid)? }),
            None => Ok(Self { uid: number(text)?, gid: 0 }),
        }
    }
}

/// Reads the name of a capability, or `ALL`.
pub(crate) fn capabilities(text: &str) -> Result<Capabilities, SpecError> {
    if text.eq_ignore_ascii_case("all") {
        return Ok(Capabilities::ALL);
    }
    capability::by_name(text).ok_or_else(|| SpecError::Capability(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_file_names() {
        for good in ["a", "web-1", "0.1_x", &"x".repeat(64)] {
            assert_eq!(good.parse::<ContainerId>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", ".x", "-x", "a/b", "a b", "ü", &"x".repeat(65)] {
            assert_eq!(bad.parse::<ContainerId>(), Err(SpecError::Id), "{bad:?}");
        }
        let random = ContainerId::random();
        assert_eq!(random.as_str().parse(), Ok(random.clone()));
        assert_ne!(random, ContainerId::random());
    }

    #[test]
    fn reads_volumes() {
        let volume = |text: &str| text.parse::<Volume>();
        let expected =
            Volume { source: "/srv/data".into(), target: "/data".into(), read_only: true };
        assert_eq!(volume("/srv/data:/data:ro"), Ok(expected));
        assert!(!volume("/a:/b").unwrap().read_only && !volume("/a:/b:rw").unwrap().read_only);
        for bad in ["/a", "a:/b", "/a:b", "/a:/b:rx", "/a:/b:ro:ro", ""] {
            assert_eq!(volume(bad), Err(SpecError::Volume), "{bad:?}");
        }
        for bad in ["/a:/", "/a:/b/../..", "/a:/.."] {
            assert_eq!(volume(bad), Err(SpecError::VolumeTarget), "{bad:?}");
        }
    }

    #[test]
    fn reads_sizes() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("64k", 65536), ("1GiB", 1 << 30)] {
            assert_eq!(text.parse(), Ok(Size(bytes)));
        }
        for bad in ["", "m", "-1", "1.5g", "1t", "99999999999g", "1 m"] {
            assert_eq!(bad.parse::<Size>(), Err(SpecError::Size), "{bad:?}");
        }
    }

    #[test]
    fn reads_users_by_number_only() {
        assert_eq!("1000".parse(), Ok(User { uid: 1000, gid: 0 }));
        assert_eq!("1000:100".parse(), Ok(User { uid: 1000, gid: 100 }));
        for bad in ["", "root", "-1", "+1", "4294967295", "4294967296", "1:", ":1", "1:2:3", "1x"] {
            assert_eq!(bad.parse::<User>(), Err(SpecError::User), "{bad:?}");
        }
    }

    #[test]
    fn capabilities_change_in_the_order_that_is_given() {
        let changes = |text: &str| -> Vec<CapabilityChange> {
            text.split(' ')
                .map(|word| match word.split_at(1) {
                    ("+", name) => CapabilityChange::Add(capabilities(name).unwrap()),
                    (_, name) => CapabilityChange::Drop(capabilities(name).unwrap()),
                })
                .collect()
        };
        let set = |text: &str| {
            let mut spec = spec();
            spec.capabilities = changes(text);
            spec.capability_set().bits()
        };
        assert_eq!(spec().capability_set().bits(), 0xA804_25FB);
        assert_eq!(set("-ALL"), 0);
        assert_eq!(set("-all +net_bind_service"), 1 << 10);
        assert_eq!(set("+CAP_SYS_ADMIN"), 0xA804_25FB | 1 << 21);
        assert_eq!(Spec { privileged: true, ..spec() }.capability_set(), Capabilities::ALL);
        assert_eq!(capabilities("CAP_X"), Err(SpecError::Capability("CAP_X".into())));
    }

    fn spec() -> Spec {
        Spec {
            id: ContainerId::random(),
            root: Root::Folder("/".into()),
            command: Vec::new(),
            privileged: false,
            pid: PidMode::Private,
            network: Network::None,
            volumes: Vec::new(),
            capabilities: Vec::new(),
            security: Security::default(),
            memory: None,
            pids_limit: None,
            read_only: false,
            user: None,
            env: Vec::new(),
            workdir: None,
            hostname: None,
            pid_file: None,
        }
    }
}
