//! What holds for a container's processes.

use std::path::{Component, PathBuf};
use std::str::FromStr;

use nix::sys::resource::{RLIM_INFINITY, Resource};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::SpecError;

/// A limit of each process (`getrlimit(2)`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Ulimit {
    /// What is limited.
    pub(crate) resource: Resource,
    /// What holds.
    pub(crate) soft: u64,
    /// Up to where the process may raise it.
    pub(crate) hard: u64,
}

/// A parameter of the kernel and its value.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Sysctl {
    /// Its path below `/proc/sys`.
    pub(crate) path: PathBuf,
    /// What it is set to.
    pub(crate) value: String,
}

/// A user and a group by number.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct User {
    /// The user.
    pub(crate) uid: u32,
    /// The group.
    pub(crate) gid: u32,
}

/// The signal that asks a command to end.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct StopSignal(i32);

impl Ulimit {
    /// What can be limited, by Docker's names.
    const NAMES: [(&'static str, Resource); 16] = [
        ("as", Resource::RLIMIT_AS),
        ("core", Resource::RLIMIT_CORE),
        ("cpu", Resource::RLIMIT_CPU),
        ("data", Resource::RLIMIT_DATA),
        ("fsize", Resource::RLIMIT_FSIZE),
        ("locks", Resource::RLIMIT_LOCKS),
        ("memlock", Resource::RLIMIT_MEMLOCK),
        ("msgqueue", Resource::RLIMIT_MSGQUEUE),
        ("nice", Resource::RLIMIT_NICE),
        ("nofile", Resource::RLIMIT_NOFILE),
        ("nproc", Resource::RLIMIT_NPROC),
        ("rss", Resource::RLIMIT_RSS),
        ("rtprio", Resource::RLIMIT_RTPRIO),
        ("rttime", Resource::RLIMIT_RTTIME),
        ("sigpending", Resource::RLIMIT_SIGPENDING),
        ("stack", Resource::RLIMIT_STACK),
    ];

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        let of = |&&(_, resource): &&(_, Resource)| resource == self.resource;
        Self::NAMES.iter().find(of).map_or("", |&(name, _)| name)
    }

    pub(super) fn names() -> String {
        Self::NAMES.map(|(name, _)| name).join(", ")
    }
}

impl FromStr for Ulimit {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (name, limits) = text.split_once('=').ok_or(SpecError::Ulimit)?;
        let of = |&&(known, _): &&(&str, Resource)| known == name;
        let &(_, resource) =
            Self::NAMES.iter().find(of).ok_or_else(|| SpecError::UlimitName(name.to_owned()))?;
        let number = |text: &str| match text {
            "-1" | "unlimited" => Ok(RLIM_INFINITY),
            _ if text.starts_with('+') => Err(SpecError::Ulimit),
            _ => text.parse().map_err(|_| SpecError::Ulimit),
        };
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let limit = Self { resource, soft: number(soft)?, hard: number(hard)? };
        if limit.soft <= limit.hard { Ok(limit) } else { Err(SpecError::Ulimit) }
    }
}

impl TryFrom<String> for Ulimit {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

impl From<Ulimit> for String {
    fn from(limit: Ulimit) -> Self {
        let number = |number| match number {
            RLIM_INFINITY => "-1".to_owned(),
            number => number.to_string(),
        };
        format!("{}={}:{}", limit.name(), number(limit.soft), number(limit.hard))
    }
}

impl StopSignal {
    /// The first one that has no name, and the last one, as programs know them: the C library has two for itself.
    const REAL_TIME: (i32, i32) = (34, 64);

    /// Its number.
    pub(crate) fn number(self) -> i32 {
        self.0
    }
}

impl FromStr for StopSignal {
    type Err = SpecError;

    /// A number or a name, with `SIG` or without.
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (first, last) = Self::REAL_TIME;
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = |text: &str| text.parse::<u8>().ok().map(i32::from);
        let real_time = |rest: &str, sign: char, from: i32| match rest.strip_prefix(sign) {
            Some(rest) => number(rest).map(|n| if sign == '-' { from - n } else { from + n }),
            None => rest.is_empty().then_some(from),
        };
        let found = if let Some(rest) = name.strip_prefix("RTMIN") {
            real_time(rest, '+', first).filter(|n| (first..=last).contains(n))
        } else if let Some(rest) = name.strip_prefix("RTMAX") {
            real_time(rest, '-', last).filter(|n| (first..=last).contains(n))
        } else if upper.starts_with(|first: char| first.is_ascii_digit()) {
            number(&upper).filter(|n| (1..32).contains(n) || (first..=last).contains(n))
        } else {
            Signal::from_str(&format!("SIG{name}")).ok().map(|signal| signal as i32)
        };
        found.map(Self).ok_or_else(|| SpecError::StopSignal(text.to_owned()))
    }
}

