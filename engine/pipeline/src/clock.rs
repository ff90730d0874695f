//! The only place of the engine that reads clocks.
#![allow(clippy::disallowed_methods)] // This is where clocks are read; everywhere else time is an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use trireme_core::{Now, Tick};

/// A monotonic clock with an origin, and the wall clock. Copies share the origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose ticks count from now.
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Both clocks, for one step of the core.
    pub(crate) fn now(&self) -> Now {
        Now {
            tick: Tick(micros(self.origin.elapsed())),
            wall_us: self.wall_us(),
        }
    }

    /// Microseconds since the Unix epoch.
    pub(crate) fn wall_us(&self) -> u64 {
        micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
    }

    /// Nanoseconds since the origin.
    pub(crate) fn nanos(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The instant at which a tick is reached, for a timer.
    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        // Far-away timers are cut to a day: the timer is set anew whenever it fires too early.
        let ahead = Duration::from_micros(tick.0.min(micros(self.origin.elapsed()) + 86_400_000_000));
        self.origin + ahead
    }
}

/// Whole microseconds of a duration.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// CPU time of the calling thread in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    cpu_ns(ClockId::ThreadCPUTime)
}

/// CPU time of the process in nanoseconds.
pub(crate) fn process_cpu_ns() -> u64 {
    cpu_ns(ClockId::ProcessCPUTime)
}

fn cpu_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_instants_agree() {
        let clock = Clock::start();
        let now = clock.now();
        assert!(clock.instant(now.tick) <= Instant::now());
        assert!(clock.instant(now.tick.plus(1_000_000)) > Instant::now());
        assert!(clock.instant(Tick(u64::MAX)) > Instant::now());
        assert!(clock.now().tick >= now.tick);
        assert!(process_cpu_ns() >= thread_cpu_ns());
    }
}
