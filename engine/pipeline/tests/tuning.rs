//! What `tuning/` hands to operators names metrics that exist, and is what Prometheus accepts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use trireme_pipeline::metrics::{Kind, metrics};

fn tuning() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tuning")
}

/// Every name that an expression of the text could read from a replica.
fn names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("trireme_") || word.starts_with("process_"))
        .collect()
}

/// Whether a replica exposes this name.
fn exists(name: &str) -> bool {
    metrics().any(|metric| {
        let part = name.strip_prefix(metric.name);
        match metric.kind {
            Kind::Histogram => matches!(part, Some("_bucket" | "_sum" | "_count")),
            _ => part == Some(""),
        }
    })
}

/// The texts under a key, anywhere in a document.
fn under<'a>(key: &str, value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value {
                    Value::String(text) if name == key => found.push(text),
                    _ => under(key, value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| under(key, value, found)),
        _ => {}
    }
}

#[test]
fn dashboards_read_metrics_that_exist() {
    let mut boards = Vec::new();
    for entry in fs::read_dir(tuning().join("grafana")).unwrap() {
        let path = entry.unwrap().path();
        let board: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let mut exprs = Vec::new();
        under("expr", &board, &mut exprs);
        assert!(exprs.len() > 5, "{} reads next to nothing", path.display());
        for expr in exprs {
            assert!(!names(expr).is_empty(), "{}: {expr}", path.display());
            for name in names(expr) {
                assert!(exists(name), "{}: there is no {name} ({expr})", path.display());
            }
        }
        boards.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
    }
    boards.sort();
    assert_eq!(boards, ["client", "cluster", "latency-budget", "replica"]);
}

/// The expressions of the dashboards, as rules that `promtool` can read.
#[test]
fn prometheus_understands_the_dashboards() {
    let mut rules = Vec::new();
    for entry in fs::read_dir(tuning().join("grafana")).unwrap() {
        let board: Value = serde_json::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap();
        let mut exprs = Vec::new();
        under("expr", &board, &mut exprs);
        for expr in exprs {
            rules.push(json!({ "record": format!("panel:{}", rules.len()), "expr": expr }));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("panels.yml");
    // JSON is YAML.
    let group = json!({ "groups": [{ "name": "panels", "rules": rules }] });
    fs::write(&path, group.to_string()).unwrap();
    promtool(dir.path(), &["check", "rules", "panels.yml"]);
}

#[test]
fn alerts_read_metrics_that_exist_and_lead_to_the_runbook() {
    let rules = fs::read_to_string(tuning().join("prometheus/alerts.yml")).unwrap();
    let runbook = fs::read_to_string(tuning().join("RUNBOOK.md")).unwrap();
    for text in [&rules, &runbook] {
        let unknown: Vec<_> = names(text).into_iter().filter(|name| !exists(name)).collect();
        assert!(unknown.is_empty(), "there are no {unknown:?}");
    }
    let after = |line: &str, prefix: &str| line.trim().strip_prefix(prefix).map(str::to_owned);
    let alerts: Vec<String> = rules.lines().filter_map(|line| after(line, "- alert: ")).collect();
    let links: Vec<String> = rules
        .lines()
        .filter_map(|line| after(line, "runbook_url: tuning/RUNBOOK.md#"))
        .collect();
    let sections: BTreeSet<String> = runbook.lines().filter_map(|line| after(line, "## ")).collect();
    let lower: Vec<String> = alerts.iter().map(|name| name.to_lowercase()).collect();
    assert_eq!(links, lower, "each alert links to its own section");
    assert_eq!(alerts.into_iter().collect::<BTreeSet<_>>(), sections);
}

#[test]
fn prometheus_accepts_the_rules_and_they_fire_when_they_should() {
    let dir = tuning().join("prometheus");
    promtool(&dir, &["check", "rules", "alerts.yml"]);
    promtool(&dir, &["test", "rules", "alerts_test.yml"]);
    promtool(&dir, &["check", "config", "prometheus.yml"]);
}

/// Skipped, and said so, where there is no `promtool`.
fn promtool(dir: &Path, arguments: &[&str]) {
    let output = match Command::new("promtool").args(arguments).current_dir(dir).output() {
        Ok(output) => output,
        Err(error) => return eprintln!("SKIPPED: promtool (Debian package prometheus) does not run: {error}"),
    };
    assert!(
        output.status.success(),
        "promtool {arguments:?}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
