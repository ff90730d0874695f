//! How threads wake each other.
//!
//! A thread that found nothing to do arms its [`Signal`], looks once more, and sleeps. A thread that pushed something
//! for another one marks it in its own [`Wakes`]; the run loop turns the marks into wake-ups after each stage, so that
//! a stage that pushes a hundred items costs its neighbour one wake-up, and none at all while the neighbour runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::task::Waker;

use atomic_waker::AtomicWaker;

use crate::bugs::Switches;

/// The most threads of a replica: as many as marks fit into [`Wakes`].
pub(crate) const MAX_THREADS: usize = 32;

/// Wakes the run loop of one thread.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    waker: AtomicWaker,
    armed: AtomicBool,
}

impl Signal {
    /// By the owner, before its last look at its links: from here on a push wakes it.
    ///
    /// The fence pairs with the one in [`Signal::notify`]: either the owner's last look sees the push, or the pusher
    /// sees the signal armed.
    pub(crate) fn arm(&self, waker: &Waker) {
        self.waker.register(waker);
        self.armed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// By the owner, when it runs.
    pub(crate) fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
    }

    /// By anybody, after a push: wakes the owner if it sleeps.
    pub(crate) fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.armed.load(Ordering::Relaxed) && self.armed.swap(false, Ordering::Relaxed) {
            self.waker.wake();
        }
    }
}

/// Threads that one thread has to wake. Written and taken by that thread only; atomic because its links are built on
/// another one.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    marks: AtomicU32,
}

impl Wakes {
    pub(crate) fn mark(&self, thread: usize) {
        let bit = 1 << thread;
        if self.marks.load(Ordering::Relaxed) & bit == 0 {
            self.marks.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn take(&self) -> u32 {
        match self.marks.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.marks.swap(0, Ordering::Relaxed),
        }
    }
}

/// The signals of all threads, and the marks of each.
#[derive(Clone, Debug)]
pub(crate) struct Threads {
    signals: Arc<[Signal]>,
    wakes: Arc<[Wakes]>,
    bugs: Switches,
}

impl Threads {
    pub(crate) fn new(count: usize) -> Self {
        assert!(
            (1..=MAX_THREADS).contains(&count),
            "a replica has 1 to {MAX_THREADS} threads"
        );
        Self {
            signals: (0..count).map(|_| Signal::default()).collect(),
            wakes: (0..count).map(|_| Wakes::default()).collect(),
            bugs: Switches::default(),
        }
    }

    /// The same with faults.
    #[cfg(feature = "bugs")]
    pub(crate) fn with_bugs(self, bugs: Switches) -> Self {
        Self { bugs, ..self }
    }

    /// Faults that are switched on.
    pub(crate) fn bugs(&self) -> Switches {
        self.bugs
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.signals.len()
    }

    pub(crate) fn signal(&self, thread: usize) -> &Signal {
        &self.signals[thread]
    }

    /// Marks `other` to be woken by `thread`, unless they are the same.
    pub(crate) fn mark(&self, thread: usize, other: usize) {
        if thread != other {
            self.wakes[thread].mark(other);
        }
    }

    pub(crate) fn mark_all(&self, thread: usize) {
        (0..self.signals.len()).for_each(|other| self.mark(thread, other));
    }

    /// Wakes what `thread` has marked.
    pub(crate) fn flush(&self, thread: usize) {
        let mut marks = self.wakes[thread].take();
        while marks != 0 {
            let other = marks.trailing_zeros() as usize;
            marks &= marks - 1;
            self.signals[other].notify();
        }
    }

    /// Wakes every thread, from anywhere.
    pub(crate) fn notify_all(&self) {
        self.signals.iter().for_each(Signal::notify);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn only_an_armed_thread_is_woken_and_only_once() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let threads = Threads::new(2);
        threads.mark(0, 1);
        threads.flush(0);
        assert_eq!(count.0.load(Ordering::SeqCst), 0, "not armed");
        threads.signal(1).arm(&waker);
        threads.mark(0, 1);
        threads.mark(0, 1);
        threads.mark(0, 0);
        threads.flush(0);
        threads.mark(0, 1);
        threads.flush(0);
        assert_eq!(count.0.load(Ordering::SeqCst), 1, "one wake-up for all marks");
        threads.signal(1).arm(&waker);
        threads.signal(1).disarm();
        threads.notify_all();
        assert_eq!(count.0.load(Ordering::SeqCst), 1, "it runs");
    }
}
