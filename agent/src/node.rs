//! Facts of the node that decide what the agent can do there.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;
use nix::sys::utsname::uname;
use shrike_common::{Namespaces, NsId, NsType};

/// The release of a kernel, as `uname -r` shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct KernelRelease {
    text: String,
    version: KernelVersion,
}

/// The first two numbers of a kernel's version.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct KernelVersion {
    major: u32,
    minor: u32,
}

/// Why the kernel's version is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReleaseError {
    #[error("uname failed")]
    Uname(#[from] Errno),
    #[error("{0:?} is not the release of a kernel")]
    Malformed(String),
}

impl KernelRelease {
    /// The oldest kernel that has everything the probes use.
    pub(crate) const FLOOR: KernelVersion = KernelVersion { major: 6, minor: 1 };

    /// The running kernel's.
    pub(crate) fn running() -> Result<Self, ReleaseError> {
        uname()?.release().to_string_lossy().parse()
    }

    /// Its version.
    pub(crate) fn version(&self) -> KernelVersion {
        self.version
    }

    /// Whether the probes can run there.
    pub(crate) fn is_supported(&self) -> bool {
        self.version >= Self::FLOOR
    }
}

impl FromStr for KernelRelease {
    type Err = ReleaseError;

    fn from_str(text: &str) -> Result<Self, ReleaseError> {
        let malformed = || ReleaseError::Malformed(text.to_owned());
        let mut numbers =
            text.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().ok());
        let mut number = || numbers.next().flatten().ok_or_else(malformed);
        let version = KernelVersion { major: number()?, minor: number()? };
        Ok(Self { text: text.to_owned(), version })
    }
}

impl fmt::Display for KernelRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The active LSMs, in the order in which they are asked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct LsmList(Vec<String>);

impl LsmList {
    /// Where the kernel tells them, if securityfs is mounted.
    pub(crate) const PATH: &str = "/sys/kernel/security/lsm";

    /// Reads the list.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        fs::read_to_string(path).map(|text| Self::parse(&text))
    }

    /// Reads the list from the text of that file.
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.trim_end().split(',').map(str::to_owned).collect())
    }

    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether an LSM is among them.
    pub(crate) fn has(&self, lsm: &str) -> bool {
        self.names().any(|name| name == lsm)
    }

    /// Whether BPF programs are asked.
    pub(crate) fn has_bpf(&self) -> bool {
        self.has("bpf")
    }

    /// The LSMs that are asked before BPF programs: what these deny, the programs never see.
    pub(crate) fn before_bpf(&self) -> impl Iterator<Item = &str> {
        self.names().take_while(|&name| name != "bpf")
    }
}

/// Why the host's namespaces are not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error("cannot read {}; it needs root, or CAP_SYS_PTRACE", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "process {0} is a container's, not the host's: shrike must run in the host's pid namespace \
         (hostPID: true, or --pid host)"
    )]
    NotHost(u32),
}

/// The namespaces of the host, read from `proc`: those of its first process; where even root may not
/// look at that one, of the kernel's first thread, which are the initial ones.
pub(crate) fn host_namespaces(proc: &Path) -> Result<Namespaces, HostError> {
    const INIT: u32 = 1;
    const KTHREADD: u32 = 2;
    namespaces_of(proc, INIT).or_else(|error| namespaces_of(proc, KTHREADD).map_err(|_| error))
}

/// The root of the host, also from within a container that sees the host's processes. Where the first process is
/// hidden, the kernel's own show it, as for its namespaces.
pub(crate) fn host_root() -> &'static Path {
    let roots = ["/proc/1/root", "/proc/2/root"].map(Path::new);
    let is_seen = |root: &&Path| fs::metadata(root).is_ok();
    // What needs it says what it cannot read, rather than take another root for the host's.
    roots.into_iter().find(is_seen).unwrap_or(Path::new("/proc/1/root"))
}

fn namespaces_of(proc: &Path, pid: u32) -> Result<Namespaces, HostError> {
    /// The initial pid namespace (`PROC_PID_INIT_INO`).
    const INITIAL_PID: NsId = NsId(0xEFFF_FFFC);
    let mut host = Namespaces::default();
    for ty in NsType::ALL {
        let path = proc.join(pid.to_string()).join("ns").join(ty.name());
        let data =
            fs::metadata(&path).map_err(|source| HostError::Read { path: path.clone(), source })?;
        // The kernel numbers namespaces with 32 bits.
        *host.get_mut(ty) = NsId(u32::try_from(data.ino()).unwrap_or_default());
    }
    if host.pid == INITIAL_PID { Ok(host) } else { Err(HostError::NotHost(pid)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_releases() {
        for (text, supported) in [
            ("6.1.0-56-cloud-amd64", true),
            ("7.3.4+deb13-cloud-amd64", true),
            ("6.0.19", false),
            ("5.15.0-1", false),
            ("10.0", true),
        ] {
            let release: KernelRelease = text.parse().unwrap();
            assert_eq!((release.is_supported(), release.to_string().as_str()), (supported, text));
        }
        for text in ["", "six", "6", "-6.1"] {
            assert!(text.parse::<KernelRelease>().is_err(), "{text:?}");
        }
        assert_eq!(KernelRelease::FLOOR.to_string(), "6.1");
        assert!(KernelRelease::running().is_ok());
    }

    #[test]
    fn a_containers_first_process_is_not_the_hosts() {
        let proc = tempfile::tempdir().unwrap();
        for pid in ["1", "2"] {
            let dir = proc.path().join(pid).join("ns");
            fs::create_dir_all(&dir).unwrap();
            for ty in NsType::ALL {
                fs::write(dir.join(ty.name()), "").unwrap();
            }
        }
        let error = host_namespaces(proc.path()).unwrap_err().to_string();
        assert!(error.starts_with("process 1 is a container's"), "{error}");
        fs::remove_dir_all(proc.path().join("1")).unwrap();
        let error = host_namespaces(proc.path()).unwrap_err().to_string();
        assert!(error.contains("1/ns/mnt; it needs root"), "{error}");
    }

    #[test]
    fn knows_who_is_asked_before_bpf() {
        let list = LsmList::parse("lockdown,capability,apparmor,bpf,ima\n");
        assert!(list.has_bpf());
        assert_eq!(list.before_bpf().collect::<Vec<_>>(), ["lockdown", "capability", "apparmor"]);
        assert!(!LsmList::parse("lockdown,capability\n").has_bpf());
        assert!(!LsmList::parse("").has_bpf());
    }
}
