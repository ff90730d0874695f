//! What the stages use of the transport: the replica's two doors as traits, so that the simulator can put its own
//! network behind the same stages. The product's doors are QUIC endpoints; calls to them are direct.
#![cfg_attr(not(feature = "simulation"), allow(unreachable_pub))] // The simulator's crate implements them.

use std::future::Future;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use trireme_transport::{
    Class, ClientEvent, ClientListener, CloseReason, ConnId, Counters, LinkStats, PeerEndpoint, PeerEvent, SendError,
};

/// The door for clients, as the ingress stage uses it.
pub trait ClientDoor: 'static {
    /// The next event; whoever finds none is woken by the next.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<ClientEvent>>;

    /// Queues a frame for a client. `Full` means that the client does not read: it is being closed.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    fn send(&self, conn: ConnId, frame: Bytes) -> Result<(), SendError>;

    /// Stops reading from a client. Frames that were read before still come.
    fn pause(&self, conn: ConnId);

    /// Reads on from a client.
    fn resume(&self, conn: ConnId);

    /// Closes a connection. What had come in over it may still be received.
    fn close(&self, conn: ConnId, reason: CloseReason);

    /// Counts since it was opened.
    fn counters(&self) -> Counters;

    /// Closes everything and waits until the others were told.
    fn shutdown(self) -> impl Future<Output = ()>;
}

/// The door for members, as the peers stage uses it.
pub trait PeerDoor: 'static {
    /// The next event; whoever finds none is woken by the next.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<PeerEvent>>;

    /// Queues a frame for a member. `Full` means that it is too far behind: it is being disconnected.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    fn send(&self, peer: u32, class: Class, frame: Bytes) -> Result<(), SendError>;

    /// Closes the connection to a member; it will be made again.
    fn disconnect(&self, peer: u32, reason: CloseReason);

    /// Smoothed round-trip time to a connected member.
    fn rtt(&self, peer: u32) -> Option<Duration>;

    /// Figures of the link to a connected member.
    fn stats(&self, peer: u32) -> Option<LinkStats>;

    /// Counts since it was opened.
    fn counters(&self) -> Counters;

    /// Closes everything and waits until the others were told.
    fn shutdown(self) -> impl Future<Output = ()>;
}

/// How long the other sides may take to hear that an endpoint closes.
const SHUTDOWN: Duration = Duration::from_millis(500);

/// Waits until the other sides of an endpoint were told that it closes, or do not listen.
async fn patiently(closing: impl Future<Output = ()>) {
    if tokio::time::timeout(SHUTDOWN, closing).await.is_err() {
        tracing::debug!("some connections did not close in time");
    }
}

impl ClientDoor for ClientListener {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<ClientEvent>> {
        Self::poll_recv(self, cx)
    }

    fn send(&self, conn: ConnId, frame: Bytes) -> Result<(), SendError> {
        Self::send(self, conn, frame)
    }

    fn pause(&self, conn: ConnId) {
        Self::pause(self, conn);
    }

    fn resume(&self, conn: ConnId) {
        Self::resume(self, conn);
    }

    fn close(&self, conn: ConnId, reason: CloseReason) {
        Self::close(self, conn, reason);
    }

    fn counters(&self) -> Counters {
        Self::counters(self)
    }

    async fn shutdown(self) {
        patiently(Self::shutdown(self)).await;
    }
}

impl PeerDoor for PeerEndpoint {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<PeerEvent>> {
        Self::poll_recv(self, cx)
    }

    fn send(&self, peer: u32, class: Class, frame: Bytes) -> Result<(), SendError> {
        Self::send(self, peer, class, frame)
    }

    fn disconnect(&self, peer: u32, reason: CloseReason) {
        Self::disconnect(self, peer, reason);
    }

    fn rtt(&self, peer: u32) -> Option<Duration> {
        Self::rtt(self, peer)
    }

    fn stats(&self, peer: u32) -> Option<LinkStats> {
        Self::stats(self, peer)
    }

    fn counters(&self) -> Counters {
        Self::counters(self)
    }

    async fn shutdown(self) {
        patiently(Self::shutdown(self)).await;
    }
}
