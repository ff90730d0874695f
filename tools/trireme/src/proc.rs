//! What the kernel says about processes and the machine.

use std::fs;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// CPU time that a process has used, user and system, in microseconds.
pub(crate) fn cpu_us(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = cpu_ticks(&text).with_context(|| format!("{path}: not in the expected form"))?;
    Ok(ticks.saturating_mul(1_000_000) / rustix::param::clock_ticks_per_second())
}

/// The largest resident memory that a process ever had, in bytes.
pub(crate) fn peak_rss_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    high_water_kib(&text)
        .map(|kib| kib << 10)
        .with_context(|| format!("{path}: no VmHWM"))
}

/// The resident memory that a process has now, in bytes.
pub(crate) fn rss_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    kib(&text, "VmRSS:")
        .map(|kib| kib << 10)
        .with_context(|| format!("{path}: no VmRSS"))
}

/// utime + stime: fields 14 and 15. The second field, the name, may hold blanks and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn high_water_kib(status: &str) -> Option<u64> {
    kib(status, "VmHWM:")
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The machine of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Cores that this process may use.
    cores: usize,
    cpu: String,
    kernel: String,
}

impl Machine {
    pub(crate) fn read() -> Machine {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let kernel = rustix::system::uname();
        Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: model.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            kernel: format!(
                "{} {}",
                kernel.sysname().to_string_lossy(),
                kernel.release().to_string_lossy()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = "71 (a) b) c) S 1 71 71 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 9 0 0 18446744073709551615";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("71 (a) S 1"), None);
        assert_eq!(
            high_water_kib("Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t 1 kB\n"),
            Some(2048)
        );
        assert_eq!(high_water_kib("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_has_used_memory_and_is_known() {
        let pid = std::process::id();
        assert!(peak_rss_bytes(pid).unwrap() > 100_000);
        cpu_us(pid).unwrap();
        assert!(Machine::read().cores >= 1);
    }
}
