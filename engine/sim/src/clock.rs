//! A replica's clocks: each has its own origin, rate and wall-clock offset.

use trireme_core::{Now, Tick};

/// Wall clock of the simulation's start: some day in November 2026.
const WALL_START_US: u64 = 1_794_000_000_000_000;

/// How one replica reads the simulated time.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// Monotonic reading at simulated time 0.
    origin_us: u64,
    /// Parts per million by which it runs fast.
    fast_ppm: u64,
    /// By how much the wall clock is ahead of the slowest one.
    wall_ahead_us: u64,
    /// By how much it is ahead for a while, and until when.
    jump: (u64, u64),
}

impl Clock {
    pub(crate) fn new(origin_us: u64, fast_ppm: u64, wall_ahead_us: u64) -> Self {
        Self {
            origin_us,
            fast_ppm,
            wall_ahead_us,
            jump: (0, 0),
        }
    }

    /// The wall clock is ahead by so much more until a simulated time.
    pub(crate) fn ahead_until(self, ahead_us: u64, until_us: u64) -> Self {
        Self {
            jump: (ahead_us, until_us),
            ..self
        }
    }

    /// What this replica's clocks show at a simulated time. The wall clock is disciplined: it is off, but does not drift.
    pub(crate) fn now(&self, time_us: u64) -> Now {
        let passed = time_us + self.gain(time_us);
        let (ahead, until) = self.jump;
        let jump = if time_us < until { ahead } else { 0 };
        Now {
            tick: Tick(self.origin_us + passed),
            wall_us: WALL_START_US + self.wall_ahead_us + jump + time_us,
        }
    }

    /// The simulated time, not before `from_us`, at which the monotonic clock shows at least `tick`.
    pub(crate) fn when(&self, tick: Tick, from_us: u64) -> u64 {
        let passed = tick.0.saturating_sub(self.origin_us);
        let mut at = u64::try_from(u128::from(passed) * 1_000_000 / u128::from(1_000_000 + self.fast_ppm))
            .expect("slower than the tick");
        while self.now(at).tick < tick {
            at += 1;
        }
        at.max(from_us)
    }

    fn gain(&self, time_us: u64) -> u64 {
        u64::try_from(u128::from(time_us) * u128::from(self.fast_ppm) / 1_000_000).expect("less than the time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_the_inverse_of_now() {
        let clock = Clock::new(12_345, 9_999, 7);
        for at in [0, 1, 999_999, 123_456_789] {
            let tick = clock.now(at).tick;
            let back = clock.when(tick, 0);
            assert!(back <= at && clock.now(back).tick >= tick);
        }
        assert_eq!(clock.when(Tick(0), 50), 50);
        assert_eq!(clock.now(1_000_000).tick.0 - 12_345, 1_009_999);
    }
}
