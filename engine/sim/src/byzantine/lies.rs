//! The lies, one function each.

use trireme_core::message::{
    Ack, Batch, BatchHeader, Block, Entry, Justify, Message, Qc, SignedAck, SignedBlock, SignedHeader, SignedStateVote,
    SignedTimeout, SignedVote, StateVote, Tc, TcEntry, Timeout, Vote,
};
use trireme_core::types::Keys;
use trireme_core::{MemberId, View};
use trireme_crypto::{Digest, Signature, context, hash};

use super::{Habit, Liar};
use crate::oracle::safe_tip;

impl Liar {
    /// One message of the replica, bent for one receiver.
    pub(super) fn bend(&mut self, to: MemberId, message: &Message) -> Vec<Message> {
        match message {
            Message::Block(signed) => vec![self.bend_block(to, signed)],
            Message::Batch(batch) if batch.head.header.lane == self.keys.me() => self.bend_batch(to, batch),
            Message::Batch(batch) if self.is(Habit::NotHeld) && self.prng.percent(50) => {
                vec![Message::NotHeld {
                    digest: batch.head.header.digest(&self.keys.domain()),
                }]
            }
            Message::Blocks { digest, .. } if self.is(Habit::NotHeld) => {
                if self.prng.percent(50) {
                    Vec::new()
                } else {
                    vec![Message::NotHeld { digest: *digest }]
                }
            }
            Message::Vote(signed) => self.bend_vote(to, signed),
            Message::Timeout(signed) if signed.member == self.keys.me() => vec![self.bend_timeout(signed)],
            Message::Ack(signed) => vec![self.bend_ack(signed)],
            Message::StateVote(signed) if self.is(Habit::FalseState) => {
                let vote = StateVote {
                    state_root: hash(context::SEED, &signed.vote.state_root.0),
                    ..signed.vote.clone()
                };
                let signature = self.keys.sign(&vote.statement(&self.keys.domain()));
                vec![Message::StateVote(SignedStateVote { vote, signature })]
            }
            other => vec![other.clone()],
        }
    }

    fn sign_block(&self, block: Block) -> Message {
        let signature = self.keys.sign(&block.digest(&self.keys.domain()));
        Message::Block(Box::new(SignedBlock { block, signature }))
    }

    /// The other half gets a second chain: each block on the second version of its parent.
    fn bend_block(&mut self, to: MemberId, signed: &SignedBlock) -> Message {
        if self.is(Habit::CherryPick)
            && self.prng.percent(50)
            && let Some(message) = self.first_block_that_suits(&signed.block)
        {
            return message;
        }
        if !self.is(Habit::EquivocateBlocks) || !self.in_other_half(to) {
            return Message::Block(Box::new(signed.clone()));
        }
        let first = signed.block.digest(&self.keys.domain());
        let mut block = signed.block.clone();
        if let Some(parent) = self.memory.second.get(&block.parent) {
            block.parent = *parent;
        }
        block.timestamp += 1;
        let second = block.digest(&self.keys.domain());
        self.memory.second.insert(first, second);
        let message = self.sign_block(block);
        self.memory.hear(&self.keys, &message);
        message
    }

    /// A first block for the same view, on another choice of the Timeouts that came in.
    fn first_block_that_suits(&mut self, block: &Block) -> Option<Message> {
        let Justify::Tc(tc) = &block.justify else { return None };
        let range = (tc.view, 0)..=(tc.view, MemberId::MAX);
        let mut known: Vec<SignedTimeout> = self.memory.timeouts.range(range).map(|(_, t)| t.clone()).collect();
        if known.len() < self.sizes.timeout {
            return None;
        }
        self.prng.shuffle(&mut known);
        known.truncate(self.sizes.timeout);
        known.sort_by_key(|timeout| timeout.member);
        let high_qc = known.iter().map(|t| &t.high_qc).max_by_key(|qc| qc.at)?.clone();
        let entry = |t: SignedTimeout| TcEntry {
            member: t.member,
            high_qc: t.timeout.high_qc,
            accepted: t.timeout.accepted,
            signature: t.signature,
        };
        let tc = Tc {
            view: tc.view,
            timeouts: known.into_iter().map(entry).collect(),
            high_qc,
        };
        let justify = Justify::Tc(Box::new(tc));
        let (view, slot, digest) = safe_tip(self.sizes, &justify)?;
        let parent = self.memory.blocks.get(&(view, slot, digest))?;
        let mut cut = parent.cut.clone();
        cut.iter_mut().for_each(|entry| entry.certificate = None);
        let timestamp = block.timestamp.max(parent.timestamp + 1);
        let other = Block {
            view: block.view,
            slot: slot + 1,
            parent: digest,
            cut,
            timestamp,
            handoff: None,
            justify,
        };
        Some(self.sign_block(other))
    }

    fn sign_batch(&self, header: BatchHeader, batch: &Batch) -> Message {
        let signature = self.keys.sign(&header.digest(&self.keys.domain()));
        Message::Batch(Batch {
            head: SignedHeader { header, signature },
            body: batch.body.clone(),
        })
    }

    fn bend_batch(&mut self, to: MemberId, batch: &Batch) -> Vec<Message> {
        if self.is(Habit::HideBatches) && !self.in_other_half(to) && self.prng.percent(80) {
            return Vec::new();
        }
        if !self.is(Habit::EquivocateLane) || !self.in_other_half(to) {
            return vec![Message::Batch(batch.clone())];
        }
        let first = batch.head.header.digest(&self.keys.domain());
        let mut header = batch.head.header.clone();
        if let Some(parent) = self.memory.second.get(&header.parent) {
            header.parent = *parent;
        }
        let mut others: Vec<MemberId> = (0..self.params.n).filter(|m| *m != header.lane).collect();
        self.prng.shuffle(&mut others);
        others.truncate(usize::from(self.params.f));
        others.sort_unstable();
        header.witnesses = others;
        let second = header.digest(&self.keys.domain());
        self.memory.second.insert(first, second);
        vec![self.sign_batch(header, batch)]
    }

