//! What the kernel must be and have.

use super::{Roots, unknown};
use crate::doctor::report::Check;
use crate::node::KernelRelease;

/// Examines them all.
pub(super) fn examine(roots: &Roots) -> Vec<Check> {
    vec![
        architecture(roots),
        release(roots),
        btf(roots),
        ftrace(roots),
        cgroup(roots),
        bpf_fs(roots),
    ]
}

/// Without it the agent watches all the same, but nothing outlives it.
fn bpf_fs(roots: &Roots) -> Check {
    const NAME: &str = "bpffs";
    const PATH: &str = "/sys/fs/bpf";
    let mounts = match roots.read_proc("self/mounts") {
        Ok(mounts) => mounts,
        Err(error) => return unknown(NAME, "/proc/self/mounts", &error, "mount /proc"),
    };
    let is_it = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(PATH) && fields.next() == Some("bpf")
    };
    if mounts.lines().any(is_it) {
        Check::ok(NAME, format!("mounted at {PATH}"))
    } else {
        Check::warning(
            NAME,
            format!("not mounted at {PATH}"),
            "nothing can be left for the next agent: what containers do while none runs is not told",
            format!("mount -t bpf bpf {PATH}; in a container, mount the host's"),
        )
    }
}

fn architecture(roots: &Roots) -> Check {
    const NAME: &str = "architecture";
    let machine = &roots.machine;
    if machine == "x86_64" {
        Check::ok(NAME, machine)
    } else {
        let why = "the probes know the registers of x86_64 only";
        Check::failed(NAME, machine, why, "run shrike on an x86_64 node")
    }
}

fn release(roots: &Roots) -> Check {
    const NAME: &str = "kernel";
    let (text, floor) = (&roots.release, KernelRelease::FLOOR);
    let cure = format!("boot a kernel of version {floor} or newer");
    match text.parse::<KernelRelease>() {
        Ok(release) if release.is_supported() => Check::ok(NAME, text),
        Ok(_) => Check::failed(
            NAME,
            text,
            format!("older than {floor}, it lacks what probes need"),
            cure,
        ),
        Err(error) => Check::failed(NAME, error.to_string(), "its version must be known", cure),
    }
}

fn btf(roots: &Roots) -> Check {
    const NAME: &str = "btf";
    let path = roots.sys.join("kernel/btf/vmlinux");
    if path.exists() {
        Check::ok(NAME, path.display().to_string())
    } else {
        Check::failed(
            NAME,
            format!("{} does not exist", path.display()),
            "the probes learn from it where the fields of this kernel's structs are",
            "boot a kernel that is built with CONFIG_DEBUG_INFO_BTF=y; in a container, mount /sys",
        )
    }
}

fn ftrace(roots: &Roots) -> Check {
    const NAME: &str = "ftrace";
    const PATH: &str = "sys/kernel/ftrace_enabled";
    const CURE: &str = "sysctl kernel.ftrace_enabled=1";
    match roots.read_proc(PATH) {
        Ok(text) if text.trim() == "1" => Check::ok(NAME, "enabled"),
        Ok(_) => Check::failed(
            NAME,
            "kernel.ftrace_enabled is 0",
            "LSM and fentry probes look attached then and are never run",
            CURE,
        ),
        Err(error) => unknown(NAME, &format!("/proc/{PATH}"), &error, CURE),
    }
}

fn cgroup(roots: &Roots) -> Check {
    const NAME: &str = "cgroup";
    const PATH: &str = "self/mounts";
    const CURE: &str = "boot with systemd.unified_cgroup_hierarchy=1, or mount cgroup2";
    const WHY: &str = "events carry the cgroup of the unified hierarchy (version 2), by which containers are \
         told apart";
    let mounts = match roots.read_proc(PATH) {
        Ok(mounts) => mounts,
        Err(error) => return unknown(NAME, &format!("/proc/{PATH}"), &error, CURE),
    };
    let has = |kind: &str| mounts.lines().any(|line| line.split(' ').nth(2) == Some(kind));
    match (has("cgroup2"), has("cgroup")) {
        (true, false) => Check::ok(NAME, "version 2"),
        (true, true) => Check::warning(NAME, "hybrid: version 1 and version 2", WHY, CURE),
        (false, true) => Check::warning(NAME, "version 1 only", WHY, CURE),
        (false, false) => Check::warning(NAME, "not mounted", WHY, CURE),
    }
}
