//! Runs the checker over one configuration.

use std::time::{Duration, Instant};

use serde::Serialize;
use stateright::{Checker, HasDiscoveries, Model};

use crate::config::{Bug, Config};
use crate::model::Protocol;
use crate::state::State;
use crate::trace::history;

/// How much work the checker may take.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Threads of the checker.
    pub threads: usize,
    /// Stop after this time; the result is then not called exhaustive.
    pub most_time: Option<Duration>,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            threads: 1,
            most_time: None,
        }
    }
}

/// What an exploration found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the configuration.
    pub config: String,
    /// Its bounds.
    pub bounds: String,
    /// Number of the broken clause, if one is.
    pub bug: Option<u8>,
    /// States generated, with repeats.
    pub generated: usize,
    /// Different states.
    pub unique: usize,
    /// Longest sequence of actions.
    pub depth: usize,
    /// Wall time, in seconds.
    pub seconds: f64,
    /// Whether every state within the bounds was seen.
    pub exhaustive: bool,
    /// The invariant that broke, if one did.
    pub broken: Option<String>,
    /// States on the path to the fault.
    pub steps: usize,
    /// The history that breaks it, a line a step.
    pub history: Vec<String>,
}

/// Explores everything within the bounds, or up to a fault. With one thread and no limits the history is a shortest one.
#[expect(
    clippy::disallowed_methods,
    reason = "the time that a run took is part of its report, nothing depends on it"
)]
pub fn explore(config: &Config, effort: Effort) -> Report {
    let started = Instant::now();
    let protocol = Protocol::new(config.clone());
    let mut report = run(&protocol, effort, None);
    // The checker looks whether it is done once in many states and reports the last fault that it met until then.
    while effort.threads == 1 && report.broken.is_some() {
        let shorter = run(&protocol, effort, Some(report.steps));
        if shorter.broken.is_none() {
            break;
        }
        report.broken = shorter.broken;
        report.history = shorter.history;
        report.steps = shorter.steps;
    }
    report.seconds = started.elapsed().as_secs_f64();
    report
}

fn run(protocol: &Protocol, effort: Effort, depth: Option<usize>) -> Report {
    let config = &protocol.config;
    let mut builder = protocol
        .clone()
        .checker()
        .threads(effort.threads)
        .finish_when(HasDiscoveries::AnyFailures);
    if let Some(depth) = depth {
        builder = builder.target_max_depth(depth);
    }
    if let Some(time) = effort.most_time {
        builder = builder.timeout(time);
    }
    let checker = builder.spawn_bfs().join();
    let found = checker.discoveries();
    let shortest = found
        .iter()
        .map(|(name, path)| (*name, path.clone().into_vec()))
        .min_by_key(|(_, steps)| steps.len());
    let path = shortest
        .as_ref()
        .map(|(_, steps)| steps.iter().map(|(state, _)| state.clone()));
    let path: Option<Vec<State>> = path.map(Iterator::collect);
    Report {
        config: config.name.to_owned(),
        bounds: config.to_string(),
        bug: config.bug.map(Bug::number),
        generated: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        seconds: 0.0,
        exhaustive: found.is_empty() && checker.is_done() && effort.most_time.is_none(),
        broken: shortest.map(|(name, _)| name.to_owned()),
        steps: path.as_ref().map_or(0, Vec::len),
        history: path.map_or_else(Vec::new, |path| history(protocol, &path)),
    }
}
