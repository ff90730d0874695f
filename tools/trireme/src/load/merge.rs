//! `trireme load merge`: the files of several machines that loaded one cluster at the same time, as one.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use trireme_load::{Encoded, Interval, LatencyUs, Record, merge, merge_intervals, read_hlog, write_csv, write_hlog};

use crate::load::output;
use crate::say::say;

/// Arguments of `trireme load merge`.
#[derive(Debug, clap::Args)]
pub(crate) struct MergeArgs {
    /// Files of `trireme load --json`, or interval logs (.hlog), all of one kind
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where to write the whole as JSON (not of interval logs)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to write it as an interval log
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Where to write a row for each second (not of interval logs)
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

/// Runs `trireme load merge`.
pub(super) fn run(args: &MergeArgs) -> Result<()> {
    let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "hlog");
    let logs = args.files.iter().filter(|path| is_log(path)).count();
    if logs == args.files.len() {
        return merge_logs(args);
    }
    ensure!(logs == 0, "give JSON files or interval logs, not both");
    let mut records = Vec::new();
    for path in &args.files {
        records.push(read_record(path)?);
    }
    let record = merge(records)?;
    output::print(&record);
    if let Some(path) = &args.json {
        output::write_json(path, &record)?;
    }
    if let Some(path) = &args.hlog {
        output::write(path, |file| write_hlog(file, record.started(), record.seconds.iter()))?;
    }
    if let Some(path) = &args.csv {
        output::write(path, |file| write_csv(file, record.seconds.iter()))?;
    }
    Ok(())
}

/// Reads a file of `trireme load --json`, or the load of a file of `trireme local --json`.
pub(crate) fn read_record(path: &Path) -> Result<Record> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let within = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|mut value| value.get_mut("load").map(serde_json::Value::take))
        .filter(serde_json::Value::is_object);
    let text = within.map_or(text, |load| load.to_string());
    Record::from_json(&text).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))
}

fn merge_logs(args: &MergeArgs) -> Result<()> {
    if args.json.is_some() || args.csv.is_some() {
        bail!("interval logs have latencies only: give the JSON files for --json and --csv");
    }
    let mut logs = Vec::new();
    for path in &args.files {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        logs.push(read_hlog(&bytes).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))?);
    }
    let lines = merge_intervals(logs);
    print_lines(&lines);
    if let Some(path) = &args.hlog {
        let from = lines.iter().map(|line| line.from_unix_s).fold(f64::INFINITY, f64::min);
        let started = UNIX_EPOCH + Duration::from_secs_f64(if from.is_finite() { from } else { 0.0 });
        output::write(path, |file| trireme_load::write_intervals(file, started, &lines))?;
    }
    Ok(())
}

/// Percentiles by tag.
fn print_lines(lines: &[Interval]) {
    let mut tags: Vec<Option<&str>> = lines.iter().map(|line| line.tag.as_deref()).collect();
    tags.sort_unstable();
    tags.dedup();
    for tag in tags {
        let mut all = Encoded::default();
        let own = lines.iter().filter(|line| line.tag.as_deref() == tag);
        own.for_each(|line| all.add(&line.latencies));
        let latency = LatencyUs::of(&all.0);
        say!(
            "{:<20}{:>10} values  p50 {:.2} ms  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2}",
            tag.unwrap_or("all"),
            all.0.len(),
            latency.p50 / 1e3,
            latency.p90 / 1e3,
            latency.p99 / 1e3,
            latency.p99_9 / 1e3,
            latency.max / 1e3
        );
    }
}
