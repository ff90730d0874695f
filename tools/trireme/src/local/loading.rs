//! The load of a run, on a thread of its own, so that nothing else disturbs its arrivals.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::{mpsc, oneshot};
use trireme_client::Route;
use trireme_load::{LoadOptions, Record, Recording, Stop};

use crate::init::Made;
use crate::load::{Event, Job, Sweep, Whom, drive};
use crate::local::options::LocalArgs;
use crate::local::report::{Latency, Report, rounded};

/// A load that runs. Dropping it does not end it: the end of the process does.
pub(crate) struct Loading {
    /// What happens.
    pub(crate) events: mpsc::UnboundedReceiver<Event>,
    pub(crate) done: oneshot::Receiver<Result<Loaded>>,
    /// Ends it before its time.
    pub(crate) stop: Stop,
}

/// What the clients saw.
pub(crate) struct Loaded {
    record: Record,
}

/// Load before the measured time: connections settle and batches fill.
pub(crate) fn warm_up(args: &LocalArgs) -> Duration {
    let usual = (args.duration / 5).min(Duration::from_secs(1));
    args.load.warm_up.unwrap_or(usual)
}

/// What is about to run, for people.
pub(crate) fn describe(args: &LocalArgs) -> Result<String> {
    Ok(format!(
        "{:.1} s after {:.1} s of warm-up, {} clients: {}",
        args.duration.as_secs_f64(),
        warm_up(args).as_secs_f64(),
        args.clients,
        args.load.describe()?
    ))
}

/// Starts the load. What is acknowledged is written to a file.
pub(crate) fn start(args: &LocalArgs, made: &Made, acknowledged: &Path, network_file: &Path) -> Result<Loading> {
    let mut options = args
        .load
        .options(args.clients, args.app.into(), args.duration, warm_up(args))?;
    options.recording = Recording::File(acknowledged.to_path_buf());
    if args.wan.is_some() {
        // Each identity beside its region's replica; without a network over all of them.
        options.route = Route::Nearest;
        options.network = Some(network_file.to_path_buf());
    }
    if let Some(history) = &mut options.history {
        history.fresh = true;
    }
    let whom = Whom::Trireme {
        config: made.client_file.clone(),
        cluster: made.cluster.clone(),
        keys: made.client_keys.clone(),
    };
    start_job(args, whom, options)
}

/// Starts a load on whomever.
pub(crate) fn start_job(args: &LocalArgs, whom: Whom, options: LoadOptions) -> Result<Loading> {
    let job = Job {
        whom,
        options,
        processes: args.load.processes,
        sweep: Sweep::of(&args.load),
    };
    let (happened, events) = mpsc::unbounded_channel();
    let (finished, done) = oneshot::channel();
    let stop = Stop::default();
    let stopped = stop.clone();
    let work = move || {
        let loaded = drive(&job, &stopped, &mut |event| {
            // Nobody listens any more when the run has failed; the process is about to end.
            let _ = happened.send(event);
        });
        let _ = finished.send(loaded.map(|record| Loaded { record }));
    };
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(work)
        .context("cannot start a thread for the load")?;
    Ok(Loading { events, done, stop })
}

impl Loaded {
    /// Acknowledged requests, those of the warm-up included; of a sweep those of all its rates, since what the replicas
    /// count is of all of them, too.
    pub(crate) fn acknowledged(&self) -> u64 {
        match &self.record.sweep {
            Some(sweep) => sweep.steps.iter().map(|step| step.acknowledged).sum(),
            None => self.record.summary.acknowledged,
        }
    }

    /// Everything that was measured.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Puts what the clients saw into the report.
    pub(crate) fn fill(&self, report: &mut Report) {
        let summary = &self.record.summary;
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
        report.failures.clone_from(&summary.failures);
        report.without_effect = Some(summary.without_effect);
        report.wrong_replies = Some(summary.wrong_replies);
        report.retries = Some(summary.retries);
        report.longest_gap_ms = some(summary.longest_gap_ms);
        report.client_cpu_us_per_op = some(summary.client_cpu_us_per_op);
        report.load = Some(self.record.clone());
    }
}
