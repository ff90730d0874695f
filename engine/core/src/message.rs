//! What replicas say to each other: statements that are signed, certificates made of them, and the frames.

use alloc::{boxed::Box, vec::Vec};

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use trireme_crypto::{Digest, Domain, Signature, context, encode};

use crate::types::{Epoch, Height, MemberId, Slot, View};

/// Head of a batch, signed by the owner of the lane (R-LANE).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchHeader {
    /// Owner of the lane.
    pub lane: MemberId,
    /// Strictly increasing in a lane; may skip after a restart (R-RESERVE).
    pub height: Height,
    /// Digest of the batch below; [`Digest::ZERO`] for a lane's first.
    pub parent: Digest,
    /// Height of the batch below; 0 for a lane's first. With it a chain can be followed down to a committed height
    /// although what lies below was never shown, or is forgotten.
    pub parent_height: Height,
    /// Digest of the body's bytes.
    pub body_root: Digest,
    /// Requests in the body.
    pub ops: u32,
    /// Bytes of the body.
    pub bytes: u32,
    /// The f members asked to check the client signatures (R-WITNESS).
    pub witnesses: Vec<MemberId>,
}

/// A batch header and its owner's signature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedHeader {
    /// The statement.
    pub header: BatchHeader,
    /// By `header.lane`.
    pub signature: Signature,
}

impl BatchHeader {
    /// The statement that is signed, which is also the batch's digest.
    pub fn digest(&self, domain: &Domain) -> Digest {
        domain.statement(context::BATCH_HEADER, &encode(self))
    }
}

/// A run of client bundles with its header. The body is opaque here: it is parsed where signatures are checked and
/// where requests are executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Head and owner's signature.
    pub head: SignedHeader,
    /// Encoded bundles (`request::body`).
    pub body: Bytes,
}

/// A receiver's statement about a batch (R-LANE, R-WITNESS).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Ack {
    /// Lane of the batch.
    pub lane: MemberId,
    /// Its height.
    pub height: Height,
    /// Its digest.
    pub digest: Digest,
    /// Durable at the signer, with all ancestors above the committed cut.
    pub stored: bool,
    /// The signer checked every client signature of this body.
    pub verified: bool,
    /// Client signatures of this batch and of its ancestors are vouched for.
    pub witnessed: bool,
}

impl Ack {
    /// The statement that is signed.
    pub fn statement(&self, domain: &Domain) -> Digest {
        domain.statement(context::ACK, &encode(self))
    }
}

/// An ack and its sender's signature; the sender is the channel's member.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedAck {
    /// The statement.
    pub ack: Ack,
    /// By the sender.
    pub signature: Signature,
}

/// One ack of an availability certificate: `stored` and `witnessed` hold by definition.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AcEntry {
    /// Signer.
    pub member: MemberId,
    /// The ack's `verified`, which is under the signature.
    pub verified: bool,
    /// Over the ack.
    pub signature: Signature,
}

/// Availability certificate: f+1 acks, stored and witnessed, of one batch.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Ac {
    /// Lane of the batch.
    pub lane: MemberId,
    /// Its height.
    pub height: Height,
    /// Its digest.
    pub digest: Digest,
    /// Exactly f+1, members ascending.
    pub acks: Vec<AcEntry>,
}

impl Ac {
    /// What each signer signed: its ack, `stored` and `witnessed`.
    pub fn statements(&self, domain: &Domain) -> impl Iterator<Item = (MemberId, Digest, Signature)> {
        self.acks.iter().map(|entry| {
            let ack = Ack {
                lane: self.lane,
                height: self.height,
                digest: self.digest,
                stored: true,
                verified: entry.verified,
                witnessed: true,
            };
            (entry.member, ack.statement(domain), entry.signature)
        })
    }
}

/// The newest batch of one lane that a block orders.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CutEntry {
    /// Height of the tip; 0 while the lane is empty.
    pub height: Height,
    /// Its digest; [`Digest::ZERO`] while the lane is empty.
    pub digest: Digest,
    /// Certificate of a changed tip; `None` on an optimistic or unchanged one.
    pub certificate: Option<Ac>,
}

