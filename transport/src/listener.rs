//! The server side of client links: quotas for each key and each connection, bounded queues in both directions.

use crate::accept::Door;
use crate::counters::Counts;
use crate::hello::{Hello, ReadEnd, close};
use crate::inbound::{Gate, Inbound};
use crate::outbound::Outbound;
use crate::quic::{self, Role};
use crate::serving::accept_loop;
use crate::{
    BindError, CloseReason, Counters, Disconnect, Frame, Identity, LinkStats, SendError, TransportConfig, Trust, socket,
};
use bytes::Bytes;
use quinn::{Connection, Endpoint};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll};
use tokio::task::AbortHandle;

/// A client connection at one listener; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What happened at a client listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// A client is ready: its key is proven, its cluster is ours.
    Connected {
        /// Its connection.
        conn: ConnId,
        /// Its TLS key.
        key: [u8; 32],
    },
    /// A frame came in.
    Frame {
        /// From which connection.
        conn: ConnId,
        /// The payload, in an allocation of its own.
        bytes: Bytes,
    },
    /// The connection ended; what was queued for it is dropped.
    Closed {
        /// Which connection.
        conn: ConnId,
        /// Why and by whom.
        reason: Disconnect,
    },
}

/// A client's connection, from its admission to its end.
pub(crate) struct ClientLink {
    pub(crate) conn: ConnId,
    pub(crate) key: [u8; 32],
    pub(crate) connection: Connection,
    pub(crate) outbound: Arc<Outbound>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) alive: AtomicBool,
    local: OnceLock<CloseReason>,
}

#[derive(Default)]
struct Table {
    links: HashMap<ConnId, Arc<ClientLink>>,
    of_key: HashMap<[u8; 32], usize>,
    next: u64,
    /// Nothing is read from anybody.
    all_paused: bool,
}

/// What the listener's tasks share.
pub(crate) struct Shared {
    pub(crate) config: TransportConfig,
    pub(crate) counts: Counts,
    pub(crate) events: Inbound<ClientEvent>,
    pub(crate) endpoint: Endpoint,
    table: Mutex<Table>,
    pub(crate) door: Door,
}

/// The door for clients of one replica. Events are pulled, sends are pushes into bounded queues; dropping it closes
/// everything.
pub struct ClientListener {
    shared: Arc<Shared>,
    local_addr: SocketAddr,
    accepting: AbortHandle,
}

impl ClientListener {
    /// Opens a listener on `addr` for clients that `trust` accepts. Must be called inside a tokio runtime.
    pub fn bind(
        addr: SocketAddr,
        identity: Identity,
        config: TransportConfig,
        trust: Trust,
    ) -> Result<Self, BindError> {
        config.validate()?;
        let server = quic::server_config(Role::Client, &identity, &config, trust)?;
        let endpoint_config = quic::endpoint_config(Role::Client, &identity, &config)?;
        let udp = socket::open(addr, &config)?;
        let failed = |source| BindError::Socket { addr, source };
        let endpoint = socket::start(udp, endpoint_config, Some(server), &config).map_err(failed)?;
        let local_addr = endpoint.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            door: Door::new(&config),
            counts: Counts::default(),
            events: Inbound::new(64 + 2 * config.max_clients),
            config,
            endpoint,
            table: Mutex::default(),
        });
        let accepting = tokio::spawn(accept_loop(shared.clone())).abort_handle();
        Ok(Self {
            shared,
            local_addr,
            accepting,
        })
    }

    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Queues a frame for a client. `Full` means that the client does not read: it is being closed as a slow reader.
    pub fn send(&self, conn: ConnId, frame: impl Into<Frame>) -> Result<(), SendError> {
        let link = self.shared.link(conn).ok_or(SendError::NotConnected)?;
        let frame = frame.into();
        let bytes = frame.len();
        let sent = link.outbound.push(frame);
        match sent {
            Ok(()) => self.shared.counts.sent(bytes),
            Err(SendError::Full) => {
                self.shared.counts.queue_full.fetch_add(1, Relaxed);
                self.shared.close(&link, CloseReason::SlowReader);
            }
            Err(_) => {}
        }
        sent
    }

    /// Bytes that are queued for a client and not yet handed to QUIC.
    pub fn queued_bytes(&self, conn: ConnId) -> usize {
        self.shared.link(conn).map_or(0, |link| link.outbound.queued_bytes())
    }

    /// Stops reading from a client, so that QUIC flow control pushes back. Frames that were read before still come.
    pub fn pause(&self, conn: ConnId) {
        if let Some(link) = self.shared.link(conn) {
            link.gate.set_paused(true);
        }
    }

    /// Reads on from a client.
    pub fn resume(&self, conn: ConnId) {
        if let Some(link) = self.shared.link(conn) {
            link.gate.set_paused(false);
        }
    }

    /// Stops reading from all clients, also from those that connect later.
    pub fn pause_all(&self) {
        self.set_all_paused(true);
    }

    /// Reads on from all clients.
    pub fn resume_all(&self) {
        self.set_all_paused(false);
    }

    fn set_all_paused(&self, paused: bool) {
        let mut table = self.shared.table();
        table.all_paused = paused;
        for link in table.links.values() {
            link.gate.set_paused(paused);
        }
    }

    /// Closes a client's connection.
    pub fn close(&self, conn: ConnId, reason: CloseReason) {
        if let Some(link) = self.shared.link(conn) {
            self.shared.close(&link, reason);
        }
    }

    /// The next event; it is never `Ready(None)`.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<ClientEvent>> {
        self.shared.events.poll_pop(cx).map(Some)
    }

    /// The next event, if there is one.
    pub fn try_recv(&mut self) -> Option<ClientEvent> {
        self.shared.events.try_pop()
    }

    /// Moves up to `max` waiting events to `out`, cheaper than one by one; returns how many.
    pub fn try_recv_many(&mut self, out: &mut Vec<ClientEvent>, max: usize) -> usize {
        self.shared.events.pop_many(out, max)
    }

    /// Waits for the next event; it is never `None`.
    pub async fn recv(&mut self) -> Option<ClientEvent> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Connected clients.
    pub fn client_count(&self) -> usize {
        self.shared.table().links.len()
    }

    /// QUIC's figures of a client's link.
    pub fn stats(&self, conn: ConnId) -> Option<LinkStats> {
        Some(LinkStats::of(&self.shared.link(conn)?.connection))
    }

    /// Counts since `bind`.
    pub fn counters(&self) -> Counters {
        self.shared.counts.snapshot()
    }

    /// Closes all connections with `Shutdown` and waits until the clients were told (at most a few round trips).
    pub async fn shutdown(self) {
        self.stop();
        self.shared.endpoint.wait_idle().await;
    }

    fn stop(&self) {
        self.accepting.abort();
        let links: Vec<_> = self.shared.table().links.values().cloned().collect();
        for link in links {
            self.shared.close(&link, CloseReason::Shutdown);
        }
        self.shared
            .endpoint
            .close(quinn::VarInt::from_u32(CloseReason::Shutdown.code()), b"shutdown");
    }
}

