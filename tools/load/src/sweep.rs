//! The knee: the highest rate at which a cluster holds its service-level objective.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::record::Record;
use crate::summary::LatencyUs;
use crate::words::{BadWords, duration};

/// Of the requests, so many may fail if the objective does not say.
const FAILED_SHARE: f64 = 0.001;
/// A cluster that acknowledges less than this share of what is offered is behind.
const KEPT_UP: f64 = 0.97;
/// Standard deviations of the number of arrivals that are no sign of it.
const CHANCE: f64 = 4.0;

/// What is promised. As text: `p99=50ms`, or several bounds, `p50=10ms,p99.9=200ms,failed=1%`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Slo {
    /// Name and microseconds.
    bounds: Vec<(Bound, f64)>,
    failed_share: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    P50,
    P90,
    P99,
    P99_9,
    P99_99,
    Max,
    Mean,
}

impl Bound {
    const ALL: [(Self, &'static str); 7] = [
        (Self::P50, "p50"),
        (Self::P90, "p90"),
        (Self::P99, "p99"),
        (Self::P99_9, "p99.9"),
        (Self::P99_99, "p99.99"),
        (Self::Max, "max"),
        (Self::Mean, "mean"),
    ];

    fn of(self, latency: &LatencyUs) -> f64 {
        match self {
            Self::P50 => latency.p50,
            Self::P90 => latency.p90,
            Self::P99 => latency.p99,
            Self::P99_9 => latency.p99_9,
            Self::P99_99 => latency.p99_99,
            Self::Max => latency.max,
            Self::Mean => latency.mean,
        }
    }

    fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(bound, _)| *bound == self);
        found.expect("every bound has a name").1
    }
}

impl Slo {
    /// The bounds on latency: name and microseconds.
    pub fn bounds_us(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.bounds.iter().map(|(bound, us)| (bound.name(), *us))
    }

    /// Why a run at this rate breaks it; none if it holds.
    pub fn broken_by(&self, record: &Record) -> Option<String> {
        let summary = &record.summary;
        for (bound, most) in &self.bounds {
            let us = bound.of(&summary.latency_us);
            if us > *most {
                return Some(format!("{} {:.2} ms", bound.name(), us / 1e3));
            }
        }
        let lost = summary.failed + summary.unknown;
        if lost as f64 > self.failed_share * summary.submitted.max(1) as f64 {
            return Some(format!("{lost} requests failed or without an answer"));
        }
        // What came back in the measured time is not just what was due in it: chance moves both ends.
        let due = summary.offered_ops_s * summary.measured_s;
        let missing = due - summary.throughput_ops_s * summary.measured_s;
        if missing > (1.0 - KEPT_UP) * due + CHANCE * due.sqrt() {
            return Some(format!(
                "{:.0} of {:.0} operations/s acknowledged",
                summary.throughput_ops_s, summary.offered_ops_s
            ));
        }
        None
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds = self
            .bounds
            .iter()
            .map(|(bound, us)| format!("{}={}ms", bound.name(), us / 1e3));
        let mut parts: Vec<String> = bounds.collect();
        if (self.failed_share - FAILED_SHARE).abs() > 1e-12 {
            parts.push(format!("failed={}%", self.failed_share * 100.0));
        }
        f.write_str(&parts.join(","))
    }
}

impl FromStr for Slo {
    type Err = BadWords;

    fn from_str(text: &str) -> Result<Self, BadWords> {
        let refuse = |why: &str| BadWords(format!("{text}: {why}"));
        let mut slo = Self {
            bounds: Vec::new(),
            failed_share: FAILED_SHARE,
        };
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| refuse("give bounds as in p99=50ms"))?;
            if name == "failed" {
                let percent = value.trim_end_matches('%').parse::<f64>();
                let share = percent.map_err(|_| refuse("failed: give a percentage"))? / 100.0;
                if !(0.0..=1.0).contains(&share) {
                    return Err(refuse("failed: from 0% to 100%"));
                }
                slo.failed_share = share;
                continue;
            }
            let found = Bound::ALL.iter().find(|(_, known)| *known == name);
            let Some((bound, _)) = found else {
                return Err(refuse("known are p50, p90, p99, p99.9, p99.99, max, mean and failed"));
            };
            let most = duration(value).map_err(|why| refuse(&why))?;
            slo.bounds.push((*bound, most.as_secs_f64() * 1e6));
        }
        if slo.bounds.is_empty() {
            return Err(refuse("no bound on the latency"));
        }
        Ok(slo)
    }
}

impl From<Slo> for String {
    fn from(slo: Slo) -> Self {
        slo.to_string()
    }
}

impl TryFrom<String> for Slo {
    type Error = BadWords;

    fn try_from(text: String) -> Result<Self, BadWords> {
        text.parse()
    }
}

/// Rates to try, one after the other: doubled (or halved) until the objective holds at one and breaks at another, then
/// in between until they are close.
#[derive(Clone, Debug)]
pub struct Search {
    first: f64,
    holds: Option<f64>,
    breaks: Option<f64>,
    left: u32,
    precision: f64,
}

