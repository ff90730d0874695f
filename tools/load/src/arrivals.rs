//! The schedule of an open loop: when each request is meant to be sent, whatever the cluster does.

use std::collections::VecDeque;

use crate::random::Random;
use crate::shape::{Arrivals, Curve};

/// Arrivals that wait for room; beyond, the oldest count as failed.
pub(crate) const MAX_BACKLOG: usize = 1 << 20;

/// Arrivals until `end_ns`, in nanoseconds since the start of the load.
pub(crate) struct Schedule {
    curve: Curve,
    /// Whether arrivals are independent of each other, or evenly spread.
    scattered: bool,
    /// The mean rate.
    per_second: f64,
    random: Random,
    /// What has come before the next arrival to plan, in arrivals at the mean rate.
    load: f64,
    end_ns: u64,
    bundle: usize,
    /// Planned and not yet sent, ascending: at least one bundle ahead.
    planned: VecDeque<u64>,
    dropped: Vec<u64>,
}

impl Schedule {
    pub(crate) fn new(arrivals: Arrivals, per_second: f64, bundle: u32, end_ns: u64, seed: u64) -> Self {
        let mut schedule = Self {
            curve: Curve::new(arrivals, end_ns as f64 / 1e9),
            scattered: arrivals != Arrivals::Constant,
            per_second,
            random: Random::new(seed, 0xa441),
            load: 0.0,
            end_ns,
            bundle: bundle as usize,
            planned: VecDeque::new(),
            dropped: Vec::new(),
        };
        schedule.plan(0);
        schedule
    }

    /// When the next bundle is complete. None: nothing is left.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let last = self.planned.len().min(self.bundle);
        self.planned.get(last.checked_sub(1)?).copied()
    }

    /// The intended times of the next bundle, if it is due: its requests arrived by now. The last bundle may be short.
    pub(crate) fn take_due(&mut self, now_ns: u64, into: &mut Vec<u64>) -> bool {
        if self.next_due().is_none_or(|due| due > now_ns) {
            return false;
        }
        let count = self.planned.len().min(self.bundle);
        into.clear();
        into.extend(self.planned.drain(..count));
        self.plan(now_ns);
        true
    }

    /// Puts a bundle back that could not be sent for lack of room.
    pub(crate) fn put_back(&mut self, intended: &[u64]) {
        for &time in intended.iter().rev() {
            self.planned.push_front(time);
        }
    }

    /// Plans until one bundle lies ahead of `now_ns`, and drops what the backlog cannot hold.
    pub(crate) fn plan(&mut self, now_ns: u64) {
        while self.planned.len() < self.bundle || self.planned.back().is_some_and(|&last| last <= now_ns) {
            let time = (self.curve.time(self.load / self.per_second) * 1e9) as u64;
            if time >= self.end_ns {
                break;
            }
            self.planned.push_back(time);
            let gap = if self.scattered { self.random.exponential() } else { 1.0 };
            self.load += gap;
            if self.planned.len() > MAX_BACKLOG.max(self.bundle) {
                self.dropped.extend(self.planned.pop_front());
            }
        }
    }

    /// Arrivals that were dropped since the last call: they are failures, not omissions.
    pub(crate) fn take_dropped(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.dropped)
    }

    /// What was due by now and never sent.
    pub(crate) fn unsent(&self, now_ns: u64) -> usize {
        self.planned.partition_point(|&time| time <= now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(arrivals: Arrivals, per_second: f64, bundle: u32) -> Vec<Vec<u64>> {
        let mut schedule = Schedule::new(arrivals, per_second, bundle, 1_000_000_000, 3);
        let (mut bundles, mut times) = (Vec::new(), Vec::new());
        while let Some(due) = schedule.next_due() {
            assert!(
                due == 0 || !schedule.take_due(due - 1, &mut times),
                "not before its last request arrived"
            );
            assert!(schedule.take_due(due, &mut times));
            bundles.push(times.clone());
        }
        bundles
    }

    #[test]
    fn fixed_arrivals_keep_their_distance_and_do_not_drift() {
        let bundles = all(Arrivals::Constant, 3_000.0, 1);
        assert_eq!(bundles.len(), 3_000);
        assert!(bundles[1][0].abs_diff(333_333) <= 1 && bundles[2_999][0].abs_diff(999_666_666) <= 100);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_scatter() {
        let times: Vec<u64> = all(Arrivals::Poisson, 20_000.0, 1).concat();
        assert!((19_500..20_500).contains(&times.len()), "{}", times.len());
        assert!(times.is_sorted());
        // Of exponential gaps a share of 1 - 1/e is below the mean.
        let short = times.windows(2).filter(|pair| pair[1] - pair[0] < 50_000).count();
        assert!((0.60..0.66).contains(&(short as f64 / times.len() as f64)), "{short}");
    }

    #[test]
    fn a_bundle_is_due_with_its_last_request_and_the_rest_comes_at_the_end() {
        let bundles = all(Arrivals::Constant, 1_000.0, 64);
        assert_eq!(bundles.len(), 1_000usize.div_ceil(64));
        assert!(bundles[0][0] == 0 && bundles[0][63].abs_diff(63_000_000) <= 10);
        assert_eq!(bundles.last().unwrap().len(), 1_000 % 64);
    }

    #[test]
    fn a_stall_keeps_the_intended_times_and_the_backlog_is_bounded() {
        let mut schedule = Schedule::new(Arrivals::Constant, 1e6, 1, 3_000_000_000, 3);
        let mut times = Vec::new();
        schedule.plan(500_000_000);
        assert!(schedule.take_due(500_000_000, &mut times));
        assert_eq!(times, [0], "half a second late");
        schedule.put_back(&times);
        schedule.plan(3_000_000_000);
        let dropped = schedule.take_dropped();
        assert_eq!(dropped.len(), 3_000_000 - MAX_BACKLOG);
        assert_eq!(dropped[0], 0);
        assert_eq!(schedule.unsent(u64::MAX), MAX_BACKLOG);
    }
}
