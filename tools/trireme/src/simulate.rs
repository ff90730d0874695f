//! `trireme simulate`: the protocol under simulated time, faults and Byzantine members.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::say::say;
use trireme_sim::{Options, replay, run_seed};

/// Arguments of `trireme simulate`.
#[derive(Debug, clap::Args)]
#[group(id = "what", required = true, multiple = false, args = ["seed", "seeds"])]
pub(crate) struct SimulateArgs {
    /// Replay this seed with a line for each event
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Run so many seeds and say which of them break an invariant
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// The first of the seeds
    #[arg(long, value_name = "S", default_value_t = 0, requires = "seeds")]
    first: u64,
}

/// Runs `trireme simulate`.
pub(crate) fn run(args: &SimulateArgs) -> Result<()> {
    match (args.seed, args.seeds) {
        (Some(seed), _) => trace(seed),
        (None, seeds) => many(args.first, seeds.unwrap_or(1)),
    }
}

fn trace(seed: u64) -> Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut broken = None;
    let report = replay(seed, &Options::default(), |line| {
        if broken.is_none() {
            broken = writeln!(out, "{line}").err();
        }
    });
    // A closed pipe (`| head`) ends the trace, not the verdict.
    if broken.is_none() {
        writeln!(out, "{report}")?;
        out.flush()?;
    }
    ensure!(
        report.violations.is_empty(),
        "seed {seed} breaks {} invariants",
        report.violations.len()
    );
    Ok(())
}

fn many(first: u64, seeds: u64) -> Result<()> {
    let start = Instant::now();
    let (mut events, mut simulated_us) = (0, 0);
    let mut counters: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut failed = Vec::new();
    for seed in first..first.saturating_add(seeds) {
        let report = run_seed(seed, &Options::default());
        events += report.events;
        simulated_us += report.simulated_us;
        for (name, count) in &report.counters {
            *counters.entry(name).or_default() += count;
        }
        if !report.violations.is_empty() {
            say!("{report}\n  replay with: trireme simulate --seed {seed}");
            failed.push(seed);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    say!(
        "{seeds} seeds, {events} events, {} s of simulated time in {seconds:.1} s",
        simulated_us / 1_000_000
    );
    for (name, count) in &counters {
        say!("  {name:<32} {count}");
    }
    ensure!(
        failed.is_empty(),
        "{} of {seeds} seeds break an invariant: {failed:?}",
        failed.len()
    );
    Ok(())
}
