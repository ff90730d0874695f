//! `trireme bench memory`: resident memory of the replicas over time under load, as a slope with its error, and what an
//! operation in flight takes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::local::place::Place;
use crate::local::report::rounded;
use crate::local::session::{self, Cluster};
use crate::local::{self, Control, LocalArgs, loading};
use crate::say::say;
use crate::{names, proc};

/// Means of so many equal parts of the time are what the line is drawn through: neighbouring samples are not
/// independent, these nearly are.
const PARTS: usize = 12;
/// The second run, with more in flight, is this share of the first.
const SECOND: u32 = 4;
/// Times as many in flight there.
const MORE: u32 = 8;

/// Arguments of `trireme bench memory`.
#[derive(Debug, clap::Args)]
pub(crate) struct MemoryArgs {
    /// How long the cluster is loaded and watched
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = names::duration)]
    duration: Duration,
    /// Not counted at the beginning: links, windows and the allocator fill
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = names::duration)]
    settle: Duration,
    /// Requests in flight
    #[arg(long, value_name = "K", default_value_t = 2_048)]
    in_flight: u32,
    /// Requests under one signature
    #[arg(long, value_name = "K", default_value_t = 64)]
    bundle: u32,
    /// Application
    #[arg(long, default_value = "kv")]
    app: names::App,
    /// Where to write it
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A straight line through samples: units a minute.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Slope {
    per_minute: f64,
    error: f64,
}

#[derive(Serialize)]
struct Outcome {
    schema: &'static str,
    duration_s: f64,
    in_flight: u32,
    /// Of all replicas together, MB.
    rss_idle_mb: f64,
    rss_mb: f64,
    slope_mb: Slope,
    /// More than twice its error above zero.
    grows: bool,
    in_an_hour_mb: f64,
    /// Of all replicas together, more memory for each further request in flight.
    bytes_per_op_in_flight: f64,
    /// Seconds and MB of all replicas.
    samples: Vec<(f64, f64)>,
}

/// One loaded cluster: idle memory, then seconds and bytes of all replicas.
struct Watched {
    idle: f64,
    samples: Vec<(f64, f64)>,
}

/// Runs `trireme bench memory`: exit code 3 if memory grows.
pub(crate) fn run(args: &MemoryArgs) -> Result<ExitCode> {
    ensure!(
        args.duration >= args.settle + Duration::from_secs(2),
        "--duration must be 2 s longer than --settle at least"
    );
    ensure!(
        args.in_flight >= args.bundle && args.bundle > 0,
        "--in-flight must hold a bundle"
    );
    let first = watch(args, args.in_flight, args.duration)?;
    let second = watch(
        args,
        args.in_flight * MORE,
        (args.duration / SECOND).max(args.settle + Duration::from_secs(2)),
    )?;
    let settled = |watched: &Watched| -> Vec<(f64, f64)> {
        let from = args.settle.as_secs_f64();
        watched.samples.iter().copied().filter(|(at, _)| *at >= from).collect()
    };
    let (own, more) = (settled(&first), settled(&second));
    let slope = slope(&own).context("too few samples: a longer --duration is needed")?;
    let (rss, rss_more) = (mean(&own), mean(&more));
    let between = f64::from(args.in_flight) * f64::from(MORE - 1);
    let outcome = Outcome {
        schema: "trireme.bench-memory/1",
        duration_s: args.duration.as_secs_f64(),
        in_flight: args.in_flight,
        rss_idle_mb: rounded(first.idle),
        rss_mb: rounded(rss),
        slope_mb: slope,
        grows: slope.per_minute > 2.0 * slope.error,
        in_an_hour_mb: rounded(slope.per_minute * 60.0),
        bytes_per_op_in_flight: rounded((rss_more - rss) * 1e6 / between),
        samples: first.samples.clone(),
    };
    say!("");
    say!(
        "resident memory   {:.1} MB idle, {:.1} MB under load, all replicas together",
        outcome.rss_idle_mb,
        outcome.rss_mb
    );
    say!(
        "slope             {:.2} +- {:.2} MB a minute (in an hour {:.0} +- {:.0} MB): {}",
        slope.per_minute,
        slope.error,
        slope.per_minute * 60.0,
        slope.error * 60.0,
        if outcome.grows {
            "it grows"
        } else {
            "no growth beyond its error"
        }
    );
    say!(
        "in flight         {:.0} bytes for each further request, all replicas together ({} against {} in flight)",
        outcome.bytes_per_op_in_flight,
        args.in_flight * MORE,
        args.in_flight
    );
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&outcome)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::from(if outcome.grows { 3 } else { 0 }))
}

