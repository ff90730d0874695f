//! Runs of `trireme local` in processes of their own, interleaved (A B C A B C ...), and medians over them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::bench::busy::Moment;
use crate::bench::settings::Setting;
use crate::local::report::rounded;

/// Key that is added to a run's report: the share of the machine that other processes took meanwhile.
pub(crate) const OTHERS: &str = "others_cpu_share";

/// What all runs of one setting said, or why there is nothing.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    reports: Vec<Value>,
    /// The first run that failed, in words.
    pub(crate) failure: Option<String>,
}

impl Runs {
    /// Of reports that exist already.
    #[cfg(test)]
    pub(crate) fn of(reports: Vec<Value>) -> Runs {
        Runs { reports, failure: None }
    }

    /// None, because of this.
    #[cfg(test)]
    pub(crate) fn failed(why: &str) -> Runs {
        Runs {
            reports: Vec::new(),
            failure: Some(why.to_owned()),
        }
    }

    /// The values of a key (a JSON pointer), ascending; none where a run has no such figure.
    pub(crate) fn values(&self, pointer: &str) -> Vec<f64> {
        let each = self
            .reports
            .iter()
            .filter_map(|report| report.pointer(pointer)?.as_f64());
        let mut values: Vec<f64> = each.collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The median of a key; the lower middle of an even number.
    pub(crate) fn median(&self, pointer: &str) -> Option<f64> {
        median(&self.values(pointer))
    }

    /// The sum of some keys, for each run that has them all.
    pub(crate) fn sums(&self, pointers: &[&str]) -> Vec<f64> {
        let sum = |report: &Value| {
            pointers
                .iter()
                .map(|pointer| report.pointer(pointer)?.as_f64())
                .sum::<Option<f64>>()
        };
        self.reports.iter().filter_map(sum).collect()
    }

    /// A latency over the physical floor of its run, ascending.
    pub(crate) fn over_floor(&self, pointer: &str) -> Vec<f64> {
        let over = |report: &Value| {
            let floor = report.pointer("/floor_us/p50")?.as_f64().filter(|floor| *floor > 0.0)?;
            Some(report.pointer(pointer)?.as_f64()? / floor)
        };
        let mut values: Vec<f64> = self.reports.iter().filter_map(over).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The report with the median throughput: one real run, for what only hangs together within a run.
    pub(crate) fn typical(&self) -> Option<&Value> {
        let at = |report: &Value| report["throughput_ops_s"].as_f64().unwrap_or(0.0);
        let mut all: Vec<&Value> = self.reports.iter().collect();
        all.sort_by(|a, b| at(a).total_cmp(&at(b)));
        all.get(all.len().checked_sub(1)? / 2).copied()
    }

    /// How many runs there are.
    pub(crate) fn len(&self) -> usize {
        self.reports.len()
    }
}

/// The median of ascending values.
pub(crate) fn median(ascending: &[f64]) -> Option<f64> {
    ascending.get(ascending.len().checked_sub(1)? / 2).copied()
}

/// Runs every setting `rounds` times, one after the other in each round. A setting that fails is not run again.
pub(crate) fn interleaved(settings: &[Setting], rounds: usize, duration: &str) -> Result<Vec<Runs>> {
    let place = tempdir()?;
    let mut all: Vec<Runs> = settings.iter().map(|_| Runs::default()).collect();
    for round in 1..=rounds {
        for index in 0..settings.len() {
            let setting = &settings[index];
            if all[index].failure.is_some() {
                continue;
            }
            let Some(flags) = setting.flags(settings, &all) else {
                all[index].failure = Some("the run that it follows failed".to_owned());
                continue;
            };
            eprintln!("run {round} of {rounds}: {}", setting.name);
            match local(&place.join("report.json"), duration, &flags) {
                Ok(report) => all[index].reports.push(report),
                Err(error) => all[index].failure = Some(format!("{error:#}")),
            }
        }
    }
    std::fs::remove_dir_all(&place).with_context(|| format!("cannot remove {}", place.display()))?;
    Ok(all)
}

fn tempdir() -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("trireme-bench-{}", std::process::id()));
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

/// One run; its report. A run that is not clean (something lost, a replica that ended) is an error.
pub(crate) fn local(report: &Path, duration: &str, flags: &[String]) -> Result<Value> {
    let exe = std::env::current_exe().context("cannot find the path of this program")?;
    let before = Moment::now();
    let output = Command::new(&exe)
        .args(["local", "--duration", duration, "--json"])
        .arg(report)
        .args(flags)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", exe.display()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let first = words.lines().find(|line| !line.trim().is_empty()).unwrap_or("no words");
        bail!("trireme local {}: {first}", flags.join(" "));
    }
    let text = std::fs::read_to_string(report).context("the run left no report")?;
    let mut value: Value = serde_json::from_str(&text).context("the run's report is no JSON")?;
    let others = before.and_then(Moment::others_since).map(rounded);
    value
        .as_object_mut()
        .context("the run's report is no object")?
        .insert(OTHERS.to_owned(), others.into());
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn medians_are_of_real_runs() {
        let run = |ops: f64| json!({"throughput_ops_s": ops, "latency_us": {"p50": ops * 2.0}});
        let runs = Runs::of([30.0, 10.0, 20.0].map(run).to_vec());
        assert_eq!(runs.median("/throughput_ops_s"), Some(20.0));
        assert_eq!(runs.values("/latency_us/p50"), [20.0, 40.0, 60.0]);
        assert_eq!(runs.typical().unwrap()["latency_us"]["p50"], 40.0);
        assert_eq!(runs.median("/none"), None);
        assert_eq!(Runs::default().median("/throughput_ops_s"), None);
        assert_eq!(median(&[1.0, 2.0]), Some(1.0));
    }
}
