//! `trireme load`: a load on any cluster.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use trireme_load::{HistoryFile, LoadOptions, Mix, Progress, Recording, Stop, Summary, run_blocking};

use crate::files;
use crate::names::{self, Rate};
use crate::say::say;

/// Arguments of `trireme load`.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// The client's settings (client.toml)
    #[arg(long, value_name = "FILE", default_value = "cluster/client/client.toml")]
    config: PathBuf,
    /// How long the load is measured
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = names::duration)]
    duration: Duration,
    /// Load before that, which is not measured
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = names::duration)]
    warm_up: Duration,
    /// Requests per second (open loop, Poisson arrivals), or max (closed loop)
    #[arg(long, value_name = "R|max", default_value = "max", value_parser = names::rate)]
    rate: Rate,
    /// Arrivals of the open loop at equal distances
    #[arg(long)]
    fixed: bool,
    /// Client identities [default: all of the key file]
    #[arg(long, value_name = "C")]
    clients: Option<u32>,
    /// Requests in flight, over all clients (closed loop)
    #[arg(long, value_name = "K")]
    in_flight: Option<u32>,
    /// Bytes of each written value
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    payload: usize,
    /// Requests under one client signature
    #[arg(long, value_name = "K", default_value_t = 1)]
    bundle: u32,
    /// Different keys [default: 100000, or 1000 with --history]
    #[arg(long, value_name = "COUNT")]
    keys: Option<u32>,
    /// Send puts, gets, deletes and compare-and-sets, and write what clients were told, for `trireme check-history`
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// The store is empty, and nobody else writes to it: the check of the history is stricter then
    #[arg(long, requires = "history")]
    fresh: bool,
    /// Seed of keys, values and arrivals
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Where to write the figures
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl From<Rate> for trireme_load::Rate {
    fn from(rate: Rate) -> Self {
        match rate {
            Rate::Max => trireme_load::Rate::Max,
            Rate::PerSecond(rate) => trireme_load::Rate::PerSecond(rate),
        }
    }
}

/// Keys of a load that does not say: few enough that the operations of a history meet.
pub(crate) fn default_keys(history: bool) -> u32 {
    if history { 1_000 } else { 100_000 }
}

/// Runs `trireme load`. Ctrl-C ends it early, with the figures so far.
pub(crate) fn run(args: LoadArgs) -> Result<()> {
    let files = files::client(&args.config)?;
    let identities = u32::try_from(files.keys.clients.len()).context("too many client identities")?;
    let options = LoadOptions {
        duration: args.duration,
        warm_up: args.warm_up,
        rate: args.rate.into(),
        arrivals: if args.fixed {
            trireme_load::Arrivals::Fixed
        } else {
            trireme_load::Arrivals::Poisson
        },
        clients: args.clients.unwrap_or(identities),
        in_flight: args.in_flight,
        payload_bytes: args.payload,
        bundle: args.bundle,
        keys: args.keys.unwrap_or(default_keys(args.history.is_some())),
        mix: if args.history.is_some() { Mix::All } else { Mix::Writes },
        history: args.history.map(|path| HistoryFile {
            path,
            fresh: args.fresh,
        }),
        app: files.cluster.app,
        seed: args.seed,
        recording: Recording::None,
        ..LoadOptions::default()
    };
    if args.rate == Rate::Max {
        say!("closed loop, {} requests in flight", options.depth());
    }
    let stop = Stop::default();
    stop_on_interrupt(stop.clone())?;
    let report = run_blocking(&files.cluster, &files.keys, &options, &stop, |progress| {
        say!("{}", progress_line(progress));
    })?;
    print_summary(&report.summary);
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report.summary)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Ends the load on the first Ctrl-C and the process on the second.
fn stop_on_interrupt(stop: Stop) -> Result<()> {
    let wait = move || {
        let watched = crate::block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut interrupt = signal(SignalKind::interrupt())?;
            interrupt.recv().await;
            eprintln!("stopping; Ctrl-C again to end at once");
            stop.stop();
            interrupt.recv().await;
            std::process::exit(130)
        });
        let _: Result<()> = watched.inspect_err(|error| eprintln!("Ctrl-C is not watched: {error:#}"));
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .context("cannot start a thread")?;
    Ok(())
}

/// One second of load as a line.
pub(crate) fn progress_line(progress: &Progress) -> String {
    let Progress {
        second,
        ops_s,
        in_flight,
        ..
    } = progress;
    let ms = |us: f64| us / 1e3;
    let mut line = format!(
        "{second:>4} s  {ops_s:>8.0} ops/s  p50 {:>7.2} ms  p99 {:>7.2} ms  max {:>7.2} ms  in flight {in_flight}",
        ms(progress.p50_us),
        ms(progress.p99_us),
        ms(progress.max_us)
    );
    let counts = [
        ("backlog", progress.backlog),
        ("failed", progress.failed),
        ("unknown", progress.unknown),
    ];
    for (name, count) in counts.iter().filter(|(_, count)| *count > 0) {
        line.push_str(&format!("  {name} {count}"));
    }
    if !progress.measured {
        line.push_str("  (not measured)");
    }
    line
}

fn print_summary(summary: &Summary) {
    let latency = &summary.latency_us;
    let ms = |us: f64| us / 1e3;
    say!(
        "throughput    {:.1} ops/s, {:.1} MB/s",
        summary.throughput_ops_s,
        summary.throughput_mb_s
    );
    say!(
        "latency (ms)  p50 {:.2}  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2}",
        ms(latency.p50),
        ms(latency.p90),
        ms(latency.p99),
        ms(latency.p99_9),
        ms(latency.max)
    );
    let Summary {
        acknowledged,
        failed,
        unknown,
        ..
    } = summary;
    say!("requests      {acknowledged} acknowledged, {failed} failed, {unknown} unknown");
    for (reason, count) in &summary.failures {
        say!("  {reason:<12}{count}");
    }
}
