//! What goes over the links.

use bytes::Bytes;
use trireme_core::api::{AppendId, JobId, Stored};
use trireme_core::check::Checked;
use trireme_core::message::{SignedBlock, StateCertificate, StateVote};
use trireme_core::reply::ReplyFrame;
use trireme_core::types::Height;
use trireme_core::{MemberId, Slot, Tick, To, View};
use trireme_crypto::Digest;
use trireme_log::RecordKey;
use trireme_transport::{Class, CloseReason, ConnId};

use crate::gate::Permit;
use crate::passage::Passed;

/// A bundle of an own client, parsed and permitted.
#[derive(Debug)]
pub(crate) struct OwnBundle {
    pub(crate) bytes: Bytes,
    pub(crate) ops: u32,
    pub(crate) conn: ConnId,
    pub(crate) permit: Permit,
    /// When it was read.
    pub(crate) read: Tick,
}

/// A bundle whose signature does not verify.
#[derive(Debug)]
pub(crate) struct BadSignature {
    pub(crate) conn: ConnId,
    pub(crate) bytes: Bytes,
}

/// A bundle for the core.
#[derive(Debug)]
pub(crate) struct CheckedBundle {
    pub(crate) bytes: Bytes,
    pub(crate) ops: u32,
    /// Ends when the core takes the bundle.
    pub(crate) permit: Permit,
    pub(crate) passed: Passed,
}

/// A batch body of another lane to be verified.
#[derive(Debug)]
pub(crate) struct BodyJob {
    pub(crate) job: JobId,
    pub(crate) ops: u32,
    pub(crate) body: Bytes,
}

/// What came of a [`BodyJob`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) job: JobId,
    pub(crate) good: bool,
}

/// From a member's channel.
#[derive(Debug)]
pub(crate) enum FromMember {
    Message(Checked),
    Connected(MemberId),
    Disconnected(MemberId),
    Rtt(MemberId, u64),
}

/// To members' channels.
#[derive(Clone, Debug)]
pub(crate) enum ToMembers {
    Frame { to: To, class: Class, frame: Bytes },
    Disconnect(MemberId, CloseReason),
}

impl ToMembers {
    /// What it weighs on a link.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Frame { frame, .. } => frame.len(),
            Self::Disconnect(..) => 0,
        }
    }
}

/// A record as the log takes it.
#[derive(Debug)]
pub(crate) struct EncodedRecord {
    pub(crate) kind: u8,
    pub(crate) key: Option<RecordKey>,
    /// Lane and height of a batch, slot of a block ([`crate::log::marks`]).
    pub(crate) mark: u64,
    /// Other replicas have it, too.
    pub(crate) replaceable: bool,
    pub(crate) head: Vec<u8>,
    pub(crate) body: Bytes,
}

/// Work of the log.
#[derive(Debug)]
pub(crate) enum LogJob {
    Append {
        id: AppendId,
        records: Vec<EncodedRecord>,
        release: Vec<ToMembers>,
        urgent: bool,
    },
    Serve {
        to: MemberId,
        view: View,
        kind: Stored,
        digests: Vec<Digest>,
    },
    /// What stands is in that append; older segments may go ([`trireme_core::Effect::Release`]).
    Release {
        after: AppendId,
        slot: Slot,
        heights: Vec<Height>,
    },
}

/// Work of the application.
#[derive(Debug)]
pub(crate) enum ExecuteJob {
    Slot(trireme_core::api::Execution),
    Root(Slot),
}

/// What the execute stage tells the order stage.
pub(crate) enum ExecuteNews {
    Slot(ExecutedSlot),
    /// A fetched state was taken over, or was older than what is here.
    Installed(Box<StateCertificate>, Box<SignedBlock>),
}

/// An executed slot, or a root that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct ExecutedSlot {
    pub(crate) slot: Slot,
    pub(crate) state: Option<StateVote>,
}

/// The replies of one slot.
#[derive(Debug)]
pub(crate) struct SlotReplies {
    /// When the slot was executed.
    pub(crate) executed: Tick,
    pub(crate) sets: Vec<ReplyFrame>,
}
