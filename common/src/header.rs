//! The header that every record starts with: what happened, in which order, and who did it.

use crate::wire::layout;
use crate::{CgroupId, ContainerId, Gid, NsId, Pid, StartTime, Uid};

/// The version of the record format. The agent refuses records of any other.
pub const ABI_VERSION: u16 = 5;

layout! {
    /// The header of a record. Identity and credentials are those of the task that acted
    /// (`current`), read from `task_struct.real_cred`; ids are those of the initial namespaces.
    Header {
        /// Always [`ABI_VERSION`].
        version: u16,
        /// The [`Kind`](crate::Kind) of the event.
        kind: u16,
        /// The length of the whole record in bytes.
        size: u32,
        /// The [`Membership`](crate::Membership) of the task.
        membership: u32,
        /// The [`Lane`](crate::Lane) that the record was sent in.
        lane: u32,
        /// A set of [`Header::RAW`], [`Header::OUTCOME`] and [`Header::UNATTENDED`].
        flags: u32,
        /// Reserved; 0.
        reserved: u32,
        /// Counts the events of one CPU and lane from 0 on, lost ones included.
        sequence: u64,
        /// Nanoseconds of boot time (`CLOCK_BOOTTIME`).
        time: u64,
        /// The CPU that the probe ran on.
        cpu: u32,
        /// The generation of the plan that the probe followed.
        generation: u32,
        /// The number of the system call that the task is in, of the table that `abi` names; -1
        /// if it entered the kernel by a fault or an interrupt, or never was in user space.
        syscall: i32,
        /// The [`Abi`] of the system call.
        abi: u32,
        /// The process (thread group).
        tgid: Pid,
        /// The thread.
        tid: Pid,
        /// The process's parent.
        ppid: Pid,
        /// The real user id.
        uid: Uid,
        /// The real group id.
        gid: Gid,
        /// The effective user id.
        euid: Uid,
        /// When the process started.
        start: StartTime,
        /// The effective capabilities, one bit each (`CAP_*`).
        effective: u64,
        /// The permitted capabilities.
        permitted: u64,
        /// The inheritable capabilities.
        inheritable: u64,
        /// The cgroup in the unified hierarchy.
        cgroup: CgroupId,
        /// The container that the task belongs to; 0 if it is the host's.
        container: ContainerId,
        /// The task's namespaces.
        ns: Namespaces,
        /// The thread's name (`task_struct.comm`), ended by NUL.
        comm: [u8; 16],
    }
}

layout! {
    /// The inode numbers of a task's eight namespaces.
    Namespaces {
        /// Mounts.
        mnt: NsId,
        /// Process ids: the namespace that the task itself is in, not its children's.
        pid: NsId,
        /// Network.
        net: NsId,
        /// User ids and capabilities, from the task's credentials.
        user: NsId,
        /// Host and domain name.
        uts: NsId,
        /// System V IPC and POSIX message queues.
        ipc: NsId,
        /// Cgroup root.
        cgroup: NsId,
        /// Clock offsets.
        time: NsId,
    }
}

/// A type of namespace.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum NsType {
    /// Mounts.
    Mnt,
    /// Process ids.
    Pid,
    /// Network.
    Net,
    /// User ids and capabilities.
    User,
    /// Host and domain name.
    Uts,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Cgroup root.
    Cgroup,
    /// Clock offsets.
    Time,
}

impl NsType {
    /// Every type.
    pub const ALL: [Self; 8] = [
        Self::Mnt,
        Self::Pid,
        Self::Net,
        Self::User,
        Self::Uts,
        Self::Ipc,
        Self::Cgroup,
        Self::Time,
    ];

    /// The name of the type's link in `/proc/PID/ns`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mnt => "mnt",
            Self::Pid => "pid",
            Self::Net => "net",
            Self::User => "user",
            Self::Uts => "uts",
            Self::Ipc => "ipc",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}

impl Namespaces {
    /// The namespace of this type.
    pub const fn get(&self, ty: NsType) -> NsId {
        match ty {
            NsType::Mnt => self.mnt,
            NsType::Pid => self.pid,
            NsType::Net => self.net,
            NsType::User => self.user,
            NsType::Uts => self.uts,
            NsType::Ipc => self.ipc,
            NsType::Cgroup => self.cgroup,
            NsType::Time => self.time,
        }
    }

    /// The namespace of this type, to be written.
    pub const fn get_mut(&mut self, ty: NsType) -> &mut NsId {
        match ty {
            NsType::Mnt => &mut self.mnt,
            NsType::Pid => &mut self.pid,
            NsType::Net => &mut self.net,
            NsType::User => &mut self.user,
            NsType::Uts => &mut self.uts,
            NsType::Ipc => &mut self.ipc,
            NsType::Cgroup => &mut self.cgroup,
            NsType::Time => &mut self.time,
        }
    }
}

/// The system-call table that a task called through.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
pub enum Abi {
    /// The 64-bit table.
    X86_64 = 0,
    /// The 32-bit table (`int 0x80`, 32-bit programs).
    I386 = 1,
    /// The 64-bit table, called with the x32 bit.
    X32 = 2,
}

impl Abi {
    /// The name in rules and documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::I386 => "i386",
            Self::X32 => "x32",
        }
    }

    /// The table with this number.
    pub const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::X86_64),
            1 => Some(Self::I386),
            2 => Some(Self::X32),
            _ => None,
        }
    }
}

impl Header {
    /// The system call failed before a hook was reached: the arguments are the caller's own, which
    /// it may have changed meanwhile, and nobody has looked at what they stand for.
    pub const RAW: u32 = 1;
    /// An outcome will follow, when the system call ends.
    pub const OUTCOME: u32 = 1 << 1;
    /// It was sent while no agent was running, or none has read it before the last one ended. Set by the
    /// agent that finds it.
    pub const UNATTENDED: u32 = 1 << 2;

    /// Whether all of `flags` are set.
    pub const fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    /// The thread's name without the padding.
    pub fn comm(&self) -> &[u8] {
        let end = self.comm.iter().position(|&byte| byte == 0).unwrap_or(self.comm.len());
        self.comm.get(..end).unwrap_or_default()
    }
}
