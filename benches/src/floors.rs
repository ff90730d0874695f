//! Runs `trireme local` in the settings that README reports, several times and interleaved, and prints medians.
//!
//! `cargo run --release -p trireme-benches --bin floors -- --runs 3`. Needs the release binary of `trireme` beside it
//! (`cargo build --release`). Every figure is of four replicas and a load generator on this machine's cores together.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::Value;

/// Medians of `trireme local` over several interleaved runs.
#[derive(Parser)]
struct Options {
    /// Runs of each setting.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// How long each loads the cluster.
    #[arg(long, default_value = "10s")]
    duration: String,
    /// Only settings whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// The binary to run.
    #[arg(long)]
    trireme: Option<PathBuf>,
}

/// A setting: its name, the flags of `trireme local`, and what a run must reach.
struct Setting {
    name: &'static str,
    flags: &'static [&'static str],
    floor: Floor,
}

enum Floor {
    /// None: reported only.
    None,
    /// At least this many acknowledged requests per second.
    Throughput(f64),
    /// p50 below this, in microseconds.
    Median(f64),
}

const SETTINGS: &[Setting] = &[
    Setting {
        name: "1,000 ops/s",
        flags: &["--rate", "1000"],
        floor: Floor::Median(10_000.0),
    },
    Setting {
        name: "one signature a request",
        flags: &[],
        floor: Floor::Throughput(12_000.0),
    },
    Setting {
        name: "bundle 64",
        flags: &["--bundle", "64"],
        floor: Floor::Throughput(40_000.0),
    },
    Setting {
        name: "bundle 64, null",
        flags: &["--bundle", "64", "--app", "null"],
        floor: Floor::None,
    },
    Setting {
        name: "unsigned, null",
        flags: &["--client-auth", "none", "--app", "null"],
        floor: Floor::None,
    },
    Setting {
        name: "durability none",
        flags: &["--durability", "none"],
        floor: Floor::None,
    },
    Setting {
        name: "leader killed at 5 s",
        flags: &["--kill-leader-at", "5s"],
        floor: Floor::None,
    },
];

/// The figures of a run that the table shows.
const COLUMNS: &[(&str, &str)] = &[
    ("/throughput_ops_s", "ops/s"),
    ("/latency_us/p50", "p50 us"),
    ("/latency_us/p99", "p99 us"),
    ("/cpu_us_per_op", "replicas' CPU us/op"),
    ("/client_cpu_us_per_op", "client CPU us/op"),
    ("/signatures_verified_per_op", "verified/op"),
    ("/fast_path_share", "fast path"),
    ("/views", "views"),
];

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("a floor was missed, or an operation was lost or duplicated");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let binary = match &options.trireme {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("trireme"),
    };
    let settings: Vec<&Setting> = SETTINGS.iter().filter(|s| s.name.contains(&options.only)).collect();
    let mut results: Vec<Vec<Value>> = vec![Vec::new(); settings.len()];
    for run in 1..=options.runs {
        for (setting, results) in settings.iter().zip(&mut results) {
            eprintln!("run {run} of {}: {}", options.runs, setting.name);
            results.push(local(&binary, &options.duration, setting.flags)?);
        }
    }
    print_header();
    let mut good = true;
    for (setting, results) in settings.iter().zip(&results) {
        good &= print_row(setting, results)?;
    }
    Ok(good)
}

/// One run; its JSON.
fn local(binary: &Path, duration: &str, flags: &[&str]) -> Result<Value> {
    let report = std::env::temp_dir().join(format!("trireme-floors-{}.json", std::process::id()));
    let status = Command::new(binary)
        .args(["local", "--duration", duration, "--json"])
        .arg(&report)
        .args(flags)
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", binary.display()))?;
    let text = std::fs::read_to_string(&report).context("the run left no report")?;
    std::fs::remove_file(&report)?;
    if !status.success() {
        bail!("trireme local {} failed: {text}", flags.join(" "));
    }
    Ok(serde_json::from_str(&text)?)
}

fn print_header() {
    let names: Vec<&str> = COLUMNS.iter().map(|c| c.1).collect();
    println!("| setting | {} | lost | duplicated | floor |", names.join(" | "));
    println!("|---|{}---|---|---|", "---|".repeat(names.len()));
}

/// Prints the medians; whether the floor holds and nothing was lost or duplicated.
fn print_row(setting: &Setting, results: &[Value]) -> Result<bool> {
    let mut cells = Vec::new();
    for (pointer, _) in COLUMNS {
        cells.push(format!("{:.1}", median(results, pointer)?));
    }
    let lost = sum(results, "/lost")?;
    let duplicated = sum(results, "/duplicated")?;
    let (reached, said) = match setting.floor {
        Floor::None => (true, String::from("-")),
        Floor::Throughput(least) => (
            median(results, "/throughput_ops_s")? >= least,
            format!("at least {least} ops/s"),
        ),
        Floor::Median(most) => (
            median(results, "/latency_us/p50")? < most,
            format!("p50 below {most} us"),
        ),
    };
    let verdict = if reached { "" } else { ": missed" };
    println!(
        "| {} | {} | {lost} | {duplicated} | {said}{verdict} |",
        setting.name,
        cells.join(" | ")
    );
    Ok(reached && lost == 0.0 && duplicated == 0.0)
}

fn values(results: &[Value], pointer: &str) -> Result<Vec<f64>> {
    let value = |r: &Value| r.pointer(pointer).and_then(Value::as_f64);
    results
        .iter()
        .map(value)
        .collect::<Option<Vec<f64>>>()
        .with_context(|| format!("no {pointer} in a report"))
}

fn median(results: &[Value], pointer: &str) -> Result<f64> {
    let mut all = values(results, pointer)?;
    all.sort_by(f64::total_cmp);
    Ok(all[all.len() / 2])
}

fn sum(results: &[Value], pointer: &str) -> Result<f64> {
    Ok(values(results, pointer)?.iter().sum())
}
