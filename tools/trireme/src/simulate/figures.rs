//! What a run of many seeds adds up to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use trireme_sim::Report;
use trireme_sim::bank::Canary;

/// Failing seeds that are listed; all are counted.
const LISTED: usize = 200;

/// A seed that breaks an invariant.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Failure {
    pub(super) seed: u64,
    pub(super) replicas: u16,
    /// The first invariant that did not hold.
    pub(super) invariant: &'static str,
    /// What was seen.
    pub(super) text: String,
    /// The command that shows it again.
    pub(super) replay: String,
}

impl Failure {
    /// How a run failed, if it did.
    fn of(report: &Report, replay: impl FnOnce() -> String) -> Option<Self> {
        let first = report.violations.first()?;
        Some(Self {
            seed: report.seed,
            replicas: report.n,
            invariant: first.invariant,
            text: first.text.clone(),
            replay: replay(),
        })
    }
}

/// Sums over seeds.
pub(super) struct Figures {
    start: Instant,
    cpu_before: Duration,
    pub(super) threads: u16,
    pub(super) seeds: u64,
    pub(super) events: u64,
    pub(super) simulated_us: u64,
    /// Seeds that break an invariant.
    pub(super) violations: u64,
    pub(super) failing: Vec<Failure>,
    /// Known bugs among the seeds; they count as nothing else.
    pub(super) canaries: u64,
    /// Those that came through without a failure: what the run says is worth nothing.
    pub(super) canaries_missed: u64,
    pub(super) counters: BTreeMap<&'static str, u64>,
}

/// CPU time of this process up to now.
pub(super) fn cpu_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        spent.tv_sec.try_into().unwrap_or(0),
        spent.tv_nsec.try_into().unwrap_or(0),
    )
}

impl Figures {
    pub(super) fn new(threads: u16) -> Self {
        Self {
            start: Instant::now(),
            cpu_before: cpu_time(),
            threads,
            seeds: 0,
            events: 0,
            simulated_us: 0,
            violations: 0,
            failing: Vec::new(),
            canaries: 0,
            canaries_missed: 0,
            counters: BTreeMap::new(),
        }
    }

    /// Adds a run. Returns words about it, if it failed. A canary goes the same way as any seed up to the list of
    /// failures; there it has to arrive.
    pub(super) fn add(
        &mut self,
        canary: Option<Canary>,
        report: &Report,
        replay: impl FnOnce() -> String,
    ) -> Option<String> {
        let failure = Failure::of(report, replay);
        if let Some(canary) = canary {
            self.canaries += 1;
            if failure.is_some() {
                return None;
            }
            self.canaries_missed += 1;
            let (switch, seed) = (canary.switch, canary.seed);
            return Some(format!("a canary is not reported: seed {seed} without {switch}"));
        }
        self.seeds += 1;
        self.events += report.events;
        self.simulated_us += report.simulated_us;
        for (name, count) in &report.counters {
            *self.counters.entry(name).or_default() += count;
        }
        let failure = failure?;
        self.violations += 1;
        let words = format!("{report}\n  replay with: {}", failure.replay);
        if self.failing.len() < LISTED {
            self.failing.push(failure);
        }
        Some(words)
    }

    /// Nothing was found, and what was to be found was.
    pub(super) fn good(&self) -> bool {
        self.violations == 0 && self.canaries_missed == 0
    }

    pub(super) fn wall_s(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    pub(super) fn cpu_s(&self) -> f64 {
        cpu_time().saturating_sub(self.cpu_before).as_secs_f64()
    }

    pub(super) fn simulated_s(&self) -> f64 {
        self.simulated_us as f64 / 1e6
    }

    /// Simulated time by wall time, of one thread.
    pub(super) fn ratio(&self) -> f64 {
        self.simulated_s() / (self.wall_s() * f64::from(self.threads)).max(1e-9)
    }

    /// Simulated time by CPU time: what the ratio is on a core that does nothing else.
    pub(super) fn cpu_ratio(&self) -> f64 {
        self.simulated_s() / self.cpu_s().max(1e-9)
    }

    /// Events by wall time, of all threads.
    pub(super) fn events_per_s(&self) -> f64 {
        self.events as f64 / self.wall_s().max(1e-9)
    }

    /// Counters of a list that did not fire.
    pub(super) fn never_fired(&self, sometimes: &[&'static str]) -> Vec<&'static str> {
        let fired = |name: &&'static str| self.counters.get(*name).is_some_and(|count| *count > 0);
        sometimes.iter().copied().filter(|name| !fired(name)).collect()
    }

    /// One line while it runs.
    pub(super) fn line(&self) -> String {
        format!(
            "{} seeds, {:.2} h simulated, {:.0}:1 per core, {:.0} events/s, {} violations",
            self.seeds,
            self.simulated_s() / 3600.0,
            self.ratio(),
            self.events_per_s(),
            self.violations
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_sim::{Options, run_seed};

    #[test]
    fn a_silent_canary_spoils_the_run() {
        let calm = Options {
            byzantine: false,
            chaos: false,
            n: Some(4),
            ..Options::default()
        };
        let sound = run_seed(1, &calm);
        assert!(sound.violations.is_empty(), "{sound}");
        let canary = Canary {
            switch: "lowest_qc",
            seed: 1,
        };
        let mut figures = Figures::new(1);
        assert!(figures.add(None, &sound, String::new).is_none() && figures.good());
        let words = figures.add(Some(canary), &sound, String::new).unwrap();
        assert!(words.contains("lowest_qc") && !figures.good(), "{words}");
        assert_eq!((figures.seeds, figures.violations, figures.canaries), (1, 0, 1));

        let mut impatient = Figures::new(1);
        let stuck = run_seed(
            1,
            &Options {
                max_events: 100,
                ..calm
            },
        );
        assert!(impatient.add(Some(canary), &stuck, String::new).is_none() && impatient.good());
        assert!(impatient.add(None, &stuck, String::new).is_some() && !impatient.good());
    }
}
