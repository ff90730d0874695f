//! The log on a disk that crashes: what was acknowledged survives every crash image, nothing is invented, and damage
//! is never taken for a torn tail.

use proptest::prelude::*;

use crate::config::{DeviceChoice, Durability, FlushMethod, LogConfig};
use crate::error::{FullReason, LogError};
use crate::format::{Address, ChecksumKey, GroupHeader, PAGE_BYTES};
use crate::simulation::{Crash, Dice, SECTOR_BYTES, SimulatedDisk};
use crate::{Log, Lsn, Opening, RecordKey};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: u8,
    pub(crate) key: Option<RecordKey>,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn config(durability: Durability, in_flight: u32) -> LogConfig {
    LogConfig {
        dir: "simulated".into(),
        fingerprint: [6; 32],
        segment_bytes: 64 << 10,
        max_log_bytes: 2 << 20,
        max_record_bytes: 20_000,
        durability,
        device: DeviceChoice::Auto,
        flush: FlushMethod::Linked,
        buffer_bytes: 12 << 10,
        in_flight,
        reserve_bytes: 16 << 10,
        max_keys: 10_000,
    }
}

/// A record whose payload is not found by chance; sometimes longer than a buffer.
pub(crate) fn draw_record(dice: &mut Dice) -> Record {
    let length = match dice.below(10) {
        0 => 12_000 + dice.below(8_000),
        1..=3 => 1_000 + dice.below(6_000),
        _ => dice.below(300),
    };
    let kind = dice.below(256) as u8;
    let mut key = [0; 32];
    key[..8].copy_from_slice(&dice.roll().to_le_bytes());
    let seed = dice.roll();
    let mut fill = Dice::new(seed);
    Record {
        kind,
        key: dice.chance(50).then_some(RecordKey(key)),
        payload: (0..length).map(|_| fill.roll() as u8).collect(),
    }
}

pub(crate) fn read_all(opening: &mut Opening) -> Result<Vec<Record>, LogError> {
    let mut records = Vec::new();
    while let Some(next) = opening.next() {
        let next = next?;
        records.push(Record {
            kind: next.kind,
            key: next.key,
            payload: next.payload.to_vec(),
        });
        assert_eq!(next.sequence, records.len() as u64);
    }
    Ok(records)
}

/// One life after the other on one disk.
struct Run {
    dice: Dice,
    disk: SimulatedDisk,
    /// What the log should hold.
    model: Vec<Record>,
    /// The prefix of `model` that must survive.
    acked: usize,
}

impl Run {
    fn new(seed: u64) -> Run {
        Run {
            dice: Dice::new(seed),
            disk: SimulatedDisk::new(&config(Durability::Sync, 1), None, seed),
            model: Vec::new(),
            acked: 0,
        }
    }

    fn open(&mut self, config: LogConfig) -> Log {
        let mut opening = Log::open_simulated(config, &self.disk).expect("headers are sound");
        let records = read_all(&mut opening).expect("a crash alone is never damage");
        let count = records.len();
        assert!(count >= self.acked, "{count} of {} acknowledged records", self.acked);
        assert!(count <= self.model.len(), "nothing is invented");
        assert!(records == self.model[..count], "records come back as appended");
        self.model.truncate(count);
        opening.finish().expect("recovery has ended well")
    }

    fn append(&mut self, log: &mut Log) {
        let record = draw_record(&mut self.dice);
        let cut = (self.dice.roll() as usize) % (record.payload.len() + 1);
        let (front, back) = record.payload.split_at(cut);
        match log.append(record.kind, record.key, &[front, back]) {
            Ok(lsn) => {
                self.model.push(record);
                assert_eq!(lsn, Lsn(self.model.len() as u64));
            }
            Err(refusal) => assert!(refusal.is_refusal()),
        }
    }

