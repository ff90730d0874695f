//! `trireme compare`: systems in turn on this machine, each run a `trireme local` of its own, and one page of it all.

mod figures;
mod options;
mod running;
mod system;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use trireme_report::comparison::{Comparison, PointKind, RunFigures, SCHEMA, comparison_page, summarise};

pub(crate) use options::CompareArgs;
use options::Plan;
use running::Runner;

use crate::proc::Machine;
use crate::say::say;

/// Runs `trireme compare`. Exit code 0: every run ended well; 1: one did not, or a system is missing; 2: impossible
/// arguments. The page and the JSON are written in every case, again after each run.
pub(crate) fn run(args: &CompareArgs) -> ExitCode {
    let plan = match args.plan() {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("trireme compare: {error:#}");
            return ExitCode::from(2);
        }
    };
    match measure(args, &plan) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("trireme compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &CompareArgs, plan: &Plan) -> Result<bool> {
    let runs_dir = args.out.join("runs");
    fs::create_dir_all(&runs_dir).with_context(|| format!("cannot make {}", runs_dir.display()))?;
    let runner = Runner::new(&runs_dir)?;
    let mut comparison = begin(plan, &runner);
    let total = plan.turns().count();
    say!(
        "compare {}: {total} runs, about {:.0} minutes; into {}",
        comparison
            .systems
            .iter()
            .map(|system| system.name.as_str())
            .collect::<Vec<_>>()
            .join(", "),
        (plan.seconds() / 60.0).ceil(),
        args.out.display()
    );
    if !runner.isolated() {
        say!("  no network name space can be made here: bytes on the wire are not counted");
    }
    let began = Instant::now();
    let files = Files::of(args);
    for (done, turn) in plan.turns().enumerate() {
        let name = comparison.systems[turn.place].name.clone();
        if comparison.systems[turn.place].missing.is_some() {
            continue;
        }
        say!(
            "[{:>3}/{total}] round {}, {name}: {}",
            done + 1,
            turn.round,
            turn.point.name()
        );
        let near = comparison.systems[turn.place].of_round(turn.round, PointKind::Saturation, "throughput_ops_s");
        let (run, report) = runner.run(plan, &turn, near)?;
        figures::describe(&mut comparison, turn.place, &report);
        say!(
            "          {}",
            line(
                &run,
                began.elapsed().as_secs_f64() / (done + 1) as f64 * (total - done - 1) as f64
            )
        );
        figures::take(&mut comparison, turn.place, run);
        summarise(&mut comparison);
        files.write(&comparison)?;
    }
    comparison.complete = true;
    files.write(&comparison)?;
    print(&comparison);
    say!("page: {}", files.page.display());
    say!("json: {}", files.json.display());
    let all_well = |system: &trireme_report::comparison::SystemFigures| {
        system.missing.is_none() && system.runs.iter().all(|run| run.ok)
    };
    Ok(comparison.systems.iter().all(all_well))
}

fn begin(plan: &Plan, runner: &Runner) -> Comparison {
    let machine = Machine::read();
    let mut setting = plan.setting.clone();
    setting.isolated = runner.isolated();
    Comparison {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_unix_s: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        command: plan.command.clone(),
        machine: figures::machine(&machine),
        setting,
        systems: plan.systems.iter().map(system::Spec::figures).collect(),
        ..Comparison::default()
    }
}

/// One run as a line.
fn line(run: &RunFigures, left_s: f64) -> String {
    let of = |name: &str| run.figures.get(name).copied().unwrap_or(0.0);
    let left = if left_s > 90.0 {
        format!("{:.0} minutes left", left_s / 60.0)
    } else {
        format!("{left_s:.0} s left")
    };
    if !run.ok {
        let why = run.error.as_deref().unwrap_or("no reason");
        return format!("failed: {}   ({left})", why.lines().next().unwrap_or_default());
    }
    let what = match run.point {
        PointKind::Slo => format!("{:.0} requests/s hold the objective", of("slo_ops_s")),
        PointKind::Delays => format!("{:.2} message delays", of("delays")),
        PointKind::Low | PointKind::Saturation => format!(
            "{:.0} ops/s, p50 {:.2} ms, p99 {:.2} ms, {:.0} us CPU per operation",
            of("throughput_ops_s"),
            of("p50_us") / 1e3,
            of("p99_us") / 1e3,
            of("cpu_us")
        ),
    };
    let limit = if run.generator_limits.is_empty() {
        ""
    } else {
        "; the generator was a limit"
    };
    format!("{what}{limit}   ({left})")
}

/// The end, in short; the page has the rest.
fn print(comparison: &Comparison) {
    say!("");
    say!(
        "{:<22}{:>14}{:>14}{:>12}{:>14}{:>12}{:>10}",
        "system",
        "objective/s",
        "saturation/s",
        "p50 ms low",
        "CPU us/op sat",
        "wire B/op",
        "delays"
    );
    for system in &comparison.systems {
        let of = |point, name, unit: f64, digits: usize| {
            let spread = system.figure(point, name);
            spread.map_or("-".to_owned(), |spread| format!("{:.digits$}", spread.median / unit))
        };
        if let Some(why) = &system.missing {
            say!("{:<22}{}", system.name, why.lines().next().unwrap_or_default());
            continue;
        }
        say!(
            "{:<22}{:>14}{:>14}{:>12}{:>14}{:>12}{:>10}",
            system.name,
            of(PointKind::Slo, "slo_ops_s", 1.0, 0),
            of(PointKind::Saturation, "throughput_ops_s", 1.0, 0),
            of(PointKind::Low, "p50_us", 1e3, 2),
            of(PointKind::Saturation, "cpu_us", 1.0, 1),
            of(PointKind::Saturation, "wire_bytes", 1.0, 0),
            of(PointKind::Delays, "delays", 1.0, 1)
        );
    }
    for price in &comparison.prices {
        let ratio = price.ratios.iter().find(|verdict| verdict.figure == "throughput_ops_s");
        if let Some(verdict) = ratio {
            say!(
                "{} over {} (same {}): throughput x {:.2} ({:.2} to {:.2})",
                price.of,
                price.over,
                price.at_the_same,
                verdict.ratio.median,
                verdict.ratio.low,
                verdict.ratio.high
            );
        }
    }
}

struct Files {
    page: PathBuf,
    json: PathBuf,
}

impl Files {
    fn of(args: &CompareArgs) -> Self {
        Self {
            page: args.out.join("compare.html"),
            json: args.json.clone().unwrap_or_else(|| args.out.join("compare.json")),
        }
    }

    fn write(&self, comparison: &Comparison) -> Result<()> {
        let text = serde_json::to_string_pretty(comparison)? + "\n";
        put(&self.json, &text)?;
        put(&self.page, &comparison_page(comparison))
    }
}

fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
