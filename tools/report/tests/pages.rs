//! Pages of runs of each kind.

use serde_json::{Value, json};
use trireme_load::{Encoded, Record};
use trireme_report::{Run, page};

fn latencies(from_us: u64) -> String {
    let mut all = Encoded::default();
    (0..10_000u64).for_each(|i| all.0.record(1_000 * (from_us + i / 10)).unwrap());
    all.to_text()
}

fn latency_us(p50: f64) -> Value {
    json!({"p50": p50, "p90": p50 * 2.0, "p99": p50 * 3.0, "p99_9": p50 * 4.0, "p99_99": p50 * 5.0, "max": p50 * 6.0, "mean": p50})
}

fn second(from_s: f64, measured: bool) -> Value {
    json!({"second": 1, "from_s": from_s, "length_s": 1.0, "measured": measured, "ops_s": 1000.0, "p50_us": 1.0, "p90_us": 1.0,
        "p99_us": 1.0, "p99_9_us": 1.0, "max_us": 1.0, "failed": 0, "unknown": 0, "in_flight": 1, "backlog": 0, "connected": 4,
        "latencies": latencies(2_000), "by_operation": {}})
}

fn record() -> Value {
    let step = |rate: f64, broken: Value| {
        json!({"rate": rate, "throughput_ops_s": rate, "latency_us": latency_us(rate),
        "failed": 0, "broken": broken, "generator_limits": []})
    };
    json!({"schema": "trireme.load/1", "version": "0", "parts": 2, "started_unix_us": 1_700_000_000_000_000u64,
        "setting": {"rate": 1000.0, "arrivals": "poisson", "bundle": 1, "seed": 1, "warm_up_s": 1.0, "app": "kv",
            "workload": {"name": "mine <b>", "mix": {"read": 1.0, "update": 1.0}, "value": "512", "scan-length": "1"}},
        "clients": 16, "in_flight": null, "measured_s": 2.0, "offered_ops_s": 1000.0, "throughput_ops_s": 999.0,
        "throughput_mb_s": 0.5, "latency_us": latency_us(2500.0), "submitted": 3000, "acknowledged": 3000, "failed": 0,
        "unknown": 0, "failures": {}, "without_effect": 0, "not_found": 0, "conflicts": 0, "longest_gap_ms": 3.0,
        "longest_gap_at_s": 0.0, "client_cpu_us_per_op": 30.0, "client_cpu_share": 0.03, "retries": 0, "refusals": 0,
        "wrong_replies": 0,
        "operations": {"read": {"count": 10000, "latency_us": latency_us(1.0), "latencies": latencies(1_000)}},
        "generator": {"ok": false, "limits": ["too busy"], "late_us": latency_us(1.0), "waited_for_room": 0,
            "loop_lag_us": latency_us(1.0), "cpu_share": 0.95, "no_core_share": 0.0},
        "sweep": {"slo": "p99=50ms", "knee_ops_s": 2000.0, "limit_is_the_cluster": true,
            "steps": [step(1000.0, Value::Null), step(2000.0, Value::Null), step(4000.0, json!("p99 60 ms"))]},
        "seconds": [second(-1.0, false), second(0.0, true), second(1.0, true)], "latencies": latencies(2_000)})
}

fn local(n: u64) -> Value {
    json!({"schema": "trireme.local/1", "ok": true, "replicas": n, "f": 1, "app": "kv", "durability": "sync",
        "client_auth": "signed", "machine": {"cores": 2, "cpu": "some", "kernel": "6"}, "wan": "autobahn",
        "regions": ["a", "b"], "floor_us": {"p50": 1250, "leader": 0, "by_region": {"a": 1000, "b": 1500}},
        "stages_us": {"verify": 100.0, "dissemination": 500.0, "ordering": 900.0, "execution": 50.0, "log": 200.0, "total": 1600.0},
        "signatures": {"members": {"made": 0.5, "verified": 1.5 * n as f64}, "clients": {"made": 1.0, "verified": 2.0}},
        "cpu_us_per_op_by_stage": {"order": 12.5, "verify": 30.0}, "notes": [], "load": record()})
}

fn read(name: &str, value: &Value) -> Run {
    Run::read(name, value.to_string().as_bytes()).unwrap()
}

#[test]
fn a_page_has_every_section_and_needs_nothing_from_outside() {
    let html = page(&[read("four", &local(4)), read("seven", &local(7))]);
    for title in [
        "Latency by percentile",
        "Over time",
        "Latency against throughput",
        "Latency budget",
        "Signature budget",
        "Signatures against n",
        "CPU time by stage",
    ] {
        assert!(html.contains(title), "{title}");
    }
    for outside in ["http:", "https:", "src=", "<script", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(
        html.contains("mine &lt;b&gt;") && !html.contains("mine <b>"),
        "names are text"
    );
    // Median 2.5 ms over a floor of 1.25.
    assert!(html.contains("<b>2.00</b> times the physical floor"), "the one number");
    assert!(html.contains("too busy") && html.contains("99.9 %"));
    assert!(!html.contains("NaN") && !html.contains("inf,"));
    assert!(html.len() < 200_000, "{} bytes", html.len());
}

#[test]
fn a_load_alone_and_an_interval_log_have_the_sections_that_they_can() {
    let html = page(&[read("far", &record())]);
    assert!(html.contains("all operations") && html.contains("read"));
    assert!(!html.contains("Latency budget") && !html.contains("Signature budget"));
    let record: Record = serde_json::from_value(record()).unwrap();
    let mut log = Vec::new();
    trireme_load::write_hlog(&mut log, record.started(), record.seconds.iter()).unwrap();
    let run = Run::read("log", &log).unwrap();
    let html = page(&[run]);
    // Two measured seconds of 10,000 operations each.
    assert!(html.contains("20,000") && html.contains("Over time"), "{html}");
}

#[test]
fn what_is_no_run_is_refused_by_name() {
    let other = json!({"schema": "trireme.simulate/1"}).to_string();
    let unfinished = json!({"schema": "trireme.local/1", "load": null}).to_string();
    for bad in [
        "",
        "{",
        "hello",
        other.as_str(),
        unfinished.as_str(),
        "{\"schema\":\"trireme.load/1\"}",
    ] {
        let error = Run::read("some.json", bad.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("some.json: "), "{error}");
    }
}
