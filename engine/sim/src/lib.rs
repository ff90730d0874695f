//! A deterministic simulator of the replication core (FAULTS.md, Simulator).
//!
//! One thread, one heap of events ordered by (time, sequence), one seed. The seed draws a cluster (`plan.rs`): sizes,
//! constants, weather, faults, Byzantine members. The core runs in a shell of simulated disk, network, clocks and
//! execution; oracles that share no code with it judge every step. Then the network heals, and what clients asked for
//! has to be done everywhere.
//!
//! [`run_seed`] runs a seed; [`replay`] runs it with a line for each event. Equal seeds give equal trace hashes.
#![forbid(unsafe_code)]

pub mod bank;
mod build;
mod byzantine;
mod chaos;
mod checkpoints;
mod client;
mod clock;
mod disk;
mod event;
mod fairness;
mod guard;
mod host;
mod keys;
mod lasso;
mod machine;
mod network;
mod oracle;
mod plan;
pub mod prng;
mod quarantine;
mod rogues;
mod scenario;
mod shell;
mod shrink;
mod sometimes;
mod storage;
mod trace;
mod traffic;
pub mod twins;
mod vault;
mod world;

use std::collections::BTreeMap;
use std::fmt;

pub use byzantine::strategies;
pub use guard::guarded;
pub use oracle::Violation;
pub use plan::Options;
pub use scenario::{Scenario, ScenarioError};
pub use shrink::{Shrunk, shrink};
pub use sometimes::{ALWAYS, ENOUGH_SEEDS, SOMETIMES};

use plan::Plan;
use prng::Prng;
use world::{Lines, World};

/// What a run showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Members.
    pub n: u16,
    /// Byzantine members stood.
    pub f: u16,
    /// Members that were Byzantine.
    pub byzantine: u16,
    /// Events handled.
    pub events: u64,
    /// Simulated time, in microseconds.
    pub simulated_us: u64,
    /// What did not hold; empty is good.
    pub violations: Vec<Violation>,
    /// How often things happened that should happen sometimes.
    pub counters: BTreeMap<&'static str, u64>,
    /// Equal for equal runs.
    pub trace_hash: u64,
}

/// Runs a seed.
pub fn run_seed(seed: u64, options: &Options) -> Report {
    run(seed, options, None)
}

/// Runs a seed; a panic in it is a violation of the invariant "panic", with the words and the place of the panic. The
/// rest of such a report says nothing.
pub fn run_guarded(seed: u64, options: &Options) -> Report {
    let own = options.clone();
    guarded(move || run_seed(seed, &own)).unwrap_or_else(|words| {
        let plan = draw(seed, &mut Prng::new(seed), options);
        Report::of_panic(seed, &plan, words)
    })
}

/// Runs a seed and gives each event as a line: time, replica, input, effects.
pub fn replay(seed: u64, options: &Options, mut line: impl FnMut(&str)) -> Report {
    run(seed, options, Some(&mut line))
}

fn run(seed: u64, options: &Options, mut lines: Lines<'_>) -> Report {
    let mut prng = Prng::new(seed);
    let plan = draw(seed, &mut prng, options);
    if let Some(line) = &mut lines {
        line(&plan.describe());
    }
    let mut world = World::new(prng, plan, options, lines);
    world.run(options);
    Report::of(seed, world)
}

/// The plan of a seed; `prng` is the seed's stream and goes on as that of the run's own choices.
fn draw(seed: u64, prng: &mut Prng, options: &Options) -> Plan {
    let mut plan = Plan::draw(prng, options);
    disk::atlas::draw(seed, &mut plan, options);
    quarantine::draw(seed, &mut plan, options);
    plan
}

impl Report {
    fn of(seed: u64, mut world: World<'_>) -> Self {
        Self {
            seed,
            n: world.plan.params.n,
            f: world.plan.params.f,
            byzantine: world.plan.byzantine(),
            events: world.events,
            simulated_us: world.time,
            trace_hash: world.hash.value(),
            violations: std::mem::take(&mut world.oracle.verdict.violations),
            counters: std::mem::take(&mut world.oracle.verdict.counters),
        }
    }

    fn of_panic(seed: u64, plan: &Plan, words: String) -> Self {
        let panic = Violation {
            invariant: "panic",
            time_us: 0,
            member: None,
            text: words,
        };
        Self {
            seed,
            n: plan.params.n,
            f: plan.params.f,
            byzantine: plan.byzantine(),
            events: 0,
            simulated_us: 0,
            violations: vec![panic],
            counters: BTreeMap::new(),
            trace_hash: 0,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.simulated_us / 1_000_000;
        write!(
            f,
            "seed {}: n {}, f {}, Byzantine {}, ",
            self.seed, self.n, self.f, self.byzantine
        )?;
        write!(
            f,
            "{} events in {seconds} s, trace {:016x}",
            self.events, self.trace_hash
        )?;
        for violation in &self.violations {
            write!(f, "\n  {violation}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.time_us / 1_000_000, self.time_us % 1_000_000);
        write!(f, "invariant {} at {seconds}.{micros:06}", self.invariant)?;
        if let Some(member) = self.member {
            write!(f, " by replica {member}")?;
        }
        write!(f, ": {}", self.text)
    }
}
