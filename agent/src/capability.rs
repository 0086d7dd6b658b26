//! Capabilities: sets of them, and their names.

use serde::{Deserialize, Serialize};

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Capabilities(u64);

/// Names by bit (`include/uapi/linux/capability.h`).
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

impl Capabilities {
    /// None of them.
    pub(crate) const NONE: Self = Self(0);

    /// Every capability, also those that this program has no name for.
    pub(crate) const ALL: Self = Self(u64::MAX);

    /// What Docker leaves to a container: chown, `dac_override`, fowner, fsetid, kill, setgid,
    /// setuid, setpcap, `net_bind_service`, `net_raw`, `sys_chroot`, mknod, `audit_write`, setfcap.
    pub(crate) const DOCKER_DEFAULT: Self = Self(0xA804_25FB);

    /// Whether it has every capability that the kernel may know: those of the oldest supported one, at
    /// least.
    pub(crate) fn are_all_known(self) -> bool {
        const KNOWN: u64 = (1 << NAMES.len()) - 1;
        self.0 & KNOWN == KNOWN
    }

    /// The set with these bits.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// One bit for each capability.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// Whether the capability with this number is in the set.
    pub(crate) const fn has(self, number: u32) -> bool {
        self.0 >> number & 1 != 0
    }

    /// What is in this set or in the other one.
    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both sets.
    pub(crate) const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this set and not in the other one.
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The names in the order of their bits, joined by blanks.
    pub(crate) fn names(self) -> String {
        let names: Vec<&str> = (0..)
            .zip(NAMES)
            .filter(|(number, _)| self.has(*number))
            .map(|(_, name)| name)
            .collect();
        names.join(" ")
    }
}

/// The capability with this name, with or without the prefix, in any case.
pub(crate) fn by_name(name: &str) -> Option<Capabilities> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let number = NAMES.iter().position(|known| known.strip_prefix("CAP_") == Some(short))?;
    Some(Capabilities(1 << number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_bits_that_are_set() {
        assert_eq!(Capabilities(0).names(), "");
        let set = Capabilities(1 | 1 << 21 | 1 << 40);
        assert_eq!(set.names(), "CAP_CHOWN CAP_SYS_ADMIN CAP_CHECKPOINT_RESTORE");
        assert_eq!(Capabilities::ALL.names().split(' ').count(), NAMES.len());
    }

    #[test]
    fn finds_names_as_people_write_them() {
        for name in ["CAP_SYS_ADMIN", "sys_admin", "Sys_Admin"] {
            assert_eq!(by_name(name), Some(Capabilities(1 << 21)));
        }
        for name in ["", "CAP_", "ADMIN", "CAP_CAP_CHOWN"] {
            assert_eq!(by_name(name), None);
        }
    }

    #[test]
    fn the_default_is_dockers() {
        let names = "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE \
            NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT";
        let set = names.split(' ').map(|name| by_name(name).unwrap());
        let union = set.fold(Capabilities(0), Capabilities::union);
        assert_eq!(union, Capabilities::DOCKER_DEFAULT);
    }
}
