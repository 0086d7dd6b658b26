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
    /// Held by each runtime that was asked: the last one that does not know it says so.
    pub(super) ticket: Arc<()>,
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
