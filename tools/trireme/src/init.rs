//! `trireme init`: the files of a new cluster.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use trireme_config::{
    AdminConfig, AppKind, ClientAuth, ClientBudget, ClientConfig, ClientEntry, ClientKeys, Clients, Cluster,
    DeviceKind, Durability, FlushKind, KeyFile, KeyOwner, LogBudget, MAX_CLIENTS, MemberEntry, OrderingKind,
    PeerBudget, ReplicaConfig, ReplicaKeys, SnapshotBudget,
};
use trireme_core::Params;
use trireme_core::quorum::{MAX_MEMBERS, Quorums};
use trireme_crypto::Digest;
use trireme_transport::wan::{Network, Place};

use crate::files;
use crate::names;
use crate::say::say;
use crate::wan;

/// Arguments of `trireme init`.
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// Directory for the files; must not hold a cluster yet
    #[arg(long, value_name = "DIR", default_value = "cluster")]
    dir: PathBuf,
    /// A name for people; the cluster's identity also covers a random salt
    #[arg(long, default_value = "trireme")]
    name: String,
    /// Number of replicas
    #[arg(long, default_value_t = 4)]
    replicas: u16,
    /// Who orders: trireme stands replicas that lie, raft stands a minority that crashes
    #[arg(long, default_value = "trireme")]
    ordering: crate::names::Order,
    /// Byzantine replicas to be stood [default: the most that the number of replicas allows; 0 with raft]
    #[arg(long)]
    f: Option<u16>,
    /// Address of a replica, once for each of them; one address for all if given once
    #[arg(long = "host", value_name = "ADDRESS", default_value = "127.0.0.1")]
    hosts: Vec<IpAddr>,
    /// Port for other replicas; on a shared host the replicas take consecutive ones
    #[arg(long, default_value_t = 7400)]
    peer_port: u16,
    /// Port for clients; on a shared host the replicas take consecutive ones
    #[arg(long, default_value_t = 7500)]
    client_port: u16,
    /// Port for metrics and the page for people (HTTP); on a shared host the replicas take consecutive ones
    #[arg(long, default_value_t = 7600)]
    admin_port: u16,
    /// No port for metrics
    #[arg(long)]
    no_admin: bool,
    /// Client identities that the client key file stands for
    #[arg(long, default_value_t = 64)]
    clients: u32,
    /// Let any client in: for experiments only
    #[arg(long)]
    open: bool,
    /// Application to replicate
    #[arg(long, default_value = "kv")]
    app: crate::names::App,
    /// Whether client signatures are checked: "none" for measurements only
    #[arg(long, default_value = "signed")]
    client_auth: crate::names::Auth,
    /// When a write counts as durable
    #[arg(long, default_value = "sync")]
    durability: crate::names::Durable,
    /// Core plan of the replicas
    #[arg(long, default_value = "1")]
    cores: String,
}

/// What a new cluster shall be.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) dir: PathBuf,
    pub(crate) name: String,
    pub(crate) f: u16,
    pub(crate) app: AppKind,
    pub(crate) ordering: OrderingKind,
    pub(crate) client_auth: ClientAuth,
    pub(crate) open: bool,
    pub(crate) identities: u32,
    /// For each replica where peers and where clients reach it.
    pub(crate) addresses: Vec<(SocketAddr, SocketAddr)>,
    /// Where each replica shows its metrics; empty: nowhere.
    pub(crate) admin: Vec<SocketAddr>,
    pub(crate) durability: Durability,
    pub(crate) core_plan: String,
    pub(crate) executed_stream: bool,
    pub(crate) log: LogBudget,
    pub(crate) clients: ClientBudget,
    /// The emulated network between the replicas.
    pub(crate) network: Option<Network>,
}

/// A new cluster's files.
pub(crate) struct Made {
    pub(crate) cluster: Cluster,
    pub(crate) client_keys: ClientKeys,
    /// `replica.toml` of each replica.
    pub(crate) replica_files: Vec<PathBuf>,
    pub(crate) client_file: PathBuf,
}

