//! The disk under the data, tried with a log of its own.

use std::path::Path;

use trireme_config::Durability;
use trireme_log::{DeviceChoice, Log, LogConfig, LogError};

use crate::disk::{self, Disk};
use crate::tune::finding::{Finding, Level, bytes};
use crate::tune::host::Host;

/// The log alone takes 4 GiB by default, and snapshots come beside it.
const FREE_WANTED: u64 = 8 << 30;
const FREE_LEAST: u64 = 1 << 30;

/// Kind, room, and what the log can do there. Leaves nothing behind.
pub(super) fn check(host: &Host, named: Option<&Path>) -> Vec<Finding> {
    let place = named.map(|path| path.join(format!("trireme-check-{}", std::process::id())));
    let disk = match disk::choose(place.as_deref(), Durability::Sync) {
        Ok(disk) => disk,
        Err(error) => {
            let reason = "a replica's data have to lie on a disk, or they are gone with the power";
            return vec![
                Finding::new("disk.place", Level::Bad, format!("{error:#}"), reason)
                    .remedy("name a directory on a disk with --data, writable for this user"),
            ];
        }
    };
    let mut findings = vec![room(&disk)];
    findings.extend(device(host, &disk));
    findings.extend(log(&disk));
    disk::discard(&disk.dir);
    findings
}

fn room(disk: &Disk) -> Finding {
    let found = format!(
        "{} on {}, {} free",
        disk.dir.parent().unwrap_or(&disk.dir).display(),
        disk.filesystem,
        bytes(disk.free_bytes)
    );
    let level = if disk.free_bytes < FREE_LEAST {
        Level::Bad
    } else {
        Level::Advice
    };
    let reason = "the log takes up to log.max_log_bytes (4 GiB), two snapshots of the state come beside it; a full disk refuses requests";
    let remedy = "another directory, or a smaller log.max_log_bytes in replica.toml";
    Finding::judged(
        "disk.room",
        disk.free_bytes >= FREE_WANTED,
        level,
        found,
        reason,
        remedy,
    )
}

/// What the kernel says about the device.
fn device(host: &Host, disk: &Disk) -> Option<Finding> {
    let number = rustix::fs::stat(&disk.dir).ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let own = format!("/sys/dev/block/{major}:{minor}");
    // A partition has no queue of its own; its disk does.
    let queue = [format!("{own}/queue"), format!("{own}/../queue")];
    let queue = queue.iter().find(|path| host.path(path).is_dir())?;
    let rotates = host.number(&format!("{queue}/rotational")).unwrap_or(0) == 1;
    let cache = host.read(&format!("{queue}/write_cache")).unwrap_or_default();
    let scheduler = host.read(&format!("{queue}/scheduler")).unwrap_or_default();
    let found = format!(
        "{}, cache {cache}, scheduler {scheduler}",
        if rotates { "says that it rotates" } else { "solid state" }
    );
    let reason = "an operation waits for one flush on each of a quorum of disks: a rotating one takes 10 ms for it, and a \
                  scheduler that sorts delays small writes behind large ones";
    let good = !rotates && !scheduler.contains("[bfq]");
    let remedy = "a solid-state disk; echo none > /sys/block/DISK/queue/scheduler";
    Some(Finding::judged("disk.device", good, Level::Note, found, reason, remedy))
}

/// Opens a log with `io_uring`, and without if that fails.
fn log(disk: &Disk) -> Vec<Finding> {
    let reason = "io_uring writes and flushes with one system call and without a thread in between; direct writes leave \
                  the page cache out; registered buffers are pinned once";
    match try_log(disk, DeviceChoice::IoUring) {
        Ok((direct, registered, notes)) => {
            let good = direct && registered;
            let own = format!("{}: ", disk.dir.join("try").display());
            let found = format!(
                "io_uring, {}, {}{}",
                if direct { "direct" } else { "through the page cache" },
                if registered {
                    "registered buffers"
                } else {
                    "no registered buffers"
                },
                notes
                    .first()
                    .map(|note| format!(" ({})", note.replace(&own, "")))
                    .unwrap_or_default()
            );
            let remedy = "LimitMEMLOCK=infinity for buffers; a file system with O_DIRECT (ext4, xfs)";
            vec![Finding::judged("disk.log", good, Level::Advice, found, reason, remedy)]
        }
        Err(error) => {
            let remedy = "kernel.io_uring_disabled=0; in a container allow io_uring_setup, io_uring_enter and \
                          io_uring_register (seccomp)";
            let mut findings =
                vec![Finding::new("disk.log", Level::Advice, format!("no io_uring: {error}"), reason).remedy(remedy)];
            if let Err(error) = try_log(disk, DeviceChoice::Plain) {
                let found = format!("nor a log without it: {error}");
                findings.push(
                    Finding::new(
                        "disk.plain-log",
                        Level::Bad,
                        found,
                        "a replica cannot run without a log",
                    )
                    .remedy("another directory (--data)"),
                );
            }
            findings
        }
    }
}

fn try_log(disk: &Disk, device: DeviceChoice) -> Result<(bool, bool, Vec<String>), LogError> {
    let config = LogConfig {
        device,
        segment_bytes: 4 << 20,
        max_log_bytes: 16 << 20,
        max_record_bytes: 1 << 20,
        reserve_bytes: 1 << 20,
        ..LogConfig::new(disk.dir.join("try"), [0; 32])
    };
    let mut log = Log::open(config)?.finish()?;
    log.append(1, None, &[b"one record"])?;
    log.submit()?;
    log.wait()?;
    let stats = log.stats();
    let said = (stats.direct, stats.registered_buffers, log.notes().to_vec());
    log.close()?;
    Ok(said)
}
