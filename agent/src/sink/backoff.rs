//! How long to wait before the next try: exponential, with full jitter, so that the agents of a
//! fleet do not come back all at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// The waits between the tries for one alert.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next wait; what the receiver asked for if it did, within reason.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.tries.min(16)).min(LONGEST);
        self.tries += 1;
        match asked {
            Some(asked) => asked.min(LONGEST),
            None => ceiling.mul_f64(fastrand::f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_up_to_a_limit_and_never_beyond() {
        for _ in 0..100 {
            let mut backoff = Backoff::default();
            assert!(backoff.next(None) <= FIRST);
            assert!(backoff.next(None) <= FIRST * 2);
            for _ in 0..50 {
                assert!(backoff.next(None) <= LONGEST);
            }
        }
    }

    #[test]
    fn does_what_the_receiver_asks_within_reason() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(Some(Duration::from_secs(3))), Duration::from_secs(3));
        assert_eq!(backoff.next(Some(Duration::from_hours(24))), LONGEST);
    }
}
