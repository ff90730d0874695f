//! The ingress stage: everything between clients and this replica.
//!
//! A bundle is parsed, permitted and passed on to have its signature checked; what cannot be taken in is refused with
//! a typed answer. A connection whose requests wait here is paused, so that QUIC pushes back on its sender; only what
//! comes nevertheless, or finds the whole replica full, is shed.

mod answers;
mod routes;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use trireme_config::{ClientBudget, Clients, Cluster};
use trireme_core::Tick;
use trireme_core::reply::{FromReplica, Refusal, ToReplica};
use trireme_core::request::{BundleRef, MAX_BUNDLE_BYTES};
use trireme_core::types::ClientId;
use trireme_transport::{ClientEvent, CloseReason, ConnId};

use crate::board::Board;
use crate::doors::ClientDoor;
use crate::error::ReplicaError;
use crate::gate::{Gate, Intake, Permit};
use crate::histogram::Histogram;
use crate::items::{BadSignature, OwnBundle, SlotReplies};
use crate::link::{Receiver, Sender};
use crate::signal::Threads;
use crate::stage::{Finish, Turn, Work, entries};
use crate::topology::Stage;
use answers::Answers;
use routes::Routes;

/// Status questions that wait for their answer.
const MAX_ASKS: usize = 64;

/// The links of the stage.
pub(crate) struct IngressLinks {
    pub(crate) own: Sender<OwnBundle>,
    pub(crate) refusals: Receiver<BadSignature>,
    pub(crate) replies: Receiver<SlotReplies>,
}

/// What the stage shares with the others.
pub(crate) struct IngressShared {
    pub(crate) gate: Arc<Gate>,
    pub(crate) board: Arc<Board>,
    pub(crate) threads: Threads,
    /// The thread it runs on.
    pub(crate) thread: usize,
}

/// See the module's text.
pub(crate) struct Ingress<D> {
    listener: D,
    links: IngressLinks,
    shared: IngressShared,
    registry: Registry,
    budget: ClientBudget,
    conns: HashMap<ConnId, Conn>,
    routes: Routes,
    /// Bytes of requests of all connections that the core did not take yet.
    total: Arc<AtomicUsize>,
    paused: Vec<ConnId>,
    asks: Vec<Ask>,
    /// When the poll under way began.
    now: Tick,
    /// From execution to the connections of the clients.
    reply: Histogram,
    counts: Counts,
}

/// A client connection.
struct Conn {
    key: [u8; 32],
    intake: Arc<Intake>,
    paused: bool,
}

/// A status question.
struct Ask {
    conn: ConnId,
    nonce: u64,
    number: u64,
}

/// Who may send what over which connection.
enum Registry {
    Open,
    /// Client and the TLS key of its connections.
    Known(HashMap<ClientId, [u8; 32]>),
}

#[derive(Default)]
struct Counts {
    bundles: u64,
    ops: u64,
    malformed: u64,
    replies: u64,
    refused: [u64; Refusal::COUNT],
}

impl Registry {
    fn of(cluster: &Cluster) -> Self {
        match &cluster.clients {
            Clients::Open => Self::Open,
            Clients::Known(clients) => Self::Known(clients.iter().map(|c| (c.key, c.tls_key)).collect()),
        }
    }

    /// Why this client may not use a connection under this key.
    fn judge(&self, client: &ClientId, key: &[u8; 32]) -> Result<(), Refusal> {
        match self {
            Self::Open => Ok(()),
            Self::Known(clients) => match clients.get(client) {
                Some(owner) if owner == key => Ok(()),
                Some(_) => Err(Refusal::WrongConnection),
                None => Err(Refusal::NotRegistered),
            },
        }
    }
}

