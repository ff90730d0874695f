//! Events on their way to the owner: bounded for each sender, control before bulk.

use atomic_waker::AtomicWaker;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// What a waiting frame costs beyond its payload.
const FRAME_OVERHEAD_BYTES: usize = 64;

/// How many events go before a waiting bulk frame, so that a flood of control frames cannot hold up bulk for ever.
const CONTROL_STREAK: u32 = 64;

/// The credit of one received stream: its reader reads on only while what waits for the owner is below the limit.
#[derive(Debug)]
pub(crate) struct Gate {
    limit: usize,
    used: AtomicUsize,
    paused: AtomicBool,
    reader: AtomicWaker,
}

impl Gate {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        })
    }

    fn is_open(&self) -> bool {
        self.used.load(SeqCst) < self.limit && !self.paused.load(SeqCst)
    }

    /// Ready when the (one) reader may go on.
    pub(crate) fn poll_open(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_open() {
            return Poll::Ready(());
        }
        self.reader.register(cx.waker());
        // Again, in case it opened between the look and the registration.
        if self.is_open() { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, SeqCst);
        if !paused {
            self.reader.wake();
        }
    }

    fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, SeqCst);
    }

    fn give_back(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, SeqCst);
        assert!(before >= bytes, "gave back more credit than was taken");
        if before >= self.limit && before - bytes < self.limit {
            self.reader.wake();
        }
    }
}

/// A queued event and the credit that it holds.
#[derive(Debug)]
struct Entry<E> {
    event: E,
    credit: Option<(Arc<Gate>, usize)>,
}

#[derive(Debug)]
struct State<E> {
    first: VecDeque<Entry<E>>,
    bulk: VecDeque<Entry<E>>,
    /// Events in `first` that hold no credit.
    notices: usize,
    streak: u32,
    owner: Option<Waker>,
}

/// The queue between an endpoint's tasks and its owner.
#[derive(Debug)]
pub(crate) struct Inbound<E> {
    state: Mutex<State<E>>,
    notice_limit: usize,
}

/// Which of the two lines an event waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    First,
    Bulk,
}

impl<E> Inbound<E> {
    /// `notice_limit` bounds the events that are no frames.
    pub(crate) fn new(notice_limit: usize) -> Self {
        Self {
            state: Mutex::new(State {
                first: VecDeque::new(),
                bulk: VecDeque::new(),
                notices: 0,
                streak: 0,
                owner: None,
            }),
            notice_limit,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().expect("no panic while the queue is held")
    }

    /// Whether another connection may begin: the owner must have taken most notices of earlier ones. A connection
    /// makes at most two notices, so the bound holds within a factor.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().notices < self.notice_limit
    }

    /// Queues frames of one stream and the credit that they hold, unless `alive` has become false: it is read under
    /// the lock under which [`Inbound::push_end`] clears it, so that no frame follows the end of its connection.
    pub(crate) fn push_frames(
        &self,
        line: Line,
        gate: &Arc<Gate>,
        alive: &AtomicBool,
        frames: impl Iterator<Item = (usize, E)>,
    ) -> bool {
        let mut state = self.lock();
        if !alive.load(SeqCst) {
            return false;
        }
        for (bytes, event) in frames {
            let bytes = bytes + FRAME_OVERHEAD_BYTES;
            gate.take(bytes);
            let credit = Some((gate.clone(), bytes));
            let entry = Entry { event, credit };
            match line {
                Line::First => state.first.push_back(entry),
                Line::Bulk => state.bulk.push_back(entry),
            }
        }
        Self::wake(state);
        true
    }

    /// Queues a notice.
    pub(crate) fn push_notice(&self, event: E) {
        let mut state = self.lock();
        state.notices += 1;
        state.first.push_back(Entry { event, credit: None });
        Self::wake(state);
    }

    /// Queues the end of a connection, once: false if it was queued before. Bulk frames that `is_stale` finds still
    /// waiting are dropped, since they would otherwise come after the end.
    pub(crate) fn push_end(&self, alive: &AtomicBool, event: E, is_stale: impl Fn(&E) -> bool) -> bool {
        let mut state = self.lock();
        if !alive.swap(false, SeqCst) {
            return false;
        }
        state.bulk.retain(|entry| {
            let stale = is_stale(&entry.event);
            if stale && let Some((gate, bytes)) = &entry.credit {
                gate.give_back(*bytes);
            }
            !stale
        });
        state.notices += 1;
        state.first.push_back(Entry { event, credit: None });
        Self::wake(state);
        true
    }

