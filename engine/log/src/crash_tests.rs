//! The log on a disk that crashes: what was acknowledged survives every crash image, nothing is invented, and damage
//! is never taken for a torn tail.

use proptest::prelude::*;

use crate::config::{DeviceChoice, Durability, FlushMethod, LogConfig};
use crate::error::{FullReason, LogError};
use crate::format::{Address, ChecksumKey, GROUP_HEADER_BYTES, GroupHeader, PAGE_BYTES, RECORD_HEADER_BYTES};
use crate::model_tests::{Model, draw_record};
use crate::simulation::{Crash, Dice, SECTOR_BYTES, SimulatedDisk};
use crate::{Gap, Log, Lsn, Opening, RecordKey};

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

/// One life after the other on one disk.
struct Run {
    dice: Dice,
    disk: SimulatedDisk,
    model: Model,
}

impl Run {
    fn new(seed: u64) -> Run {
        Run {
            dice: Dice::new(seed),
            disk: SimulatedDisk::new(&config(Durability::Sync, 1), None, seed),
            model: Model::default(),
        }
    }

    fn open(&mut self, config: LogConfig) -> Log {
        let mut opening = Log::open_simulated(config, &self.disk).expect("headers are sound");
        self.model
            .read(&mut opening, &self.disk)
            .expect("a crash alone is never damage");
        assert_eq!(opening.gaps(), [], "a crash alone is never damage");
        opening.finish().expect("recovery has ended well")
    }

    fn append(&mut self, log: &mut Log) {
        let record = draw_record(&mut self.dice);
        match self.model.append(log, record) {
            Ok(_) => {}
            Err(refusal) => assert!(refusal.is_refusal()),
        }
    }

