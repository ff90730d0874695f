//! The emulated network and the faults of `trireme chaos`, with the built binary.

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::fs;

use serde_json::Value;
use support::{run, stderr, stdout, turn};

#[test]
fn no_request_is_faster_than_the_distances_allow() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let line = "local --wan three-regions --regions a,b,c,a --client-regions b --clients 2 --rate 40 --duration 1500ms";
    let mut arguments: Vec<&str> = line.split_whitespace().collect();
    arguments.extend(["--json", json.to_str().unwrap()]);
    let output = run(&arguments);
    assert!(output.status.success(), "{}\n{}", stdout(&output), stderr(&output));
    let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(report["wan"], "three-regions");
    assert_eq!(report["regions"], serde_json::json!(["a", "b", "c", "a"]));
    // The leader may change; with none of the four is it less than this.
    let floor_us = report["floor_us"]["by_region"]["b"].as_f64().unwrap().min(50_000.0);
    assert!(report["floor_us"]["p50"].as_f64().unwrap() >= floor_us);
    assert!(
        report["latency_us"]["p50"].as_f64().unwrap() >= floor_us,
        "{}",
        report["latency_us"]
    );
}

#[test]
fn faults_under_load_cost_nothing_that_was_acknowledged() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let (json, picture) = (dir.path().join("report.json"), dir.path().join("picture.svg"));
    let line =
        "chaos --minutes 0.13 --seed 5 --pause 300ms --rate 100 --faults kill,stop,partition,one-way --length 400ms";
    let mut arguments: Vec<&str> = line.split_whitespace().collect();
    arguments.extend(["--json", json.to_str().unwrap(), "--picture", picture.to_str().unwrap()]);
    let output = run(&arguments);
    assert!(output.status.success(), "{}\n{}", stdout(&output), stderr(&output));
    let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    for key in ["lost", "duplicated", "different", "diverged"] {
        assert_eq!(report[key], 0, "{key}");
    }
    assert_eq!(
        (&report["linearizable"], &report["state_roots_equal"]),
        (&true.into(), &true.into())
    );
    let faults = report["faults"].as_u64().unwrap();
    assert!(faults > 0 && report["acknowledged"].as_u64().unwrap() > 0);
    assert_eq!(report["timeline"].as_array().unwrap().len() as u64, faults);
    assert!(report["longest_pause_ms"].is_number());
    assert!(fs::read_to_string(&picture).unwrap().ends_with("</svg>\n"));
}

#[test]
fn what_cannot_be_emulated_is_refused() {
    for line in [
        "local --wan mars",
        "chaos --minutes 0.01",
        "chaos --replicas 1",
        "chaos --faults flood",
    ] {
        let output = run(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2), "{line}: {}", stderr(&output));
    }
    let dir = tempfile::tempdir().unwrap();
    let output = run(&["wan", "show", "--data", dir.path().to_str().unwrap()]);
    assert!(
        !output.status.success() && stderr(&output).contains("wan.toml"),
        "{}",
        stderr(&output)
    );
}
