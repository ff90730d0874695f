//! What goes into a replica and what comes out.

use alloc::{boxed::Box, vec::Vec};

use bytes::Bytes;
use trireme_crypto::Digest;

use crate::check::Checked;
use crate::message::{Message, QcRef, SignedAck, SignedBlock, SignedHeader, SignedVote, StateCertificate, StateVote};
use crate::quarantine::Cause;
use crate::record::Record;
use crate::types::{Height, MemberId, Slot, View};

/// Number of an append; ascending in the order of the appends.
pub type AppendId = u64;
/// Number of a verification job.
pub type JobId = u64;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A message on a member's channel that passed [`crate::check::check`].
    Message(Checked),
    /// The channel to a member is open.
    Connected(MemberId),
    /// The channel to a member is gone.
    Disconnected(MemberId),
    /// A measured round trip to a member.
    Rtt {
        /// The other side.
        member: MemberId,
        /// Microseconds.
        us: u64,
    },
    /// An append and all before it are durable. The caller has sent, or sends right after, its `release`.
    Appended(AppendId),
    /// Result of [`Effect::Verify`]: whether the body is well-formed and every client signature in it is good.
    Verified {
        /// The job.
        job: JobId,
        /// True: all good.
        good: bool,
    },
    /// A slot was executed ([`Effect::Execute`]), or its root was computed ([`Effect::StateRoot`]).
    Executed {
        /// The slot.
        slot: Slot,
        /// Roots, if they were asked for.
        state: Option<StateVote>,
    },
    /// The host's own image of a checkpoint ([`Execution::checkpoint`]) is durable as a snapshot.
    Snapshotted {
        /// The checkpoint.
        slot: Slot,
    },
    /// The image that [`Effect::Transfer`] asked for is verified, durable as a snapshot, and in the executor. Slots at or
    /// below the anchor's that were given to execution before are void: the host answers them with
    /// [`Input::Executed`] without roots, or not at all. If execution went past the anchor meanwhile, it says so here all the
    /// same, and nothing changes: state never goes back.
    Installed {
        /// What the image was verified against.
        certificate: Box<StateCertificate>,
        /// The block of that slot; its digest is under the certificate's root.
        anchor: Box<SignedBlock>,
    },
    /// A client bundle whose signature was checked by this replica's own ingress. Give it only while
    /// [`crate::Replica::intake_bytes`] has room.
    Bundle {
        /// Encoded bundle.
        bytes: Bytes,
        /// Requests in it.
        ops: u32,
    },
    /// End of a turn: the caller has, for now, no more input, or has given as much as it does at once. What was held
    /// back to be batched (own batches, proposals) goes out here, so give it after every run of inputs.
    Idle,
    /// [`crate::Replica::next_timeout`] has passed.
    Timeout,
}

/// To whom a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Every other member.
    All,
    /// One member.
    One(MemberId),
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// Receiver.
    pub to: To,
    /// What to say. The caller puts the epoch and [`crate::Replica::view`] into the frame.
    pub message: Message,
}

/// A batch of an ordered slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderedBatch {
    /// Lane of the batch.
    pub lane: MemberId,
    /// Its height.
    pub height: Height,
    /// Its digest.
    pub digest: Digest,
    /// Encoded bundles.
    pub body: Bytes,
}

/// One committed slot, ready to execute: all its batches are here, in the order of R-EXECUTE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// The slot; strictly one above the one before.
    pub slot: Slot,
    /// Digest of its block.
    pub block: Digest,
    /// View of its block.
    pub view: View,
    /// The block's timestamp.
    pub timestamp: u64,
    /// In order of execution.
    pub batches: Vec<OrderedBatch>,
    /// Whether the state root after this slot is wanted.
    pub root: bool,
    /// The slot is a checkpoint: its root is wanted, in a [`StateVote`] that says so, and an image, unless a snapshot of
    /// this slot or a later one is held. On a replay, too: give the vote to [`crate::Replica::replayed`].
    pub checkpoint: bool,
    /// Whether the slot was committed by the fast path here.
    pub fast: bool,
    /// A restart executes it again: no replies are due.
    pub replay: bool,
}

