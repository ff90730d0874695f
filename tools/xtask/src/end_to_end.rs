//! The release binary at work: a short simulation and a short cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::steps::{run, target_directory};

/// Seeds of the short simulation.
const SEEDS: &str = "50";

fn trireme(root: &Path) -> Result<PathBuf> {
    let path = target_directory(root).join("release/trireme");
    ensure!(path.is_file(), "{} is missing: the build step makes it", path.display());
    Ok(path)
}

pub(crate) fn simulate(root: &Path) -> Result<()> {
    run(Command::new(trireme(root)?)
        .args(["simulate", "--seeds", SEEDS])
        .current_dir(root))
}

/// The main job for 3 seconds, with one look at every figure that must not be wrong.
pub(crate) fn local(root: &Path) -> Result<()> {
    let json = target_directory(root).join("xtask-local.json");
    // A report of an earlier run must not pass for this one's.
    if json.exists() {
        std::fs::remove_file(&json).context("cannot remove the report of an earlier run")?;
    }
    let ran = run(Command::new(trireme(root)?)
        .args(["local", "--duration", "3s", "--json"])
        .arg(&json)
        .current_dir(root));
    let text = std::fs::read_to_string(&json).with_context(|| format!("cannot read {}", json.display()))?;
    let report: Value = serde_json::from_str(&text).context("the report is not JSON")?;
    if let Err(error) = ran {
        bail!("{error:#}; the report says: {}", report["error"]);
    }
    judge(&report)
}

fn judge(report: &Value) -> Result<()> {
    for key in ["lost", "duplicated", "evidence", "failed"] {
        ensure!(report[key] == 0, "{key} is {}", report[key]);
    }
    for key in ["ok", "state_roots_equal"] {
        ensure!(report[key] == true, "{key} is {}", report[key]);
    }
    for key in [
        "acknowledged",
        "slots_committed",
        "batches",
        "fsyncs",
        "throughput_ops_s",
        "cpu_us_per_op",
    ] {
        let positive = report[key].as_f64().is_some_and(|value| value > 0.0);
        ensure!(positive, "{key} is {}", report[key]);
    }
    let latency = &report["latency_us"];
    let points: Vec<f64> = ["p50", "p90", "p99", "p99_9", "max"]
        .iter()
        .filter_map(|p| latency[p].as_f64())
        .collect();
    ensure!(
        points.len() == 5 && points.is_sorted() && points[0] > 0.0,
        "latency_us is {latency}"
    );
    println!("   {} ops/s, p50 {} us", report["throughput_ops_s"], latency["p50"]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_is_judged() {
        let good = json!({
            "ok": true, "state_roots_equal": true, "lost": 0, "duplicated": 0, "evidence": 0, "failed": 0,
            "acknowledged": 10, "slots_committed": 3, "batches": 3, "fsyncs": 5, "throughput_ops_s": 3.3,
            "cpu_us_per_op": 100.0, "latency_us": {"p50": 1, "p90": 2, "p99": 2, "p99_9": 3, "max": 4},
        });
        judge(&good).unwrap();
        for (key, bad) in [
            ("lost", json!(1)),
            ("duplicated", Value::Null),
            ("state_roots_equal", json!(false)),
            ("acknowledged", json!(0)),
            (
                "latency_us",
                json!({"p50": 3, "p90": 2, "p99": 2, "p99_9": 3, "max": 4}),
            ),
        ] {
            let mut report = good.clone();
            report[key] = bad;
            assert!(judge(&report).is_err(), "{key}");
        }
    }
}
