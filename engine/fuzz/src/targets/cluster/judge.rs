//! What must hold, decided from outside (FAULTS.md, invariants 1 to 5, 19, 20).

use std::collections::BTreeMap;

use trireme_core::api::{Evidence, Execution};
use trireme_core::{MemberId, Message, Params, Replica, Slot, Status};
use trireme_crypto::Digest;

use crate::party::domain;

/// One digest for each place at which a correct member signs one.
type Signed = BTreeMap<(MemberId, &'static str, u64, u64), Digest>;

pub(super) struct Judge {
    faulty: MemberId,
    lane_bytes: u64,
    signed: Signed,
    committed: BTreeMap<Slot, Digest>,
    /// What each slot executed, and how far each member is.
    history: BTreeMap<Slot, (Digest, Vec<Digest>)>,
    executed: [Slot; 4],
}

impl Judge {
    pub(super) fn new(params: &Params, faulty: MemberId) -> Self {
        Self {
            faulty,
            lane_bytes: 2 * (params.lane_window_bytes + u64::from(params.max_batch_bytes)),
            signed: BTreeMap::new(),
            committed: BTreeMap::new(),
            history: BTreeMap::new(),
            executed: [0; 4],
        }
    }

    /// Slots that somebody executed.
    pub(super) fn slots(&self) -> usize {
        self.history.len()
    }

    pub(super) fn block_of(&self, slot: Slot) -> Digest {
        self.history.get(&slot).map_or(Digest::ZERO, |done| done.0)
    }

    pub(super) fn restarted(&mut self, member: MemberId) {
        self.executed[usize::from(member)] = 0;
    }

    /// No two correct replicas commit different blocks at one slot.
    pub(super) fn committed(&mut self, replica: &Replica) {
        let slot = replica.committed();
        if let Some(digest) = replica.committed_digest(slot).filter(|_| slot > 0) {
            let first = *self.committed.entry(slot).or_insert(digest);
            assert_eq!(first, digest, "two blocks of slot {slot} are committed");
        }
    }

    /// Slots execute in order, once, and the same everywhere.
    pub(super) fn executed(&mut self, member: MemberId, execution: &Execution) {
        let at = &mut self.executed[usize::from(member)];
        assert_eq!(execution.slot, *at + 1, "slots execute in order");
        *at = execution.slot;
        let batches: Vec<Digest> = execution.batches.iter().map(|batch| batch.digest).collect();
        let done = (execution.block, batches);
        let first = self.history.entry(execution.slot).or_insert_with(|| done.clone());
        assert_eq!(*first, done, "slot {} differs", execution.slot);
    }

    /// One identity signs one digest for each place, over restarts.
    pub(super) fn said(&mut self, member: MemberId, message: &Message) {
        let domain = domain();
        let mut places = Vec::new();
        match message {
            Message::Vote(signed) => {
                let vote = &signed.vote;
                places.extend(vote.voted.map(|(slot, digest)| ("vote", vote.view, slot, digest)));
                places.extend(vote.locked.map(|(slot, digest)| ("lock", vote.view, slot, digest)));
            }
            Message::Block(signed) if signed.block.view % 4 == u64::from(member) => {
                let block = &signed.block;
                places.push(("block", block.view, block.slot, block.digest(&domain)));
            }
            Message::Timeout(signed) if signed.member == member => {
                let timeout = &signed.timeout;
                places.push(("timeout", timeout.view, 0, timeout.statement(&domain)));
            }
            Message::Batch(batch) if batch.head.header.lane == member => {
                let header = &batch.head.header;
                places.push(("header", header.height, 0, header.digest(&domain)));
            }
            Message::Ack(signed) if signed.ack.stored => {
                let ack = &signed.ack;
                places.push(("ack", u64::from(ack.lane), ack.height, ack.digest));
            }
            Message::StateVote(signed) => {
                places.push(("state", signed.vote.slot, 0, signed.vote.statement(&domain)));
            }
            _ => {}
        }
        for (kind, a, b, digest) in places {
            let first = *self.signed.entry((member, kind, a, b)).or_insert(digest);
            assert_eq!(first, digest, "{member} signs two: {kind} {a} {b}");
        }
    }

    /// Evidence names the liar.
    pub(super) fn evidence(&self, evidence: &Evidence) {
        let named = match evidence {
            Evidence::Blocks(block, _) => (block.block.view % 4) as MemberId,
            Evidence::Votes(member, ..) | Evidence::FalseVerified(member, ..) => *member,
            Evidence::Headers(header, _) => header.header.lane,
        };
        assert_eq!(
            named,
            self.faulty,
            "evidence ({}) names a correct replica",
            evidence.kind()
        );
    }

    /// Only the liar's channel is closed.
    pub(super) fn accused(&self, member: MemberId) {
        assert_eq!(member, self.faulty, "a correct replica's channel is closed");
    }

    /// Memory stays within its budgets.
    pub(super) fn bounds(&self, status: &Status) {
        assert!(status.lanes.iter().all(|lane| lane.live_bytes <= self.lane_bytes));
        assert!(status.counters.alarms == 0 && !status.halted);
    }
}
