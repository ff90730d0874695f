//! The report of a run: what the JSON file holds. README.md of this tool documents it; a test compares the two.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::local::network::Floor;
use crate::proc::Machine;

/// Name and version of the schema. A key that is removed, or means something else, raises the number.
pub(crate) const SCHEMA: &str = "trireme.local/1";

/// The report. What a run did not come to is null.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: &'static str,
    pub(crate) ok: bool,
    pub(crate) error: Option<String>,
    pub(crate) version: &'static str,
    pub(crate) machine: Machine,
    pub(crate) system: String,
    pub(crate) replicas: u16,
    pub(crate) f: u16,
    pub(crate) p: usize,
    pub(crate) ordering: &'static str,
    pub(crate) app: &'static str,
    pub(crate) durability: &'static str,
    pub(crate) client_auth: &'static str,
    pub(crate) core_plan: String,
    pub(crate) log_devices: Vec<String>,
    pub(crate) filesystem: Option<&'static str>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) data_kept: bool,
    pub(crate) clients: u32,
    pub(crate) in_flight: Option<u32>,
    pub(crate) bundle: u32,
    pub(crate) payload_bytes: u32,
    pub(crate) keys: u32,
    pub(crate) workload: String,
    pub(crate) seed: u64,
    pub(crate) duration_s: f64,
    pub(crate) offered_rate: Option<f64>,
    pub(crate) wan: Option<String>,
    pub(crate) regions: Vec<String>,
    pub(crate) floor_us: Option<Floor>,
    pub(crate) measured_s: Option<f64>,
    pub(crate) throughput_ops_s: Option<f64>,
    pub(crate) throughput_mb_s: Option<f64>,
    pub(crate) latency_us: Latency,
    pub(crate) submitted: Option<u64>,
    pub(crate) acknowledged: Option<u64>,
    pub(crate) failed: Option<u64>,
    pub(crate) unknown: Option<u64>,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) without_effect: Option<u64>,
    pub(crate) wrong_replies: Option<u64>,
    pub(crate) retries: Option<u64>,
    pub(crate) longest_gap_ms: Option<f64>,
    pub(crate) executed: Option<u64>,
    pub(crate) suppressed: Option<u64>,
    pub(crate) lost: Option<u64>,
    pub(crate) duplicated: Option<u64>,
    pub(crate) different: Option<u64>,
    pub(crate) diverged: Option<u64>,
    pub(crate) unseen: Option<u64>,
    pub(crate) fast_path_share: Option<f64>,
    pub(crate) views: Option<u64>,
    pub(crate) slots_committed: Option<u64>,
    pub(crate) batches: Option<u64>,
    pub(crate) bytes_per_batch: Option<f64>,
    pub(crate) signatures_made_per_op: Option<f64>,
    pub(crate) signatures_verified_per_op: Option<f64>,
    pub(crate) signatures: BTreeMap<String, SignatureFigures>,
    pub(crate) member_signatures: BTreeMap<String, SignatureFigures>,
    pub(crate) stages_us: BTreeMap<String, f64>,
    pub(crate) fsyncs: Option<u64>,
    pub(crate) cpu_us_per_op: Option<f64>,
    pub(crate) cpu_us_per_op_by_stage: BTreeMap<String, f64>,
    pub(crate) client_cpu_us_per_op: Option<f64>,
    pub(crate) wire_bytes_per_op: Option<f64>,
    pub(crate) rss_mb_max: Option<f64>,
    pub(crate) state_roots_equal: Option<bool>,
    pub(crate) state_slot: Option<u64>,
    pub(crate) state_root: Option<String>,
    pub(crate) evidence: Option<u64>,
    pub(crate) alarms: Option<u64>,
    pub(crate) kill_leader: Option<KillLeader>,
    pub(crate) linearizable: Option<bool>,
    pub(crate) load: Option<trireme_load::Record>,
    pub(crate) notes: Vec<String>,
}

/// Latency of acknowledged requests, from the time at which each was due, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: Option<f64>,
    pub(crate) p90: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) p99_9: Option<f64>,
    pub(crate) max: Option<f64>,
}

/// Signatures of one kind, per operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct SignatureFigures {
    pub(crate) made: Option<f64>,
    pub(crate) verified: Option<f64>,
}

/// What `--kill-leader-at` did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct KillLeader {
    /// The replica that was killed.
    pub(crate) replica: u16,
    /// Seconds after the start of the load.
    pub(crate) killed_at_s: f64,
    pub(crate) restarted_at_s: f64,
    /// The longest time in which no other replica's committed slot moved, from the kill on.
    pub(crate) without_commits_ms: f64,
    /// From the restart until the replica had executed what the others had.
    pub(crate) caught_up_s: Option<f64>,
}

/// A figure with three decimals: what is beyond is noise.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// A quotient for the report; none if nothing was counted.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
pub(crate) fn ratio(count: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| rounded(count as f64 / of as f64))
}

impl Report {
    /// Writes the report to a file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("the report has no JSON form")?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_and_never_infinite() {
        assert_eq!(ratio(1, 3), Some(0.333));
        assert_eq!(ratio(1, 0), None);
        assert!((rounded(2.000_49) - 2.0).abs() < 1e-9);
    }
}
