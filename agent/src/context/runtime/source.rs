//! A runtime that is connected, as the event thread sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::Sender;

use super::family::Family;
use super::key::{Id, Scope};
use crate::context::cgroup_path::Runtime;

/// Which of the runtimes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct SourceId(pub(super) u32);

/// A runtime that is connected.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) id: SourceId,
    pub(super) family: Family,
    pub(super) scope: Scope,
    pub(super) sender: Sender<Question>,
    pub(super) pace: Pace,
}

/// A container that an event came from.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) id: Id,
    pub(super) ticket: Ticket,
}

/// Held by each runtime that is asked for a container: the last one that does not know it says so, if all of them
/// could be asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Ticket(Arc<AtomicBool>);

/// What a ticket tells when it is handed in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Others have not answered yet.
    Open,
    /// None knew the container, but not all could be asked.
    Unknown,
    /// None knew it.
    Absent,
}

/// Whether a runtime answers fast enough for an alert to wait for it.
#[derive(Clone, Debug)]
pub(super) struct Pace(Arc<AtomicBool>);

impl Source {
    /// Whether it may know this container.
    pub(super) fn serves(&self, runtime: Runtime, scope: Scope) -> bool {
        self.scope == scope && self.family.serves(runtime)
    }
}

impl Ticket {
    /// A runtime could not be asked.
    pub(super) fn spoil(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// A runtime has nothing more to say.
    pub(super) fn hand_in(self) -> Verdict {
        match Arc::into_inner(self.0).map(AtomicBool::into_inner) {
            None => Verdict::Open,
            Some(true) => Verdict::Unknown,
            Some(false) => Verdict::Absent,
        }
    }
}

impl Pace {
    /// It has just answered.
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(super) fn is_prompt(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set_prompt(&self, is_prompt: bool) {
        self.0.store(is_prompt, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_absent_if_all_say_so() {
        let ticket = Ticket::default();
        assert_eq!(ticket.clone().hand_in(), Verdict::Open);
        assert_eq!(ticket.hand_in(), Verdict::Absent);
        let ticket = Ticket::default();
        let other = ticket.clone();
        other.spoil();
        assert_eq!(other.hand_in(), Verdict::Open);
        assert_eq!(ticket.hand_in(), Verdict::Unknown);
    }
}