impl<D: ClientDoor> Ingress<D> {
    pub(crate) fn new(
        listener: D,
        cluster: &Cluster,
        budget: &ClientBudget,
        links: IngressLinks,
        shared: IngressShared,
    ) -> Self {
        Self {
            listener,
            links,
            shared,
            registry: Registry::of(cluster),
            budget: budget.clone(),
            conns: HashMap::new(),
            routes: Routes::default(),
            total: Arc::new(AtomicUsize::new(0)),
            paused: Vec::new(),
            asks: Vec::new(),
            now: Tick::default(),
            reply: Histogram::times(),
            counts: Counts::default(),
        }
    }

    fn handle(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Connected { conn, key } => {
                let intake = Intake::new(&self.total, &self.shared.threads, self.shared.thread);
                self.conns.insert(
                    conn,
                    Conn {
                        key,
                        intake,
                        paused: false,
                    },
                );
            }
            ClientEvent::Frame { conn, bytes } => self.frame(conn, bytes),
            ClientEvent::Closed { conn, reason } => {
                tracing::debug!(conn = conn.0, %reason, "client connection ended");
                self.forget(conn);
            }
        }
    }

    fn forget(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
        self.routes.remove(conn);
        self.paused.retain(|paused| *paused != conn);
        self.asks.retain(|ask| ask.conn != conn);
    }

    /// A frame that is none closes its connection; nobody else notices.
    fn malformed(&mut self, conn: ConnId, reason: CloseReason) {
        self.counts.malformed += 1;
        self.listener.close(conn, reason);
        self.forget(conn);
    }

    fn frame(&mut self, conn: ConnId, bytes: Bytes) {
        if !self.conns.contains_key(&conn) {
            return; // Closed by this side; these were on their way.
        }
        if let Some(bundle) = bundle_of(&bytes) {
            return self.bundle(conn, bundle);
        }
        match ToReplica::from_bytes(&bytes) {
            Ok(ToReplica::Bundle(bundle)) => self.bundle(conn, bundle),
            Ok(ToReplica::Subscribe { clients, full }) => self.subscribe(conn, clients, full),
            Ok(ToReplica::Status { nonce }) => self.ask(conn, nonce),
            Err(_) => self.malformed(conn, CloseReason::Malformed),
        }
    }

    fn subscribe(&mut self, conn: ConnId, clients: Vec<ClientId>, full: bool) {
        let key = self.conns[&conn].key;
        for client in clients {
            if let Err(reason) = self.registry.judge(&client, &key) {
                self.refuse(conn, client, Vec::new(), reason);
            } else if !self.routes.add(client, conn, full) {
                return self.malformed(conn, CloseReason::Unexpected);
            }
        }
    }

    fn ask(&mut self, conn: ConnId, nonce: u64) {
        if self.asks.len() >= MAX_ASKS {
            self.listener.close(conn, CloseReason::Overloaded);
            return self.forget(conn);
        }
        let number = self.shared.board.ask();
        self.asks.push(Ask { conn, nonce, number });
    }

    fn bundle(&mut self, conn: ConnId, bytes: Bytes) {
        let Ok(bundle) = BundleRef::parse(&bytes) else {
            return self.malformed(conn, CloseReason::Malformed);
        };
        let client = *bundle.client();
        let ops = bundle.ops();
        if let Err(reason) = self.admit(conn, &client, bytes.len()) {
            let numbers = bundle.requests().map(|request| request.number).collect();
            return self.refuse(conn, client, numbers, reason);
        }
        self.counts.bundles += 1;
        self.counts.ops += u64::from(ops);
        let state = self.conns.get_mut(&conn).expect("looked up by the caller");
        let permit = Permit::new(&state.intake, bytes.len());
        if !state.paused && state.intake.bytes() as u64 > self.budget.intake_bytes_per_client {
            state.paused = true;
            state.intake.set_paused(true);
            self.paused.push(conn);
            self.listener.pause(conn);
        }
        self.links.own.push(
            bytes.len(),
            OwnBundle {
                bytes,
                ops,
                conn,
                permit,
                read: self.now,
            },
        );
    }

    /// Whether a bundle may go on.
    fn admit(&mut self, conn: ConnId, client: &ClientId, bytes: usize) -> Result<(), Refusal> {
        let state = &self.conns[&conn];
        self.registry.judge(client, &state.key)?;
        let gate = &self.shared.gate;
        if gate.stopping() {
            return Err(Refusal::Stopping);
        }
        if gate.alarmed() {
            return Err(Refusal::NotReady);
        }
        if gate.log_full() {
            return Err(Refusal::LogFull);
        }
        // Frames that were read before the pause took effect are taken; a connection can have no more of them than
        // the endpoint's queue holds, and that much above its share is its limit.
        let share = self.budget.intake_bytes_per_client + u64::from(self.budget.receive_window_bytes);
        if (state.intake.bytes() + bytes) as u64 > share.max(MAX_BUNDLE_BYTES as u64) {
            return Err(Refusal::Quota);
        }
        let total = self.total.load(Ordering::Relaxed) + bytes;
        if total as u64 > self.budget.intake_bytes || !self.links.own.room() {
            self.links.own.shed();
            return Err(Refusal::Overloaded);
        }
        Ok(())
    }

    fn refuse(&mut self, conn: ConnId, client: ClientId, numbers: Vec<u64>, reason: Refusal) {
        self.counts.refused[reason as usize] += 1;
        self.send(
            conn,
            FromReplica::Refused {
                client,
                numbers,
                reason,
            }
            .to_bytes(),
        );
    }

    /// Sends, or finds out that the connection is gone; the listener closes those who do not read.
    fn send(&self, conn: ConnId, frame: Vec<u8>) {
        if let Err(error) = self.listener.send(conn, Bytes::from(frame)) {
            tracing::debug!(conn = conn.0, %error, "answer not sent");
        }
    }

    fn answer(&mut self, replies: SlotReplies) {
        let took = self.now.since(replies.executed);
        for set in replies.sets {
            let Some(routes) = self.routes.of(set.client()) else {
                continue;
            };
            self.counts.replies += 1;
            self.reply.record(took, set.entries().into());
            let mut answers = Answers::new(set);
            for route in routes {
                let frame = answers.frame(route.full);
                if let Err(error) = self.listener.send(route.conn, frame) {
                    tracing::debug!(conn = route.conn.0, %error, "reply not sent");
                }
            }
        }
    }

    fn refuse_bad_signatures(&mut self) -> bool {
        let mut progress = false;
        while let Some(BadSignature { conn, bytes }) = self.links.refusals.pop() {
            progress = true;
            let bundle = BundleRef::parse(&bytes).expect("parsed on its way in");
            let numbers = bundle.requests().map(|request| request.number).collect();
            self.refuse(conn, *bundle.client(), numbers, Refusal::BadSignature);
        }
        progress
    }

    /// Reads on from connections whose requests went on.
    fn resume(&mut self) -> bool {
        let low = (self.budget.intake_bytes_per_client / 2) as usize;
        let (conns, listener) = (&mut self.conns, &self.listener);
        let before = self.paused.len();
        self.paused.retain(|conn| {
            let Some(state) = conns.get_mut(conn) else { return false };
            if state.intake.bytes() > low {
                return true;
            }
            state.paused = false;
            state.intake.set_paused(false);
            listener.resume(*conn);
            false
        });
        self.paused.len() != before
    }

    fn answer_asks(&mut self) -> bool {
        let before = self.asks.len();
        let asks = std::mem::take(&mut self.asks);
        for ask in asks {
            match self.shared.board.read(ask.number) {
                None => self.asks.push(ask),
                Some(status) => {
                    let json = status.to_string();
                    self.send(ask.conn, FromReplica::Status { nonce: ask.nonce, json }.to_bytes());
                }
            }
        }
        self.asks.len() != before
    }
}

