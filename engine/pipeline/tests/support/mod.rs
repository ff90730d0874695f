//! A cluster on loopback whose replicas are threads of the test's process.
#![allow(dead_code)] // Not every test uses everything.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use trireme_client::status::StatusLink;
use trireme_client::{Client, Options};
use trireme_config::{
    AdminConfig, AppKind, ClientAuth, ClientEntry, ClientKeys, Clients, Cluster, DeviceKind, Durability, FlushKind,
    KeyFile, KeyOwner, LogBudget, MemberEntry, ReplicaConfig, ReplicaKeys,
};
use trireme_core::Params;
use trireme_crypto::Digest;
use trireme_pipeline::{ExecutedItem, Observer, ReplicaError, RunningReplica};

/// Client identities of the test's client.
pub(crate) const IDENTITIES: u32 = 4;
/// A test that takes longer is stuck.
const STUCK: Duration = Duration::from_secs(120);

/// What the observers of one replica saw, over its restarts.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<ExecutedItem>>>);

impl Observer for Seen {
    fn executed(&mut self, items: &[ExecutedItem]) {
        self.0.lock().unwrap().extend_from_slice(items);
    }

    fn replayed_from(&mut self, slot: trireme_core::Slot) {
        self.0.lock().unwrap().retain(|item| item.slot <= slot);
    }
}

impl Seen {
    /// Everything that was executed, in order.
    pub(crate) fn items(&self) -> Vec<ExecutedItem> {
        self.0.lock().unwrap().clone()
    }
}

/// Members, their directories, and those that run.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) configs: Vec<ReplicaConfig>,
    pub(crate) keys: Vec<ReplicaKeys>,
    pub(crate) client_keys: ClientKeys,
    pub(crate) seen: Vec<Seen>,
    pub(crate) running: Vec<Option<RunningReplica>>,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// A cluster with these core plans, one a member.
    pub(crate) fn new(plans: &[&str], client_auth: ClientAuth) -> Self {
        let n = u16::try_from(plans.len()).unwrap();
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let seed = |i: u16| [u8::try_from(i).unwrap() + 1; 32];
        let keys: Vec<_> = (0..n)
            .map(|i| KeyFile::new(KeyOwner::Replica, seed(i)).replica().unwrap())
            .collect();
        let client_keys = KeyFile::new(KeyOwner::Client, [99; 32]).clients(IDENTITIES).unwrap();
        let ports = free_ports(2 * plans.len());
        let members = keys
            .iter()
            .zip(ports.chunks(2))
            .enumerate()
            .map(|(i, (keys, ports))| MemberEntry {
                organisation: format!("org-{i}"),
                region: "here".to_owned(),
                vote_key: keys.vote.public(),
                tls_key: keys.tls.public().0,
                peer_address: ports[0],
                client_address: ports[1],
            });
        let mut clients: Vec<_> = client_keys
            .clients
            .iter()
            .map(|key| ClientEntry {
                key: key.public(),
                tls_key: client_keys.tls.public().0,
                organisation: "clients".to_owned(),
            })
            .collect();
        clients.sort_by_key(|client| client.key);
        let cluster = Cluster {
            name: "bench".to_owned(),
            salt: Digest([5; 32]),
            params: Params::new(n, (n - 1) / 3),
            app: AppKind::Kv,
            ordering: trireme_config::OrderingKind::Trireme,
            client_auth,
            clients: Clients::Known(clients),
            members: members.collect(),
        };
        let configs = (0..n)
            .zip(plans)
            .map(|(member, plan)| config(&cluster, dir.path(), member, plan))
            .collect();
        Self {
            cluster,
            configs,
            keys,
            client_keys,
            seen: plans.iter().map(|_| Seen::default()).collect(),
            running: plans.iter().map(|_| None).collect(),
            _dir: dir,
        }
    }

    /// Gives every member an admin port.
    pub(crate) fn with_admin(mut self) -> Self {
        let held: Vec<_> = (0..self.configs.len())
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
            .collect();
        let members: Vec<_> = held.iter().map(|held| held.local_addr().unwrap()).collect();
        for (config, listen) in self.configs.iter_mut().zip(&members) {
            config.admin = Some(AdminConfig {
                listen: *listen,
                members: members.clone(),
            });
        }
        self
    }

    /// A member's admin port.
    pub(crate) fn admin(&self, member: usize) -> SocketAddr {
        self.configs[member].admin.as_ref().unwrap().listen
    }

    /// Starts a member; it is up when this returns.
    pub(crate) fn start(&mut self, member: usize) {
        self.running[member] = Some(self.try_start(member).unwrap());
    }

    pub(crate) fn start_all(&mut self) {
        (0..self.configs.len()).for_each(|member| self.start(member));
    }

    /// Starts a member, which may fail.
    pub(crate) fn try_start(&self, member: usize) -> Result<RunningReplica, ReplicaError> {
        let observer = Box::new(self.seen[member].clone());
        let (config, keys) = (self.configs[member].clone(), self.keys[member].clone());
        let mut replica = RunningReplica::start(self.cluster.clone(), config, keys, observer)?;
        replica.wait_ready()?;
        Ok(replica)
    }

    /// Stops a member in order.
    pub(crate) fn stop(&mut self, member: usize) {
        self.running[member].take().unwrap().stop().unwrap();
    }

    /// The error that a member fails to start with.
    pub(crate) fn refusal(&self, member: usize) -> String {
        match self.try_start(member) {
            Ok(_) => panic!("it started"),
            Err(error) => error.to_string(),
        }
    }

    /// Connections of the test's client.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.cluster, &self.client_keys, Options::default())
            .await
            .unwrap()
    }

    pub(crate) async fn status_link(&self, member: u16) -> StatusLink {
        StatusLink::connect(&self.cluster, &self.client_keys, member, STUCK)
            .await
            .unwrap()
    }

    /// The state root and slot that these members agree on once they have executed all that is committed, and at least
    /// slot `floor`.
    pub(crate) async fn common_root(&self, members: &[u16], floor: u64) -> (u64, String) {
        let mut links = Vec::new();
        for member in members {
            links.push(self.status_link(*member).await);
        }
        loop {
            let mut states = Vec::new();
            for link in &mut links {
                let status = ask(link).await;
                let state = &status["state"];
                let current =
                    status["executed_slot"] == status["committed_slot"] && state["slot"] == status["executed_slot"];
                states.push((
                    current,
                    state["slot"].as_u64(),
                    state["root"].as_str().map(str::to_owned),
                ));
            }
            let (first, slot, root) = states[0].clone();
            let agree = first && states.iter().all(|state| state.0 && state.1 == slot);
            if let (true, Some(slot), Some(root)) = (agree && slot >= Some(floor), slot, root) {
                assert!(
                    states.iter().all(|state| state.2.as_ref() == Some(&root)),
                    "roots differ: {states:?}"
                );
                return (slot, root);
            }
        }
    }
}

