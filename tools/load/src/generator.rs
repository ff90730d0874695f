//! Whether the generator, and not the cluster, was the limit.

use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::encoded::histogram;
use crate::summary::LatencyUs;

/// A thread that works more than this share of the time has no room for what comes late.
const BUSY_SHARE: f64 = 0.9;
/// Waiting longer than this share of the time for a core is a matter of the machine, not of the cluster.
const WAITING_SHARE: f64 = 0.2;
/// Requests may be this late (the schedule is sent in steps of 0.1 ms), or a tenth of the latency.
const LATE_US: f64 = 1_000.0;
const LATE_SHARE: f64 = 0.1;

/// What the generator knows of itself over the measured time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorCheck {
    /// Whether the figures are the cluster's: nothing of what follows is out of bounds.
    pub ok: bool,
    /// What was, in words.
    pub limits: Vec<String>,
    /// How late requests of an open loop were sent though there was room for them. It is part of their latency.
    pub late_us: LatencyUs,
    /// Requests that waited for room: the clients' sessions were full of unanswered ones. That is the cluster's doing.
    pub waited_for_room: u64,
    /// How late the event loop noticed its timer.
    pub loop_lag_us: LatencyUs,
    /// CPU time of the busiest of the load's threads as a share of a core.
    pub cpu_share: f64,
    /// The longest share of time that one of the load's threads was ready to work and had no core.
    pub no_core_share: f64,
}

impl GeneratorCheck {
    /// Judges what was measured. `latency` is that of the load's operations.
    pub(crate) fn judge(&mut self, latency: &LatencyUs) {
        self.limits.clear();
        let percent = |share: f64| share * 100.0;
        if self.cpu_share > BUSY_SHARE {
            self.limits.push(format!(
                "the load's thread worked {:.0} % of the time: more --processes are needed",
                percent(self.cpu_share)
            ));
        }
        if self.no_core_share > WAITING_SHARE {
            self.limits.push(format!(
                "the load's thread waited for a core {:.0} % of the time: the machine is too small for what runs on it",
                percent(self.no_core_share)
            ));
        }
        for (name, late, whole) in [
            ("half of the requests were", self.late_us.p50, latency.p50),
            ("one request in a hundred was", self.late_us.p99, latency.p99),
        ] {
            if late > LATE_US && late > LATE_SHARE * whole {
                self.limits.push(format!(
                    "{name} sent {:.1} ms or more after the due time, of a latency of {:.1} ms",
                    late / 1e3,
                    whole / 1e3
                ));
            }
        }
        self.ok = self.limits.is_empty();
    }

    /// Joins what another part of the same load measured, the worst of both, and judges it by the latency of both.
    pub(crate) fn join(&mut self, other: &Self, latency: &LatencyUs) {
        self.late_us = worst(&self.late_us, &other.late_us);
        self.loop_lag_us = worst(&self.loop_lag_us, &other.loop_lag_us);
        self.waited_for_room += other.waited_for_room;
        self.cpu_share = self.cpu_share.max(other.cpu_share);
        self.no_core_share = self.no_core_share.max(other.no_core_share);
        self.judge(latency);
    }
}

fn worst(a: &LatencyUs, b: &LatencyUs) -> LatencyUs {
    LatencyUs {
        p50: a.p50.max(b.p50),
        p90: a.p90.max(b.p90),
        p99: a.p99.max(b.p99),
        p99_9: a.p99_9.max(b.p99_9),
        p99_99: a.p99_99.max(b.p99_99),
        max: a.max.max(b.max),
        mean: a.mean.max(b.mean),
    }
}

