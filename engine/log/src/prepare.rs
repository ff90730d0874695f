//! The thread that makes the next segment ready while the current one fills.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};

use crate::error::LogError;
use crate::event::Event;
use crate::medium::{PrepareFault, Segment};
use crate::segment_file::{CHUNK_BYTES, SegmentFile};

/// How far the thread may go. Paced by appends, so that an idle log writes nothing and a busy one shares the disk
/// evenly instead of being stalled by 64 MiB of zeroes at once.
#[derive(Default)]
struct Pace {
    allowed: AtomicU64,
    /// What the thread waits for.
    target: AtomicU64,
    stop: AtomicBool,
}

struct Order {
    segment: Segment,
    header: Vec<u8>,
}

type Outcome = Result<SegmentFile, PrepareFault>;

/// The owner's end.
pub(crate) struct Preparer {
    pace: Arc<Pace>,
    orders: Option<SyncSender<Order>>,
    outcomes: Receiver<Outcome>,
    thread: Option<JoinHandle<()>>,
    dir: PathBuf,
}

impl Preparer {
    pub(crate) fn spawn(dir: PathBuf, direct: bool, event: Arc<Event>) -> Result<Preparer, LogError> {
        let pace = Arc::new(Pace::default());
        // One order at a time, one outcome for each.
        let (orders, inbox) = sync_channel::<Order>(1);
        let (outbox, outcomes) = sync_channel::<Outcome>(1);
        let theirs = Arc::clone(&pace);
        let thread_dir = dir.clone();
        let thread = thread::Builder::new()
            .name("log-prepare".to_owned())
            .spawn(move || {
                while let Ok(order) = inbox.recv() {
                    let mut may_write = |written| theirs.await_chunk(written);
                    let made = SegmentFile::create(&thread_dir, order.segment, &order.header, direct, &mut may_write);
                    let outcome = match made {
                        Ok(Some(file)) => Ok(file),
                        Ok(None) => return,
                        Err(fault) => Err(fault),
                    };
                    if outbox.send(outcome).is_err() {
                        return;
                    }
                    event.signal();
                }
            })
            .map_err(|error| LogError::io("start a thread for", &dir, 0, &error))?;
        Ok(Preparer {
            pace,
            orders: Some(orders),
            outcomes,
            thread: Some(thread),
            dir,
        })
    }

    pub(crate) fn order(&mut self, segment: Segment, header: Vec<u8>) {
        self.pace.allowed.store(0, Ordering::SeqCst);
        let orders = self.orders.as_ref().expect("taken only in drop");
        orders
            .try_send(Order { segment, header })
            .expect("one segment is prepared at a time");
    }

    pub(crate) fn grant(&self, bytes: u64) {
        let pace = &self.pace;
        // Only the owner adds, so there is no lost update.
        let allowed = pace.allowed.load(Ordering::SeqCst).saturating_add(bytes);
        pace.allowed.store(allowed, Ordering::SeqCst);
        if allowed >= pace.target.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    pub(crate) fn outcome(&mut self) -> Option<Outcome> {
        match self.outcomes.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                let error = std::io::Error::other("the preparing thread has ended");
                Some(Err(PrepareFault::Failed(LogError::io(
                    "prepare a segment in",
                    &self.dir,
                    0,
                    &error,
                ))))
            }
        }
    }
}

impl Pace {
    /// Blocks until the chunk behind `written` is allowed; false when the log is being dropped.
    fn await_chunk(&self, written: u64) -> bool {
        let target = written + CHUNK_BYTES;
        self.target.store(target, Ordering::SeqCst);
        loop {
            if self.stop.load(Ordering::SeqCst) {
                return false;
            }
            if self.allowed.load(Ordering::SeqCst) >= target {
                self.target.store(u64::MAX, Ordering::SeqCst);
                return true;
            }
            thread::park();
        }
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.pace.stop.store(true, Ordering::SeqCst);
        self.orders = None;
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there ends a release process at once; in tests it has been printed.
            drop(thread.join());
        }
    }
}
