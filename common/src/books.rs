//! The books that the probes keep: for each kind, how many events there were and what became of
//! those that were not sent. `attempted = received + dropped` holds at any quiet moment.

use crate::Kind;

/// What the probes count, per event kind and CPU.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
pub enum Counter {
    /// A probe had an event to send.
    Attempted = 0,
    /// The lane's ring buffer had no room for it.
    RingFull = 1,
    /// Every record slot of the CPU was in use by a preempted probe.
    NoSlot = 2,
    /// The lane's ring buffer was more than half full, and the cgroup had put in its share.
    OverShare = 3,
    /// The table of containers' tasks had no room: from here on the task counts as the host's. No
    /// event was lost.
    NoMember = 4,
}

impl Counter {
    /// Every counter, in the order of its number.
    pub const ALL: [Self; 5] =
        [Self::Attempted, Self::RingFull, Self::NoSlot, Self::OverShare, Self::NoMember];
    /// The counters that stand for a lost event.
    pub const LOSSES: [Self; 3] = [Self::RingFull, Self::NoSlot, Self::OverShare];

    /// The counters that stand for something which is not seen as it should be.
    pub const GAPS: [Self; 4] = [Self::RingFull, Self::NoSlot, Self::OverShare, Self::NoMember];

    const PER_KIND: u32 = 5;

    /// The `reason` label of the loss in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attempted => "attempted",
            Self::RingFull => "ring_full",
            Self::NoSlot => "no_slot",
            Self::OverShare => "over_share",
            Self::NoMember => "no_member",
        }
    }

    /// The index of this counter of `kind` in the per-CPU array.
    pub const fn index(self, kind: Kind) -> u32 {
        kind as u32 * Self::PER_KIND + self as u32
    }
}

/// The number of entries of the per-CPU array of counters.
pub const COUNTERS: usize = Kind::LIMIT as usize * Counter::ALL.len();

const _: () = assert!(Counter::ALL.len() == Counter::PER_KIND as usize);
