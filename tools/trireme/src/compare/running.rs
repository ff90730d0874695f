//! One run: `trireme local` as a process, in a network name space of its own where one can be made.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use trireme_report::comparison::{PointKind, RunFigures};

use crate::compare::figures;
use crate::compare::options::{DELAYS_RATE, Plan, Turn};

/// Beyond its load a run may take so long.
const PATIENCE: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(50);
/// A sweep begins at this share of what saturation gave in the same round, but not below so much: its steps lie around
/// the knee then.
const SWEEP_FROM: f64 = 0.5;
const SWEEP_FROM_OPS_S: f64 = 1_000.0;
/// A sign of the end of what a run wrote.
const TAIL_CHARS: usize = 600;

/// Makes runs.
pub(super) struct Runner {
    exe: PathBuf,
    dir: PathBuf,
    /// In front of the program: makes a name space.
    isolation: Vec<String>,
}

impl Runner {
    pub(super) fn new(dir: &Path) -> Result<Self> {
        Ok(Self {
            exe: std::env::current_exe().context("cannot find the path of this program")?,
            dir: dir.to_owned(),
            isolation: isolation(),
        })
    }

    /// Whether runs have a network name space of their own.
    pub(super) fn isolated(&self) -> bool {
        !self.isolation.is_empty()
    }

    /// Makes a run. `near` is the throughput that saturation gave.
    pub(super) fn run(&self, plan: &Plan, turn: &Turn, near: Option<f64>) -> Result<(RunFigures, Value)> {
        let spec = &plan.systems[turn.place];
        let point = serde_json::to_value(turn.point)?;
        let stem = format!(
            "{}-{}-{}",
            turn.round,
            point.as_str().unwrap_or_default(),
            spec.to_string().replace([':', '='], "-")
        );
        let json = self.dir.join(format!("{stem}.json"));
        let text = self.dir.join(format!("{stem}.txt"));
        let _ = fs::remove_file(&json);
        let mut arguments = spec.arguments();
        arguments.extend(self.load_arguments(plan, turn, near)?);
        arguments.extend(["--json".to_owned(), json.display().to_string()]);
        let output = File::create(&text).with_context(|| format!("cannot write {}", text.display()))?;
        let status = self.wait(&arguments, output, plan)?;
        let report = fs::read(&json)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let name = json.file_name().map(|name| format!("runs/{}", name.to_string_lossy()));
        let mut run = figures::of_report(turn, report.as_ref(), plan.setting.hop_ms);
        run.file = name.unwrap_or_default();
        if !status.is_some_and(|status| status.success()) {
            run.ok = false;
            let said = fs::read_to_string(&text).unwrap_or_default();
            let from = said.char_indices().rev().nth(TAIL_CHARS).map_or(0, |(at, _)| at);
            let own = run.error.take();
            let ended = status.map_or("it did not end in time".to_owned(), |status| status.to_string());
            run.error = own.or_else(|| Some(format!("{} ({ended})", said[from..].trim())));
        }
        Ok((run, report.unwrap_or_default()))
    }

