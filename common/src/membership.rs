//! Whether a task belongs to a container, and since when.

use crate::NsId;

/// What a task is to the containers of the host. It is carried by the task and handed on to its
/// children: where the task is now does not matter, since an escape changes exactly that.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
pub enum Membership {
    /// A task of the host.
    None = 0,
    /// A container's task.
    Member = 1,
    /// A task that somebody put into the cgroup of a container, and that has not executed the
    /// container's program yet: a runtime at work.
    Entering = 2,
}

impl Membership {
    /// Every membership, in the order of its number.
    pub const ALL: [Self; 3] = [Self::None, Self::Member, Self::Entering];

    /// The name in rules and documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Member => "member",
            Self::Entering => "entering",
        }
    }

    /// The membership with this number.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|&membership| membership as u32 == code)
    }
}

/// Who put tasks into a cgroup: an entry of the map `FILLERS`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Filler {
    /// The mount namespace.
    pub mnt: NsId,
    /// The pid namespace of its children.
    pub pid: NsId,
    /// The cgroup namespace.
    pub cgroup: NsId,
    /// Reserved; 0.
    pub reserved: u32,
    /// The root directory.
    pub root: Root,
    /// The container whose cgroup it is; 0 if none that is known.
    pub container: u64,
}

/// A root directory, by the addresses of its dentry and its file system; 0 if not known.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Root {
    /// `struct dentry`.
    pub dentry: u64,
    /// `struct super_block`.
    pub sb: u64,
}
