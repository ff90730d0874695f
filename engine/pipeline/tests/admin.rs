//! The admin port of running replicas: metrics, the cluster, readiness; with Debian's `prometheus` where it is there.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Bench, block_on};
use trireme_config::ClientAuth;
use trireme_pipeline::metrics::{Kind, metrics};
use trireme_state::kv::Op;

/// Status code and body of a request.
fn request(addr: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn get(addr: SocketAddr, path: &str) -> String {
    let (code, body) = request(addr, "GET", path);
    assert_eq!(code, 200, "{path}: {body}");
    body
}

fn json(addr: SocketAddr, path: &str) -> Value {
    serde_json::from_str(&get(addr, path)).unwrap()
}

/// Some writes through a client.
fn write_some(bench: &Bench) {
    block_on(async {
        let client = bench.client().await;
        for index in 0..40 {
            let key = format!("{index}");
            let op = Op::Put {
                key: key.as_bytes(),
                value: b"value",
            };
            let identity = client.identity(0);
            for result in identity.submit_bundle(&[op.encode()]).await.unwrap() {
                result.unwrap();
            }
        }
    });
}

/// Names and kinds as exposed, and the number of samples of each.
fn exposed(text: &str) -> (BTreeMap<&str, &str>, BTreeMap<&str, usize>) {
    let (mut kinds, mut samples) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(kinds.insert(name, kind).is_none(), "{name} is exposed twice");
        } else if !line.starts_with('#') {
            let name = line.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|end| name.strip_suffix(end))
                .find(|base| kinds.get(base) == Some(&"histogram"));
            *samples.entry(base.unwrap_or(name)).or_default() += 1;
            let value = line.rsplit(' ').next().unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    (kinds, samples)
}

#[test]
fn what_is_exposed_is_what_the_table_lists_and_prometheus_likes_it() {
    let mut bench = Bench::new(&["1", "2", "4", "1"], ClientAuth::Signed).with_admin();
    bench.start_all();
    write_some(&bench);
    for member in 0..4 {
        let text = get(bench.admin(member), "/metrics");
        let (kinds, samples) = exposed(&text);
        let listed: BTreeMap<&str, &str> = metrics().map(|metric| (metric.name, metric.kind.name())).collect();
        assert_eq!(kinds, listed);
        for metric in metrics().filter(|metric| !metric.optional) {
            assert!(
                samples.contains_key(metric.name),
                "{} has no value in a running replica",
                metric.name
            );
        }
        let known: BTreeSet<&str> = listed.keys().copied().collect();
        assert!(samples.keys().all(|name| known.contains(name)));
        check_with_promtool(&text);
    }
    let value = |name: &str| {
        let text = get(bench.admin(0), "/metrics");
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{name}"))
            .to_owned();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert!(value("trireme_operations_executed_total{replica=\"0\",result=\"fresh\"}") >= 40.0);
    assert!(value("trireme_executed_slot{") >= 1.0);
    assert_eq!(metrics().filter(|metric| metric.kind == Kind::Histogram).count(), 4);
}

#[test]
fn every_operation_passes_every_stage_and_no_stage_takes_longer_than_the_whole() {
    let mut bench = Bench::new(&["1"], ClientAuth::Signed).with_admin();
    bench.start_all();
    write_some(&bench);
    let stages = &json(bench.admin(0), "/api/status")["stages"];
    let number = |stage: &str, key: &str| stages[stage][key].as_u64().unwrap_or_else(|| panic!("{stage} {key}"));
    for stage in [
        "ingress",
        "verify",
        "batching",
        "dissemination",
        "ordering",
        "execution",
        "total",
        "reply",
    ] {
        assert_eq!(number(stage, "count"), 40, "{stage}");
        assert!(number(stage, "p50_us") <= number(stage, "p99_us"));
    }
    assert!(number("log", "count") > 0);
    let parts: u64 = [
        "ingress",
        "verify",
        "batching",
        "dissemination",
        "ordering",
        "execution",
    ]
    .map(|stage| number(stage, "sum_us"))
    .iter()
    .sum();
    assert_eq!(parts, number("total", "sum_us"), "nothing is counted twice or left out");
}

#[test]
fn any_replica_shows_the_cluster_and_says_who_is_missing() {
    let mut bench = Bench::new(&["1", "1", "1", "1"], ClientAuth::Signed).with_admin();
    bench.start_all();
    write_some(&bench);
    bench.stop(2);
    let cluster = json(bench.admin(1), "/api/cluster");
    let members = cluster["members"].as_array().unwrap();
    assert_eq!((members.len(), &cluster["asked"]), (4, &1.into()));
    let mut told = 0;
    for (index, row) in members.iter().enumerate() {
        assert_eq!(row["member"], index);
        if index == 2 {
            assert!(
                row["status"].is_null() && row["error"].as_str().unwrap().contains("not reached"),
                "{row}"
            );
        } else {
            assert_eq!(row["status"]["member"], index);
            let events = row["status"]["events"].as_array().unwrap();
            let says = |text: &str| events.iter().any(|event| event["text"] == text);
            // A quorum answered the requests: one of the others may not have met member 2 at all.
            told += usize::from(says("member 2 disconnected"));
            assert_eq!(says("member 2 connected"), says("member 2 disconnected"), "{events:?}");
        }
    }
    assert!(told > 0, "nobody met member 2");
    assert_eq!(get(bench.admin(0), "/ready"), "ready\n");
    bench.stop(3);
    let (code, text) = loop {
        let answer = request(bench.admin(0), "GET", "/ready");
        if answer.0 != 200 {
            break answer;
        }
    };
    assert_eq!(code, 503, "{text}");
    assert_eq!(get(bench.admin(0), "/live"), "alive\n");
    assert_eq!(request(bench.admin(0), "POST", "/metrics").0, 405);
    assert_eq!(request(bench.admin(0), "GET", "/nothing").0, 404);
    assert_eq!(request(bench.admin(0), "HEAD", "/metrics").1, "");
    let page = ["/", "/page.css", "/page.js"].map(|path| get(bench.admin(0), path));
    assert!(
        page.iter().map(String::len).sum::<usize>() < 300_000,
        "the page is light"
    );
    let outside = page
        .iter()
        .find(|text| text.contains("https://") || text.contains("src=\"http"));
    assert!(outside.is_none(), "the page loads nothing from elsewhere");
}

#[test]
fn an_admin_port_in_use_or_a_list_of_another_length_is_refused() {
    let mut bench = Bench::new(&["1"], ClientAuth::Signed).with_admin();
    let taken = std::net::TcpListener::bind(bench.admin(0)).unwrap();
    assert!(bench.refusal(0).contains("in use"));
    drop(taken);
    let admin = bench.configs[0].admin.as_mut().unwrap();
    admin.members.push(admin.listen);
    assert!(bench.refusal(0).contains("admin.members lists 2 addresses"));
}

/// Skipped, and said so, where there is no `promtool`.
fn check_with_promtool(text: &str) {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return eprintln!("SKIPPED: promtool (Debian package prometheus) does not run: {error}"),
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "promtool check metrics:\n{}",
        String::from_utf8_lossy(&said)
    );
}

