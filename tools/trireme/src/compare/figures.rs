//! What a comparison takes from the report of a run.

use std::collections::BTreeMap;

use serde_json::Value;
use trireme_report::comparison::{self, Comparison, PointKind, RunFigures, StepFigures};

use crate::compare::options::Turn;
use crate::proc::Machine;

/// Name here, and where it stands in the report.
const FIGURES: [(&str, &str); 11] = [
    ("throughput_ops_s", "/throughput_ops_s"),
    ("p50_us", "/latency_us/p50"),
    ("p99_us", "/latency_us/p99"),
    ("cpu_us", "/cpu_us_per_op"),
    ("client_cpu_us", "/client_cpu_us_per_op"),
    ("wire_bytes", "/wire_bytes_per_op"),
    ("signatures_made", "/signatures_made_per_op"),
    ("signatures_verified", "/signatures_verified_per_op"),
    ("fast_path_share", "/fast_path_share"),
    ("floor_us", "/floor_us/p50"),
    ("rss_mb", "/rss_mb_max"),
];

/// Of a sweep, what belongs to the rate that it found.
const OF_ONE_RATE: [&str; 3] = ["throughput_ops_s", "p50_us", "p99_us"];

/// The machine, as the page has it.
pub(super) fn machine(machine: &Machine) -> comparison::Machine {
    let value = serde_json::to_value(machine).unwrap_or_default();
    let text = |key: &str| value[key].as_str().unwrap_or("unknown").to_owned();
    comparison::Machine {
        cores: value["cores"].as_u64().unwrap_or(0),
        cpu: text("cpu"),
        kernel: text("kernel"),
        filesystem: String::new(),
    }
}

