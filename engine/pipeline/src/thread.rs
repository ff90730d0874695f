//! One thread of a replica: opens what its stages need, takes part in the recovery, runs, winds up.

use std::sync::Arc;
use std::sync::mpsc;

use tokio::runtime::{Builder, Runtime};
use trireme_config::{AppKind, ClientAuth, Clients, Cluster, ReplicaConfig, ReplicaKeys};
use trireme_core::check::CheckContext;
use trireme_core::quarantine::Cause;
use trireme_log::Log;
use trireme_state::transfer::TransferLimits;
use trireme_state::{Application, ClientRegistry, Executor, Null, kv::Kv};
use trireme_transport::{ClientListener, PeerEndpoint};

use crate::doors::{ClientDoor, PeerDoor};
use crate::endpoints::{client_listener, peer_endpoint};
use crate::error::ReplicaError;
use crate::execute::{Execute, Machine, Observer};
use crate::identity::{Mark, set_aside};
use crate::ingress::{Ingress, IngressShared};
use crate::keys::MemberKeys;
use crate::log::{LogLimits, LogStage};
use crate::log_event::LogEvent;
use crate::order::Order;
use crate::orderer::{MessageGate, Orderer};
use crate::peers::Peers;
use crate::recovery::{Recovered, log_config, recover};
use crate::run_loop::{RunLoop, Shared};
use crate::snapshots::{self, Installation, Keeper, KeeperSettings, Realm, Snapshots};
use crate::stage::Work;
use crate::verify::Verify;
use crate::wiring::Ends;

/// Tasks that a runtime runs before it looks at its sockets again.
const EVENT_INTERVAL: u32 = 31;

/// What all threads of a replica are built from.
pub(crate) struct Blueprint {
    pub(crate) cluster: Cluster,
    pub(crate) config: ReplicaConfig,
    pub(crate) keys: ReplicaKeys,
    pub(crate) members: Arc<MemberKeys>,
    pub(crate) shared: Shared,
}

/// What one thread is built from.
pub(crate) struct Seed {
    pub(crate) thread: usize,
    pub(crate) core: Option<usize>,
    pub(crate) ends: Vec<Ends>,
    /// Present on the thread of the log, which recovers for all.
    pub(crate) recovery: Option<Recovery>,
    pub(crate) replica: Option<mpsc::Receiver<Orderer>>,
    pub(crate) machine: Option<mpsc::Receiver<Machine>>,
    pub(crate) keeper: Option<mpsc::Receiver<Keeper>>,
}

/// Where the recovered parts go.
pub(crate) struct Recovery {
    pub(crate) observer: Box<dyn Observer + Send>,
    pub(crate) replica: mpsc::SyncSender<Orderer>,
    pub(crate) machine: mpsc::SyncSender<Machine>,
    pub(crate) keeper: mpsc::SyncSender<Keeper>,
}

/// The parts of a thread that exist before its stages do.
pub(crate) struct Opened<C, P> {
    pub(crate) listener: Option<C>,
    pub(crate) endpoint: Option<P>,
    pub(crate) recovered: Option<Recovered>,
    pub(crate) replica: Option<Orderer>,
    pub(crate) machine: Option<Machine>,
    /// None in a simulation.
    pub(crate) keeper: Option<Keeper>,
}

/// Runs a thread from its seed to its end; `ready` is called when its stages begin to run.
pub(crate) fn run(blueprint: &Blueprint, seed: Seed, ready: impl FnOnce()) -> Result<(), ReplicaError> {
    if let Some(core) = seed.core {
        pin(core);
    }
    let runtime = runtime()?;
    let guard = runtime.enter();
    let thread = seed.thread;
    let Some(stages) = build(blueprint, seed)? else {
        return Ok(()); // Stopped, or another thread failed, before the recovery was done.
    };
    drop(guard);
    let mut run_loop = RunLoop::new(blueprint.shared.clone(), thread, stages);
    ready();
    runtime.block_on(async {
        run_loop.run().await?;
        run_loop.finish().await
    })
}

fn runtime() -> Result<Runtime, ReplicaError> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .event_interval(EVENT_INTERVAL)
        .build()
        .map_err(ReplicaError::system("start the runtime of a thread"))
}

