//! Measuring, and the rows that come of it.

use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

const PASSES: u32 = 5;

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// `verify`, `hash`, `codec`, `core`, `log`, `transport`, `link`, `execute`.
    pub stage: &'static str,
    /// What was done.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
}

/// CPU time of this thread.
pub fn thread_cpu() -> Duration {
    of(ClockId::ThreadCPUTime)
}

/// CPU time of this process, all threads and the kernel's work for it.
pub fn process_cpu() -> Duration {
    of(ClockId::ProcessCPUTime)
}

fn of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).expect("since a start");
    Duration::new(seconds, u32::try_from(time.tv_nsec).expect("below a second"))
}

/// Gathers rows, those that were asked for, and prints each as it comes.
#[derive(Debug)]
pub struct Meter {
    time: Duration,
    filter: String,
    quiet: bool,
    rows: Vec<Row>,
}

impl Meter {
    /// Each row is measured for about this time; only rows whose stage and name hold `filter`.
    pub fn new(time: Duration, filter: &str) -> Self {
        Self {
            time,
            filter: filter.to_owned(),
            quiet: false,
            rows: Vec::new(),
        }
    }

    /// Prints nothing.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// How long a row is measured.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// Whether a row is wanted.
    pub fn wants(&self, stage: &str, name: &str) -> bool {
        format!("{stage}: {name}").contains(&self.filter)
    }

    /// Measures the CPU time of a call, in microseconds for each of its `parts`.
    pub fn each<T>(
        &mut self,
        stage: &'static str,
        name: &str,
        parts: usize,
        unit: &'static str,
        mut call: impl FnMut() -> T,
    ) {
        if !self.wants(stage, name) {
            return;
        }
        let least = least(self.time, || {
            black_box(call());
        });
        self.put(stage, name, least.as_secs_f64() * 1e6 / parts as f64, unit);
    }

    /// Notes a figure that was measured otherwise.
    pub fn put(&mut self, stage: &'static str, name: &str, value: f64, unit: &'static str) {
        if !self.quiet {
            println!("{:<46} {value:>12.3} {unit}", format!("{stage}: {name}"));
        }
        self.rows.push(Row {
            stage,
            name: name.to_owned(),
            value,
            unit,
        });
    }

    /// What was measured.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// A figure by name.
    pub fn value(&self, stage: &str, name: &str) -> Option<f64> {
        self.rows
            .iter()
            .find(|row| row.stage == stage && row.name == name)
            .map(|row| row.value)
    }
}

/// CPU time of a call: the least mean of several passes.
fn least(time: Duration, mut call: impl FnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..PASSES {
        let (start, mut calls) = (thread_cpu(), 0u32);
        loop {
            call();
            calls += 1;
            let used = thread_cpu().saturating_sub(start);
            if used >= time / PASSES {
                best = best.min(used / calls);
                break;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_filtered_and_costs_are_positive() {
        let mut meter = Meter::new(Duration::from_millis(2), "hash").quiet();
        let mut work =
            |name: &'static str| meter.each(name, "sum", 10, "us", || (0..10_000u64).map(black_box).sum::<u64>());
        work("hash");
        work("verify");
        assert_eq!(meter.rows().len(), 1);
        assert!(meter.value("hash", "sum").unwrap() > 0.0);
    }
}
