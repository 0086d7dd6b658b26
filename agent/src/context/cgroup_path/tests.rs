//! Paths as runtimes make them, each with who makes it. `$A` and `$B` are ids of 64 digits, `$U` is the uid
//! of a pod, `$S` the same as a slice has it, `$K` an id of `BuildKit`.

use proptest::prelude::*;

use super::*;

const A: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
const B: &str = "b2a102854b4969b2ce98dc329c86b4fb2b06e4ad2cc8da9d8a7578c9cd2004a2";
const U: &str = "72f7f152-440c-66ac-9084-e0fc1d8a910c";
const K: &str = "osh60k53lspy0g0cjo94ur00h";

/// Who makes it, the path, and its containers from the outermost on; `pod` at the end is its level.
const SHAPES: &[(&str, &str, &str)] = &[
    // Docker (`WithCgroups` of moby).
    ("cgroupfs driver, v1 and v2", "/docker/$A", "docker $A"),
    ("systemd driver, v1 and v2", "/system.slice/docker-$A.scope", "docker $A"),
    (
        "rootless, systemd driver, v2",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-$A.scope",
        "docker $A",
    ),
    ("--cgroup-parent, cgroupfs driver", "/my/parent/$A", "unknown $A"),
    ("--cgroup-parent=/, cgroupfs driver", "/$A", "unknown $A"),
    ("--cgroup-parent, systemd driver", "/my.slice/my-own.slice/docker-$A.scope", "docker $A"),
    ("buildx's docker-container driver", "/docker/buildx/$A", "docker $A"),
    ("in Docker, cgroupfs driver, v1", "/docker/$A/docker/$B", "docker $A > docker $B"),
    ("in Docker, v2", "/system.slice/docker-$A.scope/docker/$B", "docker $A > docker $B"),
    ("the daemon of Docker in Docker, v2", "/docker/$A/init", "docker $A"),
    // BuildKit.
    ("in dockerd, cgroupfs driver", "/docker/buildkit/$K", "buildkit $K"),
    ("in dockerd, systemd driver", "/system.slice/system.slice:docker:$K", "buildkit $K"),
    ("buildkitd", "/buildkit/$K", "buildkit $K"),
    (
        "buildkitd in a pod, with its own cgroup namespace",
        "/kubepods/burstable/pod$U/$A/buildkit/$K",
        "unknown $A (Burstable $U) > buildkit $K",
    ),
    // containerd (`getCgroupsPath` of its CRI, `WithNamespacedCgroup`).
    ("ctr", "/default/redis-1", "containerd redis-1"),
    ("ctr -n k8s.io", "/k8s.io/$A", "containerd $A"),
    ("nerdctl, systemd driver", "/system.slice/nerdctl-$A.scope", "containerd $A"),
    ("nerdctl, cgroupfs driver", "/default/$A", "containerd $A"),
    (
        "CRI, systemd driver",
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod$S.slice/cri-containerd-$A.scope",
        "containerd $A (BestEffort $U)",
    ),
    (
        "CRI, systemd driver, guaranteed",
        "/kubepods.slice/kubepods-pod$S.slice/cri-containerd-$A.scope",
        "containerd $A (Guaranteed $U)",
    ),
    (
        "CRI without SystemdCgroup below a kubelet with it, v1",
        "/system.slice/containerd.service/kubepods-burstable-pod$S.slice:cri-containerd:$A",
        "containerd $A (Burstable $U)",
    ),
    (
        "the same, another hierarchy of v1",
        "/kubepods-besteffort-pod$S.slice:cri-containerd:$A",
        "containerd $A (BestEffort $U)",
    ),
    // Kubernetes, cgroupfs driver: the runtime does not show.
    ("containerd or dockershim", "/kubepods/burstable/pod$U/$A", "unknown $A (Burstable $U)"),
    ("the same", "/kubepods/besteffort/pod$U/$A", "unknown $A (BestEffort $U)"),
    ("the same, also k3s", "/kubepods/pod$U/$A", "unknown $A (Guaranteed $U)"),
    (
        "a static pod",
        "/kubepods/burstable/pod16a4a44fea21553f3c41d03e478379f0/$A",
        "unknown $A (Burstable 16a4a44fea21553f3c41d03e478379f0)",
    ),
    (
        "cri-dockerd, systemd driver",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod$S.slice/docker-$A.scope",
        "docker $A (Burstable $U)",
    ),
    ("a pod's level", "/kubepods/burstable/pod$U", "pod (Burstable $U)"),
    (
        "a pod's level, systemd driver",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod$S.slice",
        "pod (Burstable $U)",
    ),
    ("a class of service", "/kubepods/burstable", ""),
    ("a class of service, systemd driver", "/kubepods.slice/kubepods-burstable.slice", ""),
    ("all pods", "/kubepods.slice", ""),
    // kind, minikube, k3d: nodes that are containers.
    (
        "kind, v2, systemd driver",
        "/system.slice/docker-$A.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/\
         kubelet-kubepods-besteffort-pod$S.slice/cri-containerd-$B.scope",
        "docker $A > containerd $B (BestEffort $U)",
    ),
    (
        "kind, v1, cgroupfs driver",
        "/docker/$A/kubelet/kubepods/besteffort/pod$U/$B",
        "docker $A > unknown $B (BestEffort $U)",
    ),
    ("kind's kubelet", "/docker/$A/system.slice/kubelet.service", "docker $A"),
    (
        "minikube in Docker, k3d",
        "/docker/$A/kubepods/burstable/pod$U/$B",
        "docker $A > unknown $B (Burstable $U)",
    ),
    (
        "minikube in Podman",
        "/machine.slice/libpod-$A.scope/container/kubepods.slice/kubepods-pod$S.slice/crio-$B.scope",
        "podman $A > cri-o $B (Guaranteed $U)",
    ),
    (
        "a pod's level in a node",
        "/docker/$A/kubelet/kubepods/pod$U",
        "docker $A > pod (Guaranteed $U)",
    ),
    // CRI-O (`internal/config/cgmgr`).
    (
        "systemd driver",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod$S.slice/crio-$A.scope",
        "cri-o $A (Burstable $U)",
    ),
    (
        "systemd driver, crun",
        "/kubepods.slice/kubepods-pod$S.slice/crio-$A.scope/container",
        "cri-o $A (Guaranteed $U)",
    ),
    (
        "a sandbox without a process",
        "/kubepods.slice/kubepods-pod$S.slice/crio-$A",
        "sandbox cri-o $A (Guaranteed $U)",
    ),
    (
        "its monitor",
        "/kubepods.slice/kubepods-pod$S.slice/crio-conmon-$A.scope",
        "pod (Guaranteed $U)",
    ),
    ("its monitor, as configured by default", "/system.slice/crio-conmon-$A.scope", ""),
    ("cgroupfs driver", "/kubepods/burstable/pod$U/crio-$A", "cri-o $A (Burstable $U)"),
    // Podman (`getOCICgroupPath`).
    ("root, systemd, runc", "/machine.slice/libpod-$A.scope", "podman $A"),
    ("root, systemd, crun, v2", "/machine.slice/libpod-$A.scope/container", "podman $A"),
    ("its monitor", "/machine.slice/libpod-conmon-$A.scope", ""),
    (
        "in a pod of its own",
        "/machine.slice/machine-libpod_pod_$B.slice/libpod-$A.scope/container",
        "podman $A",
    ),
    (
        "rootless, v2",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-$A.scope/container",
        "podman $A",
    ),
    (
        "rootless, its monitor",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-conmon-$A.scope",
        "",
    ),
    (
        "rootless, before 2.0, hybrid",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/podman-6696.scope/$A",
        "podman $A",
    ),
    (
        "podman itself",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/podman-6696.scope",
        "",
    ),
    ("cgroupfs", "/libpod_parent/libpod-$A", "podman $A"),
    ("cgroupfs, in a pod", "/libpod_parent/$B/libpod-$A", "podman $A"),
    ("cgroupfs, the level of a pod", "/libpod_parent/$B", ""),
    ("cgroupfs, monitors", "/libpod_parent/conmon", ""),
    ("--cgroups=split, as Quadlet", "/system.slice/web.service/libpod-payload-$A", "podman $A"),
    ("the rest of such a unit", "/system.slice/web.service/runtime", ""),
    // systemd-nspawn.
    (
        "a scope of its own",
        "/machine.slice/machine-web\\x2d1.scope/payload",
        "systemd-nspawn web\\x2d1",
    ),
    (
        "a scope, v1",
        "/machine.slice/machine-web.scope/system.slice/cron.service",
        "systemd-nspawn web",
    ),
    ("nspawn itself", "/machine.slice/machine-web.scope/supervisor", ""),
    (
        "its unit",
        "/machine.slice/systemd-nspawn@web.service/payload/init.scope",
        "systemd-nspawn web",
    ),
    ("its unit, nspawn itself", "/machine.slice/systemd-nspawn@web.service/supervisor", ""),
    // LXC, LXD, Incus (`DEFAULT_PAYLOAD_CGROUP_PREFIX`).
    ("4.0 and later", "/lxc.payload.focal/system.slice/avahi-daemon.service", "lxc focal"),
    ("attached, where the payload has an init", "/lxc.payload.focal/.lxc", "lxc focal"),
    ("its monitor", "/lxc.monitor.focal", ""),
    ("3.1", "/lxc.payload/c1", "lxc c1"),
    ("3.1, its monitor", "/lxc.monitor/c1", ""),
    ("before, v1", "/lxc/x1/system.slice/snapd.service", "lxc x1"),
    ("before, where the name was taken", "/lxc/mysql-1/init.scope", "lxc mysql-1"),
    ("Proxmox", "/lxc/101/ns/init.scope", "lxc 101"),
    ("Docker in it", "/lxc.payload.c1/system.slice/docker-$A.scope", "lxc c1 > docker $A"),
    // Kata (`docs/design/host-cgroups.md`).
    ("Kubernetes, cgroupfs driver", "/kubepods/pod$U/kata_$A", "sandbox kata $A (Guaranteed $U)"),
    ("the threads beside the processors", "/kata_overhead/$A", ""),
    (
        "the path not expanded, v2",
        "/kubepods-burstable-pod$S.slice:cri-containerd:$A",
        "containerd $A (Burstable $U)",
    ),
    // libvirt (`virDomainGenerateMachineName`).
    ("LXC, systemd", "/machine.slice/machine-lxc\\x2d1268\\x2dsl.scope/libvirt", "libvirt-lxc sl"),
    (
        "LXC with an init",
        "/machine.slice/machine-lxc\\x2d50642\\x2dk8s\\x2dcp.scope/libvirt/system.slice/crio.service",
        "libvirt-lxc k8s\\x2dcp",
    ),
    (
        "LXC, before there were numbers",
        "/machine.slice/machine-lxc\\x2del_sirius.scope",
        "libvirt-lxc el_sirius",
    ),
    (
        "LXC, the same without machines",
        "/machine.slice/auto_sirius.libvirt-lxc",
        "libvirt-lxc auto_sirius",
    ),
    ("LXC, without systemd", "/machine/lxc-1268-sl.libvirt-lxc", "libvirt-lxc sl"),
    ("LXC, before 1.0.5", "/libvirt/lxc/busy", "libvirt-lxc busy"),
    ("a virtual machine", "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/vcpu0", ""),
    // Low-level runtimes by themselves: no cgroupsPath, systemd driver.
    ("runc", "/system.slice/runc-web-1.scope", "unknown web-1"),
    (
        "crun",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/crun-web.scope",
        "unknown web",
    ),
    // Our launcher (`launcher/cgroup.rs`).
    ("shrike container run --name", "/shrike/web-1", "shrike web-1"),
    ("its parent", "/shrike", ""),
    ("in a container", "/docker/$A/shrike/5f0c6d3b9e21", "docker $A > shrike 5f0c6d3b9e21"),
    // What is in a container's cgroup is of that container.
    ("a service", "/docker/$A/system.slice/foo.service", "docker $A"),
    ("an init", "/system.slice/docker-$A.scope/init.scope", "docker $A"),
    ("a user's session", "/lxc.payload.c1/user.slice/user-0.slice/session-1.scope", "lxc c1"),
    ("a process made it", "/docker/$A/docker/$B/default/x", "docker $A > docker $B > containerd x"),
    // The host.
    ("the root", "/", ""),
    ("nothing", "", ""),
    ("systemd", "/init.scope", ""),
    ("a service", "/system.slice/sshd.service", ""),
    ("an instance", "/system.slice/system-getty.slice/getty@tty1.service", ""),
    ("the daemon", "/system.slice/docker.service", ""),
    ("the daemon", "/system.slice/containerd.service", ""),
    ("machines", "/machine.slice", ""),
    ("a user", "/user.slice/user-1000.slice", ""),
    ("a session", "/user.slice/user-1000.slice/session-3.scope", ""),
    (
        "an application",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-docker-7.scope",
        "",
    ),
    ("too short an id", "/system.slice/docker-0f1e2d3c4b5a.scope", ""),
    ("Docker's parent", "/docker", ""),
    // As the kernel shows it (`proc_cgroup_show`).
    ("of a removed cgroup", "/docker/$A (deleted)", "docker $A"),
    ("out of a cgroup namespace", "/../docker-$A.scope", "docker $A"),
];

