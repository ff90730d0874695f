//! The other commands with the built binary: files, operations, and clear words for wrong input.

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::{run, stderr, stdout, trireme, turn};

fn init(dir: &Path) {
    let output = run(&["init", "--dir", dir.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn init_writes_secrets_for_their_owner_only_and_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = dir.path().join("c");
    init(&cluster);
    let mode = |file: &str| fs::metadata(cluster.join(file)).unwrap().permissions().mode() & 0o777;
    for file in ["replica-0/replica.key", "replica-3/replica.key", "client/client.key"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    for file in ["cluster.toml", "replica-0/replica.toml", "client/client.toml"] {
        assert!(cluster.join(file).is_file(), "{file}");
    }
    let before = fs::read_to_string(cluster.join("replica-0/replica.key")).unwrap();
    let again = run(&["init", "--dir", cluster.to_str().unwrap()]);
    assert!(
        !again.status.success() && stderr(&again).contains("choose another directory"),
        "{}",
        stderr(&again)
    );
    assert_eq!(
        fs::read_to_string(cluster.join("replica-0/replica.key")).unwrap(),
        before
    );
}

#[test]
fn init_places_replicas_on_hosts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let hosts = "--host 10.0.0.1 --host 10.0.0.2 --host 10.0.0.1 --host ::1 --peer-port 7000 --client-port 8000";
    let output = trireme()
        .args(["init", "--dir", path])
        .args(hosts.split_whitespace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = fs::read_to_string(dir.path().join("cluster.toml")).unwrap();
    for address in [
        "10.0.0.1:7000",
        "10.0.0.2:7000",
        "10.0.0.1:7001",
        "[::1]:7000",
        "10.0.0.1:8001",
    ] {
        assert!(text.contains(address), "{address}");
    }
    let wrong = run(&["init", "--dir", path, "--host", "10.0.0.1", "--host", "10.0.0.2"]);
    assert!(
        stderr(&wrong).contains("--host was given 2 times"),
        "{}",
        stderr(&wrong)
    );
}

/// Starts replica 0 of a cluster after a change of its files; its words when it refuses.
fn refused(change: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    change(dir.path());
    let config = dir.path().join("replica-0/replica.toml");
    let output = run(&["replica", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    stderr(&output)
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{} has no {from}", path.display());
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_replica_says_what_is_wrong_with_its_files() {
    let said = refused(|dir| edit(&dir.join("replica-0/replica.toml"), "durability", "durabilty"));
    assert!(said.contains("replica.toml:") && said.contains("durabilty"), "{said}");
    let said = refused(|dir| edit(&dir.join("cluster.toml"), "window_slots = 64", "window_slots = 1"));
    assert!(
        said.contains("cluster.toml:") && said.contains("window_slots"),
        "{said}"
    );
    let said = refused(|dir| {
        fs::copy(dir.join("replica-1/replica.key"), dir.join("replica-0/replica.key")).unwrap();
    });
    assert!(said.contains("wrong key"), "{said}");
    let said = refused(|dir| fs::remove_file(dir.join("replica-0/replica.key")).unwrap());
    assert!(said.contains("replica.key"), "{said}");
    let said = refused(|dir| {
        let open = fs::Permissions::from_mode(0o644);
        fs::set_permissions(dir.join("replica-0/replica.key"), open).unwrap();
    });
    assert!(said.contains("chmod 600"), "{said}");
    let said = refused(|dir| edit(&dir.join("replica-0/replica.toml"), "member = 0", "member = 7"));
    assert!(said.contains("members 0 to 3"), "{said}");
}

#[test]
fn a_port_in_use_is_named() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let said = refused(|dir| edit(&dir.join("replica-0/replica.toml"), "127.0.0.1:7400", &address));
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
}

/// A cluster that serves, and the client's settings.
struct Served {
    child: Child,
    config: String,
    _dir: tempfile::TempDir,
}

impl Served {
    fn start() -> Served {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        // What is tested here does not depend on the disk under the temporary directory.
        let mut command = trireme();
        command
            .args(["local", "--serve", "--durability", "none", "--data"])
            .arg(&data);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let served = lines.map_while(Result::ok).any(|line| line.contains("Ctrl-C"));
        assert!(served, "the cluster serves");
        Served {
            child,
            config: data.join("client/client.toml").to_string_lossy().into_owned(),
            _dir: dir,
        }
    }

    /// Runs a command with this cluster's settings: what it printed, or its words of failure.
    fn run(&self, command: &str, arguments: &[&str]) -> Result<String, String> {
        let output = trireme()
            .arg(command)
            .args(["--config", &self.config])
            .args(arguments)
            .output()
            .unwrap();
        if output.status.success() {
            Ok(stdout(&output))
        } else {
            Err(stderr(&output))
        }
    }

    fn stop(mut self) -> Option<i32> {
        let signal = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(signal.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn operations_on_a_served_cluster() {
    let _turn = turn();
    let served = Served::start();
    assert_eq!(served.run("put", &["a", "one"]).unwrap(), "version 1\n");
    assert_eq!(served.run("get", &["a"]).unwrap(), "one\n");
    assert_eq!(served.run("get", &["--version", "a"]).unwrap(), "version 1\none\n");
    assert!(served.run("cas", &["a", "0", "x"]).unwrap_err().contains("version 1"));
    assert_eq!(served.run("cas", &["a", "1", "two"]).unwrap(), "version 2\n");
    assert_eq!(served.run("get", &["a"]).unwrap(), "two\n");
    assert_eq!(served.run("delete", &["a"]).unwrap(), "deleted version 2\n");
    assert!(served.run("get", &["a"]).unwrap_err().contains("no such key"));
    assert!(served.run("delete", &["a"]).unwrap_err().contains("no such key"));
    assert!(served.run("cas", &["a", "9", "x"]).unwrap_err().contains("absent"));
    assert!(served.run("put", &["", "x"]).unwrap_err().contains("1 to 1024 bytes"));

    let table = served.run("status", &[]).unwrap();
    assert!(
        table.contains("leader") && table.contains(" ms") && table.contains("lanes"),
        "{table}"
    );
    assert!(!table.contains("down"), "{table}");
    let status: Value = serde_json::from_str(&served.run("status", &["--json"]).unwrap()).unwrap();
    assert_eq!(status["health"], "healthy");
    let replicas = status["replicas"].as_array().unwrap();
    assert_eq!(replicas.len(), 4);
    assert!(
        replicas
            .iter()
            .all(|replica| replica["status"]["committed_slot"].as_u64().unwrap() > 0)
    );

    let load = served
        .run("load", &["--duration", "500ms", "--warm-up", "100ms", "--rate", "100"])
        .unwrap();
    assert!(load.contains("throughput") && load.contains(" 0 failed"), "{load}");
    load_with_files(&served);
    assert_eq!(served.stop(), Some(0), "Ctrl-C is the ordinary end of --serve");
}

/// A load of two processes, its files, what `merge` and `report` make of them, and a short sweep.
fn load_with_files(served: &Served) {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (json, hlog, csv, knee) = (file("a.json"), file("a.hlog"), file("a.csv"), file("knee.json"));
    let line = "--duration 1s --warm-up 100ms --rate 200 --processes 2 --workload ycsb-f --keys 300 --payload 64";
    let mut arguments: Vec<&str> = line.split_whitespace().collect();
    arguments.extend(["--json", &json, "--hlog", &hlog, "--csv", &csv]);
    let text = served.run("load", &arguments).unwrap();
    assert!(
        text.contains("read-modify-write") && text.contains("2 process(es)"),
        "{text}"
    );
    let record: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(
        (&record["parts"], &record["failed"]),
        (&Value::from(2), &Value::from(0))
    );
    assert_eq!(
        (&record["not_found"], &record["without_effect"]),
        (&Value::from(0), &Value::from(0))
    );
    let offered = record["offered_ops_s"].as_f64().unwrap();
    assert!((150.0..250.0).contains(&offered), "{offered}");
    assert!(fs::read_to_string(&csv).unwrap().lines().count() >= 3);

    let merged = run(&["load", "merge", &hlog, &hlog]);
    let count = record["operations"]["read"]["count"].as_u64().unwrap();
    let line = stdout(&merged);
    let read = line.lines().find(|line| line.starts_with("read ")).unwrap();
    assert!(read.contains(&format!(" {} values", 2 * count)), "{line}");

    let line = "--duration 300ms --warm-up 0ms --rate 20 --sweep --sweep-steps 2 --slo p99=30s,failed=50%";
    let mut arguments: Vec<&str> = line.split_whitespace().collect();
    arguments.extend(["--json", &knee]);
    let text = served.run("load", &arguments).unwrap();
    assert!(
        text.contains("knee          40 requests/s") && text.contains("nothing broke"),
        "{text}"
    );
    let html = file("report.html");
    let output = run(&["report", &json, &knee, &hlog, "--html", &html]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(fs::read_to_string(html).unwrap().contains("Latency against throughput"));
    assert!(!run(&["report", &csv]).status.success(), "rows of seconds are no run");
}

#[test]
fn strangers_are_refused() {
    let _turn = turn();
    let served = Served::start();
    let other = tempfile::tempdir().unwrap();
    init(other.path());
    // The other cluster's client, with this cluster's file.
    let own = Path::new(&served.config)
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("cluster.toml");
    fs::copy(own, other.path().join("cluster.toml")).unwrap();
    let config = other.path().join("client/client.toml");
    let output = run(&["put", "--config", config.to_str().unwrap(), "a", "b"]);
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(said.contains("refused") || said.contains("unreachable"), "{said}");
    assert_eq!(served.stop(), Some(0));
}

#[test]
fn a_cluster_that_is_not_there_is_unreachable() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let config = dir.path().join("client/client.toml");
    let config = config.to_str().unwrap();
    let output = run(&["status", "--config", config, "--timeout", "100ms"]);
    assert!(stderr(&output).contains("no replica answered"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(4), "unavailable: scripts hang on it");
    assert!(
        stdout(&output).contains("unavailable: 0 of 4 replicas ready"),
        "{}",
        stdout(&output)
    );
    let output = run(&["get", "--config", "/nowhere/client.toml", "a"]);
    assert!(stderr(&output).contains("/nowhere/client.toml"), "{}", stderr(&output));
}

#[test]
fn a_seed_is_replayed_with_a_trace() {
    let output = run(&["simulate", "--seed", "1"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).lines().count() > 100);
    let again = run(&["simulate", "--seed", "1"]);
    assert_eq!(stdout(&output), stdout(&again), "equal seeds, equal traces");
}

#[test]
fn seeds_are_run_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.json");
    let output = run(&[
        "simulate",
        "--seeds",
        "2",
        "--first",
        "1",
        "--replicas",
        "4..5",
        "--json",
        file.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).contains("2 seeds") && stdout(&output).contains("no violation"));
    let report: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    support::assert_documented("## The report of a simulation", &report);
    assert_eq!((&report["seeds"], &report["violations"]), (&2.into(), &0.into()));
    assert!(report["simulated_to_wall"].as_f64().unwrap() > 0.0 && report["events"].as_u64().unwrap() > 1_000);
    let never = report["never_fired"].as_array().unwrap();
    let fired = |name: &&Value| report["counters"][name.as_str().unwrap()].as_u64().unwrap_or(0) > 0;
    assert!(!never.is_empty() && never.iter().filter(fired).count() == 0);
}

#[test]
fn impossible_simulations_are_refused() {
    for wrong in [
        &["simulate"][..],
        &["simulate", "--threads", "1"],
        &["simulate", "--seeds", "0"],
        &["simulate", "--seeds", "1", "--seed", "1"],
        &["simulate", "--seeds", "1", "--replicas", "3"],
        &["simulate", "--minutes", "0"],
    ] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn the_bug_bank_is_in_simulator_builds_only() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bank.json");
    let file = file.to_str().unwrap();
    let output = run(&["simulate", "--bug-bank", "--clause", "lowest_qc", "--json", file]);
    // A build of the whole workspace with its tests has the switches, a release has not.
    if output.status.code() == Some(2) {
        let words = stderr(&output);
        let command = "cargo run --release --features bugs --bin trireme -- simulate --bug-bank";
        assert!(words.contains(command), "{words}");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let report: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    support::assert_documented("## The report of the bug bank", &report);
    assert_eq!((&report["bugs"], &report["found"]), (&1.into(), &1.into()));
    assert_eq!(report["rows"][0]["switch"], "lowest_qc");
}

#[test]
fn a_scenario_is_run_and_a_bad_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.toml");
    fs::write(&file, "about = \"no more\"\nmistake = 1\n").unwrap();
    let output = run(&["simulate", "--scenario", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("x.toml:2: "), "{}", stderr(&output));
    assert_eq!(run(&["simulate", "--shrink"]).status.code(), Some(2));
}
