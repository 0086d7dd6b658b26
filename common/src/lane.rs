//! Lanes: one ring buffer each, so that a flood of one sort of event cannot push out another.

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
