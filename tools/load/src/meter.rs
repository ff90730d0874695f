//! Counts and histograms of a run. All times in nanoseconds since the load began.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use trireme_client::SubmitError;

use crate::summary::{LatencyUs, Progress};

/// Latencies are told apart from 1 us to 100 s, to three digits; longer ones count as 100 s.
const LOWEST_NS: u64 = 1_000;
const HIGHEST_NS: u64 = 100_000_000_000;

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, 3).expect("bounds that a histogram takes")
}

/// What happened so far.
pub(crate) struct Meter {
    /// The measured time.
    from_ns: u64,
    to_ns: u64,
    pub(crate) measured: Histogram<u64>,
    second: Histogram<u64>,
    second_failed: u64,
    second_unknown: u64,
    second_from_ns: u64,
    seconds: u32,
    pub(crate) offered: u64,
    /// Acknowledged within the measured time.
    pub(crate) timely: u64,
    pub(crate) submitted: u64,
    pub(crate) acknowledged: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
    pub(crate) failures: BTreeMap<&'static str, u64>,
    pub(crate) without_effect: u64,
    last_ack_ns: u64,
    /// Length and begin of the longest time without an acknowledgement.
    gap: (u64, u64),
}

impl Meter {
    pub(crate) fn new(from_ns: u64, to_ns: u64) -> Self {
        Self {
            from_ns,
            to_ns,
            measured: histogram(),
            second: histogram(),
            second_failed: 0,
            second_unknown: 0,
            second_from_ns: 0,
            seconds: 0,
            offered: 0,
            timely: 0,
            submitted: 0,
            acknowledged: 0,
            failed: 0,
            unknown: 0,
            failures: BTreeMap::new(),
            without_effect: 0,
            last_ack_ns: from_ns,
            gap: (0, from_ns),
        }
    }

    fn in_measured_time(&self, time_ns: u64) -> bool {
        (self.from_ns..self.to_ns).contains(&time_ns)
    }

    /// The measured time ends now, before its time.
    pub(crate) fn cut(&mut self, now_ns: u64) {
        self.to_ns = self.to_ns.min(now_ns.max(self.from_ns));
    }

    pub(crate) fn measured_s(&self) -> f64 {
        (self.to_ns - self.from_ns) as f64 / 1e9
    }

    /// A request was meant to be sent at this time.
    pub(crate) fn offer(&mut self, intended_ns: u64) {
        self.offered += u64::from(self.in_measured_time(intended_ns));
    }

    pub(crate) fn acknowledge(&mut self, intended_ns: u64, now_ns: u64, effect: bool) {
        let latency = now_ns.saturating_sub(intended_ns);
        self.acknowledged += 1;
        self.without_effect += u64::from(!effect);
        self.second.saturating_record(latency);
        if self.in_measured_time(intended_ns) {
            self.measured.saturating_record(latency);
        }
        if self.in_measured_time(now_ns) {
            self.timely += 1;
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
        *self.failures.entry(error.name()).or_default() += 1;
    }

    /// Arrivals that were never sent, for lack of room.
    pub(crate) fn fail_unsent(&mut self, count: u64) {
        if count > 0 {
            self.failed += count;
            self.second_failed += count;
            *self.failures.entry("backlog").or_default() += count;
        }
    }

    /// Milliseconds, and seconds into the measured time, of the longest time without an acknowledgement.
    pub(crate) fn longest_gap(&mut self) -> (f64, f64) {
        self.note_gap(self.to_ns);
        (self.gap.0 as f64 / 1e6, (self.gap.1 - self.from_ns) as f64 / 1e9)
    }

    /// Ends the current second.
    pub(crate) fn end_second(&mut self, now_ns: u64, in_flight: u64, backlog: u64, connected: usize) -> Progress {
        let latency = LatencyUs::of(&self.second);
        let seconds = (now_ns - self.second_from_ns).max(1) as f64 / 1e9;
        self.seconds += 1;
        let progress = Progress {
            second: self.seconds,
            measured: self.in_measured_time(now_ns.saturating_sub(1)) && self.second_from_ns >= self.from_ns,
            ops_s: self.second.len() as f64 / seconds,
            p50_us: latency.p50,
            p99_us: latency.p99,
            max_us: latency.max,
            failed: self.second_failed,
            unknown: self.second_unknown,
            in_flight,
            backlog,
            connected,
        };
        self.second.reset();
        (self.second_failed, self.second_unknown, self.second_from_ns) = (0, 0, now_ns);
        progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn latency_belongs_to_the_intended_time_and_throughput_to_the_acknowledgement() {
        let mut meter = Meter::new(S, 3 * S);
        for (intended, acknowledged) in [(S - 1, S + 5), (S, 2 * S), (3 * S - 1, 4 * S), (3 * S, 4 * S)] {
            meter.offer(intended);
            meter.acknowledge(intended, acknowledged, true);
        }
        assert_eq!(
            (meter.acknowledged, meter.timely, meter.offered, meter.measured.len()),
            (4, 2, 2, 2)
        );
        let max = LatencyUs::of(&meter.measured).max;
        assert!((1_000_000.0..1_001_000.0).contains(&max), "{max}");
    }

    #[test]
    fn the_longest_gap_may_lie_at_the_end() {
        let mut meter = Meter::new(0, 10 * S);
        for time in [S / 10, S, S + S / 2, 4 * S, 5 * S] {
            meter.acknowledge(time, time, true);
        }
        let mut early = Meter::new(0, 6 * S);
        early.acknowledge(S, 4 * S, true);
        assert_eq!(early.longest_gap(), (4_000.0, 0.0));
        assert_eq!(meter.longest_gap(), (5_000.0, 5.0));
        meter.cut(7 * S);
        assert_eq!(meter.measured_s(), 7.0);
    }

    #[test]
    fn seconds_start_from_zero_each_time() {
        let mut meter = Meter::new(S, 2 * S);
        meter.acknowledge(0, 1_000_000, true);
        meter.fail(&SubmitError::Overloaded);
        meter.fail(&SubmitError::TimedOut);
        let first = meter.end_second(S, 3, 0, 4);
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
        assert_eq!(first.ops_s, 1.0);
        let second = meter.end_second(2 * S, 0, 0, 4);
        assert_eq!(
            (second.second, second.measured, second.ops_s, second.p50_us),
            (2, true, 0.0, 0.0)
        );
        assert_eq!(second.failed, 0);
        assert!(!meter.end_second(3 * S, 0, 0, 4).measured);
    }
}
