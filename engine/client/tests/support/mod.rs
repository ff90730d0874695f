//! Four client doors on loopback with one common order behind them: real connections, real frames, no replication.
//! It runs on a thread of its own, executes each request once and answers over every door that is open.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;

use bytes::Bytes;
use trireme_config::{AppKind, ClientAuth, ClientKeys, Clients, Cluster, MemberEntry};
use trireme_core::reply::{FromReplica, Outcome, Refusal, ReplyEntry, ReplySet, ToReplica};
use trireme_core::request::BundleRef;
use trireme_core::types::{ClientId, Params};
use trireme_crypto::{Digest, PublicKey, SecretKey};
use trireme_transport::{ClientEvent, ClientListener, CloseReason, ConnId, Identity, TransportConfig, Trust};

/// How a door behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Manner {
    Open,
    /// Takes frames and never answers.
    Mute,
    /// Refuses bundles.
    Full,
    /// Connections are closed.
    Closed,
}

/// A stand-in for a cluster.
pub(crate) struct Doors {
    pub(crate) cluster: Cluster,
    manners: Arc<[AtomicU8; 4]>,
    stop: Arc<AtomicU8>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Doors {
    /// Opens four doors for a cluster with this application and way of signing.
    pub(crate) fn open(app: AppKind, client_auth: ClientAuth) -> Self {
        let (sender, receiver) = std::sync::mpsc::channel();
        let manners: Arc<[AtomicU8; 4]> = Arc::default();
        let stop = Arc::new(AtomicU8::new(0));
        let (their_manners, their_stop) = (manners.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let mut cluster = cluster(app, client_auth);
                let mut house = House::new(&mut cluster, their_manners);
                sender.send(cluster).unwrap();
                house.run(&their_stop).await;
            });
        });
        Self {
            cluster: receiver.recv().unwrap(),
            manners,
            stop,
            thread: Some(thread),
        }
    }

    /// Changes how a door behaves from now on.
    pub(crate) fn set(&self, door: usize, manner: Manner) {
        self.manners[door].store(manner as u8, Ordering::SeqCst);
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        self.stop.store(1, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Keys of so many identities.
pub(crate) fn keys(identities: u32) -> ClientKeys {
    let seed = |index: u32| {
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&index.to_le_bytes());
        seed
    };
    let clients = (0..identities).map(|index| SecretKey::from_seed(seed(index))).collect();
    ClientKeys {
        clients,
        tls: SecretKey::from_seed([99; 32]),
    }
}

fn cluster(app: AppKind, client_auth: ClientAuth) -> Cluster {
    let nowhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let member = |index: u8| MemberEntry {
        organisation: format!("organisation {index}"),
        region: "here".to_owned(),
        vote_key: PublicKey([index; 32]),
        tls_key: SecretKey::from_seed([index + 1; 32]).public().0,
        peer_address: nowhere,
        client_address: nowhere,
    };
    Cluster {
        name: "doors".to_owned(),
        salt: Digest([3; 32]),
        params: Params::new(4, 1),
        app,
        ordering: trireme_config::OrderingKind::Trireme,
        client_auth,
        clients: Clients::Open,
        members: (0..4).map(member).collect(),
    }
}

struct House {
    doors: Vec<ClientListener>,
    manners: Arc<[AtomicU8; 4]>,
    /// By door and client: who wants replies, and whether in full.
    subscribers: Vec<HashMap<ClientId, Vec<(ConnId, bool)>>>,
    connections: Vec<Vec<ConnId>>,
    executed: HashMap<(ClientId, u64), Digest>,
    slot: u64,
    waiting: Vec<Bytes>,
    app: AppKind,
    result: Bytes,
}

impl House {
    fn new(cluster: &mut Cluster, manners: Arc<[AtomicU8; 4]>) -> Self {
        let config = TransportConfig {
            cluster: cluster.fingerprint().0,
            max_client_frame_bytes: 8 << 20,
            client_outbound_bytes: 32 << 20,
            client_inbound_bytes: 8 << 20,
            ..TransportConfig::default()
        };
        let mut doors = Vec::new();
        for (index, member) in (1u8..).zip(&mut cluster.members) {
            let identity = Identity::from_seed(&[index; 32]).unwrap();
            let door = ClientListener::bind(member.client_address, identity, config.clone(), Trust::Open).unwrap();
            member.client_address = door.local_addr();
            doors.push(door);
        }
        let mut result = vec![1];
        result.extend_from_slice(&7u64.to_le_bytes());
        Self {
            doors,
            manners,
            subscribers: vec![HashMap::new(); 4],
            connections: vec![Vec::new(); 4],
            executed: HashMap::new(),
            slot: 0,
            waiting: Vec::new(),
            app: cluster.app,
            result: if cluster.app == AppKind::Kv {
                result.into()
            } else {
                Bytes::from_static(b"ok")
            },
        }
    }

    fn manner(&self, door: usize) -> Manner {
        match self.manners[door].load(Ordering::SeqCst) {
            0 => Manner::Open,
            1 => Manner::Mute,
            2 => Manner::Full,
            _ => Manner::Closed,
        }
    }

    async fn run(&mut self, stop: &AtomicU8) {
        let mut clock = tokio::time::interval(std::time::Duration::from_millis(5));
        while stop.load(Ordering::SeqCst) == 0 {
            poll_fn(|cx| {
                let mut any = clock.poll_tick(cx).is_ready();
                for door in 0..4 {
                    for _ in 0..256 {
                        let Poll::Ready(Some(event)) = self.doors[door].poll_recv(cx) else {
                            break;
                        };
                        self.on_event(door, event);
                        any = true;
                    }
                }
                if any { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            self.close_doors();
            self.execute();
        }
    }

    fn close_doors(&mut self) {
        let closed: Vec<usize> = (0..4).filter(|&door| self.manner(door) == Manner::Closed).collect();
        for door in closed {
            for conn in std::mem::take(&mut self.connections[door]) {
                self.doors[door].close(conn, CloseReason::Shutdown);
            }
        }
    }

    fn on_event(&mut self, door: usize, event: ClientEvent) {
        match event {
            ClientEvent::Connected { conn, .. } => self.connections[door].push(conn),
            ClientEvent::Closed { conn, .. } => {
                for list in self.subscribers[door].values_mut() {
                    list.retain(|(other, _)| *other != conn);
                }
            }
            ClientEvent::Frame { .. } if self.manner(door) == Manner::Mute => {}
            ClientEvent::Frame { conn, bytes } => match ToReplica::from_bytes(&bytes).unwrap() {
                ToReplica::Status { nonce } => {
                    let json = format!("{{\"member\":{door}}}");
                    self.send(door, conn, &FromReplica::Status { nonce, json });
                }
                ToReplica::Subscribe { clients, full } => {
                    for client in clients {
                        let list = self.subscribers[door].entry(client).or_default();
                        list.retain(|(other, _)| *other != conn);
                        list.push((conn, full));
                    }
                }
                ToReplica::Bundle(bundle) if self.manner(door) == Manner::Full => self.refuse(door, conn, &bundle),
                ToReplica::Bundle(bundle) => self.waiting.push(bundle),
            },
        }
    }

    fn refuse(&self, door: usize, conn: ConnId, bundle: &[u8]) {
        let bundle = BundleRef::parse(bundle).unwrap();
        let numbers = bundle.requests().map(|request| request.number).collect();
        let refused = FromReplica::Refused {
            client: *bundle.client(),
            numbers,
            reason: Refusal::Overloaded,
        };
        self.send(door, conn, &refused);
    }

    fn send(&self, door: usize, conn: ConnId, frame: &FromReplica) {
        let _ = self.doors[door].send(conn, frame.to_bytes());
    }

    /// What has come since the last time makes a slot.
    fn execute(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        self.slot += 1;
        let mut entries: BTreeMap<ClientId, Vec<ReplyEntry>> = BTreeMap::new();
        for bytes in std::mem::take(&mut self.waiting) {
            let bundle = BundleRef::parse(&bytes).unwrap();
            let client = *bundle.client();
            for request in bundle.requests() {
                let key = (client, request.number);
                let digest = *self.executed.entry(key).or_insert_with(|| request.digest(&client));
                // The key-value store's get finds something; everything else writes.
                let get = self.app == AppKind::Kv && request.payload.first() == Some(&2);
                let result = if get {
                    Bytes::from_static(b"\x02\x07\0\0\0\0\0\0\0found")
                } else {
                    self.result.clone()
                };
                let outcome = Outcome::Executed(result);
                let entry = ReplyEntry {
                    number: request.number,
                    request: digest,
                    outcome,
                };
                entries.entry(client).or_default().push(entry);
            }
        }
        for (client, entries) in entries {
            let set = ReplySet::new(client, self.slot, 1, entries);
            let brief = set.brief();
            let frames = [
                FromReplica::Replies(brief).to_bytes(),
                FromReplica::Replies(set).to_bytes(),
            ];
            let frames = frames.map(Bytes::from);
            for door in (0..4).filter(|&door| matches!(self.manner(door), Manner::Open | Manner::Full)) {
                for &(conn, full) in self.subscribers[door].get(&client).into_iter().flatten() {
                    let _ = self.doors[door].send(conn, frames[usize::from(full)].clone());
                }
            }
        }
    }
}
