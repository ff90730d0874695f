//! What `trireme bench goals` writes. README.md of this tool documents the file; a test compares the two.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

use trireme_benches::curve::Curve;
use trireme_benches::meter::Row;

use crate::bench::alone::Efficiency;
use crate::bench::bound::Figure;
use crate::bench::runs::{OTHERS, Runs};
use crate::bench::settings::Setting;
use crate::proc::Machine;
use crate::say::say;

/// Name and version of the schema. A key that is removed, or means something else, raises the number.
pub(crate) const SCHEMA: &str = "trireme.bench-goals/1";

/// Share of the processors that others may take before it has to be said.
const FOREIGN: f64 = 0.05;

/// Figures of a run that the file keeps of each run.
const KEPT: [&str; 15] = [
    "throughput_ops_s",
    "latency_us",
    "cpu_us_per_op",
    "client_cpu_us_per_op",
    "cpu_us_per_op_by_stage",
    "stages_us",
    "signatures_made_per_op",
    "signatures_verified_per_op",
    "fast_path_share",
    "fsyncs",
    "rss_mb_max",
    "floor_us",
    "batches",
    "slots_committed",
    OTHERS,
];

/// The file.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) schema: &'static str,
    pub(crate) ok: bool,
    pub(crate) version: &'static str,
    pub(crate) machine: Machine,
    pub(crate) runs: usize,
    pub(crate) duration: String,
    pub(crate) quick: bool,
    pub(crate) reached: usize,
    pub(crate) missed: usize,
    pub(crate) not_measured: usize,
    pub(crate) failed_runs: usize,
    /// The largest share of the processors that other processes took during a run.
    pub(crate) others_cpu_share: f64,
    pub(crate) figures: Vec<Figure>,
    pub(crate) settings: Vec<Measured>,
    /// Goal 7.
    pub(crate) efficiency: Option<Efficiency>,
    /// Goal 8.
    pub(crate) curve: Option<Curve>,
    /// What stages cost alone, behind both.
    pub(crate) stages_alone: Vec<Row>,
}

/// One setting and what its runs said.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    name: String,
    flags: String,
    failure: Option<String>,
    /// Of the run with the median throughput.
    typical: Value,
    /// Of all runs, ascending.
    throughput_ops_s: Vec<f64>,
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
}

impl Measured {
    pub(crate) fn new(setting: &Setting, runs: &Runs) -> Measured {
        let kept = |report: &Value| {
            let entries = KEPT.iter().map(|key| ((*key).to_owned(), report[*key].clone()));
            Value::Object(entries.collect())
        };
        Measured {
            name: setting.name.clone(),
            flags: setting.words(),
            failure: runs.failure.clone(),
            typical: runs.typical().map_or(Value::Null, kept),
            throughput_ops_s: runs.values("/throughput_ops_s"),
            p50_us: runs.values("/latency_us/p50"),
            p99_us: runs.values("/latency_us/p99"),
        }
    }
}

impl Outcome {
    /// Counts the verdicts.
    pub(crate) fn judge(&mut self) {
        let count = |verdict: &str| self.figures.iter().filter(|figure| figure.verdict() == verdict).count();
        let (reached, missed, open) = (count("reached"), count("missed"), count("not measured"));
        (self.reached, self.missed, self.not_measured) = (reached, missed, open);
        self.failed_runs = self.settings.iter().filter(|setting| setting.failure.is_some()).count();
        self.ok = missed == 0 && open == 0;
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("the outcome has no JSON form")?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }

    /// The figures as a table, what limits them below it.
    pub(crate) fn print(&self) {
        let head = ["figure", "goal", "measured", "ratio", "verdict"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(self.figures.iter().map(row));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for row in &rows {
            let cells = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, width))| match column {
                    0 | 4 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                });
            say!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        say!("");
        let missed = |figure: &&Figure| !figure.reached;
        print_remarks("limited by", self.figures.iter().filter(missed), |figure| {
            figure.limited_by.as_ref()
        });
        print_remarks("note", self.figures.iter(), |figure| figure.note.as_ref());
        if self.others_cpu_share > FOREIGN {
            say!(
                "note: other processes took up to {:.0} % of the processors during a run: only counts and CPU time per \
                 operation mean something",
                self.others_cpu_share * 100.0
            );
        }
        say!(
            "{} reached, {} missed, {} not measured; {} run(s) of {} each",
            self.reached,
            self.missed,
            self.not_measured,
            self.runs,
            self.duration
        );
    }
}

/// Prints each remark once, under the names of all figures that it is about.
fn print_remarks<'a>(
    kind: &str,
    figures: impl Iterator<Item = &'a Figure>,
    remark: impl Fn(&'a Figure) -> Option<&'a String>,
) {
    let mut by_words: Vec<(&String, Vec<String>)> = Vec::new();
    for figure in figures {
        let Some(words) = remark(figure) else { continue };
        let name = format!("{} {}", figure.goal, figure.name);
        match by_words.iter_mut().find(|(other, _)| *other == words) {
            Some((_, names)) => names.push(name),
            None => by_words.push((words, vec![name])),
        }
    }
    for (words, names) in by_words {
        say!("{}\n    {kind}: {words}", names.join("\n"));
    }
}

fn row(figure: &Figure) -> Vec<String> {
    let some = |value: Option<f64>| value.map_or("-".to_owned(), short);
    vec![
        format!("{} {}", figure.goal, figure.name),
        format!("{} {} {}", figure.bound, short(figure.goal_value), figure.unit),
        some(figure.value),
        figure.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
        figure.verdict().to_owned(),
    ]
}

/// A number with about three digits that matter.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