/// The bundle of a frame that holds one, without copying it: tag, length, bytes.
fn bundle_of(frame: &Bytes) -> Option<Bytes> {
    let rest = frame.strip_prefix(&[0])?;
    let (length, body) = rest.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*length) as usize == body.len()).then(|| frame.slice(5..))
}

impl<D: ClientDoor> Work for Ingress<D> {
    fn stage(&self) -> Stage {
        Stage::Ingress
    }

    fn poll(&mut self, turn: &mut Turn<'_, '_>) -> Result<bool, ReplicaError> {
        self.now = turn.now.tick;
        let mut progress = self.refuse_bad_signatures();
        while let Some(replies) = self.links.replies.pop() {
            self.answer(replies);
            progress = true;
        }
        if !self.paused.is_empty() {
            progress |= self.resume();
        }
        if !self.asks.is_empty() {
            progress |= self.answer_asks();
        }
        for _ in 0..turn.budget {
            match self.listener.poll_recv(turn.cx) {
                Poll::Ready(Some(event)) => self.handle(event),
                Poll::Ready(None) | Poll::Pending => break,
            }
            progress = true;
        }
        Ok(progress)
    }

    fn status(&mut self) -> Map<String, Value> {
        let refused = |reason: Refusal| (reason.name().to_owned(), self.counts.refused[reason as usize].into());
        let counters = self.listener.counters();
        entries(json!({ "clients": {
            "connections": self.conns.len(),
            "subscribed": self.routes.len(),
            "paused": self.paused.len(),
            "bundles": self.counts.bundles,
            "ops": self.counts.ops,
            "malformed": self.counts.malformed,
            "reply_sets": self.counts.replies,
            "refused": REFUSALS.into_iter().map(refused).collect::<Map<_, _>>(),
            "closed": crate::peers::closed_status(&counters),
            "intake_bytes": self.total.load(Ordering::Relaxed),
            "intake_limit_bytes": self.budget.intake_bytes,
        },
        "stages": { "reply": self.reply.status() },
        }))
    }

