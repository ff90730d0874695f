//! A run as a file (TOML) that people can read, change and keep: what a seed draws, written out.
//!
//! `engine/sim/scenarios/` holds those that the suite replays: shrunk runs of bugs, and histories made by hand.

pub(crate) mod text;
mod valid;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::plan::{Options, Plan};
use crate::prng::Prng;
use crate::world::{Lines, World};
use crate::{Report, guarded};

/// A run, ready to be run again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows, in words.
    pub about: String,
    /// The clause of the protocol that is switched off, if any (`trireme_core::bugs`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<String>,
    /// What breaks: the number of an invariant in FAULTS.md, or a word like `panic`. With a clause in `off`, it breaks
    /// when that clause is off, and nothing breaks when it is in force. None: nothing breaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaks: Option<String>,
    /// How long the cluster may take, once healed, to answer everything, in simulated microseconds.
    pub patience_us: u64,
    /// Ends a run that goes in circles.
    pub max_events: u64,
    /// Disks destroy more than the protocol stands, and only what is still promised then is judged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beyond: bool,
    /// Where the run's own choices come from.
    #[serde(with = "text::chance")]
    pub(crate) chance: Prng,
    pub(crate) plan: Plan,
}

/// Why a scenario cannot be run.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is not TOML, or not a scenario.
    #[error("{}:{line}: {text}", file.display())]
    Syntax {
        /// Which file.
        file: PathBuf,
        /// Line in it, from 1.
        line: usize,
        /// What is wrong.
        text: String,
    },
    /// It says something that cannot be.
    #[error("{}:{line}: {what}", file.display())]
    Wrong {
        /// Which file.
        file: PathBuf,
        /// Line in it, from 1, at which the wrong part begins.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

impl Scenario {
    /// What a seed draws, with a clause switched off or none.
    pub fn of_seed(seed: u64, options: &Options, off: Option<&str>) -> Self {
        let mut prng = Prng::new(seed);
        let mut plan = crate::draw(seed, &mut prng, options);
        if let Some(log) = &mut plan.storage.log {
            // `off` names what is switched off.
            log.bugs = trireme_log::bugs::Bugs::default();
        }
        Self {
            about: format!("Seed {seed}."),
            off: off.map(Into::into),
            breaks: None,
            patience_us: options.patience_us,
            max_events: options.max_events,
            beyond: options.beyond,
            chance: prng,
            plan,
        }
    }

    /// Reads a file.
    pub fn read(file: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(file).map_err(|error| ScenarioError::Read {
            file: file.into(),
            error,
        })?;
        Self::parse(&text, file)
    }

    /// Reads the text of a file; `file` is for the words of errors.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|error| ScenarioError::Syntax {
            file: file.into(),
            line: line_of(text, error.span().map_or(0, |span| span.start)),
            text: error.message().into(),
        })?;
        match valid::fault(&scenario) {
            None => Ok(scenario),
            Some(wrong) => Err(ScenarioError::Wrong {
                file: file.into(),
                line: line_of(text, wrong.place(text)),
                what: wrong.what,
            }),
        }
    }

    /// The text of its file.
    pub fn to_text(&self) -> String {
        toml::to_string(self).expect("all its values are ones that TOML has")
    }

    /// How it is run.
    ///
    /// # Panics
    ///
    /// If its clause cannot be switched off in this build: see [`Scenario::can_run`].
    fn options(&self, in_force: bool) -> Options {
        let mut options = Options {
            patience_us: self.patience_us,
            max_events: self.max_events,
            enough_violations: 1,
            beyond: self.beyond,
            ..Options::default()
        };
        if let Some(clause) = self.off.as_ref().filter(|_| !in_force) {
            assert!(options.switch_off(clause), "this build cannot switch {clause} off");
        }
        options
    }

    /// Whether this build can run it: clauses can be switched off in builds with the feature `bugs` only.
    pub fn can_run(&self) -> bool {
        self.off.is_none() || crate::bank::AVAILABLE
    }

    /// Runs it until something breaks or all is done.
    pub fn run(&self) -> Report {
        self.guard(&self.options(false))
    }

    /// Runs it with every clause in force.
    pub fn run_in_force(&self) -> Report {
        self.guard(&self.options(true))
    }

    /// Runs it with a line for each event. A panic comes through.
    pub fn replay(&self, mut line: impl FnMut(&str)) -> Report {
        self.run_with(&self.options(false), Some(&mut line))
    }

    fn guard(&self, options: &Options) -> Report {
        let (own, with) = (self.clone(), options.clone());
        guarded(move || own.run_with(&with, None)).unwrap_or_else(|words| Report::of_panic(0, &self.plan, words))
    }

    fn run_with(&self, options: &Options, mut lines: Lines<'_>) -> Report {
        if let Some(line) = &mut lines {
            line(&self.plan.describe());
        }
        let mut plan = self.plan.clone();
        if let Some(log) = &mut plan.storage.log {
            log.bugs = options.log_bugs.clone();
        }
        let mut world = World::new(self.chance.clone(), plan, options, lines);
        world.run(options);
        Report::of(0, world)
    }

    /// Whether it shows what it says: what was seen instead, if not.
    pub fn check(&self) -> Result<(), String> {
        let seen = self.run();
        let first = seen.violations.first().map(|violation| violation.invariant);
        if first != self.breaks.as_deref() {
            let expected = self.breaks.as_deref().unwrap_or("nothing");
            return Err(format!("{expected} was to break: {seen}"));
        }
        if self.off.is_none() {
            return Ok(());
        }
        let sound = self.run_in_force();
        if sound.violations.is_empty() {
            Ok(())
        } else {
            Err(format!("nothing was to break with every clause in force: {sound}"))
        }
    }
}

/// The line of a byte, from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_seed;

    #[test]
    fn a_file_is_the_run_of_its_seed() {
        for seed in [1, 3, 8] {
            let options = Options::default();
            let scenario = Scenario::of_seed(seed, &options, None);
            let read = Scenario::parse(&scenario.to_text(), Path::new("x.toml")).unwrap();
            assert_eq!(read, scenario, "{}", scenario.to_text());
            let (by_file, by_seed) = (read.run(), run_seed(seed, &options));
            assert_eq!(by_file.trace_hash, by_seed.trace_hash, "seed {seed}");
        }
    }

    #[test]
    fn wrong_files_are_refused_with_their_line() {
        let good = Scenario::of_seed(3, &Options::default(), None).to_text();
        let line = |needle: &str| 1 + good.lines().position(|line| line.starts_with(needle)).unwrap();
        let cases = [
            ("max_events = ", "max_event = ", "max_event"),
            ("latency_us = ", "latency_us = -", "latency_us"),
            ("clients = ", "clients = 9999", "clients"),
            ("chance = \"", "chance = \"x", "chance"),
            ("n = ", "n = 9", "n = "),
            ("about = ", "off = \"gravity\"\nabout = ", "about"),
        ];
        for (from, to, place) in cases {
            let text = good.replacen(&format!("\n{from}"), &format!("\n{to}"), 1);
            let text = if from == "about = " {
                good.replacen(from, to, 1)
            } else {
                text
            };
            let error = Scenario::parse(&text, Path::new("dir/x.toml")).unwrap_err().to_string();
            let expected = format!("dir/x.toml:{}: ", line(if from == "about = " { place } else { from }));
            assert!(error.starts_with(&expected), "{to}: {error}, not {expected}");
        }
    }
}
