//! Counts and histograms of a run. All times in nanoseconds since the load began.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use trireme_client::SubmitError;

use crate::encoded::{Encoded, histogram};
use crate::payload::Effect;
use crate::summary::{LatencyUs, Second};
use crate::workload::{Mix, Operation};

/// What the loop knows when a second ends.
pub(crate) struct Moment {
    pub(crate) now_ns: u64,
    pub(crate) in_flight: u64,
    pub(crate) backlog: u64,
    pub(crate) connected: usize,
}

/// What happened so far.
pub(crate) struct Meter {
    /// The measured time.
    from_ns: u64,
    to_ns: u64,
    /// Of operations due in the measured time.
    pub(crate) measured: Histogram<u64>,
    pub(crate) by_operation: BTreeMap<Operation, Histogram<u64>>,
    /// Of whatever was acknowledged in this second.
    second: Histogram<u64>,
    /// Of those that were due in the measured time, and these by kind, if there are several.
    interval: Histogram<u64>,
    interval_by: BTreeMap<Operation, Histogram<u64>>,
    second_failed: u64,
    second_unknown: u64,
    second_from_ns: u64,
    seconds: u32,
    pub(crate) offered: u64,
    /// Operations acknowledged within the measured time, and the bytes of values that they wrote.
    pub(crate) timely: u64,
    pub(crate) timely_bytes: u64,
    pub(crate) submitted: u64,
    pub(crate) acknowledged: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) without_effect: u64,
    pub(crate) not_found: u64,
    pub(crate) conflicts: u64,
    last_ack_ns: u64,
    /// Length and begin of the longest time without an acknowledgement.
    gap: (u64, u64),
}

impl Meter {
    pub(crate) fn new(from_ns: u64, to_ns: u64, mix: &Mix) -> Self {
        let shares = mix.shares();
        let kinds = shares.iter().filter(|_| shares.len() > 1);
        let by_kind: BTreeMap<_, _> = kinds.map(|(kind, _)| (*kind, histogram())).collect();
        Self {
            from_ns,
            to_ns,
            measured: histogram(),
            by_operation: by_kind.clone(),
            second: histogram(),
            interval: histogram(),
            interval_by: by_kind,
            second_failed: 0,
            second_unknown: 0,
            second_from_ns: 0,
            seconds: 0,
            offered: 0,
            timely: 0,
            timely_bytes: 0,
            submitted: 0,
            acknowledged: 0,
            failed: 0,
            unknown: 0,
            failures: BTreeMap::new(),
            without_effect: 0,
            not_found: 0,
            conflicts: 0,
            last_ack_ns: from_ns,
            gap: (0, from_ns),
        }
    }

    pub(crate) fn in_measured_time(&self, time_ns: u64) -> bool {
        (self.from_ns..self.to_ns).contains(&time_ns)
    }

    /// The measured time ends now, before its time.
    pub(crate) fn cut(&mut self, now_ns: u64) {
        self.to_ns = self.to_ns.min(now_ns.max(self.from_ns));
    }

    pub(crate) fn measured_s(&self) -> f64 {
        (self.to_ns - self.from_ns) as f64 / 1e9
    }

    /// An operation was meant to begin at this time.
    pub(crate) fn offer(&mut self, intended_ns: u64) {
        self.offered += u64::from(self.in_measured_time(intended_ns));
    }

    /// A request was acknowledged.
    pub(crate) fn acknowledge(&mut self, effect: Effect) {
        self.acknowledged += 1;
        let count = match effect {
            Effect::Done => return,
            Effect::None => &mut self.without_effect,
            Effect::NotFound => &mut self.not_found,
            Effect::Conflict => &mut self.conflicts,
        };
        *count += 1;
    }

    /// The last request of an operation was acknowledged; it wrote so many bytes.
    pub(crate) fn complete(&mut self, operation: Operation, intended_ns: u64, now_ns: u64, bytes: u64) {
        let latency = now_ns.saturating_sub(intended_ns);
        self.second.saturating_record(latency);
        if self.in_measured_time(intended_ns) {
            self.interval.saturating_record(latency);
            if let Some(kind) = self.interval_by.get_mut(&operation) {
                kind.saturating_record(latency);
            }
        }
        if self.in_measured_time(now_ns) {
            self.timely += 1;
            self.timely_bytes += bytes;
            self.note_gap(now_ns);
            self.last_ack_ns = now_ns;
        }
    }

    fn note_gap(&mut self, until_ns: u64) {
        let length = until_ns.saturating_sub(self.last_ack_ns);
        if length > self.gap.0 {
            self.gap = (length, self.last_ack_ns);
        }
    }

    pub(crate) fn fail(&mut self, error: &SubmitError) {
        if error.outcome_unknown() {
            self.unknown += 1;
            self.second_unknown += 1;
        } else {
            self.failed += 1;
            self.second_failed += 1;
        }
        *self.failures.entry(error.name().to_owned()).or_default() += 1;
    }

    /// Arrivals that were never sent, for lack of room.
    pub(crate) fn fail_unsent(&mut self, count: u64) {
        if count > 0 {
            self.failed += count;
            self.second_failed += count;
            *self.failures.entry("backlog".to_owned()).or_default() += count;
        }
    }

    /// Milliseconds, and seconds into the measured time, of the longest time without an acknowledgement.
    pub(crate) fn longest_gap(&mut self) -> (f64, f64) {
        self.note_gap(self.to_ns);
        (self.gap.0 as f64 / 1e6, (self.gap.1 - self.from_ns) as f64 / 1e9)
    }

