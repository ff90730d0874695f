//! Links between replicas: one endpoint, exactly one connection to each other replica.
//!
//! The replica with the lower index dials, the other accepts; so there is one connection of each pair. When a replica
//! restarts and dials again, its new connection replaces the old one.

use crate::accept::Door;
use crate::counters::Counts;
use crate::inbound::Inbound;
use crate::link::Link;
use crate::pairing::{accept_loop, dial_loop};
use crate::quic::{self, Role};
use crate::{
    BindError, Class, CloseReason, Counters, Disconnect, Frame, Identity, LinkStats, SendError, TransportConfig, Trust,
    socket,
};
use bytes::Bytes;
use quinn::Endpoint;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::AbortHandle;

/// Indexes are below this.
const MAX_PEERS: u32 = 1_024;

/// A replica as seen by another: where it listens, and which key it proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Index of the replica in the cluster.
    pub index: u32,
    /// Its TLS key.
    pub tls_public: [u8; 32],
    /// Where it listens for peers.
    pub addr: SocketAddr,
}

/// What happened at a peer endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// The connection is ready: authenticated, same cluster. The end of an earlier one was reported before.
    Connected {
        /// Which peer.
        peer: u32,
    },
    /// The connection ended; what was queued for the peer is dropped.
    Disconnected {
        /// Which peer.
        peer: u32,
        /// Why and by whom.
        reason: Disconnect,
    },
    /// A frame came in.
    Frame {
        /// From which peer, proven by its channel (rule R-CHANNEL).
        peer: u32,
        /// On which path.
        class: Class,
        /// The payload, in an allocation of its own.
        bytes: Bytes,
    },
    /// A connection was refused, by either side, before it was ready. Left out when the owner is far behind with its
    /// events; always counted.
    Refused {
        /// The other side.
        addr: SocketAddr,
        /// Why and by whom.
        reason: Disconnect,
    },
}

/// What the endpoint's tasks share.
pub(crate) struct Shared {
    pub(crate) config: TransportConfig,
    pub(crate) counts: Counts,
    pub(crate) events: Inbound<PeerEvent>,
    pub(crate) endpoint: Endpoint,
    pub(crate) slots: Vec<Option<Slot>>,
    pub(crate) index_of: BTreeMap<[u8; 32], u32>,
    pub(crate) me: u32,
    pub(crate) door: Door,
}

/// The place of a peer's connection.
pub(crate) struct Slot {
    pub(crate) address: PeerAddress,
    pub(crate) link: Mutex<Option<Arc<Link>>>,
}

/// The links of one replica to all others. Events are pulled, sends are pushes into bounded queues; dropping it
/// closes everything.
pub struct PeerEndpoint {
    shared: Arc<Shared>,
    local_addr: SocketAddr,
    tasks: Vec<AbortHandle>,
}

