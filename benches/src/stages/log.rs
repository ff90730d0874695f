//! The log on a real disk: a group appended, flushed, and reported, at sizes of groups.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags};
use trireme_log::{Log, LogConfig, LogError};

use crate::meter::{Meter, process_cpu};

/// Room for headers within a group's pages.
const HEADERS: usize = 256;

pub(super) fn measure(meter: &mut Meter, dir: &Path) -> Result<()> {
    for (name, bytes) in [("4 KiB", 4 << 10), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)] {
        let name = format!("append + flush, group of {name}");
        if meter.wants("log", &name) {
            let place = dir.join("log");
            let measured = one(meter, &place, &name, bytes - HEADERS);
            // The next size starts with an empty log.
            let removed = std::fs::remove_dir_all(&place);
            measured.with_context(|| format!("the log in {}", place.display()))?;
            removed.with_context(|| format!("cannot remove {}", place.display()))?;
        }
    }
    Ok(())
}

fn one(meter: &mut Meter, place: &Path, name: &str, bytes: usize) -> Result<(), LogError> {
    let config = LogConfig {
        max_log_bytes: 8 << 30,
        ..LogConfig::new(place, [0; 32])
    };
    let mut log = Log::open(config)?.finish()?;
    let payload = vec![7; bytes];
    group(&mut log, &payload)?;
    let (start, cpu) = (Instant::now(), process_cpu());
    let mut times = Vec::new();
    while start.elapsed() < meter.time() {
        let from = Instant::now();
        group(&mut log, &payload)?;
        times.push(from.elapsed().as_secs_f64() * 1e6);
    }
    let cpu = (process_cpu() - cpu).as_secs_f64() * 1e6 / times.len() as f64;
    let one_by_one = (bytes * times.len()) as f64 / 1e6 / start.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    meter.put("log", &format!("{name}: p50"), times[times.len() / 2], "us (wall time)");
    meter.put("log", &format!("{name}: CPU"), cpu, "us/group");
    meter.put("log", &format!("{name}: one at a time"), one_by_one, "MB/s");
    let (start, before) = (Instant::now(), log.stats().bytes_appended);
    while start.elapsed() < meter.time() {
        append(&mut log, &payload)?;
        log.submit()?;
        log.poll()?;
    }
    log.wait()?;
    let written = log.stats().bytes_appended - before;
    meter.put(
        "log",
        &format!("{name}: two in flight"),
        written as f64 / 1e6 / start.elapsed().as_secs_f64(),
        "MB/s",
    );
    log.close()?;
    Ok(())
}

/// One group until it is durable.
fn group(log: &mut Log, payload: &[u8]) -> Result<(), LogError> {
    let lsn = log.append(1, None, &[payload])?;
    log.submit()?;
    while log.poll()? < lsn {
        sleep_on(log);
    }
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
    // Woken for nothing is harmless.
    let _ = rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], None);
}
