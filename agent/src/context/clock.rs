//! From the kernel's boot time to the time of day.

use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// What a measurement may be off by, in nanoseconds, on a machine that has much to do. Clocks are set by more.
const NOISE: u128 = 10_000_000;

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

    /// Measures again. What was told of a time stays true unless the clock was set.
    pub(crate) fn refresh(&mut self) -> Result<(), nix::Error> {
        *self = self.followed_by(Self::now()?);
        Ok(())
    }

    fn followed_by(self, measured: Self) -> Self {
        if measured.boot.abs_diff(self.boot) < NOISE { self } else { measured }
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
        Timestamp::from_nanosecond(self.epoch(boot_time)).unwrap_or(Timestamp::MAX)
    }

    /// The same, in nanoseconds since the Unix epoch.
    pub(crate) fn epoch(self, boot_time: u64) -> i128 {
        self.boot + i128::from(boot_time)
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

    #[test]
    fn a_time_stays_the_same_until_the_clock_is_set() {
        const SECOND: i64 = 1_000_000_000;
        let first = Clock::at(SECOND);
        let after = |measured: &[i64]| {
            let clocks = measured.iter().map(|&boot| Clock::at(boot));
            clocks.fold(first, Clock::followed_by).timestamp(7)
        };
        assert_eq!(after(&[SECOND + 90_000, SECOND - 2_000_000]), first.timestamp(7));
        assert_eq!(after(&[3 * SECOND]), Clock::at(3 * SECOND).timestamp(7));
        assert_eq!(after(&[0]), Clock::at(0).timestamp(7));
        // By little each time, it is set all the same.
        let steps = [1, 2, 3].map(|step| SECOND + step * 4_000_000);
        assert_eq!(after(&steps), Clock::at(steps[2]).timestamp(7));
    }
}
