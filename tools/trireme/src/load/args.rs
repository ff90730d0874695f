//! The shape of a load on the command line: what `trireme load` and `trireme local` share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use trireme_config::AppKind;
use trireme_load::{Arrivals, HistoryFile, KeyDistribution, LoadOptions, Sizes, Slo, Workload};

use crate::names::{self, Rate};

/// What load to make, and where to write what came of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ShapeArgs {
    /// Requests per second (open loop, latency from the time at which each was due), or max (closed loop) [with
    /// --sweep: the first rate]
    #[arg(long, value_name = "R|max", default_value = "max", value_parser = names::rate)]
    pub(crate) rate: Rate,
    /// When requests of the open loop arrive: poisson, constant, burst:period=1s,share=0.1,
    /// step:from=0.5,to=1.5,steps=5, sine:period=10s,depth=0.8
    #[arg(long, value_name = "SHAPE", default_value = "poisson", conflicts_with = "fixed")]
    pub(crate) arrivals: Arrivals,
    /// The same as --arrivals constant
    #[arg(long)]
    pub(crate) fixed: bool,
    /// Operations, keys and sizes: writes, ycsb-a to ycsb-f, or a TOML file
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "history")]
    pub(crate) workload: Option<String>,
    /// Load before the measured time [default: 1s; of `local` at most a fifth of the duration]
    #[arg(long, value_name = "TIME", value_parser = names::duration)]
    pub(crate) warm_up: Option<Duration>,
    /// Requests in flight, over all clients (closed loop) [default: 512, or 32 bundles]
    #[arg(long, value_name = "K")]
    pub(crate) in_flight: Option<u32>,
    /// Bytes of each written value: a number, uniform:min=64,max=4096, exponential:mean=512,max=65536,
    /// zipfian:min=64,max=4096 [default: 512, of YCSB 1000]
    #[arg(long, value_name = "SIZES")]
    pub(crate) payload: Option<Sizes>,
    /// Requests under one client signature
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub(crate) bundle: u32,
    /// Different keys at the beginning [default: 100000, or 1000 with --history]
    #[arg(long, value_name = "COUNT")]
    pub(crate) keys: Option<u32>,
    /// How keys are chosen: uniform, zipfian:exponent=0.99, latest:exponent=0.99, hotspot:keys=0.2,requests=0.8
    #[arg(long, value_name = "LAW")]
    pub(crate) key_distribution: Option<KeyDistribution>,
    /// Keys that a scan asks for [default: uniform:min=1,max=100]
    #[arg(long, value_name = "SIZES")]
    pub(crate) scan_length: Option<Sizes>,
    /// Do not write every key before the load (a workload that reads does)
    #[arg(long)]
    pub(crate) no_fill: bool,
    /// Send puts, gets, deletes and compare-and-sets, and write what clients were told, for `trireme check-history`
    /// (`local` checks it at once)
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
    /// Processes that make the load, each with its share of clients and rate
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub(crate) processes: u32,
    /// Seed of keys, values and arrivals
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write an HdrHistogram interval log of the measured time
    #[arg(long, value_name = "FILE")]
    pub(crate) hlog: Option<PathBuf>,
    /// Write a row for each second
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Find the highest rate at which --slo holds: runs of --duration at one rate after the other
    #[arg(long, conflicts_with = "history")]
    pub(crate) sweep: bool,
    /// Service-level objective of --sweep: bounds on p50, p90, p99, p99.9, p99.99, max, mean; failed=0.1%
    #[arg(long, value_name = "BOUNDS", default_value = "p99=50ms")]
    pub(crate) slo: Slo,
    /// Most runs of --sweep
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    pub(crate) sweep_steps: u32,
    /// --sweep ends when the highest rate that holds and the lowest that breaks differ by less than this share
    #[arg(long, value_name = "SHARE", default_value_t = 0.08)]
    pub(crate) sweep_precision: f64,
}

