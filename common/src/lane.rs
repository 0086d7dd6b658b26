//! Lanes: one ring buffer each, so that a flood of one sort of event cannot push out another; and
//! when their reader is woken.

/// The ring buffer that an event travels in.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u32)]
pub enum Lane {
    /// What crosses boundaries and is rare: mounts, namespaces, ptrace, sysctls, modules, bpf.
    Critical = 0,
    /// Fork, exec and exit: the lineage of processes must survive a flood of file events.
    Process = 1,
    /// What a busy machine does by the thousand: file opens, connections.
    Bulk = 2,
}

impl Lane {
    /// Every lane, in the order of its number.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Process, Self::Bulk];

    /// The name in metrics, options and documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Process => "process",
            Self::Bulk => "bulk",
        }
    }

    /// The name of the lane's ring-buffer map in the eBPF object.
    pub const fn map_name(self) -> &'static str {
        match self {
            Self::Critical => "LANE_CRITICAL",
            Self::Process => "LANE_PROCESS",
            Self::Bulk => "LANE_BULK",
        }
    }

    /// The lane with this number.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|&lane| lane as u32 == code)
    }
}

/// What the agent wants to be woken for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u64)]
pub enum Wake {
    /// Nothing: it is at work.
    Never = 0,
    /// Critical events: it takes a nap.
    Critical = 1,
    /// Any event: it sleeps.
    Any = 2,
}

impl Wake {
    /// The least that an event of this lane wakes at.
    pub const fn of(lane: Lane) -> Self {
        match lane {
            Lane::Critical => Self::Critical,
            Lane::Process | Lane::Bulk => Self::Any,
        }
    }
}
