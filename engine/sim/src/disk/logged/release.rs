//! Release of old segments: as the log stage of the pipeline does it, in one go instead of record by record.

use trireme_core::api::AppendId;
use trireme_core::record::{Record, VoteRecord};
use trireme_crypto::Digest;
use trireme_log::{LogError, Lsn, OldSegment, worth_releasing};

use super::LoggedDisk;
use crate::disk::Needless;

impl LoggedDisk {
    /// What stands is in that append, which is the newest; the rest may go when it is durable.
    pub(in crate::disk) fn want_release(&mut self, after: AppendId, needless: Needless) {
        if self.newest.0 == after {
            self.needless = Some((needless, self.newest.1));
        }
    }

    /// Goes on with a release. Only a failure of the log is an error.
    pub(super) fn release(&mut self) -> Result<(), LogError> {
        if let Some((last, next)) = self.settling {
            if self.durable >= last && self.log().release_below(next)? {
                self.settling = None;
                self.see("old segments released");
            }
            self.urgent |= self.gathered;
            return Ok(());
        }
        let Some((needless, before)) = self.needless.take() else {
            return Ok(());
        };
        // The promises themselves have to be durable.
        if self.durable <= before || self.log().releasing() {
            self.needless = Some((needless, before));
            return Ok(());
        }
        let mut live = |_: u8, mark: u64| needless.is_live(mark);
        let log = self.log();
        let first = Lsn(before as u64 + 1);
        let old: Vec<OldSegment> = (0..).map_while(|at| log.old_segment(at, first, &mut live)).collect();
        let worth = worth_releasing(&old);
        let Some(next) = old[..worth].last().map(|last| last.next) else {
            return Ok(());
        };
        for key in old[..worth].iter().flat_map(|segment| &segment.live) {
            // One that cannot be read is lost as it stands.
            let Some(record) = self.read(&Digest(key.0)) else {
                continue;
            };
            let copy = match record {
                Record::Vote(VoteRecord::Accept(block)) => Record::Vote(VoteRecord::Block(block)),
                record => record,
            };
            match self.append_record(&copy) {
                Ok(()) => self.see("record copied out of an old segment"),
                Err(error) if error.is_refusal() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.settling = Some((self.records.len(), next));
        Ok(())
    }
}

/// What tells whether a record is still needed ([`Needless::is_live`]).
pub(super) fn mark(record: &Record) -> u64 {
    match record {
        Record::Batch(batch) => u64::from(batch.head.header.lane) << 48 | batch.head.header.height,
        Record::Vote(VoteRecord::Accept(signed) | VoteRecord::Block(signed)) => 1 << 63 | signed.block.slot,
        Record::Vote(_) | Record::Ordering(_) => 0,
    }
}

/// Whether any other replica can give it.
pub(super) fn is_replaceable(record: &Record) -> bool {
    matches!(
        record,
        Record::Batch(_) | Record::Vote(VoteRecord::Block(_) | VoteRecord::Committed(..))
    )
}