/// Pins the calling thread; a core that does not exist is worth a warning, not a failure.
fn pin(core: usize) {
    if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        tracing::warn!(core, "this thread could not be pinned; the kernel places it");
    }
}

/// Opens the doors first, so that a port in use is noticed before a long recovery; then recovers, or waits for it.
fn build(blueprint: &Blueprint, seed: Seed) -> Result<Option<Vec<Box<dyn Work>>>, ReplicaError> {
    let Blueprint {
        cluster, config, keys, ..
    } = blueprint;
    let mut opened = Opened::<ClientListener, PeerEndpoint> {
        listener: None,
        endpoint: None,
        recovered: None,
        replica: None,
        machine: None,
        keeper: None,
    };
    for ends in &seed.ends {
        match ends {
            Ends::Ingress(_) => opened.listener = Some(client_listener(cluster, config, keys)?),
            Ends::Peers(_) => opened.endpoint = Some(peer_endpoint(cluster, config, keys)?),
            _ => {}
        }
    }
    if let Some(recovery) = seed.recovery {
        opened.recovered = recover_all(blueprint, recovery, None)?;
        if opened.recovered.is_none() {
            return Ok(None);
        }
    }
    let (Ok(replica), Ok(machine), Ok(keeper)) = (part(seed.replica), part(seed.machine), part(seed.keeper)) else {
        return Ok(None);
    };
    (opened.replica, opened.machine, opened.keeper) = (replica, machine, keeper);
    let stages = seed.ends.into_iter();
    let stages = stages.map(|ends| stage(blueprint, seed.thread, ends, &mut opened));
    stages.collect::<Result<_, _>>().map(Some)
}

/// A recovered part, if this thread needs it.
fn part<T>(channel: Option<mpsc::Receiver<T>>) -> Result<Option<T>, mpsc::RecvError> {
    channel.map(|channel| channel.recv()).transpose()
}

/// `lost`: why it starts in quarantine, once its log was put aside.
fn recover_all(
    blueprint: &Blueprint,
    mut recovery: Recovery,
    lost: Option<Cause>,
) -> Result<Option<Recovered>, ReplicaError> {
    let Blueprint {
        cluster,
        config,
        members,
        shared,
        ..
    } = blueprint;
    let mut replica = Orderer::new(cluster, members.clone());
    let mut machine = Machine::new(executor(cluster), recovery.observer);
    let (keeper, installation) = Keeper::open(keeper_settings(config), realm(cluster, members, &machine))?;
    if let Some(Installation {
        restored,
        certificate,
        anchor,
    }) = installation
    {
        tracing::info!(slot = restored.slot(), "state is taken from a snapshot");
        machine.restore(restored);
        replica.anchored(certificate, anchor);
    }
    let mark = Mark::new(cluster, config);
    let opened = Log::open(log_config(cluster, config)).map_err(ReplicaError::from);
    let told = (&*shared.gate, &shared.clock);
    let found = opened.and_then(|opening| recover(opening, config.data_dir.clone(), told, &mut replica, &mut machine));
    let no_way_out = |cause: String| ReplicaError::NoWayOut {
        member: config.member,
        dir: config.data_dir.clone(),
        cause,
    };
    let alone = cluster.params.f == 0;
    let log = match found {
        Ok(Some(log)) => log,
        Err(error) if error.loses_votes() && alone => return Err(no_way_out(error.to_string())),
        Ok(None) => return Ok(None),
        Err(error) if error.loses_votes() && lost.is_none() => {
            // Promises that cannot be read are promises that may be broken: the replica goes on with a new log, and signs
            // nothing before it cannot contradict the old one (R-QUARANTINE). The old one stays for examination.
            let aside = set_aside(&config.data_dir)?;
            tracing::error!(%error, aside = %aside.display(), "the log is put aside, the replica starts in quarantine");
            mark.set()?;
            drop(keeper);
            recovery.observer = machine.into_observer();
            return recover_all(blueprint, recovery, Some(Cause::Damaged));
        }
        Err(error) => return Err(error),
    };
    let empty = if replica.has_replayed() { None } else { mark.tells()? };
    match lost.or(empty) {
        Some(cause) if alone => return Err(no_way_out(cause.name().to_owned())),
        Some(cause) => replica.start_quarantined(cause),
        None => {}
    }
    // A receiver that is gone belongs to a thread that failed; it says so itself.
    let _ = recovery.replica.send(replica);
    let _ = recovery.machine.send(machine);
    let _ = recovery.keeper.send(keeper);
    let event = LogEvent::new(log.event_fd())?;
    let mark = mark.tells()?.is_none().then_some(mark);
    Ok(Some(Recovered { log, event, mark }))
}

