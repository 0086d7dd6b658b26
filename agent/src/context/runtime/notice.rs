//! What runtimes tell unasked.

use std::sync::Arc;

use tokio::sync::mpsc::{self, Receiver, Sender};

use super::counters::Counters;
use super::key::Id;

/// How many may wait. What does not fit is found by the next list.
const CAPACITY: usize = 4096;

/// Something happened to a container.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Notice {
    /// It was made, started, or named anew.
    Changed(Id),
    /// It stopped.
    Ended(Id),
}

/// Where notices go to. Telling one never waits: what is not read soon piles up in a runtime, or has it
/// wait.
#[derive(Clone, Debug)]
pub(super) struct Notices {
    sender: Sender<Notice>,
    counters: Arc<Counters>,
}

impl Notices {
    /// A queue of notices.
    pub(super) fn new(counters: Arc<Counters>) -> (Self, Receiver<Notice>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self { sender, counters }, receiver)
    }

    pub(super) fn tell(&self, notice: Notice) {
        if self.sender.try_send(notice).is_err() {
            self.counters.notices_lost.add();
        }
    }
}
