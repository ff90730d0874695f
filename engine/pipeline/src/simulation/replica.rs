//! One replica's run loops, polled by hand.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::orderer::Orderer;
use trireme_config::{Cluster, ReplicaConfig, ReplicaKeys};
use trireme_log::Opening;

use super::{Bug, ClientDoor, DiskSignal, PeerDoor, SimulatedTime};
use crate::board::Board;
use crate::clock::Clock;
use crate::error::ReplicaError;
use crate::execute::{Machine, Observer};
use crate::gate::Gate;
use crate::keys::MemberKeys;
use crate::link::LinkCounts;
use crate::log_event::LogEvent;
use crate::recovery::{Recovered, recover};
use crate::replica::constants;
use crate::run_loop::{Pace, RunLoop, Shared};
use crate::signal::Threads;
use crate::thread::{Blueprint, Opened, executor, stage};
use crate::topology::{CorePlan, LinkSpec, Plan, Room, Stage};
use crate::wiring::wire;

/// A run loop for each stage that does something here: every link crosses from one to another, so that each wake-up
/// counts. Snapshots are not kept in a simulation.
static SIX: Plan = Plan {
    name: "6",
    threads: &[
        &[Stage::Ingress],
        &[Stage::Verify],
        &[Stage::Peers],
        &[Stage::Order],
        &[Stage::Log],
        &[Stage::Execute, Stage::Snapshots],
    ],
};

/// Which stages share a run loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threading {
    /// As the configuration's core plan says.
    Configured,
    /// None.
    EachStage,
}

/// What a simulated replica is made of.
pub struct Parts<C, P> {
    /// The cluster.
    pub cluster: Cluster,
    /// Its settings.
    pub config: ReplicaConfig,
    /// Its keys.
    pub keys: ReplicaKeys,
    /// Its door for clients.
    pub clients: C,
    /// Its door for members.
    pub peers: P,
    /// Its log, opened with [`log_config`](super::log_config).
    pub opening: Opening,
    /// Raised when the log may have news.
    pub signal: DiskSignal,
    /// Its clocks.
    pub time: Arc<SimulatedTime>,
    /// Sees what it executes.
    pub observer: Box<dyn Observer + Send>,
    /// Which stages share a run loop.
    pub threading: Threading,
    /// What each link may hold.
    pub room: Box<dyn Fn(&LinkSpec) -> Room>,
    /// A fault that is switched on; without effect unless the feature `bugs` is on.
    pub bug: Option<Bug>,
}

/// A replica that runs when it is polled. Dropped, it is gone like a killed process: nothing is wound up.
pub struct SimulatedReplica {
    shared: Shared,
    loops: Vec<RunLoop>,
    links: Vec<Arc<LinkCounts>>,
}

/// A link as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// Its name.
    pub name: &'static str,
    /// What it may hold.
    pub room: Room,
    /// Items in it.
    pub held: usize,
    /// The most items that were in it.
    pub high_water: usize,
    /// Its producer found no room, so often.
    pub starvations: u64,
    /// Items that were pushed although it held its bytes.
    pub overruns: u64,
    /// Items that its producer turned away.
    pub shed: u64,
}

