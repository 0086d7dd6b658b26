//! Lanes: one ring buffer each, so that a flood of one sort of event cannot push out another.

/// The ring buffer that an event travels in.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u32)]
pub enum Lane {
    /// Fork, exec and exit: the lineage of processes must survive a flood of file events.
    Process = 0,
    /// What a busy machine does by the thousand: file opens.
    Bulk = 1,
}

impl Lane {
    /// Every lane, in the order of its number.
    pub const ALL: [Self; 2] = [Self::Process, Self::Bulk];

    /// The name in metrics, options and documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Bulk => "bulk",
        }
    }

    /// The name of the lane's ring-buffer map in the eBPF object.
    pub const fn map_name(self) -> &'static str {
        match self {
            Self::Process => "LANE_PROCESS",
            Self::Bulk => "LANE_BULK",
        }
    }

    /// The lane with this number.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|&lane| lane as u32 == code)
    }
}
