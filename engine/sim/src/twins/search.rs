//! Running scenarios, one by one or many that share their starts.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use trireme_core::bugs::Bugs;

use super::cluster::{Cluster, Lines};
use super::scenario::{BadScenario, Scenario};
use crate::oracle::Violation;

/// What a scenario showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What did not hold; empty is good.
    pub violations: Vec<Violation>,
    /// The highest view that an instance was in when the script ended.
    pub views: u64,
    /// Slots committed by then, and at the end.
    pub committed: (u64, u64),
    /// Message steps of the whole run.
    pub steps: u64,
    /// Pieces of evidence that correct replicas found.
    pub evidence: u32,
}

/// Why a scenario was not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unscriptable {
    /// It is not well-formed.
    Bad(BadScenario),
    /// Leaders can be scripted in a build with the core's feature `bugs` only.
    Leaders,
}

impl fmt::Display for Unscriptable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(bad) => bad.fmt(f),
            Self::Leaders => write!(f, "this build cannot script leaders"),
        }
    }
}

impl std::error::Error for Unscriptable {}

/// Runs a scenario.
///
/// # Errors
///
/// [`Unscriptable`], if it cannot be run.
pub fn run(scenario: &Scenario, bugs: &Bugs) -> Result<Outcome, Unscriptable> {
    Search::new(bugs).run(scenario)
}

/// Runs a scenario; gives each stage and each step of an instance as a line: time, instance, input, effects.
///
/// # Errors
///
/// [`Unscriptable`], if it cannot be run.
pub fn replay(scenario: &Scenario, bugs: &Bugs, line: impl FnMut(&str) + 'static) -> Result<Outcome, Unscriptable> {
    let mut search = Search::new(bugs);
    search.lines = Some(Rc::new(RefCell::new(line)));
    search.run(scenario)
}

/// Runs scenarios one after the other; the start that two neighbours share is run once.
pub struct Search {
    bugs: Bugs,
    last: Option<Rc<Scenario>>,
    /// The cluster before each stage of the last scenario, as far as it was run.
    before: Vec<Cluster>,
    lines: Option<Lines>,
}

impl Search {
    /// With clauses broken on purpose, or none.
    pub fn new(bugs: &Bugs) -> Self {
        Self {
            bugs: bugs.clone(),
            last: None,
            before: Vec::new(),
            lines: None,
        }
    }

    /// Runs a scenario. The outcome does not depend on what was run before.
    ///
    /// # Errors
    ///
    /// [`Unscriptable`], if it cannot be run.
    pub fn run(&mut self, scenario: &Scenario) -> Result<Outcome, Unscriptable> {
        scenario.check().map_err(Unscriptable::Bad)?;
        self.keep_shared(scenario)?;
        let mut cluster = self.before.pop().expect("there is a start");
        let done = self.before.len();
        self.last = Some(Rc::new(scenario.clone()));
        for (index, stage) in scenario.stages.iter().enumerate().skip(done) {
            if cluster.failed() {
                break;
            }
            // The last stage's start is worth a copy, too: the next scenario most often differs there only.
            if index < scenario.stages.len() {
                self.before.push(cluster.clone());
            }
            cluster.stage(stage);
        }
        let (views, height) = (cluster.view(), cluster.judge.height());
        if !cluster.failed() {
            cluster.heal();
        }
        Ok(Outcome {
            views,
            committed: (height, cluster.judge.height()),
            steps: cluster.steps,
            evidence: cluster.judge.evidence,
            violations: cluster.judge.violations,
        })
    }

    /// Drops copies beyond what the scenario shares with the last one; makes the first one if none is left.
    fn keep_shared(&mut self, scenario: &Scenario) -> Result<(), Unscriptable> {
        let shared = self
            .last
            .as_ref()
            .filter(|last| (last.n, &last.twins, &last.leaders) == (scenario.n, &scenario.twins, &scenario.leaders));
        let shared = shared.map_or(0, |last| {
            let pairs = last.stages.iter().zip(&scenario.stages);
            1 + pairs.take_while(|(a, b)| a == b).count()
        });
        self.before.truncate(shared);
        if self.before.is_empty() {
            let mut bugs = self.bugs.clone();
            if !scenario.leaders.is_empty() && !bugs.script_leaders(&scenario.leaders) {
                return Err(Unscriptable::Leaders);
            }
            let mut cluster = Cluster::new(scenario, &bugs);
            cluster.lines.clone_from(&self.lines);
            self.before.push(cluster);
        }
        Ok(())
    }
}