/// A run, from its report; without one it has failed.
pub(super) fn of_report(turn: &Turn, report: Option<&Value>, hop_ms: f64) -> RunFigures {
    let null = Value::Null;
    let value = report.unwrap_or(&null);
    let text = |key: &str| value[key].as_str().unwrap_or("unknown").to_owned();
    let number = |key: &str| value[key].as_u64().unwrap_or(0);
    let found = |(name, pointer): (&str, &str)| Some((name.to_owned(), value.pointer(pointer)?.as_f64()?));
    let mut figures: BTreeMap<String, f64> = FIGURES.into_iter().filter_map(found).collect();
    let acknowledged = value["acknowledged"].as_f64().filter(|count| *count > 0.0);
    if let (Some(count), Some(flushes)) = (acknowledged, value["fsyncs"].as_f64()) {
        figures.insert("flushes".to_owned(), flushes / count);
    }
    if let (PointKind::Delays, Some(p50)) = (turn.point, figures.get("p50_us").copied()) {
        figures.insert("delays".to_owned(), p50 / (hop_ms * 1e3));
    }
    let sweep = &value["load"]["sweep"];
    if turn.point == PointKind::Slo {
        // The rest is of all rates together, or of none.
        figures.retain(|name, _| OF_ONE_RATE.contains(&name.as_str()));
        // No rate that was tried holds it: that is nothing, not unknown.
        figures.insert("slo_ops_s".to_owned(), sweep["knee_ops_s"].as_f64().unwrap_or(0.0));
    }
    let limits = value
        .pointer("/load/generator/limits")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    // What came only after the measured time says nothing of a rate.
    let stood_still = value["throughput_ops_s"] == 0.0 && value["ok"] == true;
    let still = stood_still.then(|| "nothing was acknowledged in the measured time".to_owned());
    RunFigures {
        round: turn.round,
        point: turn.point,
        ok: value["ok"] == true && !stood_still,
        error: value["error"].as_str().map(str::to_owned).or(still),
        file: String::new(),
        replicas: number("replicas"),
        f: number("f"),
        durability: text("durability"),
        client_auth: text("client_auth"),
        app: text("app"),
        payload_bytes: number("payload_bytes"),
        bundle: number("bundle"),
        cores: value["machine"]["cores"].as_u64().unwrap_or(0),
        figures,
        steps: sweep["steps"].as_array().into_iter().flatten().map(step).collect(),
        generator_limits: limits.filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

fn step(value: &Value) -> StepFigures {
    let of = |pointer: &str| value.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0);
    StepFigures {
        rate: of("/rate"),
        throughput_ops_s: of("/throughput_ops_s"),
        p50_us: of("/latency_us/p50"),
        p99_us: of("/latency_us/p99"),
        broken: value["broken"].as_str().map(str::to_owned),
        generator_ok: value["generator_limits"].as_array().is_none_or(Vec::is_empty),
    }
}

/// Adds a run to a system. One whose very first run comes to nothing is missing, with the reason.
pub(super) fn take(comparison: &mut Comparison, place: usize, run: RunFigures) {
    let system = &mut comparison.systems[place];
    if system.runs.is_empty() && !run.ok && !run.figures.contains_key("throughput_ops_s") {
        system.missing = Some(run.error.unwrap_or_else(|| "its first run failed".to_owned()));
        return;
    }
    system.runs.push(run);
}

/// What only a report knows of a system and the machine.
pub(super) fn describe(comparison: &mut Comparison, place: usize, report: &Value) {
    if let Some(system) = report["system"].as_str() {
        comparison.systems[place].system = system.to_owned();
    }
    if let Some(filesystem) = report["filesystem"].as_str() {
        filesystem.clone_into(&mut comparison.machine.filesystem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn turn(point: PointKind) -> Turn {
        Turn {
            round: 2,
            point,
            place: 0,
        }
    }

    fn report() -> Value {
        json!({"ok": true, "error": null, "system": "etcd 3.4", "filesystem": "ext4", "replicas": 3, "f": 1, "durability": "sync",
            "client_auth": "none", "app": "kv", "payload_bytes": 512, "bundle": 1, "machine": {"cores": 2},
            "throughput_ops_s": 1000.5, "latency_us": {"p50": 81_000.0, "p99": 2.5}, "cpu_us_per_op": 90.25,
            "wire_bytes_per_op": null, "fsyncs": 50, "acknowledged": 100,
            "load": {"generator": {"limits": ["too busy"]}, "sweep": {"knee_ops_s": null, "steps": [
                {"rate": 10.0, "throughput_ops_s": 9.0, "latency_us": {"p50": 1.0, "p99": 2.0}, "broken": "p99 60 ms",
                    "generator_limits": []}]}}})
    }

    #[test]
    fn a_report_becomes_figures() {
        let run = of_report(&turn(PointKind::Slo), Some(&report()), 20.0);
        assert!(run.ok && run.round == 2 && run.replicas == 3 && run.client_auth == "none");
        assert_eq!(
            (
                run.figures.get("cpu_us"),
                run.figures["p99_us"],
                run.figures["slo_ops_s"]
            ),
            (None, 2.5, 0.0)
        );
        assert!(!run.figures.contains_key("wire_bytes") && !run.figures.contains_key("delays"));
        assert_eq!(run.steps[0].broken.as_deref(), Some("p99 60 ms"));
        assert_eq!(run.generator_limits, ["too busy"]);
        let mut still = report();
        still["throughput_ops_s"] = json!(0.0);
        assert!(!of_report(&turn(PointKind::Saturation), Some(&still), 20.0).ok);
        let delays = of_report(&turn(PointKind::Delays), Some(&report()), 20.0);
        assert_eq!(
            (
                delays.figures["delays"],
                delays.figures["cpu_us"],
                delays.figures["flushes"]
            ),
            (4.05, 90.25, 0.5)
        );
    }

    #[test]
    fn a_system_that_never_ran_is_missing_and_one_that_failed_later_is_not() {
        let mut comparison = Comparison {
            systems: vec![comparison::SystemFigures::default()],
            ..Comparison::default()
        };
        let mut failed = of_report(&turn(PointKind::Low), None, 20.0);
        assert!(!failed.ok && failed.figures.is_empty());
        failed.error = Some("not installed".to_owned());
        take(&mut comparison, 0, failed.clone());
        assert_eq!(comparison.systems[0].missing.as_deref(), Some("not installed"));
        comparison.systems[0].missing = None;
        take(
            &mut comparison,
            0,
            of_report(&turn(PointKind::Low), Some(&report()), 20.0),
        );
        take(&mut comparison, 0, failed);
        assert_eq!(
            (comparison.systems[0].missing.clone(), comparison.systems[0].runs.len()),
            (None, 2)
        );
        describe(&mut comparison, 0, &report());
        assert_eq!(
            (
                comparison.systems[0].system.as_str(),
                comparison.machine.filesystem.as_str()
            ),
            ("etcd 3.4", "ext4")
        );
    }
}