impl ShapeArgs {
    /// What to ask for.
    pub(crate) fn workload(&self) -> Result<Workload> {
        let mut workload = match (&self.history, &self.workload) {
            (Some(_), _) => Workload::named("history").context("the history's workload has a name")?,
            (None, None) => Workload::default(),
            (None, Some(name)) => match Workload::named(name) {
                Some(workload) => workload,
                None => read_workload(Path::new(name))?,
            },
        };
        if let Some(keys) = self.keys {
            workload.keys = keys;
        }
        if let Some(distribution) = self.key_distribution {
            workload.distribution = distribution;
        }
        if let Some(value) = self.payload {
            workload.value = value;
        }
        if let Some(length) = self.scan_length {
            workload.scan_length = length;
        }
        workload.fill &= !self.no_fill;
        workload.check().map_err(anyhow::Error::msg)?;
        Ok(workload)
    }

    /// When requests arrive.
    pub(crate) fn arrivals(&self) -> Arrivals {
        if self.fixed { Arrivals::Constant } else { self.arrivals }
    }

    /// Requests in flight of the closed loop.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
            .unwrap_or_else(|| LoadOptions::default_in_flight(self.bundle))
    }

    /// Refuses what does not fit together, and what needs no cluster to be known.
    pub(crate) fn check(&self, clients: u32) -> Result<()> {
        self.workload()?;
        ensure!(self.bundle > 0, "--bundle must be positive");
        ensure!(
            self.in_flight() >= self.bundle,
            "--in-flight {} is less than one bundle of {} requests",
            self.in_flight(),
            self.bundle
        );
        ensure!(
            (1..=64).contains(&self.processes),
            "--processes: 1 to 64 on one machine (`trireme load merge` joins several machines)"
        );
        ensure!(
            self.processes <= clients,
            "--processes {} needs as many --clients, there are {clients}",
            self.processes
        );
        ensure!(
            self.processes == 1 || self.history.is_none(),
            "--history needs one process, whose clock orders the operations"
        );
        ensure!(
            self.sweep_precision >= 0.001 && self.sweep_steps >= 1,
            "--sweep-precision from 0.001, --sweep-steps from 1"
        );
        Ok(())
    }

    /// The load of `clients` identities.
    pub(crate) fn options(
        &self,
        clients: u32,
        app: AppKind,
        duration: Duration,
        warm_up: Duration,
    ) -> Result<LoadOptions> {
        Ok(LoadOptions {
            duration,
            warm_up: self.warm_up.unwrap_or(warm_up),
            rate: self.rate.into(),
            arrivals: self.arrivals(),
            clients,
            in_flight: Some(self.in_flight()),
            bundle: self.bundle,
            workload: self.workload()?,
            history: self.history.clone().map(|path| HistoryFile { path, fresh: false }),
            app,
            seed: self.seed,
            ..LoadOptions::default()
        })
    }

    /// What is about to run, for people.
    pub(crate) fn describe(&self) -> Result<String> {
        let workload = self.workload()?;
        let how = match self.rate {
            _ if self.sweep => format!("sweep for {}, {} arrivals", self.slo, self.arrivals()),
            Rate::Max => format!("closed loop, {} requests in flight", self.in_flight()),
            Rate::PerSecond(rate) => format!("open loop, {rate} requests/s, {} arrivals", self.arrivals()),
        };
        let shares: Vec<String> = workload
            .mix
            .shares()
            .iter()
            .map(|(operation, share)| format!("{:.0} % {}", share * 100.0, operation.name()))
            .collect();
        Ok(format!(
            "{how}; {} ({}), values of {} bytes, {} keys ({}), {} request(s) a signature",
            workload.name,
            shares.join(", "),
            workload.value,
            workload.keys,
            workload.distribution,
            self.bundle
        ))
    }
}

fn read_workload(path: &Path) -> Result<Workload> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!(
            "{} is neither a workload ({}) nor a file that can be read",
            path.display(),
            Workload::NAMES.join(", ")
        )
    })?;
    let name = path
        .file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    Workload::from_toml(&name, &text).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))
}
