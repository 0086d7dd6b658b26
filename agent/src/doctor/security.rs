//! What the other parts of the kernel's security leave to the probes.

use super::{Roots, unknown};
use crate::doctor::report::Check;
use crate::node::LsmList;

const LSM: &str = "kernel/security/lsm";

/// LSMs that deny before BPF programs are asked, without much being lost: what they refuse is
/// refused to everyone.
const HARMLESS: [&str; 4] = ["lockdown", "capability", "landlock", "yama"];

/// Examines them all; those that make no sense here are left out.
pub(super) fn examine(roots: &Roots) -> Vec<Check> {
    let optional = [bpf_lsm(roots), lsm_order(roots), lockdown(roots)];
    [securityfs(roots)].into_iter().chain(optional.into_iter().flatten()).collect()
}

fn securityfs(roots: &Roots) -> Check {
    const NAME: &str = "securityfs";
    if roots.sys.join(LSM).exists() {
        Check::ok(NAME, "mounted")
    } else {
        Check::warning(
            NAME,
            "not mounted at /sys/kernel/security",
            "only there the kernel tells whether it asks BPF programs; shrike takes it that it \
             does not",
            "mount -t securityfs securityfs /sys/kernel/security; in a container, mount the host's",
        )
    }
}

fn bpf_lsm(roots: &Roots) -> Option<Check> {
    const NAME: &str = "bpf-lsm";
    let list = LsmList::parse(&roots.read_sys(LSM).ok()?);
    let active = list.names().collect::<Vec<_>>().join(",");
    Some(if list.has_bpf() {
        Check::ok(NAME, format!("active ({active})"))
    } else {
        Check::warning(
            NAME,
            format!("not active ({active})"),
            "most kinds are then seen through fentry: the kernel skips such a probe while it already \
             runs on that CPU, which is counted but is a loss",
            format!("add lsm={active},bpf to the kernel command line"),
        )
    })
}

fn lsm_order(roots: &Roots) -> Option<Check> {
    const NAME: &str = "lsm-order";
    let list = LsmList::parse(&roots.read_sys(LSM).ok()?);
    if !list.has_bpf() {
        return None;
    }
    let earlier: Vec<_> = list.before_bpf().filter(|name| !HARMLESS.contains(name)).collect();
    Some(if earlier.is_empty() {
        Check::ok(NAME, "bpf is asked early")
    } else {
        let earlier = earlier.join(", ");
        Check::warning(
            NAME,
            format!("{earlier} is asked before bpf"),
            format!(
                "what {earlier} denies never reaches the probes of LSM hooks: only rules that ask for \
                 results are told of such attempts, in the caller's own words"
            ),
            "put bpf before it in lsm= on the kernel command line",
        )
    })
}

fn lockdown(roots: &Roots) -> Option<Check> {
    const NAME: &str = "lockdown";
    const PATH: &str = "kernel/security/lockdown";
    const CURE: &str = "boot with lockdown=integrity or without";
    let text = match roots.read_sys(PATH) {
        Ok(text) => text,
        // Not built in, or securityfs is not mounted, which has its own check.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return Some(unknown(NAME, &format!("/sys/{PATH}"), &error, CURE)),
    };
    let mode = text.split_whitespace().find_map(|mode| mode.strip_prefix('[')?.strip_suffix(']'));
    Some(match mode {
        Some("confidentiality") => Check::failed(
            NAME,
            "confidentiality",
            "the kernel refuses probes that read its memory, and paths are read so",
            CURE,
        ),
        mode => Check::ok(NAME, mode.unwrap_or("unknown mode")),
    })
}
