//! The sections of a comparison's page: tables and drawings.

use std::fmt::Write as _;

use super::model::{Comparison, PointKind, StepFigures, SystemFigures};
use crate::page::escape;
use crate::plot::{COLOURS, Level, Part, Plot, Series, bars};
use crate::scale::{Kind, number};
use crate::tables::table;

/// Names and units of the figures that prices are quotients of.
const FIGURES: [(&str, &str); 5] = [
    ("slo_ops_s", "throughput within the objective"),
    ("throughput_ops_s", "throughput"),
    ("cpu_us", "CPU time of the servers per operation"),
    ("p50_us", "median latency"),
    ("wire_bytes", "bytes on the wire per operation"),
];

fn present(comparison: &Comparison) -> impl Iterator<Item = (usize, &SystemFigures)> {
    let all = comparison.systems.iter().enumerate();
    all.filter(|(_, system)| system.missing.is_none())
}

pub(super) fn figures(comparison: &Comparison) -> String {
    use PointKind::{Delays, Low, Saturation, Slo};
    let objective = format!("ops/s with {}", comparison.setting.slo);
    let low = number(comparison.setting.low_rate);
    let rows: [(String, PointKind, &str, f64); 16] = [
        (objective, Slo, "slo_ops_s", 1.0),
        ("ops/s at saturation".to_owned(), Saturation, "throughput_ops_s", 1.0),
        ("p50 at saturation (ms)".to_owned(), Saturation, "p50_us", 1e3),
        ("p99 at saturation (ms)".to_owned(), Saturation, "p99_us", 1e3),
        (format!("p50 at {low} ops/s (ms)"), Low, "p50_us", 1e3),
        (format!("p99 at {low} ops/s (ms)"), Low, "p99_us", 1e3),
        (
            "CPU of the servers, us/op, saturation".to_owned(),
            Saturation,
            "cpu_us",
            1.0,
        ),
        (
            "CPU of the clients, us/op, saturation".to_owned(),
            Saturation,
            "client_cpu_us",
            1.0,
        ),
        (format!("CPU of the servers, us/op, {low} ops/s"), Low, "cpu_us", 1.0),
        (
            "bytes on the wire per operation".to_owned(),
            Saturation,
            "wire_bytes",
            1.0,
        ),
        (
            "signatures made by servers, per operation".to_owned(),
            Saturation,
            "signatures_made",
            1.0,
        ),
        (
            "signatures verified by servers, per operation".to_owned(),
            Saturation,
            "signatures_verified",
            1.0,
        ),
        (
            "flushes of all servers, per operation".to_owned(),
            Saturation,
            "flushes",
            1.0,
        ),
        (
            "commits on the fast path (%)".to_owned(),
            Saturation,
            "fast_path_share",
            0.01,
        ),
        (
            "memory of the largest server (MB)".to_owned(),
            Saturation,
            "rss_mb",
            1.0,
        ),
        ("message delays of an operation".to_owned(), Delays, "delays", 1.0),
    ];
    let mut header = vec!["figure"];
    header.extend(present(comparison).map(|(_, system)| system.name.as_str()));
    let cell = |system: &SystemFigures, point, figure, unit| {
        let spread = system.figure(point, figure);
        let nothing = figure == "slo_ops_s" && spread.is_some_and(|spread| spread.high <= 0.0);
        if nothing {
            return "at no rate that was tried".to_owned();
        }
        spread.map_or("-".to_owned(), |spread| spread.text(unit))
    };
    let lines: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, point, figure, unit)| {
            let cells = present(comparison).map(|(_, system)| cell(system, point, figure, unit));
            [name].into_iter().chain(cells).collect()
        })
        .collect();
    table(&header, &lines)
}

