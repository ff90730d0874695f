//! `trireme local` with the built binary: the report, and that nothing stays behind.

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{run, stderr, stdout, trireme, turn};

fn read_report(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Processes whose command line holds a text.
fn processes_with(text: &str) -> Vec<u32> {
    let own = std::process::id();
    let pids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let holds = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != own && String::from_utf8_lossy(&line).contains(text)
    };
    pids.filter(holds).collect()
}

/// Waits until something holds. A test that waits for ever would hide what went wrong.
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < patience, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The report has the keys of README.md, no others, in the types that stand there.
fn assert_documented(report: &Value) {
    support::assert_documented("## The report (", report);
    for key in ["p50", "p90", "p99", "p99_9", "max"] {
        assert!(
            support::has_type(&report["latency_us"][key], "number or null"),
            "latency_us.{key}"
        );
    }
    assert!(report["machine"]["cores"].is_u64() && report["machine"]["cpu"].is_string());
    assert!(report["machine"]["kernel"].is_string());
}

fn assert_clean(report: &Value) {
    for key in [
        "lost",
        "duplicated",
        "different",
        "diverged",
        "evidence",
        "alarms",
        "wrong_replies",
        "without_effect",
    ] {
        assert_eq!(report[key], 0, "{key}");
    }
    assert_eq!(report["ok"], true, "{}", report["error"]);
    assert_eq!(report["state_roots_equal"], true);
    assert!(report["acknowledged"].as_u64().unwrap() > 0);
    assert!(report["executed"].as_u64().unwrap() >= report["acknowledged"].as_u64().unwrap());
}

fn assert_nothing_left(report: &Value) {
    let dir = report["data_dir"].as_str().unwrap();
    assert_eq!(processes_with(dir), Vec::<u32>::new(), "processes of {dir}");
    assert_eq!(Path::new(dir).exists(), report["data_kept"].as_bool().unwrap());
}

#[test]
fn a_run_is_clean_and_its_report_is_the_documented_one() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let output = run(&["local", "--duration", "2s", "--json", json.to_str().unwrap()]);
    assert!(output.status.success(), "{}\n{}", stdout(&output), stderr(&output));
    let report = read_report(&json);
    assert_documented(&report);
    assert_clean(&report);
    assert_nothing_left(&report);
    for key in [
        "throughput_ops_s",
        "fsyncs",
        "batches",
        "slots_committed",
        "cpu_us_per_op",
        "rss_mb_max",
        "views",
    ] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert_eq!(
        report["cpu_us_per_op_by_stage"]["order"].as_f64().map(|us| us > 0.0),
        Some(true)
    );
    assert!(
        stdout(&output).contains("closed loop, 512 requests in flight"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn other_sizes_loads_and_modes() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let (json, data) = (dir.path().join("report.json"), dir.path().join("data"));
    let line = "local --replicas 5 --f 1 --duration 1s --rate 200 --clients 4 --payload 64 --bundle 4 --app null \
                --durability none --client-auth none --cores 2 --seed 7 --keep";
    let mut arguments: Vec<&str> = line.split_whitespace().collect();
    arguments.extend(["--json", json.to_str().unwrap(), "--data", data.to_str().unwrap()]);
    let output = run(&arguments);
    assert!(output.status.success(), "{}\n{}", stdout(&output), stderr(&output));
    let report = read_report(&json);
    assert_documented(&report);
    assert_clean(&report);
    assert_nothing_left(&report);
    assert_eq!(
        (&report["offered_rate"], &report["in_flight"]),
        (&Value::from(200.0), &Value::Null)
    );
    assert!(data.join("cluster.toml").exists() && data.join("replica-4/executed").exists());
    assert!(
        report["notes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|note| note.as_str().unwrap().contains("durability none"))
    );
}

#[test]
fn raft_orders_in_the_same_engine_and_a_killed_leader_costs_nothing() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let line = "local --ordering raft --replicas 3 --duration 4s --kill-leader-at 1s --json";
    let mut arguments: Vec<&str> = line.split_whitespace().collect();
    arguments.push(json.to_str().unwrap());
    let output = run(&arguments);
    assert!(output.status.success(), "{}\n{}", stdout(&output), stderr(&output));
    let report = read_report(&json);
    assert_documented(&report);
    assert_clean(&report);
    assert_eq!(
        (&report["ordering"], &report["f"]),
        (&Value::from("raft"), &Value::from(1))
    );
    assert!(report["kill_leader"]["caught_up_s"].is_number(), "{report}");
    assert!(report["views"].as_u64().unwrap() > 1, "another replica led");
    // Roots are signed when the cluster falls idle, and nothing else between members is.
    let made = report["signatures"]["members"]["made"].as_f64().unwrap();
    assert!(made < 0.05, "{made} an operation");
}

#[test]
fn a_killed_leader_costs_no_operation() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let arguments = [
        "local",
        "--duration",
        "4s",
        "--kill-leader-at",
        "1s",
        "--json",
        json.to_str().unwrap(),
    ];
    let output = run(&arguments);
    assert!(output.status.success(), "{}\n{}", stdout(&output), stderr(&output));
    let report = read_report(&json);
    assert_documented(&report);
    assert_clean(&report);
    let kill = &report["kill_leader"];
    assert!(kill["without_commits_ms"].as_f64().unwrap() > 0.0, "{kill}");
    assert!(
        kill["restarted_at_s"].as_f64().unwrap() >= kill["killed_at_s"].as_f64().unwrap() + 2.0,
        "{kill}"
    );
    assert!(kill["caught_up_s"].is_number(), "{kill}");
    assert!(report["views"].as_u64().unwrap() > 1, "another replica led");
}

