//! The one place of this crate that reads clocks; everything else is given the time.
#![allow(
    clippy::disallowed_methods,
    reason = "this is the boundary between the sans-io part and the world"
)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use trireme_core::types::Tick;

/// Counts microseconds from its making.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Tick {
        Tick(u64::try_from(self.0.elapsed().as_micros()).expect("584,000 years"))
    }

    /// The instant of a tick, for the runtime's timer.
    pub(crate) fn instant(&self, tick: Tick) -> tokio::time::Instant {
        // A tick that no clock reaches is a timer that never fires: some years are as good.
        let after = Duration::from_micros(tick.0).min(Duration::from_secs(1 << 28));
        tokio::time::Instant::from_std(self.0 + after)
    }
}

/// Microseconds since the Unix epoch, at least 1.
pub(crate) fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(1).max(1)
}