pub(super) fn does(comparison: &Comparison) -> String {
    let mut header = vec!["what"];
    header.extend(comparison.systems.iter().map(|system| system.name.as_str()));
    let row = |name: &str, of: fn(&SystemFigures) -> String| {
        let cells = comparison.systems.iter().map(of);
        [name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let rows = [
        row("program", |system| system.system.clone()),
        row("servers", |system| format!("n = {}, f = {}", system.replicas, system.f)),
        row("faults stood", |system| system.does.faults.clone()),
        row("client signatures", |system| system.does.client_signatures.clone()),
        row("between servers", |system| system.does.server_signatures.clone()),
        row("encryption", |system| system.does.encryption.clone()),
        row("durability", |system| system.does.durability.clone()),
        row("execution", |system| system.does.execution.clone()),
        row("replies", |system| system.does.replies.clone()),
    ];
    table(&header, &rows)
}

pub(super) fn prices(comparison: &Comparison) -> String {
    let mut out = String::new();
    for price in &comparison.prices {
        let same = match price.at_the_same.as_str() {
            "use" => "another program".to_owned(),
            same => format!("at the same {same}"),
        };
        let _ = write!(
            out,
            "<h3>{} over {}, {}</h3><p>{}.</p>",
            escape(&price.of),
            escape(&price.over),
            escape(&same),
            escape(&price.words)
        );
        let rows: Vec<Vec<String>> = price
            .ratios
            .iter()
            .map(|verdict| {
                let known = FIGURES.iter().find(|(figure, _)| *figure == verdict.figure);
                let name = known.map_or(verdict.figure.as_str(), |(_, name)| *name);
                let at = match verdict.point {
                    PointKind::Slo => String::new(),
                    other => format!(", {}", other.name()),
                };
                vec![format!("{name}{at}"), verdict.ratio.text(1.0)]
            })
            .collect();
        out.push_str(&table(&["figure", "times"], &rows));
    }
    out
}

pub(super) fn curves(comparison: &Comparison) -> String {
    let mut series = Vec::new();
    for (colour, system) in present(comparison).take(COLOURS) {
        let steps = system.runs.iter().filter(|run| run.ok).flat_map(|run| &run.steps);
        let mut steps: Vec<_> = steps.filter(|step| step.throughput_ops_s > 0.0).collect();
        steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let line = |name: &str, dashed, of: fn(&StepFigures) -> f64| Series {
            name: format!("{} {name}", system.name),
            colour,
            dashed,
            dots: true,
            points: steps
                .iter()
                .map(|step| (step.throughput_ops_s, of(step) / 1e3))
                .collect(),
        };
        if !steps.is_empty() {
            series.push(line("p99", false, |step| step.p99_us));
            series.push(line("p50", true, |step| step.p50_us));
        }
    }
    let slo: Option<trireme_load::Slo> = comparison.setting.slo.parse().ok();
    let levels = slo.iter().flat_map(|slo| slo.bounds_us()).map(|(bound, us)| Level {
        value: us / 1e3,
        text: format!("objective: {bound}"),
    });
    let plot = Plot {
        x: ("acknowledged operations/s".to_owned(), Kind::Linear),
        y: ("latency (ms)".to_owned(), Kind::Log),
        height: 340.0,
        series,
        levels: levels.collect(),
    };
    plot.draw("Latency against throughput")
}

pub(super) fn cpu(comparison: &Comparison) -> String {
    let rows: Vec<(String, Vec<Part>)> = present(comparison)
        .filter_map(|(_, system)| {
            let of = |name| Some(system.figure(PointKind::Saturation, name)?.median);
            let (servers, clients) = (of("cpu_us")?, of("client_cpu_us").unwrap_or(0.0));
            let part = |name: &str, value, colour| Part {
                name: name.to_owned(),
                value,
                colour,
            };
            let title = format!(
                "{}: servers {} us, clients {} us",
                system.name,
                number(servers),
                number(clients)
            );
            Some((title, vec![part("servers", servers, 0), part("clients", clients, 5)]))
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    bars("CPU time per operation", "microseconds per operation", &rows, None)
        + "<p class=legend><span><i class=\"c0 block\"></i>servers</span> <span><i class=\"c5 block\"></i>clients</span></p>"
}

pub(super) fn delays(comparison: &Comparison) -> String {
    let rows: Vec<Vec<String>> = present(comparison)
        .filter_map(|(_, system)| {
            let of = |name| system.figure(PointKind::Delays, name);
            let hop_us = comparison.setting.hop_ms * 1e3;
            Some(vec![
                system.name.clone(),
                of("delays")?.text(1.0),
                number(of("delays")?.median.round()),
                of("floor_us").map_or("-".to_owned(), |floor| floor.text(hop_us)),
            ])
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    table(
        &[
            "system",
            "measured",
            "whole delays",
            "least that this protocol can take",
        ],
        &rows,
    )
}

pub(super) fn runs(comparison: &Comparison) -> String {
    let mut all: Vec<_> = present(comparison)
        .flat_map(|(place, system)| {
            system
                .runs
                .iter()
                .map(move |run| (run.round, run.point, place, system, run))
        })
        .collect();
    all.sort_by_key(|(round, point, place, ..)| (*round, *point, *place));
    let rows: Vec<Vec<String>> = all
        .into_iter()
        .map(|(round, point, _, system, run)| {
            let of = |name: &str, unit: f64| {
                run.figures
                    .get(name)
                    .map_or("-".to_owned(), |value| number(value / unit))
            };
            let mut remarks: Vec<String> = run.error.iter().cloned().collect();
            remarks.extend((!run.generator_limits.is_empty()).then(|| "the generator was a limit".to_owned()));
            vec![
                round.to_string(),
                system.name.clone(),
                point.name().to_owned(),
                format!("{}, {}", run.replicas, run.f),
                format!("{}; signatures {}; {}", run.durability, run.client_auth, run.app),
                format!("{} x {}", run.bundle, run.payload_bytes),
                of("throughput_ops_s", 1.0),
                of("p50_us", 1e3),
                of("p99_us", 1e3),
                of("cpu_us", 1.0),
                remarks.join("; "),
            ]
        })
        .collect();
    let header = [
        "round",
        "system",
        "run",
        "n, f",
        "durability",
        "bytes",
        "ops/s",
        "p50 (ms)",
        "p99 (ms)",
        "CPU us/op",
        "remarks",
    ];
    table(&header, &rows)
}
