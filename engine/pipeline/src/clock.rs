//! The only place of the engine that reads clocks.
#![allow(clippy::disallowed_methods)] // This is where clocks are read; everywhere else time is an argument.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Sleep, sleep_until};
use trireme_core::{Now, Tick};

/// A monotonic clock with an origin, and the wall clock. Copies share the origin.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    /// The system's.
    System { origin: Instant },
    /// The simulator's.
    #[cfg(feature = "simulation")]
    Simulated(std::sync::Arc<crate::simulation::SimulatedTime>),
}

impl Clock {
    /// A clock whose ticks count from now.
    pub(crate) fn start() -> Self {
        Self::System { origin: Instant::now() }
    }

    /// Time since the origin.
    fn elapsed(&self) -> Duration {
        match self {
            Self::System { origin } => origin.elapsed(),
            #[cfg(feature = "simulation")]
            Self::Simulated(time) => Duration::from_micros(time.tick().0),
        }
    }

    /// Both clocks, for one step of the core.
    pub(crate) fn now(&self) -> Now {
        Now {
            tick: self.tick(),
            wall_us: self.wall_us(),
        }
    }

    /// Microseconds since the origin.
    pub(crate) fn tick(&self) -> Tick {
        Tick(micros(self.elapsed()))
    }

    /// Microseconds since the Unix epoch.
    pub(crate) fn wall_us(&self) -> u64 {
        match self {
            Self::System { .. } => micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)),
            #[cfg(feature = "simulation")]
            Self::Simulated(time) => time.wall_us(),
        }
    }

    /// Nanoseconds since the origin.
    pub(crate) fn nanos(&self) -> u64 {
        u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// CPU time of the calling thread in nanoseconds; none in a simulation, whose runs must not differ by it.
    pub(crate) fn thread_cpu_ns(&self) -> u64 {
        match self {
            Self::System { .. } => cpu_ns(ClockId::ThreadCPUTime),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => 0,
        }
    }

    /// CPU time of the process, likewise.
    pub(crate) fn process_cpu_ns(&self) -> u64 {
        match self {
            Self::System { .. } => cpu_ns(ClockId::ProcessCPUTime),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => 0,
        }
    }

    /// A timer that fires when a tick is reached; inside the runtime of its thread.
    pub(crate) fn timer(&self, tick: Tick) -> Timer {
        match self {
            Self::System { origin } => {
                let sleep = sleep_until(instant(*origin, tick).into());
                Timer::System {
                    origin: *origin,
                    sleep: Box::pin(sleep),
                }
            }
            #[cfg(feature = "simulation")]
            Self::Simulated(time) => Timer::Simulated(crate::simulation::SimulatedTimer::new(time, tick)),
        }
    }
}

/// The instant at which a tick is reached. Far-away ones are cut to a day: a timer is set anew whenever it fires too
/// early.
fn instant(origin: Instant, tick: Tick) -> Instant {
    origin + Duration::from_micros(tick.0.min(micros(origin.elapsed()) + 86_400_000_000))
}

/// Wakes its thread at a tick.
#[derive(Debug)]
pub(crate) enum Timer {
    System {
        origin: Instant,
        sleep: Pin<Box<Sleep>>,
    },
    #[cfg(feature = "simulation")]
    Simulated(crate::simulation::SimulatedTimer),
}

impl Timer {
    /// Sets it anew.
    pub(crate) fn reset(&mut self, tick: Tick) {
        match self {
            Self::System { origin, sleep } => sleep.as_mut().reset(instant(*origin, tick).into()),
            #[cfg(feature = "simulation")]
            Self::Simulated(timer) => timer.reset(tick),
        }
    }

    /// Whether it has fired; if not, it wakes the caller when it does.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::System { sleep, .. } => sleep.as_mut().poll(cx).is_ready(),
            #[cfg(feature = "simulation")]
            Self::Simulated(timer) => timer.poll(cx),
        }
    }
}

/// Whole microseconds of a duration.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn cpu_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(irrefutable_let_patterns)] // Without the simulator there is one kind of clock.
    fn ticks_and_instants_agree() {
        let clock = Clock::start();
        let Clock::System { origin } = &clock else {
            unreachable!("it was just started")
        };
        let now = clock.now();
        assert!(instant(*origin, now.tick) <= Instant::now());
        assert!(instant(*origin, now.tick.plus(1_000_000)) > Instant::now());
        assert!(instant(*origin, Tick(u64::MAX)) > Instant::now());
        assert!(clock.now().tick >= now.tick);
        assert!(clock.process_cpu_ns() >= clock.thread_cpu_ns());
    }
}