impl Search {
    /// From this rate on, at most so many rates, until what holds and what breaks differ by this share.
    pub fn new(first: f64, most_steps: u32, precision: f64) -> Self {
        Self {
            first,
            holds: None,
            breaks: None,
            left: most_steps,
            precision,
        }
    }

    /// The next rate to try; none: it is found, or the steps are used up.
    pub fn next_rate(&self) -> Option<f64> {
        if self.left == 0 {
            return None;
        }
        match (self.holds, self.breaks) {
            (None, None) => Some(self.first),
            (Some(holds), None) => Some(holds * 2.0),
            (None, Some(breaks)) => (breaks > 1.0).then_some(breaks / 2.0),
            (Some(holds), Some(breaks)) => {
                let between = (holds * breaks).sqrt();
                (breaks / holds > 1.0 + self.precision).then_some(between.round().max(1.0))
            }
        }
    }

    /// What came of it. A rate above one that breaks is not believed to hold.
    pub fn tried(&mut self, rate: f64, held: bool) {
        self.left = self.left.saturating_sub(1);
        if held {
            self.holds = Some(self.holds.map_or(rate, |best| best.max(rate)));
        } else {
            self.breaks = Some(self.breaks.map_or(rate, |least| least.min(rate)));
        }
    }

    /// The highest rate that held.
    pub fn best(&self) -> Option<f64> {
        self.holds
    }
}

/// One rate of a sweep.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Operations a second that were asked for.
    pub rate: f64,
    /// That were acknowledged.
    pub throughput_ops_s: f64,
    /// How many were acknowledged, those before the measured time included.
    #[serde(default)]
    pub acknowledged: u64,
    /// Their latency.
    pub latency_us: LatencyUs,
    /// Requests that failed or have no answer.
    pub failed: u64,
    /// Why the objective broke; none: it held.
    pub broken: Option<String>,
    /// What the generator says of itself, if it was a limit.
    pub generator_limits: Vec<String>,
}

impl Step {
    /// Of a run at this rate.
    pub fn of(rate: f64, slo: &Slo, record: &Record) -> Self {
        Self {
            rate,
            throughput_ops_s: record.summary.throughput_ops_s,
            acknowledged: record.summary.acknowledged,
            latency_us: record.summary.latency_us,
            failed: record.summary.failed + record.summary.unknown,
            broken: slo.broken_by(record),
            generator_limits: record.generator.limits.clone(),
        }
    }
}

/// A sweep.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SweepReport {
    /// What was promised.
    pub slo: Slo,
    /// The highest rate at which it held.
    pub knee_ops_s: Option<f64>,
    /// Whether the cluster, not the generator, broke it above that: none if nothing broke.
    pub limit_is_the_cluster: Option<bool>,
    /// Every rate that was tried, ascending.
    pub steps: Vec<Step>,
}

impl SweepReport {
    /// Of all steps.
    pub fn new(slo: Slo, best: Option<f64>, mut steps: Vec<Step>) -> Self {
        steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let beyond = steps.iter().filter(|step| best.is_none_or(|best| step.rate > best));
        let first_break = beyond.into_iter().find(|step| step.broken.is_some());
        Self {
            slo,
            knee_ops_s: best,
            limit_is_the_cluster: first_break.map(|step| step.generator_limits.is_empty()),
            steps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(knee: f64, first: f64) -> (Option<f64>, u32) {
        let mut search = Search::new(first, 20, 0.05);
        let mut steps = 0;
        while let Some(rate) = search.next_rate() {
            steps += 1;
            search.tried(rate, rate <= knee);
        }
        (search.best(), steps)
    }

    #[test]
    fn the_knee_is_found_from_below_and_from_above() {
        for (knee, first) in [(7_300.0, 500.0), (7_300.0, 60_000.0), (999.0, 1_000.0)] {
            let (best, steps) = search(knee, first);
            let best = best.unwrap();
            assert!(best <= knee && best * 1.06 > knee, "{knee}: {best}");
            assert!(steps <= 12, "{steps}");
        }
        assert_eq!(search(0.0, 100.0).0, None, "nothing holds");
        let (best, steps) = search(f64::INFINITY, 100.0);
        assert_eq!((best, steps), (Some(100.0 * 2f64.powi(19)), 20), "nothing breaks");
    }

    #[test]
    fn objectives_are_written_as_they_are_read() {
        let slo: Slo = "p99=50ms".parse().unwrap();
        assert_eq!(slo.bounds_us().collect::<Vec<_>>(), [("p99", 50_000.0)]);
        for text in ["p99=50ms", "p50=0.5ms,p99.9=2000ms,failed=1%"] {
            let slo: Slo = text.parse().unwrap();
            assert_eq!(slo.to_string(), text);
        }
        for bad in ["", "p99", "p98=1s", "p99=5", "failed=1%", "p99=1s,failed=200%"] {
            assert!(bad.parse::<Slo>().is_err(), "{bad}");
        }
    }
}
