//! What the metrics tell of the runtimes.

use std::sync::atomic::{AtomicU64, Ordering};

use super::failure::Reason;
use super::family::Family;

/// Counts since the start, and how things are now.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Containers asked for, by whom an event came from.
    pub(crate) wants: Counter,
    /// Those that no queue had room for.
    pub(crate) refused: Counter,
    /// Those that no connected runtime is responsible for.
    pub(crate) unowned: Counter,
    /// Those that no runtime knew.
    pub(crate) absent: Counter,
    /// Containers that were not kept because there are too many, anew with each list.
    pub(crate) overflown: Counter,
    /// Containers of which more was told than is kept.
    pub(crate) cut: Counter,
    /// Events of runtimes that came faster than they could be taken.
    pub(crate) notices_lost: Counter,
    /// Records of containers that could not be read.
    pub(crate) records_failed: Counter,
    /// Those that took long, and had others go on without them.
    pub(crate) records_late: Counter,
    connected: [Counter; Family::ALL.len()],
    connections: [Counter; Family::ALL.len()],
    failures: [Counter; Reason::ALL.len()],
}

/// A number that goes up, and down if it is a state.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Returns its value before.
    pub(super) fn add(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    fn subtract(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Its value.
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// How many runtimes of a family are connected now.
    pub(crate) fn connected(&self, family: Family) -> u64 {
        self.connected.get(family.index()).map_or(0, Counter::value)
    }

    /// How often one of a family was connected.
    pub(crate) fn connections(&self, family: Family) -> u64 {
        self.connections.get(family.index()).map_or(0, Counter::value)
    }

    /// How often something went wrong.
    pub(crate) fn failures(&self, reason: Reason) -> u64 {
        self.failures.get(reason.index()).map_or(0, Counter::value)
    }

    pub(super) fn connect(&self, family: Family) {
        for counters in [&self.connected, &self.connections] {
            if let Some(counter) = counters.get(family.index()) {
                counter.add();
            }
        }
    }

    pub(super) fn disconnect(&self, family: Family) {
        if let Some(counter) = self.connected.get(family.index()) {
            counter.subtract();
        }
    }

    pub(super) fn fail(&self, reason: Reason) {
        if let Some(counter) = self.failures.get(reason.index()) {
            counter.add();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_count_of_its_own() {
        let counters = Counters::default();
        for (count, reason) in Reason::ALL.into_iter().enumerate() {
            for _ in 0..count {
                counters.fail(reason);
            }
        }
        let counts = Reason::ALL.map(|reason| counters.failures(reason));
        assert_eq!(counts, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn connections_are_a_count_and_a_state() {
        let counters = Counters::default();
        counters.connect(Family::Podman);
        counters.disconnect(Family::Podman);
        counters.connect(Family::Podman);
        let now = |family| (counters.connected(family), counters.connections(family));
        assert_eq!((now(Family::Podman), now(Family::Docker)), ((1, 2), (0, 0)));
    }
}