    /// Random steps; `acked` follows what the log reports as durable.
    fn live(&mut self, log: &mut Log, durability: Durability, steps: u64) {
        for _ in 0..steps {
            match self.dice.below(8) {
                0..=3 => self.append(log),
                4 => log.submit().unwrap(),
                5 => {
                    let reported = log.poll().unwrap();
                    if durability == Durability::Sync {
                        self.acked = self.acked.max(reported.0 as usize);
                    }
                }
                6 => {
                    let flights = self.disk.in_flight() as u64;
                    if flights > 0 {
                        self.disk.complete(self.dice.below(flights) as usize, Ok(()));
                    }
                }
                _ => self.check_read(log),
            }
        }
        if durability == Durability::Async && self.dice.chance(30) {
            self.acked = log.wait().unwrap().0 as usize;
        }
    }

    fn check_read(&mut self, log: &mut Log) {
        if self.model.is_empty() {
            return;
        }
        let index = self.dice.below(self.model.len() as u64) as usize;
        let record = &self.model[index];
        if let Some(key) = &record.key {
            let (kind, payload) = log.read(key).unwrap().expect("every keyed record can be read back");
            assert_eq!((kind, &payload[..]), (record.kind, &record.payload[..]));
        }
    }

    fn draw_mode(&mut self) -> Durability {
        match self.dice.below(6) {
            0 => Durability::Async,
            1 => Durability::None,
            _ => Durability::Sync,
        }
    }
}

fn crashes(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..6 {
        let (mode, in_flight) = (run.draw_mode(), 1 + run.dice.below(4) as u32);
        let mut log = run.open(config(mode, in_flight));
        if mode != Durability::None {
            // Opening flushes what it recovered.
            run.acked = run.model.len();
        }
        let steps = run.dice.below(60);
        run.live(&mut log, mode, steps);
        let crash = Crash::ALL[run.dice.below(5) as usize];
        drop(log);
        run.disk.crash(crash);
    }
    run.open(config(Durability::Sync, 1));
    assert!(run.disk.total_bytes() <= 2 << 20, "never beyond max_log_bytes");
}

/// A log that was closed, with a few records in several segments.
fn closed(seed: u64) -> Run {
    let mut run = Run::new(seed);
    for _ in 0..2 {
        let mut log = run.open(config(Durability::Sync, 2));
        for _ in 0..12 {
            run.append(&mut log);
            if run.dice.chance(40) {
                log.wait().unwrap();
            }
        }
        run.acked = log.close().unwrap().0 as usize;
        assert_eq!(run.acked, run.model.len());
    }
    run
}

fn recover(disk: &SimulatedDisk) -> Result<Vec<Record>, LogError> {
    let mut opening = Log::open_simulated(config(Durability::Sync, 2), disk)?;
    read_all(&mut opening)
}

/// A place in the middle of a random record's payload that is at least 16 bytes long.
fn place_in_payload(run: &mut Run) -> (u64, usize) {
    loop {
        let index = run.dice.below(run.model.len() as u64) as usize;
        let payload = &run.model[index].payload;
        if payload.len() >= 16 {
            let places = run.disk.find(payload);
            assert_eq!(places.len(), 1);
            let within = run.dice.below(payload.len() as u64) as usize;
            return (places[0].0, places[0].1 + within);
        }
    }
}

