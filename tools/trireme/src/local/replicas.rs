//! The replica processes of a run: started, watched, killed, and in every case gone at the end.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::proc;

/// How much of a replica's own output is shown when it ended unexpectedly.
const TAIL_BYTES: u64 = 2_000;
/// How long a replica may take to stop in order.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
const STOP_POLL: Duration = Duration::from_millis(10);

/// All replica processes. Dropping it kills what still runs.
pub(crate) struct Replicas {
    exe: PathBuf,
    /// Whether the program ends by the signal that stops it, and not with exit code 0.
    ends_by_signal: bool,
    list: Vec<Replica>,
}

struct Replica {
    arguments: Vec<OsString>,
    output: PathBuf,
    child: Option<Child>,
    meter: Meter,
}

/// CPU time and memory of a replica over all its processes.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    /// Of the processes that have ended.
    ended_us: u64,
    /// Of the running one, when it was last looked at.
    running_us: u64,
    peak_rss_bytes: u64,
}

impl Replicas {
    /// None is started yet. `configs` are the `replica.toml` files.
    pub(crate) fn new(configs: &[PathBuf]) -> Result<Replicas> {
        let exe = std::env::current_exe().context("cannot find the path of this program")?;
        let arguments = |config: &PathBuf| {
            let words = ["replica", "--config"].map(OsString::from).into_iter();
            let parent = ["--parent".into(), std::process::id().to_string().into()];
            words.chain([config.clone().into_os_string()]).chain(parent).collect()
        };
        let list = configs
            .iter()
            .map(|config| (arguments(config), config.with_file_name("output.txt")));
        Ok(Replicas::of_program(exe, list.collect(), false))
    }

    /// Of another program: arguments of each process, and the file for what it writes. None is started yet.
    pub(crate) fn of_program(exe: PathBuf, list: Vec<(Vec<OsString>, PathBuf)>, ends_by_signal: bool) -> Replicas {
        let replica = |(arguments, output)| Replica {
            arguments,
            output,
            child: None,
            meter: Meter::default(),
        };
        Replicas {
            exe,
            ends_by_signal,
            list: list.into_iter().map(replica).collect(),
        }
    }

    /// Starts a replica. Must be called on the main thread: the kernel kills the child when the thread that started it
    /// ends.
    pub(crate) fn start(&mut self, index: usize) -> Result<()> {
        let replica = &mut self.list[index];
        assert!(replica.child.is_none(), "replica {index} runs already");
        let open = || File::options().create(true).append(true).open(&replica.output);
        let output = open().with_context(|| format!("cannot write {}", replica.output.display()))?;
        let child = Command::new(&self.exe)
            .args(&replica.arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // A group of its own: Ctrl-C reaches this process only, which then stops the replicas in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.exe.display()))?;
        replica.child = Some(child);
        Ok(())
    }

    /// Process id of a running replica.
    pub(crate) fn pid(&self, index: usize) -> Option<u32> {
        self.list[index].child.as_ref().map(Child::id)
    }

    /// An error if a replica that was started has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        for (index, replica) in self.list.iter_mut().enumerate() {
            let Some(child) = &mut replica.child else { continue };
            if let Some(status) = child.try_wait().context("cannot look after a replica")? {
                replica.child = None;
                bail!(
                    "replica {index} ended by itself ({}){}",
                    describe(status),
                    tail(&replica.output)
                );
            }
        }
        Ok(())
    }

    /// Kills a replica (SIGKILL) and waits for its end.
    pub(crate) fn kill(&mut self, index: usize) -> Result<()> {
        self.measure();
        let replica = &mut self.list[index];
        let mut child = replica.child.take().context("the replica to be killed does not run")?;
        child.kill().context("cannot kill a replica")?;
        child.wait().context("cannot wait for a killed replica")?;
        replica.meter.ended_us += std::mem::take(&mut replica.meter.running_us);
        Ok(())
    }

    /// Kills all that still run.
    pub(crate) fn kill_all(&mut self) {
        for replica in &mut self.list {
            if let Some(mut child) = replica.child.take() {
                // It may have ended meanwhile; then there is nothing to kill, and the wait takes its last trace away.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }

    /// Sends a signal to a running replica.
    pub(crate) fn signal(&self, index: usize, signal: Signal) -> Result<()> {
        let child = self.list[index].child.as_ref();
        send(child.context("the replica to be signalled does not run")?, signal)
    }

    /// Stops one replica in order (SIGTERM).
    pub(crate) fn stop_one(&mut self, index: usize) -> Result<()> {
        self.measure();
        let replica = &mut self.list[index];
        let mut child = replica.child.take().context("the replica to be stopped does not run")?;
        send(&child, Signal::TERM)?;
        let status = wait_until(&mut child, Instant::now() + STOP_PATIENCE)?;
        replica.meter.ended_us += std::mem::take(&mut replica.meter.running_us);
        match status {
            Some(status) if in_order(status, self.ends_by_signal) => Ok(()),
            Some(status) => bail!("replica {index}: {}{}", describe(status), tail(&replica.output)),
            None => {
                child.kill().context("cannot kill a replica")?;
                child.wait().context("cannot wait for a killed replica")?;
                bail!("replica {index} did not stop within {} s", STOP_PATIENCE.as_secs())
            }
        }
    }

    /// Looks at CPU time and memory of the running replicas.
    pub(crate) fn measure(&mut self) {
        for replica in &mut self.list {
            let Some(pid) = replica.child.as_ref().map(Child::id) else {
                continue;
            };
            // A process that has just ended keeps its last figures.
            if let Ok(us) = proc::cpu_us(pid) {
                replica.meter.running_us = us;
            }
            if let Ok(bytes) = proc::peak_rss_bytes(pid) {
                replica.meter.peak_rss_bytes = replica.meter.peak_rss_bytes.max(bytes);
            }
        }
    }

    /// CPU time of all replicas since the start, as of the last [`Replicas::measure`].
    pub(crate) fn cpu_us(&self) -> u64 {
        self.list
            .iter()
            .map(|replica| replica.meter.ended_us + replica.meter.running_us)
            .sum()
    }

    /// The most memory that any replica had, as of the last [`Replicas::measure`].
    pub(crate) fn peak_rss_bytes(&self) -> u64 {
        self.list
            .iter()
            .map(|replica| replica.meter.peak_rss_bytes)
            .max()
            .unwrap_or(0)
    }

    /// Stops all replicas in order (SIGTERM), and kills what does not stop in time, which is an error.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.measure();
        for replica in &self.list {
            if let Some(child) = &replica.child {
                send(child, Signal::TERM)?;
            }
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        let mut faults = Vec::new();
        let by_signal = self.ends_by_signal;
        for (index, replica) in self.list.iter_mut().enumerate() {
            let Some(mut child) = replica.child.take() else {
                continue;
            };
            match wait_until(&mut child, deadline)? {
                Some(status) if in_order(status, by_signal) => {}
                Some(status) => faults.push(format!(
                    "replica {index}: {}{}",
                    describe(status),
                    tail(&replica.output)
                )),
                None => {
                    child.kill().context("cannot kill a replica")?;
                    child.wait().context("cannot wait for a killed replica")?;
                    faults.push(format!(
                        "replica {index} did not stop within {} s",
                        STOP_PATIENCE.as_secs()
                    ));
                }
            }
        }
        match faults.is_empty() {
            true => Ok(()),
            false => bail!("not stopped in order: {}", faults.join("; ")),
        }
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.kill_all();
    }
}

fn send(child: &Child, signal: Signal) -> Result<()> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("a process id out of range")?;
    // The child was not waited for yet, so its id cannot belong to another process.
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).context("cannot signal a replica"),
    }
}

