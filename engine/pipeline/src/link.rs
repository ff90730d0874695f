//! Links: bounded single-producer single-consumer queues between two stages.
//!
//! A link is bounded in items and in bytes. The producer asks for room before it takes input of its own, so that a
//! push never fails; where the topology lets a link shed, the producer counts what it turned away. A push marks the
//! consumer's thread to be woken; a pop from a link whose producer waits for room marks the producer's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

use crate::bugs::Bug;
use crate::signal::Threads;
use crate::topology::{LinkSpec, Room};

/// What a link counts. Relaxed: each number stands for itself.
#[derive(Debug)]
pub(crate) struct LinkCounts {
    pub(crate) spec: &'static LinkSpec,
    pub(crate) room: Room,
    /// Items ever pushed.
    pushed: AtomicU64,
    /// Items ever popped.
    popped: AtomicU64,
    /// Bytes in the link now.
    bytes: AtomicUsize,
    /// The most items that were in it.
    high_water: AtomicUsize,
    /// Items that its producer turned away because it was full.
    shed: AtomicU64,
    /// Items with a weight that were pushed although it held its bytes: 0 unless a producer did not ask.
    overruns: AtomicU64,
    /// How often the producer found no room.
    starvations: AtomicU64,
    /// The producer found no room and waits.
    starved: AtomicBool,
}

impl LinkCounts {
    /// The link as it is now.
    #[cfg(feature = "simulation")]
    pub(crate) fn view(&self) -> crate::simulation::LinkView {
        let [held, high_water, _, shed] = self.snapshot();
        let items = |count: u64| usize::try_from(count).expect("a link holds few items");
        crate::simulation::LinkView {
            name: self.spec.name,
            room: self.room,
            held: items(held),
            high_water: items(high_water),
            starvations: self.starvations.load(Ordering::Relaxed),
            overruns: self.overruns.load(Ordering::Relaxed),
            shed,
        }
    }

    /// Bytes in the link.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How often its producer found no room.
    pub(crate) fn starvations(&self) -> u64 {
        self.starvations.load(Ordering::Relaxed)
    }

    /// Items in the link, the most there ever were, items ever pushed, items shed.
    pub(crate) fn snapshot(&self) -> [u64; 4] {
        let popped = self.popped.load(Ordering::Relaxed);
        let pushed = self.pushed.load(Ordering::Relaxed);
        let high = self.high_water.load(Ordering::Relaxed) as u64;
        [
            pushed.saturating_sub(popped),
            high,
            pushed,
            self.shed.load(Ordering::Relaxed),
        ]
    }
}

/// Makes a link with so much room between a stage on thread `from` and one on thread `to`.
pub(crate) fn link<T>(
    spec: &'static LinkSpec,
    room: Room,
    threads: &Threads,
    from: usize,
    to: usize,
) -> (Sender<T>, Receiver<T>) {
    let (producer, consumer) = rtrb::RingBuffer::new(room.depth);
    let counts = Arc::new(LinkCounts {
        spec,
        room,
        pushed: AtomicU64::new(0),
        popped: AtomicU64::new(0),
        bytes: AtomicUsize::new(0),
        high_water: AtomicUsize::new(0),
        shed: AtomicU64::new(0),
        overruns: AtomicU64::new(0),
        starvations: AtomicU64::new(0),
        starved: AtomicBool::new(false),
    });
    let ends = Ends {
        threads: threads.clone(),
        from,
        to,
    };
    let sender = Sender {
        ring: producer,
        counts: counts.clone(),
        ends: ends.clone(),
    };
    (
        sender,
        Receiver {
            ring: consumer,
            counts,
            ends,
        },
    )
}

#[derive(Clone, Debug)]
struct Ends {
    threads: Threads,
    from: usize,
    to: usize,
}

/// The producer's end.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    ring: rtrb::Producer<(usize, T)>,
    counts: Arc<LinkCounts>,
    ends: Ends,
}

impl<T> Sender<T> {
    /// Whether one more item fits. If not, the producer's thread is woken when one does.
    pub(crate) fn room(&self) -> bool {
        self.room_beside(0, 0)
    }

    /// Whether one more item fits beside `items` of `bytes` that the producer has in hand for this link. If not, its
    /// thread is woken when there is more room.
    pub(crate) fn room_beside(&self, items: usize, bytes: usize) -> bool {
        self.has_room(items, bytes) || self.ends.threads.bugs().has(Bug::RoomNotAsked) || {
            self.counts.starvations.fetch_add(1, Ordering::Relaxed);
            self.counts.starved.store(true, Ordering::Relaxed);
            // Pairs with the fence in `Receiver::pop`: either this second look sees the freed place, or the consumer
            // sees that its producer waits.
            fence(Ordering::SeqCst);
            self.has_room(items, bytes)
        }
    }

    fn has_room(&self, items: usize, bytes: usize) -> bool {
        self.ring.slots() > items
            && (self.counts.bytes.load(Ordering::Relaxed) + bytes < self.counts.room.bytes
                || self.ends.threads.bugs().has(Bug::BytesNotCounted))
    }

    /// How many items fit, whatever they weigh.
    pub(crate) fn places(&self) -> usize {
        self.ring.slots()
    }