    /// Whether something was counted since the last second ended.
    pub(crate) fn has_news(&self) -> bool {
        !self.second.is_empty() || self.second_failed + self.second_unknown > 0
    }

    /// Ends the current second.
    pub(crate) fn end_second(&mut self, at: &Moment) -> Second {
        let now_ns = at.now_ns;
        let latency = LatencyUs::of(&self.second);
        let length_s = (now_ns - self.second_from_ns).max(1) as f64 / 1e9;
        self.seconds += 1;
        let (latencies, by_operation) = self.take_interval();
        let second = Second {
            second: self.seconds,
            from_s: self.second_from_ns as f64 / 1e9 - self.from_ns as f64 / 1e9,
            length_s,
            // A late timer ends the last second after the measured time: it belongs there all the same.
            measured: self.second_from_ns >= self.from_ns
                && self.in_measured_time(u64::midpoint(self.second_from_ns, now_ns)),
            ops_s: self.second.len() as f64 / length_s,
            p50_us: latency.p50,
            p90_us: latency.p90,
            p99_us: latency.p99,
            p99_9_us: latency.p99_9,
            max_us: latency.max,
            failed: self.second_failed,
            unknown: self.second_unknown,
            in_flight: at.in_flight,
            backlog: at.backlog,
            connected: at.connected,
            latencies,
            by_operation,
        };
        self.second.reset();
        (self.second_failed, self.second_unknown, self.second_from_ns) = (0, 0, now_ns);
        second
    }

    /// What the interval counted goes to the totals, too.
    fn take_interval(&mut self) -> (Encoded, BTreeMap<Operation, Encoded>) {
        let take = |own: &mut Histogram<u64>, total: &mut Histogram<u64>| {
            let taken = std::mem::replace(own, histogram());
            total.add(&taken).expect("of the same bounds");
            Encoded(taken)
        };
        let all = take(&mut self.interval, &mut self.measured);
        let kinds = self.interval_by.iter_mut().zip(self.by_operation.values_mut());
        (
            all,
            kinds.map(|((kind, own), total)| (*kind, take(own, total))).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    const S: u64 = 1_000_000_000;

    fn meter(from_ns: u64, to_ns: u64) -> Meter {
        Meter::new(from_ns, to_ns, &Workload::default().mix)
    }

    fn end(meter: &mut Meter, now_ns: u64) -> Second {
        meter.end_second(&Moment {
            now_ns,
            in_flight: 3,
            backlog: 0,
            connected: 4,
        })
    }

    #[test]
    fn latency_belongs_to_the_intended_time_and_throughput_to_the_acknowledgement() {
        let mut meter = meter(S, 3 * S);
        for (intended, acknowledged) in [(S - 1, S + 5), (S, 2 * S), (3 * S - 1, 4 * S), (3 * S, 4 * S)] {
            meter.offer(intended);
            meter.acknowledge(Effect::Done);
            meter.complete(Operation::Update, intended, acknowledged, 10);
        }
        let second = end(&mut meter, 5 * S);
        assert_eq!(
            (meter.acknowledged, meter.timely, meter.timely_bytes, meter.offered),
            (4, 2, 20, 2)
        );
        assert_eq!((meter.measured.len(), second.latencies.0.len()), (2, 2));
        let max = LatencyUs::of(&meter.measured).max;
        assert!((1_000_000.0..1_001_000.0).contains(&max), "{max}");
    }

    #[test]
    fn the_longest_gap_may_lie_at_the_end() {
        let mut meter = meter(0, 10 * S);
        for time in [S / 10, S, S + S / 2, 4 * S, 5 * S] {
            meter.complete(Operation::Update, time, time, 0);
        }
        let mut early = self::meter(0, 6 * S);
        early.complete(Operation::Update, S, 4 * S, 0);
        assert_eq!(early.longest_gap(), (4_000.0, 0.0));
        assert_eq!(meter.longest_gap(), (5_000.0, 5.0));
        meter.cut(7 * S);
        assert_eq!(meter.measured_s(), 7.0);
    }

    #[test]
    fn seconds_start_from_zero_each_time_and_kinds_are_told_apart() {
        let mut meter = Meter::new(S, 2 * S, &Workload::named("ycsb-a").unwrap().mix);
        meter.complete(Operation::Read, 0, 1_000_000, 0);
        meter.fail(&SubmitError::Overloaded);
        meter.fail(&SubmitError::TimedOut);
        let first = end(&mut meter, S);
        assert_eq!(
            (
                first.second,
                first.measured,
                first.failed,
                first.unknown,
                first.in_flight
            ),
            (1, false, 1, 1, 3)
        );
        assert_eq!((first.ops_s, first.from_s, first.latencies.0.len()), (1.0, -1.0, 0));
        meter.complete(Operation::Read, S, S + 5, 0);
        meter.complete(Operation::Update, S, S + 5, 0);
        let second = end(&mut meter, 2 * S);
        assert_eq!((second.second, second.measured, second.ops_s), (2, true, 2.0));
        assert_eq!((second.latencies.0.len(), second.failed), (2, 0));
        assert_eq!(second.by_operation[&Operation::Update].0.len(), 1);
        assert!(!end(&mut meter, 3 * S).measured && !meter.has_news());
        assert_eq!(
            (meter.measured.len(), meter.by_operation[&Operation::Read].len()),
            (2, 1)
        );
    }
}
