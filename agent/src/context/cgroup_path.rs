//! What the path of a cgroup says: of which container it is, which runtime made that, and in which pod
//! of Kubernetes it is. Runtimes have no registry in the kernel; the names that they give to their
//! cgroups are what tells containers apart at once, without a question to anyone.
//!
//! # What can be trusted
//!
//! A path is a claim, and each part of it is made by who could write to the cgroup above. Down to the
//! outermost container that is root of the host, or a user below `user@UID.service`, so
//! [`CgroupPath::containers`] tells the outermost one first. What follows is made from within: by a
//! runtime in there (Docker in Docker, the nodes of kind), or by a process that calls a cgroup
//! `docker/<64 digits>` to look like another container. The two look the same: whether there is a
//! container is told by the kernel (namespaces, root, who entered), never by the path. So this gives
//! the whole chain, and the caller decides how much of it to believe. An id that stands further in
//! never names a container of the host.
//!
//! No name that is made within a container's cgroup takes what is in it out of the container, but for
//! one: an nspawn that gave its payload no cgroup of its own (some hierarchies of v1) can be left for a
//! `supervisor`.
//!
//! # What is no container
//!
//! Slices, services, sessions, the scopes of `conmon`, the levels of a kubelet (`kubepods`, classes of
//! service, pods), LXC's monitors, nspawn's supervisor, and virtual machines.

mod pod;

pub(crate) use pod::{Pod, Qos};

/// The path of a cgroup from the root of its hierarchy, of any version, as in `/proc/PID/cgroup`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct CgroupPath<'a>(&'a [u8]);

/// A container, as a path names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Container<'a> {
    /// Who made it.
    pub(crate) runtime: Runtime,
    /// Its id or name, as it stands in the path: what systemd escapes (`\x2d`) is still escaped.
    pub(crate) id: &'a [u8],
    /// The pod that it is in.
    pub(crate) pod: Option<Pod<'a>>,
    /// Whether it is certain to be the sandbox of a pod. Most runtimes give it a name like any other's.
    pub(crate) is_sandbox: bool,
    /// Its own cgroup: what of the path leads to it.
    pub(crate) cgroup: &'a [u8],
}

/// What made a container, as far as a name tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Runtime {
    /// A step of a build.
    BuildKit,
    /// Through its interface for Kubernetes, `ctr` or `nerdctl`.
    Containerd,
    CriO,
    Docker,
    /// A virtual machine with the containers of a pod in it: what runs in its cgroup is the machine.
    Kata,
    LibvirtLxc,
    /// LXC, LXD and Incus, which differ in nothing here.
    Lxc,
    Podman,
    /// The launcher of this project.
    Shrike,
    SystemdNspawn,
    /// The cgroup has the id only, or the name of the low-level runtime: a kubelet and a runtime with
    /// the cgroupfs driver, a parent of the user's choice, bare `runc` or `crun`.
    Unknown,
}

/// The containers that a path leads through, the outermost first.
#[derive(Clone, Debug)]
pub(crate) struct Containers<'a> {
    path: &'a [u8],
    /// How much of the path is done.
    done: usize,
    parent: Parent,
    /// The pod that the rest is in.
    pod: Option<Pod<'a>>,
}

/// What the cgroups above say about a name that does not speak for itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Parent {
    /// Where nothing but containers' keepers is: a bare id is none.
    Aside,
    BuildKit,
    /// A namespace of containerd.
    Containerd,
    Docker,
    Kubepods(Qos),
    Libvirt,
    LibvirtLxc,
    Lxc,
    Other,
    /// The slice of a pod.
    PodSlice,
    /// The scope that an early rootless Podman runs in.
    Podman,
    Shrike,
    /// The hierarchy's root, or a container.
    Top,
}

/// The prefixes of systemd units, `PREFIX-ID.scope`, by runtime.
const UNITS: [(&[u8], Runtime); 7] = [
    (b"cri-containerd", Runtime::Containerd),
    (b"crio", Runtime::CriO),
    (b"crun", Runtime::Unknown),
    (b"docker", Runtime::Docker),
    (b"libpod", Runtime::Podman),
    (b"nerdctl", Runtime::Containerd),
    (b"runc", Runtime::Unknown),
];

/// Drivers of libvirt that run virtual machines.
const HYPERVISORS: [&[u8]; 3] = [b"ch", b"qemu", b"xen"];

/// How systemd writes a dash in a name.
const DASH: &[u8] = b"\\x2d";

/// What `/proc/PID/cgroup` appends to the path of a cgroup that is removed already.
const DELETED: &[u8] = b" (deleted)";

impl<'a> CgroupPath<'a> {
    /// Takes a path, with or without its first slash.
    pub(crate) fn new(path: &'a [u8]) -> Self {
        Self(path.strip_suffix(DELETED).unwrap_or(path))
    }

