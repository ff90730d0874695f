//! Four replicas as processes, driven by the commands that an operator has.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

const REPLICAS: usize = 4;
const FIRST_PORT: u16 = 21_400;
const POLL: Duration = Duration::from_millis(5);
const STUCK: Duration = Duration::from_secs(60);

/// A cluster's files and its processes. Dropping it kills them.
pub(crate) struct Cluster {
    binary: PathBuf,
    dir: PathBuf,
    replicas: Vec<Option<Child>>,
}

impl Cluster {
    /// Makes the files; ports are moved by `offset`.
    pub(crate) fn make(binary: &Path, dir: &Path, offset: u16, checkpoint_slots: u64) -> Result<Cluster> {
        let port = |more: u16| (FIRST_PORT + offset + more).to_string();
        let made = Command::new(binary)
            .args(["init", "--no-admin", "--dir"])
            .arg(dir)
            .args(["--peer-port", &port(0), "--client-port", &port(10)])
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        ensure!(made.success(), "trireme init failed");
        let file = dir.join("cluster.toml");
        let text = fs::read_to_string(&file)?;
        let change = |line: &str| match line.split('=').next().map(str::trim) {
            Some("checkpoint_slots") => format!("checkpoint_slots = {checkpoint_slots}"),
            Some("log_window_slots") => format!("log_window_slots = {}", 4 * checkpoint_slots),
            Some("checkpoint_bytes") => format!("checkpoint_bytes = {}", 1u64 << 40),
            _ => line.to_owned(),
        };
        let lines: Vec<String> = text.lines().map(change).collect();
        fs::write(&file, lines.join("\n") + "\n")?;
        Ok(Cluster {
            binary: binary.to_path_buf(),
            dir: dir.to_path_buf(),
            replicas: (0..REPLICAS).map(|_| None).collect(),
        })
    }

    fn own(&self, index: usize) -> PathBuf {
        self.dir.join(format!("replica-{index}"))
    }

    fn client(&self) -> PathBuf {
        self.dir.join("client/client.toml")
    }

    /// Starts all and waits until they run and know each other.
    pub(crate) fn start_all(&mut self) -> Result<()> {
        (0..REPLICAS).try_for_each(|index| self.start(index))?;
        for index in 0..REPLICAS {
            self.wait_for(index, 0, "replica is running", STUCK)?;
        }
        let deadline = Instant::now() + STUCK;
        for index in 0..REPLICAS {
            while self.said(index, 0)?.matches("\"member connected\"").count() < REPLICAS - 1 {
                ensure!(
                    Instant::now() < deadline,
                    "replica {index} is not connected to all others"
                );
                std::thread::sleep(POLL);
            }
        }
        Ok(())
    }

    pub(crate) fn start(&mut self, index: usize) -> Result<()> {
        let own = self.own(index);
        let output = File::options().create(true).append(true).open(own.join("output"))?;
        let child = Command::new(&self.binary)
            .args(["replica", "--log-format", "json", "--config"])
            .arg(own.join("replica.toml"))
            .args(["--parent", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        self.replicas[index] = Some(child);
        Ok(())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, index: usize) -> Result<()> {
        let mut child = self.replicas[index].take().context("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    pub(crate) fn stop_all(&mut self) {
        for child in self.replicas.iter_mut().filter_map(Option::take) {
            let mut child = child;
            // They may have ended; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn pid(&self, index: usize) -> Result<u32> {
        Ok(self.replicas[index].as_ref().context("it does not run")?.id())
    }

    /// Takes log and snapshots from a stopped replica; the mark that it had a log stays.
    pub(crate) fn lose_data(&self, index: usize) -> Result<()> {
        let data = self.own(index).join("log");
        for entry in fs::read_dir(&data)? {
            let path = entry?.path();
            if path.is_dir() {
                fs::remove_dir_all(&path)?;
            } else if path.file_name().is_some_and(|name| name != "identity") {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Runs a load; its JSON.
    pub(crate) fn load(&self, flags: &[&str]) -> Result<Value> {
        let report = self.dir.join("load.json");
        let done = Command::new(&self.binary)
            .arg("load")
            .arg("--config")
            .arg(self.client())
            .args(flags)
            .arg("--json")
            .arg(&report)
            .stdout(Stdio::null())
            .status()?;
        ensure!(done.success(), "trireme load {} failed", flags.join(" "));
        let found: Value = serde_json::from_str(&fs::read_to_string(&report)?)?;
        // The figures stand under a name of their own in some versions of the report.
        Ok(if found["latency_us"].is_object() {
            found
        } else {
            found["summary"].clone()
        })
    }

    fn status(&self, index: usize) -> Result<Value> {
        let done = Command::new(&self.binary)
            .args(["status", "--json", "--config"])
            .arg(self.client())
            .output()?;
        let all: Value = serde_json::from_slice(&done.stdout).context("the status is not JSON")?;
        let list = if all.is_array() { &all } else { &all["replicas"] };
        let own = &list[index];
        Ok(if own["status"].is_object() {
            own["status"].clone()
        } else {
            own.clone()
        })
    }

    /// Bytes of records in a replica's log, since its start.
    pub(crate) fn log_bytes(&self, index: usize) -> Result<u64> {
        self.status(index)?["log"]["bytes_appended"]
            .as_u64()
            .context("the status has no log.bytes_appended")
    }

    /// The slot that a replica executed last.
    pub(crate) fn executed(&self, index: usize) -> Result<u64> {
        self.status(index)?["executed_slot"]
            .as_u64()
            .context("the status has no executed_slot")
    }

    /// Snapshots that a replica wrote, and for how long it wrote them, in microseconds.
    pub(crate) fn snapshots(&self, index: usize) -> Result<(u64, f64)> {
        let status = self.status(index)?;
        let snapshots = &status["snapshots"];
        let number = |key: &str| snapshots[key].as_u64().with_context(|| format!("no snapshots.{key}"));
        let (written, us) = (number("written")?, number("written_us")?);
        Ok((written, us as f64))
    }

    /// How much a replica has said.
    pub(crate) fn said_bytes(&self, index: usize) -> Result<usize> {
        Ok(self.said(index, 0)?.len())
    }

    fn said(&self, index: usize, from: usize) -> Result<String> {
        let bytes = fs::read(self.own(index).join("output"))?;
        Ok(String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned())
    }

    /// Waits until a replica has said something since, and returns that line.
    pub(crate) fn wait_for(&mut self, index: usize, from: usize, what: &str, limit: Duration) -> Result<Value> {
        let deadline = Instant::now() + limit;
        loop {
            let said = self.said(index, from)?;
            if let Some(line) = said.lines().find(|line| line.contains(what))
                && let Ok(value) = serde_json::from_str(line)
            {
                return Ok(value);
            }
            if let Some(child) = &mut self.replicas[index]
                && let Some(status) = child.try_wait()?
            {
                bail!("replica {index} ended ({status}): {said}");
            }
            ensure!(Instant::now() < deadline, "replica {index} never said {what:?}: {said}");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop_all();
    }
}

/// CPU time of a process so far (`/proc/PID/stat`).
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = text.rsplit_once(')').context("no process name")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = (ticks(11).context("no user time")?, ticks(12).context("no system time")?);
    // Linux counts hundredths of a second here on every platform that this runs on (USER_HZ).
    Ok((user + system) / 100.0)
}
