//! What limited a run, in the run's own figures.

use serde_json::Value;

/// A machine whose processors were busy for this share of the time had nothing left to give.
const BUSY: f64 = 0.85;
/// Stages that are named: those with the most.
const NAMED: usize = 3;

fn number(report: &Value, pointer: &str) -> Option<f64> {
    report.pointer(pointer)?.as_f64()
}

/// The entries of an object with their values, largest first.
fn largest(report: &Value, key: &str) -> Vec<(String, f64)> {
    let entries = report[key].as_object().into_iter().flatten();
    let mut all: Vec<(String, f64)> = entries
        .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

/// What a throughput or a cost is made of: processor time by stage, and how busy the machine was.
pub(crate) fn of_throughput(report: &Value) -> Option<String> {
    let replicas = number(report, "/cpu_us_per_op")?;
    let clients = number(report, "/client_cpu_us_per_op").unwrap_or(0.0);
    let cores = number(report, "/machine/cores")?;
    let busy = number(report, "/throughput_ops_s")? * (replicas + clients) / 1e6 / cores;
    let stages = largest(report, "cpu_us_per_op_by_stage");
    let named: Vec<String> = stages
        .iter()
        .take(NAMED)
        .map(|(stage, us)| format!("{stage} {us:.2}"))
        .collect();
    let what = if busy >= BUSY { "the processors" } else { "waiting" };
    let mut words = format!(
        "{what} ({:.0} % of {cores:.0} cores busy): {replicas:.1} us/op of the replicas ({}), {clients:.1} of the clients",
        busy * 100.0,
        named.join(", ")
    );
    let generator = report.pointer("/load/generator/limits").and_then(Value::as_array);
    if let Some(limit) = generator.and_then(|limits| limits.first()?.as_str()) {
        words = format!("{words}; {limit}");
    }
    Some(words)
}

/// What a latency is made of: time by stage, means of the replica that the client talks to.
pub(crate) fn of_latency(report: &Value) -> Option<String> {
    let stages: Vec<String> = largest(report, "stages_us")
        .into_iter()
        .filter(|(stage, _)| stage != "total" && stage != "log")
        .take(NAMED)
        .map(|(stage, us)| format!("{stage} {us:.0}"))
        .collect();
    let log = number(report, "/stages_us/log").map(|us| format!("; an append is durable after {us:.0} us"));
    (!stages.is_empty()).then(|| format!("mean us by stage: {}{}", stages.join(", "), log.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_largest_stages_are_named() {
        let report = json!({
            "cpu_us_per_op": 10.0, "client_cpu_us_per_op": 2.0, "throughput_ops_s": 150_000.0, "machine": {"cores": 2},
            "cpu_us_per_op_by_stage": {"order": 1.0, "peers": 5.0, "verify": 2.0, "log": 0.1},
            "stages_us": {"ordering": 900.0, "total": 1000.0, "log": 200.0, "verify": 50.0},
            "load": {"generator": {"limits": ["the load's thread worked 95 % of the time"]}},
        });
        let words = of_throughput(&report).unwrap();
        assert!(words.starts_with("the processors (90 % of 2 cores busy)"), "{words}");
        assert!(
            words.contains("peers 5.00, verify 2.00, order 1.00)") && words.ends_with("of the time"),
            "{words}"
        );
        assert_eq!(
            of_latency(&report).unwrap(),
            "mean us by stage: ordering 900, verify 50; an append is durable after 200 us"
        );
        assert_eq!(of_throughput(&json!({})), None);
    }
}
