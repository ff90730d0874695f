//! The log on real files, with both devices.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use trireme_log::{
    DeviceChoice, Durability, FlushMethod, FullReason, Log, LogConfig, LogError, Lsn, RecordKey, Recovered,
    worth_releasing,
};

const FINGERPRINT: [u8; 32] = [7; 32];

fn config(dir: &Path, device: DeviceChoice) -> LogConfig {
    LogConfig {
        segment_bytes: 256 << 10,
        max_log_bytes: 4 << 20,
        max_record_bytes: 128 << 10,
        buffer_bytes: 16 << 10,
        reserve_bytes: 64 << 10,
        device,
        ..LogConfig::new(dir, FINGERPRINT)
    }
}

/// Beside the build products: those are seldom in memory, where `sync` is refused.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn key(number: u64) -> RecordKey {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    RecordKey(bytes)
}

fn payload(number: u64) -> Vec<u8> {
    let length = (number * 7919) % 9000;
    (0..length).map(|at| (at.wrapping_mul(31) ^ number) as u8).collect()
}

fn recover(config: LogConfig) -> (Vec<Recovered>, Log) {
    let mut opening = Log::open(config).unwrap();
    let mut records = Vec::new();
    while let Some(record) = opening.next() {
        records.push(record.unwrap());
    }
    let log = opening.finish().unwrap();
    (records, log)
}