    /// The containers that it leads through, the outermost first: see above for which are to be trusted.
    /// The cgroup is of the last one, whatever else stands behind.
    pub(crate) fn containers(self) -> Containers<'a> {
        Containers { path: self.0, done: 0, parent: Parent::Top, pod: None }
    }

    /// The pod whose level it is, or whose it is without being of a container in there.
    #[cfg(test)]
    fn pod_level(self) -> Option<Pod<'a>> {
        let mut containers = self.containers();
        while containers.next().is_some() {}
        containers.pod
    }
}

impl<'a> Containers<'a> {
    /// The next name of the path.
    fn step(&mut self) -> Option<&'a [u8]> {
        let rest = self.path.get(self.done..)?;
        let start = rest.iter().position(|&byte| byte != b'/')?;
        let name = rest.get(start..)?.split(|&byte| byte == b'/').next()?;
        self.done += start + name.len();
        Some(name)
    }

    /// Whether the next name is this one.
    fn is_before(&self, name: &[u8]) -> bool {
        self.clone().step() == Some(name)
    }

    fn container(&self, name: &'a [u8]) -> Option<(Runtime, &'a [u8])> {
        let machine = || machine(name).filter(|_| !self.is_before(b"supervisor"));
        scope(name)
            .or_else(|| unexpanded(name))
            .or_else(machine)
            .or_else(|| folder(name))
            .or_else(|| self.parent.child(name))
    }
}

impl<'a> Iterator for Containers<'a> {
    type Item = Container<'a>;

    fn next(&mut self) -> Option<Container<'a>> {
        while let Some(name) = self.step() {
            let above = self.parent;
            self.pod = above.pod(name).or(self.pod);
            let Some((runtime, id)) = self.container(name) else {
                self.parent = above.enter(name);
                continue;
            };
            self.parent = Parent::Top;
            // CRI-O's sandbox without a process: `CreateSandboxCgroup` makes a folder, where each
            // container has a scope.
            let is_folder = above == Parent::PodSlice && !name.ends_with(b".scope");
            return Some(Container {
                runtime,
                id,
                pod: self.pod.take(),
                is_sandbox: runtime == Runtime::Kata || runtime == Runtime::CriO && is_folder,
                cgroup: self.path.get(..self.done)?,
            });
        }
        None
    }
}

impl Parent {
    /// What the cgroup `name` in here is to those below it.
    fn enter(self, name: &[u8]) -> Self {
        match (self, name) {
            (_, b"docker") => Self::Docker,
            (_, b"buildkit") => Self::BuildKit,
            (Self::Top, b"default" | b"k8s.io") => Self::Containerd,
            (Self::Top, b"shrike") => Self::Shrike,
            (Self::Libvirt, b"lxc") => Self::LibvirtLxc,
            (_, b"libvirt") => Self::Libvirt,
            (_, b"lxc" | b"lxc.payload") => Self::Lxc,
            (_, b"kata_overhead" | b"libpod_parent" | b"lxc.monitor") => Self::Aside,
            (_, b"kubepods") => Self::Kubepods(Qos::Guaranteed),
            (Self::Kubepods(_), b"burstable") => Self::Kubepods(Qos::Burstable),
            (Self::Kubepods(_), b"besteffort") => Self::Kubepods(Qos::BestEffort),
            _ if name.starts_with(b"podman-") && name.ends_with(b".scope") => Self::Podman,
            _ if Pod::of_slice(name).is_some() => Self::PodSlice,
            // A parent that was asked for is often below the usual one, as `/docker/buildx`.
            (Self::Docker, _) => Self::Docker,
            _ => Self::Other,
        }
    }

    /// The pod whose level this is, or whose slice it is told with.
    fn pod(self, name: &[u8]) -> Option<Pod<'_>> {
        match self {
            Self::Kubepods(qos) => Pod::of_folder(name, qos),
            _ => Pod::of_slice(name.split(|&byte| byte == b':').next()?),
        }
    }

    /// The container that is in here by this name.
    fn child(self, name: &[u8]) -> Option<(Runtime, &[u8])> {
        let (runtime, is_id) = match self {
            Self::Aside => return None,
            Self::BuildKit => (Runtime::BuildKit, is_build(name)),
            Self::Containerd => (Runtime::Containerd, is_name(name)),
            Self::Docker => (Runtime::Docker, is_digest(name)),
            Self::LibvirtLxc => (Runtime::LibvirtLxc, true),
            Self::Lxc => (Runtime::Lxc, true),
            Self::Podman => (Runtime::Podman, is_digest(name)),
            Self::Shrike => (Runtime::Shrike, is_name(name)),
            Self::Kubepods(_) | Self::Libvirt | Self::Other | Self::PodSlice | Self::Top => {
                (Runtime::Unknown, is_digest(name))
            }
        };
        is_id.then_some((runtime, name))
    }
}

/// `PREFIX-ID.scope`, as the systemd driver names it (`docs/systemd.md` of runc).
fn scope(name: &[u8]) -> Option<(Runtime, &[u8])> {
    let stem = name.strip_suffix(b".scope")?;
    UNITS.iter().find_map(|&(prefix, runtime)| {
        unit(runtime, stem.strip_prefix(prefix)?.strip_prefix(b"-")?)
    })
}

