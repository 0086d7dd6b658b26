//! How long to wait before a runtime is tried again: exponential, with jitter, so that the agents of a
//! fleet do not come back all at once.

use std::time::Duration;

/// The waits between the tries.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    tries: u32,
}

impl Backoff {
    /// From around `first` to around `longest`.
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, tries: 0 }
    }

    /// The next wait: between half the ceiling and all of it, since each try costs the runtime work.
    pub(super) fn next(&mut self) -> Duration {
        let ceiling = self.first.saturating_mul(1 << self.tries.min(16)).min(self.longest);
        self.tries = self.tries.saturating_add(1);
        ceiling.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_up_to_a_limit() {
        let (first, longest) = (Duration::from_millis(500), Duration::from_secs(30));
        let mut backoff = Backoff::new(first, longest);
        for power in 0..20 {
            let wait = backoff.next();
            let ceiling = (first * (1 << power.min(10))).min(longest);
            assert!((ceiling / 2..=ceiling).contains(&wait), "{power}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= first);
    }
}
