//! A replica: its threads, started and stopped together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;

use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use trireme_config::{Cluster, ReplicaConfig, ReplicaKeys};

use crate::admin::Admin;
use crate::board::Board;
use crate::clock::Clock;
use crate::error::ReplicaError;
use crate::execute::Observer;
use crate::gate::Gate;
use crate::keys::MemberKeys;
use crate::notify;
use crate::run_loop::Shared;
use crate::signal::Threads;
use crate::stage::entries;
use crate::thread::{Blueprint, Recovery, Seed, run};
use crate::topology::{CorePlan, LinkSpec, Stage};
use crate::wiring::wire;

/// Name and version of the status document.
pub const STATUS_SCHEMA: &str = "trireme-status/1";

/// What a thread tells the one that started it.
enum News {
    Ready,
    Ended(Result<(), ReplicaError>),
}

/// A replica whose threads run.
pub struct RunningReplica {
    gate: Arc<Gate>,
    threads: Threads,
    handles: Vec<JoinHandle<()>>,
    news: mpsc::UnboundedReceiver<News>,
    running: usize,
    ready: usize,
    /// The first error of a thread.
    failure: Option<ReplicaError>,
    /// Open as long as the replica runs.
    _admin: Option<Admin>,
}

/// A log that is full before a second checkpoint can release anything refuses requests for ever.
fn warn_of_small_log(cluster: &Cluster, config: &ReplicaConfig) {
    let (most, checkpoint) = (config.log.max_log_bytes, cluster.params.checkpoint_bytes);
    if most < 3 * checkpoint {
        tracing::warn!(
            max_log_bytes = most,
            checkpoint_bytes = checkpoint,
            "the log holds less than three times checkpoint_bytes: it may be full before a checkpoint releases anything; \
             set log.max_log_bytes of replica.toml higher"
        );
    }
}

impl RunningReplica {
    /// Starts the threads of a replica: it opens its doors, recovers from its log, and takes part. Returns at once; a
    /// recovery may take a while ([`RunningReplica::wait_ready`]).
    ///
    /// # Errors
    ///
    /// [`ReplicaError`]: settings and keys that do not fit the cluster. What fails later is the result of
    /// [`RunningReplica::wait_ready`] or [`RunningReplica::stop`].
    pub fn start(
        cluster: Cluster,
        config: ReplicaConfig,
        keys: ReplicaKeys,
        observer: Box<dyn Observer + Send>,
    ) -> Result<Self, ReplicaError> {
        let plan = CorePlan::parse(&config.core_plan)?;
        warn_of_small_log(&cluster, &config);
        let members = Arc::new(MemberKeys::new(&cluster, config.member, &keys)?);
        let count = plan.plan.threads.len();
        let threads = Threads::new(count);
        let (ends, counts) = wire(plan.plan, &threads, &LinkSpec::room);
        let clock = Clock::start();
        let asker = plan.plan.thread_of(Stage::Ingress);
        let constants = constants(&cluster, &config, plan);
        let board = Arc::new(Board::new(&threads, count, asker, counts, constants, clock.clone()));
        let gate = Arc::new(Gate::default());
        let open = |admin| Admin::open(admin, config.member, cluster.members.len(), board.clone());
        let admin = config.admin.as_ref().map(open).transpose()?;
        let shared = Shared {
            threads: threads.clone(),
            board,
            gate: gate.clone(),
            clock,
        };
        let blueprint = Arc::new(Blueprint {
            cluster,
            config,
            keys,
            members,
            shared,
        });
        let (replica_in, replica_out) = std_mpsc::sync_channel(1);
        let (machine_in, machine_out) = std_mpsc::sync_channel(1);
        let (keeper_in, keeper_out) = std_mpsc::sync_channel(1);
        let mut recovery = Some(Recovery {
            observer,
            replica: replica_in,
            machine: machine_in,
            keeper: keeper_in,
        });
        let (mut replica_out, mut machine_out) = (Some(replica_out), Some(machine_out));
        let mut keeper_out = Some(keeper_out);
        let mut seeds: Vec<Seed> = (0..count)
            .map(|thread| Seed {
                thread,
                core: plan.first_core.map(|first| first + thread),
                ends: Vec::new(),
                recovery: None,
                replica: None,
                machine: None,
                keeper: None,
            })
            .collect();
        for ends in ends {
            let seed = &mut seeds[plan.plan.thread_of(ends.stage())];
            match ends.stage() {
                Stage::Log => seed.recovery = recovery.take(),
                Stage::Order => seed.replica = replica_out.take(),
                Stage::Execute => seed.machine = machine_out.take(),
                Stage::Snapshots => seed.keeper = keeper_out.take(),
                _ => {}
            }
            seed.ends.push(ends);
        }
        let (tell, news) = mpsc::unbounded_channel();
        let mut replica = Self {
            gate,
            threads,
            handles: Vec::new(),
            news,
            running: count,
            ready: 0,
            failure: None,
            _admin: admin,
        };
        for seed in seeds {
            replica.handles.push(spawn(&blueprint, seed, tell.clone())?);
        }
        Ok(replica)
    }

