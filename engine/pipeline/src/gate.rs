//! What all stages may know at any time, without asking each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::bugs::Bug;
use crate::events::Events;
use crate::signal::Threads;

/// Switches between stages.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    log_full: AtomicBool,
    alarmed: AtomicBool,
    stopping: AtomicBool,
    /// What happened lately.
    pub(crate) events: Events,
}

impl Gate {
    /// The log has room for what is under way, but not for new requests.
    pub(crate) fn set_log_full(&self, full: bool) {
        self.log_full.store(full, Ordering::Relaxed);
    }

    pub(crate) fn log_full(&self) -> bool {
        self.log_full.load(Ordering::Relaxed)
    }

    /// The core raised an alarm and has stopped voting.
    pub(crate) fn alarm(&self) {
        self.alarmed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn alarmed(&self) -> bool {
        self.alarmed.load(Ordering::Relaxed)
    }

    /// The replica is to stop.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Requests of one connection on their way to the core, which frees them ([`Permit`]).
#[derive(Debug)]
pub(crate) struct Intake {
    bytes: AtomicUsize,
    /// Reading from the connection is paused until there is room.
    paused: AtomicBool,
    total: Arc<AtomicUsize>,
    threads: Threads,
    ingress: usize,
}

impl Intake {
    /// Of a connection of the ingress stage on thread `ingress`; `total` is all connections' sum.
    pub(crate) fn new(total: &Arc<AtomicUsize>, threads: &Threads, ingress: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicUsize::new(0),
            paused: AtomicBool::new(false),
            total: total.clone(),
            threads: threads.clone(),
            ingress,
        })
    }

    /// Bytes of this connection that the core did not take yet.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }

    /// Whether permits that end have to wake the ingress stage.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
    }
}

/// Room that a bundle takes up until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    intake: Arc<Intake>,
    bytes: usize,
}

impl Permit {
    pub(crate) fn new(intake: &Arc<Intake>, bytes: usize) -> Self {
        intake.bytes.fetch_add(bytes, Ordering::SeqCst);
        intake.total.fetch_add(bytes, Ordering::Relaxed);
        Self {
            intake: intake.clone(),
            bytes,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.intake.bytes.fetch_sub(self.bytes, Ordering::SeqCst);
        self.intake.total.fetch_sub(self.bytes, Ordering::Relaxed);
        let lost = self.intake.threads.bugs().has(Bug::LostResume);
        if self.intake.paused.load(Ordering::SeqCst) && !lost {
            self.intake.threads.signal(self.intake.ingress).notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_count_for_their_connection_and_for_all() {
        let total = Arc::new(AtomicUsize::new(0));
        let threads = Threads::new(1);
        let (a, b) = (Intake::new(&total, &threads, 0), Intake::new(&total, &threads, 0));
        let first = Permit::new(&a, 100);
        let second = Permit::new(&b, 20);
        assert_eq!((a.bytes(), b.bytes(), total.load(Ordering::Relaxed)), (100, 20, 120));
        drop(first);
        assert_eq!((a.bytes(), b.bytes(), total.load(Ordering::Relaxed)), (0, 20, 20));
        drop(second);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }
}