/// Watches the loop while it runs.
pub(crate) struct Watch {
    late: Histogram<u64>,
    lag: Histogram<u64>,
    waited_for_room: u64,
    /// When there was no room last.
    no_room_ns: Option<u64>,
    /// At the begin and the end of the measured time.
    usage: (Option<Usage>, Option<Usage>),
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            late: histogram(),
            lag: histogram(),
            waited_for_room: 0,
            no_room_ns: None,
            usage: (None, None),
        }
    }

    /// The measured time begins; only the first call counts.
    pub(crate) fn begin(&mut self) {
        self.usage.0.get_or_insert_with(Usage::now);
    }

    pub(crate) fn end(&mut self) {
        self.usage.1 = Some(Usage::now());
    }

    /// There is no room for what is due.
    pub(crate) fn no_room(&mut self, now_ns: u64) {
        self.no_room_ns = Some(now_ns);
    }

    /// So many requests, due at this time, are sent.
    pub(crate) fn sent(&mut self, due_ns: u64, now_ns: u64, count: u64) {
        if self.no_room_ns.is_some_and(|last| due_ns <= last) {
            self.waited_for_room += count;
        } else {
            self.late.saturating_record_n(now_ns.saturating_sub(due_ns), count);
        }
    }

    /// The timer should have gone off at this time.
    pub(crate) fn woke(&mut self, wanted_ns: u64, now_ns: u64) {
        self.lag.saturating_record(now_ns.saturating_sub(wanted_ns));
    }

    /// CPU time of this thread in the measured time, in microseconds.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.spent(|usage| usage.cpu)
    }

    fn spent(&self, of: impl Fn(&Usage) -> Duration) -> f64 {
        match &self.usage {
            (Some(from), Some(to)) => of(to).saturating_sub(of(from)).as_secs_f64() * 1e6,
            _ => 0.0,
        }
    }

    pub(crate) fn check(&self, measured_s: f64, latency: &LatencyUs) -> GeneratorCheck {
        let share = |us: f64| if measured_s > 0.0 { us / 1e6 / measured_s } else { 0.0 };
        let mut check = GeneratorCheck {
            late_us: LatencyUs::of(&self.late),
            waited_for_room: self.waited_for_room,
            loop_lag_us: LatencyUs::of(&self.lag),
            cpu_share: share(self.cpu_us()),
            no_core_share: share(self.spent(|usage| usage.waited)),
            ..GeneratorCheck::default()
        };
        check.judge(latency);
        check
    }
}

/// What this thread used so far.
struct Usage {
    cpu: Duration,
    /// Ready to run, without a core; zero where the kernel does not count it.
    waited: Duration,
}

impl Usage {
    fn now() -> Self {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let waited = text.split_whitespace().nth(1).and_then(|field| field.parse().ok());
        Self {
            cpu: Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0)),
            waited: Duration::from_nanos(waited.unwrap_or(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(us: f64) -> LatencyUs {
        LatencyUs {
            p50: us,
            p99: 2.0 * us,
            ..LatencyUs::default()
        }
    }

    #[test]
    fn lateness_counts_only_while_there_is_room() {
        let mut watch = Watch::new();
        watch.sent(1_000_000, 1_050_000, 10);
        watch.no_room(5_000_000);
        watch.sent(4_000_000, 900_000_000, 7);
        watch.sent(6_000_000, 6_010_000, 10);
        let check = watch.check(1.0, &latency(2_000.0));
        assert_eq!((check.waited_for_room, check.ok), (7, true));
        assert!(check.late_us.max < 51.0, "{check:?}");
    }

    #[test]
    fn each_limit_is_found_and_named() {
        let mut late = Watch::new();
        (0..98).for_each(|_| late.sent(0, 10_000, 1));
        (0..2).for_each(|_| late.sent(0, 3_000_000, 1));
        assert!(
            late.check(1.0, &latency(20_000.0)).ok,
            "less than a tenth of the latency"
        );
        let check = late.check(1.0, &latency(1_000.0));
        assert!(
            !check.ok && check.limits[0].starts_with("one request in a hundred"),
            "{check:?}"
        );
        let mut busy = GeneratorCheck {
            cpu_share: 0.95,
            no_core_share: 0.3,
            ..GeneratorCheck::default()
        };
        busy.judge(&latency(1.0));
        assert_eq!(busy.limits.len(), 2);
        let mut both = check;
        both.join(&busy, &latency(1_000.0));
        assert_eq!((both.limits.len(), both.ok, both.cpu_share), (3, false, 0.95));
    }
}
