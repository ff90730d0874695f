//! The log of tips as the `raft` crate sees it: entries in memory, each of which has its record in the replica's log.
//! It is as long as what lies above the older of two kept checkpoints; the leader stops proposing before that grows
//! beyond the configured window of the log.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use crate::record::Hard;
use crate::words;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct RaftLog {
    n: u16,
    conf: ConfState,
    pub(crate) hard: Hard,
    /// Index and term below the first entry.
    base: (u64, u64),
    entries: VecDeque<Entry>,
    /// The newest kept checkpoint, with what vouches for its image.
    image: Option<((u64, u64), Bytes)>,
}

impl RaftLog {
    pub(crate) fn new(n: u16) -> Self {
        Self {
            n,
            conf: words::voters(n),
            hard: Hard::default(),
            base: (0, 0),
            entries: VecDeque::new(),
            image: None,
        }
    }

    pub(crate) fn base(&self) -> (u64, u64) {
        self.base
    }

    pub(crate) fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    pub(crate) fn get(&self, index: u64) -> Option<&Entry> {
        let place = index.checked_sub(self.base.0 + 1)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// Entries above an index, lowest first.
    pub(crate) fn above(&self, index: u64) -> impl Iterator<Item = &Entry> {
        let skipped = usize::try_from(index.saturating_sub(self.base.0)).unwrap_or(usize::MAX);
        self.entries.iter().skip(skipped)
    }

    /// Adds entries; they take the place of all from the first one's index on. False if they leave a gap.
    pub(crate) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) -> bool {
        let mut entries = entries
            .into_iter()
            .skip_while(|entry| entry.index <= self.base.0)
            .peekable();
        let Some(first) = entries.peek().map(|entry| entry.index) else {
            return true;
        };
        if first > self.last() + 1 {
            return false;
        }
        self.entries
            .truncate(usize::try_from(first - self.base.0 - 1).expect("entries fit memory"));
        self.entries.extend(entries);
        true
    }

    /// The log begins above a checkpoint that is kept.
    pub(crate) fn compact(&mut self, index: u64) {
        while self.base.0 < index
            && let Some(entry) = self.entries.pop_front()
        {
            self.base = (entry.index, entry.term);
        }
    }

    /// The log begins above an image that was taken over. Entries of the same history stay.
    pub(crate) fn begin_above(&mut self, at: (u64, u64)) {
        if self.get(at.0).is_some_and(|entry| entry.term == at.1) {
            self.compact(at.0);
        } else if at.0 > self.base.0 {
            self.entries.clear();
            self.base = at;
        }
    }

    /// A checkpoint is kept: who lags is given its image.
    pub(crate) fn keep_image(&mut self, at: (u64, u64), voucher: Bytes) {
        self.image = Some((at, voucher));
    }
}

impl Storage for RaftLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard.into(), self.conf.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.base.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let wanted = usize::try_from(high - low).expect("entries fit memory");
        let mut found: Vec<Entry> = self.above(low - 1).take(wanted).cloned().collect();
        raft::util::limit_size(&mut found, max_size.into());
        Ok(found)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base.0 {
            return Ok(self.base.1);
        }
        let missing = if index < self.base.0 {
            StorageError::Compacted
        } else {
            StorageError::Unavailable
        };
        self.get(index).map(|entry| entry.term).ok_or(Error::Store(missing))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _: u64) -> raft::Result<Snapshot> {
        match &self.image {
            Some((at, voucher)) if at.0 >= request_index => Ok(words::snapshot(self.n, *at, voucher.clone())),
            _ => Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        let mut entry = Entry::default();
        (entry.index, entry.term) = (index, term);
        entry
    }

    #[test]
    fn later_entries_take_the_place_of_earlier_ones_and_a_gap_is_told() {
        let mut log = RaftLog::new(3);
        assert!(log.append((1..=5).map(|index| entry(index, 1))));
        assert!(log.append([entry(4, 2)]));
        assert_eq!((log.last(), log.term(4).ok(), log.term(3).ok()), (4, Some(2), Some(1)));
        assert!(!log.append([entry(6, 2)]), "a gap");
        log.compact(3);
        assert_eq!((log.base(), log.first_index().ok()), ((3, 1), Some(4)));
        assert!(
            log.append([entry(2, 1), entry(3, 1)]),
            "below the base nothing is needed"
        );
        assert_eq!(log.last(), 4);
        assert!(log.term(2).is_err());
    }

    #[test]
    fn an_image_ahead_clears_the_log_and_one_of_the_same_history_does_not() {
        let mut log = RaftLog::new(3);
        assert!(log.append((1..=5).map(|index| entry(index, 1))));
        log.begin_above((3, 1));
        assert_eq!((log.base(), log.last()), ((3, 1), 5));
        log.begin_above((5, 2));
        assert_eq!((log.base(), log.last()), ((5, 2), 5), "another history");
        log.begin_above((4, 1));
        assert_eq!(log.base(), (5, 2), "never back");
    }
}
