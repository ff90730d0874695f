//! Time that the simulator moves, and timers on it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};

use trireme_core::Tick;

/// Timers have this resolution, rounded up, as the runtime's have.
const RESOLUTION_US: u64 = 1_000;

/// The clocks of one replica.
#[derive(Debug)]
pub struct SimulatedTime(Mutex<State>);

#[derive(Debug)]
struct State {
    tick: Tick,
    wall_us: u64,
    /// By the time when they fire and their number.
    timers: BTreeMap<(u64, u64), Waker>,
    next: u64,
}

impl SimulatedTime {
    /// Clocks that stand at tick 0 and this wall time.
    pub fn new(wall_us: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            tick: Tick(0),
            wall_us,
            timers: BTreeMap::new(),
            next: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with it")
    }

    /// Moves both clocks and wakes those whose timers are due. The tick never goes back; the wall clock may.
    pub fn set(&self, tick_us: u64, wall_us: u64) {
        let mut state = self.state();
        assert!(tick_us >= state.tick.0, "the monotonic clock went back");
        (state.tick, state.wall_us) = (Tick(tick_us), wall_us);
        let later = state.timers.split_off(&(tick_us + 1, 0));
        let due = std::mem::replace(&mut state.timers, later);
        drop(state);
        due.into_values().for_each(Waker::wake);
    }

    /// Tick at which the next timer fires.
    pub fn next_timer_us(&self) -> Option<u64> {
        self.state().timers.first_key_value().map(|((due, _), _)| *due)
    }

    pub(crate) fn tick(&self) -> Tick {
        self.state().tick
    }

    pub(crate) fn wall_us(&self) -> u64 {
        self.state().wall_us
    }
}

/// A timer on simulated time.
#[derive(Debug)]
pub(crate) struct SimulatedTimer {
    time: Arc<SimulatedTime>,
    due: u64,
    number: u64,
}

impl SimulatedTimer {
    pub(crate) fn new(time: &Arc<SimulatedTime>, tick: Tick) -> Self {
        let mut state = time.state();
        state.next += 1;
        let number = state.next;
        drop(state);
        Self {
            time: time.clone(),
            due: rounded(tick),
            number,
        }
    }

    pub(crate) fn reset(&mut self, tick: Tick) {
        self.cancel();
        self.due = rounded(tick);
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let mut state = self.time.state();
        if state.tick.0 >= self.due {
            return true;
        }
        state.timers.insert((self.due, self.number), cx.waker().clone());
        false
    }

    fn cancel(&self) {
        self.time.state().timers.remove(&(self.due, self.number));
    }
}

fn rounded(tick: Tick) -> u64 {
    tick.0.div_ceil(RESOLUTION_US).saturating_mul(RESOLUTION_US)
}

impl Drop for SimulatedTimer {
    fn drop(&mut self) {
        self.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_timer_wakes_once_when_it_is_due_and_not_after_it_was_reset_or_dropped() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        let woken = || count.0.load(Ordering::SeqCst);
        let time = SimulatedTime::new(7);
        let mut timer = SimulatedTimer::new(&time, Tick(1_500));
        assert!(!timer.poll(&mut cx));
        assert_eq!(time.next_timer_us(), Some(2_000));
        time.set(1_999, 0);
        assert_eq!(woken(), 0);
        time.set(2_000, 0);
        assert_eq!(woken(), 1);
        assert!(timer.poll(&mut cx));
        timer.reset(Tick(5_000));
        assert!(!timer.poll(&mut cx));
        timer.reset(Tick(9_000));
        assert!(!timer.poll(&mut cx));
        time.set(6_000, 0);
        assert_eq!(woken(), 1);
        drop(timer);
        assert_eq!(time.next_timer_us(), None);
    }
}