/// Starts a long run and waits until the load is on.
fn start_long(json: &Path) -> Child {
    let arguments = ["local", "--duration", "10m", "--json", json.to_str().unwrap()];
    let mut child = trireme()
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    for line in lines.map_while(Result::ok) {
        seen.push(line);
        if seen.last().is_some_and(|line| line.starts_with("load ")) {
            // Whoever reads no further must not stop the run.
            return child;
        }
    }
    let ended = child.wait();
    panic!("no load, {ended:?}: {}", seen.join("\n"));
}

fn send(signal: &str, pid: u32) {
    assert!(
        Command::new("kill")
            .args([signal, &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

fn children(pid: u32) -> Vec<u32> {
    processes_with(&format!("--parent\0{pid}\0"))
}

#[test]
fn interrupted_runs_say_so_and_leave_nothing() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut child = start_long(&json);
        assert_eq!(children(child.id()).len(), 4);
        send(signal, child.id());
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(children(child.id()), Vec::<u32>::new());
        let report = read_report(&json);
        assert_documented(&report);
        assert_eq!(report["ok"], false);
        assert!(
            report["error"]
                .as_str()
                .unwrap()
                .contains(&format!("SIG{}", &signal[1..])),
            "{}",
            report["error"]
        );
        assert!(!Path::new(report["data_dir"].as_str().unwrap()).exists());
    }
}

#[test]
fn no_replica_outlives_a_killed_run() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let data = dir.path().join("data");
    let arguments = [
        "local",
        "--serve",
        "--durability",
        "none",
        "--json",
        json.to_str().unwrap(),
        "--data",
    ];
    let mut child = trireme()
        .args(arguments)
        .arg(&data)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("replicas", || children(child.id()).len() == 4);
    let (parent, path) = (child.id(), data.to_str().unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the end of the replicas", || children(parent).is_empty());
    assert_eq!(processes_with(path), Vec::<u32>::new());
    assert_eq!(read_report(&json)["ok"], false);
}

#[test]
fn the_end_of_a_replica_is_the_end_of_the_run() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let mut child = start_long(&json);
    let replicas = children(child.id());
    send("-KILL", replicas[0]);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(children(child.id()), Vec::<u32>::new());
    let report = read_report(&json);
    assert!(
        report["error"].as_str().unwrap().contains("ended by itself (signal 9)"),
        "{}",
        report["error"]
    );
    // The data are kept after a failure; this test has no use for them.
    fs::remove_dir_all(report["data_dir"].as_str().unwrap()).unwrap();
}

#[test]
fn impossible_arguments_are_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for line in [
        "--replicas 3 --f 1",
        "--kill-leader-at 20s",
        "--cores 5",
        "--json /nowhere/at/all.json",
    ] {
        let output = trireme()
            .arg("local")
            .args(line.split_whitespace())
            .arg("--data")
            .arg(&data)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {}", stderr(&output));
        assert!(!data.exists());
    }
}