    fn sign_vote(&mut self, vote: Vote) -> Message {
        let mut signature = self.keys.sign(&vote.statement(&self.keys.domain()));
        if self.is(Habit::BadSignatures) && self.prng.percent(50) {
            signature = Signature([7; 64]);
        }
        Message::Vote(SignedVote { vote, signature })
    }

    fn bend_vote(&mut self, to: MemberId, signed: &SignedVote) -> Vec<Message> {
        if self.is(Habit::WithholdVotes) && (self.in_other_half(to) || self.prng.percent(20)) {
            return Vec::new();
        }
        let mut vote = signed.vote.clone();
        if let Some((slot, digest)) = vote.voted {
            let second = self
                .memory
                .second
                .get(&digest)
                .copied()
                .filter(|_| self.in_other_half(to));
            let others: Vec<Digest> = self
                .memory
                .at(vote.view, slot)
                .into_iter()
                .filter(|d| *d != digest)
                .collect();
            if let Some(second) = second {
                vote.voted = Some((slot, second));
            } else if self.is(Habit::DoubleVote) && self.in_other_half(to) {
                let invented = hash(context::SEED, &digest.0);
                vote.voted = Some((slot, others.first().copied().unwrap_or(invented)));
            }
        }
        if self.is(Habit::FalseLocks) {
            let newest = self
                .memory
                .blocks
                .range(..=(vote.view, u64::MAX, Digest::ZERO))
                .next_back();
            vote.locked = newest
                .filter(|((view, _, _), _)| *view == vote.view)
                .map(|((_, s, d), _)| (*s, *d));
        }
        if vote.voted.is_none() && vote.locked.is_none() {
            return Vec::new();
        }
        vec![self.sign_vote(vote)]
    }

    /// A vote for some block of the view, accepted or not.
    pub(super) fn vote_for_anything(&mut self, to: MemberId, view: View) -> Option<Message> {
        let blocks: Vec<_> = self.memory.blocks.keys().filter(|key| key.0 == view).copied().collect();
        if blocks.is_empty() || to == self.keys.me() {
            return None;
        }
        let (_, slot, digest) = blocks[self.prng.index(blocks.len())];
        let locked = self.prng.percent(30).then_some((slot, digest));
        Some(self.sign_vote(Vote {
            view,
            voted: Some((slot, digest)),
            locked,
        }))
    }

    fn sign_timeout(&self, timeout: Timeout, high_qc: Qc, entry: Entry) -> Message {
        let signature = self.keys.sign(&timeout.statement(&self.keys.domain()));
        Message::Timeout(Box::new(SignedTimeout {
            member: self.keys.me(),
            timeout,
            signature,
            high_qc,
            entry,
        }))
    }

    fn bend_timeout(&mut self, signed: &SignedTimeout) -> Message {
        let mut timeout = signed.timeout.clone();
        let mut high_qc = signed.high_qc.clone();
        if self.is(Habit::ForgetTimeouts) {
            high_qc = Qc::genesis(self.genesis);
            timeout.high_qc = high_qc.at;
            timeout.accepted.clear();
        }
        if self.is(Habit::InventReports) {
            let floor = timeout.high_qc.rank();
            let known = self
                .memory
                .blocks
                .keys()
                .filter(|b| b.0 <= timeout.view && (b.0, b.1) > floor);
            let mut lie: Vec<_> = known
                .copied()
                .filter(|b| self.prng.percent(80) || timeout.accepted.contains(b))
                .collect();
            lie.truncate(self.params.list_max());
            timeout.accepted = lie;
        }
        self.sign_timeout(timeout, high_qc, signed.entry.clone())
    }

    /// Leaves the view that it entered last.
    pub(super) fn leave_at_once(&mut self) -> Option<Message> {
        let tc = self.memory.entry.clone()?;
        let timeout = Timeout {
            view: tc.view + 1,
            high_qc: tc.high_qc.at,
            accepted: Vec::new(),
        };
        let high_qc = tc.high_qc.clone();
        Some(self.sign_timeout(timeout, high_qc, Entry::Tc(Box::new(tc))))
    }

    /// History "future QC": a Timeout of an old view that carries the newest certificate.
    pub(super) fn timeout_from_the_future(&mut self) -> Option<Message> {
        let newest = self.memory.newest_qc.clone()?;
        let me = self.keys.me();
        let own: Vec<_> = self
            .memory
            .timeouts
            .iter()
            .filter(|((_, member), _)| *member == me)
            .collect();
        let old = own.get(self.prng.index(own.len().max(1)))?.1;
        let timeout = Timeout {
            view: old.timeout.view,
            high_qc: newest.at,
            accepted: Vec::new(),
        };
        let entry = old.entry.clone();
        Some(self.sign_timeout(timeout, newest, entry))
    }

    fn bend_ack(&mut self, signed: &SignedAck) -> Message {
        let mut ack = signed.ack.clone();
        if self.is(Habit::EmptyAcks) {
            ack = Ack {
                stored: true,
                verified: true,
                witnessed: true,
                ..ack
            };
        }
        let mut signature = self.keys.sign(&ack.statement(&self.keys.domain()));
        if self.is(Habit::BadSignatures) && self.prng.percent(50) {
            signature = Signature([9; 64]);
        }
        Message::Ack(SignedAck { ack, signature })
    }
}
