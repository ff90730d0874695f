//! What the log is told of a record: under which key it is read back, by what it is known to be needless, and whether
//! losing it would be losing this replica's word.

use bytes::Bytes;
use trireme_core::record::{Record, VoteRecord};
use trireme_core::types::Height;
use trireme_core::{MemberId, Slot};
use trireme_crypto::Domain;
use trireme_log::RecordKey;

use crate::items::EncodedRecord;

/// A mark with this bit is a block's slot; without it, a batch's lane and height.
const BLOCK: u64 = 1 << 63;
/// Below the lane.
const HEIGHT_BITS: u32 = 48;

fn of_batch(lane: MemberId, height: Height) -> u64 {
    debug_assert!(height >> HEIGHT_BITS == 0 && lane >> 15 == 0);
    u64::from(lane) << HEIGHT_BITS | height
}

/// The slot of a block.
pub(super) fn slot(mark: u64) -> Option<Slot> {
    (mark & BLOCK != 0).then_some(mark & !BLOCK)
}

/// Whether a batch or block may still be needed when everything up to a checkpoint is released: its slot, and the
/// committed height of each lane (R-RELEASE).
pub(super) fn is_live(mark: u64, checkpoint: Slot, heights: &[Height]) -> bool {
    match slot(mark) {
        Some(slot) => slot >= checkpoint,
        None => {
            let (lane, height) = (mark >> HEIGHT_BITS, mark & ((1 << HEIGHT_BITS) - 1));
            let released = usize::try_from(lane).ok().and_then(|lane| heights.get(lane));
            released.is_none_or(|released| height > *released)
        }
    }
}

/// A record as the log takes it. Batches and fetched blocks are had from any replica by their digest, and a note of what
/// is committed is advice; everything else is this replica's word.
pub(crate) fn encode(record: &Record, domain: &Domain) -> EncodedRecord {
    let (digest, mark, replaceable) = match record {
        Record::Batch(batch) => {
            let header = &batch.head.header;
            (Some(header.digest(domain)), of_batch(header.lane, header.height), true)
        }
        Record::Vote(VoteRecord::Accept(signed)) => {
            (Some(signed.block.digest(domain)), BLOCK | signed.block.slot, false)
        }
        Record::Vote(VoteRecord::Block(signed)) => (Some(signed.block.digest(domain)), BLOCK | signed.block.slot, true),
        Record::Vote(VoteRecord::Committed(..)) => (None, 0, true),
        Record::Vote(_) | Record::Ordering(_) => (None, 0, false),
    };
    let (kind, head, body): (u8, Vec<u8>, Bytes) = trireme_core::wire::encode_record(record);
    EncodedRecord {
        kind,
        key: digest.map(|digest| RecordKey(digest.0)),
        mark,
        replaceable,
        head,
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_a_checkpoint_lives() {
        let heights = [5, 0, 7];
        for (lane, height, live) in [(0, 5, false), (0, 6, true), (1, 1, true), (2, 7, false), (3, 1, true)] {
            assert_eq!(is_live(of_batch(lane, height), 100, &heights), live, "{lane} {height}");
        }
        for (slot, live) in [(99, false), (100, true), (101, true)] {
            assert_eq!(is_live(BLOCK | slot, 100, &heights), live, "{slot}");
        }
    }
}
