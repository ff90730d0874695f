//! Twins: Byzantine members made of two honest instances, scripted groups, leaders and crashes.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use trireme_core::bugs::Bugs;
use trireme_sim::guarded;
use trireme_sim::twins::{
    Crashes, Outcome, Scenario, Search, Size, TwinsOptions, can_script, enumerate, replay, sample, size,
};

use super::SimulateArgs;
use super::figures::cpu_time;
use crate::say::say;

/// Failing scenarios that are listed, and how many end the run.
const ENOUGH: usize = 20;
const PROGRESS: Duration = Duration::from_secs(10);

/// Flags of `trireme simulate --twins`.
#[derive(Debug, clap::Args)]
pub(crate) struct TwinsArgs {
    /// Run Twins: members that run twice with one key, under scripted groups, leaders and crashes; of 4 or 7 members
    #[arg(long, group = "mode", conflicts_with_all = ["seeds", "minutes"])]
    twins: bool,
    /// Scripted views of the random scenarios
    #[arg(long, value_name = "N", requires = "twins", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=8))]
    views: u8,
    /// Scenarios: first all of as many views as fit into half of them, then random ones
    #[arg(long, value_name = "N", requires = "twins", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    scenarios: u64,
    /// Replay this scenario with a line for each event
    #[arg(long, value_name = "TEXT", requires = "twins")]
    script: Option<String>,
}

impl TwinsArgs {
    pub(super) fn chosen(&self) -> bool {
        self.twins
    }
}

/// Scenarios of one space, and how many of them there are.
#[derive(Clone)]
struct Part {
    options: TwinsOptions,
    size: Size,
    /// None: all of them.
    random: Option<u64>,
}

impl Part {
    fn scenarios(&self, seed: u64) -> Box<dyn Iterator<Item = Scenario>> {
        match self.random {
            Some(count) => Box::new(sample(&self.options, seed).take(usize::try_from(count).unwrap_or(usize::MAX))),
            None => Box::new(enumerate(&self.options)),
        }
    }

    fn describe(&self) -> String {
        let TwinsOptions {
            n,
            views,
            groups,
            scripted,
            ..
        } = self.options;
        let leaders = if scripted { "any leaders" } else { "leaders in turn" };
        let what = match self.random {
            Some(count) => format!("{count} random ones of"),
            None => "all of".into(),
        };
        let rich = if self.random.is_some() {
            ", single message steps, crashes"
        } else {
            ""
        };
        format!(
            "n = {n}, {views} views, up to {groups} groups, {leaders}{rich}: {what} {:.4e} scenarios ({:.4e} with names)",
            self.size.distinct, self.size.named
        )
    }
}

/// What a run adds up to.
#[derive(Default)]
struct Tally {
    scenarios: u64,
    distinct: HashSet<u64>,
    steps: u64,
    evidence: u64,
    /// Of the part that is under way.
    in_part: u64,
    /// The clause that is switched off: one finding is enough.
    clause: Option<String>,
    failing: Vec<Failure>,
}

/// A scenario that breaks an invariant.
#[derive(Clone, Serialize)]
struct Failure {
    scenario: String,
    invariant: &'static str,
    text: String,
}

/// The report of the run (`tools/trireme/README.md`).
#[derive(Serialize)]
struct Json<'a> {
    schema: &'static str,
    ok: bool,
    version: &'static str,
    replicas: u16,
    views: u8,
    seed: u64,
    clause: Option<&'a str>,
    scripted_leaders: bool,
    scenarios: u64,
    distinct: usize,
    exhaustive_views: Option<usize>,
    exhaustive_distinct: Option<f64>,
    exhaustive_named: Option<f64>,
    space_distinct: f64,
    space_named: f64,
    message_steps: u64,
    with_evidence: u64,
    wall_s: f64,
    cpu_s: f64,
    scenarios_per_cpu_s: f64,
    violations: usize,
    failing: &'a [Failure],
}

/// Whether no scenario breaks anything.
pub(super) fn run(args: &SimulateArgs) -> Result<bool> {
    let flags = &args.twins;
    let bugs = bugs(args)?;
    if let Some(text) = &flags.script {
        return run_one(text, &bugs);
    }
    let n = match args.replicas.map(super::Replicas::only) {
        None => 4,
        Some(Some(n @ (4 | 7))) => n,
        Some(_) => bail!("Twins run with 4 or 7 replicas"),
    };
    let json = args.json.as_deref().map(super::create_report).transpose()?;
    let seed = args.seed.unwrap_or(args.first);
    let parts = parts(n, usize::from(flags.views), flags.scenarios);
    let (start, cpu_before) = (Instant::now(), cpu_time());
    let tally = Arc::new(Mutex::new(Tally {
        clause: args.clause.clone(),
        ..Tally::default()
    }));
    for part in &parts {
        say!("{}", part.describe());
        if run_part(part, seed, &bugs, &tally) {
            break;
        }
    }
    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    let cpu_s = cpu_time().saturating_sub(cpu_before).as_secs_f64();
    let wall_s = start.elapsed().as_secs_f64();
    say!(
        "{} scenarios, {} of them distinct, {} message steps, {} with evidence against a twin; {wall_s:.1} s, \
         {:.0} scenarios a second of CPU time on one core",
        tally.scenarios,
        tally.distinct.len(),
        tally.steps,
        tally.evidence,
        tally.scenarios as f64 / cpu_s.max(1e-9)
    );
    say!("{} violations", tally.failing.len());
    if let Some(file) = json {
        let all = parts.iter().find(|part| part.random.is_none());
        let widest = &parts.last().expect("there is a part").size;
        let report = Json {
            schema: "trireme.twins/1",
            ok: tally.failing.is_empty(),
            version: env!("CARGO_PKG_VERSION"),
            replicas: n,
            views: flags.views,
            seed,
            clause: args.clause.as_deref(),
            scripted_leaders: can_script(),
            scenarios: tally.scenarios,
            distinct: tally.distinct.len(),
            exhaustive_views: all.map(|part| part.options.views),
            exhaustive_distinct: all.map(|part| part.size.distinct),
            exhaustive_named: all.map(|part| part.size.named),
            space_distinct: widest.distinct,
            space_named: widest.named,
            message_steps: tally.steps,
            with_evidence: tally.evidence,
            wall_s,
            cpu_s,
            scenarios_per_cpu_s: tally.scenarios as f64 / cpu_s.max(1e-9),
            violations: tally.failing.len(),
            failing: &tally.failing,
        };
        serde_json::to_writer_pretty(file, &report).context("cannot write the report")?;
    }
    Ok(tally.failing.is_empty())
}

