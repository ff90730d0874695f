//! Many seeds on all processors.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;
use trireme_sim::bank::Canary;
use trireme_sim::{ENOUGH_SEEDS, Options, Report, run_guarded};

use super::SimulateArgs;
use super::figures::{Failure, Figures};
use crate::local::signals::Signals;
use crate::say::say;

/// A run with so many violations shows no more by going on; and each panic keeps memory (see `trireme_sim::guarded`).
const ENOUGH_VIOLATIONS: u64 = 500;

/// One seed in so many gives its place to a canary, in builds that have the switches.
const CANARY_EVERY: u64 = 500;

/// A run, and the canary in it if it was one.
type Told = (Option<Canary>, Report);

/// What the threads share.
struct Shared {
    next: AtomicU64,
    end: u64,
    stop: AtomicBool,
    deadline: Option<Instant>,
}

impl Shared {
    /// The next seed to run.
    fn take(&self) -> Option<u64> {
        let over = self.deadline.is_some_and(|at| Instant::now() >= at);
        if over || self.stop.load(Ordering::Relaxed) {
            return None;
        }
        let seed = self.next.fetch_add(1, Ordering::Relaxed);
        (seed < self.end).then_some(seed)
    }
}

/// The report of the run (`tools/trireme/README.md`).
#[derive(Serialize)]
struct Json<'a> {
    schema: &'static str,
    ok: bool,
    version: &'static str,
    profile: &'static str,
    replicas: Option<String>,
    first: u64,
    seeds: u64,
    violations: u64,
    failing: &'a [Failure],
    events: u64,
    events_per_s: f64,
    simulated_s: f64,
    wall_s: f64,
    cpu_s: f64,
    threads: u16,
    simulated_to_wall: f64,
    simulated_to_cpu: f64,
    counters: &'a std::collections::BTreeMap<&'static str, u64>,
    never_fired: Vec<&'static str>,
    canaries: u64,
    canaries_missed: u64,
    interrupted: bool,
}

/// Whether no seed breaks anything.
pub(super) fn run(args: &SimulateArgs) -> Result<bool> {
    let json = args.json.as_deref().map(super::create_report).transpose()?;
    let threads = args.threads();
    let shared = Arc::new(Shared {
        next: AtomicU64::new(args.first),
        end: args.seeds.map_or(u64::MAX, |seeds| args.first.saturating_add(seeds)),
        stop: AtomicBool::new(false),
        deadline: args
            .minutes
            .map(|minutes| Instant::now() + Duration::from_secs_f64(minutes * 60.0)),
    });
    let mut figures = Figures::new(threads);
    let interrupted = Arc::new(AtomicBool::new(false));
    stop_on_signal(Arc::clone(&shared), Arc::clone(&interrupted))?;
    std::thread::scope(|scope| {
        let (tell, hear) = mpsc::channel();
        for _ in 0..threads {
            let (tell, shared) = (tell.clone(), &shared);
            scope.spawn(move || work(args.first, shared, &tell, |seed| args.options(seed)));
        }
        drop(tell);
        collect(args, &shared, &hear, &mut figures);
    });
    let interrupted = interrupted.load(Ordering::Relaxed);
    summary(args, &figures, interrupted);
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &to_json(args, &figures, interrupted)).context("cannot write the report")?;
    }
    Ok(figures.good())
}

/// The canary that takes the place of a seed.
fn canary(first: u64, seed: u64) -> Option<Canary> {
    let place = seed - first;
    (place % CANARY_EVERY == CANARY_EVERY / 2)
        .then(|| Canary::turn(place / CANARY_EVERY))
        .flatten()
}

fn work(first: u64, shared: &Shared, tell: &Sender<Told>, options: impl Fn(u64) -> Options) {
    while let Some(seed) = shared.take() {
        let canary = canary(first, seed);
        let report = canary.map_or_else(|| run_guarded(seed, &options(seed)), Canary::run);
        if tell.send((canary, report)).is_err() {
            return;
        }
    }
}