    /// Pushes an item that weighs `bytes`.
    ///
    /// # Panics
    ///
    /// If the link is full in items: the producer asks for room first.
    pub(crate) fn push(&mut self, bytes: usize, item: T) {
        let pushed = self.ring.push((bytes, item)).is_ok();
        assert!(pushed, "pushed to the full link {}", self.counts.spec.name);
        let before = self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before >= self.counts.room.bytes && bytes > 0 {
            self.counts.overruns.fetch_add(1, Ordering::Relaxed);
        }
        self.counts.pushed.fetch_add(1, Ordering::Relaxed);
        let held = self.counts.room.depth - self.ring.slots();
        if held > self.counts.high_water.load(Ordering::Relaxed) {
            self.counts.high_water.store(held, Ordering::Relaxed);
        }
        self.ends.threads.mark(self.ends.from, self.ends.to);
    }

    /// Counts an item that was turned away.
    pub(crate) fn shed(&self) {
        debug_assert!(self.counts.spec.sheds, "{} must not shed", self.counts.spec.name);
        self.counts.shed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Arc<LinkCounts> {
        self.counts.clone()
    }
}

/// The consumer's end.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    ring: rtrb::Consumer<(usize, T)>,
    counts: Arc<LinkCounts>,
    ends: Ends,
}

impl<T> Receiver<T> {
    /// Takes the oldest item.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let (bytes, item) = self.ring.pop().ok()?;
        self.counts.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.counts.popped.fetch_add(1, Ordering::Relaxed);
        if self.ends.from != self.ends.to {
            fence(Ordering::SeqCst);
            if self.counts.starved.load(Ordering::Relaxed) {
                self.counts.starved.store(false, Ordering::Relaxed);
                if !self.ends.threads.bugs().has(Bug::LostWake) {
                    self.ends.threads.mark(self.ends.to, self.ends.from);
                }
            }
        }
        Some(item)
    }

    /// Looks at the oldest item.
    pub(crate) fn peek(&self) -> Option<&T> {
        self.ring.peek().ok().map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Stage;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};

    static SMALL: LinkSpec = LinkSpec {
        name: "small",
        from: Stage::Ingress,
        to: Stage::Verify,
        depth: 2,
        bytes: 100,
        sheds: true,
    };

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_link_is_bounded_in_items_and_in_bytes() {
        let threads = Threads::new(1);
        let (mut sender, mut receiver) = link(&SMALL, SMALL.room(), &threads, 0, 0);
        assert!(sender.room());
        sender.push(1, 'a');
        sender.push(1, 'b');
        assert!(!sender.room(), "two items fill it");
        sender.shed();
        assert_eq!(receiver.peek(), Some(&'a'));
        assert_eq!(receiver.pop(), Some('a'));
        assert!(sender.room());
        assert_eq!(receiver.pop(), Some('b'));
        assert_eq!(receiver.pop(), None);
        sender.push(100, 'c');
        assert!(!sender.room(), "its bytes fill it");
        assert_eq!(receiver.pop(), Some('c'));
        assert!(sender.room());
        assert_eq!(sender.counts().snapshot(), [0, 2, 3, 1]);
    }

    #[test]
    #[should_panic(expected = "full link small")]
    fn a_push_without_room_is_a_broken_invariant() {
        let threads = Threads::new(1);
        let (mut sender, _receiver) = link(&SMALL, SMALL.room(), &threads, 0, 0);
        (0..3).for_each(|item| sender.push(0, item));
    }

    #[test]
    fn a_push_wakes_the_consumer_and_a_pop_the_producer_that_waits() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let woken = || count.0.load(Ordering::SeqCst);
        let threads = Threads::new(2);
        let (mut sender, mut receiver) = link(&SMALL, SMALL.room(), &threads, 0, 1);
        threads.signal(1).arm(&waker);
        sender.push(1, 'a');
        sender.push(1, 'b');
        assert_eq!(woken(), 0, "wake-ups are gathered");
        threads.flush(0);
        assert_eq!(woken(), 1);
        threads.signal(0).arm(&waker);
        assert!(!sender.room());
        receiver.pop();
        threads.flush(1);
        assert_eq!(woken(), 2, "the producer waited for room");
        threads.signal(0).arm(&waker);
        receiver.pop();
        threads.flush(1);
        assert_eq!(woken(), 2, "nobody waited for room");
    }

    #[test]
    fn two_threads_pass_everything_in_order_and_never_miss_a_wake_up() {
        use std::thread;
        struct Unpark(thread::Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        const ITEMS: u64 = 20_000;
        let threads = Threads::new(2);
        let (mut sender, mut receiver) = link::<u64>(&SMALL, SMALL.room(), &threads, 0, 1);
        let theirs = threads.clone();
        let consumer = thread::spawn(move || {
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            let mut next = 0;
            while next < ITEMS {
                theirs.signal(1).arm(&waker);
                match receiver.pop() {
                    Some(item) => {
                        assert_eq!(item, next);
                        next += 1;
                    }
                    None => thread::park(),
                }
                theirs.flush(1);
            }
        });
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        for item in 0..ITEMS {
            loop {
                threads.signal(0).arm(&waker);
                if sender.room() {
                    break;
                }
                thread::park();
            }
            sender.push(1, item);
            threads.flush(0);
        }
        consumer.join().unwrap();
    }
}
