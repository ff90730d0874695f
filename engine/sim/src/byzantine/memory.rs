//! What a faulty member remembers of what it said and heard.

use std::collections::{BTreeMap, VecDeque};

use trireme_core::message::{Batch, Block, Message, Qc, QcVote, SignedBlock, SignedTimeout, SignedVote, Tc};
use trireme_core::types::Keys;
use trireme_core::{MemberId, Slot, View};
use trireme_crypto::Digest;

use crate::keys::MemberKeys;
use crate::prng::Prng;

/// Entries of each kind.
const KEPT: usize = 256;
/// Batches and votes of blocks, which are larger.
const KEPT_FEW: usize = 32;

/// Bounded memory.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) blocks: BTreeMap<(View, Slot, Digest), Block>,
    pub(super) timeouts: BTreeMap<(View, MemberId), SignedTimeout>,
    /// Votes by what they name, for certificates.
    pub(super) votes: BTreeMap<(View, Slot, Digest), BTreeMap<MemberId, QcVote>>,
    pub(super) batches: VecDeque<Batch>,
    pub(super) newest_qc: Option<Qc>,
    /// A Qc below the newest.
    pub(super) older_qc: Option<Qc>,
    pub(super) entry: Option<Tc>,
    old: VecDeque<Message>,
}

impl Memory {
    /// `from`: who said it, oneself included.
    pub(super) fn hear(&mut self, keys: &MemberKeys, from: MemberId, message: &Message) {
        match message {
            Message::Block(block) => self.keep_block(keys, block),
            Message::Blocks { blocks, .. } => blocks.iter().for_each(|block| self.keep_block(keys, block)),
            Message::Vote(vote) => self.keep_vote(from, vote),
            Message::Timeout(timeout) => {
                self.timeouts
                    .insert((timeout.timeout.view, timeout.member), (**timeout).clone());
                self.keep_qc(&timeout.high_qc);
                trim(&mut self.timeouts);
            }
            Message::Entry(tc) if self.entry.as_ref().is_none_or(|known| known.view < tc.view) => {
                self.entry = Some((**tc).clone());
            }
            Message::HighQc(qc) => self.keep_qc(qc),
            Message::Batch(batch) => {
                if from != keys.me() && self.batches.len() < KEPT_FEW {
                    self.batches.push_back(batch.clone());
                }
                return;
            }
            _ => {}
        }
        if self.old.len() == KEPT {
            self.old.pop_front();
        }
        self.old.push_back(message.clone());
    }

    fn keep_block(&mut self, keys: &MemberKeys, signed: &SignedBlock) {
        let block = &signed.block;
        let digest = block.digest(&keys.domain());
        self.blocks
            .entry((block.view, block.slot, digest))
            .or_insert_with(|| block.clone());
        trim(&mut self.blocks);
    }

    fn keep_vote(&mut self, member: MemberId, signed: &SignedVote) {
        let vote = &signed.vote;
        let Some((slot, digest)) = vote.voted else { return };
        let entry = QcVote {
            member,
            locked: vote.locked,
            signature: signed.signature,
        };
        let votes = self.votes.entry((vote.view, slot, digest)).or_default();
        votes.insert(member, entry);
        while self.votes.len() > KEPT_FEW {
            self.votes.pop_first();
        }
    }

    fn keep_qc(&mut self, qc: &Qc) {
        if self.newest_qc.as_ref().is_none_or(|known| known.at < qc.at) {
            self.older_qc = self.newest_qc.replace(qc.clone());
        }
    }

    /// Something from the past.
    pub(super) fn recall(&self, prng: &mut Prng) -> Option<Message> {
        (!self.old.is_empty()).then(|| self.old[prng.index(self.old.len())].clone())
    }

    /// The newest messages that `like` takes, newest first.
    pub(super) fn recent<'a>(&'a self, like: impl Fn(&Message) -> bool + 'a) -> impl Iterator<Item = &'a Message> {
        self.old.iter().rev().filter(move |message| like(message))
    }

    /// Blocks of a view and slot.
    pub(super) fn at(&self, view: View, slot: Slot) -> Vec<Digest> {
        let from = (view, slot, Digest::ZERO);
        let to = (view, slot, Digest([255; 32]));
        self.blocks
            .range(from..=to)
            .map(|((_, _, digest), _)| *digest)
            .collect()
    }

    /// The newest block of a view.
    pub(super) fn newest_block(&self, view: View) -> Option<(Slot, Digest)> {
        let newest = self.blocks.range(..=(view, u64::MAX, Digest([255; 32]))).next_back();
        newest
            .filter(|((v, _, _), _)| *v == view)
            .map(|((_, slot, digest), _)| (*slot, *digest))
    }
}

/// Forgets the lowest keys.
pub(super) fn trim<K: Ord, V>(table: &mut BTreeMap<K, V>) {
    while table.len() > KEPT {
        table.pop_first();
    }
}