fn watch(args: &MemoryArgs, in_flight: u32, duration: Duration) -> Result<Watched> {
    let mut local = LocalArgs::defaults();
    local.duration = duration;
    local.app = args.app;
    local.load.bundle = args.bundle;
    local.load.in_flight = Some(in_flight);
    local.check()?;
    let (place, control) = (Place::default(), Control::default());
    let mut watched = Watched {
        idle: 0.0,
        samples: Vec::new(),
    };
    let outcome = crate::block_on(local::drive(&control, steps(&local, &place, &mut watched)));
    if let Some(note) = place.leave(false) {
        say!("      {note}");
    }
    outcome.map(|()| watched)
}

async fn steps(local: &LocalArgs, place: &Place, watched: &mut Watched) -> Result<()> {
    let mut report = local.report();
    let mut cluster = session::make(local, &mut report, place)?;
    session::start(&mut cluster, &mut report).await?;
    watched.idle = rss_mb(&cluster)?;
    say!("load  {}", loading::describe(local)?);
    let acknowledged = cluster.dir.join("acknowledged");
    let network = cluster.dir.join(crate::wan::FILE);
    let mut loading = loading::start(local, &cluster.made, &acknowledged, &network)?;
    let begin = Instant::now();
    let mut tick = interval(Duration::from_millis(250));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let loaded = loop {
        tokio::select! {
            Some(_) = loading.events.recv() => {}
            done = &mut loading.done => break done.context("the load generator ended without a result")??,
            _ = tick.tick() => {
                cluster.replicas.borrow_mut().check()?;
                watched.samples.push((begin.elapsed().as_secs_f64(), rss_mb(&cluster)?));
            }
        }
    };
    say!("      {} requests acknowledged", loaded.acknowledged());
    ensure!(loaded.acknowledged() > 0, "no request was acknowledged");
    session::stop(&mut cluster)
}

/// Resident memory of all replicas, in 10^6 bytes.
fn rss_mb(cluster: &Cluster) -> Result<f64> {
    let replicas = cluster.replicas.borrow();
    let pids = (0..cluster.made.replica_files.len()).filter_map(|index| replicas.pid(index));
    let bytes: u64 = pids.map(proc::rss_bytes).sum::<Result<u64>>()?;
    Ok(bytes as f64 / 1e6)
}

fn mean(samples: &[(f64, f64)]) -> f64 {
    samples.iter().map(|(_, value)| value).sum::<f64>() / samples.len().max(1) as f64
}

/// Least squares through the means of equal parts of the time, with the standard error of the slope.
fn slope(samples: &[(f64, f64)]) -> Option<Slope> {
    let size = samples.len() / PARTS;
    let means: Vec<(f64, f64)> = samples
        .chunks_exact(size.max(1))
        .map(|part| {
            (
                part.iter().map(|(at, _)| at).sum::<f64>() / part.len() as f64,
                mean(part),
            )
        })
        .collect();
    if means.len() < 4 {
        return None;
    }
    let count = means.len() as f64;
    let (x, y) = (means.iter().map(|(at, _)| at).sum::<f64>() / count, mean(&means));
    let spread: f64 = means.iter().map(|(at, _)| (at - x).powi(2)).sum();
    let slope = means.iter().map(|(at, value)| (at - x) * (value - y)).sum::<f64>() / spread;
    let left: f64 = means
        .iter()
        .map(|(at, value)| (value - y - slope * (at - x)).powi(2))
        .sum();
    let error = (left / (count - 2.0) / spread).sqrt();
    Some(Slope {
        per_minute: rounded(slope * 60.0),
        error: rounded(error * 60.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_found_through_noise_and_none_where_there_is_none() {
        let noise = |i: usize| if i.is_multiple_of(2) { 0.5 } else { -0.5 };
        let line = |per_second: f64| -> Vec<(f64, f64)> {
            (0..240)
                .map(|i| (i as f64 / 4.0, 100.0 + per_second * i as f64 / 4.0 + noise(i / 7)))
                .collect()
        };
        let rising = slope(&line(0.1)).unwrap();
        assert!(
            (rising.per_minute - 6.0).abs() < 1.0 && rising.per_minute > 2.0 * rising.error,
            "{rising:?}"
        );
        let level = slope(&line(0.0)).unwrap();
        assert!(level.per_minute.abs() <= 2.0 * level.error + 0.01, "{level:?}");
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 1.0)]), None);
    }
}
