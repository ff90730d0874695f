//! What was measured.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

/// One second of load.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Progress {
    /// Seconds since the load began.
    pub second: u32,
    /// Before the measured time, or after it while outstanding requests are waited for.
    pub measured: bool,
    /// Acknowledged requests a second, in this second.
    pub ops_s: f64,
    /// Median latency of those, in microseconds; 0 if there are none.
    pub p50_us: f64,
    /// Their 99th percentile.
    pub p99_us: f64,
    /// The slowest of them.
    pub max_us: f64,
    /// Requests that failed in this second.
    pub failed: u64,
    /// Requests whose outcome became unknown in this second.
    pub unknown: u64,
    /// Outstanding requests.
    pub in_flight: u64,
    /// Arrivals of an open loop that are due and not sent yet, for lack of room.
    pub backlog: u64,
    /// Connected replicas.
    pub connected: usize,
}

/// Percentiles of latency in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LatencyUs {
    /// Median.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p99_9: f64,
    /// The slowest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

impl LatencyUs {
    /// Of a histogram in nanoseconds; zeros if it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram.max() as f64 / 1e3,
            mean: histogram.mean() / 1e3,
        }
    }
}

/// The whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Clients that shared the load.
    pub clients: u32,
    /// Outstanding requests of a closed loop.
    pub in_flight: Option<u32>,
    /// Measured seconds: shorter than asked for if the run was stopped.
    pub measured_s: f64,
    /// Requests a second that arrived (open loop) or were submitted (closed loop) in the measured time.
    pub offered_ops_s: f64,
    /// Requests a second that were acknowledged in the measured time.
    pub throughput_ops_s: f64,
    /// The same in megabytes of payload.
    pub throughput_mb_s: f64,
    /// Of acknowledged requests that were due in the measured time.
    pub latency_us: LatencyUs,
    /// Requests submitted, from the first to the last, warm-up included; so the following three.
    pub submitted: u64,
    /// Acknowledged by f+1 equal replies: the rows of the record.
    pub acknowledged: u64,
    /// Certainly not executed (arrivals that were never sent included).
    pub failed: u64,
    /// Given up without an answer: executed or not.
    pub unknown: u64,
    /// Failed and unknown ones by reason.
    pub failures: BTreeMap<&'static str, u64>,
    /// Acknowledged, but the application says that the write did not take effect.
    pub without_effect: u64,
    /// The longest time without an acknowledged request within the measured time, in milliseconds.
    pub longest_gap_ms: f64,
    /// When it began, in seconds since the start of the measured time.
    pub longest_gap_at_s: f64,
    /// CPU time of the load's thread in the measured time, per acknowledged request, in microseconds.
    pub client_cpu_us_per_op: f64,
    /// The same as a share of one core.
    pub client_cpu_share: f64,
    /// Bundles that were sent again.
    pub retries: u64,
    /// Refusals by single replicas.
    pub refusals: u64,
    /// Reply sets that contradict what f+1 replicas agree on, or themselves.
    pub wrong_replies: u64,
    /// The latencies behind the percentiles, in nanoseconds.
    #[serde(skip)]
    pub histogram: Histogram<u64>,
}