/// Runs `trireme init`.
pub(crate) fn run(args: InitArgs) -> Result<()> {
    let mut addresses = Vec::new();
    let mut admin = Vec::new();
    for [peer, client, port] in all_addresses(&args)? {
        addresses.push((peer, client));
        admin.push(port);
    }
    if args.no_admin {
        admin.clear();
    }
    let plan = Plan {
        f: args.f.unwrap_or(names::default_f(args.ordering, args.replicas)),
        ordering: args.ordering.into(),
        addresses,
        admin,
        dir: args.dir,
        name: args.name,
        app: args.app.into(),
        client_auth: args.client_auth.into(),
        open: args.open,
        identities: args.clients,
        durability: args.durability.into(),
        core_plan: args.cores,
        executed_stream: false,
        log: LogBudget::default(),
        clients: ClientBudget::default(),
        network: None,
    };
    let made = make(&plan)?;
    say!(
        "cluster {} ({})",
        made.cluster.fingerprint(),
        plan.dir.join("cluster.toml").display()
    );
    for path in &made.replica_files {
        say!("start with: trireme replica --config {}", path.display());
    }
    if let Some(admin) = plan.admin.first() {
        say!("look with:  http://{admin}/ (any replica's page shows all)");
    }
    say!(
        "use with:   trireme put --config {} KEY VALUE",
        made.client_file.display()
    );
    Ok(())
}

/// For each replica where peers, clients and operators reach it.
fn all_addresses(args: &InitArgs) -> Result<Vec<[SocketAddr; 3]>> {
    let count = usize::from(args.replicas);
    ensure!(
        args.hosts.len() == 1 || args.hosts.len() == count,
        "--host was given {} times for {count} replicas: give it once, or once for each",
        args.hosts.len()
    );
    let mut used: Vec<IpAddr> = Vec::with_capacity(count);
    let mut all = Vec::with_capacity(count);
    for index in 0..count {
        let host = args.hosts[index % args.hosts.len()];
        let before = u16::try_from(used.iter().filter(|other| **other == host).count()).expect("at most u16 replicas");
        let port = |base: u16| {
            base.checked_add(before)
                .context("the ports end at 65535: choose a lower first port")
        };
        let ports = [port(args.peer_port)?, port(args.client_port)?, port(args.admin_port)?];
        all.push(ports.map(|port| SocketAddr::new(host, port)));
        used.push(host);
    }
    Ok(all)
}

/// Makes keys and writes all files of a new cluster.
pub(crate) fn make(plan: &Plan) -> Result<Made> {
    let count = plan.addresses.len();
    let n = u16::try_from(count).context("too many replicas")?;
    ensure!(
        Quorums::new(n, plan.f).is_ok(),
        "{n} replicas cannot stand f = {}: n >= 3f + 1 and n <= {MAX_MEMBERS} must hold",
        plan.f
    );
    let identities = usize::try_from(plan.identities)?;
    ensure!(
        (1..=MAX_CLIENTS).contains(&identities),
        "the number of clients must be 1 to {MAX_CLIENTS}"
    );
    let dir = files::make_directory(&plan.dir)?;
    let cluster_file = dir.join("cluster.toml");
    ensure!(
        !cluster_file.exists(),
        "{} is there already: choose another directory",
        cluster_file.display()
    );

    let replica_keys = (0..count).map(|_| new_replica_key()).collect::<Result<Vec<_>>>()?;
    let client_key = KeyFile::new(KeyOwner::Client, random_bytes()?);
    let client_keys = client_key.clients(plan.identities).expect("a client's key file");
    let cluster = cluster_of(plan, n, &replica_keys, &client_keys)?;
    // Read back what was written: a cluster that cannot be started must not be handed out.
    let text = cluster.to_toml();
    let cluster = Cluster::from_toml(&text).map_err(|error| error.in_file(&cluster_file))?;
    files::write_new(&cluster_file, &text)?;
    if let Some(network) = &plan.network {
        network.write(&dir.join(wan::FILE))?;
    }

    let mut replica_files = Vec::with_capacity(count);
    for (index, (file, _)) in replica_keys.iter().enumerate() {
        replica_files.push(write_replica(plan, &dir, index, file)?);
    }
    let client_file = write_client(&dir, &client_key, plan.identities)?;
    Ok(Made {
        cluster,
        client_keys,
        replica_files,
        client_file,
    })
}

fn cluster_of(
    plan: &Plan,
    n: u16,
    replica_keys: &[(KeyFile, ReplicaKeys)],
    client_keys: &ClientKeys,
) -> Result<Cluster> {
    let members = replica_keys.iter().zip(&plan.addresses).enumerate();
    let members = members.map(|(index, ((_, keys), (peer, client)))| MemberEntry {
        organisation: format!("organisation-{index}"),
        region: region(plan, index),
        vote_key: keys.vote.public(),
        tls_key: keys.tls.public().0,
        peer_address: *peer,
        client_address: *client,
    });
    let known = || {
        let entry = |key: &trireme_crypto::SecretKey| ClientEntry {
            key: key.public(),
            tls_key: client_keys.tls.public().0,
            organisation: "organisation-0".to_owned(),
        };
        Clients::Known(client_keys.clients.iter().map(entry).collect())
    };
    Ok(Cluster {
        name: plan.name.clone(),
        salt: Digest(random_bytes()?),
        params: params(n, plan),
        app: plan.app,
        ordering: plan.ordering,
        client_auth: plan.client_auth,
        clients: if plan.open { Clients::Open } else { known() },
        members: members.collect(),
    })
}

