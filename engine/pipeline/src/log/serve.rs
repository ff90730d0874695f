//! Records read back for members that catch up (R-FETCH).

use trireme_core::api::Stored;
use trireme_core::message::{Batch, Envelope, Message, SignedBlock};
use trireme_core::record::{Record, VoteRecord};
use trireme_core::wire::{MAX_BLOCKS_PER_ANSWER, decode_record};
use trireme_core::{MemberId, To, View};
use trireme_crypto::Digest;
use trireme_log::{LogError, RecordKey};

use super::{LogStage, frame};
use crate::error::ReplicaError;

/// Bytes of batches in one answer to a member that catches up; it asks again for the rest.
pub(crate) const MAX_SERVED_BYTES: usize = 16 << 20;

impl LogStage {
    /// Reads what a member asked for.
    pub(super) fn serve(
        &mut self,
        to: MemberId,
        view: View,
        kind: Stored,
        digests: &[Digest],
    ) -> Result<(), ReplicaError> {
        let Some(asked) = digests.first().copied() else {
            return Ok(());
        };
        let mut bytes = 0;
        let mut batches: Vec<Batch> = Vec::new();
        let mut blocks: Vec<SignedBlock> = Vec::new();
        for digest in digests {
            match (kind, self.read(digest)?) {
                (Stored::Batches, Some(Record::Batch(batch))) if bytes < MAX_SERVED_BYTES => {
                    bytes += batch.body.len();
                    batches.push(batch);
                }
                (Stored::Blocks, Some(Record::Vote(VoteRecord::Accept(block) | VoteRecord::Block(block))))
                    if blocks.len() < MAX_BLOCKS_PER_ANSWER =>
                {
                    blocks.push(*block);
                }
                _ => break,
            }
        }
        self.served_records += (batches.len() + blocks.len()) as u64;
        if batches.is_empty() && blocks.is_empty() {
            self.answer(to, view, Message::NotHeld { digest: asked });
        }
        if !blocks.is_empty() {
            self.answer(to, view, Message::Blocks { digest: asked, blocks });
        }
        for batch in batches {
            self.answer(to, view, Message::Batch(batch));
        }
        Ok(())
    }

    fn read(&mut self, digest: &Digest) -> Result<Option<Record>, ReplicaError> {
        match self.log.read(&RecordKey(digest.0)) {
            Ok(Some((kind, payload))) => Ok(decode_record(kind, payload).ok()),
            Ok(None) => Ok(None),
            // It concerns this record alone. Who asked can ask another member; nobody can end this process by asking for
            // a record on a bad sector.
            Err(error @ (LogError::Damaged { .. } | LogError::Io { .. })) => {
                self.complain(&error);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A bad record is a fault of this machine that other members can make us meet as often as they like.
    pub(super) fn complain(&mut self, error: &LogError) {
        self.bad_records += 1;
        if let Some(more) = self.complaints.due(self.clock.tick()) {
            tracing::error!(%error, more, "a record cannot be read back: examine the disk");
        }
    }

    fn answer(&mut self, to: MemberId, view: View, message: Message) {
        let epoch = self.epoch;
        self.served
            .push_back(frame(To::One(to), &Envelope { epoch, view, message }));
    }

    pub(super) fn send_served(&mut self) -> bool {
        let mut progress = false;
        while !self.served.is_empty() && self.links.released.room() {
            let frame = self.served.pop_front().expect("not empty");
            self.links.released.push(frame.bytes(), frame);
            progress = true;
        }
        progress
    }
}
