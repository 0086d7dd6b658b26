//! What a container is to be, as it was asked for.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use nix::sys::resource::{RLIM_INFINITY, Resource};

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
    /// Its host name, and what else the UTS namespace has.
    pub(crate) uts: Sharing,
    /// Its System V objects and message queues.
    pub(crate) ipc: Sharing,
    /// What it sees of cgroups; if not given, a privileged one sees the host's.
    pub(crate) cgroupns: Option<Sharing>,
    /// File systems in memory.
    pub(crate) tmpfs: Vec<Tmpfs>,
    /// How much `/dev/shm` holds.
    pub(crate) shm_size: Size,
    /// What each of its processes may use at most.
    pub(crate) ulimits: Vec<Ulimit>,
    /// Parameters of the kernel that are its namespaces' own.
    pub(crate) sysctls: Vec<Sysctl>,
    /// How soon the kernel kills its processes if memory runs out.
    pub(crate) oom_score_adj: Option<i32>,
    /// The groups of its command beside that of the user.
    pub(crate) groups: Vec<u32>,
    /// What of the host it sees.
    pub(crate) volumes: Vec<Volume>,
    /// Capabilities beyond the default set, and those of it that are taken away, in order.
    pub(crate) capabilities: Vec<CapabilityChange>,
    /// How it is confined beyond that.
    pub(crate) security: Security,
    /// What it may use at most.
    pub(crate) resources: Resources,
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

/// What a container may use at most; as much as there is where nothing is said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resources {
    /// Memory.
    pub(crate) memory: Option<Size>,
    /// Memory that is not taken away from it while others have more than theirs.
    pub(crate) memory_reservation: Option<Size>,
    /// Memory and swap.
    pub(crate) memory_swap: Option<Swap>,
    /// Processors, in parts.
    pub(crate) cpus: Option<Cpus>,
    /// Its part of the processors beside others who want them, as against their 1024.
    pub(crate) cpu_shares: Option<u64>,
    /// The processors that it runs on.
    pub(crate) cpuset_cpus: Option<CpuList>,
    /// Processes and threads.
    pub(crate) pids: Option<u32>,
}

/// A limit of memory and swap together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Swap {
    /// This much of both.
    Together(Size),
    /// As much swap as there is.
    Unlimited,
}

/// A number of processors, in millionths.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Cpus(u64);

/// Some of the processors, as ranges with both ends in them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CpuList(Vec<(u64, u64)>);

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

/// Whether a namespace is its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sharing {
    /// A new one.
    Private,
    /// That of whoever starts the container.
    Host,
}

/// A file system in memory.
#[derive(Clone, Debug, Eq, PartialEq)]
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

/// A limit of each process (`getrlimit(2)`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ulimit {
    /// What is limited.
    pub(crate) resource: Resource,
    /// What holds.
    pub(crate) soft: u64,
    /// Up to where the process may raise it.
    pub(crate) hard: u64,
}

/// A parameter of the kernel and its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sysctl {
    /// Its path below `/proc/sys`.
    pub(crate) path: PathBuf,
    /// What it is set to.
    pub(crate) value: String,
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
    #[error("expected a number of bytes as 64k, 512m or 2g, or -1 for no limit")]
    Swap,
    #[error("expected a number of processors from 0.01 on, like 1.5")]
    Cpus,
    #[error("expected processors by number, like 0-2,4")]
    CpuList,
    #[error("expected UID or UID:GID, numbers below 4294967295")]
    User,
    #[error(
        "expected PATH or PATH:OPTIONS, an absolute path and some of ro, rw, exec, noexec, size=, mode=, uid=, gid=, nr_inodes=, nr_blocks=, separated by commas"
    )]
    Tmpfs,
    #[error("expected NAME=SOFT or NAME=SOFT:HARD, numbers or -1 for no limit")]
    Ulimit,
    #[error("there is no limit {0:?}; there are: {known}", known = Ulimit::names())]
    UlimitName(String),
    #[error("expected NAME=VALUE")]
    Sysctl,
    #[error(
        "{0} is not the container's own: only net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm* \
         and kernel.domainname are"
    )]
    SysctlOfHost(String),
    #[error("{0} is the host's in a namespace of the host's: it would be changed for all")]
    SysctlShared(String),
    #[error("the host's UTS namespace has the host's name: --hostname would change it for all")]
    HostnameOfHost,
    #[error("there is no capability {0:?}")]
    Capability(String),
}

impl Spec {
    /// What cannot be had together.
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        if self.uts == Sharing::Host && self.hostname.is_some() {
            return Err(SpecError::HostnameOfHost);
        }
        let is_hosts = |sysctl: &&Sysctl| {
            let path = &sysctl.path;
            match (path.starts_with("net"), path.ends_with("domainname")) {
                (true, _) => self.network == Network::Host,
                (_, true) => self.uts == Sharing::Host,
                _ => self.ipc == Sharing::Host,
            }
        };
        match self.sysctls.iter().find(is_hosts) {
            Some(sysctl) => Err(SpecError::SysctlShared(sysctl.path.display().to_string())),
            None => Ok(()),
        }
    }

    /// Whether the container sees its own cgroups only. A privileged one sees the host's, as Docker and
    /// containerd have it.
    pub(crate) fn has_own_cgroupns(&self) -> bool {
        let default = if self.privileged { Sharing::Host } else { Sharing::Private };
        self.cgroupns.unwrap_or(default) == Sharing::Private
    }

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

    fn names() -> String {
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

impl FromStr for Swap {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "-1" => Ok(Self::Unlimited),
            _ => text.parse().map(Self::Together).map_err(|_| SpecError::Swap),
        }
    }
}

