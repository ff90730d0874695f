//! Links between replicas: one endpoint, exactly one connection to each other replica.
//!
//! The replica with the lower index dials, the other accepts; so there is one connection of each pair. When a replica
//! restarts and dials again, its new connection replaces the old one.

use crate::accept::Door;
use crate::counters::Counts;
use crate::hello::{FrameReader, Hello, ReadEnd, close, say};
use crate::inbound::Inbound;
use crate::link::Link;
use crate::quic::{self, Role, SERVER_NAME};
use crate::{
    BindError, Class, CloseReason, ClosedBy, Counters, Disconnect, Frame, Identity, LinkStats, SendError,
    TransportConfig, Trust, socket,
};
use bytes::Bytes;
use quinn::{Connecting, Connection, Endpoint};
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

pub(crate) struct Shared {
    pub(crate) config: TransportConfig,
    pub(crate) counts: Counts,
    pub(crate) events: Inbound<PeerEvent>,
    endpoint: Endpoint,
    slots: Vec<Option<Slot>>,
    index_of: BTreeMap<[u8; 32], u32>,
    me: u32,
    door: Door,
}

struct Slot {
    address: PeerAddress,
    link: Mutex<Option<Arc<Link>>>,
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

async fn accept_loop(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let addr = incoming.remote_address();
        let Some((connecting, permit)) = shared.door.admit(incoming, &shared.counts) else {
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let limit = Duration::from_millis(shared.config.handshake_timeout_ms);
            let made = connect(&shared, connecting, None, limit).await;
            drop(permit);
            match made {
                Ok(link) => watch(&shared, &link).await,
                Err(reason) => report_refused(&shared, addr, reason),
            }
        });
    }
}

/// Keeps one peer connected, for ever.
async fn dial_loop(shared: Arc<Shared>, peer: u32, client: quinn::ClientConfig) {
    let config = &shared.config;
    let slot = shared.slots[peer as usize].as_ref().expect("dialled peers exist");
    let addr = slot.address.addr;
    let mut pause_ms = config.reconnect_min_ms;
    // The first tries are short: a peer that starts a moment later should not wait for the repetition of a packet
    // that was lost before it listened.
    let mut limit_ms = FIRST_DIAL_MS.min(config.handshake_timeout_ms);
    loop {
        let limit = Duration::from_millis(limit_ms);
        let made = match shared.endpoint.connect_with(client.clone(), addr, SERVER_NAME) {
            Ok(connecting) => connect(&shared, connecting, Some(peer), limit).await,
            Err(quinn::ConnectError::EndpointStopping) => return,
            Err(error) => {
                tracing::warn!(%addr, %error, "cannot dial");
                Err(Disconnect {
                    reason: CloseReason::Transport,
                    by: ClosedBy::Local,
                })
            }
        };
        match made {
            Ok(link) => {
                limit_ms = FIRST_DIAL_MS.min(config.handshake_timeout_ms);
                let since = tokio::time::Instant::now();
                watch(&shared, &link).await;
                // A link that held for a while starts over; one that flaps is dialled ever more slowly.
                if since.elapsed() > Duration::from_millis(config.reconnect_max_ms) {
                    pause_ms = config.reconnect_min_ms;
                }
            }
            Err(reason) => {
                limit_ms = (2 * limit_ms).min(config.handshake_timeout_ms);
                report_refused(&shared, addr, reason);
            }
        }
        tokio::time::sleep(Duration::from_millis(jitter(pause_ms))).await;
        pause_ms = (2 * pause_ms).min(config.reconnect_max_ms);
    }
}

const FIRST_DIAL_MS: u64 = 500;

/// Half to whole of the pause, so that replicas that lost each other at once do not return at once. The hasher's keys
/// are random for each call.
fn jitter(pause_ms: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(pause_ms);
    pause_ms - random % (pause_ms / 2 + 1)
}