/// The status of the replica behind a link.
pub(crate) async fn ask(link: &mut StatusLink) -> Value {
    serde_json::from_str(&link.ask(STUCK).await.unwrap()).unwrap()
}

/// Runs the asynchronous part of a test; a test that is stuck fails.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::time::timeout(STUCK, future).await.expect("the test is stuck")
    })
}

fn config(cluster: &Cluster, dir: &std::path::Path, member: u16, plan: &str) -> ReplicaConfig {
    let entry = &cluster.members[usize::from(member)];
    ReplicaConfig {
        member,
        cluster_file: "cluster.toml".into(),
        key_file: "key.toml".into(),
        peer_listen: entry.peer_address,
        client_listen: entry.client_address,
        data_dir: dir.join(format!("replica-{member}")),
        durability: Durability::Async,
        device: DeviceKind::Auto,
        flush: FlushKind::Linked,
        core_plan: plan.to_owned(),
        executed_stream: None,
        wan: None,
        snapshots: trireme_config::SnapshotBudget::default(),
        admin: None,
        log: LogBudget {
            segment_bytes: 4 << 20,
            max_log_bytes: 256 << 20,
            max_record_bytes: 2 << 20,
            ..LogBudget::default()
        },
        peers: trireme_config::PeerBudget::default(),
        clients: trireme_config::ClientBudget::default(),
    }
}

/// Ports that nobody used a moment ago.
fn free_ports(count: usize) -> Vec<SocketAddr> {
    let sockets: Vec<_> = (0..count)
        .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
        .collect();
    sockets.iter().map(|socket| socket.local_addr().unwrap()).collect()
}
