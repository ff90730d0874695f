//! One replica: its disk, its clocks, and its stages while it is up.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use trireme_config::{Cluster, DeviceKind, Durability, FlushKind, PeerBudget, ReplicaConfig, ReplicaKeys};
use trireme_log::Log;
use trireme_log::simulation::{Crash, SimulatedDisk};
use trireme_pipeline::simulation::{
    Bug, DiskSignal, LinkSpec, LinkView, Parts, Room, SimulatedReplica, SimulatedTime, links, log_config,
};

use crate::doors::{MemberDoor, PublicDoor};
use crate::history::Tap;
use crate::plan::HostPlan;
use crate::wire::Net;

/// The wall clock at the beginning of a run, in microseconds since the epoch.
const EPOCH_US: u64 = 1_700_000_000_000_000;

/// Set when its run loop is to be polled.
#[derive(Debug, Default)]
pub(crate) struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A run loop as the scheduler sees it.
struct Loop {
    flag: Arc<Flag>,
    waker: Waker,
    starved_until_us: u64,
    ended: bool,
}

/// The parts of a replica that exist while it is up.
struct Up {
    replica: SimulatedReplica,
    loops: Vec<Loop>,
    time: Arc<SimulatedTime>,
    signal: DiskSignal,
    started_us: u64,
    stopping: bool,
}

/// What a poll came to.
pub(crate) enum Polled {
    /// It found work, or did not.
    Ran { worked: bool },
    /// All run loops have ended in order: the replica can be wound up.
    Stopped,
    /// It cannot go on.
    Failed(String),
}

pub(crate) struct Host {
    index: usize,
    pub(crate) plan: HostPlan,
    cluster: Cluster,
    config: ReplicaConfig,
    keys: ReplicaKeys,
    disk: SimulatedDisk,
    pub(crate) tap: Tap,
    bug: Option<Bug>,
    up: Option<Up>,
}

