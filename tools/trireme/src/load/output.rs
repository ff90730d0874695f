//! What people see of a load, and the files that it leaves.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use trireme_load::{Record, Second, Step, SweepReport, write_csv, write_hlog};

use crate::load::args::ShapeArgs;
use crate::load::drive::Event;
use crate::progress::Waiting;
use crate::say::say;

fn ms(us: f64) -> f64 {
    us / 1e3
}

/// Shows a load on the way: a line a second, and on a terminal how far it is.
pub(crate) struct Display {
    bar: Option<ProgressBar>,
    /// What happens before the first line, or while a rate of a sweep is tried.
    waiting: RefCell<Option<Waiting>>,
    sweep: bool,
    /// In front of each line.
    indent: &'static str,
}

impl Display {
    /// For a load of this length, warm-up included, that writes so many keys before.
    pub(crate) fn new(length: Duration, sweep: bool, keys: Option<u32>, indent: &'static str) -> Self {
        let shown = std::io::stdout().is_terminal() && std::io::stderr().is_terminal() && !sweep;
        let bar = shown.then(|| {
            let bar = ProgressBar::new(length.as_secs().max(1));
            let style = ProgressStyle::with_template("{bar:40} {pos}/{len} s {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let waiting = RefCell::new(keys.map(|keys| Waiting::on(format!("writing {keys} keys first"))));
        Self {
            bar,
            waiting,
            sweep,
            indent,
        }
    }

    /// Shows what happened.
    pub(crate) fn show(&self, event: &Event) {
        let line = match event {
            Event::Second(_) if self.sweep => return,
            Event::Second(second) => second_line(second),
            Event::Rate(rate) => {
                self.waiting
                    .replace(Some(Waiting::on(format!("trying {rate:.0} requests/s"))));
                return;
            }
            Event::Step(step) => step_line(step),
        };
        self.waiting.replace(None);
        let indent = self.indent;
        match &self.bar {
            Some(bar) => {
                bar.suspend(|| say!("{indent}{line}"));
                bar.inc(1);
            }
            None => say!("{indent}{line}"),
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.waiting.replace(None);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// One second of load as a line.
pub(crate) fn second_line(second: &Second) -> String {
    let mut line = format!(
        "{:>4} s  {:>8.0} ops/s  p50 {:>7.2} ms  p99 {:>7.2} ms  max {:>7.2} ms  in flight {}",
        second.second,
        second.ops_s,
        ms(second.p50_us),
        ms(second.p99_us),
        ms(second.max_us),
        second.in_flight
    );
    let counts = [
        ("backlog", second.backlog),
        ("failed", second.failed),
        ("unknown", second.unknown),
    ];
    for (name, count) in counts.iter().filter(|(_, count)| *count > 0) {
        line.push_str(&format!("  {name} {count}"));
    }
    if !second.measured {
        line.push_str("  (not measured)");
    }
    line
}

/// One rate of a sweep as a line.
fn step_line(step: &Step) -> String {
    let latency = &step.latency_us;
    let mut line = format!(
        "{:>8.0} requests/s  {:>8.0} acknowledged/s  p50 {:>7.2} ms  p99 {:>7.2} ms  ",
        step.rate,
        step.throughput_ops_s,
        ms(latency.p50),
        ms(latency.p99)
    );
    match &step.broken {
        None => line.push_str("holds"),
        Some(why) => line.push_str(&format!("breaks: {why}")),
    }
    if !step.generator_limits.is_empty() {
        line.push_str("  (the generator was a limit)");
    }
    line
}

/// The figures of a load.
pub(crate) fn print(record: &Record) {
    if let Some(sweep) = &record.sweep {
        print_knee(sweep);
    }
    let summary = &record.summary;
    let latency = &summary.latency_us;
    say!(
        "throughput    {:.1} ops/s, {:.1} MB/s",
        summary.throughput_ops_s,
        summary.throughput_mb_s
    );
    say!(
        "latency (ms)  p50 {:.2}  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  p99.99 {:.2}  max {:.2}",
        ms(latency.p50),
        ms(latency.p90),
        ms(latency.p99),
        ms(latency.p99_9),
        ms(latency.p99_99),
        ms(latency.max)
    );
    for (operation, figures) in &record.operations {
        let latency = &figures.latency_us;
        say!(
            "  {:<18}p50 {:.2}  p99 {:.2}  max {:.2}  of {}",
            operation.name(),
            ms(latency.p50),
            ms(latency.p99),
            ms(latency.max),
            figures.count
        );
    }
    let (acknowledged, failed, unknown) = (summary.acknowledged, summary.failed, summary.unknown);
    say!("requests      {acknowledged} acknowledged, {failed} failed, {unknown} unknown");
    for (reason, count) in &summary.failures {
        say!("  {reason:<12}{count}");
    }
    print_generator(record);
}

/// What a sweep found.
pub(crate) fn print_knee(sweep: &SweepReport) {
    match sweep.knee_ops_s {
        Some(knee) => say!("knee          {knee:.0} requests/s hold {}", sweep.slo),
        None => say!("knee          none: {} holds at no rate that was tried", sweep.slo),
    }
    match sweep.limit_is_the_cluster {
        Some(true) => {}
        Some(false) => say!("              above it the generator was a limit: the cluster may hold more"),
        None => say!("              nothing broke: the cluster may hold more"),
    }
    say!("at that rate:");
}

/// Whether the generator was the limit.
pub(crate) fn print_generator(record: &Record) {
    let check = &record.generator;
    say!(
        "generator     {}; {} process(es), {:.0} % of a core the busiest, sent late p99 {:.2} ms, loop lag p99 {:.2} ms, \
         without a core {:.0} %",
        if check.ok { "was not the limit" } else { "WAS THE LIMIT" },
        record.parts,
        check.cpu_share * 100.0,
        ms(check.late_us.p99),
        ms(check.loop_lag_us.p99),
        check.no_core_share * 100.0
    );
    for limit in &check.limits {
        say!("              {limit}");
    }
}

/// Writes the files that were asked for, except for the JSON.
pub(crate) fn write_files(args: &ShapeArgs, record: &Record) -> Result<()> {
    if let Some(path) = &args.hlog {
        write(path, |file| write_hlog(file, record.started(), record.seconds.iter()))?;
    }
    if let Some(path) = &args.csv {
        write(path, |file| write_csv(file, record.seconds.iter()))?;
    }
    Ok(())
}

/// Writes a record as JSON.
pub(crate) fn write_json(path: &Path, record: &Record) -> Result<()> {
    let text = serde_json::to_string(record)? + "\n";
    write(path, |file| file.write_all(text.as_bytes()))
}

/// Makes a file anew.
pub(crate) fn write(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<()> {
    let write = || {
        let mut file = BufWriter::new(File::create(path)?);
        fill(&mut file)?;
        file.flush()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
