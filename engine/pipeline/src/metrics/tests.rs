//! The table is well-formed, is what the page says, and renders what a status says.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;

const PAGE: &str = include_str!("../../METRICS.md");

/// The page's row of a metric.
fn row(metric: &Metric) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let when = if metric.optional { " (not always there)" } else { "" };
    format!(
        "| `{}` | {} | {} | {}{when} |",
        metric.name,
        metric.kind.name(),
        labels.join(", "),
        metric.help
    )
}

#[test]
fn the_page_lists_every_metric_and_no_other() {
    let page: BTreeSet<&str> = PAGE
        .lines()
        .filter(|line| line.starts_with("| `") && !line.starts_with("| `/"))
        .collect();
    let table: Vec<String> = metrics().map(row).collect();
    let expected: BTreeSet<&str> = table.iter().map(String::as_str).collect();
    let missing: Vec<_> = expected.difference(&page).collect();
    let stale: Vec<_> = page.difference(&expected).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "METRICS.md misses:\n{missing:#?}\nand has, although they do not exist:\n{stale:#?}\nThe whole table:\n{}",
        table.join("\n")
    );
}

#[test]
fn names_are_as_prometheus_wants_them() {
    let mut names = BTreeSet::new();
    for metric in metrics() {
        let Metric { name, kind, help, .. } = metric;
        assert!(names.insert(name), "{name} is there twice");
        assert!(
            name.starts_with("trireme_") || name.starts_with("process_"),
            "{name} has no prefix"
        );
        assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name} is a {kind:?}");
        assert_eq!(
            metric.micros,
            name.ends_with("_seconds") || name.ends_with("_seconds_total"),
            "{name}: its unit"
        );
        assert!(help.ends_with('.') && !help.contains(['\n', '|']), "{name}: {help}");
        let wildcards = match metric.source {
            Source::At(path) => path
                .split('/')
                .filter(|part| matches!(*part, "*" | "=") || part.starts_with('#'))
                .count(),
            Source::Several(_) => 1,
            Source::Info => metric.labels.len(),
        };
        assert_eq!(
            wildcards,
            metric.labels.len(),
            "{name}: one label for each part of its path that varies"
        );
    }
}

#[test]
fn a_status_is_rendered() {
    let status = json!({
        "member": 2, "view": 7, "halted": false, "pace_us": 1500,
        "peers": [{ "member": 0, "rtt_us": 2_000 }, { "member": 1, "rtt_us": null }],
        "stages": { "log": { "count": 3, "sum_us": 40, "le_us": [10, 15], "at_or_below": [1, 2] } },
        "clients": { "refused": { "a \"b\"": 4 } }, "quarantined": true, "quarantine": { "cause": "log missing" },
    });
    let text = expose(&status);
    let has = |line: &str| assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
    has("# TYPE trireme_view gauge");
    has("trireme_view{replica=\"2\"} 7");
    has("trireme_halted{replica=\"2\"} 0");
    has("trireme_quarantine{replica=\"2\",cause=\"log missing\"} 1");
    has("trireme_proposal_pace_seconds{replica=\"2\"} 0.0015");
    has("trireme_peer_rtt_seconds{replica=\"2\",peer=\"0\"} 0.002");
    assert!(
        !text.contains("rtt_seconds{replica=\"2\",peer=\"1\"}"),
        "there is no such value"
    );
    has("trireme_stage_duration_seconds_bucket{replica=\"2\",stage=\"log\",le=\"0.000015\"} 2");
    has("trireme_stage_duration_seconds_bucket{replica=\"2\",stage=\"log\",le=\"+Inf\"} 3");
    has("trireme_stage_duration_seconds_sum{replica=\"2\",stage=\"log\"} 0.00004");
    has("trireme_client_refusals_total{replica=\"2\",reason=\"a \\\"b\\\"\"} 4");
}