/// `SLICE:PREFIX:ID`, what the systemd driver is told, as the name of a cgroup: the runtime below it has
/// the cgroupfs driver, or is Kata or `BuildKit`, who do not expand it.
fn unexpanded(name: &[u8]) -> Option<(Runtime, &[u8])> {
    let mut parts = name.splitn(3, |&byte| byte == b':').skip(1);
    let (prefix, id) = (parts.next()?, parts.next()?);
    let &(_, runtime) = UNITS.iter().find(|(own, _)| *own == prefix)?;
    unit(runtime, id)
}

/// The container behind a unit's prefix.
fn unit(runtime: Runtime, id: &[u8]) -> Option<(Runtime, &[u8])> {
    match runtime {
        Runtime::Unknown => is_name(id).then_some((runtime, id)),
        _ if is_digest(id) => Some((runtime, id)),
        Runtime::Docker if is_build(id) => Some((Runtime::BuildKit, id)),
        _ => sandbox(id),
    }
}

/// A folder that the cgroupfs driver, LXC or libvirt has made, whose name is enough.
fn folder(name: &[u8]) -> Option<(Runtime, &[u8])> {
    let digest = |prefix: &[u8], runtime| {
        name.strip_prefix(prefix).filter(|id| is_digest(id)).map(|id| (runtime, id))
    };
    digest(b"crio-", Runtime::CriO)
        .or_else(|| digest(b"libpod-", Runtime::Podman))
        .or_else(|| digest(b"libpod-payload-", Runtime::Podman))
        .or_else(|| sandbox(name))
        .or_else(|| Some((Runtime::Lxc, filled(name.strip_prefix(b"lxc.payload.")?)?)))
        .or_else(|| {
            let stem = name.strip_suffix(b".libvirt-lxc")?;
            let guest = guest(stem, b"-").map_or(stem, |(_, guest)| guest);
            Some((Runtime::LibvirtLxc, filled(guest)?))
        })
}

/// `kata_ID`, by which Kata keeps the sandbox out of the sight of cAdvisor.
fn sandbox(name: &[u8]) -> Option<(Runtime, &[u8])> {
    name.strip_prefix(b"kata_").filter(|id| is_digest(id)).map(|id| (Runtime::Kata, id))
}

/// The unit of a machine of systemd-machined that is a container: a scope of its own, or nspawn's
/// service.
fn machine(name: &[u8]) -> Option<(Runtime, &[u8])> {
    let service = name
        .strip_prefix(b"systemd-nspawn@")
        .and_then(|name| filled(name.strip_suffix(b".service")?));
    if let Some(name) = service {
        return Some((Runtime::SystemdNspawn, name));
    }
    let name = filled(name.strip_prefix(b"machine-")?.strip_suffix(b".scope")?)?;
    match guest(name, DASH) {
        Some((b"lxc", guest)) => return Some((Runtime::LibvirtLxc, guest)),
        Some((driver, _)) if HYPERVISORS.contains(&driver) => return None,
        _ => {}
    }
    // The first libvirt with machines had no number in there.
    let guest = name.strip_prefix(b"lxc").and_then(|rest| filled(rest.strip_prefix(DASH)?));
    Some(guest.map_or((Runtime::SystemdNspawn, name), |guest| (Runtime::LibvirtLxc, guest)))
}

/// The driver and the name in `DRIVER-NUMBER-NAME`, as libvirt names its machines
/// (`virDomainGenerateMachineName`).
fn guest<'a>(name: &'a [u8], dash: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = find(name, dash)?;
    let (driver, rest) = name.split_at_checked(at)?;
    let rest = rest.strip_prefix(dash)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let guest = rest.get(digits..)?.strip_prefix(dash)?;
    (digits > 0).then_some((driver, filled(guest)?))
}

fn find(name: &[u8], part: &[u8]) -> Option<usize> {
    name.windows(part.len()).position(|window| window == part)
}

fn filled(name: &[u8]) -> Option<&[u8]> {
    (!name.is_empty()).then_some(name)
}

/// The ids of Docker, Podman, CRI-O and containerd's interface for Kubernetes.
fn is_digest(id: &[u8]) -> bool {
    id.len() == 64 && id.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The ids of `BuildKit` (`identity.NewID`).
fn is_build(id: &[u8]) -> bool {
    id.len() == 25 && id.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
}

/// What containerd, runc, and our launcher take for a name, and what a uid has in it.
fn is_name(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.+-".contains(byte))
}

impl Runtime {
    /// As Falco's `container.type` has it, where that knows the runtime.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BuildKit => "buildkit",
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
            Self::Kata => "kata",
            Self::LibvirtLxc => "libvirt-lxc",
            Self::Lxc => "lxc",
            Self::Podman => "podman",
            Self::Shrike => "shrike",
            Self::SystemdNspawn => "systemd-nspawn",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests;
