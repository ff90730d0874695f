//! What clients and replicas say to each other: one enum each way, and the replies to executed requests (R-REPLY).
//!
//! Frames are canonical Borsh. A replica answers each client once a slot, with a [`ReplySet`]: all correct replicas
//! make equal ones, so a client accepts an entry when f+1 distinct replicas sent the same (slot, digest) and one of
//! them the entries behind it.

use alloc::{string::String, vec::Vec};

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use trireme_crypto::{Digest, Malformed, context, decode_bounded, encode, hash_of, hash_parts};

use crate::request::{MAX_BUNDLE_BYTES, MAX_BUNDLE_OPS, RequestNumber};
use crate::types::{ClientId, Slot, View};

/// The longest frame from a client, in bytes.
pub const MAX_TO_REPLICA_BYTES: usize = MAX_BUNDLE_BYTES + 64;
/// The most clients that one `Subscribe` names; a connection may send several.
pub const MAX_SUBSCRIBE_CLIENTS: usize = 4_096;
/// The longest result of one request, in bytes.
pub const MAX_RESULT_BYTES: usize = 128 << 10;
/// The most bytes of results in one [`ReplySet`]; results beyond are [`Outcome::LeftOut`].
pub const MAX_REPLY_SET_BYTES: usize = 4 << 20;
/// The most entries of one [`ReplySet`]; what is executed beyond is answered when it is asked for again.
pub const MAX_REPLY_ENTRIES: usize = 65_536;
/// The longest frame to a client, in bytes: results, and the entries around them.
pub const MAX_FROM_REPLICA_BYTES: usize = 8 << 20;
/// The longest text of a status answer, in bytes.
pub const MAX_STATUS_BYTES: usize = 1 << 20;

const _: () = assert!(5 + MAX_SUBSCRIBE_CLIENTS * 32 < MAX_TO_REPLICA_BYTES);
const _: () = assert!(MAX_REPLY_SET_BYTES >= MAX_RESULT_BYTES && MAX_STATUS_BYTES < MAX_FROM_REPLICA_BYTES);
const _: () = assert!(MAX_REPLY_SET_BYTES + MAX_REPLY_ENTRIES * ENTRY_OVERHEAD_BYTES + 256 <= MAX_FROM_REPLICA_BYTES);

/// Bytes of an entry without its result: number, digest, tag, length or low mark.
const ENTRY_OVERHEAD_BYTES: usize = 8 + 32 + 1 + 8;

/// A frame from a client.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ToReplica {
    /// An encoded bundle ([`crate::request`]).
    Bundle(Bytes),
    /// Replies of these clients shall go over this connection, too. Clients are claimed once for each connection.
    Subscribe {
        /// At most [`MAX_SUBSCRIBE_CLIENTS`].
        clients: Vec<ClientId>,
        /// Whether the entries are wanted, or their digests only.
        full: bool,
    },
    /// Asks for the replica's status.
    Status {
        /// Comes back in the answer.
        nonce: u64,
    },
}

/// A frame to a client.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum FromReplica {
    /// Replies to what one slot executed of one client.
    Replies(ReplySet),
    /// This replica did not take requests in; it says nothing about other replicas, or about a copy that is ordered.
    Refused {
        /// Whose requests.
        client: ClientId,
        /// Which; at most [`MAX_BUNDLE_OPS`]. Empty if the bundle could not be read.
        numbers: Vec<RequestNumber>,
        /// Why.
        reason: Refusal,
    },
    /// Answer to [`ToReplica::Status`].
    Status {
        /// As asked.
        nonce: u64,
        /// A JSON object; at most [`MAX_STATUS_BYTES`].
        json: String,
    },
}

/// Why a replica did not take requests in. Closed and counted by variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
#[repr(u8)]
pub enum Refusal {
    /// Its buffers are full: try again later, or elsewhere.
    Overloaded,
    /// The client is not one of this cluster's.
    NotRegistered,
    /// The bundle is not well-formed.
    Malformed,
    /// The client's signature does not verify.
    BadSignature,
    /// Larger than a limit allows.
    TooLarge,
    /// The log may not grow further.
    LogFull,
    /// The replica is stopping.
    Stopping,
    /// The client belongs to another connection's key.
    WrongConnection,
    /// The client's own quota is used up.
    Quota,
    /// The replica does not take part now: it recovers, or has stopped voting.
    NotReady,
}

impl Refusal {
    /// Number of variants.
    pub const COUNT: usize = 10;

    /// Name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::NotRegistered => "not_registered",
            Self::Malformed => "malformed",
            Self::BadSignature => "bad_signature",
            Self::TooLarge => "too_large",
            Self::LogFull => "log_full",
            Self::Stopping => "stopping",
            Self::WrongConnection => "wrong_connection",
            Self::Quota => "quota",
            Self::NotReady => "not_ready",
        }
    }

    /// Whether the same bytes may be taken in later, here or elsewhere.
    pub fn is_temporary(self) -> bool {
        matches!(
            self,
            Self::Overloaded | Self::LogFull | Self::Stopping | Self::Quota | Self::NotReady
        )
    }
}