fn filled_in(text: &str) -> String {
    let slice = U.replace('-', "_");
    text.replace("$A", A).replace("$B", B).replace("$U", U).replace("$S", &slice).replace("$K", K)
}

/// As in the table.
fn shown(path: &str) -> String {
    let path = CgroupPath::new(path.as_bytes());
    let of_pod = |pod: Pod<'_>| format!(" ({} {})", pod.qos.name(), pod.uid);
    let container = |container: Container<'_>| {
        let sandbox = if container.is_sandbox { "sandbox " } else { "" };
        let id = String::from_utf8_lossy(container.id);
        let pod = container.pod.map(of_pod).unwrap_or_default();
        format!("{sandbox}{} {id}{pod}", container.runtime.name())
    };
    let pod = path.pod_level().map(|pod| format!("pod{}", of_pod(pod)));
    path.containers().map(container).chain(pod).collect::<Vec<_>>().join(" > ")
}

#[test]
fn paths_of_every_runtime_are_read() {
    for (who, path, expected) in SHAPES {
        let path = filled_in(path);
        assert_eq!(shown(&path), filled_in(expected), "{who}: {path}");
    }
}

#[test]
fn each_container_is_told_with_its_own_cgroup() {
    let path = filled_in("/docker/$A/init/docker/$B/x.service");
    let cgroups: Vec<_> = CgroupPath::new(path.as_bytes())
        .containers()
        .map(|container| String::from_utf8_lossy(container.cgroup).into_owned())
        .collect();
    assert_eq!(cgroups, [filled_in("/docker/$A"), filled_in("/docker/$A/init/docker/$B")]);
}

