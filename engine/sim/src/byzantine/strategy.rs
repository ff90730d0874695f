//! What a strategy is: a piece that bends, delays, adds to or answers what passes through a faulty member.

use bytes::Bytes;
use trireme_core::message::{
    Ack, BatchHeader, Block, Entry, Message, Qc, SignedAck, SignedBlock, SignedHeader, SignedTimeout, SignedVote,
    Timeout, Vote,
};
use trireme_core::types::{Keys, Params};
use trireme_core::{MemberId, View};
use trireme_crypto::{Digest, Signature};

use super::Habit;
use super::collusion::Coalition;
use super::memory::Memory;
use crate::keys::MemberKeys;
use crate::oracle::Sizes;
use crate::prng::Prng;

/// Something said to one receiver.
#[derive(Clone)]
pub(crate) struct Said {
    pub(crate) message: Message,
    /// Kept back for this long, in simulated microseconds.
    pub(crate) delay_us: u64,
    /// The epoch that the frame announces, if not the cluster's.
    pub(crate) epoch: Option<u64>,
}

impl From<Message> for Said {
    fn from(message: Message) -> Self {
        Self {
            message,
            delay_us: 0,
            epoch: None,
        }
    }
}

/// What a faulty member does on hearing something.
pub(crate) enum Act {
    /// Says something to one member, or to all.
    Say(Option<MemberId>, Message),
    /// Takes a bundle into its lane; it does not care who signed it.
    TakeIn(Bytes, u32),
}

/// What strategies know and share: identity, memory, chance, and the coalition.
pub(crate) struct Me {
    pub(super) keys: MemberKeys,
    pub(super) params: Params,
    pub(super) sizes: Sizes,
    pub(super) genesis: Digest,
    pub(super) prng: Prng,
    pub(super) memory: Memory,
    pub(super) coalition: Coalition,
    /// Its replica's view.
    pub(super) view: View,
    /// How often each habit showed.
    pub(super) fired: Vec<u64>,
}

/// One way to break the protocol. Every method may do nothing.
pub(super) trait Strategy {
    /// What one receiver gets instead of a message.
    fn bend(&mut self, _me: &mut Me, _to: MemberId, said: Said, out: &mut Vec<Said>) {
        out.push(said);
    }

    /// Changes an own block before it is shown to anybody. Later own blocks stand on the changed one.
    fn redraft(&mut self, _me: &mut Me, _block: &mut Block) {}

    /// How many empty blocks go on top of an own block.
    fn spam(&mut self, _me: &mut Me) -> u64 {
        0
    }

    /// What it says to one member out of turn.
    fn out_of_turn(&mut self, _me: &mut Me, _to: MemberId, _out: &mut Vec<Message>) {}

    /// What it does on hearing something.
    fn hear(&mut self, _me: &mut Me, _from: MemberId, _message: &Message, _acts: &mut Vec<Act>) {}

    /// Whether its replica hears anything.
    fn deaf(&self) -> bool {
        false
    }
}

impl Me {
    /// A habit showed on the wire.
    pub(super) fn fire(&mut self, habit: Habit) {
        self.fired[habit as usize] += 1;
    }

    /// Whether the member gets the second version of things. Colluders agree on it.
    pub(super) fn in_other_half(&self, member: MemberId) -> bool {
        self.coalition.borrow().other_half >> member & 1 == 1
    }

    /// The second version of something, by the digest of the first.
    pub(super) fn second(&self, first: &Digest) -> Option<Digest> {
        self.coalition.borrow().second.get(first).copied()
    }

    pub(super) fn set_second(&mut self, first: Digest, second: Digest) {
        let coalition = &mut *self.coalition.borrow_mut();
        coalition.second.insert(first, second);
        super::memory::trim(&mut coalition.second);
    }

    pub(super) fn leads(&self, view: View) -> bool {
        usize::try_from(view).is_ok_and(|view| view % self.sizes.n == usize::from(self.keys.me()))
    }

    pub(super) fn sign_block(&self, block: Block) -> Message {
        Message::Block(Box::new(self.signed_block(block)))
    }

    pub(super) fn signed_block(&self, block: Block) -> SignedBlock {
        let signature = self.keys.sign(&block.digest(&self.keys.domain()));
        SignedBlock { block, signature }
    }

    pub(super) fn sign_header(&self, header: BatchHeader) -> SignedHeader {
        let signature = self.keys.sign(&header.digest(&self.keys.domain()));
        SignedHeader { header, signature }
    }

    pub(super) fn sign_vote(&self, vote: Vote) -> Message {
        let signature = self.keys.sign(&vote.statement(&self.keys.domain()));
        Message::Vote(SignedVote { vote, signature })
    }

    pub(super) fn sign_ack(&self, ack: Ack) -> Message {
        let signature = self.keys.sign(&ack.statement(&self.keys.domain()));
        Message::Ack(SignedAck { ack, signature })
    }

    pub(super) fn sign_timeout(&self, timeout: Timeout, high_qc: Qc, entry: Entry) -> Message {
        let signature = self.keys.sign(&timeout.statement(&self.keys.domain()));
        Message::Timeout(Box::new(SignedTimeout {
            member: self.keys.me(),
            timeout,
            signature,
            high_qc,
            entry,
        }))
    }

    /// A signature that nobody made.
    pub(super) fn no_signature(&mut self) -> Signature {
        let mut bytes = [0; 64];
        bytes[..8].copy_from_slice(&self.prng.next().to_le_bytes());
        Signature(bytes)
    }

    /// A digest of nothing.
    pub(super) fn no_digest(&mut self) -> Digest {
        let mut bytes = [0xA5; 32];
        bytes[..8].copy_from_slice(&self.prng.next().to_le_bytes());
        Digest(bytes)
    }
}
