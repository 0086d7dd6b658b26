//! What a container is to be, as it was asked for.

mod block;
mod device;
mod mount;
mod namespace;
mod network;
mod process;
mod resource;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{self, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub(crate) use self::block::{
    BlockIo, Rate, Throttle, Way, bytes_per_second, operations_per_second,
};
pub(crate) use self::device::{Access, Device, DeviceKind, DeviceRule};
pub(crate) use self::mount::{Mount, Propagation, Relabel, Tmpfs, Volume};
pub(crate) use self::namespace::{Joined, TimeOffset};
pub(crate) use self::network::{BitRate, HostEntry, NetworkName, NetworkOptions};
pub(crate) use self::process::{StopSignal, Sysctl, Ulimit, User};
pub(crate) use self::resource::{CpuList, Cpus, Resources, Size, Swap};
use super::security::Security;
use super::{LauncherError, Tried, userns};
use crate::capability::{self, Capabilities};

/// A container as it was asked for.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Spec {
    /// What it is called on this host.
    pub(crate) id: ContainerId,
    /// Where its root file system comes from.
    pub(crate) root: Root,
    /// The program that the command consists of arguments of, instead of the image's; an empty one for none.
    pub(crate) entrypoint: Option<String>,
    /// Its command and arguments, or only these; the image's own if there are none.
    pub(crate) command: Vec<String>,
    /// Whether its first process is the launcher's, which starts the command and waits for orphans.
    pub(crate) init: bool,
    /// Whether it has a terminal of its own.
    pub(crate) tty: bool,
    /// Whether what is typed is passed on to that.
    pub(crate) interactive: bool,
    /// What asks the command to end; by default what the image says, or SIGTERM.
    pub(crate) stop_signal: Option<StopSignal>,
    /// What others want to know of it.
    pub(crate) labels: BTreeMap<String, String>,
    /// All capabilities, the host's devices, nothing masked.
    pub(crate) privileged: bool,
    /// Its users.
    pub(crate) users: UserMode,
    /// Its process ids.
    pub(crate) pid: Sharing,
    /// Its network.
    pub(crate) network: Network,
    /// What it has of the networks that it is joined to.
    pub(crate) network_options: NetworkOptions,
    /// Its host name, and what else the UTS namespace has.
    pub(crate) uts: Sharing,
    /// Its System V objects and message queues.
    pub(crate) ipc: Sharing,
    /// What it sees of cgroups; if not given, a privileged one sees the host's.
    pub(crate) cgroupns: Option<Sharing>,
    /// Its clocks.
    pub(crate) time: Sharing,
    /// What its clocks show beyond the host's.
    pub(crate) time_offsets: Vec<TimeOffset>,
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
    /// The devices of the host that it has.
    pub(crate) devices: Vec<Device>,
    /// Devices that it may use beside those.
    pub(crate) device_rules: Vec<DeviceRule>,
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
    /// Its environment beyond the default, as `NAME=VALUE`; `NAME` alone is taken away.
    pub(crate) env: Vec<String>,
    /// Where its command starts.
    pub(crate) workdir: Option<PathBuf>,
    /// Its host name; by default, its id.
    pub(crate) hostname: Option<String>,
    /// Its NIS domain name.
    pub(crate) domainname: Option<String>,
    /// Where the host's id of its first process is written.
    pub(crate) pid_file: Option<PathBuf>,
}

/// The name of a container: also that of its cgroup and folders.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct ContainerId(String);

/// Where a root file system comes from.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Root {
    /// A folder, used as it is.
    Folder(PathBuf),
    /// An image in an archive, unpacked for this container.
    Archive(PathBuf),
}

/// Whether a namespace is its own.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Sharing {
    /// A new one.
    Private,
    /// That of whoever starts the container.
    Host,
    /// Another one that is there.
    Joined(Joined),
}

/// The user namespace.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UserMode {
    /// A new one, whose users the host does not know.
    Remapped,
    /// That of whoever starts the container.
    Host,
    /// Another one that is there.
    Joined(Joined),
}

/// The network namespace.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Network {
    /// A new one with a loopback device.
    None,
    /// That of whoever starts the container.
    Host,
    /// A new one that is joined to these networks.
    Named(Vec<NetworkName>),
    /// Another one that is there.
    Joined(Joined),
}