#[test]
fn a_name_from_within_stays_behind_the_container_that_made_it() {
    for fake in ["docker/$B", "docker-$B.scope", "kubepods/pod$U/$B", "lxc/host", "shrike/other"] {
        let path = filled_in(&format!("/docker/$A/{fake}"));
        let mut containers = CgroupPath::new(path.as_bytes()).containers();
        assert_eq!(containers.next().unwrap().id, A.as_bytes(), "{path}");
        assert!(containers.next().is_some() && containers.next().is_none(), "{path}");
    }
}

/// Names from the table, names from anywhere, in any order.
fn any_path() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<String> = SHAPES
        .iter()
        .flat_map(|(_, path, _)| path.split('/').map(filled_in).collect::<Vec<_>>())
        .collect();
    let name = prop_oneof![
        4 => proptest::sample::select(known).prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..80),
    ];
    proptest::collection::vec(name, 0..24).prop_map(|names| names.join(&b'/'))
}

/// Whether `part` is a piece of `whole`'s own memory.
fn is_within(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

fn check(path: &[u8]) {
    let mut done = 0;
    for container in CgroupPath::new(path).containers() {
        assert!(!container.id.is_empty() && is_within(container.id, path));
        assert!(!container.id.contains(&b'/'));
        assert!(path.starts_with(container.cgroup) && container.cgroup.len() > done);
        assert!(is_within(container.id, container.cgroup));
        assert!(container.pod.is_none_or(|pod| is_within(pod.uid.0, container.cgroup)));
        done = container.cgroup.len();
    }
    assert!(CgroupPath::new(path).pod_level().is_none_or(|pod| is_within(pod.uid.0, path)));
}

proptest! {
    #[test]
    fn any_bytes_are_read(path in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&path);
    }

    #[test]
    fn any_mixture_of_names_is_read(path in any_path()) {
        check(&path);
    }

    #[test]
    fn what_follows_changes_nothing_before(path in any_path(), rest in any_path()) {
        let longer = [path.as_slice(), b"/", rest.as_slice()].concat();
        // A nspawn that is its own supervisor, or the mark of a removed cgroup, speak of what is before.
        prop_assume!(!rest.starts_with(b"supervisor") && !path.ends_with(b" (deleted)"));
        let outer: Vec<_> = CgroupPath::new(&path).containers().map(|c| c.id).collect();
        let all: Vec<_> = CgroupPath::new(&longer).containers().map(|c| c.id).collect();
        prop_assert!(all.starts_with(&outer));
    }
}
