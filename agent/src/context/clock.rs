//! From the kernel's boot time to the time of day.

use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// The distance between boot time and the time of day. It changes when the clock is set, so it is
/// measured again now and then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// The time of day at which boot time was 0, in nanoseconds since 1970.
    boot: i128,
}

impl Clock {
    /// Measures the distance: the time of day between two looks at boot time, which are the closer
    /// the better.
    pub(crate) fn now() -> Result<Self, nix::Error> {
        /// One of these is not interrupted in between.
        const LOOKS: usize = 5;
        let mut best = (i128::MAX, 0);
        for _ in 0..LOOKS {
            let before = nanoseconds(ClockId::CLOCK_BOOTTIME)?;
            let time = nanoseconds(ClockId::CLOCK_REALTIME)?;
            let after = nanoseconds(ClockId::CLOCK_BOOTTIME)?;
            best = best.min((after - before, time - i128::midpoint(before, after)));
        }
        let (_, boot) = best;
        Ok(Self { boot })
    }

    /// The clock of another host, or another time.
    pub(crate) fn at(boot: i64) -> Self {
        Self { boot: boot.into() }
    }

    /// The time of day at boot time 0, in nanoseconds since 1970.
    pub(crate) fn boot(self) -> i128 {
        self.boot
    }

    /// The time of day of a boot time in nanoseconds.
    pub(crate) fn timestamp(self, boot_time: u64) -> Timestamp {
        // Out of range only if the machine's clock is off by thousands of years.
        Timestamp::from_nanosecond(self.boot + i128::from(boot_time)).unwrap_or(Timestamp::MAX)
    }
}

fn nanoseconds(clock: ClockId) -> Result<i128, nix::Error> {
    Ok(i128::try_from(Duration::from(clock_gettime(clock)?).as_nanos()).unwrap_or(i128::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_time_of_day() {
        let clock = Clock::now().unwrap();
        let boot = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap());
        let now = clock.timestamp(u64::try_from(boot.as_nanos()).unwrap());
        let off = Timestamp::now().duration_since(now);
        assert!(off.abs() < jiff::SignedDuration::from_secs(5), "{off}");
    }
}
