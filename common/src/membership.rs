//! Whether a task belongs to a container.

/// What a task is to the containers of the host.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
pub enum Membership {
    /// A task of the host.
    None = 0,
    /// A container's task.
    Member = 1,
}

impl Membership {
    /// The name in rules and documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Member => "member",
        }
    }

    /// The membership with this number.
    pub const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Member),
            _ => None,
        }
    }
}