    /// Random steps; the model follows what the log reports as durable.
    fn live(&mut self, log: &mut Log, durability: Durability, steps: u64) {
        for _ in 0..steps {
            match self.dice.below(8) {
                0..=3 => self.append(log),
                4 => log.submit().unwrap(),
                5 => {
                    let reported = log.poll().unwrap();
                    if durability == Durability::Sync {
                        self.model.acknowledge(reported);
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
            if durability == Durability::Sync && self.dice.chance(3) {
                self.model.release(log, &mut self.dice).unwrap();
            }
        }
        if durability == Durability::Async && self.dice.chance(30) {
            let reported = log.wait().unwrap();
            self.model.acknowledge(reported);
        }
    }

    fn check_read(&mut self, log: &mut Log) {
        if let Some(record) = self.model.pick_keyed(&mut self.dice) {
            let (kind, payload) = log
                .read(&record.key.expect("a keyed one"))
                .unwrap()
                .expect("every keyed record can be read back");
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
            run.model.acknowledge(Lsn(run.model.last()));
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
        let closed = log.close().unwrap();
        assert_eq!(closed.0, run.model.last());
        run.model.acknowledge(closed);
    }
    run
}

/// What recovery gives, judged by the model: everything, but for what it says is missing.
fn recover(run: &mut Run) -> Result<Vec<Gap>, LogError> {
    let mut opening = Log::open_simulated(config(Durability::Sync, 2), &run.disk)?;
    run.model.read(&mut opening, &run.disk)?;
    Ok(opening.gaps().to_vec())
}

/// A place in the middle of a random record's payload that is at least 16 bytes long, and the record's sequence.
fn place_in_payload(run: &mut Run) -> (u64, usize, u64) {
    loop {
        let sequence = 1 + run.dice.below(run.model.last());
        let payload = &run.model.record(sequence).payload;
        if payload.len() >= 16 {
            let places = run.disk.find(payload);
            assert_eq!(places.len(), 1);
            let within = run.dice.below(payload.len() as u64) as usize;
            return (places[0].0, places[0].1 + within, sequence);
        }
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
            // The model has seen that whatever is not there was said to be missing.
            recover(&mut run).unwrap();
        }
        let mut run = closed(seed);
        let (segment, at, sequence) = place_in_payload(&mut run);
        run.disk.tamper(segment, |file| file[at] ^= 1 << bit);
        let gaps = recover(&mut run).unwrap();
        let lost: u64 = gaps.iter().map(|gap| gap.lost).sum();
        prop_assert_eq!((gaps.len(), lost), (1, 1), "one record is lost by one bit");
        prop_assert!((gaps[0].from..gaps[0].until).contains(&sequence));
        prop_assert_eq!(gaps[0].loses_irreplaceable(), !run.model.record(sequence).replaceable);
    }

    #[test]
    fn lost_and_misdirected_writes_are_damage(seed: u64) {
        let mut run = closed(seed);
        let (segment, at, sequence) = place_in_payload(&mut run);
        let start = at / SECTOR_BYTES * SECTOR_BYTES;
        if run.dice.chance(50) {
            run.disk.tamper(segment, |file| file[start..start + SECTOR_BYTES].fill(0));
        } else {
            // A page of this log in the wrong place.
            let page = at / PAGE_BYTES * PAGE_BYTES;
            let other = if page > PAGE_BYTES { PAGE_BYTES } else { page + PAGE_BYTES };
            run.disk.tamper(segment, |file| file.copy_within(other..other + PAGE_BYTES, page));
        }
        let gaps = recover(&mut run).unwrap();
        prop_assert!(gaps.iter().any(|gap| (gap.from..gap.until).contains(&sequence) && gap.lost > 0));
    }

    /// A whole file is gone: damage, unless the log's header says that it was released.
    #[test]
    fn a_lost_segment_is_not_a_released_one(seed: u64) {
        let mut run = closed(seed);
        let first = run.disk.segment_of(1);
        run.disk.remove(first);
        match recover(&mut run) {
            Ok(gaps) => {
                let lost: u64 = gaps.iter().map(|gap| gap.lost).sum();
                prop_assert!(lost > 0 && gaps[0].from == 1);
            }
            Err(LogError::Damaged { .. }) => {}
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}

fn payloads(opening: &mut Opening) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| opening.next())
        .map(|record| record.unwrap().payload.to_vec())
        .collect()
}

/// Whole groups behind a torn one were on disk; the log went on over them. They never come back.
#[test]
fn groups_behind_a_torn_one_stay_dead() {
    let disk = SimulatedDisk::new(&config(Durability::Sync, 1), None, 1);
    let open = || {
        let mut opening = Log::open_simulated(config(Durability::Sync, 3), &disk).unwrap();
        let records = payloads(&mut opening);
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
    assert_eq!(records[0], b"again");
}

/// A payload full of group headers, made without the log's key, is no witness of anything.
#[test]
fn payloads_cannot_pose_as_groups() {
    let disk = SimulatedDisk::new(&config(Durability::Sync, 1), None, 1);
    let mut log = Log::open_simulated(config(Durability::Sync, 1), &disk)
        .unwrap()
        .finish()
        .unwrap();
    // Where the record's payload begins in the group; the group begins at 4096.
    let payload_at = GROUP_HEADER_BYTES + RECORD_HEADER_BYTES;
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
            bytes: GROUP_HEADER_BYTES as u32,
            durable: 1,
            irreplaceable: 0,
            opening: 1,
            previous: [0; 16],
            irreplaceable_before: 0,
            opened_at: 1,
        };
        let at = page as usize * PAGE_BYTES - payload_at;
        forged.encode(&ChecksumKey([1; 32]), &mut payload[at..]);
    }
    log.append(1, None, &[&payload]).unwrap();
    log.submit().unwrap();
    drop(log);
    disk.crash(Crash::PowerAll);
    let first = 4096 + 200;
    disk.tamper(1, |file| file[first] ^= 1);
    let mut opening = Log::open_simulated(config(Durability::Sync, 1), &disk).unwrap();
    assert!(payloads(&mut opening).is_empty());
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
