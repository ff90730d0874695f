//! What a link of the pipeline costs by itself: for benches.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::link::link;
use crate::signal::Threads;
use crate::topology::{LinkSpec, MESSAGES};

/// Depth of the links that are measured: that of the link between members and order.
pub static LINK: &LinkSpec = &MESSAGES;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Passes items over a link within one thread, in runs of `run`; the time of all.
pub fn same_thread(items: u64, run: u64) -> Duration {
    let threads = Threads::new(1);
    let (mut sender, mut receiver) = link::<u64>(LINK, LINK.room(), &threads, 0, 0);
    let start = Instant::now();
    let mut next = 0;
    while next < items {
        let end = items.min(next + run);
        for item in next..end {
            assert!(sender.room(), "runs are shorter than the link");
            sender.push(64, item);
        }
        threads.flush(0);
        for item in next..end {
            assert_eq!(receiver.pop(), Some(item));
        }
        next = end;
    }
    start.elapsed()
}

/// One item at a time to another thread that sleeps and back: the time of each round trip, two wake-ups.
pub fn round_trips(count: u64) -> Vec<Duration> {
    let threads = Threads::new(2);
    let (mut there, mut hears) = link::<u64>(LINK, LINK.room(), &threads, 0, 1);
    let (mut answers, mut back) = link::<u64>(LINK, LINK.room(), &threads, 1, 0);
    let theirs = threads.clone();
    let echo = thread::spawn(move || {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        for _ in 0..count {
            let item = take(&mut hears, &theirs, 1, &waker);
            answers.push(64, item);
            theirs.flush(1);
        }
    });
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let times = (0..count)
        .map(|item| {
            let start = Instant::now();
            there.push(64, item);
            threads.flush(0);
            assert_eq!(take(&mut back, &threads, 0, &waker), item);
            start.elapsed()
        })
        .collect();
    echo.join().expect("the echo ends in order");
    times
}

/// Sleeps until there is an item, as a run loop does.
fn take(link: &mut crate::link::Receiver<u64>, threads: &Threads, own: usize, waker: &Waker) -> u64 {
    loop {
        threads.signal(own).arm(waker);
        match link.pop() {
            Some(item) => return item,
            None => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_arrives() {
        assert!(same_thread(10_000, 100) > Duration::ZERO);
        assert_eq!(round_trips(50).len(), 50);
    }
}
