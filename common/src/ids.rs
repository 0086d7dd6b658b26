//! Identifiers as the kernel gives them, one type each, so that no two can be confused.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr};

use crate::wire::Wire;

/// Declares integer newtypes whose layout is that of the integer.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($int:ty),)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
            #[repr(transparent)]
            pub struct $name(pub $int);

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.fmt(f)
                }
            }

            impl Wire for $name {
                type View<'a> = Self;

                fn view(record: &[u8], at: usize) -> Option<Self> {
                    <$int as Wire>::view(record, at).map(Self)
                }
            }
        )*
    };
}

ids! {
    /// The id of a cgroup in the unified hierarchy (`kernfs_node.id`): the inode number of its
    /// directory under `/sys/fs/cgroup`.
    CgroupId(u64),
    /// A container, numbered by the probes in the order in which they came to know them, from 1 on;
    /// 0 is none.
    ContainerId(u64),
    /// A group id in the initial user namespace (`kgid_t`).
    Gid(u32),
    /// The inode number of a namespace, as `stat` shows it for `/proc/PID/ns/*`
    /// (`ns_common.inum`); 0 if the task has none any more.
    NsId(u32),
    /// A process or thread id in the initial pid namespace.
    Pid(u32),
    /// When a process started, in nanoseconds of boot time (`task_struct.start_boottime` of the
    /// thread group's leader). With the process id it names one process for the whole uptime.
    StartTime(u64),
    /// A user id in the initial user namespace (`kuid_t`).
    Uid(u32),
}

impl NsId {
    /// The initial namespace of cgroups (`PROC_CGROUP_INIT_INO`).
    pub const INIT_CGROUP: Self = Self(0xEFFF_FFFB);
    /// The initial namespace of processes (`PROC_PID_INIT_INO`).
    pub const INIT_PID: Self = Self(0xEFFF_FFFC);
    /// All mount namespaces of detached trees, in kernels that number them (`MNT_NS_ANON_INO`).
    pub const ANON_MNT: Self = Self(0xEFFF_FFF7);
}

/// An IP address as IPv6 has it; that of IPv4 is mapped (`::ffff:a.b.c.d`). None is all zero.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(transparent)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// In the family that it is of.
    pub fn ip(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }

    /// An address of IPv4.
    pub const fn v4([a, b, c, d]: [u8; 4]) -> Self {
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, a, b, c, d])
    }
}

impl Wire for Address {
    type View<'a> = Self;

    fn view(record: &[u8], at: usize) -> Option<Self> {
        <[u8; 16]>::view(record, at).map(Self)
    }
}
