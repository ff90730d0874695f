//! `trireme tune` and what lies in `tuning`, with the built binary.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{run, stderr, stdout, turn};

const UNIT: &str = include_str!("../../../tuning/systemd/trireme@.service");

/// The unit is one that systemd takes, and its command one that the program takes.
#[test]
fn the_unit_is_accepted() {
    let command = UNIT.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let (program, arguments) = command.split_once(' ').unwrap();
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let started = run(&arguments);
    assert_eq!(started.status.code(), Some(1), "{}", stderr(&started));
    assert!(
        stderr(&started).contains("cannot read /etc/trireme/replica-%i/replica.toml"),
        "{}",
        stderr(&started)
    );
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("systemd-analyze is not installed: the unit is not verified");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let unit = dir.path().join("trireme@.service");
    fs::write(&unit, UNIT.replace(program, env!("CARGO_BIN_EXE_trireme"))).unwrap();
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output()
        .unwrap();
    let own = |text: String| {
        text.lines()
            .filter(|line| line.contains("trireme"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(own(stderr(&verified)), Vec::<String>::new());
    assert!(verified.status.success(), "{}", stderr(&verified));
}

#[test]
fn a_check_is_fit_for_scripts() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("check.json");
    let output = run(&["tune", "check", "--json", json.to_str().unwrap()]);
    let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    support::assert_documented("## What `trireme tune check` found", &report);
    let code = match report["worst"].as_str().unwrap() {
        "good" | "note" => 0,
        "advice" => 3,
        other => {
            assert_eq!(other, "bad");
            4
        }
    };
    assert_eq!(output.status.code(), Some(code), "{}", stdout(&output));
    assert_eq!(report["ok"], code == 0);
    for finding in report["findings"].as_array().unwrap() {
        for key in ["id", "level", "found", "reason"] {
            assert!(finding[key].as_str().is_some_and(|text| !text.is_empty()), "{finding}");
        }
        let wants = ["advice", "bad"].contains(&finding["level"].as_str().unwrap());
        assert!(
            !wants || finding["remedy"].is_string(),
            "advice without a remedy: {finding}"
        );
    }
}

fn host(dir: &Path) {
    for (path, text) in [
        ("proc/sys/net/core/rmem_max", "1000\n"),
        ("proc/cpuinfo", "processor : 0\n"),
    ] {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

#[test]
fn a_host_is_changed_only_on_demand_and_changed_back() {
    let dir = tempfile::tempdir().unwrap();
    host(dir.path());
    let root = dir.path().to_str().unwrap();
    let live = || fs::read_to_string(dir.path().join("proc/sys/net/core/rmem_max")).unwrap();
    let apply = |more: &[&str]| {
        let output = run(&[&["tune", "apply", "--root", root], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let said = apply(&[]);
    assert!(
        said.contains("net.core.rmem_max: 1000 -> 4194304") && said.contains("nothing was done"),
        "{said}"
    );
    assert_eq!(live(), "1000\n");
    apply(&["--yes"]);
    assert_eq!(live(), "4194304\n");
    assert!(apply(&["--yes"]).contains("nothing to do"));
    assert!(apply(&["--revert"]).contains("4194304 -> 1000"));
    assert_eq!(live(), "4194304\n");
    apply(&["--revert", "--yes"]);
    assert_eq!(live(), "1000\n");
    assert!(!dir.path().join("etc/sysctl.d/90-trireme.conf").exists());
}

#[test]
fn a_host_is_measured_and_its_profile_fits_a_replica() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let profile = dir.path().join("host.toml");
    let data = dir.path().to_str().unwrap();
    let arguments = [
        "tune",
        "calibrate",
        "--duration",
        "50ms",
        "--out",
        profile.to_str().unwrap(),
        "--data",
        data,
    ];
    let output = run(&arguments);
    if !output.status.success() && stderr(&output).contains("nothing is durable") {
        eprintln!("the temporary directory lies in memory: {}", stderr(&output));
        return;
    }
    assert!(output.status.success(), "{}", stderr(&output));
    let cluster = dir.path().join("cluster");
    assert!(run(&["init", "--dir", cluster.to_str().unwrap()]).status.success());
    let replica = cluster.join("replica-0/replica.toml");
    let (replica, profile) = (replica.to_str().unwrap(), profile.to_str().unwrap());
    let applied = run(&[
        "tune",
        "apply",
        "--profile",
        profile,
        "--replica",
        replica,
        "--replicas-only",
        "--yes",
        "--root",
        data,
    ]);
    assert!(applied.status.success(), "{}", stderr(&applied));
    let settings = fs::read_to_string(replica).unwrap();
    assert!(
        settings.contains("device = \"io_uring\"") || settings.contains("device = \"plain\""),
        "{settings}"
    );
}
