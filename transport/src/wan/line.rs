//! Datagrams that are under way: a heap by arrival, and a thread that waits for the next one.
//!
//! A thread, because a runtime's timer counts in milliseconds, and because the owner's thread may be busy: what is on
//! its way through a network does not wait for the computer that sent it.

use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

/// What may be under way through one socket; more is dropped.
const MAX_BYTES: usize = 64 << 20;
/// A parcel's own size beside its contents.
const OVERHEAD_BYTES: usize = 128;

/// What happens to a parcel when its time has come.
pub(super) type Deliver<T> = Box<dyn FnMut(T, Bytes) + Send>;

struct Parcel<T> {
    due: Instant,
    /// Of those that are due at the same time, the first that was sent comes first.
    number: u64,
    label: T,
    contents: Bytes,
}

impl<T> Ord for Parcel<T> {
    /// The heap gives the greatest: the earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl<T> PartialOrd for Parcel<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Parcel<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Parcel<T> {}

struct State<T> {
    heap: BinaryHeap<Parcel<T>>,
    bytes: usize,
    sent: u64,
    closed: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

/// Keeps parcels until they are due. When it is dropped, what is under way still arrives.
pub(super) struct Line<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Send + 'static> Line<T> {
    /// A line whose parcels end in `deliver`, on its own thread.
    pub(super) fn start(deliver: Deliver<T>) -> io::Result<Line<T>> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                heap: BinaryHeap::new(),
                bytes: 0,
                sent: 0,
                closed: false,
            }),
            changed: Condvar::new(),
        });
        let line = shared.clone();
        let work = move || work(&line, deliver);
        std::thread::Builder::new().name("wan-line".to_owned()).spawn(work)?;
        Ok(Line { shared })
    }

    /// Takes a parcel in. False: there is no room, it is lost.
    pub(super) fn send(&self, due: Instant, label: T, contents: Bytes) -> bool {
        let mut state = self.shared.state();
        let bytes = contents.len() + OVERHEAD_BYTES;
        if state.bytes + bytes > MAX_BYTES {
            return false;
        }
        state.bytes += bytes;
        state.sent += 1;
        let earliest = state.heap.peek().is_none_or(|first| due < first.due);
        let number = state.sent;
        state.heap.push(Parcel {
            due,
            number,
            label,
            contents,
        });
        drop(state);
        if earliest {
            self.shared.changed.notify_one();
        }
        true
    }
}

impl<T> Drop for Line<T> {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_one();
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("no panic while it is held")
    }
}

fn work<T>(shared: &Shared<T>, mut deliver: Deliver<T>) {
    let mut state = shared.state();
    loop {
        let Some(first) = state.heap.peek() else {
            if state.closed {
                return;
            }
            state = shared.changed.wait(state).expect("no panic while it is held");
            continue;
        };
        let wait = first.due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            (state, _) = shared
                .changed
                .wait_timeout(state, wait)
                .expect("no panic while it is held");
            continue;
        }
        let parcel = state.heap.pop().expect("it was just looked at");
        state.bytes -= parcel.contents.len() + OVERHEAD_BYTES;
        drop(state);
        deliver(parcel.label, parcel.contents);
        state = shared.state();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn parcels_arrive_in_their_order_and_not_early_also_after_the_end() {
        let (arrived, arrivals) = channel();
        let deliver = move |due: Instant, _| arrived.send((due, Instant::now())).unwrap();
        let line = Line::start(Box::new(deliver)).unwrap();
        let start = Instant::now();
        for ms in [30u64, 10, 20, 10, 0] {
            let due = start + Duration::from_millis(ms);
            assert!(line.send(due, due, Bytes::new()));
        }
        drop(line);
        let all: Vec<(Instant, Instant)> = arrivals.iter().collect();
        assert_eq!(all.len(), 5);
        assert!(all.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        assert!(all.iter().all(|(due, came)| came >= due));
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let line = Line::start(Box::new(|(), _| ())).unwrap();
        let due = Instant::now() + Duration::from_secs(3_600);
        let block = Bytes::from(vec![0; 1 << 20]);
        let taken = (0..100).filter(|_| line.send(due, (), block.clone())).count();
        assert!((60..64).contains(&taken), "{taken}");
        line.shared.state().heap.clear();
    }
}
