//! Checkpoints: slots at which the whole state is kept, so that what led to it may go (section 8 of the protocol).

use alloc::collections::BTreeSet;

use crate::api::Outbox;
use crate::message::{SignedBlock, StateCertificate, StateVote};
use crate::replica::Replica;
use crate::types::Slot;

/// Own snapshots that are remembered until a checkpoint at or above them is stable.
const MAX_SNAPSHOTS: usize = 64;

/// What is known of checkpoints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checkpoints {
    /// Checkpoints of which a snapshot is durable here.
    snapshots: BTreeSet<Slot>,
}

impl Replica {
    /// A restart from a snapshot, before the first [`Replica::replay`]: the executor holds the state after the anchor's
    /// slot. Records of what lies below say nothing then; those of promises count.
    pub fn anchored(&mut self, certificate: StateCertificate, anchor: SignedBlock) {
        assert!(self.replaying, "recovery comes first");
        let slot = anchor.block.slot;
        self.start_at(anchor);
        self.checkpoints.snapshots.insert(slot);
        let mut nothing = Outbox::new();
        self.on_state_certificate(certificate, &mut nothing);
    }

    /// The state that a checkpoint executed again gave, during recovery.
    pub fn replayed(&mut self, vote: StateVote) {
        assert!(self.replaying, "afterwards votes are inputs");
        self.remember_state(vote);
    }

    /// The host's own image is durable.
    pub(crate) fn on_snapshotted(&mut self, slot: Slot, _out: &mut Outbox) {
        self.checkpoints.snapshots.insert(slot);
        while self.checkpoints.snapshots.len() > MAX_SNAPSHOTS {
            self.checkpoints.snapshots.pop_first();
        }
    }

    /// An image that was fetched took the place of the state.
    pub(crate) fn on_installed(&mut self, certificate: StateCertificate, anchor: SignedBlock, out: &mut Outbox) {
        let slot = anchor.block.slot;
        self.checkpoints.snapshots.insert(slot);
        self.on_state_certificate(certificate, out);
        if slot > self.executed() {
            self.start_at(anchor);
        }
        self.resume_commit(out);
    }

    /// Committed and executed begin at this block. Promises stay what they are.
    fn start_at(&mut self, anchor: SignedBlock) {
        let slot = anchor.block.slot;
        let digest = anchor.block.digest(&self.domain);
        self.finish_executed(slot);
        let cut: alloc::vec::Vec<_> = anchor.block.cut.iter().map(|c| (c.height, c.digest)).collect();
        if slot > self.committed() {
            self.chain.anchor(digest, anchor, self.now.tick);
            for (lane, (height, tip)) in self.lanes.iter_mut().zip(&cut) {
                lane.commit(*height, *tip);
            }
            self.own.commit(self.chain.committed_height(self.me), self.now.tick);
        }
        self.execution.anchor(slot);
        let own = cut[usize::from(self.me)];
        self.own.replay_batch(own.0, own.1);
        for (lane, (height, tip)) in self.lanes.iter_mut().zip(cut) {
            lane.anchor(height, tip);
        }
        self.prune_chain();
    }

    /// Drops blocks that nothing needs.
    pub(crate) fn prune_chain(&mut self) {
        let accepted = self.safety.accepted();
        let listed = |digest: &_| accepted.iter().any(|entry| entry.2 == *digest);
        self.chain.prune(self.execution.executed(), listed);
    }
}
