//! The log's event descriptor as something that wakes a run loop.
#![allow(unsafe_code)] // tokio's sound way to register a descriptor is an unsafe function; see the one call.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::ReplicaError;

/// Readable when the log may have news.
#[derive(Debug)]
pub(crate) struct LogEvent(AsyncFd<OwnedFd>);

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
        Ok(Self(registered.map_err(failed("wait for the log's event descriptor"))?))
    }

    /// Whether the descriptor became readable since the last call; if not, the caller is woken when it does. What it
    /// counts is for the log to take: `Log::poll` resets it before it looks for news, so no news is missed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Result<bool, ReplicaError> {
        let mut readable = false;
        while let Poll::Ready(ready) = self.0.poll_read_ready(cx) {
            ready
                .map_err(ReplicaError::system("wait for the log's event descriptor"))?
                .clear_ready();
            readable = true;
        }
        Ok(readable)
    }
}
