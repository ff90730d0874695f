//! What a run's operations would cost if every stage worked as it does alone: the yardstick of the whole.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;
use trireme_benches::meter::{Meter, Row};
use trireme_benches::stages;

use crate::local::report::rounded;

/// A stage: its work for one operation, over all replicas.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    /// CPU microseconds if it works as it does alone.
    pub(crate) alone_us: f64,
    /// What the run's replicas say that it took them; null: not told apart there.
    pub(crate) in_run_us: Option<f64>,
}

/// The whole beside its parts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Efficiency {
    pub(crate) stages: Vec<Stage>,
    /// Of the load generator, as the run measured it.
    pub(crate) client_us: f64,
    /// All of it: one resource, since stages share the cores.
    pub(crate) cpu_us: f64,
    pub(crate) cores: f64,
    /// Operations a second that the cores could do.
    pub(crate) cpu_limit_ops_s: f64,
    /// That the disk could write, all logs together.
    pub(crate) disk_limit_ops_s: f64,
    /// The lower of both.
    pub(crate) slowest: &'static str,
    pub(crate) throughput_ops_s: f64,
    /// Throughput over that of the slowest.
    pub(crate) efficiency: f64,
}

/// Measures the stages, without a word, each row for `time`.
pub(crate) fn measure(dir: &Path, time: Duration) -> Result<Meter> {
    let mut meter = Meter::new(time, "").quiet();
    stages::some(&mut meter, dir)?;
    Ok(meter)
}

/// What a run did for an operation, and what that costs alone.
pub(crate) fn efficiency(report: &Value, meter: &Meter) -> Option<Efficiency> {
    let number = |pointer: &str| report.pointer(pointer)?.as_f64();
    let cost = |stage: &str, name: &str| meter.value(stage, name);
    let in_run = |stage: &str| report.pointer(&format!("/cpu_us_per_op_by_stage/{stage}"))?.as_f64();
    let n = number("/replicas")?;
    let ops = number("/acknowledged")?;
    let bytes = number("/bytes_per_batch")? * number("/batches")? / ops;
    let (clients, members) = (
        number("/signatures/clients/verified")?,
        number("/signatures/members/verified")?,
    );
    let made = number("/signatures/members/made")?;
    let byte_us = cost("transport", "engine, bulk frames of 256 KiB")? / 1e6;
    let app = report["app"].as_str()?;
    let (execute, roots) = match app {
        "null" => ("null", "null, roots"),
        _ => ("kv, 1e5 keys", "kv, 1e5 keys, roots"),
    };
    let slots = number("/slots_committed")? / ops;
    // Each pair of members says about three things a slot: an ack, a vote, a part of the block's way.
    let frames = slots * n * (n - 1.0) * 3.0;
    let flushes = number("/fsyncs")? / ops;
    let stages = vec![
        stage(
            "verify",
            clients * cost("verify", "batch 64, distinct keys")?,
            in_run("verify"),
        ),
        stage(
            "member signatures",
            members * cost("verify", "batch 8, distinct keys")? + made * cost("verify", "sign")?,
            None,
        ),
        stage("hash", n * bytes * cost("hash", "body of 64 KiB")?, None),
        // A client's bytes come to one replica, which sends them to all others.
        stage(
            "transport",
            bytes * n * byte_us + frames * cost("transport", "engine, control frames of 200 B")?,
            in_run("transport"),
        ),
        stage(
            "core",
            n * slots * cost("core", "step, n = 4, a batch in each lane")?,
            in_run("order"),
        ),
        stage(
            "log",
            flushes * cost("log", "append + flush, group of 64 KiB: CPU")?,
            in_run("log"),
        ),
        stage(
            "execute",
            n * (cost("execute", execute)? + cost("execute", roots)?),
            in_run("execute"),
        ),
    ];
    let client_us = number("/client_cpu_us_per_op")?;
    let cpu_us = stages.iter().map(|stage| stage.alone_us).sum::<f64>() + client_us;
    let cores = number("/machine/cores")?;
    let cpu_limit = cores * 1e6 / cpu_us;
    let disk_limit = cost("log", "append + flush, group of 1 MiB: two in flight")? * 1e6 / (n * bytes);
    let throughput = number("/throughput_ops_s")?;
    let limit = cpu_limit.min(disk_limit);
    Some(Efficiency {
        stages,
        client_us: rounded(client_us),
        cpu_us: rounded(cpu_us),
        cores,
        cpu_limit_ops_s: rounded(cpu_limit),
        disk_limit_ops_s: rounded(disk_limit),
        slowest: if cpu_limit <= disk_limit { "processors" } else { "disk" },
        throughput_ops_s: throughput,
        efficiency: rounded(throughput / limit),
    })
}