    fn finish(self: Box<Self>) -> Finish {
        Box::pin(async move {
            self.listener.shutdown().await;
            Ok(())
        })
    }
}

const REFUSALS: [Refusal; Refusal::COUNT] = [
    Refusal::Overloaded,
    Refusal::NotRegistered,
    Refusal::Malformed,
    Refusal::BadSignature,
    Refusal::TooLarge,
    Refusal::LogFull,
    Refusal::Stopping,
    Refusal::WrongConnection,
    Refusal::Quota,
    Refusal::NotReady,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_to_a_bundle_reads_what_the_long_way_reads() {
        let frame = Bytes::from(ToReplica::Bundle(Bytes::from_static(b"a bundle")).to_bytes());
        assert_eq!(bundle_of(&frame).as_deref(), Some(b"a bundle".as_slice()));
        let longer = Bytes::from([frame.as_ref(), b"x"].concat());
        assert_eq!(bundle_of(&longer), None);
        assert!(ToReplica::from_bytes(&longer).is_err());
        assert_eq!(bundle_of(&frame.slice(..frame.len() - 1)), None);
        assert_eq!(bundle_of(&Bytes::from(ToReplica::Status { nonce: 0 }.to_bytes())), None);
        assert_eq!(bundle_of(&Bytes::new()), None);
    }

    #[test]
    fn refusals_are_listed_in_the_order_of_their_numbers() {
        for (index, reason) in REFUSALS.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }

    #[test]
    fn a_known_client_may_only_use_its_own_connections() {
        let client = |byte| trireme_crypto::PublicKey([byte; 32]);
        let registry = Registry::Known(HashMap::from([(client(1), [10; 32])]));
        assert_eq!(registry.judge(&client(1), &[10; 32]), Ok(()));
        assert_eq!(registry.judge(&client(1), &[11; 32]), Err(Refusal::WrongConnection));
        assert_eq!(registry.judge(&client(2), &[10; 32]), Err(Refusal::NotRegistered));
        assert_eq!(Registry::Open.judge(&client(2), &[10; 32]), Ok(()));
    }
}
