//! What the event thread and the clients of runtimes have in common.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::cache::Cache;
use super::counters::Counters;
use super::source::{Source, SourceId};
use super::waiting::Waiting;

/// What the event thread and the clients of runtimes have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) cache: Cache,
    pub(super) waiting: Waiting,
    pub(super) counters: Arc<Counters>,
    /// The most containers that are kept.
    pub(super) capacity: usize,
    /// The runtimes that are connected: read without waiting.
    pub(super) sources: ArcSwap<Vec<Source>>,
    /// Held by who changes them.
    change: Mutex<()>,
}

/// A runtime's place among those that are connected, which it leaves when this is dropped.
pub(super) struct Connected {
    shared: Arc<Shared>,
    source: Source,
}

impl Shared {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            cache: Cache::new(capacity),
            waiting: Waiting::new(),
            counters: Arc::default(),
            capacity,
            sources: ArcSwap::default(),
            change: Mutex::default(),
        }
    }

    /// A runtime is connected.
    pub(super) fn connect(self: &Arc<Self>, source: Source) -> Connected {
        self.counters.connect(source.family);
        self.change(|sources| sources.push(source.clone()));
        Connected { shared: self.clone(), source }
    }

    fn disconnect(&self, id: SourceId) {
        self.change(|sources| sources.retain(|source| source.id != id));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Source>)) {
        let _guard = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sources = Vec::clone(&self.sources.load());
        change(&mut sources);
        self.sources.store(Arc::new(sources));
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.shared.disconnect(self.source.id);
        self.shared.cache.part(self.source.id);
        self.shared.counters.disconnect(self.source.family);
    }
}
