//! The load of a run, on a thread of its own, so that nothing else disturbs its arrivals.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::{mpsc, oneshot};
use trireme_client::Route;
use trireme_load::{HistoryFile, LoadError, LoadOptions, Mix, Progress, Recording, Stop, Summary, run_blocking};

use crate::init::Made;
use crate::local::options::LocalArgs;
use crate::local::report::{Latency, Report, rounded};
use crate::names::Rate;

/// A load that runs. Dropping it does not end it: the end of the process does.
pub(crate) struct Loading {
    /// Each second as it ends.
    pub(crate) seconds: mpsc::UnboundedReceiver<Progress>,
    pub(crate) done: oneshot::Receiver<Result<Loaded, LoadError>>,
}

/// What the clients saw.
pub(crate) struct Loaded {
    summary: Summary,
}

/// Load before the measured time: connections settle and batches fill.
pub(crate) fn warm_up(args: &LocalArgs) -> Duration {
    (args.duration / 5).min(Duration::from_secs(1))
}

/// What is about to run, for people.
pub(crate) fn describe(args: &LocalArgs) -> String {
    let how = match args.rate {
        Rate::Max => format!("closed loop, {} requests in flight", args.in_flight()),
        Rate::PerSecond(rate) => format!("open loop, {rate} requests/s, Poisson arrivals"),
    };
    format!(
        "{:.1} s after {:.1} s of warm-up: {how}, {} clients, {} bytes over {} keys, {} request(s) a signature",
        args.duration.as_secs_f64(),
        warm_up(args).as_secs_f64(),
        args.clients,
        args.payload,
        args.keys(),
        args.bundle
    )
}

/// Starts the load. What is acknowledged is written to a file.
pub(crate) fn start(args: &LocalArgs, made: &Made, acknowledged: &Path, network_file: &Path) -> Result<Loading> {
    let options = LoadOptions {
        duration: args.duration,
        warm_up: warm_up(args),
        rate: args.rate.into(),
        clients: args.clients,
        in_flight: Some(args.in_flight()),
        payload_bytes: args.payload,
        bundle: args.bundle,
        keys: args.keys(),
        mix: if args.history.is_some() { Mix::All } else { Mix::Writes },
        history: args.history.clone().map(|path| HistoryFile { path, fresh: true }),
        app: args.app.into(),
        seed: args.seed,
        recording: Recording::File(acknowledged.to_path_buf()),
        // Each identity beside its region's replica; without a network over all of them.
        route: if args.wan.is_some() {
            Route::Nearest
        } else {
            Route::Spread
        },
        network: args.wan.is_some().then(|| network_file.to_path_buf()),
        ..LoadOptions::default()
    };
    let (cluster, keys) = (made.cluster.clone(), made.client_keys.clone());
    let (second, seconds) = mpsc::unbounded_channel();
    let (finished, done) = oneshot::channel();
    let work = move || {
        let loaded = run_blocking(&cluster, &keys, &options, &Stop::default(), |progress| {
            // Nobody listens any more when the run has failed; the process is about to end.
            let _ = second.send(*progress);
        });
        let _ = finished.send(loaded.map(|report| Loaded {
            summary: report.summary,
        }));
    };
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(work)
        .context("cannot start a thread for the load")?;
    Ok(Loading { seconds, done })
}

impl Loaded {
    /// Acknowledged requests, those of the warm-up included.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.summary.acknowledged
    }

    /// Puts what the clients saw into the report.
    pub(crate) fn fill(&self, report: &mut Report) {
        let summary = &self.summary;
        let latency = &summary.latency_us;
        let some = |value: f64| Some(rounded(value));
        report.measured_s = some(summary.measured_s);
        report.throughput_ops_s = some(summary.throughput_ops_s);
        report.throughput_mb_s = some(summary.throughput_mb_s);
        report.latency_us = Latency {
            p50: some(latency.p50),
            p90: some(latency.p90),
            p99: some(latency.p99),
            p99_9: some(latency.p99_9),
            max: some(latency.max),
        };
        report.submitted = Some(summary.submitted);
        report.acknowledged = Some(summary.acknowledged);
        report.failed = Some(summary.failed);
        report.unknown = Some(summary.unknown);
        report.failures = summary
            .failures
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect::<BTreeMap<_, _>>();
        report.without_effect = Some(summary.without_effect);
        report.wrong_replies = Some(summary.wrong_replies);
        report.retries = Some(summary.retries);
        report.longest_gap_ms = some(summary.longest_gap_ms);
        report.client_cpu_us_per_op = some(summary.client_cpu_us_per_op);
    }
}
