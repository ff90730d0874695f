//! Devices and flush methods of the log, while the cores are idle and while all of them work.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use rustix::event::{PollFd, PollFlags};
use trireme_log::{DeviceChoice, FlushMethod, Log, LogConfig, LogError};

use super::figure;
use crate::say::say;

/// Something that can be chosen in `replica.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    device: DeviceChoice,
    flush: FlushMethod,
}

const CASES: [Case; 4] = [
    Case {
        device: DeviceChoice::IoUring,
        flush: FlushMethod::Linked,
    },
    Case {
        device: DeviceChoice::IoUring,
        flush: FlushMethod::Dsync,
    },
    Case {
        device: DeviceChoice::Plain,
        flush: FlushMethod::Linked,
    },
    Case {
        device: DeviceChoice::Plain,
        flush: FlushMethod::Dsync,
    },
];

impl Case {
    /// `device` in `replica.toml`.
    pub(crate) fn device_key(self) -> &'static str {
        match self.device {
            DeviceChoice::Auto => "auto",
            DeviceChoice::IoUring => "io_uring",
            DeviceChoice::Plain => "plain",
        }
    }

    /// `flush` in `replica.toml`.
    pub(crate) fn flush_key(self) -> &'static str {
        match self.flush {
            FlushMethod::Linked => "linked",
            FlushMethod::Dsync => "dsync",
        }
    }
}

/// A case, quiet or busy.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) case: Case,
    busy: bool,
    p50_us: f64,
    p99_us: f64,
    each_s: f64,
}

impl Row {
    /// For the profile.
    pub(crate) fn table(&self) -> toml::Table {
        let mut table = toml::Table::new();
        table.insert("device".into(), self.case.device_key().into());
        table.insert("flush".into(), self.case.flush_key().into());
        table.insert("cores_busy".into(), self.busy.into());
        table.insert("p50_us".into(), figure(self.p50_us));
        table.insert("p99_us".into(), figure(self.p99_us));
        table.insert("flushes_per_s".into(), figure(self.each_s));
        table
    }
}

/// Measures all cases, quiet and with a thread spinning on each core. A case that this host refuses is left out.
pub(crate) fn measure(dir: &Path, time: Duration, cores: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for busy in [false, true] {
        let _spinners = Spinners::start(if busy { cores } else { 0 });
        for case in CASES {
            match run(&dir.join("log"), case, time) {
                Ok((histogram, each_s)) => {
                    let at = |quantile| histogram.value_at_quantile(quantile) as f64;
                    let row = Row {
                        case,
                        busy,
                        p50_us: at(0.5),
                        p99_us: at(0.99),
                        each_s,
                    };
                    say!(
                        "      {:<8} {:<6} {}: 4 KiB durable p50 {:>6.0} us, p99 {:>6.0} us, {:>6.0}/s",
                        case.device_key(),
                        case.flush_key(),
                        if busy { "all cores busy" } else { "quiet         " },
                        row.p50_us,
                        row.p99_us,
                        row.each_s
                    );
                    rows.push(row);
                }
                Err(error) => say!("      {} {}: {error}", case.device_key(), case.flush_key()),
            }
        }
    }
    Ok(rows)
}

/// The case whose worse median, quiet or busy, is the least: replicas work when their cores do. Among those within a
/// tenth of each other the first, which is the one that costs least to recommend.
pub(crate) fn best(rows: &[Row]) -> Option<&Row> {
    let worse = |case: Case| {
        let own = rows.iter().filter(|row| row.case == case);
        own.map(|row| row.p50_us).max_by(f64::total_cmp)
    };
    let judged: Vec<(Case, f64)> = CASES.iter().filter_map(|case| Some((*case, worse(*case)?))).collect();
    let least = judged.iter().map(|(_, us)| *us).min_by(f64::total_cmp)?;
    let (case, _) = judged.into_iter().find(|(_, us)| *us <= least * 1.1)?;
    rows.iter().find(|row| row.case == case)
}

/// One record at a time: appended, submitted, awaited on the event, as a run loop does.
fn run(dir: &Path, case: Case, time: Duration) -> Result<(Histogram<u64>, f64), LogError> {
    let config = LogConfig {
        device: case.device,
        flush: case.flush,
        segment_bytes: 32 << 20,
        max_log_bytes: 4 << 30,
        ..LogConfig::new(dir, [0; 32])
    };
    let mut log = Log::open(config)?.finish()?;
    let mut histogram = Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds are sound");
    let payload = [7; 3_900];
    let start = Instant::now();
    while start.elapsed() < time {
        let from = Instant::now();
        let lsn = log.append(1, None, &[&payload])?;
        log.submit()?;
        while log.poll()? < lsn {
            let fd = log.event_fd();
            // Woken for nothing is harmless.
            let _ = rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], None);
        }
        histogram.saturating_record(u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    let each_s = histogram.len() as f64 / start.elapsed().as_secs_f64();
    log.close()?;
    // The next case starts with an empty log.
    std::fs::remove_dir_all(dir).map_or(Ok((histogram.clone(), each_s)), |()| Ok((histogram, each_s)))
}

/// Threads that work for nothing until they are dropped.
struct Spinners {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Spinners {
    fn start(count: usize) -> Spinners {
        let stop = Arc::new(AtomicBool::new(false));
        let spin = |stop: Arc<AtomicBool>| {
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..count).map(|_| spin(stop.clone())).collect();
        Spinners { stop, threads }
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A spinner has nothing that could fail.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_the_one_that_is_never_bad() {
        let row = |case: usize, busy, p50_us| Row {
            case: CASES[case],
            busy,
            p50_us,
            p99_us: 0.0,
            each_s: 0.0,
        };
        let rows = [
            row(0, false, 100.0),
            row(1, false, 80.0),
            row(0, true, 120.0),
            row(1, true, 4_000.0),
        ];
        assert_eq!(best(&rows).unwrap().case, CASES[0], "the other is bad on busy cores");
        let rows = [row(0, false, 105.0), row(1, false, 100.0)];
        assert_eq!(best(&rows).unwrap().case, CASES[0], "about as good");
        let rows = [row(0, false, 200.0), row(1, false, 100.0)];
        assert_eq!(best(&rows).unwrap().case, CASES[1]);
        assert!(best(&[]).is_none());
    }

    #[test]
    fn a_case_is_measured_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (histogram, each_s) = run(&dir.path().join("log"), CASES[2], Duration::from_millis(20)).unwrap();
        assert!(!histogram.is_empty() && each_s > 0.0);
        assert!(!dir.path().join("log").exists());
    }
}
