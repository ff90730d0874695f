//! A timer of nanoseconds. The runtime's own has a resolution of a millisecond: at 1,000 requests a second it would
//! add as much to each latency as the cluster does.

use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::unix::AsyncFd;

use crate::options::LoadError;

/// Goes off once, some time after it was set.
pub(crate) struct Alarm {
    timer: AsyncFd<OwnedFd>,
    set: bool,
}

impl Alarm {
    pub(crate) fn new() -> Result<Self, LoadError> {
        let failed = |operation, source| LoadError::Runtime { operation, source };
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags);
        let timer = timer.map_err(|errno| failed("timerfd_create", errno.into()))?;
        #[expect(
            deprecated,
            reason = "its successor is an unsafe function that asks for just what an OwnedFd gives"
        )]
        let timer = AsyncFd::new(timer).map_err(|source| failed("registering a timer", source))?;
        Ok(Self { timer, set: false })
    }

    /// Goes off after `pause`, instead of what was set before.
    pub(crate) fn set(&mut self, pause: Duration) {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Zero would switch the timer off.
        let pause = pause.max(Duration::from_nanos(1));
        let value = Timespec {
            tv_sec: i64::try_from(pause.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(pause.subsec_nanos()),
        };
        let spec = Itimerspec {
            it_interval: zero,
            it_value: value,
        };
        rustix::time::timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &spec)
            .expect("a timer that is open takes a time that is valid");
        self.set = true;
    }

    /// Ready once when it has gone off.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.set {
            let mut ready = ready!(self.timer.poll_read_ready(cx)).expect("the runtime is alive");
            let mut expirations = [0; 8];
            match rustix::io::read(self.timer.get_ref(), &mut expirations) {
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                read => {
                    read.expect("a timer can be read");
                    self.set = false;
                    return Poll::Ready(());
                }
            }
        }
        Poll::Pending
    }
}