/// A change of the default set of capabilities.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CapabilityChange {
    /// These too.
    Add(Capabilities),
    /// Not these.
    Drop(Capabilities),
}

/// Why a part of the specification is refused.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum SpecError {
    #[error(
        "a name starts with a letter or digit, and has at most 64 letters, digits, dots, hyphens \
         and underscores"
    )]
    Id,
    #[error(
        "expected SOURCE:TARGET or SOURCE:TARGET:OPTIONS, both absolute paths and some of ro, rw, idmap, \
         and private, slave or shared, with r before it or not, separated by commas"
    )]
    Volume,
    #[error("{0} of --mount")]
    Mount(String),
    #[error(
        "{} is shared with the host: with --userns=remap, what the container mounts there would be its users' \
         (shared)",
        .0.display()
    )]
    SharedWithHost(PathBuf),
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
    #[error(
        "expected HOST, HOST:CONTAINER, HOST:ACCESS or HOST:CONTAINER:ACCESS: absolute paths, and some of \
         r, w and m"
    )]
    Device,
    #[error("a container has its devices below /dev, and {} is not (HOST:CONTAINER)", .0.display())]
    DeviceTarget(PathBuf),
    #[error("the access to a device is some of r, w and m, each once")]
    Access,
    #[error(
        "expected KIND MAJOR:MINOR ACCESS like \"c 1:3 rwm\": b or c; numbers up to 4095 and 1048575, or *; \
         and some of r, w and m; or \"a *:* rwm\" for all devices"
    )]
    DeviceRule,
    #[error(
        "a privileged container has all devices of the host: leave out --privileged, or --device and \
         --device-cgroup-rule"
    )]
    DevicesOfPrivileged,
    #[error(
        "expected DEVICE:SIZE, the absolute path of a disk and bytes in a second, like /dev/sda:1m"
    )]
    Bandwidth,
    #[error(
        "expected DEVICE:NUMBER, the absolute path of a disk and operations in a second, like \
         /dev/sda:100"
    )]
    Operations,
    #[error("expected NAME=SOFT or NAME=SOFT:HARD, numbers or -1 for no limit")]
    Ulimit,
    #[error("there is no limit {0:?}; there are: {known}", known = Ulimit::names())]
    UlimitName(String),
    #[error(
        "there is no signal {0:?}: expected a name or a number, like SIGTERM, SIGRTMIN+3 or 15"
    )]
    StopSignal(String),
    #[error("expected NAME=VALUE")]
    Sysctl,
    #[error(
        "{0} is not the container's own: only net.*, fs.mqueue.*, kernel.msg*, kernel.sem, kernel.shm* \
         and kernel.domainname are"
    )]
    SysctlOfHost(String),
    #[error("{0} is the host's in a namespace of the host's: it would be changed for all")]
    SysctlShared(String),
    #[error("the host's UTS namespace has the host's name: {0} would change it for all")]
    NameOfHost(&'static str),
    #[error("{0} would change what others have, whose namespace the container joins")]
    OfOthers(String),
    #[error(
        "expected {own}, host, container:NAME or ns:PATH, the name of a running container or an absolute path"
    )]
    Namespace { own: &'static str },
    #[error(
        "{0} needs their user namespace, too (--userns=container:NAME), or that of the host \
         (--userns=host): users of the container's own have no power over what others have"
    )]
    NeedsTheirUsers(&'static str),
    #[error("expected CLOCK=SECONDS: monotonic or boottime, and a number like 86400, -3600 or 0.5")]
    TimeOffset,
    #[error("--time-offset needs --timens=private: other clocks are not the container's own")]
    TimeOfOthers,
    #[error("{option} needs --userns=host: within a user namespace, {why}")]
    NeedsHostUsers { option: &'static str, why: &'static str },
    #[error(
        "id {0} is none of the container's, which are those below {count} (--userns=remap)",
        count = userns::COUNT
    )]
    NoSuchId(u32),
    #[error("idmap needs --userns=remap: without it, {} has the host's users anyway", .0.display())]
    NothingToMap(PathBuf),
    #[error("there is no capability {0:?}")]
    Capability(String),
    #[error("none and host are no networks to be joined to: each is given alone")]
    NetworkAlone,
    #[error("a container is joined to 16 networks at most")]
    Networks,
    #[error("the network {0} is given twice")]
    NetworkTwice(NetworkName),
    #[error("{0} needs a network to be joined to: --network NAME")]
    NeedsNetwork(&'static str),
    #[error("expected NAME:ADDRESS")]
    HostEntry,
    #[error("expected bits in a second from 1000 on, as 800k, 10m or 1g")]
    BitRate,
}