fn expect_damage(disk: &SimulatedDisk, segment: u64, at: usize) {
    match recover(disk).expect_err("what was acknowledged is missing") {
        LogError::Damaged { file, offset, what, .. } => {
            assert!(
                file.ends_with(segment.to_string()) || what.contains("next segment"),
                "{what}"
            );
            assert!(!file.ends_with(segment.to_string()) || offset <= at as u64);
        }
        other => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_records_survive_every_crash(seed: u64) {
        crashes(seed);
    }

    #[test]
    fn any_changed_bit_is_damage_or_harmless(seed: u64) {
        let mut run = closed(seed);
        let segment = 1 + run.dice.below(2);
        let (at, bit) = (run.dice.below(64 << 10) as usize, run.dice.below(8));
        if run.disk.has(segment) {
            run.disk.tamper(segment, |file| file[at] ^= 1 << bit);
            match recover(&run.disk) {
                Ok(records) => prop_assert!(records == run.model, "padding, free space or the closing group"),
                Err(LogError::Damaged { .. }) => {}
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
        let mut run = closed(seed);
        let (segment, at) = place_in_payload(&mut run);
        run.disk.tamper(segment, |file| file[at] ^= 1 << bit);
        expect_damage(&run.disk, segment, at);
    }

    #[test]
    fn lost_and_misdirected_writes_are_damage(seed: u64) {
        let mut run = closed(seed);
        let (segment, at) = place_in_payload(&mut run);
        let start = at / SECTOR_BYTES * SECTOR_BYTES;
        if run.dice.chance(50) {
            run.disk.tamper(segment, |file| file[start..start + SECTOR_BYTES].fill(0));
        } else {
            // A page of this log in the wrong place.
            let page = at / PAGE_BYTES * PAGE_BYTES;
            let other = if page > PAGE_BYTES { PAGE_BYTES } else { page + PAGE_BYTES };
            run.disk.tamper(segment, |file| file.copy_within(other..other + PAGE_BYTES, page));
        }
        expect_damage(&run.disk, segment, at);
    }
}

/// Whole groups behind a torn one were on disk; the log went on over them. They never come back.
#[test]
fn groups_behind_a_torn_one_stay_dead() {
    let disk = SimulatedDisk::new(&config(Durability::Sync, 1), None, 1);
    let open = || {
        let mut opening = Log::open_simulated(config(Durability::Sync, 3), &disk).unwrap();
        let records = read_all(&mut opening).unwrap();
        (records, opening)
    };
    let mut log = open().1.finish().unwrap();
    for payload in [b"first", b"other", b"third"] {
        log.append(1, None, &[payload]).unwrap();
        log.submit().unwrap();
    }
    assert_eq!(disk.in_flight(), 3);
    drop(log);
    disk.crash(Crash::PowerAll);
    let (_, at) = disk.find(b"first")[0];
    disk.tamper(1, |file| file[at] ^= 1);

    let (records, opening) = open();
    assert!(records.is_empty(), "nobody was told of any of them");
    assert!(opening.notes()[0].contains("2 unacknowledged groups behind it"));
    let mut log = opening.finish().unwrap();
    log.append(1, None, &[b"again"]).unwrap();
    log.wait().unwrap();
    drop(log);
    disk.crash(Crash::PowerNone);
    let (records, _) = open();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].payload, b"again");
}

/// A payload full of group headers, made without the log's key, is no witness of anything.
#[test]
fn payloads_cannot_pose_as_groups() {
    let disk = SimulatedDisk::new(&config(Durability::Sync, 1), None, 1);
    let mut log = Log::open_simulated(config(Durability::Sync, 1), &disk)
        .unwrap()
        .finish()
        .unwrap();
    // The record's payload begins 96 + 48 bytes into the group, and the group at 4096.
    let mut payload = vec![0; 3 * PAGE_BYTES];
    for page in 1..3u64 {
        let forged = GroupHeader {
            number: 2,
            address: Address {
                segment: 1,
                offset: (1 + page) * PAGE_BYTES as u64,
            },
            first_sequence: 1,
            record_count: 0,
            bytes: 96,
            durable: 1,
            opening: 1,
            previous: [0; 16],
        };
        let at = page as usize * PAGE_BYTES - 144;
        forged.encode(&ChecksumKey([1; 32]), &mut payload[at..]);
    }
    log.append(1, None, &[&payload]).unwrap();
    log.submit().unwrap();
    drop(log);
    disk.crash(Crash::PowerAll);
    let first = 4096 + 200;
    disk.tamper(1, |file| file[first] ^= 1);
    assert_eq!(recover(&disk).unwrap(), []);
}

/// Rule R-DURABLE: a failed flush is final, whatever completes later.
#[test]
fn a_failed_flush_is_never_forgotten() {
    let disk = SimulatedDisk::new(&config(Durability::Sync, 1), None, 1);
    let mut log = Log::open_simulated(config(Durability::Sync, 2), &disk)
        .unwrap()
        .finish()
        .unwrap();
    for payload in [b"one", b"two"] {
        log.append(1, None, &[payload]).unwrap();
        log.submit().unwrap();
    }
    disk.complete(1, Ok(()));
    assert_eq!(log.poll(), Ok(Lsn(0)), "the second waits for the first");
    let failure = LogError::io(
        "fdatasync",
        "simulated".as_ref(),
        0,
        &std::io::Error::from_raw_os_error(libc::EIO),
    );
    disk.complete(0, Err(failure.clone()));
    assert_eq!(log.poll(), Err(failure.clone()));
    assert_eq!(log.poll(), Err(failure.clone()));
    assert_eq!(log.append(1, None, &[b"x"]), Err(failure.clone()));
    assert_eq!(log.submit(), Err(failure.clone()));
    assert_eq!(log.wait(), Err(failure));
    assert!(!log.has_room(1));
}

#[test]
fn a_full_disk_refuses_spares_votes_and_recovers() {
    let disk = SimulatedDisk::new(&config(Durability::Sync, 1), None, 1);
    disk.set_no_space(true);
    let mut log = Log::open_simulated(config(Durability::Sync, 2), &disk)
        .unwrap()
        .finish()
        .unwrap();
    log.poll().unwrap();
    assert_eq!(log.stats().growth_stopped, Some(FullReason::Disk));
    let mut accepted = 0;
    let refusal = loop {
        match log.append(1, None, &[&[3; 5000]]) {
            Ok(_) => accepted += 1,
            Err(refusal) => break refusal,
        }
        log.wait().unwrap();
    };
    assert!(
        matches!(
            refusal,
            LogError::Full {
                reason: FullReason::Disk,
                ..
            }
        ),
        "{refusal}"
    );
    assert_eq!(accepted, 5, "60 KiB less the reserve, two pages each");
    log.append_vital(2, None, &[b"vote"]).unwrap();
    log.wait().unwrap();
    disk.set_no_space(false);
    let mut now_us = 0;
    while !log.has_room(5000) {
        // A full disk is asked again after a while.
        now_us += 100_000;
        disk.advance(now_us);
        log.poll().unwrap();
    }
    log.append(1, None, &[&[4; 5000]]).unwrap();
    log.wait().unwrap();
}

/// While the next segment is being prepared an append is refused for the moment, and nothing is lost by it.
#[test]
fn an_unready_segment_means_busy() {
    let disk = SimulatedDisk::new(&config(Durability::Sync, 1), None, 1);
    disk.set_prepare_allowed(false);
    let mut log = Log::open_simulated(config(Durability::Sync, 2), &disk)
        .unwrap()
        .finish()
        .unwrap();
    let mut accepted = 0;
    let refusal = loop {
        match log.append(1, None, &[&[3; 5000]]) {
            Ok(_) => accepted += 1,
            Err(refusal) => break refusal,
        }
        log.wait().unwrap();
    };
    assert_eq!((refusal, accepted), (LogError::Busy, 7));
    assert_eq!(log.stats().busy, 1);
    disk.set_prepare_allowed(true);
    log.poll().unwrap();
    assert_eq!(log.append(1, None, &[&[3; 5000]]), Ok(Lsn(8)));
    assert_eq!(log.wait(), Ok(Lsn(8)));
}

#[test]
fn the_key_index_is_bounded() {
    let disk = SimulatedDisk::new(&config(Durability::Sync, 1), None, 1);
    let config = LogConfig {
        max_keys: 1,
        ..config(Durability::Sync, 2)
    };
    let mut log = Log::open_simulated(config, &disk).unwrap().finish().unwrap();
    let key = |byte| Some(RecordKey([byte; 32]));
    log.append(1, key(1), &[b"a"]).unwrap();
    log.append(1, key(1), &[b"b"]).unwrap();
    let refused = log.append(1, key(2), &[b"c"]);
    assert!(matches!(
        refused,
        Err(LogError::Full {
            reason: FullReason::Keys,
            ..
        })
    ));
    log.append(1, None, &[b"d"]).unwrap();
    assert_eq!(log.stats().keys, 1);
}
