//! Reading the ring buffers: bounded bites, so that no lane starves another, with a check of every
//! sequence number.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};

use aya::Ebpf;
use aya::maps::{MapData, MapError, RingBuf};
use shrike_common::wire::Wire;
use shrike_common::{Header, Lane};

use super::order::Order;

/// The most records that are taken from a lane in one round.
const BITE: usize = 1024;

/// The reading end of a lane.
pub(crate) struct LaneReader {
    lane: Lane,
    ring: RingBuf<MapData>,
    sequences: Sequences,
}

/// Why the lanes cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaneError {
    #[error("the eBPF object has no map {0}")]
    NoMap(&'static str),
    #[error("cannot map the ring buffer of lane {lane}")]
    Map { lane: &'static str, source: MapError },
}

impl LaneReader {
    /// Takes the lanes' rings out of the loaded object.
    pub(crate) fn open(ebpf: &mut Ebpf) -> Result<Vec<Self>, LaneError> {
        Lane::ALL
            .into_iter()
            .map(|lane| {
                let map =
                    ebpf.take_map(lane.map_name()).ok_or(LaneError::NoMap(lane.map_name()))?;
                let ring = RingBuf::try_from(map)
                    .map_err(|source| LaneError::Map { lane: lane.name(), source })?;
                Ok(Self { lane, ring, sequences: Sequences::default() })
            })
            .collect()
    }

    /// Moves a bite of records into `order`. Returns the time up to which the lane is now known to
    /// be read: `now` if nothing is left in it.
    pub(crate) fn bite(&mut self, order: &mut Order, now: u64) -> u64 {
        let mut last = 0;
        for _ in 0..BITE {
            let Some(record) = self.ring.next() else { return now };
            last = order.push(&record);
            if let Some(header) = Header::view(&record, 0) {
                self.sequences.saw(header.cpu, header.sequence);
            }
        }
        last.min(now)
    }

    /// The lane.
    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }

    /// How many sequence numbers are missing so far.
    pub(crate) fn missing(&self) -> u64 {
        self.sequences.missing()
    }
}

impl AsFd for LaneReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// The sequence numbers of one lane. A probe takes its number before it has room in the ring, so
/// numbers of one CPU may arrive out of order; what counts is how many of them came.
#[derive(Debug, Default)]
struct Sequences {
    cpus: HashMap<u32, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// One more than the highest number.
    end: u64,
    count: u64,
}

impl Sequences {
    fn saw(&mut self, cpu: u32, sequence: u64) {
        let seen = self.cpus.entry(cpu).or_default();
        seen.count += 1;
        seen.end = seen.end.max(sequence.saturating_add(1));
    }

    fn missing(&self) -> u64 {
        self.cpus.values().map(|seen| seen.end.saturating_sub(seen.count)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_missing_numbers_per_cpu_whatever_their_order() {
        let mut sequences = Sequences::default();
        for (cpu, sequence) in [(0, 0), (0, 2), (1, 0), (0, 1), (1, 1)] {
            sequences.saw(cpu, sequence);
        }
        assert_eq!(sequences.missing(), 0);
        sequences.saw(0, 5);
        sequences.saw(1, 3);
        assert_eq!(sequences.missing(), 3);
    }
}
