//! A write-ahead log as a list of records: they become durable after a delay, in prefix order, and a crash leaves what
//! was durable and, sometimes, more of what had been written.

use std::collections::VecDeque;

use trireme_core::record::{Record, VoteRecord};

use super::{Append, DiskPace, Ended, Needless};
use crate::prng::Prng;

/// An append on its way to the disk.
struct Pending {
    append: Ended,
    /// Records of the log up to and including this append.
    end: usize,
    /// Simulated time at which it is durable; none while it waits for company.
    durable_at: Option<u64>,
}

/// The log of one replica.
pub(crate) struct PlainDisk {
    pace: DiskPace,
    records: Vec<Record>,
    /// Records that were before these and are gone.
    released: usize,
    durable: usize,
    pending: VecDeque<Pending>,
    last_flush_at: u64,
}

impl PlainDisk {
    pub(super) fn new(pace: DiskPace) -> Self {
        Self {
            pace,
            records: Vec::new(),
            released: 0,
            durable: 0,
            pending: VecDeque::new(),
            last_flush_at: 0,
        }
    }

    /// Writes an append. Returns when to call [`PlainDisk::complete`].
    pub(super) fn append(&mut self, now: u64, prng: &mut Prng, append: Append) -> u64 {
        assert!(
            self.pending.back().is_none_or(|p| p.append.id < append.id),
            "append numbers ascend"
        );
        self.records.extend(append.records);
        let pending = Pending {
            append: Ended {
                id: append.id,
                release: append.release,
            },
            end: self.released + self.records.len(),
            durable_at: None,
        };
        self.pending.push_back(pending);
        if append.urgent {
            self.flush(now, prng)
        } else {
            now + self.pace.linger_us
        }
    }

    /// Starts to flush all that is pending, if some of it waits. Returns when to call [`PlainDisk::complete`] again.
    pub(super) fn flush(&mut self, now: u64, prng: &mut Prng) -> u64 {
        let done = now + self.pace.flush_us + prng.skewed(self.pace.spread_us);
        self.last_flush_at = self.last_flush_at.max(done);
        for pending in self.pending.iter_mut().filter(|p| p.durable_at.is_none()) {
            pending.durable_at = Some(self.last_flush_at);
        }
        self.last_flush_at
    }

    /// Whether an append waits for a flush to start.
    pub(super) fn waits(&self) -> bool {
        self.pending.back().is_some_and(|p| p.durable_at.is_none())
    }

    /// The next append that is durable by now.
    pub(super) fn complete(&mut self, now: u64) -> Option<Ended> {
        if self.pending.front()?.durable_at? > now {
            return None;
        }
        let done = self.pending.pop_front()?;
        self.durable = done.end - self.released;
        Some(done.append)
    }

    /// Records `from..to` of the log, as far as they are there.
    pub(super) fn range(&self, from: usize, to: usize) -> &[Record] {
        let at = |index: usize| index.saturating_sub(self.released);
        &self.records[at(from)..at(to)]
    }

    /// How many records are durable.
    pub(super) fn durable(&self) -> usize {
        self.released + self.durable
    }

    /// Drops what may go from a head of random length, as a log in segments would.
    pub(super) fn release(&mut self, needless: &Needless, prng: &mut Prng) -> usize {
        let standing = |record: &Record| matches!(record, Record::Vote(VoteRecord::Standing(_)));
        let Some(at) = self.records[..self.durable].iter().rposition(standing) else {
            return 0;
        };
        let Needless { slot, heights } = needless;
        // Blocks that are still listed stand right before it.
        let block = |record: &Record| matches!(record, Record::Vote(VoteRecord::Block(_)));
        let first = self.records[..at]
            .iter()
            .rposition(|record| !block(record))
            .map_or(0, |last| last + 1);
        let head = if prng.percent(50) { first } else { prng.index(first + 1) };
        let lives = |record: &Record| match record {
            Record::Batch(batch) => batch.head.header.height > heights[usize::from(batch.head.header.lane)],
            Record::Vote(VoteRecord::Accept(block) | VoteRecord::Block(block)) => block.block.slot >= *slot,
            Record::Vote(_) | Record::Ordering(_) => false,
        };
        let tail = self.records.split_off(head);
        let (kept, dropped): (Vec<Record>, Vec<Record>) = self.records.drain(..).partition(lives);
        self.records = kept;
        self.records.extend(tail);
        self.released += dropped.len();
        self.durable -= dropped.len();
        dropped.len()
    }

    /// Power is lost. What was durable stays; of the rest a random prefix, possibly none of it, possibly half an
    /// append. Returns how many records stayed that had not been acknowledged.
    pub(super) fn crash(&mut self, prng: &mut Prng) -> usize {
        let unsure = self.records.len() - self.durable;
        let kept = if prng.percent(50) { 0 } else { prng.index(unsure + 1) };
        self.records.truncate(self.durable + kept);
        self.durable = self.records.len();
        self.pending.clear();
        self.last_flush_at = 0;
        kept
    }

    /// Loses the log from some record on, acknowledged or not: a Byzantine replica's disk.
    pub(super) fn lose_tail(&mut self, prng: &mut Prng) {
        let mut kept = prng.index(self.records.len() + 1);
        // A head is released after the whole append that says what stands is durable: its second half, the quarantine, is
        // there in every earlier state of the disk that lacks the head.
        let second = |record: &Record| {
            matches!(
                record,
                Record::Vote(VoteRecord::Quarantined(_) | VoteRecord::Readmitted(_))
            )
        };
        if self.released > 0 && self.records.get(kept).is_some_and(second) {
            kept += 1;
        }
        self.records.truncate(kept);
        self.durable = kept;
    }

    /// What a restart finds.
    pub(super) fn recovered(&self) -> &[Record] {
        &self.records[..self.durable]
    }

    /// Finds a stored record, newest first.
    pub(super) fn find<T>(&self, wanted: impl Fn(&Record) -> Option<T>) -> Option<T> {
        self.records.iter().rev().find_map(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_core::api::AppendId;
    use trireme_core::record::VoteRecord;

    fn append(id: AppendId, urgent: bool) -> Append {
        Append {
            id,
            records: vec![Record::Vote(VoteRecord::Reserve(id))],
            release: Vec::new(),
            urgent,
        }
    }

    #[test]
    fn durable_in_prefix_order_and_only_then() {
        let mut prng = Prng::new(5);
        let mut disk = PlainDisk::new(DiskPace {
            flush_us: 100,
            spread_us: 1000,
            linger_us: 50,
        });
        assert_eq!(disk.append(0, &mut prng, append(1, false)), 50);
        assert!(disk.waits() && disk.complete(10_000).is_none());
        let at = disk.append(10, &mut prng, append(2, true));
        assert!(!disk.waits() && disk.complete(at - 1).is_none());
        assert_eq!(disk.complete(at).map(|p| p.id), Some(1));
        assert_eq!((disk.durable(), disk.complete(at).map(|p| p.id)), (1, Some(2)));
        disk.append(at, &mut prng, append(3, true));
        let kept = disk.crash(&mut prng);
        assert_eq!(disk.recovered().len(), 2 + kept);
        assert!(disk.complete(u64::MAX).is_none());
    }
}
