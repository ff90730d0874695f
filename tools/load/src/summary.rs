//! What was measured.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::encoded::Encoded;
use crate::workload::Operation;

/// One second of load, or what is left of one at the end of the measured time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Second {
    /// Its number, from 1.
    pub second: u32,
    /// When it began, in seconds since the beginning of the measured time: negative in the warm-up.
    pub from_s: f64,
    /// Its length.
    pub length_s: f64,
    /// Before the measured time, or after it while outstanding requests are waited for, this is false.
    pub measured: bool,
    /// Acknowledged operations a second, in this second.
    pub ops_s: f64,
    /// Median latency of those, in microseconds; 0 if there are none.
    pub p50_us: f64,
    /// Their 90th percentile.
    pub p90_us: f64,
    /// Their 99th percentile.
    pub p99_us: f64,
    /// Their 99.9th percentile.
    pub p99_9_us: f64,
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
    /// Latencies, in nanoseconds, of the operations that were due in the measured time and acknowledged in this second.
    pub latencies: Encoded,
    /// The same by kind, if there are several.
    pub by_operation: BTreeMap<Operation, Encoded>,
}

/// Percentiles of latency in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyUs {
    /// Median.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p99_9: f64,
    /// 99.99 %.
    #[serde(default)]
    pub p99_99: f64,
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
            p99_99: at(0.9999),
            max: histogram.max() as f64 / 1e3,
            mean: histogram.mean() / 1e3,
        }
    }
}

/// Operations of one kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OperationFigures {
    /// Acknowledged, of those that were due in the measured time.
    pub count: u64,
    /// Their latency.
    pub latency_us: LatencyUs,
    /// The latencies behind the percentiles, in nanoseconds.
    pub latencies: Encoded,
}

impl OperationFigures {
    /// Of all latencies.
    pub fn of(latencies: Encoded) -> Self {
        Self {
            count: latencies.0.len(),
            latency_us: LatencyUs::of(&latencies.0),
            latencies,
        }
    }
}

/// The whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Clients that shared the load.
    pub clients: u32,
    /// Outstanding requests of a closed loop.
    pub in_flight: Option<u32>,
    /// Measured seconds: shorter than asked for if the run was stopped.
    pub measured_s: f64,
    /// Operations a second that arrived (open loop) or were submitted (closed loop) in the measured time.
    pub offered_ops_s: f64,
    /// Operations a second that were acknowledged in the measured time.
    pub throughput_ops_s: f64,
    /// The same in megabytes of written values.
    pub throughput_mb_s: f64,
    /// Of acknowledged operations that were due in the measured time.
    pub latency_us: LatencyUs,
    /// Requests submitted, from the first to the last, filling and warm-up included; so the following three.
    pub submitted: u64,
    /// Acknowledged by f+1 equal replies: the rows of the record.
    pub acknowledged: u64,
    /// Certainly not executed (arrivals that were never sent included).
    pub failed: u64,
    /// Given up without an answer: executed or not.
    pub unknown: u64,
    /// Failed and unknown ones by reason.
    pub failures: BTreeMap<String, u64>,
    /// Acknowledged, but the application says that it did not do what was asked.
    pub without_effect: u64,
    /// Acknowledged reads and deletes that found no such key.
    pub not_found: u64,
    /// Acknowledged compare-and-sets that found another version.
    pub conflicts: u64,
    /// The longest time without an acknowledged request within the measured time, in milliseconds.
    pub longest_gap_ms: f64,
    /// When it began, in seconds since the start of the measured time.
    pub longest_gap_at_s: f64,
    /// CPU time of the load's threads in the measured time, per acknowledged operation, in microseconds.
    pub client_cpu_us_per_op: f64,
    /// The same as a share of one core.
    pub client_cpu_share: f64,
    /// Bundles that were sent again.
    pub retries: u64,
    /// Refusals by single replicas.
    pub refusals: u64,
    /// Reply sets that contradict what f+1 replicas agree on, or themselves.
    pub wrong_replies: u64,
}
