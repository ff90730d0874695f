//! The log's event descriptor as something that wakes a run loop.
#![allow(unsafe_code)] // tokio's sound way to register a descriptor is an unsafe function; see the one call.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::ReplicaError;

/// Readable when the log may have news.
#[derive(Debug)]
pub(crate) enum LogEvent {
    /// The log's event descriptor, registered with the runtime.
    Descriptor(AsyncFd<OwnedFd>),
    /// Given by the simulated disk.
    #[cfg(feature = "simulation")]
    Simulated(crate::simulation::DiskSignal),
}

impl LogEvent {
    /// Registers a duplicate of the descriptor with the runtime of the calling thread.
    pub(crate) fn new(event: BorrowedFd<'_>) -> Result<Self, ReplicaError> {
        let failed = ReplicaError::system;
        let event = event
            .try_clone_to_owned()
            .map_err(failed("duplicate the log's event descriptor"))?;
        // SAFETY: the descriptor is open and owned by the `AsyncFd` alone, which closes it after deregistering it;
        // `OwnedFd::as_raw_fd` gives the same one for as long as it lives.
        let registered = unsafe { AsyncFd::register_with_interest(event, Interest::READABLE) };
        let registered = registered.map_err(std::io::Error::from);
        Ok(Self::Descriptor(
            registered.map_err(failed("wait for the log's event descriptor"))?,
        ))
    }

    /// Whether the descriptor became readable since the last call; if not, the caller is woken when it does. What it
    /// counts is for the log to take: `Log::poll` resets it before it looks for news, so no news is missed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Result<bool, ReplicaError> {
        let descriptor = match self {
            Self::Descriptor(descriptor) => descriptor,
            #[cfg(feature = "simulation")]
            Self::Simulated(signal) => return Ok(signal.take(cx)),
        };
        let mut readable = false;
        while let Poll::Ready(ready) = descriptor.poll_read_ready(cx) {
            ready
                .map_err(ReplicaError::system("wait for the log's event descriptor"))?
                .clear_ready();
            readable = true;
        }
        Ok(readable)
    }
}
