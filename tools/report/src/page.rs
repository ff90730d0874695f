//! The page.

use std::fmt::Write as _;

use crate::read::Run;
use crate::tables::table;
use crate::{budgets, latency, tables};

pub(crate) const STYLE: &str = include_str!("page.css");

/// The whole page of these runs.
pub fn page(runs: &[Run]) -> String {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let mut out = format!(
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width, \
         initial-scale=1\"><meta name=color-scheme content=\"light dark\"><title>Trireme: {}</title><style>{STYLE}</style>\
         </head><body><main><h1>Trireme</h1><p>{}</p>",
        escape(&names.join(", ")),
        escape(&names.join(", "))
    );
    warnings(&mut out, runs);
    let section = |out: &mut String, title: &str, words: &str, content: String| {
        if !content.is_empty() {
            let _ = write!(out, "<section><h2>{title}</h2><p>{words}</p>{content}</section>");
        }
    };
    section(
        &mut out,
        "Latency by percentile",
        "From the time at which each operation was due to its acknowledgement by f + 1 replicas; the scale of \
         HdrHistogram's plotter: 90, 99, 99.9 % are equally far apart.",
        latency::percentiles(runs) + &tables::latencies(runs),
    );
    section(
        &mut out,
        "Over time",
        "Second by second, the measured time only.",
        latency::over_time(runs),
    );
    section(
        &mut out,
        "Latency against throughput",
        "One point for each rate that was tried.",
        latency::against_throughput(runs) + &tables::steps(runs),
    );
    section(
        &mut out,
        "Latency budget",
        "Where an operation's time goes, next to the physical floor: the time at which an implementation without any \
         cost of processing would have f + 1 replies, from the round-trip matrix.",
        budgets::latency(runs),
    );
    section(
        &mut out,
        "Signature budget",
        "Made and verified for one operation, all replicas together.",
        budgets::signatures(runs),
    );
    section(
        &mut out,
        "CPU time by stage",
        "Microseconds of all replicas together, per operation.",
        budgets::cpu(runs),
    );
    section(&mut out, "Runs", "What was run.", facts(runs));
    out.push_str("</main></body></html>\n");
    out
}

fn warnings(out: &mut String, runs: &[Run]) {
    for run in runs.iter().filter(|run| !run.warnings.is_empty()) {
        let _ = write!(
            out,
            "<p class=warning><b>{}</b>: {}.</p>",
            escape(&run.name),
            escape(&run.warnings.join("; "))
        );
    }
}

fn facts(runs: &[Run]) -> String {
    let one = |run: &Run| {
        let rows: Vec<Vec<String>> = run
            .facts
            .iter()
            .map(|(name, text)| vec![name.clone(), text.clone()])
            .collect();
        format!("<h3>{}</h3>{}", escape(&run.name), table(&["", ""], &rows))
    };
    runs.iter().map(one).collect()
}

/// Text as HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