impl Host {
    pub(crate) fn new(
        index: usize,
        plan: HostPlan,
        cluster: &Cluster,
        keys: ReplicaKeys,
        seed: u64,
        bug: Option<Bug>,
    ) -> Self {
        let config = config(index, &plan);
        let disk = SimulatedDisk::new(&log_config(cluster, &config), Some(plan.disk), seed);
        Self {
            index,
            plan,
            cluster: cluster.clone(),
            config,
            keys,
            disk,
            tap: Tap::default(),
            bug,
            up: None,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up.is_some()
    }

    /// Starts it on what its disk holds.
    pub(crate) fn start(&mut self, net: &Net, now_us: u64) -> Result<(), String> {
        let settings = log_config(&self.cluster, &self.config);
        self.disk.advance(now_us);
        let opening = Log::open_simulated(settings, &self.disk).map_err(|error| error.to_string())?;
        let time = SimulatedTime::new(EPOCH_US + now_us + self.plan.wall_skew_us);
        let signal = DiskSignal::default();
        let rooms: Vec<(&'static str, Room)> = links()
            .map(|spec| spec.name)
            .zip(self.plan.rooms.iter().copied())
            .collect();
        let room = move |spec: &LinkSpec| {
            let drawn = rooms.iter().find(|(name, _)| *name == spec.name);
            drawn.map_or(spec.room(), |(_, room)| *room)
        };
        let (net, host) = (net.clone(), self.index);
        let parts = Parts {
            cluster: self.cluster.clone(),
            config: self.config.clone(),
            keys: self.keys.clone(),
            clients: PublicDoor { net: net.clone(), host },
            peers: MemberDoor { net, host },
            opening,
            signal: signal.clone(),
            time: time.clone(),
            observer: Box::new(self.tap.clone()),
            threading: self.plan.threading,
            room: Box::new(room),
            bug: self.bug,
        };
        let replica = SimulatedReplica::start(parts).map_err(|error| error.to_string())?;
        let loops = (0..replica.run_loops()).map(|_| {
            let flag = Arc::new(Flag(AtomicBool::new(true)));
            Loop {
                waker: Waker::from(flag.clone()),
                flag,
                starved_until_us: 0,
                ended: false,
            }
        });
        self.up = Some(Up {
            loops: loops.collect(),
            replica,
            time,
            signal,
            started_us: now_us,
            stopping: false,
        });
        Ok(())
    }

    /// The process is gone, or the power.
    pub(crate) fn kill(&mut self, crash: Crash) {
        self.up = None;
        self.disk.crash(crash);
        self.tap.drain();
    }

    /// Tells it to stop.
    pub(crate) fn stop(&mut self) {
        if let Some(up) = &mut self.up {
            up.stopping = true;
            up.replica.stop();
        }
    }

    /// Winds it up, after [`Polled::Stopped`].
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        let up = self.up.take().expect("it has just been polled");
        let mut end = Box::pin(up.replica.finish());
        let mut cx = Context::from_waker(Waker::noop());
        match end.as_mut().poll(&mut cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Err(error.to_string()),
            Poll::Pending => return Err("winding up waits, though nothing here makes it wait".to_owned()),
        }
        drop(end);
        self.disk.crash(Crash::Kill);
        self.tap.drain();
        Ok(())
    }

    /// It is `now_us`: disk and timers.
    pub(crate) fn advance(&mut self, now_us: u64) {
        let due = self.disk.next_due().is_some_and(|due| due <= now_us);
        self.disk.advance(now_us);
        if let Some(up) = &self.up {
            if due {
                up.signal.raise();
            }
            let wall_us = EPOCH_US + now_us + self.plan.wall_skew_us;
            up.time.set(now_us - up.started_us, wall_us);
        }
    }

    /// When it has to be looked at next, if nobody else does anything.
    pub(crate) fn next_us(&self) -> Option<u64> {
        let up = self.up.as_ref()?;
        let timer = up.time.next_timer_us().map(|tick| tick + up.started_us);
        let hungry = up.loops.iter().filter(|l| l.is_woken()).map(|l| l.starved_until_us);
        timer.into_iter().chain(self.disk.next_due()).chain(hungry).min()
    }

    pub(crate) fn run_loops(&self) -> usize {
        self.up.as_ref().map_or(0, |up| up.loops.len())
    }

    /// Whether this run loop was woken and gets its time.
    pub(crate) fn is_runnable(&self, index: usize, now_us: u64) -> bool {
        let of = |up: &Up| up.loops[index].is_woken() && up.loops[index].starved_until_us <= now_us;
        self.up.as_ref().is_some_and(of)
    }

    /// Whether this run loop sleeps, and nothing that is due soon would wake it: a timer fires late by up to its
    /// resolution, and a poll in that time may find it due.
    pub(crate) fn sleeps_soundly(&self, index: usize, now_us: u64) -> bool {
        let of = |up: &Up| {
            let timer = up.time.next_timer_us().map_or(u64::MAX, |tick| tick + up.started_us);
            !up.loops[index].is_woken() && !up.loops[index].ended && timer > now_us + 1_000
        };
        self.up.as_ref().is_some_and(of)
    }

    /// What a poll costs: the run loop is not polled again before.
    pub(crate) fn rest(&mut self, index: usize, until_us: u64) {
        if let Some(up) = &mut self.up {
            let state = &mut up.loops[index];
            state.starved_until_us = state.starved_until_us.max(until_us);
        }
    }

    pub(crate) fn starve(&mut self, index: usize, until_us: u64) {
        if let Some(up) = &mut self.up {
            let count = up.loops.len();
            up.loops[index % count].starved_until_us = until_us;
        }
    }

    /// Polls a run loop.
    pub(crate) fn poll(&mut self, index: usize, budget: usize) -> Polled {
        let up = self.up.as_mut().expect("the scheduler polls who is up");
        let before = up.replica.busy_passes(index);
        let state = &mut up.loops[index];
        state.flag.0.store(false, Ordering::SeqCst);
        let mut cx = Context::from_waker(&state.waker);
        match up.replica.poll(index, budget, &mut cx) {
            Poll::Pending => Polled::Ran {
                worked: up.replica.busy_passes(index) > before,
            },
            Poll::Ready(Err(error)) => Polled::Failed(error.to_string()),
            Poll::Ready(Ok(())) => {
                state.ended = true;
                if !up.stopping {
                    return Polled::Failed("a run loop has ended unasked".to_owned());
                }
                if up.loops.iter().all(|l| l.ended) {
                    return Polled::Stopped;
                }
                Polled::Ran { worked: true }
            }
        }
    }

    pub(crate) fn links(&self) -> Vec<LinkView> {
        self.up
            .as_ref()
            .map_or_else(Vec::new, |up| up.replica.links().collect())
    }

    /// What its order stage says, for a person.
    pub(crate) fn describe(&mut self) -> String {
        let Some(up) = &mut self.up else {
            return "down".to_owned();
        };
        let status = up.replica.status();
        let fields = [
            "view",
            "committed_slot",
            "executed_slot",
            "connected",
            "fetches",
            "dropped_messages",
            "order",
        ];
        let fields = fields.map(|name| format!("{name} {}", status[name]));
        fields.join(", ")
    }

    pub(crate) fn alarmed(&self) -> bool {
        self.up.as_ref().is_some_and(|up| up.replica.alarmed())
    }

    pub(crate) fn log_full(&self) -> bool {
        self.up.as_ref().is_some_and(|up| up.replica.log_full())
    }
}

impl Loop {
    fn is_woken(&self) -> bool {
        self.flag.0.load(Ordering::SeqCst) && !self.ended
    }
}

fn config(index: usize, plan: &HostPlan) -> ReplicaConfig {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    ReplicaConfig {
        member: u16::try_from(index).expect("few members"),
        cluster_file: "cluster.toml".into(),
        key_file: "key.toml".into(),
        peer_listen: nowhere,
        client_listen: nowhere,
        data_dir: format!("replica-{index}").into(),
        durability: Durability::Sync,
        device: DeviceKind::Plain,
        flush: FlushKind::Linked,
        core_plan: plan.core_plan.to_owned(),
        executed_stream: None,
        wan: None,
        admin: None,
        log: plan.log.clone(),
        snapshots: trireme_config::SnapshotBudget::default(),
        peers: PeerBudget::default(),
        clients: plan.clients.clone(),
    }
}
