//! Which namespaces a container has.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ContainerId, Network, Sharing, Spec, SpecError, UserMode};

/// A namespace that is there already.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Joined {
    /// That of a running container.
    Container(ContainerId),
    /// That of a file, as in `/run/netns` or `/proc/PID/ns`.
    Path(PathBuf),
}

/// What a clock of the container shows beyond the host's.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct TimeOffset {
    /// Which one.
    pub(crate) clock: Clock,
    /// Whole seconds, rounded down.
    pub(crate) seconds: i64,
    /// The rest of them.
    pub(crate) nanoseconds: u32,
}

/// A clock that a time namespace can have set differently (`time_namespaces(7)`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Clock {
    Monotonic,
    Boottime,
}

impl Joined {
    /// Reads `container:NAME` or `ns:PATH`. `own` is what is expected else.
    pub(super) fn parse(text: &str, own: &'static str) -> Result<Self, SpecError> {
        let joined = match text.split_once(':') {
            Some(("container", name)) => name.parse().ok().map(Self::Container),
            Some(("ns", path)) => {
                Some(PathBuf::from(path)).filter(|path| path.is_absolute()).map(Self::Path)
            }
            _ => None,
        };
        joined.ok_or(SpecError::Namespace { own })
    }
}

impl fmt::Display for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(id) => write!(f, "container:{id}"),
            Self::Path(path) => write!(f, "ns:{}", path.display()),
        }
    }
}

impl FromStr for Sharing {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "private" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            _ => Joined::parse(text, "private").map(Self::Joined),
        }
    }
}

impl FromStr for UserMode {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "remap" => Ok(Self::Remapped),
            "host" => Ok(Self::Host),
            _ => Joined::parse(text, "remap").map(Self::Joined),
        }
    }
}

impl Spec {
    /// Those of the joined namespaces that only their own users have power over, by option: the kernel mounts
    /// proc, sysfs, mqueue and cgroup2 for nobody else.
    pub(crate) fn joined_with_users(&self) -> impl Iterator<Item = (&'static str, &Joined)> {
        let pid = match &self.pid {
            Sharing::Joined(joined) => Some(("--pid", joined)),
            Sharing::Private | Sharing::Host => None,
        };
        let network = if let Network::Joined(joined) = &self.network {
            Some(("--network", joined))
        } else {
            None
        };
        // A container's message queues are shown from where it has them.
        let ipc = match &self.ipc {
            Sharing::Joined(joined @ Joined::Path(_)) => Some(("--ipc", joined)),
            Sharing::Joined(Joined::Container(_)) | Sharing::Private | Sharing::Host => None,
        };
        let cgroup = match self.cgroupns() {
            Sharing::Joined(joined) => Some(("--cgroupns", joined)),
            Sharing::Private | Sharing::Host => None,
        };
        [pid, network, ipc, cgroup].into_iter().flatten()
    }
}

impl Clock {
    const NAMES: [(&'static str, Self); 2] =
        [("monotonic", Self::Monotonic), ("boottime", Self::Boottime)];

    /// What the kernel calls it.
    pub(crate) fn name(self) -> &'static str {
        let of = |&&(_, clock): &&(_, Self)| clock == self;
        Self::NAMES.iter().find(of).map_or("", |&(name, _)| name)
    }
}

impl FromStr for TimeOffset {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        const WHOLE: u32 = 1_000_000_000;
        const DIGITS: usize = 9;
        let (name, number) = text.split_once('=').ok_or(SpecError::TimeOffset)?;
        let of = |&&(known, _): &&(&str, Clock)| known == name;
        let &(_, clock) = Clock::NAMES.iter().find(of).ok_or(SpecError::TimeOffset)?;
        let (is_negative, number) =
            number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
        let (whole, part) = number.split_once('.').map_or((number, "0"), |parts| parts);
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(part) || part.len() > DIGITS {
            return Err(SpecError::TimeOffset);
        }
        let whole: i64 = whole.parse().map_err(|_| SpecError::TimeOffset)?;
        let part: u32 = format!("{part:0<DIGITS$}").parse().map_err(|_| SpecError::TimeOffset)?;
        let (seconds, nanoseconds) = match (is_negative, part) {
            (false, part) => (whole, part),
            (true, 0) => (-whole, 0),
            (true, part) => (-whole - 1, WHOLE - part),
        };
        Ok(Self { clock, seconds, nanoseconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_namespaces() {
        let other = |name: &str| Joined::Container(name.parse().unwrap());
        assert_eq!("private".parse(), Ok(Sharing::Private));
        assert_eq!("host".parse(), Ok(Sharing::Host));
        assert_eq!("none".parse(), Ok(Network::None));
        assert_eq!("remap".parse(), Ok(UserMode::Remapped));
        assert_eq!("container:a-1".parse(), Ok(Network::Joined(other("a-1"))));
        assert_eq!(
            "ns:/run/netns/x".parse(),
            Ok(Sharing::Joined(Joined::Path("/run/netns/x".into())))
        );
        for bad in ["", "remap", "container:", "container:a/b", "container", "ns:", "ns:x", "x:y"] {
            assert_eq!(
                bad.parse::<Sharing>(),
                Err(SpecError::Namespace { own: "private" }),
                "{bad:?}"
            );
        }
        for text in ["container:a", "ns:/proc/1/ns/net"] {
            assert_eq!(Joined::parse(text, "").unwrap().to_string(), text);
        }
    }

    #[test]
    fn reads_offsets_of_clocks() {
        let offset = |text: &str| {
            let offset = text.parse::<TimeOffset>();
            offset.map(|offset| (offset.clock.name(), offset.seconds, offset.nanoseconds))
        };
        assert_eq!(offset("monotonic=86400"), Ok(("monotonic", 86_400, 0)));
        assert_eq!(offset("boottime=-1"), Ok(("boottime", -1, 0)));
        assert_eq!(offset("boottime=0.5"), Ok(("boottime", 0, 500_000_000)));
        assert_eq!(offset("boottime=-1.25"), Ok(("boottime", -2, 750_000_000)));
        for bad in [
            "",
            "monotonic",
            "realtime=1",
            "monotonic=",
            "monotonic=+1",
            "monotonic=1.",
            "monotonic=--1",
            "monotonic=1.0000000001",
            "monotonic=99999999999999999999",
        ] {
            assert_eq!(offset(bad), Err(SpecError::TimeOffset), "{bad:?}");
        }
    }
}
