//! What a faulty leader really told. Its replica believes in blocks of its own; where a strategy changed one before it
//! was shown, later ones have to stand on the changed one, and its votes and reports name it.

use std::collections::BTreeMap;

use trireme_core::MemberId;
use trireme_core::Slot;
use trireme_core::message::{Block, Justify, Message, SignedBlock, SignedTimeout, SignedVote};
use trireme_core::types::Keys;
use trireme_crypto::Digest;

use super::Habit;
use super::memory::trim;
use super::strategy::{Me, Said, Strategy};

/// What stands for an own block: one or more with their digests, each on the one before.
type Shown = Vec<(Digest, SignedBlock)>;

/// Own blocks that were changed, by the digest that the replica knows them by.
#[derive(Default)]
pub(super) struct Told {
    shown: BTreeMap<Digest, Shown>,
}

impl Told {
    /// A message as it is before strategies bend it for one receiver.
    pub(super) fn tell(
        &mut self,
        me: &mut Me,
        strategies: &mut [Box<dyn Strategy>],
        to: MemberId,
        message: &Message,
    ) -> Vec<Said> {
        match message {
            Message::Block(signed) if me.leads(signed.block.view) => {
                let shown = self.redraft(me, strategies, signed);
                let block = |(_, signed): &(_, SignedBlock)| Said::from(Message::Block(Box::new(signed.clone())));
                shown.iter().map(block).collect()
            }
            Message::Vote(signed) => vec![self.vote(me, to, signed).into()],
            Message::Timeout(signed) if signed.member == me.keys.me() => vec![self.timeout(me, to, signed).into()],
            other => vec![other.clone().into()],
        }
    }

    fn redraft(&mut self, me: &mut Me, strategies: &mut [Box<dyn Strategy>], signed: &SignedBlock) -> Shown {
        let first = signed.block.digest(&me.keys.domain());
        if let Some(shown) = self.shown.get(&first) {
            return shown.clone();
        }
        let mut block = signed.block.clone();
        if let Some((digest, parent)) = self.shown.get(&block.parent).and_then(|shown| shown.last())
            && *digest != block.parent
        {
            stand_on(&mut block, &parent.block, *digest);
        }
        strategies
            .iter_mut()
            .for_each(|strategy| strategy.redraft(me, &mut block));
        let more = strategies
            .iter_mut()
            .map(|strategy| strategy.spam(me))
            .max()
            .unwrap_or(0);
        let mut shown = vec![if block == signed.block {
            (first, signed.clone())
        } else {
            (block.digest(&me.keys.domain()), me.signed_block(block))
        }];
        for _ in 0..more {
            let (digest, last) = shown.last().expect("not empty");
            let next = empty_on(&last.block, *digest);
            me.fire(Habit::EmptySpam);
            shown.push((next.digest(&me.keys.domain()), me.signed_block(next)));
        }
        let from = me.keys.me();
        for (_, signed) in &shown {
            me.memory
                .hear(&me.keys, from, &Message::Block(Box::new(signed.clone())));
        }
        self.shown.insert(first, shown.clone());
        trim(&mut self.shown);
        shown
    }

    /// What a replica's own name for a block is for a receiver.
    fn name(&self, me: &Me, to: MemberId, slot: Slot, digest: Digest) -> (Slot, Digest) {
        let shown = self.shown.get(&digest).map(|shown| &shown[0]);
        let (slot, digest) = shown.map_or((slot, digest), |(digest, signed)| (signed.block.slot, *digest));
        let second = me.second(&digest).filter(|_| me.in_other_half(to));
        (slot, second.unwrap_or(digest))
    }

    fn vote(&self, me: &Me, to: MemberId, signed: &SignedVote) -> Message {
        let mut vote = signed.vote.clone();
        vote.voted = vote.voted.map(|(slot, digest)| self.name(me, to, slot, digest));
        vote.locked = vote.locked.map(|(slot, digest)| self.name(me, to, slot, digest));
        if vote == signed.vote {
            Message::Vote(signed.clone())
        } else {
            me.sign_vote(vote)
        }
    }

    fn timeout(&self, me: &Me, to: MemberId, signed: &SignedTimeout) -> Message {
        let mut timeout = signed.timeout.clone();
        for (_, slot, digest) in &mut timeout.accepted {
            (*slot, *digest) = self.name(me, to, *slot, *digest);
        }
        if timeout == signed.timeout {
            return Message::Timeout(Box::new(signed.clone()));
        }
        timeout.accepted.sort_unstable();
        timeout.accepted.dedup();
        me.sign_timeout(timeout, signed.high_qc.clone(), signed.entry.clone())
    }
}

/// Puts a block on another parent: no lane goes back, and the time goes on.
fn stand_on(block: &mut Block, parent: &Block, digest: Digest) {
    block.parent = digest;
    block.slot = parent.slot.saturating_add(1);
    block.timestamp = block.timestamp.max(parent.timestamp.saturating_add(1));
    for (entry, below) in block.cut.iter_mut().zip(&parent.cut) {
        if entry.height <= below.height {
            *entry = below.clone();
            entry.certificate = None;
        }
    }
}

fn empty_on(parent: &Block, digest: Digest) -> Block {
    let mut block = Block {
        justify: Justify::None,
        handoff: None,
        ..parent.clone()
    };
    stand_on(&mut block, parent, digest);
    block.cut.iter_mut().for_each(|entry| entry.certificate = None);
    block
}
