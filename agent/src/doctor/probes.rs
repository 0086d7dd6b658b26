//! How each kind of event would be seen on this node.

use std::collections::BTreeMap;

use shrike_common::{Kind, Lane};
use shrike_rules::KindSet;

use super::Roots;
use crate::doctor::report::Check;
use crate::node::LsmList;
use crate::sensor::{self, Btf};

const LSM: &str = "kernel/security/lsm";
const BTF: &str = "kernel/btf/vmlinux";

/// Examines them all; without the kernel's types nothing can be said, which has its own check.
pub(super) fn examine(roots: &Roots) -> Vec<Check> {
    let Ok(btf) = Btf::read(&roots.sys.join(BTF)) else { return Vec::new() };
    let lsm_active = roots.read_sys(LSM).is_ok_and(|list| LsmList::parse(&list).has_bpf());
    let mut seen: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut unseen = Vec::new();
    let prospects = sensor::prospects(&btf, lsm_active);
    for kind in KindSet::ALL.iter() {
        for (probe, way) in prospects.iter().filter(|(probe, _)| probe.kinds.contains(&kind)) {
            match way {
                Ok(way) => {
                    let kinds = seen.entry(way.backend().name()).or_default();
                    if !kinds.contains(&kind.name()) {
                        kinds.push(kind.name());
                    }
                }
                Err(error) => unseen.push((kind, probe.name, error.to_string())),
            }
        }
    }
    let backends = seen.iter().map(|(backend, kinds)| format!("{backend}: {}", kinds.join(", ")));
    let all = Check::ok("kinds", backends.collect::<Vec<_>>().join("; "));
    let lost = unseen.into_iter().map(|(kind, probe, error)| {
        Check::warning(
            "kinds",
            format!("{}: probe {probe}: {error}", kind.name()),
            consequence(kind),
            "none is known for this kernel; please report it",
        )
    });
    [all].into_iter().chain(lost).collect()
}

fn consequence(kind: Kind) -> String {
    let name = kind.name();
    match kind.lane() {
        Lane::Process => format!("processes are not known well without {name}: names may be wrong"),
        Lane::Critical | Lane::Bulk => format!("rules for {name} match less, or nothing"),
    }
}
