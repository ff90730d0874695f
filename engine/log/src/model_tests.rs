//! What a log under test should hold, kept beside it.

use std::collections::{BTreeSet, HashSet};

use crate::simulation::{Dice, SimulatedDisk};
use crate::{Entry, Log, LogError, Lsn, OldSegment, Opening, RecordKey, worth_releasing};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: u8,
    pub(crate) key: Option<RecordKey>,
    pub(crate) mark: u64,
    pub(crate) replaceable: bool,
    pub(crate) payload: Vec<u8>,
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
    let key = dice.chance(50).then_some(RecordKey(key));
    Record {
        kind,
        key,
        mark: if key.is_some() { dice.below(8) } else { 0 },
        replaceable: dice.chance(60),
        payload: (0..length).map(|_| fill.roll() as u8).collect(),
    }
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Model {
    /// Everything ever appended that may still be there, by sequence from 1 on.
    records: Vec<Record>,
    /// The prefix that must survive.
    acknowledged: u64,
    /// Sequence of the first record that is not released.
    first: u64,
    /// And of the first when it was opened last.
    began: u64,
    /// Where the log may begin: releases that were ordered.
    allowed: BTreeSet<u64>,
    /// Records that were cut off with a torn tail.
    cut: HashSet<(u64, Vec<u8>)>,
    /// Some of those came back.
    revived: bool,
    /// Records that damage has taken.
    missing: BTreeSet<u64>,
}

impl Model {
    pub(crate) fn last(&self) -> u64 {
        self.records.len() as u64
    }

    pub(crate) fn acknowledge(&mut self, reported: Lsn) {
        self.acknowledged = self.acknowledged.max(reported.0);
    }

    pub(crate) fn record(&self, sequence: u64) -> &Record {
        &self.records[sequence as usize - 1]
    }

    pub(crate) fn append(&mut self, log: &mut Log, record: Record) -> Result<Lsn, LogError> {
        let cut = record.payload.len() / 3;
        let (front, back) = record.payload.split_at(cut);
        let lsn = log.append_entry(&Entry {
            kind: record.kind,
            key: record.key,
            mark: record.mark,
            replaceable: record.replaceable,
            vital: false,
            parts: &[front, back],
        })?;
        self.records.push(record);
        assert_eq!(lsn.0, self.last());
        Ok(lsn)
    }

    /// A record that can be read back.
    pub(crate) fn pick_keyed(&self, dice: &mut Dice) -> Option<Record> {
        let there = |at: &u64| self.record(*at).key.is_some() && !self.missing.contains(at);
        let keyed: Vec<u64> = (self.first.max(1)..=self.last()).filter(there).collect();
        dice.pick(&keyed).map(|at| self.record(at).clone())
    }

    /// Reads the log to its end: what comes is what was appended, and what does not come was released, lies in a gap that
    /// says so, or was never acknowledged. Returns whether acknowledged records are missing at the end.
    pub(crate) fn read(&mut self, opening: &mut Opening, disk: &SimulatedDisk) -> Result<bool, LogError> {
        let first = disk.first_record();
        assert!(first == 1 || first == self.first || self.allowed.contains(&first));
        assert!(first >= self.began, "what was released stays so");
        (self.first, self.began) = (first, first);
        let mut seen = BTreeSet::new();
        let mut last = first - 1;
        while let Some(next) = opening.next() {
            let next = next?;
            assert!(next.sequence > last, "in order");
            last = next.sequence;
            assert!(last <= self.last(), "nothing is invented");
            let record = Record {
                kind: next.kind,
                key: next.key,
                mark: next.mark,
                replaceable: next.replaceable,
                payload: next.payload.to_vec(),
            };
            if record != *self.record(last) {
                // A torn tail was cut off before it, and damage has since taken everything that could say so: its place,
                // and all that later openings wrote.
                let known = self.cut.contains(&(last, record.payload.clone()));
                assert!(
                    known && !opening.gaps().is_empty(),
                    "record {last} comes back as appended"
                );
                self.records[last as usize - 1] = record;
                self.revived = true;
            }
            seen.insert(last);
        }
        last = opening.gaps().iter().map(|gap| gap.until - 1).fold(last, u64::max);
        assert!(last <= self.last(), "nothing is invented");
        self.missing = (first..=last).filter(|at| !seen.contains(at)).collect();
        self.check_gaps(opening);
        let cut = last < self.acknowledged;
        let gone = self.records.drain(last as usize..).map(|record| record.payload);
        self.cut.extend((last + 1..).zip(gone));
        self.acknowledged = self.acknowledged.min(last);
        Ok(cut)
    }

    /// Every gap says exactly what is missing in it, and nothing is missing elsewhere.
    fn check_gaps(&self, opening: &Opening) {
        let mut told = 0;
        for gap in opening.gaps() {
            let missing: Vec<u64> = self.missing.range(gap.from..gap.until).copied().collect();
            told += missing.len();
            assert_eq!(gap.lost, missing.len() as u64, "{gap}");
            let irreplaceable = missing.iter().filter(|at| !self.record(**at).replaceable).count();
            if let Some(count) = gap.irreplaceable.filter(|_| !self.revived) {
                assert_eq!(count, irreplaceable as u64, "{gap}");
            }
        }
        assert_eq!(told, self.missing.len(), "what is missing lies in a gap");
    }

    /// Releases old segments as a replica would: copies what is still wanted, waits, lets go.
    pub(crate) fn release(&mut self, log: &mut Log, dice: &mut Dice) -> Result<bool, LogError> {
        let reported = log.wait()?;
        self.acknowledge(reported);
        if log.releasing() {
            return Ok(false);
        }
        let (before, wanted) = (Lsn(1 + dice.below(reported.0 + 1)), dice.below(4));
        let mut live = |_: u8, mark: u64| mark < wanted;
        let old: Vec<OldSegment> = (0..).map_while(|at| log.old_segment(at, before, &mut live)).collect();
        let old = &old[..worth_releasing(&old)];
        let Some(last) = old.last() else {
            return Ok(false);
        };
        for key in old.iter().flat_map(|segment| &segment.live) {
            let latest = self.records.iter().rev().find(|record| record.key == Some(*key));
            let latest = latest.expect("the log lists what was appended").clone();
            match log.read(key) {
                Ok(found) => assert_eq!(found.expect("it is there").1, latest.payload),
                // A bad sector: it is lost anyway.
                Err(LogError::Damaged { .. } | LogError::Io { .. }) => continue,
                Err(error) => return Err(error),
            }
            match self.append(log, latest) {
                Ok(_) => {}
                Err(error) if error.is_refusal() => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let reported = log.wait()?;
        self.acknowledge(reported);
        if !log.release_below(last.next)? {
            return Ok(false);
        }
        self.allowed.insert(log.release_goal().expect("just ordered"));
        // Whatever is read from now on has to be behind it, though it may be there still.
        self.first = self.first.max(log.release_goal().expect("just ordered"));
        Ok(true)
    }
}