impl Spec {
    /// The same, with paths that do not depend on where the launcher is: it may be started again from elsewhere.
    pub(crate) fn absolute(mut self) -> Result<Self, LauncherError> {
        let (Root::Folder(root) | Root::Archive(root)) = &mut self.root;
        for path in [root].into_iter().chain(&mut self.pid_file).chain(self.security.file()) {
            let absolute = path::absolute(&*path);
            *path = absolute.tried(|| format!("tell where {} is", path.display()))?;
        }
        Ok(self)
    }

    /// What cannot be had together.
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        let names = [("--hostname", &self.hostname), ("--domainname", &self.domainname)];
        for (option, _) in names.into_iter().filter(|(_, name)| name.is_some()) {
            match self.uts {
                Sharing::Private => {}
                Sharing::Host => return Err(SpecError::NameOfHost(option)),
                Sharing::Joined(_) => return Err(SpecError::OfOthers(option.to_owned())),
            }
        }
        if self.time != Sharing::Private && !self.time_offsets.is_empty() {
            return Err(SpecError::TimeOfOthers);
        }
        self.check_users()?;
        self.check_networks()?;
        if self.privileged && !(self.devices.is_empty() && self.device_rules.is_empty()) {
            return Err(SpecError::DevicesOfPrivileged);
        }
        for sysctl in &self.sysctls {
            let path = &sysctl.path;
            let (is_hosts, is_joined) =
                match (path.starts_with("net"), path.ends_with("domainname")) {
                    (true, _) => {
                        (self.network == Network::Host, matches!(self.network, Network::Joined(_)))
                    }
                    (_, true) => {
                        (self.uts == Sharing::Host, matches!(self.uts, Sharing::Joined(_)))
                    }
                    _ => (self.ipc == Sharing::Host, matches!(self.ipc, Sharing::Joined(_))),
                };
            let name = || path.display().to_string();
            if is_hosts {
                return Err(SpecError::SysctlShared(name()));
            }
            if is_joined {
                return Err(SpecError::OfOthers(name()));
            }
        }
        Ok(())
    }

    /// What a user namespace cannot have.
    fn check_users(&self) -> Result<(), SpecError> {
        if self.users == UserMode::Host {
            return match self.volumes.iter().find(|volume| volume.idmap) {
                Some(volume) => Err(SpecError::NothingToMap(volume.target.clone())),
                None => Ok(()),
            };
        }
        let refused = [
            (self.privileged, "--privileged", "nobody has the privileges of the host's root"),
            (self.pid == Sharing::Host, "--pid=host", "proc shows its own processes only"),
            (self.network == Network::Host, "--network=host", "sysfs shows its own network only"),
            (
                self.cgroupns() == &Sharing::Host,
                "--cgroupns=host",
                "cgroup2 shows its own cgroups only",
            ),
        ];
        if let Some((_, option, why)) = refused.into_iter().find(|&(is_asked, ..)| is_asked) {
            return Err(SpecError::NeedsHostUsers { option, why });
        }
        if self.users == UserMode::Remapped
            && let Some((option, _)) = self.joined_with_users().next()
        {
            return Err(SpecError::NeedsTheirUsers(option));
        }
        let shared = self.volumes.iter().find(|volume| volume.propagation == Propagation::Shared);
        if let Some(volume) = shared {
            return Err(SpecError::SharedWithHost(volume.target.clone()));
        }
        self.check_ids(&self.groups)?;
        self.check_user(self.user)
    }

    /// Whether the container has a user: of the image, too, which is looked into later.
    pub(super) fn check_user(&self, user: Option<User>) -> Result<(), SpecError> {
        user.map_or(Ok(()), |user| self.check_ids(&[user.uid, user.gid]))
    }

    fn check_ids(&self, ids: &[u32]) -> Result<(), SpecError> {
        let is_missing = |&&id: &&u32| self.users == UserMode::Remapped && id >= userns::COUNT;
        match ids.iter().find(is_missing) {
            Some(&id) => Err(SpecError::NoSuchId(id)),
            None => Ok(()),
        }
    }

    /// What the container sees of cgroups. A privileged one sees the host's, as Docker and containerd have it.
    pub(crate) fn cgroupns(&self) -> &Sharing {
        let default = if self.privileged { &Sharing::Host } else { &Sharing::Private };
        self.cgroupns.as_ref().unwrap_or(default)
    }

    /// The host name that it has in a UTS namespace of its own.
    pub(crate) fn hostname(&self) -> &str {
        self.hostname.as_deref().unwrap_or(self.id.as_str())
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
        assert_eq!(hostname.check(), Err(SpecError::NameOfHost("--hostname")));
    }

    #[test]
    fn a_user_namespace_has_its_own_only() {
        let remapped = Spec { users: UserMode::Remapped, ..spec() };
        assert_eq!(remapped.check(), Ok(()));
        let shared = Spec { ipc: Sharing::Host, uts: Sharing::Host, ..remapped.clone() };
        assert_eq!(shared.check(), Ok(()));
        for (spec, refused) in [
            (Spec { privileged: true, ..remapped.clone() }, "--privileged"),
            (Spec { pid: Sharing::Host, ..remapped.clone() }, "--pid=host"),
            (Spec { network: Network::Host, ..remapped.clone() }, "--network=host"),
            (Spec { cgroupns: Some(Sharing::Host), ..remapped.clone() }, "--cgroupns=host"),
        ] {
            let error = spec.check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{refused} needs --userns=host")), "{error}");
            assert_eq!(Spec { users: UserMode::Host, ..spec }.check(), Ok(()));
        }
        let user = |uid, gid| Spec { user: Some(User { uid, gid }), ..remapped.clone() }.check();
        assert_eq!(user(65_535, 65_535), Ok(()));
        assert_eq!(user(65_536, 0), Err(SpecError::NoSuchId(65_536)));
        assert_eq!(user(0, 65_536), Err(SpecError::NoSuchId(65_536)));
        let groups = Spec { groups: vec![1, 70_000], ..remapped.clone() };
        assert_eq!(groups.check(), Err(SpecError::NoSuchId(70_000)));
        let volumes = vec!["/a:/b:ro,idmap".parse().unwrap()];
        let mapped = Spec { volumes, ..remapped };
        assert_eq!(mapped.check(), Ok(()));
        let unmapped = Spec { users: UserMode::Host, ..mapped };
        assert_eq!(unmapped.check(), Err(SpecError::NothingToMap("/b".into())));
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

    #[test]
    fn a_privileged_container_has_all_devices_already() {
        let devices = vec!["/dev/fuse".parse().unwrap()];
        let device = Spec { devices, ..spec() };
        assert_eq!(device.check(), Ok(()));
        let refused = Err(SpecError::DevicesOfPrivileged);
        assert_eq!(Spec { privileged: true, ..device }.check(), refused);
        let device_rules = vec!["c 10:229 rwm".parse().unwrap()];
        assert_eq!(Spec { privileged: true, device_rules, ..spec() }.check(), refused);
    }

    fn spec() -> Spec {
        Spec {
            id: ContainerId::random(),
            root: Root::Folder("/".into()),
            entrypoint: None,
            command: Vec::new(),
            init: false,
            tty: false,
            interactive: false,
            stop_signal: None,
            labels: BTreeMap::new(),
            privileged: false,
            users: UserMode::Host,
            pid: Sharing::Private,
            network: Network::None,
            network_options: NetworkOptions::default(),
            uts: Sharing::Private,
            ipc: Sharing::Private,
            cgroupns: None,
            time: Sharing::Host,
            time_offsets: Vec::new(),
            tmpfs: Vec::new(),
            shm_size: Size(64 << 20),
            ulimits: Vec::new(),
            sysctls: Vec::new(),
            oom_score_adj: None,
            groups: Vec::new(),
            volumes: Vec::new(),
            devices: Vec::new(),
            device_rules: Vec::new(),
            capabilities: Vec::new(),
            security: Security::default(),
            resources: Resources::default(),
            read_only: false,
            user: None,
            env: Vec::new(),
            workdir: None,
            hostname: None,
            domainname: None,
            pid_file: None,
        }
    }
}