impl TryFrom<String> for StopSignal {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

impl From<StopSignal> for String {
    fn from(StopSignal(number): StopSignal) -> Self {
        number.to_string()
    }
}

impl FromStr for Sysctl {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        /// What is each namespace's own: of any name that starts so.
        const OWN: [&str; 5] = ["net.", "fs.mqueue.", "kernel.msg", "kernel.sem", "kernel.shm"];
        let (name, value) = text.split_once('=').ok_or(SpecError::Sysctl)?;
        // Both spellings of `sysctl(8)`.
        let name = if name.contains('/') {
            name.replace('.', "\0").replace('/', ".")
        } else {
            name.into()
        };
        let is_own = OWN.iter().any(|own| name.starts_with(own)) || name == "kernel.domainname";
        if !is_own {
            return Err(SpecError::SysctlOfHost(name.replace('\0', "/")));
        }
        let path = PathBuf::from(name.replace('.', "/").replace('\0', "."));
        let is_safe = |part| matches!(part, Component::Normal(_));
        if value.is_empty() || !path.components().all(is_safe) {
            return Err(SpecError::Sysctl);
        }
        Ok(Self { path, value: value.to_owned() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_limits_of_processes() {
        let limit =
            |text: &str| text.parse::<Ulimit>().map(|limit| (limit.name(), limit.soft, limit.hard));
        assert_eq!(limit("nofile=64"), Ok(("nofile", 64, 64)));
        assert_eq!(limit("core=0:-1"), Ok(("core", 0, RLIM_INFINITY)));
        for bad in ["nofile", "nofile=", "nofile=2:1", "nofile=-2", "nofile=1:2:3", "nofile=+1"] {
            assert_eq!(limit(bad), Err(SpecError::Ulimit), "{bad:?}");
        }
        let error = limit("files=1").unwrap_err().to_string();
        assert!(error.contains("\"files\"") && error.contains("core, cpu,"), "{error}");
    }

    #[test]
    fn reads_parameters_of_namespaces_only() {
        let path = |text: &str| text.parse::<Sysctl>().map(|sysctl| sysctl.path);
        assert_eq!(path("net.ipv4.ip_forward=1"), Ok("net/ipv4/ip_forward".into()));
        assert_eq!(
            path("net/ipv4/conf/eth0.1/forwarding=1"),
            Ok("net/ipv4/conf/eth0.1/forwarding".into())
        );
        assert_eq!(path("kernel.shmmax=1"), Ok("kernel/shmmax".into()));
        for bad in ["net.ipv4", "net.ipv4.ip_forward=", "=1"] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
        for host in ["kernel.core_pattern=x", "vm.swappiness=1", "kernel/../net/x=1"] {
            assert!(matches!(path(host), Err(SpecError::SysctlOfHost(_))), "{host:?}");
        }
        assert_eq!(path("net/../../x=1"), Err(SpecError::Sysctl));
    }

    #[test]
    fn reads_signals_as_docker_does() {
        let number = |text: &str| text.parse::<StopSignal>().map(StopSignal::number);
        for (text, expected) in [
            ("SIGTERM", 15),
            ("quit", 3),
            ("9", 9),
            ("SIGRTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmax-1", 63),
            ("64", 64),
        ] {
            assert_eq!(number(text), Ok(expected));
        }
        for bad in
            ["", "0", "32", "65", "+9", "SIGNO", "SIG", "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMINX"]
        {
            assert_eq!(number(bad), Err(SpecError::StopSignal(bad.into())));
        }
        let json = serde_json::to_string(&StopSignal(37)).unwrap();
        assert_eq!(serde_json::from_str::<StopSignal>(&json).unwrap(), StopSignal(37));
    }

    #[test]
    fn reads_users_by_number_only() {
        assert_eq!("1000".parse(), Ok(User { uid: 1000, gid: 0 }));
        assert_eq!("1000:100".parse(), Ok(User { uid: 1000, gid: 100 }));
        for bad in ["", "root", "-1", "+1", "4294967295", "4294967296", "1:", ":1", "1:2:3", "1x"] {
            assert_eq!(bad.parse::<User>(), Err(SpecError::User), "{bad:?}");
        }
    }
}
