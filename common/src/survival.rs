//! What of the probes outlives the agent: the tables of membership, and the probes that keep them right
//! and compare members with them. The next agent takes them over.

use crate::{Kind, Probe};

/// The version of what the kept maps mean. It is raised when an entry gets another layout or another
/// meaning: tables of another version are not taken over.
pub const MEMBERSHIP_VERSION: u32 = 4;

/// The maps that the next agent goes on with.
pub const KEPT_MAPS: &[&str] = &[
    "CLASSES",
    "EPOCH",
    "FILLERS",
    "HELPERS",
    "HELPERS_OF_HOST",
    "LAST",
    "MEMBERS",
    "NAMESPACES_OWNED",
    "TREES",
];

/// The map that counts the breaches which found no room while no agent ran.
pub const LEFT_BREACHES: &str = "LEFT_BREACHES";

/// The maps that each agent has for itself.
pub const FRESH_MAPS: &[&str] = &[
    "AGENTS_MOUNTS",
    "BLANK",
    "BOOKS",
    "CALLED",
    "CONTROL",
    "ENDED",
    "EXPECTED",
    "HOST",
    "HOST_NAMESPACES",
    "LANE_BULK",
    "LANE_CRITICAL",
    "LANE_PROCESS",
    LEFT_BREACHES,
    "PATHS",
    "PLANS",
    "SEQUENCES",
    "SHARES",
    "SHOWN_HEADER",
    "SLOT",
    "TAKEN",
    "VERDICTS",
    "WAKE",
];

impl Probe {
    /// Whether it stays attached when the agent ends: it keeps membership right, or compares members
    /// with what is expected of them. That at the end of processes notices that it is the agent which
    /// ends.
    pub fn survives(&self) -> bool {
        self.keeps_membership()
            || self
                .kinds
                .iter()
                .any(|kind| matches!(kind, Kind::Breach | Kind::Boundary | Kind::Exit))
    }

    /// Whether membership, or what is expected of members, would be wrong if it had not been attached
    /// for a while.
    pub fn keeps_membership(&self) -> bool {
        KEEPERS.contains(&self.name)
    }
}

const KEEPERS: &[&str] = &[
    "capset",
    "cgroup_attach",
    "cgroup_move",
    "commit_creds",
    "committed_creds",
    "committing_creds",
    "exec",
    "fix_setgid",
    "fix_setgroups",
    "fix_setuid",
    "fork",
    "inherit",
    "mount",
    "namespaces",
    "prctl",
    "receive",
    "relabel",
    "task_free",
    "unshare_end",
];

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::PROBES;

    #[test]
    fn every_keeper_is_a_probe() {
        let keepers = PROBES.iter().filter(|probe| probe.keeps_membership());
        assert_eq!(keepers.count(), KEEPERS.len());
    }

    #[test]
    fn what_rules_ask_for_ends_with_the_agent() {
        let names = |survives: bool| {
            let probes = PROBES.iter().filter(move |probe| probe.survives() == survives);
            probes.map(|probe| probe.name).collect::<std::vec::Vec<_>>()
        };
        assert!(names(true).contains(&"exit") && names(true).contains(&"file_open"));
        assert!(names(false).contains(&"heartbeat_lsm") && names(false).contains(&"bpf"));
    }
}
