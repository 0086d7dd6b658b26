//! The containers that a runtime could not be asked for, or not for all, and when that is tried again. One that keeps
//! it waiting is not to take the turns of all others.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::key::Id;

/// The waits from one try to the next.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// The containers that are to be asked for again.
#[derive(Debug)]
pub(super) struct Retries {
    failing: HashMap<Id, Retry>,
    capacity: usize,
}

#[derive(Debug)]
struct Retry {
    waits: Backoff,
    /// When it may be asked for again.
    next: Instant,
}

impl Retries {
    /// Those of a runtime of at most so many containers.
    pub(super) fn new(capacity: usize) -> Self {
        Self { failing: HashMap::new(), capacity }
    }

    /// A container could not be asked for. Returns how long it is to be left alone.
    pub(super) fn failed(&mut self, id: Id) -> Duration {
        // There are never so many, unless they are made to be.
        if self.failing.len() >= self.capacity && !self.failing.contains_key(&id) {
            self.failing.clear();
        }
        let now = Instant::now();
        let new = || Retry { waits: Backoff::new(WAITS.0, WAITS.1), next: now };
        let retry = self.failing.entry(id).or_insert_with(new);
        let wait = retry.waits.next();
        retry.next = now + wait;
        wait
    }

    /// A container was asked for, and all was said.
    pub(super) fn worked(&mut self, id: Id) {
        self.failing.remove(&id);
    }

    /// Whether a container may be asked for now.
    pub(super) fn may(&self, id: Id) -> bool {
        self.failing.get(&id).is_none_or(Retry::is_due)
    }

    /// Of those that run, the ones that are to be asked for again now. Others whose time has come are forgotten.
    pub(super) fn due(&mut self, running: &[Id]) -> Vec<Id> {
        let running: HashSet<_> = running.iter().collect();
        self.failing.retain(|id, retry| !retry.is_due() || running.contains(id));
        self.failing.iter().filter(|(_, retry)| retry.is_due()).map(|(id, _)| *id).collect()
    }
}

impl Retry {
    fn is_due(&self) -> bool {
        self.next <= Instant::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::runtime::tests::key;

    #[test]
    fn what_failed_is_left_alone_ever_longer() {
        let mut retries = Retries::new(10);
        let id = key(1).id;
        assert!(retries.may(id));
        let waits: Vec<_> = (0..12).map(|_| retries.failed(id)).collect();
        assert!(waits[0] <= WAITS.0 && waits[11] >= WAITS.1 / 2, "{waits:?}");
        assert!(!retries.may(id) && retries.due(&[id]).is_empty());
        assert!(retries.may(key(2).id));
        retries.worked(id);
        assert!(retries.may(id) && retries.failed(id) <= WAITS.0);
    }

    #[test]
    fn those_that_run_are_asked_for_again() {
        let mut retries = Retries::new(10);
        for number in 0..3 {
            retries.failed(key(number).id);
        }
        for number in [0, 1] {
            retries.failing.get_mut(&key(number).id).unwrap().next = Instant::now();
        }
        assert_eq!(retries.due(&[key(1).id, key(2).id]), [key(1).id]);
        // Of one that does not run nothing is kept, once its time has come.
        let mut kept: Vec<_> = retries.failing.keys().copied().collect();
        kept.sort_unstable();
        let mut expected = [key(1).id, key(2).id];
        expected.sort_unstable();
        assert_eq!(kept, expected);
    }

    #[test]
    fn there_are_never_more_than_fit() {
        let mut retries = Retries::new(10);
        for number in 0..1000 {
            retries.failed(key(number).id);
            assert!(retries.failing.len() <= 10);
        }
    }
}