/// What [`Effect::Serve`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Records of batches.
    Batches,
    /// Records of blocks, accepted or fetched.
    Blocks,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Write the records (none: nothing to write, but the order holds); when they and all earlier ones are durable, send `release` and answer with
    /// [`Input::Appended`]. In this order of the effects.
    Append {
        /// Number to answer with.
        id: AppendId,
        /// To write.
        records: Vec<Record>,
        /// What may leave once they are durable.
        release: Vec<Outbound>,
        /// False: may wait for company (nobody waits for it).
        urgent: bool,
    },
    /// Send at once.
    Send(Outbound),
    /// Parse a body and check every client signature in it; answer with [`Input::Verified`].
    Verify {
        /// Number to answer with.
        job: JobId,
        /// The batch's digest.
        digest: Digest,
        /// Requests that its header promises.
        ops: u32,
        /// Encoded bundles.
        body: Bytes,
        /// A block waits for it: ahead of the queue.
        urgent: bool,
    },
    /// Execute a slot, in order; answer with [`Input::Executed`].
    Execute(Execution),
    /// Compute the roots of the slot executed last; answer with [`Input::Executed`]. Nothing newer is in execution.
    StateRoot {
        /// That slot.
        slot: Slot,
    },
    /// A checkpoint is stable: the certificate has q votes, and this replica executed to the same root. Belongs to the
    /// snapshot of that slot; snapshots older than the newest two stable ones may go.
    Stable {
        /// Its votes.
        certificate: Box<StateCertificate>,
        /// The block of that slot.
        anchor: Box<SignedBlock>,
    },
    /// Once `after` is durable, the log may drop: batches at or below their lane's height, blocks ([`VoteRecord::Block`]
    /// and [`VoteRecord::Accept`]) below `slot`, and all other vote records before that append. What still counts of
    /// them stands in that append again, in [`VoteRecord::Standing`] (R-RELEASE).
    ///
    /// [`VoteRecord::Block`]: crate::record::VoteRecord::Block
    /// [`VoteRecord::Accept`]: crate::record::VoteRecord::Accept
    /// [`VoteRecord::Standing`]: crate::record::VoteRecord::Standing
    Release {
        /// The append that carries forward what stands.
        after: AppendId,
        /// Blocks below this slot are not needed.
        slot: Slot,
        /// By lane: batches up to here are not needed.
        heights: Vec<Height>,
    },
    /// This replica is so far behind that it should fetch the image of this stable checkpoint from its peers, and answer
    /// with [`Input::Installed`]. It comes again with a newer certificate while this replica lags; the host changes over
    /// at the latest when nobody serves the older image any more.
    Transfer {
        /// Its votes.
        certificate: Box<StateCertificate>,
    },
    /// Read these records from the log and send them to the member: a [`Message::Batch`] each, or one
    /// [`Message::Blocks`] with all of them in this order; [`Message::NotHeld`] if the first is not there, and what
    /// was found so far if a later one is missing.
    Serve {
        /// Who asked.
        to: MemberId,
        /// Batches or blocks.
        kind: Stored,
        /// What to read, the one that was asked for first.
        digests: Vec<Digest>,
    },
    /// Close a member's channel: it broke the protocol there.
    Disconnect {
        /// Whose.
        member: MemberId,
        /// Why.
        reason: Reject,
    },
    /// Proof of misbehaviour; store, count, export.
    Evidence(Box<Evidence>),
    /// A correct replica must not see this; it has stopped voting.
    Alarm(Alarm),
    /// From now on it signs nothing (R-QUARANTINE): it found out that it forgot, or a start finds it so.
    Quarantined(Cause),
    /// It left its quarantine, durably, with this certificate.
    Readmitted(QcRef),
}

/// Where a step puts its effects.
pub type Outbox = Vec<Effect>;

/// Why a message was refused. Closed and counted by variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reject {
    /// Not decodable, or not canonical.
    Malformed,
    /// Another epoch's.
    Epoch,
    /// A member index out of range, or a list with duplicates or out of order.
    Members,
    /// Too few or too many entries for a certificate.
    Count,
    /// A signature does not verify.
    Signature,
    /// Not the leader of that view, not the owner of that lane.
    Author,
    /// A body that does not match its header.
    Body,
    /// Fields that contradict each other.
    Inconsistent,
    /// Larger than a limit allows.
    TooLarge,
    /// Answers something that was not asked.
    Unrequested,
}

impl Reject {
    /// Number of variants.
    pub const COUNT: usize = 10;
    /// Name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Epoch => "epoch",
            Self::Members => "members",
            Self::Count => "count",
            Self::Signature => "signature",
            Self::Author => "author",
            Self::Body => "body",
            Self::Inconsistent => "inconsistent",
            Self::TooLarge => "too_large",
            Self::Unrequested => "unrequested",
        }
    }
}

/// Proof that a member broke the protocol: two statements that a correct one never signs both (R-EVIDENCE).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Two blocks of one (view, slot), or two first blocks of one view.
    Blocks(SignedBlock, SignedBlock),
    /// Two `voted` digests at one (view, slot).
    Votes(MemberId, SignedVote, SignedVote),
    /// Two headers of one (lane, height).
    Headers(SignedHeader, SignedHeader),
    /// A `verified` ack of a body with a bad client signature.
    FalseVerified(MemberId, SignedAck, SignedHeader, Bytes),
}

impl Evidence {
    /// Who is accused; `leader(view)` accuses by view for blocks.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Blocks(..) => "blocks",
            Self::Votes(..) => "votes",
            Self::Headers(..) => "headers",
            Self::FalseVerified(..) => "false_verified",
        }
    }
}

/// Something that breaks the model's assumptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A state certificate has another root than this replica's at that slot.
    StateDiverged {
        /// Where.
        slot: Slot,
    },
    /// A safe tip conflicts with this replica's committed prefix.
    SafeTipConflict {
        /// The view being entered.
        view: View,
    },
}
