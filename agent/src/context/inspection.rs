//! What of a container's boundary only the files of `/proc` and the cgroups tell: which paths of the host it
//! was given, its limits, the label of its process. Read when the boundary is recorded, of its first process.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use shrike_common::{Pid, StartTime};

use super::cgroup::{self, Line};
use super::mountinfo::{MountInfo, below};
use super::process::Folder;
use super::runtime::Endpoint;

/// What was found.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Inspection {
    /// The host's paths that are mounted in it, but for those that runtimes manage, and their sockets.
    pub(crate) host_paths: Vec<Vec<u8>>,
    /// The sockets of container runtimes that are reachable below such paths.
    pub(crate) runtime_sockets: Vec<&'static str>,
    /// Whether its memory, and the number of its tasks, have a limit anywhere above.
    pub(crate) is_memory_limited: bool,
    pub(crate) is_pids_limited: bool,
    /// The label of the security module; `None` if none has labels.
    pub(crate) label: Option<String>,
    /// That of the host's first process.
    pub(crate) host_label: Option<String>,
}

/// Where containers are looked at.
#[derive(Debug)]
pub(crate) struct Inspector {
    proc: PathBuf,
    cgroups: PathBuf,
}

/// File systems of the kernel's own, which every container has.
const PSEUDO: [&[u8]; 18] = [
    b"autofs",
    b"binfmt_misc",
    b"bpf",
    b"cgroup",
    b"cgroup2",
    b"configfs",
    b"debugfs",
    b"devpts",
    b"efivarfs",
    b"fusectl",
    b"hugetlbfs",
    b"mqueue",
    b"nsfs",
    b"proc",
    b"pstore",
    b"securityfs",
    b"sysfs",
    b"tracefs",
];

/// What runtimes and kubelets give to every container: its name, its hosts, its volumes.
const MANAGED: [&[u8]; 11] = [
    b"/run/containerd",
    b"/run/containers",
    b"/run/crio",
    b"/run/docker",
    b"/run/shrike/containers",
    b"/var/lib/containerd",
    b"/var/lib/containers",
    b"/var/lib/docker",
    b"/var/lib/kubelet/pods",
    b"/var/lib/rancher",
    b"/var/lib/shrike",
];

/// Devices that are mounted one by one where a user namespace does not let them be made.
const DEVICES: [&[u8]; 7] = [
    b"/dev/console",
    b"/dev/full",
    b"/dev/null",
    b"/dev/random",
    b"/dev/tty",
    b"/dev/urandom",
    b"/dev/zero",
];

/// Where runtimes listen that nobody asks about containers, and where `/var/run` is a folder of its own.
const UNASKED: [&str; 5] = [
    "/run/buildkit/buildkitd.sock",
    "/run/cri-dockerd.sock",
    "/run/dockershim.sock",
    "/var/run/crio/crio.sock",
    "/var/run/docker.sock",
];

impl Inspector {
    /// Of this host.
    pub(crate) fn of_host() -> Self {
        Self { proc: "/proc".into(), cgroups: "/sys/fs/cgroup".into() }
    }

    /// Looks at the container of the process with this pid that started at that time.
    pub(crate) fn inspect(&self, pid: Pid, start: StartTime) -> io::Result<Inspection> {
        let process = self.proc.join(pid.0.to_string());
        let host = MountInfo::read(&self.proc.join("1/mountinfo"))?;
        let own = MountInfo::read(&process.join("mountinfo"))?;
        let given: Vec<Vec<u8>> = own
            .iter()
            .filter(|mount| mount.target != b"/" && !PSEUDO.contains(&mount.fs_type.as_slice()))
            .filter_map(|mount| host.path_of(mount))
            .collect();
        let is_within =
            |path: &[u8], folders: &[&[u8]]| folders.iter().any(|at| below(path, at).is_some());
        let exists = |socket: &str| self.proc.join("1/root").join(&socket[1..]).exists();
        let reaches = |socket: &&str| {
            given.iter().any(|path| below(socket.as_bytes(), path).is_some()) && exists(socket)
        };
        let cgroup = fs::read(process.join("cgroup"))?;
        let is_limited = |controller, files| self.is_limited(&cgroup, controller, files);
        let found = Inspection {
            runtime_sockets: sockets().filter(reaches).collect(),
            host_paths: given
                .iter()
                .filter(|path| !is_within(path, &MANAGED) && !is_within(path, &DEVICES))
                // Told by itself.
                .filter(|path| !sockets().any(|socket| socket.as_bytes() == path.as_slice()))
                .cloned()
                .collect(),
            is_memory_limited: is_limited("memory", ["memory.max", "memory.limit_in_bytes"]),
            is_pids_limited: is_limited("pids", ["pids.max", "pids.max"]),
            label: label(&process),
            host_label: label(&self.proc.join("1")),
        };
        // Afterwards: if it is there still, nobody else had its pid before.
        let still = Folder::of(&self.proc, pid, start);
        still.map(|_| found).ok_or_else(|| io::Error::new(ErrorKind::NotFound, "it has ended"))
    }

