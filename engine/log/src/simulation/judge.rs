//! Crashes, and what may be expected after them.

use std::collections::BTreeMap;

use super::fault::Crash;
use super::ledger::{HEADER_BYTES, Written};
use super::state::State;
use crate::error::LogError;
use crate::salvage::Gap;

impl State {
    pub(super) fn crash(&mut self, crash: Crash) {
        self.flights.clear();
        self.ended.clear();
        self.finish_segment();
        self.cut_release();
        if crash == Crash::Kill {
            self.cache.iter_mut().for_each(|cached| cached.written = true);
            return;
        }
        let mut cut: BTreeMap<u64, bool> = BTreeMap::new();
        for cached in std::mem::take(&mut self.cache) {
            let keep = match crash {
                Crash::PowerNone | Crash::Kill => false,
                Crash::PowerAll => true,
                Crash::PowerSubset => self.dice.chance(50),
                Crash::PowerPrefix => {
                    let cut = cut.entry(cached.ticket).or_insert(false);
                    *cut |= self.dice.chance(10);
                    !*cut
                }
            };
            if keep && !cached.lost {
                self.surface.write(cached.segment, cached.offset, &cached.bytes);
            }
        }
    }

    /// A segment that was being made got its name, or did not.
    pub(super) fn finish_segment(&mut self) {
        if let Some(made) = self.preparing.take()
            && self.now_us >= self.no_space_until_us
            && self.dice.chance(30)
        {
            self.surface.create(made.segment, &made.header);
        }
    }

    pub(super) fn judge_opening(&mut self, recovered: u64, gaps: &[Gap]) -> Result<u64, String> {
        let mut unseen = 0;
        if let Some(gap) = gaps.first().filter(|_| self.injuries == 0 && !self.passing) {
            return Err(format!("recovery finds damage on a sound disk: {gap}"));
        }
        if let Some(lost) = self.ledger.lost(recovered) {
            if self.injuries == 0 {
                return Err(format!(
                    "recovery ends with record {recovered}: group {lost} was acknowledged, and the disk is sound"
                ));
            }
            if let Some(witness) = self.ledger.witnesses(lost).find(|group| self.stands(group)) {
                return Err(format!(
                    "recovery ends with record {recovered} and takes damage for a torn tail: segment {} offset {} says \
                     that group {lost} was durable",
                    witness.segment, witness.offset
                ));
            }
            unseen = self
                .ledger
                .acknowledged()
                .iter()
                .filter(|number| **number >= lost)
                .count() as u64;
            *self.struck.entry("disk: acknowledged tail lost unseen").or_default() += 1;
        }
        self.ledger.opened(recovered, self.start.group - 1);
        Ok(unseen)
    }

    pub(super) fn judge_refusal(&self, error: &LogError) -> Result<(), String> {
        if self.injuries > 0 || self.passing {
            return Ok(());
        }
        Err(format!("a sound log is refused: {error}"))
    }

    /// Whether a group's header can be read where it was written, and was when the log was opened.
    pub(super) fn stands(&self, group: &Written) -> bool {
        let mut header = [0; HEADER_BYTES];
        let read = self.view(group.segment, group.offset, &mut header);
        read.is_ok() && header == group.header && !self.misread.contains(&(group.segment, group.offset))
    }
}
