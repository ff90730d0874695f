//! The page of a comparison, from fixed runs.

use std::collections::BTreeMap;

use trireme_report::comparison::{
    Comparison, Does, PointKind, RunFigures, SCHEMA, Setting, StepFigures, SystemFigures, comparison_page, summarise,
};

fn run(round: u32, point: PointKind, figures: &[(&str, f64)]) -> RunFigures {
    let step = |rate: f64, broken: Option<&str>| StepFigures {
        rate,
        throughput_ops_s: rate * 0.99,
        p50_us: rate / 2.0,
        p99_us: rate,
        broken: broken.map(str::to_owned),
        generator_ok: true,
    };
    RunFigures {
        round,
        point,
        ok: true,
        error: None,
        file: "runs/x.json".to_owned(),
        replicas: 4,
        f: 1,
        durability: "sync".to_owned(),
        client_auth: "signed".to_owned(),
        app: "kv".to_owned(),
        payload_bytes: 512,
        bundle: 1,
        cores: 2,
        figures: figures
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect::<BTreeMap<_, _>>(),
        steps: if point == PointKind::Slo {
            vec![step(1_000.0, None), step(20_000.0, Some("p99 60 ms"))]
        } else {
            Vec::new()
        },
        generator_limits: Vec::new(),
    }
}

fn system(name: &str, ordering: &str, factor: f64) -> SystemFigures {
    let mut runs = Vec::new();
    for round in 1..=3 {
        let noise = 1.0 + 0.01 * f64::from(round);
        runs.push(run(
            round,
            PointKind::Low,
            &[("p50_us", 1_500.0 / factor), ("cpu_us", 700.0)],
        ));
        let saturation = [
            ("throughput_ops_s", 40_000.0 * factor * noise),
            ("cpu_us", 45.0 / factor),
            ("client_cpu_us", 9.0),
        ];
        runs.push(run(round, PointKind::Saturation, &saturation));
        runs.push(run(round, PointKind::Slo, &[("slo_ops_s", 30_000.0 * factor)]));
    }
    runs.push(run(1, PointKind::Delays, &[("delays", 5.1), ("floor_us", 100_000.0)]));
    SystemFigures {
        name: name.to_owned(),
        system: "trireme".to_owned(),
        ordering: ordering.to_owned(),
        replicas: if ordering == "raft" { 3 } else { 4 },
        f: 1,
        does: Does {
            encryption: "all links".to_owned(),
            ..Does::default()
        },
        runs,
        ..SystemFigures::default()
    }
}

fn comparison() -> Comparison {
    let mut missing = SystemFigures {
        name: "etcd".to_owned(),
        missing: Some("the program <etcd> is not installed".to_owned()),
        ..SystemFigures::default()
    };
    missing.does.encryption = "none".to_owned();
    let mut all = Comparison {
        schema: SCHEMA.to_owned(),
        complete: true,
        command: "trireme compare --runs 3".to_owned(),
        setting: Setting {
            runs: 3,
            duration_s: 10.0,
            payload_bytes: 512,
            bundle: 1,
            slo: "p99=50ms".to_owned(),
            profile: "lan".to_owned(),
            low_rate: 1_000.0,
            hop_ms: 20.0,
            ..Setting::default()
        },
        systems: vec![system("trireme", "trireme", 0.7), system("raft", "raft", 1.0), missing],
        ..Comparison::default()
    };
    summarise(&mut all);
    all
}

#[test]
fn a_page_has_every_section_and_every_system() {
    let mut all = comparison();
    let html = comparison_page(&all);
    for text in [
        "Figures",
        "What each does for an operation",
        "The price of Byzantine tolerance",
        "trireme over raft, at the same f",
        "0.7",
        "Latency against throughput",
        "objective: p99",
        "CPU time per operation",
        "Message delays",
        "How it was measured",
        "trireme compare --runs 3",
        "Every run",
        "not measured: the program &lt;etcd&gt; is not installed",
        "prefers-color-scheme:dark",
        "40,800 (40,400 to 41,200)",
    ] {
        assert!(html.contains(text), "{text}");
    }
    for foreign in ["http://", "https://", "<script", "src="] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    assert!(!html.contains("unfinished"));
    all.complete = false;
    all.systems[1].runs[0].ok = false;
    let html = comparison_page(&all);
    assert!(html.contains("unfinished") && html.contains("runs that failed"));
}

#[test]
fn the_json_form_is_read_again_and_has_its_keys() {
    let all = comparison();
    let text = serde_json::to_string(&all).unwrap();
    let again: Comparison = serde_json::from_str(&text).unwrap();
    assert_eq!(again, all);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["schema"], SCHEMA);
    assert_eq!(
        value["systems"][0]["points"]["saturation"]["throughput_ops_s"]["count"],
        3
    );
    assert_eq!(value["systems"][0]["runs"][0]["point"], "low");
    assert_eq!(value["prices"][0]["at_the_same"], "f");
    assert_eq!(comparison_page(&again), comparison_page(&all));
}

#[test]
fn nothing_measured_is_a_page_all_the_same() {
    let html = comparison_page(&Comparison::default());
    assert!(html.contains("unfinished") && html.ends_with("</html>\n"));
}