/// All replies of one slot to one client.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReplySet {
    /// Whose.
    pub client: ClientId,
    /// The slot that ordered the requests (or their copies).
    pub slot: Slot,
    /// View of the slot's block, for the client's guess at the leader. Not under the digest.
    pub view: View,
    /// [`reply_digest`] of the entries.
    pub digest: Digest,
    /// In the order of execution, one for each number that was executed; `None` on connections that asked for digests
    /// only.
    pub entries: Option<Vec<ReplyEntry>>,
}

impl ReplySet {
    /// The set of these entries, with its digest.
    pub fn new(client: ClientId, slot: Slot, view: View, entries: Vec<ReplyEntry>) -> Self {
        Self {
            client,
            slot,
            view,
            digest: reply_digest(&client, slot, &entries),
            entries: Some(entries),
        }
    }

    /// The same without the entries.
    #[must_use]
    pub fn brief(&self) -> Self {
        Self {
            client: self.client,
            slot: self.slot,
            view: self.view,
            digest: self.digest,
            entries: None,
        }
    }

    /// Whether the digest is that of the entries; false without entries.
    pub fn is_consistent(&self) -> bool {
        let entries = self.entries.as_deref();
        entries.is_some_and(|entries| reply_digest(&self.client, self.slot, entries) == self.digest)
    }
}

/// What f+1 replicas must agree on: the canonical (client, slot, entries) under the context `REPLY`. A slot's
/// `receipts_root` is the Merkle root of these digests.
pub fn reply_digest(client: &ClientId, slot: Slot, entries: &[ReplyEntry]) -> Digest {
    hash_of(context::REPLY, &(client, slot, entries))
}

/// A reply set as the frame that carries it, written entry by entry: what a replica sends, without a detour over
/// [`ReplySet`]s.
#[derive(Clone, PartialEq, Eq)]
pub struct ReplyFrame {
    client: ClientId,
    digest: Digest,
    entries: u32,
    whole: Bytes,
}

/// Where the parts of a frame stand: the frame's tag, client, slot, view, digest, the tag of the entries, their number.
const FRAME_CLIENT: core::ops::Range<usize> = 1..33;
const FRAME_SLOT: core::ops::Range<usize> = 33..41;
const FRAME_VIEW: core::ops::Range<usize> = 41..49;
const FRAME_DIGEST: core::ops::Range<usize> = 49..81;
const FRAME_SOME: usize = 81;
const FRAME_COUNT: core::ops::Range<usize> = 82..86;

impl ReplyFrame {
    /// Whose replies.
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// [`reply_digest`] of the entries.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Number of entries.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Bytes of the frame with the entries.
    pub fn bytes(&self) -> usize {
        self.whole.len()
    }

    /// The frame with the entries.
    pub fn whole(&self) -> Bytes {
        self.whole.clone()
    }

    /// The frame without them.
    pub fn brief(&self) -> Bytes {
        let mut brief = self.whole[..=FRAME_SOME].to_vec();
        brief[FRAME_SOME] = 0;
        brief.into()
    }

    /// The set that the frame carries.
    ///
    /// # Panics
    ///
    /// Never: it was written here.
    pub fn set(&self) -> ReplySet {
        match FromReplica::from_bytes(&self.whole) {
            Ok(FromReplica::Replies(set)) => set,
            other => panic!("a frame of replies is one: {other:?}"),
        }
    }
}

impl core::fmt::Debug for ReplyFrame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.set().fmt(f)
    }
}

/// What became of a request, with a borrowed result. See [`Outcome`].
#[derive(Clone, Copy, Debug)]
pub enum OutcomeRef<'a> {
    /// [`Outcome::Executed`]
    Executed(&'a [u8]),
    /// [`Outcome::TooFarAhead`]
    TooFarAhead {
        /// The low mark.
        low: RequestNumber,
    },
    /// [`Outcome::ResultGone`]
    ResultGone,
    /// [`Outcome::LeftOut`]
    LeftOut,
    /// [`Outcome::NotRegistered`]
    NotRegistered,
    /// [`Outcome::NoSession`]
    NoSession,
}

/// Writes a [`ReplyFrame`].
#[derive(Debug)]
pub struct ReplyWriter {
    client: ClientId,
    bytes: Vec<u8>,
    entries: u32,
    result_bytes: usize,
}

