//! What the agent itself must be allowed.

use std::fs;
use std::io;

use aya::maps::MapType;
use aya::sys::is_map_supported;

use super::{Roots, unknown};
use crate::doctor::report::Check;

/// The capabilities that matter, by bit, with what each is for.
const CAPABILITIES: [(u32, &str, &str); 5] = [
    (39, "CAP_BPF", "to load the probes"),
    (38, "CAP_PERFMON", "to attach them and to read kernel memory"),
    (12, "CAP_NET_ADMIN", "to watch writes of kernel parameters"),
    (19, "CAP_SYS_PTRACE", "to read other processes' executables in /proc"),
    (2, "CAP_DAC_READ_SEARCH", "to read files of other users in /proc"),
];

/// Stands in for `CAP_BPF`, `CAP_PERFMON` and, where it is about BPF, `CAP_NET_ADMIN`.
const CAP_SYS_ADMIN: u32 = 21;

/// Examines them all.
pub(super) fn examine(roots: &Roots) -> Vec<Check> {
    vec![capabilities(roots), bpf(roots), user_namespace(roots), pid_namespace(roots)]
}

fn capabilities(roots: &Roots) -> Check {
    const NAME: &str = "capabilities";
    const PATH: &str = "self/status";
    const CURE: &str = "run shrike as root, and let what starts it keep them";
    let status = match roots.read_proc(PATH) {
        Ok(status) => status,
        Err(error) => return unknown(NAME, &format!("/proc/{PATH}"), &error, CURE),
    };
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or_default();
    let has = |bit: u32| effective >> bit & 1 != 0;
    let covered = |bit: u32| has(bit) || matches!(bit, 12 | 38 | 39) && has(CAP_SYS_ADMIN);
    let missing: Vec<_> = CAPABILITIES.iter().filter(|(bit, ..)| !covered(*bit)).collect();
    if missing.is_empty() {
        return Check::ok(NAME, "all that are needed");
    }
    let names: Vec<_> = missing.iter().map(|(_, name, _)| *name).collect();
    let reasons: Vec<_> = missing.iter().map(|(_, name, why)| format!("{name} {why}")).collect();
    let found = format!("without {}", names.join(", "));
    let why = format!("they are needed: {}", reasons.join(", "));
    let vital = missing.iter().any(|(bit, ..)| matches!(bit, 38 | 39));
    if vital {
        Check::failed(NAME, found, why, CURE)
    } else {
        Check::warning(NAME, found, why, CURE)
    }
}

fn bpf(roots: &Roots) -> Check {
    const NAME: &str = "bpf";
    match (roots.try_bpf)() {
        Ok(()) => Check::ok(NAME, "allowed"),
        Err(error) => Check::failed(
            NAME,
            format!("bpf(2) is refused: {error}"),
            "the probes are loaded by this system call",
            "run as root with CAP_BPF, and let a seccomp profile or another LSM allow bpf(2)",
        ),
    }
}

/// Asks the kernel for a small ring buffer, as the lanes are.
pub(super) fn try_bpf() -> io::Result<()> {
    match is_map_supported(MapType::RingBuf) {
        Ok(true) => Ok(()),
        Ok(false) => Err(io::Error::other("this kernel has no ring buffers")),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn user_namespace(roots: &Roots) -> Check {
    /// The inode of the initial one (`PROC_USER_INIT_INO`).
    const INITIAL: &str = "user:[4026531837]";
    let cure = "run shrike without a user namespace: hostUsers: true, or no --userns";
    let why = "capabilities count in the initial user namespace only";
    namespace(roots, "user-namespace", "user", INITIAL, why, cure)
}

fn pid_namespace(roots: &Roots) -> Check {
    /// The inode of the initial one (`PROC_PID_INIT_INO`).
    const INITIAL: &str = "pid:[4026531836]";
    let cure = "run shrike with hostPID: true, or --pid=host";
    let why = "events name the host's pids; /proc must show the same ones";
    namespace(roots, "pid-namespace", "pid", INITIAL, why, cure)
}

fn namespace(
    roots: &Roots,
    name: &'static str,
    kind: &str,
    initial: &str,
    why: &str,
    cure: &str,
) -> Check {
    let path = roots.proc.join("self/ns").join(kind);
    match fs::read_link(&path) {
        Ok(link) if link.as_os_str() == initial => Check::ok(name, "the initial one"),
        Ok(link) => Check::failed(name, format!("{}, not the host's", link.display()), why, cure),
        Err(error) => unknown(name, &path.display().to_string(), &error, cure),
    }
}