impl Drop for ClientListener {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no panic while the table is held")
    }

    fn link(&self, conn: ConnId) -> Option<Arc<ClientLink>> {
        self.table().links.get(&conn).cloned()
    }

    /// Takes a client in, if the quotas allow it.
    pub(crate) fn admit(
        &self,
        key: [u8; 32],
        connection: &Connection,
        hello: &Hello,
    ) -> Result<Arc<ClientLink>, ReadEnd> {
        if !self.events.has_room() {
            return Err(ReadEnd::Bad(CloseReason::Overloaded));
        }
        let config = &self.config;
        let frame_limit = config.max_client_frame_bytes.min(hello.max_frame_bytes as usize);
        let mut table = self.table();
        if table.links.len() >= config.max_clients {
            return Err(ReadEnd::Bad(CloseReason::Overloaded));
        }
        let of_key = table.of_key.entry(key).or_insert(0);
        if *of_key >= config.max_connections_per_key {
            return Err(ReadEnd::Bad(CloseReason::TooManyConnections));
        }
        *of_key += 1;
        table.next += 1;
        let link = Arc::new(ClientLink {
            conn: ConnId(table.next),
            key,
            connection: connection.clone(),
            outbound: Outbound::new(frame_limit, config.client_outbound_bytes, config.outbound_frames),
            gate: Gate::new(config.client_inbound_bytes),
            alive: AtomicBool::new(true),
            local: OnceLock::new(),
        });
        link.gate.set_paused(table.all_paused);
        table.links.insert(link.conn, link.clone());
        Ok(link)
    }

    pub(crate) fn close(&self, link: &ClientLink, reason: CloseReason) {
        let _ = link.local.set(reason);
        close(&link.connection, reason);
        self.end(link);
    }

    /// Reports the end of a connection that is closed, once, and forgets it.
    pub(crate) fn end(&self, link: &ClientLink) {
        let Some(error) = link.connection.close_reason() else {
            return;
        };
        let reason = Disconnect::from_quic(&error, link.local.get().copied());
        let conn = link.conn;
        let event = ClientEvent::Closed { conn, reason };
        if !self.events.push_end(&link.alive, event, |_| false) {
            return;
        }
        self.counts.closed(reason);
        link.outbound.close();
        // A paused reader must notice the end, too.
        link.gate.set_paused(false);
        let mut table = self.table();
        table.links.remove(&conn);
        if let Some(count) = table.of_key.get_mut(&link.key) {
            *count -= 1;
            if *count == 0 {
                table.of_key.remove(&link.key);
            }
        }
    }
}
