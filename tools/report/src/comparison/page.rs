//! The page of a comparison.

use std::fmt::Write as _;

use super::model::Comparison;
use super::sections::{cpu, curves, delays, does, figures, prices, runs};
use crate::page::{STYLE, escape};
use crate::scale::number;
use crate::tables::table;

/// The whole page.
pub fn comparison_page(comparison: &Comparison) -> String {
    let names: Vec<&str> = comparison.systems.iter().map(|system| system.name.as_str()).collect();
    let mut out = format!(
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width, \
         initial-scale=1\"><meta name=color-scheme content=\"light dark\"><title>Trireme compared: {0}</title><style>{STYLE}\
         </style></head><body><main><h1>Trireme compared</h1><p>{0}</p>",
        escape(&names.join(", "))
    );
    warnings(&mut out, comparison);
    let sections = [
        ("Figures", intro(comparison), figures(comparison)),
        (
            "What each does for an operation",
            "Systems that do less are faster for it; the figures say by how much, not which is better.".to_owned(),
            does(comparison),
        ),
        (
            "The price of Byzantine tolerance",
            "The same engine with the same lanes, log, transport and execution, once ordering among replicas that may lie, \
             once among replicas that only crash; and next to etcd. Quotients of runs of the same round: median and range."
                .to_owned(),
            prices(comparison),
        ),
        (
            "Latency against throughput",
            "One point for each rate that was tried, of all rounds, from the time at which each operation was due.".to_owned(),
            curves(comparison),
        ),
        (
            "CPU time per operation",
            "At saturation, all servers together and the clients of the load generator: what travels to another machine."
                .to_owned(),
            cpu(comparison),
        ),
        (
            "Message delays",
            format!(
                "Counted in a network where every way between any two places, clients' included, takes {} ms: the median \
                 latency by that time. What is beyond a whole number is work.",
                number(comparison.setting.hop_ms)
            ),
            delays(comparison),
        ),
        ("How it was measured", method(comparison), conditions(comparison)),
        ("Every run", "In the order of the rounds; the files beside this page have all of it.".to_owned(), runs(comparison)),
    ];
    for (title, words, content) in sections {
        if !content.is_empty() {
            let _ = write!(
                out,
                "<section><h2>{title}</h2><p>{}</p>{content}</section>",
                escape(&words)
            );
        }
    }
    out.push_str("</main></body></html>\n");
    out
}

fn warnings(out: &mut String, comparison: &Comparison) {
    let mut warn = |name: &str, text: &str| {
        let _ = write!(out, "<p class=warning><b>{}</b>: {}</p>", escape(name), escape(text));
    };
    if !comparison.complete {
        warn("unfinished", "the comparison has not come to its end.");
    }
    for system in &comparison.systems {
        if let Some(why) = &system.missing {
            warn(&system.name, &format!("not measured: {why}"));
            continue;
        }
        let failed: Vec<String> = system
            .runs
            .iter()
            .filter(|run| !run.ok)
            .map(|run| {
                let why = run.error.as_deref().unwrap_or("no reason");
                format!("round {}, {}: {why}", run.round, run.point.name())
            })
            .collect();
        if !failed.is_empty() {
            warn(
                &system.name,
                &format!("runs that failed and do not count: {}", failed.join("; ")),
            );
        }
        let limited = system
            .runs
            .iter()
            .filter(|run| run.ok && !run.generator_limits.is_empty());
        let mut reasons: Vec<&str> = limited
            .clone()
            .flat_map(|run| &run.generator_limits)
            .map(String::as_str)
            .collect();
        reasons.sort_unstable();
        if let (count @ 1.., Some(reason)) = (limited.count(), reasons.first()) {
            warn(
                &system.name,
                &format!(
                    "in {count} of {} runs the load generator was a limit: {reason}",
                    system.runs.len()
                ),
            );
        }
    }
    for note in &comparison.notes {
        warn("note", note);
    }
}

fn intro(comparison: &Comparison) -> String {
    let setting = &comparison.setting;
    let runs = match setting.runs {
        1 => "one run each: no ranges".to_owned(),
        runs => format!("medians and ranges of {runs} interleaved runs"),
    };
    format!(
        "{}-byte values, {} request(s) together, {}; {} s each; {}. Servers and load generator share {} cores ({}).",
        setting.payload_bytes,
        setting.bundle,
        setting.profile,
        number(setting.duration_s),
        runs,
        comparison.machine.cores,
        comparison.machine.cpu
    )
}

fn method(comparison: &Comparison) -> String {
    let wire = if comparison.setting.isolated {
        "Each run had a network name space of its own, whose loopback counts the bytes on the wire."
    } else {
        "Bytes on the wire were not counted: no network name space could be made."
    };
    format!(
        "One load generator for all systems: the same keys, values, arrival times and clocks; latency runs from the time at \
         which an operation was due (nothing is omitted). Servers run as processes on the real disk; their CPU time is what \
         the kernel says. {wire} Again: {}",
        comparison.command
    )
}

fn conditions(comparison: &Comparison) -> String {
    let (machine, setting) = (&comparison.machine, &comparison.setting);
    let row = |name: &str, text: String| vec![name.to_owned(), text];
    let rows = [
        row("machine", format!("{} cores, {}", machine.cores, machine.cpu)),
        row("kernel", machine.kernel.clone()),
        row("data", machine.filesystem.clone()),
        row(
            "load",
            format!(
                "{} clients, {} keys at random, writes of {} bytes, {} in flight at saturation",
                setting.clients, setting.keys, setting.payload_bytes, setting.in_flight
            ),
        ),
        row("network", setting.profile.clone()),
        row("program", format!("trireme {}", comparison.version)),
    ];
    table(&["", ""], &rows)
}
