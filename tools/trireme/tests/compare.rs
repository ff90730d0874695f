//! etcd under this load, and comparisons, with the built binary. Without etcd its runs are left out, and that is said.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{run, stderr, stdout, trireme, turn};

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn etcd_is_here() -> bool {
    let here = Command::new("etcd")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !here {
        println!("left out: etcd is not installed (apt-get install etcd-server)");
    }
    here
}

#[test]
fn without_etcd_the_way_to_it_is_said() {
    let output = trireme()
        .args(["local", "--system", "etcd", "--replicas", "3"])
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("apt-get install etcd-server"),
        "{}",
        stderr(&output)
    );
    let output = run(&["load", "--target", "etcd"]);
    assert!(stderr(&output).contains("--endpoints"), "{}", stderr(&output));
}

#[test]
fn etcd_is_loaded_and_measured_like_this_engine() {
    let _turn = turn();
    if !etcd_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.json");
    let history = dir.path().join("history.jsonl");
    let output = run(&[
        "local",
        "--system",
        "etcd",
        "--replicas",
        "3",
        "--duration",
        "1s",
        "--rate",
        "300",
        "--history",
        history.to_str().unwrap(),
        "--data",
        dir.path().join("data").to_str().unwrap(),
        "--json",
        report.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    let report = read(&report);
    support::assert_documented("## The report (", &report);
    assert!(report["system"].as_str().unwrap().starts_with("etcd 3."));
    assert_eq!((&report["f"], &report["client_auth"]), (&1.into(), &"none".into()));
    assert_eq!(
        (&report["linearizable"], &report["state_roots_equal"]),
        (&true.into(), &true.into())
    );
    assert!(report["acknowledged"].as_u64().unwrap() > 100 && report["cpu_us_per_op"].as_f64().unwrap() > 0.0);
    assert!(!dir.path().join("data").exists(), "the data are gone");
}

#[test]
fn a_comparison_goes_on_without_a_system_that_does_not_start() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let systems = "trireme:n=1,trireme:n=4:f=2";
    let line = [
        "compare",
        "--systems",
        systems,
        "--runs",
        "1",
        "--duration",
        "500ms",
        "--quick",
        "--out",
    ];
    let output = trireme().args(line).arg(&out).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}{}", stdout(&output), stderr(&output));
    let comparison = read(&out.join("compare.json"));
    assert_eq!(
        (&comparison["schema"], &comparison["complete"]),
        (&"trireme.compare/1".into(), &true.into())
    );
    let [one, other] = &comparison["systems"].as_array().unwrap()[..] else {
        panic!("two systems")
    };
    assert!(one["missing"].is_null(), "{}", one["missing"]);
    assert!(
        other["missing"].as_str().unwrap().contains("n >= 3f + 1"),
        "{}",
        other["missing"]
    );
    for (point, figure) in [
        ("low", "p50_us"),
        ("saturation", "throughput_ops_s"),
        ("saturation", "cpu_us"),
        ("slo", "slo_ops_s"),
        ("delays", "delays"),
    ] {
        assert!(one["points"][point][figure]["median"].is_f64(), "{point} {figure}");
    }
    // A client, one replica, and back.
    let delays = one["points"]["delays"]["delays"]["median"].as_f64().unwrap();
    assert!(delays >= 2.0, "{delays}");
    let page = fs::read_to_string(out.join("compare.html")).unwrap();
    assert!(page.contains("trireme:n=1") && page.contains("not measured"));
    let again = out.join("again.html");
    let json = out.join("compare.json");
    let drawn = trireme()
        .arg("report")
        .arg(&json)
        .arg("--html")
        .arg(&again)
        .output()
        .unwrap();
    assert!(drawn.status.success(), "{}", stderr(&drawn));
    assert!(fs::read_to_string(again).unwrap().contains("Trireme compared"));
    let file = one["runs"][0]["file"].as_str().unwrap();
    assert_eq!(read(&out.join(file))["schema"], "trireme.local/1");
}