/// Appends, waiting for room whenever the log is busy.
fn append(log: &mut Log, number: u64) -> Lsn {
    let bytes = payload(number);
    loop {
        match log.append((number % 200) as u8, Some(key(number)), &[&bytes]) {
            Ok(lsn) => return lsn,
            Err(LogError::Busy) => {
                log.submit().unwrap();
                log.poll().unwrap();
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn check(records: &[Recovered], last: u64) {
    assert_eq!(records.len() as u64, last);
    for (record, number) in records.iter().zip(1..) {
        assert_eq!(record.sequence, number);
        assert_eq!(record.kind, (number % 200) as u8);
        assert_eq!(record.key, Some(key(number)));
        assert_eq!(record.payload, payload(number));
    }
}

/// Over several segments and restarts, for every device, flush method and mode.
#[test]
fn records_come_back_in_order() {
    for device in [DeviceChoice::Auto, DeviceChoice::Plain] {
        for flush in [FlushMethod::Linked, FlushMethod::Dsync] {
            for durability in [Durability::Sync, Durability::Async, Durability::None] {
                let dir = scratch();
                let config = || LogConfig {
                    durability,
                    flush,
                    ..config(dir.path(), device)
                };
                let mut next = 1;
                for clean in [true, false, true] {
                    let (records, mut log) = recover(config());
                    check(&records, next - 1);
                    for _ in 0..100 {
                        assert_eq!(append(&mut log, next), Lsn(next));
                        next += 1;
                    }
                    assert_eq!(log.wait().unwrap(), Lsn(next - 1));
                    assert!(!log.pending());
                    for number in 1..next {
                        let (kind, bytes) = log.read(&key(number)).unwrap().unwrap();
                        assert_eq!((kind, &bytes[..]), ((number % 200) as u8, &payload(number)[..]));
                    }
                    if clean {
                        log.close().unwrap();
                    }
                }
                check(&recover(config()).0, next - 1);
            }
        }
    }
}

#[test]
fn what_was_appended_can_be_read_at_once() {
    let dir = scratch();
    let (_, mut log) = recover(config(dir.path(), DeviceChoice::Auto));
    for number in 1..40 {
        append(&mut log, number);
        let (_, bytes) = log.read(&key(number)).unwrap().unwrap();
        assert_eq!(bytes, payload(number));
        log.submit().unwrap();
        let (_, bytes) = log.read(&key(number)).unwrap().unwrap();
        assert_eq!(bytes, payload(number));
    }
    log.append(1, Some(key(3)), &[b"new"]).unwrap();
    assert_eq!(
        log.read(&key(3)).unwrap(),
        Some((1, Bytes::from_static(b"new"))),
        "the latest counts"
    );
    assert_eq!(log.read(&key(99)).unwrap(), None);
    assert!(log.contains(&key(5)) && !log.contains(&key(99)));
}

#[test]
fn a_long_record_gets_a_buffer_of_its_own() {
    let dir = scratch();
    let (_, mut log) = recover(config(dir.path(), DeviceChoice::Auto));
    let long = vec![9; 128 << 10];
    log.append(1, None, &[b"before"]).unwrap();
    log.append(2, Some(key(2)), &[&long[..5], &long[5..]]).unwrap();
    log.wait().unwrap();
    assert_eq!(log.read(&key(2)).unwrap().unwrap().1, long);
    let refused = log.append(2, None, &[&long, b"x"]);
    assert_eq!(
        refused,
        Err(LogError::TooLarge {
            bytes: (128 << 10) + 1,
            limit: 128 << 10
        })
    );
    drop(log);
    let (records, _) = recover(config(dir.path(), DeviceChoice::Auto));
    assert_eq!(records.len(), 2);
    assert_eq!(records[1].payload, long);
}

#[test]
fn a_full_log_refuses_and_keeps_its_reserve() {
    let dir = scratch();
    let config = || LogConfig {
        max_log_bytes: 1 << 20,
        ..config(dir.path(), DeviceChoice::Auto)
    };
    let (_, mut log) = recover(config());
    let mut accepted = 0;
    let refusal = loop {
        match log.append(1, None, &[&[5; 8000]]) {
            Ok(_) => accepted += 1,
            Err(LogError::Busy) => {
                log.submit().unwrap();
                log.poll().unwrap();
            }
            Err(refusal) => break refusal,
        }
    };
    assert!(
        matches!(
            refusal,
            LogError::Full {
                reason: FullReason::Limit,
                ..
            }
        ),
        "{refusal}"
    );
    assert!(refusal.is_refusal());
    assert!(
        accepted > 100 && accepted < 131,
        "{accepted} records of 8000 bytes in 1 MiB less the reserve"
    );
    assert!(!log.has_room(8000));
    assert_eq!(log.stats().growth_stopped, Some(FullReason::Limit));
    for _ in 0..5 {
        log.wait().unwrap();
        log.append_vital(2, None, &[b"vote"]).unwrap();
    }
    log.wait().unwrap();
    assert!(dir_bytes(dir.path()) <= (1 << 20) + 3 * 4096);
    drop(log);
    assert_eq!(recover(config()).0.len(), accepted + 5);
}

fn dir_bytes(dir: &Path) -> u64 {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

#[test]
fn one_directory_one_owner() {
    let dir = scratch();
    let (_, log) = recover(config(dir.path(), DeviceChoice::Auto));
    let second = Log::open(config(dir.path(), DeviceChoice::Auto)).err().unwrap();
    assert!(matches!(&second, LogError::Locked { holder, .. } if holder.starts_with("process ")));
    drop(log);
    recover(config(dir.path(), DeviceChoice::Auto));
    let other = LogConfig {
        fingerprint: [8; 32],
        ..config(dir.path(), DeviceChoice::Auto)
    };
    let refused = Log::open(other).err().unwrap();
    assert!(matches!(refused, LogError::WrongFingerprint { .. }), "{refused}");
}

/// Everything that is read from the directory before the first record.
#[test]
fn damage_to_headers_names_the_file() {
    let build = || {
        let dir = scratch();
        let (_, mut log) = recover(config(dir.path(), DeviceChoice::Auto));
        for number in 1..80 {
            append(&mut log, number);
        }
        log.close().unwrap();
        dir
    };
    let overwrite = |path: &Path, offset| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[0xa5; 64], offset).unwrap();
    };
    let dir = build();
    let header = dir.path().join("log.header");
    let whole = fs::read(&header).unwrap();
    for copy in [0, 4096] {
        overwrite(&header, copy + 20);
        check(&recover(config(dir.path(), DeviceChoice::Auto)).0, 79);
        assert_eq!(fs::read(&header).unwrap(), whole, "the bad copy is written again");
    }
    overwrite(&header, 20);
    overwrite(&header, 4096 + 20);
    expect_refusal(dir.path(), "log.header", "neither copy");

    let dir = build();
    fs::remove_file(dir.path().join("log.header")).unwrap();
    expect_refusal(dir.path(), "log.header", "missing");

    let dir = build();
    for name in [
        "segment-0000000001.log",
        "segment-0000000002.log",
        "segment-0000000003.log",
    ] {
        drop(fs::remove_file(dir.path().join(name)));
    }
    expect_refusal(dir.path(), "segment-0000000001.log", "missing");

    // A segment's header can be done without.
    let dir = build();
    overwrite(&dir.path().join("segment-0000000002.log"), 30);
    let opening = Log::open(config(dir.path(), DeviceChoice::Auto)).unwrap();
    let log = opening.finish().unwrap();
    assert!(log.notes().iter().any(|note| note.contains("segment header")));
    drop(log);
    check(&recover(config(dir.path(), DeviceChoice::Auto)).0, 79);
}

/// What had been durable and is gone is told, with file and offset; everything else comes back.
#[test]
fn damage_is_told_and_the_rest_comes_back() {
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path));
    let damages: [Damage<'_>; 3] = [
        ("had been durable", &|dir| {
            let path = dir.join("segment-0000000001.log");
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(&[0xa5; 64], 20 << 10).unwrap();
        }),
        ("had been durable", &|dir| {
            let path = dir.join("segment-0000000001.log");
            fs::OpenOptions::new()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(100 << 10)
                .unwrap();
        }),
        ("is missing", &|dir| {
            fs::remove_file(dir.join("segment-0000000001.log")).unwrap()
        }),
    ];
    for (what, damage) in damages {
        let dir = scratch();
        let (_, mut log) = recover(config(dir.path(), DeviceChoice::Auto));
        for number in 1..80 {
            append(&mut log, number);
        }
        log.close().unwrap();
        damage(dir.path());
        let before = contents(dir.path());
        let mut opening = Log::open(config(dir.path(), DeviceChoice::Auto)).unwrap();
        let mut seen = 0;
        while let Some(record) = opening.next() {
            let record = record.unwrap();
            assert_eq!(record.payload, payload(record.sequence));
            seen += 1;
        }
        let gaps = opening.gaps();
        assert_eq!(gaps.len(), 1);
        assert_eq!((gaps[0].lost, gaps[0].irreplaceable), (79 - seen, Some(79 - seen)));
        assert!(seen > 0 && (seen < 79 || what == "had been durable"), "{seen}");
        let notes = opening.notes().join("\n");
        assert!(notes.contains(what) && notes.contains("offset"), "{notes}");
        drop(opening);
        assert_eq!(contents(dir.path()), before, "nothing is changed");
        // The log goes on behind it.
        let (records, mut log) = recover(config(dir.path(), DeviceChoice::Auto));
        assert_eq!(records.len() as u64, seen);
        assert_eq!(append(&mut log, 80), Lsn(80));
        log.close().unwrap();
        assert_eq!(recover(config(dir.path(), DeviceChoice::Auto)).0.len() as u64, seen + 1);
    }
}

/// Whole segments go, their files with them; what was still wanted was copied, and a restart finds exactly that.
#[test]
fn old_segments_are_released() {
    let dir = scratch();
    let (_, mut log) = recover(config(dir.path(), DeviceChoice::Auto));
    for number in 1..=200 {
        append(&mut log, number);
    }
    let last = log.wait().unwrap();
    let mut none = |_: u8, _: u64| false;
    let old: Vec<_> = (0..).map_while(|at| log.old_segment(at, last, &mut none)).collect();
    assert!(old.len() >= 3);
    assert_eq!(worth_releasing(&old), old.len());
    // The record of one key is still wanted.
    let (_, kept) = log.read(&key(1)).unwrap().unwrap();
    log.append(1, Some(key(1)), &[&kept]).unwrap();
    log.wait().unwrap();
    let before = log.stats();
    assert!(log.release_below(old[2].next).unwrap());
    assert!(!log.release_below(old[2].next).unwrap(), "one at a time");
    while log.releasing() {
        let fd = log.event_fd();
        let mut wait = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut wait, None).unwrap();
        log.poll().unwrap();
    }
    let stats = log.stats();
    assert_eq!((stats.first_segment, stats.released_segments), (4, 3));
    assert!(stats.disk_bytes < before.disk_bytes && stats.keys < before.keys);
    assert_eq!(log.read(&key(2)).unwrap(), None, "released");
    assert_eq!(log.read(&key(1)).unwrap().unwrap().1, kept);
    let names: Vec<String> = contents(dir.path()).into_iter().map(|(name, _)| name).collect();
    assert!(!names.iter().any(|name| name == "segment-0000000003.log"), "{names:?}");
    log.close().unwrap();
    let (records, mut log) = recover(config(dir.path(), DeviceChoice::Auto));
    assert_eq!(records[0].sequence, stats.first_record);
    assert_eq!(records.last().unwrap().payload, kept);
    assert_eq!(log.stats().first_segment, 4);
    append(&mut log, 202);
    log.close().unwrap();

    // Cut short between the two copies of the header, and before the files went.
    let header = dir.path().join("log.header");
    let pages = fs::read(&header).unwrap();
    let (mut torn, stale) = (pages.clone(), dir.path().join("segment-0000000002.log"));
    torn[..4096].fill(0);
    fs::write(&header, torn).unwrap();
    fs::write(&stale, vec![1; 8192]).unwrap();
    let (records, _) = recover(config(dir.path(), DeviceChoice::Auto));
    assert_eq!(records[0].sequence, stats.first_record);
    assert!(!stale.exists());
    assert_eq!(fs::read(&header).unwrap(), pages);

    // The first segment lost, not released.
    fs::remove_file(dir.path().join("segment-0000000004.log")).unwrap();
    let mut opening = Log::open(config(dir.path(), DeviceChoice::Auto)).unwrap();
    while opening.next().is_some_and(|record| record.is_ok()) {}
    assert_eq!(opening.gaps()[0].from, stats.first_record);
    assert!(opening.gaps()[0].loses_irreplaceable());
}

