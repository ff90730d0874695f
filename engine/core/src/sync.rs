//! Channels opening, peers that lag, and requests for data (R-ENTER, R-LANE, R-FETCH).

use alloc::{boxed::Box, vec::Vec};

use trireme_crypto::Digest;

use crate::api::{Effect, Outbox, Stored, To};
use crate::fetch::Kind;
use crate::message::{Entry, LaneMark, Message, SignedBlock};
use crate::quorum::MemberSet;
use crate::replica::Replica;
use crate::types::{Height, MemberId, Slot, View};
use crate::wire::MAX_BLOCKS_PER_ANSWER;

/// Batches, and bytes of them, in one answer.
const MAX_BATCHES_PER_ANSWER: usize = 64;
/// Blocks in the tree beyond which answers that nothing but one member's word asks for are not kept.
const MAX_HEARSAY_BLOCKS: usize = 8_192;
const MAX_ANSWER_BYTES: usize = 4 << 20;

impl Replica {
    pub(crate) fn on_connected(&mut self, member: MemberId, out: &mut Outbox) {
        if member == self.me {
            return;
        }
        let peer = &mut self.peers[usize::from(member)];
        peer.connected = true;
        peer.caught_up = Some(self.safety.view());
        self.begin_with_a_quorum();
        let marks = self
            .lanes
            .iter()
            .map(|l| LaneMark {
                stored: l.top().0,
                acked: l.top().0,
            })
            .collect();
        self.show(member, out);
        self.tell_readmission(member, out);
        self.inquire(member, out);
        self.send(To::One(member), Message::Lanes(marks), out);
        self.tell_standing(member, out);
        self.resend_proposals(member, out);
    }

    /// A frame announced an older view than ours: once for each peer and view it is told how to come here.
    pub(crate) fn catch_up_view(&mut self, from: MemberId, announced: View, out: &mut Outbox) {
        let view = self.safety.view();
        let peer = &mut self.peers[usize::from(from)];
        if announced < view && peer.caught_up != Some(view) {
            peer.caught_up = Some(view);
            self.tell_standing(from, out);
        }
    }

    /// R-ENTER's list: entry certificate, last votes, Timeout, Suspect, high_qc, newest state vote and certificate.
    fn tell_standing(&self, to: MemberId, out: &mut Outbox) {
        let to = To::One(to);
        if let Entry::Tc(tc) = self.safety.entry() {
            self.send(to, Message::Entry(tc.clone()), out);
        }
        if self.safety.high_ref().slot > 0 {
            self.send(to, Message::HighQc(Box::new(self.safety.high_qc().clone())), out);
        }
        for vote in self.standing_votes.iter().flatten().cloned() {
            self.send(to, Message::Vote(vote), out);
        }
        if let Some(timeout) = self.change.own_timeout(self.me) {
            self.send(to, Message::Timeout(Box::new(timeout.clone())), out);
        }
        if let Some((view, _)) = self.change.suspicion {
            self.send(to, Message::Suspect { view, standing: true }, out);
        }
        self.state.tell(self.me, |message| self.send(to, message, out));
    }

    /// R-TELL: a peer that has left the view does not vote in it, and may hear less than a quorum of those who do when
    /// liars keep their votes from it. It is told of each commit once.
    pub(crate) fn tell_commits(&mut self, to: MemberId, view: View, out: &mut Outbox) {
        let (slot, digest) = (self.committed(), self.chain.committed_tip());
        let peer = &mut self.peers[usize::from(to)];
        if view == self.safety.view() && peer.told_commits < slot && !self.bugs.commits_not_told() {
            peer.told_commits = slot;
            self.send(To::One(to), Message::Committed { slot, digest }, out);
        }
    }

    /// A leader sends its uncommitted blocks again: what was on the old channel may be lost.
    fn resend_proposals(&self, member: MemberId, out: &mut Outbox) {
        let Some((_, digest)) = self.leading.last_proposed().filter(|_| !self.is_silent()) else {
            return;
        };
        let mut blocks = Vec::new();
        let mut at = digest;
        while let Some(node) = self.chain.node(&at) {
            if node.signed.block.slot <= self.committed() || node.signed.block.view != self.safety.view() {
                break;
            }
            blocks.push(node.signed.clone());
            at = node.signed.block.parent;
        }
        for block in blocks.into_iter().rev() {
            self.send(To::One(member), Message::Block(Box::new(block)), out);
        }
    }

    /// Sends again own batches that the peer does not store, and acks above the committed cut.
    pub(crate) fn on_lanes(&mut self, from: MemberId, marks: &[LaneMark], out: &mut Outbox) {
        let stored = marks[usize::from(self.me)].stored;
        let own = &self.lanes[usize::from(self.me)];
        for digest in own.uncommitted() {
            let batch = own.get(&digest).expect("on the path");
            let height = batch.header().height;
            // Whatever may have left already: it left while the channel was down.
            if height > stored && (batch.durable || self.own.may_leave(height)) {
                self.send(To::One(from), Message::Batch(batch.batch()), out);
            }
        }
        for lane in &self.lanes {
            for digest in lane.uncommitted() {
                if let Some(ack) = lane.get(&digest).and_then(|s| s.acked.clone()) {
                    self.send(To::One(from), Message::Ack(ack), out);
                }
            }
        }
    }

