//! What `top` shows, from two statuses of each replica.

use std::collections::VecDeque;

use anyhow::Result;
use serde_json::Value;
use trireme_config::Cluster;

use crate::health::Health;

/// Points of the small chart.
const KEPT: usize = 120;
/// Stages that an operation passes, in order.
pub(super) const STAGES: [&str; 8] = [
    "ingress",
    "verify",
    "dissemination",
    "ordering",
    "execution",
    "reply",
    "total",
    "log",
];

/// Answers of the replicas, now and before.
pub(super) struct Data {
    pub(super) cluster: Cluster,
    pub(super) now: Vec<Result<Value>>,
    before: Vec<Option<Value>>,
    /// Operations per second, newest last.
    pub(super) throughput: VecDeque<u64>,
}

/// Counts at or below limits, between two statuses of all replicas.
#[derive(Default)]
pub(super) struct Spread {
    limits: Vec<u64>,
    below: Vec<u64>,
    pub(super) count: u64,
    sum_us: u64,
}

impl Data {
    pub(super) fn new(cluster: Cluster) -> Data {
        Data {
            cluster,
            now: Vec::new(),
            before: Vec::new(),
            throughput: VecDeque::new(),
        }
    }

    /// New answers come; the ones before are kept to compare with.
    pub(super) fn take(&mut self, answers: Vec<Result<Value>>) {
        let old = std::mem::replace(&mut self.now, answers);
        if !old.is_empty() {
            self.before = old.into_iter().map(Result::ok).collect();
            if self.throughput.len() == KEPT {
                self.throughput.pop_front();
            }
            self.throughput.push_back(self.rate());
        }
    }

    pub(super) fn health(&self) -> Health {
        Health::of(&self.cluster, &self.now)
    }

    /// Statuses of those who answered, with the ones before.
    fn pairs(&self) -> impl Iterator<Item = (&Value, Option<&Value>)> {
        let before = |member: usize| self.before.get(member).and_then(Option::as_ref);
        let answered = self.now.iter().enumerate();
        answered.filter_map(move |(member, answer)| Some((answer.as_ref().ok()?, before(member))))
    }

    /// Growth of a counter of a member per second of its uptime.
    pub(super) fn per_second(&self, member: usize, path: &str) -> Option<f64> {
        let now = self.now.get(member)?.as_ref().ok()?;
        let before = self.before.get(member)?.as_ref()?;
        let micros = number(now, "/uptime_us").checked_sub(number(before, "/uptime_us"))?;
        let grown = number(now, path).checked_sub(number(before, path))?;
        (micros > 0).then(|| float(grown) * 1e6 / float(micros))
    }

    /// Operations per second at the replica that is furthest.
    fn rate(&self) -> u64 {
        let rates = (0..self.now.len()).filter_map(|member| self.per_second(member, "/execution/fresh"));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate for people"
        )]
        let rate = rates.fold(0.0, f64::max).round() as u64;
        rate
    }

    /// The newest slot that anybody committed.
    pub(super) fn top_slot(&self) -> u64 {
        let slots = self.pairs().map(|(now, _)| number(now, "/committed_slot"));
        slots.max().unwrap_or(0)
    }

    /// A stage over the last interval; over all time where nothing was there to compare with.
    pub(super) fn stage(&self, stage: &str) -> Spread {
        let mut all = Spread::default();
        for (now, before) in self.pairs() {
            all.add(&now["stages"][stage], before.map(|before| &before["stages"][stage]));
        }
        all
    }

    /// Events of all replicas, newest first.
    pub(super) fn events(&self) -> Vec<(u64, usize, &Value)> {
        let mut all = Vec::new();
        for (member, answer) in self.now.iter().enumerate() {
            let events = answer.as_ref().ok().and_then(|status| status["events"].as_array());
            for event in events.into_iter().flatten() {
                all.push((number(event, "/wall_us"), member, event));
            }
        }
        all.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
        all
    }
}

impl Spread {
    fn add(&mut self, now: &Value, before: Option<&Value>) {
        let before = before.filter(|before| number(before, "/count") <= number(now, "/count"));
        let list = |value: &Value, key: &str| -> Vec<u64> {
            let list = value[key].as_array().into_iter().flatten();
            list.filter_map(Value::as_u64).collect()
        };
        let old = before.map_or(Vec::new(), |before| list(before, "at_or_below"));
        let below = list(now, "at_or_below");
        self.limits = list(now, "le_us");
        self.below.resize(below.len(), 0);
        for (index, (sum, count)) in self.below.iter_mut().zip(below).enumerate() {
            *sum += count - old.get(index).copied().unwrap_or(0);
        }
        let grown = |path: &str| number(now, path) - before.map_or(0, |before| number(before, path));
        self.count += grown("/count");
        self.sum_us += grown("/sum_us");
    }

    /// Mean in microseconds.
    pub(super) fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| float(self.sum_us) / float(self.count))
    }

    /// A quantile in microseconds, between the limits as if values were spread evenly there.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = share * float(self.count);
        let (mut limit_before, mut below_before) = (0, 0);
        for (limit, below) in self.limits.iter().zip(&self.below) {
            if float(*below) >= rank {
                let inside = float(below - below_before);
                let part = if inside > 0.0 {
                    (rank - float(below_before)) / inside
                } else {
                    1.0
                };
                return Some(float(limit_before) + float(limit - limit_before) * part);
            }
            (limit_before, below_before) = (*limit, *below);
        }
        Some(float(limit_before))
    }
}

/// A number of a status; 0 if it is not there.
pub(super) fn number(status: &Value, path: &str) -> u64 {
    status.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}