    fn wake(mut state: MutexGuard<'_, State<E>>) {
        let owner = state.owner.take();
        drop(state);
        if let Some(owner) = owner {
            owner.wake();
        }
    }

    pub(crate) fn try_pop(&self) -> Option<E> {
        Self::pop(&mut self.lock())
    }

    /// Moves up to `max` events to `out`; returns how many.
    pub(crate) fn pop_many(&self, out: &mut Vec<E>, max: usize) -> usize {
        let mut state = self.lock();
        let mut count = 0;
        while count < max
            && let Some(event) = Self::pop(&mut state)
        {
            out.push(event);
            count += 1;
        }
        count
    }

    pub(crate) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<E> {
        let mut state = self.lock();
        match Self::pop(&mut state) {
            Some(event) => Poll::Ready(event),
            None => {
                if !state.owner.as_ref().is_some_and(|old| old.will_wake(cx.waker())) {
                    state.owner = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn pop(state: &mut State<E>) -> Option<E> {
        let bulk_turn = state.streak >= CONTROL_STREAK || state.first.is_empty();
        let entry = if bulk_turn && let Some(entry) = state.bulk.pop_front() {
            state.streak = 0;
            entry
        } else {
            state.streak = state.streak.saturating_add(1);
            state.first.pop_front()?
        };
        match entry.credit {
            Some((gate, bytes)) => gate.give_back(bytes),
            None => state.notices -= 1,
        }
        Some(entry.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &Inbound<u32>, line: Line, gate: &Arc<Gate>, events: &[u32]) {
        let alive = AtomicBool::new(true);
        let frames = events.iter().map(|&event| (100, event));
        assert!(queue.push_frames(line, gate, &alive, frames));
    }

    #[test]
    fn control_goes_first_and_bulk_is_not_starved() {
        let queue = Inbound::new(4);
        let gate = Gate::new(1 << 20);
        push(&queue, Line::Bulk, &gate, &[1_000, 1_001]);
        push(&queue, Line::First, &gate, &(0..100).collect::<Vec<_>>());
        let mut out = Vec::new();
        assert_eq!(queue.pop_many(&mut out, 1_000), 102);
        assert_eq!(out[..64], (0..64).collect::<Vec<_>>());
        assert_eq!(out[64], 1_000);
        assert_eq!(out[101], 1_001);
    }

    #[test]
    fn the_gate_closes_at_its_limit_and_opens_as_the_owner_reads() {
        let queue = Inbound::new(4);
        let gate = Gate::new(300);
        push(&queue, Line::First, &gate, &[1]);
        assert!(gate.is_open());
        push(&queue, Line::First, &gate, &[2]);
        assert!(!gate.is_open());
        assert_eq!(queue.try_pop(), Some(1));
        assert!(gate.is_open());
        gate.set_paused(true);
        assert!(!gate.is_open());
    }

    #[test]
    fn nothing_follows_the_end_of_a_connection() {
        let queue = Inbound::new(4);
        let gate = Gate::new(1 << 20);
        let alive = AtomicBool::new(true);
        push(&queue, Line::Bulk, &gate, &[7, 8]);
        assert!(queue.push_end(&alive, 0, |&event| event == 7));
        assert_eq!(gate.used.load(SeqCst), 100 + FRAME_OVERHEAD_BYTES);
        assert!(!queue.push_end(&alive, 0, |_| true));
        let late = queue.push_frames(Line::First, &gate, &alive, [(1, 9)].into_iter());
        assert!(!late);
        assert_eq!(queue.try_pop(), Some(0));
        assert_eq!(queue.try_pop(), Some(8));
        assert_eq!(queue.try_pop(), None);
    }

    #[test]
    fn notices_are_bounded() {
        let queue = Inbound::new(2);
        queue.push_notice(1);
        assert!(queue.has_room());
        queue.push_notice(2);
        assert!(!queue.has_room());
        assert_eq!(queue.try_pop(), Some(1));
        assert!(queue.has_room());
    }
}
