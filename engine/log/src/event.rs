//! The eventfd that wakes the owner of the log, and the clock.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{ClockId, clock_gettime};

use crate::error::LogError;

/// Wakes whoever polls the descriptor.
pub(crate) struct Event(OwnedFd);

impl Event {
    pub(crate) fn new() -> Result<Event, LogError> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map(Event)
            .map_err(|errno| LogError::io("eventfd", Path::new(""), 0, &errno.into()))
    }

    pub(crate) fn signal(&self) {
        // It can only refuse when the counter is full: then it is readable already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Before looking for news: what comes later signals again.
    pub(crate) fn drain(&self) {
        let mut count = [0; 8];
        // Nothing to drain is the usual case.
        let _ = rustix::io::read(&self.0, &mut count);
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Microseconds of the monotonic clock; only differences mean anything.
pub(crate) fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000 + now.tv_nsec.cast_unsigned() / 1_000
}
