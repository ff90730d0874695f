//! `trireme bench goals`: the goals of the engine beside what this machine reaches.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use trireme_benches::curve;
use trireme_benches::meter::Meter;

use crate::bench::alone::{self, Efficiency};
use crate::bench::bound::{Bound, Figure};
use crate::bench::limits;
use crate::bench::outcome::{Measured, Outcome, SCHEMA};
use crate::bench::runs::{Runs, interleaved};
use crate::bench::settings::{self, Setting};
use crate::bench::whole;
use crate::proc::Machine;
use crate::say::say;

/// TigerBeetle's three replicas on the reference machine, transfers of 128 bytes in batches of 8,189: the lower end of
/// what was measured there (223,000 to 251,000), from which the goals were set.
const TIGERBEETLE_OPS_S: f64 = 223_000.0;
/// All goals.
const GOALS: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
/// How long each stage is measured for goals 7 and 8.
const STAGE: Duration = Duration::from_millis(300);
/// Requests of each point of the curve.
const CURVE_REQUESTS: u64 = 60_000;
const CURVE_BUNDLE: u32 = 64;
const QUICK_DURATION: &str = "3s";

/// Arguments of `trireme bench goals`.
#[derive(Debug, clap::Args)]
pub(crate) struct GoalsArgs {
    /// Runs of each setting, interleaved; medians count
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// How long each loads the cluster
    #[arg(long, value_name = "TIME", default_value = "10s")]
    duration: String,
    /// One short run of each, one emulated network, clients in one region: to see that it works, not to quote
    #[arg(long)]
    quick: bool,
    /// Only these goals: 1 to 7, and 8, the curve against the number of members
    #[arg(long = "goal", value_name = "A,B,...", value_delimiter = ',')]
    goals: Vec<u8>,
    /// Where to write everything
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to write the curve of goal 8 as a page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Runs `trireme bench goals`.
pub(crate) fn run(args: &GoalsArgs) -> Result<ExitCode> {
    ensure!(args.runs > 0, "--runs must be positive");
    let wanted = if args.goals.is_empty() {
        GOALS.to_vec()
    } else {
        args.goals.clone()
    };
    ensure!(
        wanted.iter().all(|goal| GOALS.contains(goal)),
        "--goal takes numbers from 1 to {}",
        GOALS.len()
    );
    crate::names::duration(&args.duration).map_err(anyhow::Error::msg)?;
    let (rounds, duration) = match args.quick {
        true => (1, QUICK_DURATION),
        false => (args.runs, args.duration.as_str()),
    };
    let stages = if wanted.iter().any(|goal| *goal >= 7) {
        Some(whole::stages_alone(STAGE)?)
    } else {
        None
    };
    let settings = settings::all(&wanted, args.quick);
    let all = interleaved(&settings, rounds, duration)?;
    let table = Table {
        settings: &settings,
        runs: &all,
        stages: stages.as_ref(),
    };
    let efficiency = table.efficiency();
    let curve = match (&stages, wanted.contains(&8)) {
        (Some(stages), true) => {
            let requests = if args.quick {
                CURVE_REQUESTS / 20
            } else {
                CURVE_REQUESTS
            };
            Some(whole::draw(&curve::model(stages), CURVE_BUNDLE, requests))
        }
        _ => None,
    };
    let mut outcome = Outcome {
        schema: SCHEMA,
        ok: false,
        version: env!("CARGO_PKG_VERSION"),
        machine: Machine::read(),
        runs: rounds,
        duration: duration.to_owned(),
        quick: args.quick,
        reached: 0,
        missed: 0,
        not_measured: 0,
        failed_runs: 0,
        others_cpu_share: all
            .iter()
            .flat_map(|runs| runs.values("/others_cpu_share"))
            .fold(0.0, f64::max),
        figures: wanted.iter().flat_map(|goal| table.figures(*goal)).collect(),
        settings: settings
            .iter()
            .zip(&all)
            .map(|(setting, runs)| Measured::new(setting, runs))
            .collect(),
        efficiency,
        curve,
        stages_alone: stages.as_ref().map(alone::rows).unwrap_or_default(),
    };
    outcome.judge();
    say!("");
    outcome.print();
    if let (Some(path), Some(curve)) = (&args.html, &outcome.curve) {
        std::fs::write(path, whole::page(curve)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.json {
        outcome.write(path)?;
    }
    Ok(match (outcome.ok, outcome.failed_runs) {
        (true, _) => ExitCode::SUCCESS,
        (false, 0) => ExitCode::from(3),
        (false, _) => ExitCode::FAILURE,
    })
}

/// The runs by name.
struct Table<'a> {
    settings: &'a [Setting],
    runs: &'a [Runs],
    stages: Option<&'a Meter>,
}

const THROUGHPUT: &str = "/throughput_ops_s";
const P50: &str = "/latency_us/p50";
const P99: &str = "/latency_us/p99";
const CPU: &str = "/cpu_us_per_op";
const CLIENT_CPU: &str = "/client_cpu_us_per_op";

impl Table<'_> {
    fn of(&self, name: &str) -> Option<&Runs> {
        let at = self.settings.iter().position(|setting| setting.name == name)?;
        self.runs.get(at)
    }

    /// A figure that is one key of one setting.
    fn plain(&self, goal: u8, name: &str, what: &str, unit: &'static str, bound: Bound, key: &str) -> Figure {
        let runs = self.of(name);
        let values = runs.map(|runs| runs.values(key)).unwrap_or_default();
        let figure = Figure::new(goal, format!("{name}: {what}"), unit, bound, &values);
        self.explain(figure, name, key)
    }

    /// Says what limits a figure, or why it is not there.
    fn explain(&self, figure: Figure, name: &str, key: &str) -> Figure {
        let Some(runs) = self.of(name) else {
            return figure.note("not measured: its run was not asked for");
        };
        let typical = runs.typical();
        let by = match key {
            P50 | P99 => typical.and_then(limits::of_latency),
            _ => typical.and_then(limits::of_throughput),
        };
        let figure = figure.limited(by);
        match &runs.failure {
            Some(why) if runs.len() == 0 => figure.note(format!("not measured: {why}")),
            Some(why) => figure.note(format!("of {} run(s): {why}", runs.len())),
            None => figure,
        }
    }

    fn throughput(&self, goal: u8, name: &str, least: f64) -> Figure {
        self.plain(goal, name, "throughput", "ops/s", Bound::AtLeast(least), THROUGHPUT)
    }

    /// All figures of a goal.
    fn figures(&self, goal: u8) -> Vec<Figure> {
        match goal {
            1 => self.bundled(),
            2 => vec![
                self.throughput(2, "one signature a request, null", 50_000.0),
                self.throughput(2, "one signature a request, kv", 40_000.0),
            ],
            3 => self.small_operations(),
            4 => self.low_load(),
            5 => self.price(),
            6 => self.wide_area(),
            7 => vec![self.whole()],
            // The curve has no bound: it is shown.
            _ => Vec::new(),
        }
    }

    fn efficiency(&self) -> Option<Efficiency> {
        let report = self.of("bundle 64, null")?.typical()?;
        alone::efficiency(report, self.stages?)
    }

    fn whole(&self) -> Figure {
        let found = self.efficiency();
        let value: Vec<f64> = found.iter().map(|found| found.efficiency).collect();
        let name = "bundle 64, null";
        let figure = Figure::new(
            7,
            format!("{name}: throughput over that of the slowest stage alone"),
            "",
            Bound::AtLeast(whole::GOAL),
            &value,
        );
        match &found {
            Some(found) => figure.limited(Some(alone::lines(found).join("\n        "))),
            None => self.explain(figure, name, THROUGHPUT),
        }
    }

    fn bundled(&self) -> Vec<Figure> {
        let name = "bundle 64, null";
        let both: Vec<f64> = match self.of(name) {
            Some(runs) => {
                let mut sums = runs.sums(&[CPU, CLIENT_CPU]);
                sums.sort_by(f64::total_cmp);
                sums
            }
            None => Vec::new(),
        };
        let with_clients = Figure::new(
            1,
            format!("{name}: CPU with the clients"),
            "us/op",
            Bound::AtMost(8.0),
            &both,
        );
        vec![
            self.throughput(1, name, 220_000.0),
            self.plain(1, name, "CPU of all replicas", "us/op", Bound::AtMost(6.5), CPU),
            self.explain(with_clients, name, CPU),
            self.plain(1, "bundle 64, null, at 80 %", "p99", "us", Bound::AtMost(50_000.0), P99)
                .with_note("offered: 80 % of the throughput that was reached here, not of the goal"),
            self.throughput(1, "bundle 64, kv", 120_000.0),
        ]
    }

    fn small_operations(&self) -> Vec<Figure> {
        let note = "TigerBeetle was not measured in this run: its figure is the one of the reference machine \
                    (223,000 to 251,000 transfers a second, three replicas)";
        vec![
            self.throughput(3, "128 B, bundle 1024, null", 1.5 * TIGERBEETLE_OPS_S)
                .with_note(note),
            self.throughput(3, "128 B, bundle 1024, kv", TIGERBEETLE_OPS_S)
                .with_note(note),
        ]
    }

    fn low_load(&self) -> Vec<Figure> {
        let name = "1000 ops/s, durable";
        vec![
            self.plain(4, name, "p50", "us", Bound::AtMost(1_500.0), P50),
            self.plain(4, name, "CPU of all replicas", "us/op", Bound::AtMost(500.0), CPU),
            self.plain(4, "1000 ops/s, durability none", "p50", "us", Bound::AtMost(600.0), P50),
        ]
    }

    /// The price of Byzantine tolerance: this ordering with n = 4 over raft with n = 3, in the same engine.
    fn price(&self) -> Vec<Figure> {
        vec![
            self.over_raft(
                "bundle 64, null",
                "bundle 64, null, raft",
                "throughput",
                Bound::AtLeast(0.7),
                THROUGHPUT,
            ),
            self.over_raft(
                "1000 ops/s, durable",
                "1000 ops/s, raft",
                "p50",
                Bound::AtMost(1.3),
                P50,
            ),
        ]
    }

    fn over_raft(&self, own: &str, raft: &str, what: &str, bound: Bound, key: &str) -> Figure {
        let medians = (
            self.of(own).and_then(|runs| runs.median(key)),
            self.of(raft).and_then(|runs| runs.median(key)),
        );
        let ratio: Vec<f64> = match medians {
            (Some(own), Some(raft)) if raft > 0.0 => vec![own / raft],
            _ => Vec::new(),
        };
        let figure = Figure::new(5, format!("{own}: {what} over raft's"), "", bound, &ratio);
        let missing = if medians.0.is_none() { own } else { raft };
        match ratio.is_empty() {
            true => self.explain(figure, missing, key),
            false => self.explain(figure, own, key),
        }
    }

    fn wide_area(&self) -> Vec<Figure> {
        let on_networks = self.settings.iter().filter(|setting| setting.goal == 6);
        on_networks
            .flat_map(|setting| {
                [(P50, "p50", 1.10), (P99, "p99", 1.4)].map(|(key, what, most)| {
                    let values = self
                        .of(&setting.name)
                        .map(|runs| runs.over_floor(key))
                        .unwrap_or_default();
                    let name = format!("{}: {what} over the floor", setting.name);
                    self.explain(
                        Figure::new(6, name, "", Bound::AtMost(most), &values),
                        &setting.name,
                        key,
                    )
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn report(ops: f64) -> Value {
        json!({
            "throughput_ops_s": ops, "latency_us": {"p50": 1_000.0, "p99": 30_000.0}, "cpu_us_per_op": 6.0,
            "client_cpu_us_per_op": 3.0, "machine": {"cores": 2}, "cpu_us_per_op_by_stage": {"peers": 3.0},
            "stages_us": {"ordering": 700.0}, "floor_us": {"p50": 950},
        })
    }

    fn figures(goals: &[u8], ops: f64, failing: &str) -> Vec<Figure> {
        let settings = settings::all(goals, true);
        let runs: Vec<Runs> = settings
            .iter()
            .map(|setting| match setting.name == failing {
                true => Runs::failed("no such ordering"),
                false => Runs::of(vec![report(ops)]),
            })
            .collect();
        let table = Table {
            settings: &settings,
            runs: &runs,
            stages: None,
        };
        goals.iter().flat_map(|goal| table.figures(*goal)).collect()
    }

    fn verdicts(figures: &[Figure]) -> Vec<&'static str> {
        figures.iter().map(Figure::verdict).collect()
    }

    #[test]
    fn every_goal_has_figures_with_their_limits() {
        let all = figures(&GOALS[..6], 230_000.0, "");
        let goals: Vec<u8> = all.iter().map(|figure| figure.goal).collect();
        assert!(GOALS[..6].iter().all(|goal| goals.contains(goal)), "{goals:?}");
        assert!(
            all.iter()
                .all(|figure| figure.value.is_some() && figure.limited_by.is_some()),
            "{all:?}"
        );
        assert_eq!(
            verdicts(&all[..5]),
            ["reached", "reached", "missed", "reached", "reached"]
        );
        assert_eq!(all[2].value, Some(9.0), "replicas and clients");
        let wan: Vec<&Figure> = all.iter().filter(|figure| figure.goal == 6).collect();
        assert_eq!(
            (wan[0].verdict(), wan[1].verdict()),
            ("reached", "missed"),
            "1000 and 30000 over 950"
        );
    }

    #[test]
    fn what_failed_is_not_measured_and_says_why() {
        let all = figures(&[5], 1_000.0, "bundle 64, null, raft");
        assert_eq!(verdicts(&all), ["not measured", "reached"]);
        assert_eq!(all[0].note.as_deref(), Some("not measured: no such ordering"));
        assert_eq!(all[1].value, Some(1.0), "its p50 over raft's");
    }

    #[test]
    fn the_outcome_counts_verdicts() {
        let mut outcome = Outcome {
            schema: SCHEMA,
            ok: true,
            version: "",
            machine: Machine::read(),
            runs: 1,
            duration: String::new(),
            quick: true,
            reached: 0,
            missed: 0,
            not_measured: 0,
            failed_runs: 0,
            others_cpu_share: 0.0,
            figures: figures(&[2, 5], 45_000.0, "1000 ops/s, raft"),
            settings: Vec::new(),
            efficiency: None,
            curve: None,
            stages_alone: Vec::new(),
        };
        outcome.judge();
        assert_eq!(
            (outcome.reached, outcome.missed, outcome.not_measured, outcome.ok),
            (2, 1, 1, false)
        );
    }
}