/// The first signal ends the run with what it has so far; the second one ends the process.
fn stop_on_signal(shared: Arc<Shared>, interrupted: Arc<AtomicBool>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::catch()?
    };
    std::thread::spawn(move || {
        runtime.block_on(signals.next());
        interrupted.store(true, Ordering::Relaxed);
        shared.stop.store(true, Ordering::Relaxed);
        let again = runtime.block_on(signals.next());
        std::process::exit(again.exit_code().into());
    });
    Ok(())
}

/// Adds up what the threads tell, until all of them are done.
fn collect(args: &SimulateArgs, shared: &Shared, hear: &Receiver<Told>, figures: &mut Figures) {
    let live = std::io::stdout().is_terminal();
    let bar = crate::progress::bar(args.seeds);
    let pause = Duration::from_secs(if live { 1 } else { 10 });
    let mut due = Instant::now() + pause;
    loop {
        match hear.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok((canary, report)) => {
                let seed = report.seed;
                let replay = || args.replay_command(seed);
                if let Some(words) = figures.add(canary, &report, replay) {
                    bar.suspend(|| say!("{words}"));
                }
                bar.inc(1);
                if figures.violations >= ENOUGH_VIOLATIONS {
                    shared.stop.store(true, Ordering::Relaxed);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if Instant::now() >= due {
            due = Instant::now() + pause;
            match live {
                true => bar.set_message(figures.line()),
                false => say!("{}", figures.line()),
            }
        }
    }
    bar.finish_and_clear();
}

fn summary(args: &SimulateArgs, figures: &Figures, interrupted: bool) {
    say!(
        "{}{} seeds, {} events, {:.2} h simulated in {:.1} s on {} threads: {:.0}:1 per core ({:.0}:1 by CPU time), \
         {:.0} events/s",
        if interrupted { "interrupted; " } else { "" },
        figures.seeds,
        figures.events,
        figures.simulated_s() / 3600.0,
        figures.wall_s(),
        figures.threads,
        figures.ratio(),
        figures.cpu_ratio(),
        figures.events_per_s()
    );
    for (name, count) in &figures.counters {
        say!("  {name:<40} {count}");
    }
    let never = figures.never_fired(args.profile.sometimes());
    if !never.is_empty() {
        say!(
            "never happened ({ENOUGH_SEEDS} seeds of the swarm make all of them happen): {}",
            never.join(", ")
        );
    }
    if figures.canaries > 0 {
        let missed = figures.canaries_missed;
        say!("{} canaries, {missed} of them not reported", figures.canaries);
    }
    if figures.violations == 0 {
        say!("no violation");
        return;
    }
    say!("{} seeds break an invariant:", figures.violations);
    for failure in &figures.failing {
        say!("  {:<9} {}", failure.invariant, failure.replay);
    }
}

fn to_json<'a>(args: &SimulateArgs, figures: &'a Figures, interrupted: bool) -> Json<'a> {
    Json {
        schema: "trireme.simulate/1",
        ok: figures.good(),
        version: env!("CARGO_PKG_VERSION"),
        profile: args.profile.name(),
        replicas: args.replicas.map(|replicas| replicas.to_string()),
        first: args.first,
        seeds: figures.seeds,
        violations: figures.violations,
        failing: &figures.failing,
        events: figures.events,
        events_per_s: figures.events_per_s(),
        simulated_s: figures.simulated_s(),
        wall_s: figures.wall_s(),
        cpu_s: figures.cpu_s(),
        threads: figures.threads,
        simulated_to_wall: figures.ratio(),
        simulated_to_cpu: figures.cpu_ratio(),
        counters: &figures.counters,
        never_fired: figures.never_fired(args.profile.sometimes()),
        canaries: figures.canaries,
        canaries_missed: figures.canaries_missed,
        interrupted,
    }
}
