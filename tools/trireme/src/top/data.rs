//! What `top` shows, from two statuses of each replica.

use std::collections::VecDeque;

use anyhow::Result;
use serde_json::Value;
use trireme_config::Cluster;

use crate::health::Health;

/// Points of the chart.
const KEPT: usize = 300;
/// Budgets are taken over so many rounds, and at most twice as many.
const SPAN: u32 = 30;
/// Stages that an operation passes, in order.
pub(super) const WAY: [&str; 7] = [
    "ingress",
    "verify",
    "batching",
    "dissemination",
    "ordering",
    "execution",
    "reply",
];

/// Answers of the replicas, now and before.
pub(super) struct Data {
    pub(super) cluster: Cluster,
    pub(super) now: Vec<Result<Value>>,
    before: Vec<Option<Value>>,
    /// What budgets count from, what they will count from next, and the rounds since that one.
    base: Vec<Option<Value>>,
    middle: Vec<Option<Value>>,
    rounds: u32,
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
            base: Vec::new(),
            middle: Vec::new(),
            rounds: 0,
            throughput: VecDeque::new(),
        }
    }

    /// New answers come; the ones before are kept to compare with.
    pub(super) fn take(&mut self, answers: Vec<Result<Value>>) {
        let old = std::mem::replace(&mut self.now, answers);
        if !old.is_empty() {
            self.before = old.into_iter().map(Result::ok).collect();
            self.rounds += 1;
            if self.base.is_empty() {
                (self.base, self.middle) = (self.before.clone(), self.before.clone());
            } else if self.rounds.is_multiple_of(SPAN) {
                self.base = std::mem::replace(&mut self.middle, self.before.clone());
            }
            if self.throughput.len() == KEPT {
                self.throughput.pop_front();
            }
            self.throughput.push_back(self.rate());
        }
    }

    pub(super) fn health(&self) -> Health {
        Health::of(&self.cluster, &self.now)
    }

    /// Statuses of those who answered, with those that budgets count from.
    fn pairs(&self) -> impl Iterator<Item = (&Value, Option<&Value>)> {
        let base = |member: usize| self.base.get(member).and_then(Option::as_ref);
        let answered = self.now.iter().enumerate();
        answered.filter_map(move |(member, answer)| Some((answer.as_ref().ok()?, base(member))))
    }

    /// Growth of a counter of all replicas together.
    pub(super) fn growth(&self, path: &str) -> u64 {
        self.pairs().map(|(now, base)| grown(now, base, path)).sum()
    }

    /// Operations executed meanwhile, at the replica that is furthest.
    pub(super) fn operations(&self) -> u64 {
        let grown = self.pairs().map(|(now, base)| grown(now, base, "/execution/fresh"));
        grown.max().unwrap_or(0)
    }

    /// A replica's status, if it answered.
    pub(super) fn status(&self, member: usize) -> Option<&Value> {
        self.now.get(member)?.as_ref().ok()
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

    /// A stage over the last half minute or more; over all time where nothing was there to compare with.
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
            *sum += count.saturating_sub(old.get(index).copied().unwrap_or(0));
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

/// Growth of a counter; a replica that started anew counts from 0.
fn grown(now: &Value, base: Option<&Value>, path: &str) -> u64 {
    let (now, base) = (number(now, path), base.map_or(0, |base| number(base, path)));
    if now < base { now } else { now - base }
}

/// A number of a status; 0 if it is not there.
pub(super) fn number(status: &Value, path: &str) -> u64 {
    status.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}
