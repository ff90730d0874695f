//! The second level: the pipeline's stages, links and log of a whole cluster on one thread.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;
use trireme_sim_stages::{Options, StageReport, never, run_stage_seed};

use super::SimulateArgs;
use crate::say::say;

/// Sums over seeds.
#[derive(Default)]
struct Sums {
    seeds: u64,
    polls: u64,
    simulated_us: u64,
    failing: Vec<u64>,
    counters: BTreeMap<String, u64>,
}

/// Whether no seed breaks anything.
pub(super) fn run(args: &SimulateArgs) -> Result<bool> {
    let one = |seed| {
        let n = args.options(seed).n;
        run_stage_seed(seed, &Options { n, bug: None })
    };
    if let Some(seed) = args.seed {
        let report = one(seed);
        say!("{report}");
        for (name, times) in &report.counters {
            say!("{times:>10} {name}");
        }
        return Ok(report.violations.is_empty());
    }
    let json = args.json.as_deref().map(super::create_report).transpose()?;
    let start = Instant::now();
    let sums = many(args, start, one);
    let wall_s = start.elapsed().as_secs_f64();
    let simulated_s = sums.simulated_us as f64 / 1e6;
    let never = never(&sums.counters);
    let Sums { seeds, polls, .. } = sums;
    let failing = sums.failing.len();
    say!("{seeds} seeds, {failing} break an invariant; {simulated_s:.1} s simulated in {wall_s:.1} s, {polls} polls");
    if !never.is_empty() {
        say!("never happened: {}", never.join(", "));
    }
    if let Some(file) = json {
        let report = json!({
            "schema": "trireme.simulate-stages/1",
            "ok": sums.failing.is_empty(),
            "first": args.first,
            "seeds": seeds,
            "violations": failing,
            "failing": sums.failing,
            "polls": polls,
            "simulated_s": simulated_s,
            "wall_s": wall_s,
            "simulated_to_wall": simulated_s / wall_s,
            "counters": sums.counters,
            "never_fired": never,
        });
        serde_json::to_writer_pretty(file, &report).context("cannot write the report")?;
    }
    Ok(sums.failing.is_empty())
}

/// Runs the seeds on all threads that are wanted.
fn many(args: &SimulateArgs, start: Instant, one: impl Fn(u64) -> StageReport + Sync) -> Sums {
    let processors = || std::thread::available_parallelism().map_or(1, |n| u16::try_from(n.get()).unwrap_or(u16::MAX));
    let end = args.seeds.map_or(u64::MAX, |seeds| args.first.saturating_add(seeds));
    let deadline = args
        .minutes
        .map(|minutes| start + Duration::from_secs_f64(minutes * 60.0));
    let next = AtomicU64::new(args.first);
    let sums = Mutex::new(Sums::default());
    std::thread::scope(|scope| {
        for _ in 0..args.threads.unwrap_or_else(processors) {
            scope.spawn(|| {
                while deadline.is_none_or(|at| Instant::now() < at) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let report = one(seed);
                    sums.lock().expect("no thread panics with it").add(report);
                }
            });
        }
    });
    sums.into_inner().expect("no thread panics with it")
}

impl Sums {
    fn add(&mut self, report: StageReport) {
        self.seeds += 1;
        self.polls += report.polls;
        self.simulated_us += report.simulated_us;
        if !report.violations.is_empty() {
            say!(
                "{report}\n  replay with: trireme simulate --stages --seed {}",
                report.seed
            );
            self.failing.push(report.seed);
        }
        for (name, times) in report.counters {
            *self.counters.entry(name).or_default() += times;
        }
    }
}
