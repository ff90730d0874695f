//! The second level of simulation: the product's stages, links, run loops and log, for a whole cluster on one thread.
//!
//! The simulator of the core (`trireme-sim`) shows that the protocol is safe and live. This one shows it of the
//! machinery around it: real bounded links, drawn so small that each of them fills; back-pressure, shedding, refusals,
//! pauses; wake-ups, which are modelled as they are: a run loop is polled only when something woke it, so that a lost
//! wake-up is a stall. The log is the product's on a simulated disk; signatures are real; connections break; clients
//! flood, do not read, forge, and send what they must not; replicas are killed and stopped.
//!
//! One seed draws it all. [`run_stage_seed`] runs it; equal seeds give equal trace hashes.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod client;
mod doors;
mod history;
mod host;
mod plan;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::fmt;

pub use trireme_pipeline::simulation::Bug;
pub use trireme_sim::Violation;

use trireme_pipeline::simulation::links;

use world::World;

/// What a run may be asked to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Members; drawn from 4 and 7 if absent.
    pub n: Option<u16>,
    /// A fault of the machinery that is switched on. Without effect in builds without the feature `bugs` of the
    /// pipeline.
    pub bug: Option<Bug>,
}

/// What a run showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageReport {
    /// The seed.
    pub seed: u64,
    /// Members.
    pub n: u16,
    /// Polls of run loops.
    pub polls: u64,
    /// Simulated time, in microseconds.
    pub simulated_us: u64,
    /// What did not hold; empty is good.
    pub violations: Vec<Violation>,
    /// How often things happened that should happen sometimes.
    pub counters: BTreeMap<String, u64>,
    /// Equal for equal runs.
    pub trace_hash: u64,
}

/// What has to happen on some seed of a long run, besides every link being full.
const SOMETIMES: [&str; 15] = [
    "client closed as a slow reader",
    "client hung up",
    "connection paused",
    "connection resumed",
    "path broken",
    "polled uncalled",
    "refused: bad_signature",
    "refused: log_full",
    "refused: not_registered",
    "refused: overloaded",
    "refused: wrong_connection",
    "run loop starved",
    "shed: own_bundles",
    "status answered",
    "stopped in order",
];

/// What should happen on some seed and is not among these counters.
pub fn never(counters: &BTreeMap<String, u64>) -> Vec<String> {
    let links = links().map(|spec| format!("full: {}", spec.name));
    let wanted = links.chain(SOMETIMES.map(str::to_owned));
    wanted.filter(|name| !counters.contains_key(name)).collect()
}

/// Runs a seed.
pub fn run_stage_seed(seed: u64, options: &Options) -> StageReport {
    let mut world = World::new(seed, options);
    world.run();
    StageReport {
        seed,
        n: world.members(),
        polls: world.polls,
        simulated_us: world.now_us,
        trace_hash: world.hash(),
        violations: std::mem::take(&mut world.history.violations),
        counters: std::mem::take(&mut world.counters),
    }
}

impl fmt::Display for StageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.simulated_us / 1_000_000, self.simulated_us / 1_000 % 1_000);
        write!(
            f,
            "seed {}: n {}, {} polls in {seconds}.{millis:03} s, trace {:016x}",
            self.seed, self.n, self.polls, self.trace_hash
        )?;
        self.violations
            .iter()
            .try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}
