//! Old segments go when a checkpoint makes them needless (R-RELEASE).
//!
//! The core carries its standing promises into an append and names what is needless behind it. When that append is
//! durable, the old segments are looked at, one a turn: what of them is still needed (batches of a lane that stands still,
//! blocks above the checkpoint) is copied to the end of the log, one record a turn, and when the copies are durable the
//! segments are released.

use trireme_core::Slot;
use trireme_core::api::AppendId;
use trireme_core::record::{Record, VoteRecord};
use trireme_core::types::Height;
use trireme_core::wire::{decode_record, encode_record};
use trireme_log::{Entry, Log, LogError, Lsn, OldSegment, RecordKey, worth_releasing};

use super::{LogStage, marks};
use crate::error::ReplicaError;

/// An append, and where its records stand.
#[derive(Clone, Copy)]
struct Noted {
    id: AppendId,
    first: Lsn,
    last: Lsn,
}

/// How far a release has come.
enum Step {
    /// Looking at old segments.
    Looking(Vec<OldSegment>),
    /// These keys are to be copied; then all below `next` may go.
    Copying {
        keys: std::vec::IntoIter<RecordKey>,
        next: u64,
    },
    /// Everything up to there has to be durable before.
    Settling { last: Lsn, next: u64 },
}

struct Release {
    /// Records before this one, but for those that are still needed.
    before: Lsn,
    /// The append that carries what stands is durable with this record.
    durable_with: Lsn,
    slot: Slot,
    heights: Vec<Height>,
    step: Step,
}

/// Releases wanted and under way.
pub(super) struct Releases {
    newest: Option<Noted>,
    release: Option<Release>,
    /// The one after that.
    next: Option<Release>,
    /// The files of one are going.
    under_way: bool,
    oldest_slot: Option<Slot>,
    pub(super) copied_records: u64,
}

impl Releases {
    pub(super) fn new(log: &Log) -> Self {
        Self {
            newest: None,
            release: None,
            next: None,
            under_way: false,
            oldest_slot: oldest_slot(log),
            copied_records: 0,
        }
    }

    /// The oldest slot whose block the log holds. It changes with a release only, once there is one.
    pub(super) fn oldest_slot(&mut self, log: &Log) -> Option<Slot> {
        self.oldest_slot = self.oldest_slot.or_else(|| oldest_slot(log));
        self.oldest_slot
    }

    /// An append has been taken.
    pub(super) fn note_append(&mut self, id: AppendId, first: Lsn, last: Lsn) {
        self.newest = Some(Noted { id, first, last });
    }

    /// The core said what is needless. A later checkpoint takes the place of one that waits.
    pub(super) fn want(&mut self, after: AppendId, slot: Slot, heights: Vec<Height>) {
        // It follows its append directly; if it does not, the next one will do.
        let Some(noted) = self.newest.filter(|noted| noted.id == after) else {
            tracing::warn!(
                slot,
                "a release does not follow its append: left to the next checkpoint"
            );
            return;
        };
        self.next = Some(Release {
            before: noted.first,
            durable_with: noted.last,
            slot,
            heights,
            step: Step::Looking(Vec::new()),
        });
        if self.release.is_none() {
            self.release = self.next.take();
        }
    }
}

/// The lowest slot of a block in the oldest segment that holds any.
fn oldest_slot(log: &Log) -> Option<Slot> {
    log.oldest_mark(|_, mark| marks::slot(mark))
}

impl LogStage {
    /// Goes on with a release; false if there is nothing to do for now.
    pub(super) fn release(&mut self) -> Result<bool, ReplicaError> {
        if self.releases.under_way {
            // Until the files are gone the log names what they hold as old; a release of the same again is none.
            if self.log.releasing() {
                return Ok(false);
            }
            self.releases.under_way = false;
            self.releases.oldest_slot = oldest_slot(&self.log);
            let stats = self.log.stats();
            let (segments, bytes, oldest_slot) = (stats.released_segments, stats.disk_bytes, self.releases.oldest_slot);
            tracing::info!(segments, bytes, oldest_slot, "old segments of the log were released");
        }
        let Some(mut release) = self.releases.release.take() else {
            return Ok(false);
        };
        if release.durable_with > self.durable {
            self.releases.release = Some(release);
            return Ok(false);
        }
        let (next, progress) = self.advance(&mut release)?;
        match next {
            Some(step) => {
                release.step = step;
                self.releases.release = Some(release);
            }
            None => self.releases.release = self.releases.next.take(),
        }
        Ok(progress)
    }

    /// The step after this one, none at the end, and whether anything was done.
    fn advance(&mut self, release: &mut Release) -> Result<(Option<Step>, bool), ReplicaError> {
        match std::mem::replace(&mut release.step, Step::Looking(Vec::new())) {
            Step::Looking(mut old) => {
                let mut live = |_: u8, mark: u64| marks::is_live(mark, release.slot, &release.heights);
                if let Some(segment) = self.log.old_segment(old.len(), release.before, &mut live) {
                    old.push(segment);
                    return Ok((Some(Step::Looking(old)), true));
                }
                old.truncate(worth_releasing(&old));
                let next = old.last().map(|last| last.next);
                let keys: Vec<RecordKey> = old.into_iter().flat_map(|segment| segment.live).collect();
                let keys = keys.into_iter();
                Ok((next.map(|next| Step::Copying { keys, next }), true))
            }
            Step::Copying { mut keys, next } => match keys.as_slice().first().copied() {
                None => Ok((
                    Some(Step::Settling {
                        last: self.newest,
                        next,
                    }),
                    true,
                )),
                Some(key) => match self.copy(&key) {
                    Ok(()) => {
                        keys.next();
                        Ok((Some(Step::Copying { keys, next }), true))
                    }
                    Err(LogError::Busy) => {
                        self.urgent |= self.gathered;
                        Ok((Some(Step::Copying { keys, next }), false))
                    }
                    Err(error @ LogError::Full { .. }) => {
                        tracing::warn!(%error, "no room to copy what old segments still hold: released later");
                        Ok((None, true))
                    }
                    Err(error) => Err(error.into()),
                },
            },
            Step::Settling { last, next } => {
                if self.durable < last || !self.log.release_below(next)? {
                    self.urgent |= self.gathered;
                    return Ok((Some(Step::Settling { last, next }), false));
                }
                self.releases.under_way = true;
                Ok((None, true))
            }
        }
    }

    /// Appends a record again. What was accepted long ago and still counts is among the standing promises, so that a copy
    /// is of the block alone.
    fn copy(&mut self, key: &RecordKey) -> Result<(), LogError> {
        let (kind, payload) = match self.log.read(key) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(error @ (LogError::Damaged { .. } | LogError::Io { .. })) => {
                self.complain(&error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let record = match decode_record(kind, payload) {
            Ok(Record::Vote(VoteRecord::Accept(block))) => Record::Vote(VoteRecord::Block(block)),
            Ok(record) => record,
            Err(_) => return Ok(()),
        };
        let mark = self.log.mark(key).unwrap_or(0);
        let (kind, head, body) = encode_record(&record);
        self.newest = self.log.append_entry(&Entry {
            kind,
            key: Some(*key),
            mark,
            replaceable: true,
            vital: true,
            parts: &[&head, &body],
        })?;
        self.gathered = true;
        self.releases.copied_records += 1;
        Ok(())
    }
}