impl ReplyWriter {
    /// A frame without entries; `room` of them with short results fit without moving it.
    pub fn new(client: ClientId, slot: Slot, view: View, room: usize) -> Self {
        let mut bytes = Vec::with_capacity(FRAME_COUNT.end + room * (ENTRY_OVERHEAD_BYTES + 16));
        bytes.resize(FRAME_COUNT.end, 0);
        bytes[FRAME_CLIENT].copy_from_slice(&client.0);
        bytes[FRAME_SLOT].copy_from_slice(&slot.to_le_bytes());
        bytes[FRAME_VIEW].copy_from_slice(&view.to_le_bytes());
        bytes[FRAME_SOME] = 1;
        Self {
            client,
            bytes,
            entries: 0,
            result_bytes: 0,
        }
    }

    /// Whose replies.
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// Adds an entry, within the limits of a set: beyond [`MAX_REPLY_SET_BYTES`] of results they are left out, beyond
    /// [`MAX_REPLY_ENTRIES`] there are no entries. What is executed without one can be asked for again.
    pub fn push(&mut self, number: RequestNumber, request: &Digest, outcome: OutcomeRef<'_>) {
        if self.entries as usize >= MAX_REPLY_ENTRIES {
            return;
        }
        self.entries += 1;
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self.bytes.extend_from_slice(&request.0);
        match outcome {
            OutcomeRef::Executed(result) if self.result_bytes + result.len() <= MAX_REPLY_SET_BYTES => {
                self.result_bytes += result.len();
                let len = u32::try_from(result.len()).expect("results are bounded");
                self.bytes.push(0);
                self.bytes.extend_from_slice(&len.to_le_bytes());
                self.bytes.extend_from_slice(result);
            }
            OutcomeRef::TooFarAhead { low } => {
                self.bytes.push(1);
                self.bytes.extend_from_slice(&low.to_le_bytes());
            }
            OutcomeRef::ResultGone => self.bytes.push(2),
            OutcomeRef::Executed(_) | OutcomeRef::LeftOut => self.bytes.push(3),
            OutcomeRef::NotRegistered => self.bytes.push(4),
            OutcomeRef::NoSession => self.bytes.push(5),
        }
    }

    /// The frame, with its digest.
    pub fn finish(mut self) -> ReplyFrame {
        self.bytes[FRAME_COUNT].copy_from_slice(&self.entries.to_le_bytes());
        let covered = [
            &self.bytes[FRAME_CLIENT.start..FRAME_SLOT.end],
            &self.bytes[FRAME_COUNT.start..],
        ];
        let digest = hash_parts(context::REPLY, &covered);
        self.bytes[FRAME_DIGEST].copy_from_slice(&digest.0);
        ReplyFrame {
            client: self.client,
            digest,
            entries: self.entries,
            whole: self.bytes.into(),
        }
    }
}

/// The reply to one request.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReplyEntry {
    /// Number of the request.
    pub number: RequestNumber,
    /// Digest of the request that the outcome belongs to. Another than the client's own: it used the number twice,
    /// and the other one was ordered first.
    pub request: Digest,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an ordered request (R-EXECUTE). Equal at all correct replicas.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Outcome {
    /// Executed, now or by an earlier copy, with this result of the application.
    Executed(Bytes),
    /// The number lies more than the session's window above the client's low mark. Not final: a copy that is ordered
    /// later may execute.
    TooFarAhead {
        /// The low mark.
        low: RequestNumber,
    },
    /// Below the low mark, or executed so long ago that its result is no longer held.
    ResultGone,
    /// Executed, but this slot's results for the client are too long; the same number again brings the result.
    LeftOut,
    /// The client is not registered.
    NotRegistered,
    /// The cluster holds as many sessions as it may.
    NoSession,
}

impl Outcome {
    /// Name for metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Executed(_) => "executed",
            Self::TooFarAhead { .. } => "too_far_ahead",
            Self::ResultGone => "result_gone",
            Self::LeftOut => "left_out",
            Self::NotRegistered => "not_registered",
            Self::NoSession => "no_session",
        }
    }
}

impl ToReplica {
    /// The frame's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a frame, strictly and within its limits. The bundle in it is not parsed.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let frame: Self = decode_bounded(bytes, MAX_TO_REPLICA_BYTES)?;
        match &frame {
            Self::Subscribe { clients, .. } if clients.len() > MAX_SUBSCRIBE_CLIENTS => Err(Malformed::TooLong),
            _ => Ok(frame),
        }
    }
}

impl FromReplica {
    /// The frame's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a frame, strictly and within its limits. The digest of a reply set is not checked here
    /// ([`ReplySet::is_consistent`]).
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let frame: Self = decode_bounded(bytes, MAX_FROM_REPLICA_BYTES)?;
        match &frame {
            Self::Refused { numbers, .. } if numbers.len() > MAX_BUNDLE_OPS => Err(Malformed::TooLong),
            Self::Status { json, .. } if json.len() > MAX_STATUS_BYTES => Err(Malformed::TooLong),
            _ => Ok(frame),
        }
    }
}
