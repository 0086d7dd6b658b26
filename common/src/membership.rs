//! Whether a task belongs to a container, and since when.

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
