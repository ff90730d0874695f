//! `--scenario` and `--shrink`: runs that stand in files.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use trireme_sim::{Scenario, shrink};

use super::SimulateArgs;
use super::replay::trace;
use crate::say::say;

/// Flags of the modes.
#[derive(Debug, clap::Args)]
pub(super) struct FileArgs {
    /// Run the scenario in this file and compare with what it says
    #[arg(long, value_name = "FILE", group = "mode", conflicts_with_all = ["seeds", "seed", "bug_bank", "json"])]
    scenario: Option<PathBuf>,
    /// With a line for each event
    #[arg(long, requires = "scenario", conflicts_with = "shrink")]
    trace: bool,
    /// Make the failing run of --seed or --scenario smaller (for at most --minutes) and write it to --out
    #[arg(long, conflicts_with = "seeds")]
    shrink: bool,
    /// Where the smaller run goes [default: shrunk-SEED.toml, or the scenario's name with -shrunk]
    #[arg(long, value_name = "FILE", requires = "shrink")]
    out: Option<PathBuf>,
}

impl FileArgs {
    pub(super) fn shrinks(&self) -> bool {
        self.shrink
    }

    pub(super) fn scenario(&self) -> Option<&Path> {
        self.scenario.as_deref()
    }
}

/// Whether the scenario shows what it says.
pub(super) fn run(args: &SimulateArgs, file: &Path) -> Result<bool> {
    let scenario = read(file)?;
    if args.files.trace {
        let breaks = scenario.breaks.clone();
        let seen = trace(move |line| scenario.replay(line));
        return Ok(seen.as_deref() == breaks.as_deref());
    }
    match scenario.check() {
        Ok(()) => {
            let what = scenario.breaks.as_deref().map_or_else(
                || "nothing breaks".into(),
                |invariant| format!("invariant {invariant} breaks"),
            );
            match &scenario.off {
                Some(clause) => say!("{what} without {clause}, nothing with it, as the file says"),
                None => say!("{what}, as the file says"),
            }
            Ok(true)
        }
        Err(words) => {
            say!("{words}");
            Ok(false)
        }
    }
}

fn read(file: &Path) -> Result<Scenario> {
    let scenario = Scenario::read(file)?;
    if let Some(clause) = scenario.off.as_ref().filter(|_| !scenario.can_run()) {
        bail!("the scenario needs {clause} switched off: {}", super::WITH_BUGS);
    }
    Ok(scenario)
}

/// Runs a seed and writes it as a scenario, with what breaks in it, if anything does. True: it was done.
pub(super) fn write(args: &SimulateArgs, seed: u64, file: &Path) -> Result<bool> {
    let mut scenario = Scenario::of_seed(seed, &args.options(seed), args.clause.as_deref());
    let seen = scenario.run();
    scenario.breaks = seen.violations.first().map(|violation| violation.invariant.into());
    std::fs::write(file, scenario.to_text()).with_context(|| format!("cannot write {}", file.display()))?;
    say!("{seen}\nwritten to {}", file.display());
    Ok(true)
}

/// Shrinks a run and writes it. True: it was done.
pub(super) fn make_smaller(args: &SimulateArgs) -> Result<bool> {
    let (scenario, out) = match (args.seed, &args.files.scenario) {
        (Some(seed), _) => (
            Scenario::of_seed(seed, &args.options(seed), args.clause.as_deref()),
            format!("shrunk-{seed}.toml").into(),
        ),
        (None, Some(file)) => (read(file)?, file.with_extension("shrunk.toml")),
        (None, None) => bail!("--shrink needs --seed or --scenario"),
    };
    let out = args.files.out.clone().unwrap_or(out);
    let deadline = Instant::now() + Duration::from_secs_f64(args.minutes.unwrap_or(10.0) * 60.0);
    let shrunk = shrink(&scenario, || Instant::now() < deadline, |taken| say!("- {taken}"));
    let Some(shrunk) = shrunk else {
        say!("nothing breaks in it: there is nothing to shrink");
        return Ok(false);
    };
    std::fs::write(&out, shrunk.scenario.to_text()).with_context(|| format!("cannot write {}", out.display()))?;
    say!(
        "{} -> {} events up to the first violation, {} -> {} replicas, {} runs",
        shrunk.before.events,
        shrunk.after.events,
        shrunk.before.n,
        shrunk.after.n,
        shrunk.runs
    );
    say!("{}\nwritten to {}", shrunk.after, out.display());
    Ok(true)
}