    /// Waits until the replica has recovered and runs.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub fn wait_ready(&mut self) -> Result<(), ReplicaError> {
        while !self.is_ready() {
            match self.news.blocking_recv() {
                Some(news) => self.note(news),
                None => break,
            }
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Tells the replica to stop, and waits until it has.
    ///
    /// # Errors
    ///
    /// What went wrong in any of its threads.
    pub fn stop(mut self) -> Result<(), ReplicaError> {
        self.request_stop();
        while self.running > 0 {
            match self.news.blocking_recv() {
                Some(news) => self.note(news),
                None => break,
            }
        }
        self.join();
        self.failure.take().map_or(Ok(()), Err)
    }

    fn request_stop(&self) {
        self.gate.stop();
        self.threads.notify_all();
    }

    /// Whether it runs, or has failed to.
    fn is_ready(&self) -> bool {
        self.ready == self.handles.len() || self.running < self.handles.len()
    }

    fn note(&mut self, news: News) {
        match news {
            News::Ready => self.ready += 1,
            News::Ended(result) => {
                self.running -= 1;
                if let Err(error) = result {
                    self.failure.get_or_insert(error);
                }
                // One thread's end is the end of all.
                self.request_stop();
            }
        }
    }

    fn join(&mut self) {
        for handle in self.handles.drain(..) {
            handle.join().expect("a thread's panic is caught in it");
        }
    }

    /// Runs until a signal or a failure ends it.
    async fn until_stopped(&mut self) -> Result<(), ReplicaError> {
        let system = ReplicaError::system;
        let mut terminate = signal(SignalKind::terminate()).map_err(system("listen for SIGTERM"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system("listen for SIGINT"))?;
        let mut announced = false;
        while self.running > 0 {
            tokio::select! {
                Some(news) = self.news.recv() => self.note(news),
                _ = terminate.recv() => self.stop_on("SIGTERM"),
                _ = interrupt.recv() => self.stop_on("SIGINT"),
            }
            if !announced && self.ready == self.handles.len() {
                announced = true;
                tracing::info!("replica is running");
                notify::tell(notify::READY);
            }
        }
        Ok(())
    }

    fn stop_on(&self, signal: &str) {
        tracing::info!(signal, "stopping");
        notify::tell(notify::STOPPING);
        self.request_stop();
    }
}

impl Drop for RunningReplica {
    fn drop(&mut self) {
        self.request_stop();
        self.join();
    }
}

fn spawn(
    blueprint: &Arc<Blueprint>,
    seed: Seed,
    tell: mpsc::UnboundedSender<News>,
) -> Result<JoinHandle<()>, ReplicaError> {
    let blueprint = blueprint.clone();
    let name = format!("replica-{}.{}", blueprint.config.member, seed.thread);
    let body = move || {
        let ready = || drop(tell.send(News::Ready));
        let result = catch_unwind(AssertUnwindSafe(|| run(&blueprint, seed, ready)));
        let result = result.unwrap_or_else(|panic| Err(ReplicaError::Panicked(panic_text(&*panic))));
        blueprint.shared.gate.stop();
        blueprint.shared.threads.notify_all();
        drop(tell.send(News::Ended(result)));
    };
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(ReplicaError::system("start a thread"))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// What of the status does not change.
pub(crate) fn constants(cluster: &Cluster, config: &ReplicaConfig, plan: CorePlan) -> Map<String, Value> {
    let member = cluster.members.get(usize::from(config.member));
    entries(json!({
        "schema": STATUS_SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "cluster": cluster.fingerprint().to_string(),
        "cluster_name": cluster.name,
        "member": config.member,
        "organisation": member.map(|member| &member.organisation),
        "region": member.map(|member| &member.region),
        "n": cluster.params.n,
        "f": cluster.params.f,
        "ordering": cluster.ordering.name(),
        "app": cluster.app.name(),
        "windows": {
            "slots": cluster.params.window,
            "lane_heights": cluster.params.lane_window_heights,
            "lane_bytes": cluster.params.lane_window_bytes,
            "core_intake_bytes": cluster.params.intake_bytes(),
        },
        "client_auth": cluster.client_auth.name(),
        "durability": config.durability.name(),
        "core_plan": plan.to_string(),
    }))
}

/// Runs a replica as a process: until SIGTERM or SIGINT, or until it fails. A panic anywhere ends the process.
///
/// # Errors
///
/// [`ReplicaError`]; a clean stop is no error.
pub fn run_replica(
    cluster: Cluster,
    config: ReplicaConfig,
    keys: ReplicaKeys,
    observer: Box<dyn Observer + Send>,
) -> Result<(), ReplicaError> {
    end_the_process_on_panic();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(ReplicaError::system("start the runtime of the main thread"))?;
    let (member, peers, clients) = (config.member, config.peer_listen, config.client_listen);
    tracing::info!(member, %peers, %clients, cluster = %cluster.fingerprint().short(), "starting");
    let mut replica = RunningReplica::start(cluster, config, keys, observer)?;
    runtime.block_on(replica.until_stopped())?;
    replica.stop()
}

/// A replica with a broken invariant must not go on in its other threads.
fn end_the_process_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::abort();
    }));
}
