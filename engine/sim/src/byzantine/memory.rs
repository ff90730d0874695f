//! What a faulty member remembers of what it said and heard.

use std::collections::{BTreeMap, VecDeque};

use trireme_core::message::{Block, Message, Qc, SignedBlock, SignedTimeout, Tc};
use trireme_core::types::Keys;
use trireme_core::{MemberId, Slot, View};
use trireme_crypto::Digest;

use crate::keys::MemberKeys;
use crate::prng::Prng;

/// Entries of each kind.
const KEPT: usize = 256;

/// Bounded memory.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) blocks: BTreeMap<(View, Slot, Digest), Block>,
    pub(super) timeouts: BTreeMap<(View, MemberId), SignedTimeout>,
    pub(super) newest_qc: Option<Qc>,
    pub(super) entry: Option<Tc>,
    /// Second version of an own block or batch, by the digest of the first.
    pub(super) second: BTreeMap<Digest, Digest>,
    old: VecDeque<Message>,
}

impl Memory {
    pub(super) fn hear(&mut self, keys: &MemberKeys, message: &Message) {
        match message {
            Message::Block(block) => self.keep_block(keys, block),
            Message::Blocks { blocks, .. } => blocks.iter().for_each(|block| self.keep_block(keys, block)),
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
            Message::Batch(_) => return,
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

    fn keep_qc(&mut self, qc: &Qc) {
        if self.newest_qc.as_ref().is_none_or(|known| known.at < qc.at) {
            self.newest_qc = Some(qc.clone());
        }
    }

    /// Something from the past.
    pub(super) fn recall(&self, prng: &mut Prng) -> Option<Message> {
        (!self.old.is_empty()).then(|| self.old[prng.index(self.old.len())].clone())
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
}

fn trim<K: Ord, V>(table: &mut BTreeMap<K, V>) {
    while table.len() > KEPT {
        table.pop_first();
    }
}