fn wait_until(child: &mut Child, deadline: Instant) -> Result<Option<ExitStatus>> {
    loop {
        let status = child.try_wait().context("cannot wait for a replica")?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        std::thread::sleep(STOP_POLL);
    }
}

/// Whether a process that was told to stop did so in order.
fn in_order(status: ExitStatus, by_signal: bool) -> bool {
    status.success() || by_signal && status.signal() == Some(Signal::TERM.as_raw())
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

/// The end of what a replica wrote.
fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    match read() {
        Ok(text) if text.is_empty() => String::new(),
        Ok(text) => format!("; its last words:\n{text}"),
        Err(error) => format!("; its output {} cannot be read: {error}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(script: &str) -> (Replicas, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let configs = [dir.path().join("a.toml"), dir.path().join("b.toml")];
        let mut replicas = Replicas::new(&configs).unwrap();
        for replica in &mut replicas.list {
            let output = File::create(&replica.output).unwrap();
            let child = Command::new("sh")
                .arg("-c")
                .arg(script)
                .stdout(output)
                .process_group(0)
                .spawn()
                .unwrap();
            replica.child = Some(child);
        }
        (replicas, dir)
    }

    fn alive(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn dropping_leaves_nothing_behind() {
        let (replicas, _dir) = sleeper("exec sleep 1000");
        let pids: Vec<u32> = (0..2).map(|index| replicas.pid(index).unwrap()).collect();
        assert!(pids.iter().all(|pid| alive(*pid)));
        drop(replicas);
        assert!(pids.iter().all(|pid| !alive(*pid)));
    }

    #[test]
    fn an_end_by_itself_is_noticed_with_its_last_words() {
        let (mut replicas, _dir) = sleeper("echo out of luck; exit 3");
        for replica in &mut replicas.list {
            replica.child.as_mut().unwrap().wait().unwrap();
        }
        let message = replicas.check().unwrap_err().to_string();
        assert!(
            message.contains("exit code 3") && message.contains("out of luck"),
            "{message}"
        );
    }

    #[test]
    fn stopping_in_order_needs_exit_code_0() {
        let (mut replicas, _dir) = sleeper("exec sleep 1000");
        replicas.measure();
        assert!(replicas.peak_rss_bytes() > 0);
        let message = replicas.stop().unwrap_err().to_string();
        assert!(message.contains("signal 15"), "{message}");
        assert!(replicas.pid(0).is_none());
        let (mut others, _dir) = sleeper("exec sleep 1000");
        others.ends_by_signal = true;
        others.stop().unwrap();
    }
}