/// The usual constants, with checkpoints near enough to each other that a small log holds several.
fn params(n: u16, plan: &Plan) -> Params {
    let mut params = Params::new(n, plan.f);
    params.checkpoint_bytes = params.checkpoint_bytes.min(plan.log.max_log_bytes / 8);
    params
}

fn region(plan: &Plan, index: usize) -> String {
    let place = u16::try_from(index).map(Place::Replica).ok();
    let named = plan.network.as_ref().zip(place);
    named.map_or_else(
        || "local".to_owned(),
        |(network, place)| network.region_name(place).to_owned(),
    )
}

fn write_replica(plan: &Plan, dir: &Path, index: usize, key: &KeyFile) -> Result<PathBuf> {
    let own = files::make_directory(&dir.join(format!("replica-{index}")))?;
    let (peer, client) = plan.addresses[index];
    files::write_secret(&own.join("replica.key"), &key.to_toml())?;
    let config = ReplicaConfig {
        member: u16::try_from(index).context("too many replicas")?,
        cluster_file: "../cluster.toml".into(),
        key_file: "replica.key".into(),
        peer_listen: peer,
        client_listen: client,
        data_dir: "log".into(),
        durability: plan.durability,
        device: DeviceKind::Auto,
        flush: FlushKind::Linked,
        core_plan: plan.core_plan.clone(),
        executed_stream: plan.executed_stream.then(|| "executed".into()),
        wan: plan.network.is_some().then(|| Path::new("..").join(wan::FILE)),
        admin: plan.admin.get(index).map(|listen| AdminConfig {
            listen: *listen,
            members: plan.admin.clone(),
        }),
        log: plan.log.clone(),
        snapshots: SnapshotBudget::default(),
        peers: PeerBudget::default(),
        clients: plan.clients.clone(),
    };
    let path = own.join("replica.toml");
    files::write_new(&path, &config.to_toml())?;
    Ok(path)
}

fn write_client(dir: &Path, key: &KeyFile, identities: u32) -> Result<PathBuf> {
    let own = files::make_directory(&dir.join("client"))?;
    files::write_secret(&own.join("client.key"), &key.to_toml())?;
    let config = ClientConfig {
        cluster_file: "../cluster.toml".into(),
        key_file: "client.key".into(),
        identities,
    };
    let path = own.join("client.toml");
    files::write_new(&path, &config.to_toml())?;
    Ok(path)
}

fn new_replica_key() -> Result<(KeyFile, ReplicaKeys)> {
    let file = KeyFile::new(KeyOwner::Replica, random_bytes()?);
    let keys = file.replica().expect("a replica's key file");
    Ok((file, keys))
}

/// 32 bytes from the operating system.
pub(crate) fn random_bytes() -> Result<[u8; 32]> {
    let mut bytes = [0u8; 32];
    let count = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("the operating system gives no random bytes")?;
    ensure!(
        count == bytes.len(),
        "the operating system gave {count} random bytes of {}",
        bytes.len()
    );
    Ok(bytes)
}

/// A new cluster of so many replicas in an empty directory.
#[cfg(test)]
pub(crate) fn for_tests(dir: &Path, replicas: u16) -> Cluster {
    let at = |port| {
        (
            SocketAddr::from(([127, 0, 0, 1], port)),
            SocketAddr::from(([127, 0, 0, 1], port + 1)),
        )
    };
    let plan = Plan {
        dir: dir.to_owned(),
        name: "test".to_owned(),
        f: Quorums::default_f(replicas),
        ordering: OrderingKind::Trireme,
        app: AppKind::Kv,
        client_auth: ClientAuth::Signed,
        open: false,
        identities: 1,
        addresses: (0..replicas).map(|index| at(7_000 + 2 * index)).collect(),
        admin: Vec::new(),
        durability: Durability::Sync,
        core_plan: "1".to_owned(),
        executed_stream: false,
        log: LogBudget::default(),
        clients: ClientBudget::default(),
        network: None,
    };
    make(&plan).expect("an empty directory").cluster
}