/// A real Prometheus scrapes four replicas and evaluates the alert rules. Behind a flag: it takes its scrape interval.
#[test]
#[ignore = "needs Debian's prometheus and some seconds: cargo test -p trireme-pipeline --test admin -- --ignored"]
fn prometheus_scrapes_the_cluster() {
    let mut bench = Bench::new(&["1", "1", "1", "1"], ClientAuth::Signed).with_admin();
    bench.start_all();
    write_some(&bench);
    let dir = tempfile::tempdir().unwrap();
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tuning/prometheus/alerts.yml");
    let targets: Vec<String> = (0..4).map(|member| bench.admin(member).to_string()).collect();
    let config = serde_json::json!({
        "global": { "scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s" },
        "rule_files": [rules],
        "scrape_configs": [{ "job_name": "trireme", "static_configs": [{ "targets": targets }] }],
    });
    std::fs::write(dir.path().join("prometheus.yml"), config.to_string()).unwrap();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let web = held.local_addr().unwrap();
    drop(held);
    let mut prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address={web}"))
        .stderr(Stdio::null())
        .spawn()
        .expect("Debian's package prometheus is installed");
    let query = |expr: &str| -> Value {
        loop {
            #[allow(clippy::disallowed_methods)] // Prometheus is given its time.
            std::thread::sleep(std::time::Duration::from_millis(200));
            let Ok(mut stream) = TcpStream::connect(web) else {
                continue;
            };
            write!(stream, "GET /api/v1/query?query={expr} HTTP/1.0\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            let Some((_, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let Ok(answer) = serde_json::from_str::<Value>(body) else {
                continue;
            };
            return answer["data"]["result"].clone();
        }
    };
    let sum = |expr: &str| {
        query(expr)[0]["value"][1]
            .as_str()
            .and_then(|text| text.parse::<f64>().ok())
    };
    while sum("sum(up)") != Some(4.0) {}
    while sum("sum(trireme_ready)") != Some(4.0) {}
    assert!(sum("min(trireme_operations_executed_total%7Bresult=%22fresh%22%7D)").unwrap() >= 40.0);
    let members = query("count%20by%20(replica)(trireme_info)");
    assert_eq!(members.as_array().unwrap().len(), 4);
    // An alert goes all the way: the cluster loses a member.
    bench.stop(3);
    while sum("count(ALERTS%7Balertname=%22TriremePeerDown%22%7D)") != Some(3.0) {}
    prometheus.kill().unwrap();
    prometheus.wait().unwrap();
}

/// A real browser runs the page: its script draws what the replicas say. Behind a flag, as it takes Debian's chromium.
#[test]
#[ignore = "needs Debian's chromium and some seconds: cargo test -p trireme-pipeline --test admin -- --ignored"]
fn chromium_draws_the_page() {
    let mut bench = Bench::new(&["1", "1", "1", "1"], ClientAuth::Signed).with_admin();
    bench.start_all();
    bench.stop(2);
    write_some(&bench);
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--timeout=6000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", dir.path().display()))
        .arg(format!("http://{}/", bench.admin(1)))
        .output()
        .expect("Debian's package chromium is installed");
    let page = String::from_utf8_lossy(&output.stdout);
    for words in [
        "1 of 4 replicas not ready",
        "page of replica 1",
        "not reached",
        "member 2 disconnected",
        "dissemination",
        "checking every client signature at every replica would cost 4 per operation",
    ] {
        assert!(page.contains(words), "{words} is not on the page:\n{page}");
    }
}
