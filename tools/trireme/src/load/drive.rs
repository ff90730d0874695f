//! Runs a load: in this process or in several, at one rate or in search of the knee.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use trireme_client::ClientKeys;
use trireme_config::Cluster;
use trireme_load::{
    Aim, LoadOptions, Rate, Record, Recording, Search, Second, Slo, Step, Stop, SweepReport, run_blocking,
};

use crate::load::args::ShapeArgs;
use crate::load::fleet;

/// Where a sweep begins unless it is told.
const FIRST_RATE: f64 = 500.0;

/// Whom a load is made on.
#[derive(Clone)]
pub(crate) enum Whom {
    Trireme {
        /// The client's settings, for processes of their own.
        config: PathBuf,
        cluster: Cluster,
        keys: ClientKeys,
    },
    /// Where etcd's clients connect to, in turn.
    Etcd(Vec<SocketAddr>),
}

impl Whom {
    /// The same for the load generator.
    pub(crate) fn aim(&self) -> Aim<'_> {
        match self {
            Self::Trireme { cluster, keys, .. } => Aim::Trireme { cluster, keys },
            Self::Etcd(addresses) => Aim::Etcd(addresses),
        }
    }
}

/// A load.
pub(crate) struct Job {
    pub(crate) whom: Whom,
    pub(crate) options: LoadOptions,
    pub(crate) processes: u32,
    pub(crate) sweep: Option<Sweep>,
}

/// How the knee is looked for.
pub(crate) struct Sweep {
    slo: Slo,
    first: f64,
    steps: u32,
    precision: f64,
}

impl Sweep {
    pub(crate) fn of(args: &ShapeArgs) -> Option<Self> {
        args.sweep.then(|| Self {
            slo: args.slo.clone(),
            first: match args.rate {
                crate::names::Rate::Max => FIRST_RATE,
                crate::names::Rate::PerSecond(rate) => rate,
            },
            steps: args.sweep_steps,
            precision: args.sweep_precision,
        })
    }
}

/// What happens while a load runs.
pub(crate) enum Event {
    Second(Second),
    /// A run of a sweep begins.
    Rate(f64),
    /// It has ended.
    Step(Step),
}

/// Does the whole job on the calling thread (and in processes of their own).
pub(crate) fn drive(job: &Job, stop: &Stop, each: &mut dyn FnMut(Event)) -> Result<Record> {
    match &job.sweep {
        None => once(job, &job.options, stop, each),
        Some(sweep) => find_knee(job, sweep, stop, each),
    }
}

fn once(job: &Job, options: &LoadOptions, stop: &Stop, each: &mut dyn FnMut(Event)) -> Result<Record> {
    if job.processes > 1 {
        return fleet::run(job, options, stop, each);
    }
    let report = run_blocking(job.whom.aim(), options, stop, None, |second| {
        each(Event::Second(second));
    })?;
    Ok(report.record)
}

fn find_knee(job: &Job, sweep: &Sweep, stop: &Stop, each: &mut dyn FnMut(Event)) -> Result<Record> {
    let mut search = Search::new(sweep.first, sweep.steps, sweep.precision);
    let (mut steps, mut best, mut recorded) = (Vec::new(), None::<Record>, Vec::new());
    while let Some(rate) = search.next_rate().filter(|_| !stop.is_set()) {
        let mut options = job.options.clone();
        options.rate = Rate::PerSecond(rate);
        options.seed = options.seed.wrapping_add(steps.len() as u64);
        options.workload.fill &= steps.is_empty();
        if let Recording::File(path) = &job.options.recording {
            let own = path.with_extension(format!("step-{}", steps.len()));
            options.recording = Recording::File(own.clone());
            recorded.push(own);
        }
        each(Event::Rate(rate));
        let record = once(job, &options, stop, each)?;
        let step = Step::of(rate, &sweep.slo, &record);
        let held = step.broken.is_none();
        search.tried(rate, held);
        each(Event::Step(step.clone()));
        steps.push(step);
        // The record that is kept: that of the knee; until something holds, that of the lowest rate.
        if best.is_none() || held && search.best() == Some(rate) || search.best().is_none() {
            best = Some(record);
        }
    }
    if let Recording::File(path) = &job.options.recording {
        join_files(&recorded, path)?;
    }
    let mut record = best.context("the sweep was stopped before its first run ended")?;
    record.sweep = Some(SweepReport::new(sweep.slo.clone(), search.best(), steps));
    Ok(record)
}

/// Puts files one after the other into another one, and removes them.
pub(super) fn join_files(from: &[PathBuf], into: &Path) -> Result<()> {
    let mut all = File::create(into).with_context(|| format!("cannot write {}", into.display()))?;
    for path in from {
        let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        std::io::copy(&mut file, &mut all).with_context(|| format!("cannot write {}", into.display()))?;
        std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}
