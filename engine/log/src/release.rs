//! Letting go of the oldest segments (R-RELEASE).
//!
//! A log is released in whole segments from the front. Before that, whatever is still wanted of them has to be appended
//! again: the owner asks for each old segment what that is ([`Log::old_segment`]), copies it, and releases when the copies
//! are durable.

use crate::error::LogError;
use crate::format::Start;
use crate::index::Location;
use crate::log::Log;
use crate::{Lsn, RecordKey};

/// What has been released.
pub(crate) struct Releases {
    /// Where the log begins on disk.
    pub(crate) first_segment: u64,
    /// A release is under way to here.
    under_way: Option<Start>,
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
}

impl Releases {
    pub(crate) fn new(first_segment: u64) -> Releases {
        Releases {
            first_segment,
            under_way: None,
            segments: 0,
            bytes: 0,
        }
    }
}

/// The oldest records of the log, up to where a later segment begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldSegment {
    /// The segment with which the log would begin without them: for [`Log::release_below`].
    pub next: u64,
    /// Bytes that would be free.
    pub bytes: u64,
    /// Keys of records that are still wanted.
    pub live: Vec<RecordKey>,
    /// And their bytes.
    pub live_bytes: u64,
}

/// How many of these, oldest first, are worth a release: as many as can go while what has to be copied is at most half of
/// what comes free.
pub fn worth_releasing(segments: &[OldSegment]) -> usize {
    let (mut live, mut bytes, mut worth) = (0, 0, 0);
    for (count, segment) in (1..).zip(segments) {
        live += segment.live_bytes;
        bytes += segment.bytes;
        if live <= bytes / 2 {
            worth = count;
        }
    }
    worth
}

impl Log {
    /// Looks at the old segment with this index, 0 being the oldest, if all its records stand before `before`: what of it
    /// `live`, which is given kind and mark of each keyed record, still wants. Records without a key are not wanted; a
    /// record whose key was appended again is not, either. While a release is under way ([`Log::releasing`]) what it lets
    /// go counts as old still.
    pub fn old_segment(&self, index: usize, before: Lsn, live: &mut dyn FnMut(u8, u64) -> bool) -> Option<OldSegment> {
        let bounds = || self.bounds();
        let end = bounds().nth(index)?;
        if end.sequence > before.0 {
            return None;
        }
        let first = match index.checked_sub(1) {
            None => self.releases.first_segment,
            Some(earlier) => bounds().nth(earlier)?.segment,
        };
        let mut old = OldSegment {
            next: end.segment,
            bytes: 0,
            live: Vec::new(),
            live_bytes: 0,
        };
        for segment in first..end.segment {
            old.bytes += self.medium.segment_bytes(segment);
            let wanted = |(_, location): &(RecordKey, Location)| live(location.kind, location.mark);
            for (key, location) in self.index.in_segment(segment).filter(wanted) {
                old.live.push(key);
                old.live_bytes += u64::from(location.bytes);
            }
        }
        Some(old)
    }

    /// Where the log could begin instead, in order.
    fn bounds(&self) -> impl Iterator<Item = &Start> {
        let first = self.releases.first_segment;
        self.flushes.starts().iter().filter(move |start| start.segment > first)
    }

    /// Releases every segment below this one, in the background: first it becomes durable that the log begins here, then
    /// the files go. Keys of records that were not appended again are forgotten. False if another release is under way,
    /// or something up to there is not durable yet: try again when [`poll`](Log::poll) has told of progress.
    ///
    /// # Errors
    ///
    /// The log has failed.
    ///
    /// # Panics
    ///
    /// If no group begins that segment.
    pub fn release_below(&mut self, segment: u64) -> Result<bool, LogError> {
        self.check_alive()?;
        let start = *self
            .bounds()
            .find(|start| start.segment == segment)
            .expect("the owner releases up to what an old segment named");
        if self.releases.under_way.is_some() || !self.flushes.kept_before(&start) {
            return Ok(false);
        }
        self.releases.under_way = Some(start);
        let result = self.medium.release(start);
        self.keep(result)?;
        Ok(true)
    }

    #[cfg(test)]
    pub(crate) fn release_goal(&self) -> Option<u64> {
        self.releases.under_way.map(|start| start.sequence)
    }

    /// Whether a release is under way.
    pub fn releasing(&self) -> bool {
        self.releases.under_way.is_some()
    }

    /// In the oldest segment that holds any record of which `of`, given kind and mark, makes a number: the least of them.
    pub fn oldest_mark(&self, of: impl Fn(u8, u64) -> Option<u64>) -> Option<u64> {
        self.index.oldest(of)
    }

    /// The mark of the latest record with this key.
    pub fn mark(&self, key: &RecordKey) -> Option<u64> {
        self.index.get(key).map(|location| location.mark)
    }

    /// Takes the end of a release.
    pub(crate) fn collect_released(&mut self) -> Result<(), LogError> {
        let Some(outcome) = self.releases.under_way.and_then(|_| self.medium.released()) else {
            return Ok(());
        };
        let removed = outcome?;
        let start = self.releases.under_way.take().expect("just seen");
        self.releases.first_segment = start.segment;
        self.releases.segments += removed.segments;
        self.releases.bytes += removed.bytes;
        self.flushes.forget_below(start.segment);
        self.index.forget_below(start.segment);
        self.space.released(removed.bytes);
        Ok(())
    }
}
