//! Makes a failing run smaller while the same invariant breaks: first without faults that do not matter, then without
//! lies, weather and odd constants, then with fewer replicas, requests and clients, then shorter.
//!
//! A run's own choices (latencies, who is asked) shift when something is taken away, so that a smaller run may be bad by
//! itself and good by chance: what changes the number of choices is tried with a few other streams, too.

mod ddmin;
mod simpler;

use crate::prng::Prng;
use crate::{Report, Scenario};

/// Streams that are tried for a run with fewer members, clients or requests.
const STREAMS: u64 = 7;

/// A smaller run that breaks the same invariant.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The run, with `breaks` filled in.
    pub scenario: Scenario,
    /// What it shows.
    pub after: Report,
    /// What the run that it comes from shows, up to its first violation.
    pub before: Report,
    /// What was taken away, in order.
    pub taken: Vec<String>,
    /// Runs that it took.
    pub runs: u64,
}

/// A search for a smaller run.
struct Search<'a> {
    best: Scenario,
    report: Report,
    invariant: &'static str,
    runs: u64,
    taken: Vec<String>,
    go_on: &'a mut dyn FnMut() -> bool,
    tell: &'a mut dyn FnMut(&str),
}

/// Shrinks a run for as long as `go_on` says; `tell` hears what is taken away. None if nothing breaks in it.
pub fn shrink(scenario: &Scenario, mut go_on: impl FnMut() -> bool, mut tell: impl FnMut(&str)) -> Option<Shrunk> {
    let before = scenario.run();
    let invariant = before.violations.first()?.invariant;
    let mut search = Search {
        best: scenario.clone(),
        report: before.clone(),
        invariant,
        runs: 1,
        taken: Vec::new(),
        go_on: &mut go_on,
        tell: &mut tell,
    };
    loop {
        let taken = search.taken.len();
        search.without_faults();
        simpler::all(&mut search);
        if search.taken.len() == taken || !search.may_go_on() {
            break;
        }
    }
    let Search {
        mut best,
        report,
        runs,
        taken,
        ..
    } = search;
    best.breaks = Some(invariant.into());
    Some(Shrunk {
        scenario: best,
        after: report,
        before,
        taken,
        runs,
    })
}

impl Search<'_> {
    fn may_go_on(&mut self) -> bool {
        (self.go_on)()
    }

    /// What a smaller run shows, if the same invariant is the first to break in it, and if the clause, when it is in
    /// force, keeps everything whole; none of a run that is much longer than the best so far.
    fn attempt(&mut self, smaller: &Scenario) -> Option<Report> {
        if !self.may_go_on() {
            return None;
        }
        self.runs += 1;
        let report = smaller.run();
        let same = report.violations.first().is_some_and(|v| v.invariant == self.invariant);
        if !same || report.events > self.report.events + self.report.events / 4 {
            return None;
        }
        if smaller.off.is_some() {
            self.runs += 1;
            if !smaller.run_in_force().violations.is_empty() {
                return None;
            }
        }
        Some(report)
    }

    fn keep(&mut self, smaller: Scenario, report: Report) {
        self.best = smaller;
        self.report = report;
    }

    /// Tries a change of the run; with other streams of choices, too, and the shortest of the runs is kept, if `streams`.
    fn change(&mut self, what: &str, streams: bool, change: impl Fn(&mut Scenario)) -> bool {
        let mut smaller = self.best.clone();
        change(&mut smaller);
        if smaller == self.best {
            return false;
        }
        let mut good: Vec<(Report, Scenario)> = Vec::new();
        for stream in 0..=if streams { STREAMS } else { 0 } {
            let mut smaller = smaller.clone();
            if stream > 0 {
                smaller.chance = Prng::new(stream);
            }
            if let Some(report) = self.attempt(&smaller) {
                good.push((report, smaller));
            }
        }
        let Some((report, smaller)) = good.into_iter().min_by_key(|(report, _)| report.events) else {
            return false;
        };
        self.keep(smaller, report);
        self.took(what);
        true
    }

    fn took(&mut self, what: &str) {
        (self.tell)(&format!("{what}: {} events", self.report.events));
        self.taken.push(what.into());
    }

    fn without_faults(&mut self) {
        let count = self.best.plan.faults.len();
        let all = self.best.plan.faults.clone();
        let kept = ddmin::smallest(all, |faults| {
            let mut smaller = self.best.clone();
            smaller.plan.faults = faults.to_vec();
            let shorter = self.attempt(&smaller);
            if let Some(report) = &shorter {
                self.keep(smaller, report.clone());
            }
            shorter.is_some()
        });
        if kept.len() < count {
            self.took(&format!("{} of {count} faults", count - kept.len()));
        }
    }
}