fn expect_refusal(dir: &Path, file: &str, what: &str) {
    let before = contents(dir);
    let error = match Log::open(config(dir, DeviceChoice::Auto)) {
        Err(error) => error,
        Ok(opening) => opening.finish().err().expect("damage is an error"),
    };
    let LogError::Damaged { file: named, .. } = &error else {
        panic!("{error}");
    };
    assert!(named.ends_with(file), "{error}");
    let text = error.to_string();
    assert!(text.contains(what) && text.contains("offset"), "{text}");
    assert_eq!(contents(dir), before, "nothing is changed");
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "lock")
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    all.sort();
    all
}

#[test]
fn setting_up_can_be_cut_short() {
    let dir = scratch();
    // As left by a crash between the setup header and its rename.
    fs::write(dir.path().join("log.header.new"), b"half").unwrap();
    fs::write(dir.path().join("segment-0000000001.new"), b"half").unwrap();
    let (records, mut log) = recover(config(dir.path(), DeviceChoice::Auto));
    assert!(records.is_empty());
    append(&mut log, 1);
    log.close().unwrap();
    assert!(!dir.path().join("log.header.new").exists());
    assert!(!dir.path().join("segment-0000000001.new").exists());
    check(&recover(config(dir.path(), DeviceChoice::Auto)).0, 1);
}