/// What allows a first block of a view (R-ACCEPT 2b).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Justify {
    /// Not a first block, or the first of view 0 on genesis.
    None,
    /// The timeout certificate of the view before.
    Tc(Box<Tc>),
}

/// A block of a cut.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// View of its leader.
    pub view: View,
    /// Parent's slot + 1.
    pub slot: Slot,
    /// Digest of the parent.
    pub parent: Digest,
    /// A tip for each lane, in member order; n entries.
    pub cut: Vec<CutEntry>,
    /// Microseconds since the Unix epoch; greater than the parent's (R-ACCEPT 4).
    pub timestamp: u64,
    /// Names a successor (R-HANDOFF).
    pub handoff: Option<MemberId>,
    /// Present in a view's first block only.
    pub justify: Justify,
}

impl Block {
    /// The statement that is signed, which is also the block's digest: the canonical block with `justify`.
    pub fn digest(&self, domain: &Domain) -> Digest {
        domain.statement(context::BLOCK, &encode(self))
    }
}

/// A block and its leader's signature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedBlock {
    /// The statement.
    pub block: Block,
    /// By leader(view).
    pub signature: Signature,
}

/// The one vote message (section 4).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    /// View of both parts.
    pub view: View,
    /// A block just accepted.
    pub voted: Option<(Slot, Digest)>,
    /// The highest Qc of this view that is durable here (R-LOCK).
    pub locked: Option<(Slot, Digest)>,
}

impl Vote {
    /// The statement that is signed.
    pub fn statement(&self, domain: &Domain) -> Digest {
        domain.statement(context::VOTE, &encode(self))
    }
}

/// A vote and its sender's signature; the sender is the channel's member.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedVote {
    /// The statement.
    pub vote: Vote,
    /// By the sender.
    pub signature: Signature,
}

/// One vote of a quorum certificate.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct QcVote {
    /// Signer.
    pub member: MemberId,
    /// The vote's `locked`, which is under the signature.
    pub locked: Option<(Slot, Digest)>,
    /// Over the vote.
    pub signature: Signature,
}

/// Names a quorum certificate: two of them are equal by this, not by who voted (R-STATEMENT). Ordered by view, slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct QcRef {
    /// View of the block.
    pub view: View,
    /// Its slot.
    pub slot: Slot,
    /// Its digest.
    pub digest: Digest,
}

impl QcRef {
    /// Position in the order of certificates: (view, slot).
    pub fn rank(&self) -> (View, Slot) {
        (self.view, self.slot)
    }
}

/// Quorum certificate: q votes that name exactly one (view, slot, digest).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Qc {
    /// What is certified.
    pub at: QcRef,
    /// Exactly q, members ascending; none for genesis.
    pub votes: Vec<QcVote>,
}

impl Qc {
    /// What each voter signed: its vote for exactly this block, with its lock.
    pub fn statements(&self, domain: &Domain) -> impl Iterator<Item = (MemberId, Digest, Signature)> {
        self.votes.iter().map(|entry| {
            let vote = Vote {
                view: self.at.view,
                voted: Some((self.at.slot, self.at.digest)),
                locked: entry.locked,
            };
            (entry.member, vote.statement(domain), entry.signature)
        })
    }

    /// The certificate of genesis, valid by definition.
    pub fn genesis(digest: Digest) -> Self {
        Self {
            at: QcRef {
                view: 0,
                slot: 0,
                digest,
            },
            votes: Vec::new(),
        }
    }
}

/// A block that a Timeout's sender accepted: (view, slot, digest).
pub type Accepted = (View, Slot, Digest);

/// What a Timeout signs (R-REPORT).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Timeout {
    /// The view that is left.
    pub view: View,
    /// The sender's highest Qc.
    pub high_qc: QcRef,
    /// Blocks accepted above it, ascending, without duplicates.
    pub accepted: Vec<Accepted>,
}