    /// Whether a cgroup, or one above it, has a limit: in the unified hierarchy, or that of the controller.
    fn is_limited(&self, cgroups: &[u8], controller: &str, [v2, v1]: [&str; 2]) -> bool {
        cgroup::lines(cgroups).any(|Line { hierarchy, controllers, path }| {
            let mut names = controllers.split(|&byte| byte == b',');
            let (root, file) = if hierarchy == cgroup::UNIFIED {
                (self.cgroups.clone(), v2)
            } else if names.any(|name| name == controller.as_bytes()) {
                (self.cgroups.join(OsStr::from_bytes(controllers)), v1)
            } else {
                return false;
            };
            let own = root.join(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)));
            own.ancestors()
                .take_while(|at| at.starts_with(&root))
                .any(|at| fs::read_to_string(at.join(file)).is_ok_and(|text| is_limit(&text)))
        })
    }
}

/// Where runtimes listen.
fn sockets() -> impl Iterator<Item = &'static str> {
    Endpoint::paths().chain(UNASKED)
}

/// What the security module knows a process by, which has this folder.
fn label(process: &Path) -> Option<String> {
    let text = fs::read_to_string(process.join("attr/current")).ok()?;
    let label = text.trim_end_matches(['\0', '\n']);
    (!label.is_empty()).then(|| label.to_owned())
}

/// What of a label decides: the profile of `AppArmor`, which is followed by its mode unless there is none, or the
/// type of a context of `SELinux`. Names of profiles have colons as well.
fn domain(label: &str) -> &str {
    match label.rsplit_once(" (") {
        Some((profile, _mode)) => profile,
        None => label.split(':').nth(2).unwrap_or(label),
    }
}

/// Version 1 has a number where there is no limit: the greatest multiple of a page.
fn is_limit(text: &str) -> bool {
    const NONE: u64 = 1 << 62;
    text.trim().parse().is_ok_and(|limit: u64| limit < NONE)
}