fn keeper_settings(config: &ReplicaConfig) -> KeeperSettings {
    KeeperSettings {
        dir: snapshots::dir_of(&config.data_dir),
        write_rate: config.snapshots.write_bytes_per_second,
        transfer: TransferLimits {
            bytes_per_second: config.snapshots.transfer_bytes_per_second,
            ..TransferLimits::default()
        },
    }
}

fn realm(cluster: &Cluster, members: &Arc<MemberKeys>, machine: &Machine) -> Realm {
    Realm {
        cluster: cluster.fingerprint(),
        context: CheckContext::new(cluster.params.clone(), cluster.genesis(), members.clone()),
        blank: machine.blank(),
    }
}

pub(crate) fn executor(cluster: &Cluster) -> Executor {
    let app: Box<dyn Application> = match cluster.app {
        AppKind::Kv => Box::new(Kv::new()),
        AppKind::Null => Box::new(Null::new()),
    };
    let registry = match &cluster.clients {
        Clients::Open => ClientRegistry::Open,
        Clients::Known(clients) => ClientRegistry::Known(clients.iter().map(|client| client.key).collect()),
    };
    Executor::new(app, registry, &cluster.params)
}

/// Puts a stage together from its ends and what was opened for it.
pub(crate) fn stage<C: ClientDoor, P: PeerDoor>(
    blueprint: &Blueprint,
    thread: usize,
    ends: Ends,
    opened: &mut Opened<C, P>,
) -> Result<Box<dyn Work>, ReplicaError> {
    let Blueprint {
        cluster,
        config,
        members,
        shared,
        ..
    } = blueprint;
    let domain = cluster.domain();
    Ok(match ends {
        Ends::Ingress(links) => {
            let listener = opened.listener.take().expect("opened with its stage");
            let Shared {
                threads, board, gate, ..
            } = shared.clone();
            Box::new(Ingress::new(
                listener,
                cluster,
                &config.clients,
                links,
                IngressShared {
                    gate,
                    board,
                    threads,
                    thread,
                },
            ))
        }
        Ends::Verify(links) => Box::new(Verify::new(links, domain, cluster.client_auth == ClientAuth::Signed)),
        Ends::Peers(links) => {
            let endpoint = opened.endpoint.take().expect("opened with its stage");
            let context = CheckContext::new(cluster.params.clone(), cluster.genesis(), members.clone());
            let gate = MessageGate(cluster.ordering);
            Box::new(Peers::new(endpoint, links, (context, gate), config.member))
        }
        Ends::Order(links) => {
            let replica = opened.replica.take().expect("received for its stage");
            let gate = shared.gate.clone();
            let keys = (members.clone(), cluster.quorums().quorum());
            Box::new(Order::new(replica, keys, domain, links, gate, &shared.clock))
        }
        Ends::Log(links) => {
            let recovered = opened.recovered.take().expect("recovered with its stage");
            let limits = LogLimits::of(&log_config(cluster, config));
            let (gate, clock) = (shared.gate.clone(), shared.clock.clone());
            Box::new(LogStage::new(recovered, links, gate, domain.epoch, limits, clock))
        }
        Ends::Execute(links) => {
            let machine = opened.machine.take().expect("received for its stage");
            Box::new(Execute::new(machine, links, shared.clock.clone()))
        }
        Ends::Snapshots(links) => {
            let wake = (shared.threads.clone(), thread);
            let peers = (domain.epoch, cluster.members.len());
            Box::new(Snapshots::new(
                links,
                opened.keeper.take(),
                peers,
                wake,
                shared.clock.clone(),
            )?)
        }
    })
}