/// Finishes a handshake, exchanges hellos and installs the link. `expected` is the dialled peer.
async fn connect(
    shared: &Arc<Shared>,
    connecting: Connecting,
    expected: Option<u32>,
    limit: Duration,
) -> Result<Arc<Link>, Disconnect> {
    let deadline = tokio::time::Instant::now() + limit;
    let late = Disconnect {
        reason: CloseReason::HandshakeTimeout,
        by: ClosedBy::Local,
    };
    let connection = match tokio::time::timeout_at(deadline, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Err(Disconnect::from_quic(&error, None)),
        Err(_) => return Err(late),
    };
    match tokio::time::timeout_at(deadline, greet(shared, &connection, expected)).await {
        Ok(Ok(link)) => Ok(link),
        Ok(Err(end)) => Err(end.conclude(&connection)),
        Err(_) => {
            close(&connection, CloseReason::HandshakeTimeout);
            Err(late)
        }
    }
}

async fn greet(shared: &Arc<Shared>, connection: &Connection, expected: Option<u32>) -> Result<Arc<Link>, ReadEnd> {
    let key = quic::proven_key(connection);
    let peer = key.and_then(|key| shared.index_of.get(&key).copied());
    let peer = peer.ok_or(ReadEnd::Bad(CloseReason::UnknownKey))?;
    // Of a pair, only the lower index dials; and a dialled peer has the key that was dialled.
    if expected.is_some_and(|expected| expected != peer) || (expected.is_none() && peer > shared.me) {
        return Err(ReadEnd::Bad(CloseReason::Unexpected));
    }
    let mut send = connection.open_uni().await.map_err(|_| ReadEnd::Lost)?;
    send.set_priority(1).map_err(|_| ReadEnd::Lost)?;
    let own = Hello::of_peer(&shared.config, shared.me);
    say(&mut send, &own).await?;
    let recv = connection.accept_uni().await.map_err(|_| ReadEnd::Lost)?;
    let limit = shared.config.max_control_frame_bytes;
    let mut reader = FrameReader::new(recv, limit);
    let hello = reader.hello(&own, limit).await?;
    if hello.index != peer {
        return Err(ReadEnd::Bad(CloseReason::Unexpected));
    }
    if !shared.events.has_room() {
        return Err(ReadEnd::Bad(CloseReason::Overloaded));
    }
    let link = Arc::new(Link::new(shared, peer, connection.clone(), &hello));
    install(shared, &link);
    link.start(shared, &hello, send, reader);
    Ok(link)
}

/// Puts the link in its place; an older one of the same peer ends first.
fn install(shared: &Arc<Shared>, link: &Arc<Link>) {
    let slot = shared.slots[link.peer as usize].as_ref();
    let slot = slot.expect("the index belongs to a key of the list");
    let mut place = slot.link.lock().expect("no panic while it is held");
    if let Some(old) = place.replace(link.clone()) {
        old.close(shared, CloseReason::Duplicate);
    }
    let peer = link.peer;
    shared.events.push_notice(PeerEvent::Connected { peer });
}

/// Waits for the end of a link and reports it.
async fn watch(shared: &Arc<Shared>, link: &Arc<Link>) {
    link.connection.closed().await;
    link.end(shared);
    let slot = shared.slots[link.peer as usize].as_ref();
    let slot = slot.expect("the index belongs to a key of the list");
    let mut place = slot.link.lock().expect("no panic while it is held");
    if place.as_ref().is_some_and(|now| Arc::ptr_eq(now, link)) {
        *place = None;
    }
}

fn report_refused(shared: &Shared, addr: SocketAddr, reason: Disconnect) {
    shared.counts.closed(reason);
    tracing::debug!(%addr, %reason, "connection not made");
    // A peer that is merely away is no news.
    let away = matches!(reason.reason, CloseReason::HandshakeTimeout | CloseReason::TimedOut);
    if !away && shared.events.has_room() {
        shared.events.push_notice(PeerEvent::Refused { addr, reason });
    }
}