/// The event becomes readable, and polling after each event reaches the end: what a sleeping run loop relies on.
#[test]
fn the_event_wakes_a_sleeper() {
    for device in [DeviceChoice::Auto, DeviceChoice::Plain] {
        for flush in [FlushMethod::Linked, FlushMethod::Dsync] {
            let dir = scratch();
            let config = LogConfig {
                flush,
                ..config(dir.path(), device)
            };
            let (_, mut log) = recover(config);
            for number in 1..60 {
                let lsn = append(&mut log, number);
                log.submit().unwrap();
                while log.poll().unwrap() < lsn {
                    let fd = log.event_fd();
                    let mut wait = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
                    rustix::event::poll(&mut wait, None).unwrap();
                    assert!(wait[0].revents().contains(rustix::event::PollFlags::IN));
                }
            }
        }
    }
}

/// Opened here, used there; dropped with flushes in flight.
#[test]
fn moves_to_its_thread_and_may_be_dropped_busy() {
    let dir = scratch();
    let (_, mut log) = recover(config(dir.path(), DeviceChoice::Auto));
    std::thread::spawn(move || {
        append(&mut log, 1);
        log.wait().unwrap();
        append(&mut log, 2);
        log.submit().unwrap();
    })
    .join()
    .unwrap();
    let (records, _) = recover(config(dir.path(), DeviceChoice::Auto));
    check(&records, 2);
}

#[test]
fn memory_backed_directories_are_refused_for_sync() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let refused = Log::open(config(dir.path(), DeviceChoice::Auto)).err();
    // Where /dev/shm is not in memory after all, there is nothing to refuse.
    let Some(refused) = refused else { return };
    assert!(matches!(refused, LogError::NotDurable { .. }), "{refused}");
    let weaker = LogConfig {
        durability: Durability::None,
        ..config(dir.path(), DeviceChoice::Auto)
    };
    let (_, mut log) = recover(weaker);
    append(&mut log, 1);
    assert_eq!(log.poll().unwrap(), Lsn(1), "reported at once");
    assert!(log.notes().iter().any(|note| note.contains("lives in memory")));
}

#[test]
fn contradictory_limits_are_refused() {
    let dir = scratch();
    let base = || config(dir.path(), DeviceChoice::Auto);
    let wrong = [
        LogConfig {
            segment_bytes: 5000,
            ..base()
        },
        LogConfig {
            segment_bytes: 64 << 10,
            ..base()
        },
        LogConfig {
            max_log_bytes: 4096,
            ..base()
        },
        LogConfig {
            buffer_bytes: 100,
            ..base()
        },
        LogConfig { in_flight: 0, ..base() },
    ];
    for config in wrong {
        assert!(matches!(Log::open(config).err(), Some(LogError::Config { .. })));
    }
}