impl Timeout {
    /// The statement that is signed.
    pub fn statement(&self, domain: &Domain) -> Digest {
        domain.statement(context::TIMEOUT, &encode(self))
    }
}

/// What lets a replica be in a view (R-ENTER).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Entry {
    /// View 0.
    Genesis,
    /// The timeout certificate of the view before.
    Tc(Box<Tc>),
}

impl Entry {
    /// The view that it lets its holder enter.
    pub fn view(&self) -> View {
        match self {
            Self::Genesis => 0,
            Self::Tc(tc) => tc.view.saturating_add(1),
        }
    }
}

/// A Timeout as it is sent: with the whole Qc and the sender's entry certificate.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedTimeout {
    /// Who left the view.
    pub member: MemberId,
    /// The statement.
    pub timeout: Timeout,
    /// By `member`.
    pub signature: Signature,
    /// The Qc that `timeout.high_qc` names.
    pub high_qc: Qc,
    /// The sender's entry certificate of `timeout.view`.
    pub entry: Entry,
}

/// One Timeout of a timeout certificate.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TcEntry {
    /// Signer.
    pub member: MemberId,
    /// Its highest Qc.
    pub high_qc: QcRef,
    /// Its list.
    pub accepted: Vec<Accepted>,
    /// Over the Timeout.
    pub signature: Signature,
}

/// Timeout certificate: t or more Timeouts of exactly this view, and the one greatest Qc among their references.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Tc {
    /// The view that is left.
    pub view: View,
    /// Members ascending.
    pub timeouts: Vec<TcEntry>,
    /// The greatest.
    pub high_qc: Qc,
}

/// A statement about the state after a slot (R-STATE).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StateVote {
    /// The slot executed last.
    pub slot: Slot,
    /// Root of the state after it.
    pub state_root: Digest,
    /// Root of the receipts of that slot alone.
    pub receipts_root: Digest,
    /// The block's.
    pub timestamp: u64,
    /// Whether the slot is a checkpoint; the chain decides that, so it is equal everywhere. q such votes make it stable.
    pub checkpoint: bool,
}

impl StateVote {
    /// The statement that is signed.
    pub fn statement(&self, domain: &Domain) -> Digest {
        domain.statement(context::STATE_VOTE, &encode(self))
    }
}

/// A state vote and its sender's signature; the sender is the channel's member.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedStateVote {
    /// The statement.
    pub vote: StateVote,
    /// By the sender.
    pub signature: Signature,
}

/// f+1 equal state votes: one honest replica executed to this root. With q of a checkpoint it is stable: then, too, the
/// root covers the digest of the slot's block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StateCertificate {
    /// What is certified.
    pub vote: StateVote,
    /// f+1 or more signers with their signatures, ascending.
    pub votes: Vec<(MemberId, Signature)>,
}

/// How far a replica stores and acks one lane, told on connect (R-LANE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LaneMark {
    /// Highest height that is stored durably.
    pub stored: Height,
    /// Highest height that was acked.
    pub acked: Height,
}

/// What a member shows another one of its own newest statements: each under the receiver's signature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Shown {
    /// Whose they are: the receiver.
    pub member: MemberId,
    /// At most [`Shown::MAX_VOTES`].
    pub votes: Vec<SignedVote>,
    /// A Timeout and its signature.
    pub timeout: Option<(Timeout, Signature)>,
    /// Head of its highest batch.
    pub header: Option<SignedHeader>,
}

impl Shown {
    /// The highest vote, the highest lock, and one of a certificate.
    pub const MAX_VOTES: usize = 3;

    /// Nothing is held of this member.
    pub fn nothing(member: MemberId) -> Self {
        Self {
            member,
            votes: Vec::new(),
            timeout: None,
            header: None,
        }
    }
}

/// A batch that the sender stored and acked, and on which no other one stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Tip {
    /// Lane of the batch.
    pub lane: MemberId,
    /// Its height.
    pub height: Height,
    /// Its digest.
    pub digest: Digest,
}

