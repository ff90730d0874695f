//! The bug bank (FAULTS.md): known bugs as switches of simulator builds, each with a run that shows it.
//!
//! The pinned runs stand in `engine/sim/bank.toml`. What a seed means shifts with every change of what seeds draw:
//! `trireme simulate --bug-bank --search --write` looks for new ones and rewrites the file.

mod table;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use trireme_core::bugs::Bugs;

pub use table::{BUGS, Bug, OWN, State};

use crate::plan::Options;
use crate::{Report, guarded, run_guarded, twins};

/// The pinned runs as they were when this was built.
pub const PINS: &str = include_str!("../../bank.toml");

/// Whether this build has the switches: it needs the feature `bugs`.
pub const AVAILABLE: bool = Bugs::AVAILABLE;

/// How the bank runs a seed, with a clause switched off or none. The same for finding, replaying and comparing.
///
/// # Panics
///
/// If this build has no such switch.
pub fn options(clause: Option<&str>) -> Options {
    let mut options = Options {
        max_events: 250_000,
        enough_violations: 1,
        ..Options::default()
    };
    if let Some(clause) = clause {
        assert!(options.switch_off(clause), "this build has no switch {clause}");
    }
    options
}

/// A run that shows a bug.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Pin {
    /// A seed.
    Seed(u64),
    /// A scenario of [`crate::twins`].
    Twins(String),
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed(seed) => write!(f, "seed {seed}"),
            Self::Twins(_) => f.write_str("twins"),
        }
    }
}

impl Pin {
    /// Runs it with a clause switched off, or none: what breaks.
    fn run(&self, clause: Option<&str>) -> Option<(&'static str, u64)> {
        let options = options(clause);
        match self {
            Self::Seed(seed) => {
                let report = run_guarded(*seed, &options);
                let first = report.violations.first()?;
                Some((first.invariant, report.events))
            }
            Self::Twins(text) => {
                let text = text.clone();
                let outcome = guarded(move || {
                    let scenario: twins::Scenario = text.parse().ok()?;
                    twins::run(&scenario, &options.bugs).ok()
                });
                outcome.map_or(Some(("panic", 0)), |outcome| {
                    let outcome = outcome?;
                    let first = outcome.violations.first()?;
                    Some((first.invariant, outcome.steps))
                })
            }
        }
    }

    /// What breaks with every clause in force: nothing should.
    pub fn breaks_in_force(&self) -> Option<&'static str> {
        self.run(None).map(|(invariant, _)| invariant)
    }
}

/// What became of a bug.
#[derive(Clone, Debug)]
pub struct Found {
    /// The run that shows it.
    pub pin: Pin,
    /// The invariant that broke first.
    pub invariant: &'static str,
    /// Events up to then; 0 for a panic.
    pub events: u64,
    /// Runs with the clause switched off.
    pub runs: u64,
}

/// Pinned runs by the clause that is switched off.
///
/// # Errors
///
/// Words and a place for a text that is not such a table.
pub fn pins(text: &str) -> Result<BTreeMap<String, Pin>, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

/// The text of `bank.toml`.
pub fn pins_text(pins: &BTreeMap<String, Pin>) -> String {
    let text = toml::to_string(pins).expect("numbers and texts are what TOML has");
    let head: String = PINS
        .split_inclusive('\n')
        .take_while(|line| line.starts_with('#'))
        .collect();
    head + &text
}

/// Runs a pin without a clause; what breaks, if anything does.
pub fn replay(clause: &str, pin: &Pin) -> Option<Found> {
    let (invariant, events) = pin.run(Some(clause))?;
    Some(Found {
        pin: pin.clone(),
        invariant,
        events,
        runs: 1,
    })
}

/// Looks for a seed that shows a bug: bad without the clause, good with every clause in force. From `first` on, at most
/// `limit` seeds, for as long as `go_on` says; if there is none, how many were run.
pub fn search(clause: &str, first: u64, limit: u64, mut go_on: impl FnMut() -> bool) -> Result<Found, u64> {
    for seed in first..first.saturating_add(limit) {
        if !go_on() {
            return Err(seed - first);
        }
        let pin = Pin::Seed(seed);
        let Some(found) = replay(clause, &pin) else { continue };
        if pin.breaks_in_force().is_none() {
            return Ok(Found {
                runs: seed - first + 1,
                ..found
            });
        }
    }
    Err(limit)
}

/// A canary: a known bug among the seeds of a long run, to show that what is found is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canary {
    /// The clause that is switched off.
    pub switch: &'static str,
    /// The seed that is known to show it.
    pub seed: u64,
}

impl Canary {
    /// The canaries of this build take turns; none without the switches.
    pub fn turn(number: u64) -> Option<Self> {
        if !AVAILABLE {
            return None;
        }
        let pins = pins(PINS).ok()?;
        let pinned = |bug: &Bug| {
            let switch = bug.switch()?;
            match pins.get(switch) {
                Some(Pin::Seed(seed)) => Some(Canary { switch, seed: *seed }),
                Some(Pin::Twins(_)) | None => None,
            }
        };
        let all: Vec<Self> = BUGS.iter().filter_map(pinned).collect();
        let count = u64::try_from(all.len()).ok()?.max(1);
        all.get(usize::try_from(number % count).ok()?).copied()
    }

    /// Runs it as any other seed.
    pub fn run(self) -> Report {
        run_guarded(self.seed, &options(Some(self.switch)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_as_they_are_written() {
        let own = pins(PINS).unwrap();
        assert_eq!(pins(&pins_text(&own)).unwrap(), own);
        assert_eq!(pins_text(&own), PINS, "rewriting leaves the file as it is");
        let switches: Vec<&str> = BUGS.iter().filter_map(Bug::switch).collect();
        assert!(own.keys().all(|name| switches.contains(&name.as_str())), "{own:?}");
        assert!(pins("lowest_qc = x").unwrap_err().contains("line 1"));
    }
}