impl PeerEndpoint {
    /// Opens the endpoint of replica `me` on `addr` and starts to connect to all other `peers` (an entry for `me` is
    /// ignored). Must be called inside a tokio runtime.
    pub fn bind(
        addr: SocketAddr,
        identity: Identity,
        config: TransportConfig,
        peers: Vec<PeerAddress>,
        me: u32,
    ) -> Result<Self, BindError> {
        config.validate()?;
        let config = TransportConfig {
            reuse_port: false,
            ..config
        };
        let (slots, index_of) = slots_of(&peers, me)?;
        let server = quic::server_config(Role::Peer, &identity, &config, Trust::Pinned(index_of.clone()))?;
        let endpoint_config = quic::endpoint_config(Role::Peer, &identity, &config)?;
        let udp = socket::open(addr, &config)?;
        let failed = |source| BindError::Socket { addr, source };
        let endpoint = socket::start(udp, endpoint_config, Some(server), &config).map_err(failed)?;
        let local_addr = endpoint.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            door: Door::new(&config),
            counts: Counts::default(),
            events: Inbound::new(64 + 8 * slots.len()),
            config,
            endpoint,
            slots,
            index_of,
            me,
        });
        let mut tasks = vec![tokio::spawn(accept_loop(shared.clone())).abort_handle()];
        for slot in shared.slots.iter().flatten() {
            let PeerAddress { index, .. } = slot.address;
            if me < index {
                let key = slot.address.tls_public;
                let client = quic::client_config(Role::Peer, &identity, &shared.config, key)?;
                let task = tokio::spawn(dial_loop(shared.clone(), index, client));
                tasks.push(task.abort_handle());
            }
        }
        Ok(Self {
            shared,
            local_addr,
            tasks,
        })
    }

    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Queues a frame for a peer. `Full` means that the peer is too far behind: it is being disconnected, and has to
    /// be brought up to date when it is connected again.
    pub fn send(&self, peer: u32, class: Class, frame: impl Into<Frame>) -> Result<(), SendError> {
        let link = self.link(peer).ok_or(SendError::NotConnected)?;
        let frame = frame.into();
        let bytes = frame.len();
        let sent = link.send(class, frame);
        match sent {
            Ok(()) => self.shared.counts.sent(bytes),
            Err(SendError::Full) => {
                self.shared.counts.queue_full.fetch_add(1, Relaxed);
                link.close(&self.shared, CloseReason::Overloaded);
            }
            Err(_) => {}
        }
        sent
    }

    /// The next event; it is never `Ready(None)`.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<PeerEvent>> {
        self.shared.events.poll_pop(cx).map(Some)
    }

    /// The next event, if there is one.
    pub fn try_recv(&mut self) -> Option<PeerEvent> {
        self.shared.events.try_pop()
    }

    /// Moves up to `max` waiting events to `out`, cheaper than one by one; returns how many.
    pub fn try_recv_many(&mut self, out: &mut Vec<PeerEvent>, max: usize) -> usize {
        self.shared.events.pop_many(out, max)
    }

    /// Waits for the next event; it is never `None`.
    pub async fn recv(&mut self) -> Option<PeerEvent> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Closes the connection to a peer, for instance after a malformed message. It will be made again with the usual
    /// back-off.
    pub fn disconnect(&self, peer: u32, reason: CloseReason) {
        if let Some(link) = self.link(peer) {
            link.close(&self.shared, reason);
        }
    }

    /// Whether there is a connection to the peer now.
    pub fn is_connected(&self, peer: u32) -> bool {
        self.link(peer).is_some_and(|link| link.is_alive())
    }

    /// Bytes that are queued for a peer and not yet handed to QUIC.
    pub fn queued_bytes(&self, peer: u32, class: Class) -> usize {
        self.link(peer).map_or(0, |link| link.queued_bytes(class))
    }

    /// Smoothed round-trip time to a connected peer.
    pub fn rtt(&self, peer: u32) -> Option<Duration> {
        Some(self.link(peer)?.connection.rtt())
    }

    /// QUIC's figures of the link to a connected peer.
    pub fn stats(&self, peer: u32) -> Option<LinkStats> {
        Some(LinkStats::of(&self.link(peer)?.connection))
    }

    /// Counts since `bind`.
    pub fn counters(&self) -> Counters {
        self.shared.counts.snapshot()
    }

    /// Closes all connections with `Shutdown` and waits until the others were told (at most a few round trips).
    pub async fn shutdown(mut self) {
        self.stop();
        self.shared.endpoint.wait_idle().await;
    }

    fn stop(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
        for slot in self.shared.slots.iter().flatten() {
            let link = slot.link.lock().expect("no panic while it is held").take();
            if let Some(link) = link {
                link.close(&self.shared, CloseReason::Shutdown);
            }
        }
        self.shared
            .endpoint
            .close(quinn::VarInt::from_u32(CloseReason::Shutdown.code()), b"shutdown");
    }

    fn link(&self, peer: u32) -> Option<Arc<Link>> {
        let slot = self.shared.slots.get(peer as usize)?.as_ref()?;
        slot.link.lock().expect("no panic while it is held").clone()
    }
}

impl Drop for PeerEndpoint {
    fn drop(&mut self) {
        self.stop();
    }
}

type Slots = (Vec<Option<Slot>>, BTreeMap<[u8; 32], u32>);

fn slots_of(peers: &[PeerAddress], me: u32) -> Result<Slots, BindError> {
    let mut slots: Vec<Option<Slot>> = Vec::new();
    let mut index_of = BTreeMap::new();
    for address in peers.iter().filter(|peer| peer.index != me) {
        let at = address.index as usize;
        if address.index >= MAX_PEERS {
            return Err(BindError::Peers("an index is 1024 or more"));
        }
        if slots.len() <= at {
            slots.resize_with(at + 1, || None);
        }
        if slots[at].is_some() {
            return Err(BindError::Peers("an index occurs twice"));
        }
        if index_of.insert(address.tls_public, address.index).is_some() {
            return Err(BindError::Peers("a key occurs twice"));
        }
        slots[at] = Some(Slot {
            address: *address,
            link: Mutex::new(None),
        });
    }
    Ok((slots, index_of))
}