/// What a quarantined replica is told (R-QUARANTINE).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Recollection {
    /// Proves the highest view that the sender entered. It times out no view that it did not enter.
    pub entry: Entry,
    /// Stored tips above the sender's committed cut, ascending.
    pub tips: Vec<Tip>,
}

/// With what a replica left its quarantine.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Readmission {
    /// Of a view above W.
    pub qc: Qc,
    /// Its block: the lane of whoever came back goes on above this one's cut.
    pub block: SignedBlock,
}

/// What one replica tells another. [`crate::wire`] gives the frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Data of a lane, from its owner or as an answer to `FetchBatches`.
    Batch(Batch),
    /// A word of another ordering than this crate's (section 9); only that ordering reads it.
    Ordering(Bytes),
    /// Stored, verified, witnessed.
    Ack(SignedAck),
    /// An availability certificate that the receiver has not ordered yet.
    Certificate(Ac),
    /// A proposal.
    Block(Box<SignedBlock>),
    /// Acceptance and lock.
    Vote(SignedVote),
    /// The newest slot that the sender committed, and its block: unsigned, believed from f+1 channels (R-TELL).
    Committed {
        /// The slot.
        slot: Slot,
        /// Its block.
        digest: Digest,
    },
    /// Unsigned, revocable suspicion of a view (R-SUSPECT).
    Suspect {
        /// The suspected view.
        view: View,
        /// False takes an earlier one back.
        standing: bool,
    },
    /// Leaves a view.
    Timeout(Box<SignedTimeout>),
    /// An entry certificate.
    Entry(Box<Tc>),
    /// The sender's highest Qc.
    HighQc(Box<Qc>),
    /// State after a slot.
    StateVote(SignedStateVote),
    /// f+1 equal state votes.
    StateCertificate(Box<StateCertificate>),
    /// Marks of all lanes in member order, told on connect.
    Lanes(Vec<LaneMark>),
    /// Asks for a block and its ancestors down to, not including, slot `floor`.
    FetchBlocks {
        /// The block's slot.
        slot: Slot,
        /// The block.
        digest: Digest,
        /// Ancestors at or below this slot are not wanted.
        floor: Slot,
    },
    /// Answer to `FetchBlocks`: the block and ancestors, newest first, as many as fit. Empty: not held.
    Blocks {
        /// What was asked for.
        digest: Digest,
        /// Newest first, each the parent of the one before.
        blocks: Vec<SignedBlock>,
    },
    /// Asks for a batch and its ancestors down to, not including, height `floor`; answered with `Batch`es.
    FetchBatches {
        /// The lane.
        lane: MemberId,
        /// The batch's height.
        height: Height,
        /// The batch.
        digest: Digest,
        /// Ancestors at or below this height are not wanted.
        floor: Height,
    },
    /// The sender does not hold what was asked for.
    NotHeld {
        /// What was asked for.
        digest: Digest,
    },
    /// Asks for a part of the image of a stable checkpoint. Opaque to the core: the host routes it to who serves images.
    FetchState {
        /// The checkpoint.
        slot: Slot,
        /// Which part; 0 is the manifest.
        part: u64,
    },
    /// Answer to `FetchState`. Opaque to the core: the host verifies it against the certificate before any use.
    StatePart {
        /// The checkpoint.
        slot: Slot,
        /// Which part.
        part: u64,
        /// The part, at most [`crate::wire::MAX_STATE_PART_BYTES`]; empty: not held.
        bytes: Bytes,
    },
    /// The receiver's own newest statements that the sender holds, told on connect (generation check).
    Shown(Box<Shown>),
    /// A quarantined replica asks what it may have forgotten.
    Inquire,
    /// Answer to `Inquire`.
    Recollection(Box<Recollection>),
    /// A quarantined replica asks to leave this view: only a certificate of a later one lets it out.
    LeaveView(View),
    /// The sender left its quarantine with this.
    Readmitted(Box<Readmission>),
}

/// A message with what every frame announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The sender's epoch.
    pub epoch: Epoch,
    /// The sender's current view (R-ENTER).
    pub view: View,
    /// What is said.
    pub message: Message,
}