    pub(crate) fn serve_batches(
        &mut self,
        from: MemberId,
        lane: MemberId,
        tip: (Height, Digest),
        floor: Height,
        out: &mut Outbox,
    ) {
        let state = &self.lanes[usize::from(lane)];
        let mut digests = state.chain_to_serve(tip, floor, MAX_BATCHES_PER_ANSWER);
        if lane == self.me {
            let may_leave = |d: &Digest| {
                state
                    .get(d)
                    .is_none_or(|s| s.durable || self.own.may_leave(s.header().height))
            };
            let until = digests.iter().position(|d| !may_leave(d)).unwrap_or(digests.len());
            digests.truncate(until);
        }
        if digests.is_empty() {
            return self.deny(from, tip.1, out);
        }
        if !digests.iter().all(|d| state.get(d).is_some()) {
            out.push(Effect::Serve {
                to: from,
                kind: Stored::Batches,
                digests,
            });
            return;
        }
        let mut bytes = 0;
        for digest in digests {
            let batch = state.get(&digest).expect("looked up").batch();
            bytes += batch.body.len();
            self.send(To::One(from), Message::Batch(batch), out);
            if bytes > MAX_ANSWER_BYTES {
                return;
            }
        }
    }

    pub(crate) fn serve_blocks(&mut self, from: MemberId, slot: Slot, digest: Digest, floor: Slot, out: &mut Outbox) {
        let mut blocks = Vec::new();
        let mut at = digest;
        while let Some(node) = self.chain.node(&at) {
            let block = &node.signed.block;
            if block.slot <= floor || block.slot == 0 || blocks.len() == MAX_BLOCKS_PER_ANSWER {
                break;
            }
            at = block.parent;
            blocks.push(node.signed.clone());
        }
        if !blocks.is_empty() {
            self.send(To::One(from), Message::Blocks { digest, blocks }, out);
            return;
        }
        if slot > floor && self.committed_digest(slot) == Some(digest) {
            // Committed and out of memory: the log has it.
            let most = MAX_BLOCKS_PER_ANSWER as u64;
            let lowest = (floor + 1).max((slot + 1).saturating_sub(most)).max(1);
            let digests = (lowest..=slot).rev().filter_map(|s| self.committed_digest(s)).collect();
            out.push(Effect::Serve {
                to: from,
                kind: Stored::Blocks,
                digests,
            });
            return;
        }
        self.deny(from, digest, out);
    }

    /// What was asked for is not here; it may have been released, then the asker needs an image.
    fn deny(&mut self, to: MemberId, digest: Digest, out: &mut Outbox) {
        if let Some(stable) = self.state.stable()
            && self.peers[usize::from(to)].told_stable < stable.vote.slot
        {
            let certificate = Box::new(stable.clone());
            self.peers[usize::from(to)].told_stable = stable.vote.slot;
            self.send(To::One(to), Message::StateCertificate(certificate), out);
        }
        self.send(To::One(to), Message::NotHeld { digest }, out);
    }

    pub(crate) fn on_not_held(&mut self, from: MemberId, digest: &Digest, out: &mut Outbox) {
        let connected = self.connected();
        self.fetch.not_held(from, digest, self.now.tick, &connected);
        self.consider_denial(digest, out);
    }

    /// An answer with blocks: each the parent of the one before. Anything else in it is ignored.
    pub(crate) fn on_blocks(
        &mut self,
        from: MemberId,
        asked: Digest,
        blocks: Vec<SignedBlock>,
        digests: &[Digest],
        out: &mut Outbox,
    ) {
        if !self.fetch.wants(&asked) {
            self.counters.dropped += 1;
            return;
        }
        if digests.first() != Some(&asked) {
            self.on_not_held(from, &asked, out);
            return;
        }
        let needed = self.fetch.needs(&asked);
        if !needed && self.chain.len() > MAX_HEARSAY_BLOCKS {
            // One member's word has filled the tree: it leads no further.
            self.fetch.satisfied(&asked);
            return;
        }
        let mut expected = asked;
        let mut learned = Vec::new();
        for (signed, digest) in blocks.into_iter().zip(digests) {
            if *digest != expected || signed.block.slot <= self.committed() {
                break;
            }
            expected = signed.block.parent;
            learned.push((signed.block.view, signed.block.slot, *digest));
            self.fetch.satisfied(digest);
            self.chain.insert(*digest, signed, self.now.tick, true);
        }
        self.fetch.satisfied(&asked);
        let Some((_, lowest, _)) = learned.last().copied() else {
            return;
        };
        let gap = self.chain.gap(&expected, lowest - 1);
        if let Some((slot, gap)) = gap {
            if needed {
                self.want_block(slot, gap, MemberSet::of(from));
            } else {
                let floor = self.committed();
                let kind = Kind::Block { slot, floor };
                self.fetch.want_hearsay(gap, kind, MemberSet::of(from), self.now.tick);
            }
        }
        // Nothing commits before the chain is whole; each look at it takes as long as the chain.
        let looked_at = if gap.is_some() { 1 } else { learned.len() };
        for (view, slot, digest) in learned.into_iter().take(looked_at) {
            self.evaluate(view, slot, &digest, out);
        }
        self.count_claims(out);
        self.resume_commit(out);
        if self.bugs.sync_delivers_too() {
            self.try_execute(out);
            self.execution.give_again(lowest);
        }
    }
}