    fn load_arguments(&self, plan: &Plan, turn: &Turn, near: Option<f64>) -> Result<Vec<String>> {
        let setting = &plan.setting;
        let bundle = plan.systems[turn.place].bundle(setting.bundle);
        let mut out = Vec::new();
        let mut add = |name: &str, value: &dyn std::fmt::Display| out.extend([format!("--{name}"), value.to_string()]);
        add("duration", &format!("{}ms", plan.duration.as_millis()));
        add("payload", &setting.payload_bytes);
        add("keys", &setting.keys);
        add("clients", &setting.clients);
        add("seed", &turn.round);
        match turn.point {
            // A bundle waits until it is full: at low load that is all that would be measured.
            PointKind::Low => add("rate", &setting.low_rate),
            PointKind::Delays => add("rate", &DELAYS_RATE),
            PointKind::Saturation => {
                add("bundle", &bundle);
                add("in-flight", &setting.in_flight.max(bundle));
            }
            PointKind::Slo => {
                add("bundle", &bundle);
                let first = (near.unwrap_or(0.0) * SWEEP_FROM).round().max(SWEEP_FROM_OPS_S);
                add("rate", &first);
                add("slo", &setting.slo);
                add("sweep-steps", &plan.sweep_steps);
                add("sweep-precision", &plan.sweep_precision);
            }
        }
        match (&plan.wan, turn.point) {
            (_, PointKind::Delays) => {
                let servers = plan.systems[turn.place].replicas;
                let (file, regions) = self.equal_distances(servers, setting.hop_ms)?;
                add("wan", &file.display());
                add("regions", &regions[..usize::from(servers)].join(","));
                add("client-regions", &regions[usize::from(servers)..].join(","));
            }
            (Some((matrix, clients)), _) => {
                add("wan", matrix);
                add("client-regions", &clients.join(","));
            }
            (None, _) => {}
        }
        if turn.point == PointKind::Slo {
            out.push("--sweep".to_owned());
        }
        if self.isolated() && turn.point != PointKind::Delays && plan.wan.is_none() {
            out.push("--count-loopback".to_owned());
        }
        Ok(out)
    }

    /// A matrix where every way between two places takes the same, with a region for each server and for as many groups
    /// of clients.
    fn equal_distances(&self, servers: u16, hop_ms: f64) -> Result<(PathBuf, Vec<String>)> {
        let names = |kind: &'static str| (0..servers).map(move |index| format!("{kind}{index}"));
        let regions: Vec<String> = names("server").chain(names("client")).collect();
        let mut text = format!("region,{}\n", regions.join(","));
        for from in &regions {
            let row = regions.iter().map(|to| if from == to { 0.0 } else { 2.0 * hop_ms });
            let row: Vec<String> = row.map(|ms| ms.to_string()).collect();
            text.push_str(&format!("{from},{}\n", row.join(",")));
        }
        let path = self.dir.join(format!("equal-distances-{servers}.csv"));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok((path, regions))
    }

    /// Runs it to its end, or to the end of patience: none.
    fn wait(&self, arguments: &[String], output: File, plan: &Plan) -> Result<Option<ExitStatus>> {
        let mut command = match self.isolation.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.exe);
                command
            }
            None => Command::new(&self.exe),
        };
        let child = command
            .arg("local")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn();
        let mut child = Ended(child.context("cannot start a run")?);
        let load = plan.duration.saturating_mul(2 * plan.sweep_steps.max(1));
        let deadline = Instant::now() + load + PATIENCE;
        loop {
            if let Some(status) = child.0.try_wait().context("cannot look after a run")? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
    }
}

/// A run that ends with this value: its own processes end with it.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// Words in front of a program that give it a network name space with a loopback; none where that is not allowed.
fn isolation() -> Vec<String> {
    let up = "ip link set lo up && exec \"$@\"";
    for flags in [&["--net"][..], &["--map-root-user", "--net"]] {
        let words = [&["unshare"], flags, &["--", "sh", "-c", up, "run"]].concat();
        let tried = Command::new(words[0])
            .args(&words[1..])
            .arg("true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if tried.is_ok_and(|status| status.success()) {
            return words.into_iter().map(str::to_owned).collect();
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_transport::wan::Matrix;

    #[test]
    fn equal_distances_are_a_matrix() {
        let dir = tempfile::tempdir().unwrap();
        let runner = Runner {
            exe: PathBuf::new(),
            dir: dir.path().to_owned(),
            isolation: Vec::new(),
        };
        let (path, regions) = runner.equal_distances(3, 20.0).unwrap();
        let matrix = Matrix::from_csv(&fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(matrix.regions(), regions);
        assert_eq!((matrix.one_way_us(0, 4), matrix.one_way_us(5, 3)), (20_000, 20_000));
    }
}