impl Inspection {
    /// Whether the label confines the process: `AppArmor` and `SELinux` have their ways to say that it does
    /// not, and what the host's first process has is nothing that a container is held by. `kernel` is all that
    /// `SELinux` says without a policy.
    pub(crate) fn is_confined(&self) -> Option<bool> {
        const FREE: [&str; 6] =
            ["initrc_t", "kernel", "kernel_t", "spc_t", "unconfined", "unconfined_t"];
        let own = domain(self.label.as_deref()?);
        Some(!FREE.contains(&own) && self.host_label.as_deref().map(domain) != Some(own))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// When the first process of the container has started.
    const START: StartTime = StartTime(900_000_000);

    /// A host with one container, whose first process is 7.
    fn host(dir: &Path, mounts: &str, cgroup: &str, label: &str) -> Inspector {
        let write = |file: &str, text: &str| {
            let path = dir.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/1/mountinfo", "1 0 8:1 / / rw - ext4 d rw\n2 1 0:5 / /run rw - tmpfs t rw\n");
        write("proc/7/mountinfo", mounts);
        write("proc/7/cgroup", cgroup);
        write("proc/7/stat", "7 (x) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 90 0 0\n");
        write("proc/7/attr/current", label);
        write("cgroup/pod/memory.max", "1048576\n");
        write("cgroup/pod/c/memory.max", "max\n");
        write("cgroup/pod/c/pids.max", "max\n");
        write("cgroup/pids/v1/pids.max", "100\n");
        write("cgroup/memory/v1/memory.limit_in_bytes", "9223372036854771712\n");
        fs::create_dir_all(dir.join("proc/1/root/run")).unwrap();
        UnixListener::bind(dir.join("proc/1/root/run/docker.sock")).unwrap();
        Inspector { proc: dir.join("proc"), cgroups: dir.join("cgroup") }
    }

    #[test]
    fn what_the_host_gives_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = "1 0 0:9 / / rw - overlay o rw\n2 1 0:10 / /proc rw - proc proc rw\n\
            3 1 8:1 /var/lib/docker/containers/x/hosts /etc/hosts rw - ext4 d rw\n\
            4 1 8:1 /srv/data /data rw - ext4 d rw\n5 1 0:5 / /host/run rw - tmpfs t rw\n\
            6 1 0:5 /docker.sock /docker.sock rw - tmpfs t rw\n";
        let inspector = host(dir.path(), mounts, "0::/pod/c\n", "docker-default (enforce)\n");
        let found = inspector.inspect(Pid(7), START).unwrap();
        assert_eq!(found.host_paths, [b"/srv/data".to_vec(), b"/run".to_vec()]);
        assert_eq!(found.runtime_sockets, ["/run/docker.sock"]);
        assert!(found.is_memory_limited && !found.is_pids_limited);
        assert_eq!(found.is_confined(), Some(true));
    }

    /// Whoever is asked about containers makes them as well.
    #[test]
    fn every_socket_that_is_asked_is_a_runtimes() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = "2 1 0:5 / /host rw - tmpfs t rw\n";
        let inspector = host(dir.path(), mounts, "0::/\n", "");
        for socket in ["k0s/containerd.sock", "crio/crio.sock"] {
            let path = dir.path().join("proc/1/root/run").join(socket);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = inspector.inspect(Pid(7), START).unwrap().runtime_sockets;
        let expected = ["/run/crio/crio.sock", "/run/k0s/containerd.sock", "/run/docker.sock"];
        assert_eq!(found, expected);
        let once: BTreeSet<_> = sockets().collect();
        assert_eq!(once.len(), sockets().count());
    }

    #[test]
    fn hierarchies_of_their_own_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = "5:pids:/v1\n4:memory:/v1\n0::/\n";
        let inspector = host(dir.path(), "1 0 0:9 / / rw - overlay o rw\n", cgroup, "unconfined\n");
        let found = inspector.inspect(Pid(7), START).unwrap();
        assert!(!found.is_memory_limited && found.is_pids_limited);
        assert_eq!((found.is_confined(), found.host_paths.len()), (Some(false), 0));
    }

    #[test]
    fn who_has_the_pid_of_one_that_has_ended_is_not_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let inspector = host(dir.path(), "1 0 0:9 / / rw - overlay o rw\n", "0::/\n", "");
        assert!(inspector.inspect(Pid(7), StartTime(START.0 + 1)).is_ok(), "within its tick");
        for (pid, start) in [(7, StartTime(START.0 - 1)), (8, START)] {
            let error = inspector.inspect(Pid(pid), start).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
    }

    #[test]
    fn labels_that_do_not_confine_are_known() {
        let is_confined = |label: &str| {
            Inspection { label: Some(label.into()), ..Inspection::default() }.is_confined()
        };
        assert_eq!(is_confined("system_u:system_r:container_t:s0:c1,c2"), Some(true));
        assert_eq!(is_confined("system_u:system_r:spc_t:s0"), Some(false));
        assert_eq!(is_confined("kernel"), Some(false));
        assert_eq!(is_confined("unconfined"), Some(false));
        // One of LXD, whose own namespace of profiles has none.
        let stacked = "lxd-c_</var/lib/lxd>//&:lxd-c_<var-lib-lxd>:unconfined (enforce)";
        assert_eq!(is_confined(stacked), Some(true));
        let of_host = Inspection {
            label: Some("u:r:host_t:s0:c1".into()),
            host_label: Some("u:r:host_t:s0".into()),
            ..Inspection::default()
        };
        assert_eq!(of_host.is_confined(), Some(false));
        assert_eq!(Inspection::default().is_confined(), None);
    }
}