/// With the clause switched off that `--clause` names, if any.
fn bugs(args: &SimulateArgs) -> Result<Bugs> {
    let mut bugs = Bugs::default();
    if let Some(clause) = &args.clause {
        // `possible` has seen that there is such a switch; not every one is the core's.
        ensure!(bugs.set(clause), "{clause} is a clause of the log, and Twins have none");
    }
    Ok(bugs)
}

/// All scenarios of the plain space, of as many views as fit into half of `count`; the rest random of the rich one.
fn parts(n: u16, views: usize, count: u64) -> Vec<Part> {
    let scripted = can_script();
    let plain = |views: usize, groups: u8| TwinsOptions {
        n,
        views,
        groups,
        cuts: 0,
        busy: false,
        crashes: Crashes::None,
        scripted,
    };
    let whole = (1..=views).flat_map(|views| [plain(views, 2), plain(views, 3)]);
    let whole = whole
        .map(|options| (size(&options), options))
        .filter(|(size, _)| size.distinct <= count as f64 / 2.0)
        .max_by(|a, b| a.0.distinct.total_cmp(&b.0.distinct));
    let rich = TwinsOptions {
        cuts: 1,
        busy: true,
        crashes: Crashes::All,
        ..plain(views, 3)
    };
    let done = whole.as_ref().map_or(0, |(size, _)| size.distinct as u64);
    let random = Part {
        size: size(&rich),
        options: rich,
        random: Some(count - done),
    };
    let whole = whole.map(|(size, options)| Part {
        options,
        size,
        random: None,
    });
    whole.into_iter().chain([random]).collect()
}

/// Runs a part on a guarded thread: a panic is a violation, and ends the part. True if enough was found.
fn run_part(part: &Part, seed: u64, bugs: &Bugs, tally: &Arc<Mutex<Tally>>) -> bool {
    let job = {
        let (part, bugs, tally) = (part.clone(), bugs.clone(), Arc::clone(tally));
        move || {
            let mut search = Search::new(&bugs);
            let mut due = Instant::now() + PROGRESS;
            for scenario in part.scenarios(seed) {
                let outcome = search.run(&scenario).expect("it is of a space that can be run");
                let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                tally.add(&scenario, &outcome);
                if tally.has_enough() {
                    break;
                }
                if Instant::now() >= due {
                    due = Instant::now() + PROGRESS;
                    say!("{} scenarios, {} violations", tally.scenarios, tally.failing.len());
                }
            }
        }
    };
    tally.lock().unwrap_or_else(PoisonError::into_inner).in_part = 0;
    if let Err(words) = guarded(job) {
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::try_from(tally.in_part).unwrap_or(usize::MAX);
        let scenario = part.scenarios(seed).nth(index);
        tally.fail(scenario.map_or_else(String::new, |s| s.to_string()), "panic", words);
    }
    tally.lock().unwrap_or_else(PoisonError::into_inner).has_enough()
}

impl Tally {
    fn add(&mut self, scenario: &Scenario, outcome: &Outcome) {
        let mut hasher = DefaultHasher::new();
        scenario.hash(&mut hasher);
        self.distinct.insert(hasher.finish());
        self.scenarios += 1;
        self.in_part += 1;
        self.steps += outcome.steps;
        self.evidence += u64::from(outcome.evidence > 0);
        if let Some(first) = outcome.violations.first() {
            self.fail(scenario.to_string(), first.invariant, first.text.clone());
        }
    }

    fn has_enough(&self) -> bool {
        self.failing.len() >= if self.clause.is_some() { 1 } else { ENOUGH }
    }

    fn fail(&mut self, scenario: String, invariant: &'static str, text: String) {
        let clause = self.clause.as_ref().map_or_else(String::new, |clause| {
            say!("{clause} is found by scenario {}", self.scenarios);
            format!(" --clause {clause}")
        });
        say!("invariant {invariant}: {text}\n  replay with: trireme simulate --twins{clause} --script \"{scenario}\"");
        self.failing.push(Failure {
            scenario,
            invariant,
            text,
        });
    }
}

fn run_one(text: &str, bugs: &Bugs) -> Result<bool> {
    let scenario: Scenario = text.parse().context("not a scenario")?;
    let bugs = bugs.clone();
    let outcome = guarded(move || replay(&scenario, &bugs, |line| say!("{line}")));
    match outcome {
        Ok(outcome) => {
            let outcome = outcome?;
            for violation in &outcome.violations {
                say!("{violation}");
            }
            let (scripted, healed) = outcome.committed;
            say!(
                "view {}, {scripted} slots committed by the end of the script, {healed} after healing, {} violations",
                outcome.views,
                outcome.violations.len()
            );
            Ok(outcome.violations.is_empty())
        }
        Err(words) => {
            say!("panics: {words}");
            Ok(false)
        }
    }
}