fn stage(name: &'static str, alone_us: f64, in_run_us: Option<f64>) -> Stage {
    Stage {
        name,
        alone_us: rounded(alone_us),
        in_run_us,
    }
}

/// For people.
pub(crate) fn lines(found: &Efficiency) -> Vec<String> {
    let mut lines = vec![format!(
        "{:<20} {:>12} {:>12}",
        "us/op, all replicas", "alone", "in the run"
    )];
    for stage in &found.stages {
        let in_run = stage.in_run_us.map_or("-".to_owned(), |us| format!("{us:.2}"));
        lines.push(format!("{:<20} {:>12.2} {in_run:>12}", stage.name, stage.alone_us));
    }
    lines.push(format!(
        "{:<20} {:>12} {:>12.2}",
        "load generator", "-", found.client_us
    ));
    lines.push(format!(
        "slowest alone: the {}; processors {:.0} ops/s ({:.2} us/op on {:.0} cores), disk {:.0} ops/s",
        found.slowest, found.cpu_limit_ops_s, found.cpu_us, found.cores, found.disk_limit_ops_s
    ));
    lines.push(format!(
        "throughput {:.0} ops/s: efficiency {:.2} (goal: at least 0.80)",
        found.throughput_ops_s, found.efficiency
    ));
    lines
}

/// Rows by name, for the file.
pub(crate) fn rows(meter: &Meter) -> Vec<Row> {
    meter.rows().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn meter() -> Meter {
        let mut meter = Meter::new(Duration::ZERO, "").quiet();
        for (stage, name, value) in [
            ("verify", "sign", 10.0),
            ("verify", "batch 8, distinct keys", 10.0),
            ("verify", "batch 64, distinct keys", 6.4),
            ("hash", "body of 64 KiB", 0.0001),
            ("transport", "engine, bulk frames of 256 KiB", 1_000.0),
            ("transport", "engine, control frames of 200 B", 3.0),
            ("core", "step, n = 4, a batch in each lane", 100.0),
            ("log", "append + flush, group of 64 KiB: CPU", 50.0),
            ("log", "append + flush, group of 1 MiB: two in flight", 1_000.0),
            ("execute", "null", 0.25),
            ("execute", "null, roots", 0.0),
        ] {
            meter.put(stage, name, value, "us");
        }
        meter
    }

    fn report(throughput: f64) -> Value {
        json!({
            "replicas": 4, "acknowledged": 1_000_000, "bytes_per_batch": 50_000.0, "batches": 10_000, "app": "null",
            "signatures": {"clients": {"verified": 0.03125}, "members": {"verified": 0.01, "made": 0.01}},
            "slots_committed": 2_000, "fsyncs": 8_000, "client_cpu_us_per_op": 1.0, "machine": {"cores": 2},
            "throughput_ops_s": throughput, "cpu_us_per_op_by_stage": {"verify": 0.4},
        })
    }

    #[test]
    fn the_parts_of_a_run_add_up() {
        let found = efficiency(&report(200_000.0), &meter()).unwrap();
        let of = |name: &str| found.stages.iter().find(|stage| stage.name == name).unwrap();
        assert_eq!(
            of("verify").alone_us,
            0.2,
            "6.4 us for each of two witnesses, 64 under one signature"
        );
        assert_eq!(of("verify").in_run_us, Some(0.4));
        assert_eq!(
            of("transport").alone_us,
            rounded(500.0 * 4.0 * 0.001 + 0.002 * 36.0 * 3.0)
        );
        assert_eq!(of("execute").alone_us, 1.0);
        assert_eq!(found.slowest, "processors");
        let sum: f64 = found.stages.iter().map(|stage| stage.alone_us).sum();
        assert!((found.cpu_us - sum - 1.0).abs() < 0.01);
        assert!(
            (found.efficiency - 200_000.0 * found.cpu_us / 2e6).abs() < 0.01,
            "{found:?}"
        );
        let slower = efficiency(&report(100_000.0), &meter()).unwrap();
        assert!((slower.efficiency * 2.0 - found.efficiency).abs() < 0.01);
        assert!(efficiency(&json!({}), &meter()).is_none());
    }
}
