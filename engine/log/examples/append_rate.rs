//! Measures the log on a real directory: latency of append + flush at 4 KiB, one at a time and several in flight, and
//! throughput with 1 MiB groups, for each device and flush method; quiet and with every core but one spinning.
//!
//! `cargo run --release -p trireme-log --example append_rate -- DIRECTORY [SECONDS]`
#![allow(clippy::disallowed_methods)] // A measurement reads the clock.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::{PollFd, PollFlags};
use trireme_log::{DeviceChoice, Durability, FlushMethod, Log, LogConfig, LogError};

struct Case {
    device: DeviceChoice,
    flush: FlushMethod,
    in_flight: u32,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().expect("usage: append_rate DIRECTORY [SECONDS]");
    let seconds = arguments
        .next()
        .map_or(2.0, |text| text.parse().expect("SECONDS is a number"));
    let time = Duration::from_secs_f64(seconds);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!("times in us; cpu is user + system of this process with its io_uring workers, measured without spinners");
    for busy in [0, cores - 1, cores] {
        println!("-- {busy} of {cores} cores spinning --");
        let stop = Arc::new(AtomicBool::new(false));
        let spinners: Vec<_> = (0..busy)
            .map(|_| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
            })
            .collect();
        run_cases(Path::new(&dir), time, busy);
        stop.store(true, Ordering::Relaxed);
        for spinner in spinners {
            spinner.join().expect("spinning cannot fail");
        }
    }
}

fn run_cases(dir: &Path, time: Duration, busy: usize) {
    for in_flight in [1, 2, 4] {
        for device in [DeviceChoice::IoUring, DeviceChoice::Plain] {
            for flush in [FlushMethod::Linked, FlushMethod::Dsync] {
                let case = Case {
                    device,
                    flush,
                    in_flight,
                };
                if let Err(error) = run_case(dir, &case, time, busy) {
                    println!("{device:?} {flush:?}: {error}");
                }
            }
        }
    }
}

fn open(dir: &Path, case: &Case) -> Result<Log, LogError> {
    let config = LogConfig {
        device: case.device,
        flush: case.flush,
        in_flight: case.in_flight,
        durability: Durability::Sync,
        max_log_bytes: 16 << 30,
        ..LogConfig::new(dir.join("append-rate"), [0; 32])
    };
    Log::open(config)?.finish()
}

fn run_case(dir: &Path, case: &Case, time: Duration, busy: usize) -> Result<(), LogError> {
    let from = Instant::now();
    drop(open(dir, case)?);
    let (made, from) = (from.elapsed(), Instant::now());
    let mut log = open(dir, case)?;
    let opened = from.elapsed();
    for note in log.notes() {
        println!("   {note}");
    }
    let stats = log.stats();
    let name = format!(
        "{:8} {:7} in flight {} {}{}",
        stats.device,
        format!("{:?}", case.flush),
        case.in_flight,
        if stats.direct { "direct" } else { "buffered" },
        if stats.registered_buffers { " registered" } else { "" },
    );
    println!(
        "{name}: set up in {} ms, opened again in {} ms",
        made.as_millis(),
        opened.as_millis()
    );
    // Warm the first segment.
    append(&mut log, &[0; 4096])?;
    log.wait()?;
    let before = cpu();
    let (histogram, rate) = latency(&mut log, time)?;
    let used = cpu().saturating_sub(before).as_micros() as f64 / histogram.len() as f64;
    let used = if busy == 0 {
        format!("  cpu {used:.0} each")
    } else {
        String::new()
    };
    println!(
        "{name}: 4 KiB p50 {:5} p99 {:6} max {:6}  {rate:6.0}/s{used}",
        histogram.value_at_quantile(0.5),
        histogram.value_at_quantile(0.99),
        histogram.max(),
    );
    let (megabytes, groups) = throughput(&mut log, time)?;
    let stats = log.stats();
    println!(
        "{name}: 1 MiB {megabytes:5.0} MB/s in {groups} groups, flush mean {} max {}, busy {}",
        stats.flush_us_sum / stats.flushes.max(1),
        stats.flush_us_max,
        stats.busy
    );
    log.close()?;
    std::fs::remove_dir_all(dir.join("append-rate")).expect("the directory was just made");
    Ok(())
}

fn append(log: &mut Log, payload: &[u8]) -> Result<(), LogError> {
    loop {
        match log.append(1, None, &[payload]) {
            Ok(_) => return Ok(()),
            Err(LogError::Busy) => {
                log.submit()?;
                sleep_on(log);
                log.poll()?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// As a run loop sleeps.
fn sleep_on(log: &Log) {
    let fd = log.event_fd();
    let mut wait = [PollFd::new(&fd, PollFlags::IN)];
    // Woken for nothing is harmless.
    let _ = rustix::event::poll(&mut wait, None);
}

/// One record at a time: appended, submitted, awaited on the event.
fn latency(log: &mut Log, time: Duration) -> Result<(Histogram<u64>, f64), LogError> {
    let mut histogram = Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds are sound");
    let payload = [7; 3900];
    let start = Instant::now();
    while start.elapsed() < time {
        let from = Instant::now();
        let lsn = log.append(1, None, &[&payload])?;
        log.submit()?;
        while log.poll()? < lsn {
            sleep_on(log);
        }
        histogram.saturating_record(from.elapsed().as_micros() as u64);
    }
    let rate = histogram.len() as f64 / start.elapsed().as_secs_f64();
    Ok((histogram, rate))
}

/// Groups as long as the buffers, as many in flight as allowed.
fn throughput(log: &mut Log, time: Duration) -> Result<(f64, u64), LogError> {
    let payload = vec![7; (1 << 20) - 256];
    let before = log.stats();
    let start = Instant::now();
    while start.elapsed() < time {
        append(log, &payload)?;
        log.submit()?;
        log.poll()?;
    }
    log.wait()?;
    let after = log.stats();
    let bytes = (after.bytes_appended - before.bytes_appended) as f64;
    Ok((
        bytes / 1e6 / start.elapsed().as_secs_f64(),
        after.groups - before.groups,
    ))
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}
