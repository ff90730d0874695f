//! A start: what the log gives is compared with what it was given.

use std::collections::BTreeSet;

use bytes::Bytes;
use trireme_core::wire::decode_record;
use trireme_log::{Gap, Log, LogError, Opening};

use super::LoggedDisk;
use super::release::is_replaceable;
use crate::disk::Restart;
use crate::prng::Prng;

impl LoggedDisk {
    pub(in crate::disk) fn restart(&mut self, now: u64, prng: &mut Prng) -> Restart {
        self.disk.advance(now);
        if self.deaths > 0 {
            self.deaths -= 1;
            self.see("crash during recovery");
            self.begin_recovery(prng);
            let killed = prng.percent(30);
            self.crash(prng, killed);
            return Restart::Died;
        }
        match self.open() {
            Ok(()) => {
                let there = self.records.iter().enumerate();
                let there = there.filter(|(index, _)| !self.gone.contains(index));
                Restart::Up(there.map(|(_, record)| record.clone()).collect())
            }
            Err(error) => {
                if let Err(broken) = self.disk.judge_refusal(&error) {
                    self.broken(broken);
                }
                self.see(match error {
                    LogError::Damaged { .. } => "damaged middle refused",
                    _ => "unreadable log refused",
                });
                Restart::Refused(error)
            }
        }
    }

    /// Reads some records, or all and opens the log; then the process ends.
    fn begin_recovery(&mut self, prng: &mut Prng) {
        let Ok(mut opening) = Log::open_simulated(self.shape.config(), &self.disk) else {
            return;
        };
        let some = prng.index(self.records.len() + 2);
        for _ in 0..some {
            if !matches!(opening.next(), Some(Ok(_))) {
                break;
            }
        }
        if prng.percent(40) {
            drop(opening.finish());
        }
    }

    /// Opens the log and compares what it gives with what it was given.
    fn open(&mut self) -> Result<(), LogError> {
        let mut opening = Log::open_simulated(self.shape.config(), &self.disk)?;
        let (mut seen, mut others) = (BTreeSet::new(), Vec::new());
        while let Some(found) = opening.next() {
            let found = found?;
            let index = usize::try_from(found.sequence).expect("few records") - 1;
            if !self.same(index, found.kind, found.payload) {
                others.push(index);
            }
            seen.insert(index);
        }
        // Only now: the gap that explains it may lie behind the record.
        others.retain(|index| !self.revived(*index, &opening));
        for index in others {
            self.broken(format!("record {} comes back as another one", index + 1));
        }
        let last = seen.last().map_or(0, |last| last + 1);
        let last = opening
            .gaps()
            .iter()
            .map(|gap| gap.until as usize - 1)
            .fold(last, usize::max);
        self.judge_gaps(&opening, &seen, last);
        // As the pipeline does it: a replica that may have forgotten votes must not vote.
        if let Some(gap) = opening.gaps().iter().find(|gap| gap.loses_irreplaceable()) {
            self.see("vote records lost");
            return Err(LogError::Damaged {
                file: "simulated".into(),
                offset: 0,
                what: gap.to_string(),
                remedy: "",
            });
        }
        let (torn, gaps) = (opening.torn(), opening.gaps().to_vec());
        let log = opening.finish()?;
        // Nothing at all behind a release: the log goes on where it was released.
        let last = match last {
            0 => usize::try_from(log.stats().first_record).expect("few records") - 1,
            last => last,
        };
        match self.disk.judge_opening(last as u64, &gaps) {
            Ok(0) => {}
            Ok(_) => self.see("acknowledged tail lost without a witness"),
            Err(broken) => self.broken(broken),
        }
        if torn {
            self.see("torn tail truncated");
        }
        if gaps.iter().any(|gap| gap.lost > 0) {
            self.see("started without damaged batches");
        }
        if last > self.durable {
            self.see("unacknowledged records survive a crash");
        }
        let lost = self.records.drain(last..).enumerate();
        self.cut.extend(lost.map(|(index, record)| (last + index, record)));
        self.durable = self.records.len();
        self.gone = (0..last).filter(|index| !seen.contains(index)).collect();
        self.log = Some(log);
        Ok(())
    }

    /// What is missing lies in a gap, and a gap says how much of it no other replica has.
    fn judge_gaps(&mut self, opening: &Opening, seen: &BTreeSet<usize>, last: usize) {
        let told = |gap: &Gap| gap.from as usize - 1..gap.until as usize - 1;
        let first = seen.first().copied().unwrap_or(last);
        let first = opening.gaps().first().map_or(first, |gap| first.min(told(gap).start));
        let missing: Vec<usize> = (first..last).filter(|index| !seen.contains(index)).collect();
        let untold = missing
            .iter()
            .find(|index| !opening.gaps().iter().any(|gap| told(gap).contains(index)));
        if let Some(index) = untold {
            self.broken(format!("record {} is missing, and no gap says so", index + 1));
        }
        for gap in opening.gaps() {
            let here = missing.iter().filter(|index| told(gap).contains(index));
            let votes = here.filter(|index| self.records.get(**index).is_some_and(|r| !is_replaceable(r)));
            if votes.count() > 0 && !gap.loses_irreplaceable() {
                self.broken(format!("votes are missing, and nothing says so: {gap}"));
            }
        }
    }

    fn same(&self, index: usize, kind: u8, payload: Bytes) -> bool {
        let read = decode_record(kind, payload);
        matches!((self.records.get(index), read), (Some(given), Ok(read)) if *given == read)
    }

    /// A record that a torn tail took comes back if damage has taken all that could tell: its place, and what later
    /// openings wrote.
    fn revived(&self, index: usize, opening: &Opening) -> bool {
        !opening.gaps().is_empty() && self.cut.iter().any(|(at, _)| *at == index)
    }
}
