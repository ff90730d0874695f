//! The door: how many handshakes may be under way, and who must prove an address first.

use crate::TransportConfig;
use crate::counters::Counts;
use quinn::{Connecting, Incoming};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Admits handshakes up to `max_incoming`; from half of it on, an address that has not been proven gets a QUIC retry,
/// which costs the flooder a round trip and us nothing.
pub(crate) struct Door {
    permits: Arc<Semaphore>,
    limit: usize,
}

impl Door {
    pub(crate) fn new(config: &TransportConfig) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(config.max_incoming)),
            limit: config.max_incoming,
        }
    }

    /// Begins the handshake, or turns the caller away and counts it. The permit is held until the handshake is over.
    pub(crate) fn admit(&self, incoming: Incoming, counts: &Counts) -> Option<(Connecting, OwnedSemaphorePermit)> {
        let busy = self.limit - self.permits.available_permits();
        if 2 * busy >= self.limit && incoming.may_retry() && !incoming.remote_address_validated() {
            counts.retries.fetch_add(1, Relaxed);
            // It fails only if there was a retry before, which was just excluded.
            let _ = incoming.retry();
            return None;
        }
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            counts.refused_incoming.fetch_add(1, Relaxed);
            incoming.refuse();
            return None;
        };
        match incoming.accept() {
            Ok(connecting) => Some((connecting, permit)),
            Err(error) => {
                tracing::debug!(%error, "first packet of a connection is unusable");
                counts.refused_incoming.fetch_add(1, Relaxed);
                None
            }
        }
    }
}
