//! Whether the agent is alive (its event thread makes progress) and ready (it sees everything that
//! it should).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The event thread shows itself every second; beyond this it is stuck.
const LIFELINE: Duration = Duration::from_secs(15);

/// The agent's state as others ask for it. Shared between threads.
#[derive(Debug)]
pub(crate) struct Health {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    beat: Instant,
    /// What keeps the agent from being ready, by subject.
    unmet: BTreeMap<&'static str, String>,
}

impl Health {
    /// Alive from now on; not ready before `subject` is met.
    pub(crate) fn starting(subject: &'static str, reason: &str) -> Self {
        let unmet = BTreeMap::from([(subject, reason.to_owned())]);
        Self { state: Mutex::new(State { beat: Instant::now(), unmet }) }
    }

    /// The event thread has come round.
    pub(crate) fn beat(&self) {
        self.with(|state| state.beat = Instant::now());
    }

    /// The agent is not ready because of `subject`.
    pub(crate) fn unmet(&self, subject: &'static str, reason: String) {
        self.with(|state| drop(state.unmet.insert(subject, reason)));
    }

    /// `subject` is as it should be.
    pub(crate) fn met(&self, subject: &'static str) {
        self.with(|state| drop(state.unmet.remove(subject)));
    }

    /// How long the event thread has not been seen, if that is too long.
    pub(crate) fn stuck(&self) -> Option<Duration> {
        self.with(|state| Some(state.beat.elapsed()).filter(|silence| *silence > LIFELINE))
    }

    /// What keeps the agent from being ready.
    pub(crate) fn reasons(&self) -> Vec<String> {
        self.with(|state| {
            state.unmet.iter().map(|(subject, reason)| format!("{subject}: {reason}")).collect()
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // The state is whole after every change, also if another thread panicked.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_when_every_subject_is_met() {
        let health = Health::starting("probes", "not attached yet");
        assert_eq!(health.reasons(), ["probes: not attached yet"]);
        health.unmet("rules", "1 rule has errors".into());
        health.met("probes");
        assert_eq!(health.reasons(), ["rules: 1 rule has errors"]);
        health.met("rules");
        assert_eq!(health.reasons(), Vec::<String>::new());
    }

    #[test]
    fn is_alive_until_the_event_thread_falls_silent() {
        let health = Health::starting("probes", "");
        assert_eq!(health.stuck(), None);
        health.with(|state| state.beat -= LIFELINE + Duration::from_secs(1));
        assert!(health.stuck().is_some());
        health.beat();
        assert_eq!(health.stuck(), None);
    }
}
