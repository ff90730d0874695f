//! The log on a disk with faults: it keeps its promises, and what it refuses it refuses for a reason.

use std::collections::BTreeMap;

use super::{Crash, Dice, Fault, Pace, SimulatedDisk};
use crate::crash_tests::config;
use crate::model_tests::{Model, draw_record};
use crate::{Durability, Log, LogError, Lsn};

const PACE: Pace = Pace {
    flush_us: 50,
    spread_us: 2_000,
    prepare_us: 3_000,
};
const HARMLESS: [Fault; 4] = [
    Fault::FailFlush,
    Fault::ShortWrite,
    Fault::FailRead,
    Fault::NoSpace { us: 400_000 },
];
const HARMFUL: [Fault; 5] = [
    Fault::MisdirectRead,
    Fault::MisdirectWrite,
    Fault::LoseFlush,
    Fault::Rot,
    Fault::Latent,
];

/// Lives of one log on one disk.
struct Run {
    dice: Dice,
    disk: SimulatedDisk,
    now_us: u64,
    model: Model,
    faults: &'static [Fault],
    seen: BTreeMap<&'static str, u64>,
}

impl Run {
    fn new(seed: u64, faults: &'static [Fault]) -> Run {
        let disk = SimulatedDisk::new(&config(Durability::Sync, 3), Some(PACE), seed);
        let mut dice = Dice::new(seed ^ 0xd15c);
        disk.set_direct(dice.chance(50));
        Run {
            dice,
            disk,
            now_us: 0,
            model: Model::default(),
            faults,
            seen: BTreeMap::new(),
        }
    }

    fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Opens the log and judges what it gives.
    fn open(&mut self) -> Result<Log, LogError> {
        let mut opening = Log::open_simulated(config(Durability::Sync, 3), &self.disk)?;
        let cut = self.model.read(&mut opening, &self.disk)?;
        let (torn, gaps) = (opening.torn(), opening.gaps().to_vec());
        let log = opening.finish()?;
        let unseen = self
            .disk
            .judge_opening(self.model.last(), &gaps)
            .expect("the log keeps its promises");
        assert_eq!(unseen > 0, cut, "up to {}", self.model.last());
        if torn {
            self.see("torn tail");
        }
        for gap in gaps {
            self.see(match gap.irreplaceable {
                Some(0) if gap.lost == 0 => "damage that loses nothing",
                Some(0) => "only replaceable records lost",
                Some(_) => "irreplaceable records lost",
                None => "unknown records lost",
            });
        }
        self.model.acknowledge(Lsn(self.model.last()));
        Ok(log)
    }

    /// Appends, flushes and reads until the log fails or the steps are done.
    fn live(&mut self, log: &mut Log, steps: u64) -> Result<(), LogError> {
        for _ in 0..steps {
            match self.dice.below(10) {
                0..=3 => self.append(log)?,
                4 | 5 => log.submit()?,
                6..=8 => {
                    self.now_us += self.dice.below(2_000);
                    self.disk.advance(self.now_us);
                    self.model.acknowledge(log.poll()?);
                }
                _ => self.read(log),
            }
            if self.dice.chance(2) {
                let fault = self.dice.pick(self.faults).expect("there are faults");
                self.disk.inject(fault);
            }
            if self.dice.chance(3) && self.model.release(log, &mut self.dice)? {
                self.see("segments released");
            }
        }
        Ok(())
    }

    fn append(&mut self, log: &mut Log) -> Result<(), LogError> {
        let record = draw_record(&mut self.dice);
        match self.model.append(log, record) {
            Ok(_) | Err(LogError::Busy) => {}
            Err(LogError::Full { .. }) => self.see("full"),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// A record that is read back is the right one, or an error.
    fn read(&mut self, log: &mut Log) {
        let Some(record) = self.model.pick_keyed(&mut self.dice) else {
            return;
        };
        match log.read(record.key.as_ref().expect("a keyed one")) {
            Ok(found) => {
                let (kind, payload) = found.expect("every keyed record can be read back");
                let same = kind == record.kind && payload == record.payload;
                assert!(same, "a wrong record is taken for good");
            }
            Err(LogError::Damaged { .. }) => self.see("damaged record noticed"),
            Err(LogError::Io { .. }) => self.see("read error"),
            Err(other) => panic!("{other}"),
        }
    }

    fn lives(mut self) -> Run {
        for _ in 0..8 {
            match self.open() {
                Ok(mut log) => {
                    let steps = self.dice.below(120);
                    if self.live(&mut log, steps).is_err() {
                        self.see("process ended");
                    }
                }
                Err(error) => {
                    self.disk.judge_refusal(&error).expect("a sound disk is opened");
                    let damaged = matches!(error, LogError::Damaged { .. });
                    self.see(if damaged {
                        "damage refused"
                    } else {
                        "unreadable refused"
                    });
                }
            }
            let crash = self.dice.pick(&Crash::ALL).expect("there are some");
            self.disk.crash(crash);
        }
        for (name, times) in self.disk.struck() {
            *self.seen.entry(name).or_default() += times;
        }
        self
    }
}

fn many(seeds: std::ops::Range<u64>, faults: &'static [Fault], expected: &[&str]) {
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds {
        let run = Run::new(seed, faults).lives();
        for (name, times) in run.seen {
            *seen.entry(name).or_default() += times;
        }
    }
    for name in expected {
        assert!(seen.contains_key(name), "never: {name}; {seen:#?}");
    }
}

/// Whatever an ordinary disk may do, nothing acknowledged is lost and no start is refused twice.
#[test]
fn ordinary_faults_lose_nothing() {
    let expected = [
        "disk: flush failed",
        "disk: short write",
        "disk: read failed",
        "disk: full",
        "full",
        "process ended",
        "read error",
        "torn tail",
        "unreadable refused",
        "segments released",
    ];
    many(0..400, &HARMLESS, &expected);
}

/// Damage is noticed, or lies where nothing could witness it; no wrong record is ever taken for good.
#[test]
fn damage_is_never_taken_for_a_torn_tail() {
    let expected = [
        "disk: acknowledged flush lost",
        "disk: acknowledged tail lost unseen",
        "disk: bit rot",
        "disk: latent sector error",
        "disk: misdirected read",
        "disk: misdirected write",
        "damage that loses nothing",
        "only replaceable records lost",
        "irreplaceable records lost",
        "damaged record noticed",
        "torn tail",
        "unreadable refused",
        "segments released",
    ];
    many(0..400, &HARMFUL, &expected);
}

#[cfg(feature = "bugs")]
mod broken {
    use super::*;
    use crate::bugs::Bugs;

    fn fails(bug: &str, faults: &'static [Fault]) {
        let found = (0..400).any(|seed| {
            std::panic::catch_unwind(|| {
                let run = Run::new(seed, faults);
                let mut bugs = Bugs::default();
                assert!(bugs.set(bug));
                run.disk.set_bugs(bugs);
                run.lives();
            })
            .is_err()
        });
        assert!(found, "{bug} is not found");
    }

    #[test]
    fn damage_taken_for_a_torn_tail_is_found() {
        fails("damage_is_torn_tail", &HARMFUL);
    }

    #[test]
    fn a_flush_tried_again_is_found() {
        fails("retry_failed_flush", &HARMLESS);
    }
}
