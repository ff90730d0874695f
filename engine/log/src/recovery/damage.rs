//! Where the chain breaks: is the log at its end, or damaged, and where does it go on?

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Break, Chain, NoGroup, REMEDY, Scan, Stage, missing};
use crate::error::LogError;
use crate::format::{Address, GroupHeader, PAGE_BYTES};
use crate::medium::ReadSegments;
use crate::salvage::{Gap, Header, Salvage};

/// What the pages behind a break hold.
#[derive(Default)]
struct Survey {
    /// Sound headers.
    later: u64,
    /// One that says that the missing group was durable.
    witness: Option<Address>,
    /// By opening: the number from which on its groups take the place of earlier openings'.
    cuts: BTreeMap<u64, u64>,
}

impl Survey {
    /// Whether a later opening is known to have cut this group off with a torn tail.
    fn is_dead(&self, header: &GroupHeader) -> bool {
        let later = self.cuts.range(header.opening + 1..);
        later.into_iter().any(|(_, from)| *from <= header.number)
    }
}

impl Scan {
    /// Decides between tail and damage by what stands behind the break.
    pub(super) fn end(&mut self, source: &mut dyn ReadSegments, broken: &Break) -> Result<(), LogError> {
        let survey = self.survey(source, broken)?;
        let witness = survey.witness.filter(|_| !self.bugs.damage_is_torn_tail());
        let Some(witness) = witness else {
            return self.end_of_log(source, broken, survey.later);
        };
        let what = self.describe(source, broken, witness);
        let mut openings = vec![self.chain.opening];
        let Some(next) = self.continuation(source, &survey, &mut openings)? else {
            return Err(LogError::Damaged {
                file: source.path(broken.address.segment),
                offset: broken.address.offset,
                what,
                remedy: REMEDY,
            });
        };
        openings.push(next.header.opening);
        let here = (self.at, self.place(self.at).offset);
        let sequence = self.chain.next_sequence;
        let salvage = Salvage::new(&self.segments, here, next, openings, sequence, what);
        self.stage = Stage::Salvaging(salvage);
        Ok(())
    }

    /// Shows every sound group header behind the chain's end, with the index of its segment.
    fn headers(&mut self, source: &mut dyn ReadSegments, show: &mut dyn FnMut(&Chain, Header)) -> Result<(), LogError> {
        for at in self.at..self.segments.len() {
            let segment = self.segments[at];
            let mut offset = self.place(at).offset;
            while offset + PAGE_BYTES as u64 <= segment.bytes {
                let address = Address {
                    segment: segment.number,
                    offset,
                };
                let page = self.window.bytes(source, segment, offset, PAGE_BYTES)?;
                if let Some((header, _)) = GroupHeader::decode(page, &self.key, address) {
                    show(&self.chain, Header { header, at });
                }
                offset += PAGE_BYTES as u64;
            }
        }
        Ok(())
    }

    fn survey(&mut self, source: &mut dyn ReadSegments, broken: &Break) -> Result<Survey, LogError> {
        let mut survey = Survey::default();
        self.headers(source, &mut |chain, Header { header, .. }| {
            survey.later += u64::from(header.address != broken.address);
            if header.durable > chain.number && survey.witness.is_none() {
                survey.witness = Some(header.address);
            }
            survey.cuts.insert(header.opening, header.opened_at);
        })?;
        if let Some((newest, _)) = survey.cuts.last_key_value() {
            self.newest_opening = self.newest_opening.max(*newest);
        }
        Ok(survey)
    }

    /// Where the log goes on: with the group of the lowest number. Groups of an earlier opening that were cut off with a
    /// torn tail may still stand there. Notes the opening of the missing group, if that is known.
    fn continuation(
        &mut self,
        source: &mut dyn ReadSegments,
        survey: &Survey,
        openings: &mut Vec<u64>,
    ) -> Result<Option<Header>, LogError> {
        let mut next: Option<Header> = None;
        self.headers(source, &mut |chain, found| {
            let header = &found.header;
            if chain.leads_to(header) {
                // The missing one itself: its records are not sound.
                openings.push(header.opening);
                return;
            }
            let may_follow = header.number > chain.number
                && header.first_sequence >= chain.next_sequence
                && header.opening >= chain.opening
                && !survey.is_dead(header);
            let better = |best: &Header| {
                let best = (best.header.number, Reverse(best.header.opening));
                (header.number, Reverse(header.opening)) < best
            };
            if may_follow && next.as_ref().is_none_or(better) {
                next = Some(found);
            }
        })?;
        Ok(next)
    }

    /// Nothing says that more was durable: the log ends before the break.
    fn end_of_log(&mut self, source: &dyn ReadSegments, broken: &Break, later: u64) -> Result<(), LogError> {
        let end = self.chain.end;
        // A page that cannot be read might be the one that says so.
        if let Some(error) = self.window.unreadable_from(end.segment, end.offset) {
            return Err(error.clone());
        }
        let mut expected = end.segment;
        for segment in &self.segments[self.at..] {
            if segment.number > expected {
                return Err(missing(source, expected));
            }
            expected = segment.number + 1;
        }
        self.stage = Stage::Ended;
        if later > 0 || !matches!(broken.fault, NoGroup::Empty) {
            self.torn = Some(format!(
                "the tail was torn and has been cut at {} offset {} ({}; {later} unacknowledged groups behind it)",
                source.path(broken.address.segment).display(),
                broken.address.offset,
                broken.fault.describe(),
            ));
        }
        Ok(())
    }

    /// Everything sound in the gap has been given: the chain goes on behind it.
    pub(super) fn resume(&mut self) {
        let Stage::Salvaging(salvage) = std::mem::replace(&mut self.stage, Stage::Following) else {
            unreachable!("the caller has seen it");
        };
        let (chain, next) = (self.chain, salvage.until.header);
        let between = next.first_sequence - chain.next_sequence;
        let lost = between - salvage.found;
        let irreplaceable = next.irreplaceable_before.checked_sub(chain.irreplaceable);
        let irreplaceable = irreplaceable.and_then(|all| all.checked_sub(salvage.irreplaceable_found));
        // Two groups that do not follow each other and have none between them: one of them is not of this chain.
        let strange = next.number == chain.number + 1;
        self.gaps.push(Gap {
            from: chain.next_sequence,
            until: next.first_sequence,
            lost,
            irreplaceable: irreplaceable.filter(|count| *count <= lost && !strange),
            what: salvage.what,
        });
        self.at = salvage.until.at;
        self.chain = Chain {
            number: next.number - 1,
            checksum: next.previous,
            next_sequence: next.first_sequence,
            irreplaceable: next.irreplaceable_before,
            opening: chain.opening,
            end: next.address,
        };
    }

    fn describe(&self, source: &dyn ReadSegments, broken: &Break, witness: Address) -> String {
        format!(
            "group {} (from record {}) had been durable, as {} offset {} says, but at {} offset {}: {}",
            self.chain.number + 1,
            self.chain.next_sequence,
            source.path(witness.segment).display(),
            witness.offset,
            source.path(broken.address.segment).display(),
            broken.address.offset,
            broken.fault.describe(),
        )
    }
}