impl Cpus {
    /// What of a period that is.
    pub(crate) fn microseconds_in(self, period: u64) -> u64 {
        self.0.saturating_mul(period) / Self::WHOLE
    }

    const WHOLE: u64 = 1_000_000;
    const LEAST: u64 = Self::WHOLE / 100;
}

impl FromStr for Cpus {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        const DIGITS: usize = 6;
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole)
            || !is_number(part)
            || part.len() > DIGITS
            || text.len() < 1 + part.len()
        {
            return Err(SpecError::Cpus);
        }
        let number = |text: &str| text.parse::<u64>().map_err(|_| SpecError::Cpus);
        let whole = if whole.is_empty() { 0 } else { number(whole)? };
        let part = number(&format!("{part:0<DIGITS$}"))?;
        let cpus = whole.checked_mul(Self::WHOLE).and_then(|whole| whole.checked_add(part));
        cpus.filter(|&cpus| cpus >= Self::LEAST).map(Self).ok_or(SpecError::Cpus)
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / Self::WHOLE, self.0 % Self::WHOLE);
        f.write_str(format!("{whole}.{part:06}").trim_end_matches('0').trim_end_matches('.'))
    }
}

impl CpuList {
    /// Whether these ranges are the same processors.
    pub(crate) fn is(&self, ranges: &[(u64, u64)]) -> bool {
        let set = |ranges: &[(u64, u64)]| -> BTreeSet<u64> {
            ranges.iter().flat_map(|&(first, last)| first..=last).collect()
        };
        set(&self.0) == set(ranges)
    }
}

impl FromStr for CpuList {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        /// No kernel has more (`NR_CPUS`).
        const MOST: u64 = 8192;
        let number = |text: &str| match text.parse() {
            Ok(number) if number < MOST && !text.starts_with('+') => Ok(number),
            _ => Err(SpecError::CpuList),
        };
        let range = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let range = (number(first)?, number(last)?);
            if range.0 <= range.1 { Ok(range) } else { Err(SpecError::CpuList) }
        };
        text.split(',').map(range).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = self.0.iter().map(|(first, last)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        });
        f.write_str(&ranges.collect::<Vec<_>>().join(","))
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
    fn reads_processors() {
        for (text, shown) in [("1", "1"), ("0.5", "0.5"), ("1.50", "1.5"), (".01", "0.01")] {
            assert_eq!(text.parse::<Cpus>().unwrap().to_string(), shown);
        }
        assert_eq!("1.5".parse::<Cpus>().unwrap().microseconds_in(100_000), 150_000);
        for bad in ["", ".", "0", "0.001", "-1", "+1", "1e3", "1,5", "0.0000001", "99999999999999"]
        {
            assert_eq!(bad.parse::<Cpus>(), Err(SpecError::Cpus), "{bad:?}");
        }
        let list: CpuList = "0-2,4".parse().unwrap();
        assert_eq!(list.to_string(), "0-2,4");
        assert!(list.is(&[(4, 4), (0, 1), (1, 2)]) && !list.is(&[(0, 4)]));
        for bad in ["", "a", "2-1", "0,", "0-", "-1", "+1", "9000"] {
            assert_eq!(bad.parse::<CpuList>(), Err(SpecError::CpuList), "{bad:?}");
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
    fn what_is_the_hosts_is_not_changed() {
        let with = |sysctl: &str| Spec { sysctls: vec![sysctl.parse().unwrap()], ..spec() };
        let net = with("net.ipv4.ip_forward=1");
        assert_eq!(net.check(), Ok(()));
        let shared = |spec: Spec| matches!(spec.check(), Err(SpecError::SysctlShared(_)));
        assert!(shared(Spec { network: Network::Host, ..net.clone() }));
        assert!(!shared(Spec { ipc: Sharing::Host, uts: Sharing::Host, ..net }));
        assert!(shared(Spec { ipc: Sharing::Host, ..with("kernel.shmmax=1") }));
        assert!(shared(Spec { uts: Sharing::Host, ..with("kernel.domainname=x") }));
        let hostname = Spec { uts: Sharing::Host, hostname: Some("x".into()), ..spec() };
        assert_eq!(hostname.check(), Err(SpecError::HostnameOfHost));
    }

    #[test]
    fn reads_limits_of_swap() {
        assert_eq!("-1".parse(), Ok(Swap::Unlimited));
        assert_eq!("64k".parse(), Ok(Swap::Together(Size(65536))));
        assert_eq!("-2".parse::<Swap>(), Err(SpecError::Swap));
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
            uts: Sharing::Private,
            ipc: Sharing::Private,
            cgroupns: None,
            tmpfs: Vec::new(),
            shm_size: Size(64 << 20),
            ulimits: Vec::new(),
            sysctls: Vec::new(),
            oom_score_adj: None,
            groups: Vec::new(),
            volumes: Vec::new(),
            capabilities: Vec::new(),
            security: Security::default(),
            resources: Resources::default(),
            read_only: false,
            user: None,
            env: Vec::new(),
            workdir: None,
            hostname: None,
            pid_file: None,
        }
    }
}
