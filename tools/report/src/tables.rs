//! Tables: the figures that the plots are drawn from.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use crate::page::escape;
use crate::read::Run;
use crate::scale::number;

/// A table; cells that are numbers stand right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = String::from("<div class=table><table><thead><tr>");
    for name in header {
        let _ = write!(out, "<th>{}</th>", escape(name));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for cell in row {
            let numeric = cell == "-" || cell.starts_with(|c: char| c.is_ascii_digit());
            let class = if numeric { " class=number" } else { "" };
            let _ = write!(out, "<td{class}>{}</td>", escape(cell));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}

/// Percentiles of every run, and of its kinds of operations.
pub(crate) fn latencies(runs: &[Run]) -> String {
    let mut rows = Vec::new();
    let row = |name: String, rate: Option<f64>, histogram: &Histogram<u64>| {
        let ms = |quantile| number(histogram.value_at_quantile(quantile) as f64 / 1e6);
        let mut cells = vec![
            name,
            rate.map_or("-".to_owned(), number),
            number(histogram.len() as f64),
        ];
        cells.extend([0.5, 0.9, 0.99, 0.999, 0.9999].map(ms));
        cells.push(number(histogram.max() as f64 / 1e6));
        cells
    };
    for run in runs {
        rows.push(row(run.name.clone(), run.throughput_ops_s, &run.latencies));
        for (kind, histogram) in &run.kinds {
            rows.push(row(format!("{}: {kind}", run.name), None, histogram));
        }
    }
    let header = [
        "run",
        "operations/s",
        "measured",
        "p50 (ms)",
        "p90",
        "p99",
        "p99.9",
        "p99.99",
        "max",
    ];
    table(&header, &rows)
}

/// The steps of every sweep.
pub(crate) fn steps(runs: &[Run]) -> String {
    let mut out = String::new();
    for run in runs {
        let Some(sweep) = &run.sweep else { continue };
        let knee = match sweep.knee_ops_s {
            Some(knee) => format!(
                "holds {} up to <b>{}</b> requests/s",
                escape(&sweep.slo.to_string()),
                number(knee)
            ),
            None => format!("holds {} at no rate that was tried", escape(&sweep.slo.to_string())),
        };
        let limit = match sweep.limit_is_the_cluster {
            Some(true) => "",
            Some(false) => "; above it the load generator was a limit",
            None => "; nothing broke",
        };
        let _ = write!(out, "<p class=figure>{}: {knee}{limit}</p>", escape(&run.name));
        let rows: Vec<Vec<String>> = sweep
            .steps
            .iter()
            .map(|step| {
                vec![
                    number(step.rate),
                    number(step.throughput_ops_s),
                    number(step.latency_us.p50 / 1e3),
                    number(step.latency_us.p99 / 1e3),
                    number(step.latency_us.p99_9 / 1e3),
                    step.broken
                        .clone()
                        .map_or("holds".to_owned(), |why| format!("breaks: {why}")),
                ]
            })
            .collect();
        let header = [
            "offered/s",
            "acknowledged/s",
            "p50 (ms)",
            "p99 (ms)",
            "p99.9 (ms)",
            "objective",
        ];
        out.push_str(&table(&header, &rows));
    }
    out
}