impl SimulatedReplica {
    /// Replays the log and puts the stages together.
    ///
    /// # Errors
    ///
    /// [`ReplicaError`], as at the start of a real one.
    pub fn start<C: ClientDoor, P: PeerDoor>(parts: Parts<C, P>) -> Result<Self, ReplicaError> {
        let Parts {
            cluster, config, keys, ..
        } = parts;
        let core_plan = CorePlan::parse(&config.core_plan)?;
        let plan = match parts.threading {
            Threading::Configured => core_plan.plan,
            Threading::EachStage => &SIX,
        };
        let members = Arc::new(MemberKeys::new(&cluster, config.member, &keys)?);
        let count = plan.threads.len();
        let threads = threads(count, parts.bug);
        let (ends, links) = wire(plan, &threads, &*parts.room);
        let clock = Clock::Simulated(parts.time);
        let asker = plan.thread_of(Stage::Ingress);
        let constants = constants(&cluster, &config, core_plan);
        let board = Board::new(&threads, count, asker, links.clone(), constants, clock.clone());
        let shared = Shared {
            threads,
            board: Arc::new(board),
            gate: Arc::new(Gate::default()),
            clock,
        };
        let mut replica = Orderer::new(&cluster, members.clone());
        let mut machine = Machine::new(executor(&cluster), parts.observer);
        let dir = config.data_dir.clone();
        let log = recover(
            parts.opening,
            dir,
            (&shared.gate, &shared.clock),
            &mut replica,
            &mut machine,
        )?;
        let mut opened = Opened {
            listener: Some(parts.clients),
            endpoint: Some(parts.peers),
            recovered: log.map(|log| Recovered {
                log,
                event: LogEvent::Simulated(parts.signal),
                mark: None,
            }),
            replica: Some(replica),
            machine: Some(machine),
            keeper: None,
        };
        let blueprint = Blueprint {
            cluster,
            config,
            keys,
            members,
            shared: shared.clone(),
        };
        let mut stages: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        for ends in ends {
            let thread = plan.thread_of(ends.stage());
            stages[thread].push(stage(&blueprint, thread, ends, &mut opened)?);
        }
        let loops = (0..).zip(stages);
        Ok(Self {
            loops: loops
                .map(|(thread, stages)| RunLoop::new(shared.clone(), thread, stages))
                .collect(),
            shared,
            links,
        })
    }

    /// How many run loops it has.
    pub fn run_loops(&self) -> usize {
        self.loops.len()
    }

    /// Polls a run loop: each of its stages once, with this budget of items, as long as there is something to do.
    /// Ready when the replica was told to stop or cannot go on.
    ///
    /// # Errors
    ///
    /// What the replica cannot go on after.
    pub fn poll(&mut self, index: usize, budget: usize, cx: &mut Context<'_>) -> Poll<Result<(), ReplicaError>> {
        let run_loop = &mut self.loops[index];
        run_loop.pace = Pace { budget, slice_ns: 0 };
        run_loop.poll(cx)
    }

    /// How often a stage of this run loop found something to do.
    pub fn busy_passes(&self, index: usize) -> u64 {
        self.loops[index].busy_passes
    }

    /// Tells it to stop: requests are refused, and its run loops end when they are polled next.
    pub fn stop(&self) {
        self.shared.gate.stop();
        self.shared.threads.notify_all();
    }

    /// Winds up, as at the end of a real one: the log is written to its end, the doors are closed.
    ///
    /// # Errors
    ///
    /// What went wrong on the way.
    pub async fn finish(self) -> Result<(), ReplicaError> {
        for run_loop in self.loops {
            run_loop.finish().await?;
        }
        Ok(())
    }

    /// Whether the log has no room for new requests.
    pub fn log_full(&self) -> bool {
        self.shared.gate.log_full()
    }

    /// Whether the core raised an alarm.
    pub fn alarmed(&self) -> bool {
        self.shared.gate.alarmed()
    }

    /// What its stages say of themselves: the status document without its frame.
    pub fn status(&mut self) -> serde_json::Value {
        let parts = self.loops.iter_mut().flat_map(RunLoop::status);
        serde_json::Value::Object(parts.collect())
    }

    /// Its links.
    pub fn links(&self) -> impl Iterator<Item = LinkView> {
        self.links.iter().map(|counts| counts.view())
    }
}

#[cfg(feature = "bugs")]
fn threads(count: usize, bug: Option<Bug>) -> Threads {
    Threads::new(count).with_bugs(crate::bugs::Switches::with(bug))
}

#[cfg(not(feature = "bugs"))]
fn threads(count: usize, _: Option<Bug>) -> Threads {
    Threads::new(count)
}
