//! Frames between replicas and records of the log as bytes. A batch body is never copied: it is the tail of its frame.
//!
//! Frame: `[epoch u64][view u64][tag u8]` and, for a batch, `[head length u32][head][body]`, else the borsh encoding of
//! the message's fields. All integers little endian.

use alloc::{boxed::Box, vec::Vec};

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use trireme_crypto::{Digest, decode, encode};

use crate::api::Reject;
use crate::message::{
    Ac, Batch, Envelope, LaneMark, Message, Qc, Readmission, Recollection, Shown, SignedAck, SignedBlock, SignedHeader,
    SignedStateVote, SignedTimeout, SignedVote, StateCertificate, Tc,
};
use crate::record::{Record, VoteRecord};
use crate::types::{Height, MemberId, Slot, View};

/// The longest frame that is decoded: a full batch and its head.
pub const MAX_FRAME_BYTES: usize = 16 << 20;
/// The most blocks in one answer.
pub const MAX_BLOCKS_PER_ANSWER: usize = 64;

/// The longest part of an image.
pub const MAX_STATE_PART_BYTES: usize = 4 << 20;

const HEADER_BYTES: usize = 17;
const TAG_BATCH: u8 = 0;
const TAG_SMALL: u8 = 1;

/// Every message but a batch, as it is encoded.
#[derive(BorshSerialize, BorshDeserialize)]
enum Small {
    Ack(SignedAck),
    Certificate(Ac),
    Block(Box<SignedBlock>),
    Vote(SignedVote),
    Suspect(View, bool),
    Timeout(Box<SignedTimeout>),
    Entry(Box<Tc>),
    HighQc(Box<Qc>),
    StateVote(SignedStateVote),
    StateCertificate(Box<StateCertificate>),
    Lanes(Vec<LaneMark>),
    FetchBlocks(Slot, Digest, Slot),
    Blocks(Digest, Vec<SignedBlock>),
    FetchBatches(MemberId, Height, Digest, Height),
    NotHeld(Digest),
    Committed(Slot, Digest),
    FetchState(Slot, u64),
    StatePart(Slot, u64, Bytes),
    Shown(Box<Shown>),
    Inquire,
    Recollection(Box<Recollection>),
    LeaveView(View),
    Readmitted(Box<Readmission>),
    Ordering(Bytes),
}

/// Whether a message goes over the bulk class of a channel: only data that may be large and may wait.
pub fn is_bulk(message: &Message) -> bool {
    matches!(
        message,
        Message::Batch(_) | Message::Blocks { .. } | Message::StatePart { .. }
    )
}

/// The frame of an envelope.
pub fn encode_envelope(envelope: &Envelope) -> Bytes {
    let mut frame = Vec::with_capacity(256);
    frame.extend_from_slice(&envelope.epoch.to_le_bytes());
    frame.extend_from_slice(&envelope.view.to_le_bytes());
    if let Message::Batch(batch) = &envelope.message {
        frame.push(TAG_BATCH);
        frame.reserve_exact(batch.body.len() + 512);
        put_batch(&mut frame, batch);
    } else {
        frame.push(TAG_SMALL);
        let small = Small::from_message(&envelope.message);
        small.serialize(&mut frame).expect("writing to memory cannot fail");
    }
    frame.into()
}

/// Reads a frame; strict: one byte string for a value, nothing behind it.
pub fn decode_envelope(frame: Bytes) -> Result<Envelope, Reject> {
    if frame.len() > MAX_FRAME_BYTES {
        return Err(Reject::TooLarge);
    }
    if frame.len() <= HEADER_BYTES {
        return Err(Reject::Malformed);
    }
    let epoch = u64::from_le_bytes(frame[0..8].try_into().expect("eight bytes"));
    let view = u64::from_le_bytes(frame[8..16].try_into().expect("eight bytes"));
    let tag = frame[16];
    let rest = frame.slice(HEADER_BYTES..);
    let message = match tag {
        TAG_BATCH => Message::Batch(take_batch(rest)?),
        TAG_SMALL => decode::<Small>(&rest).map_err(|_| Reject::Malformed)?.into_message(),
        _ => return Err(Reject::Malformed),
    };
    Ok(Envelope { epoch, view, message })
}

/// Kind of a record in the log: batches.
pub const RECORD_BATCH: u8 = 1;
/// Kind of a record in the log: everything else.
pub const RECORD_VOTE: u8 = 2;
/// Kind of a record in the log: what another ordering than this crate's writes.
pub const RECORD_ORDERING: u8 = 3;

/// Kind, head and body of a record; the payload in the log is head and body in a row.
pub fn encode_record(record: &Record) -> (u8, Vec<u8>, Bytes) {
    match record {
        Record::Batch(batch) => {
            let mut head = Vec::with_capacity(256);
            put_head(&mut head, batch);
            (RECORD_BATCH, head, batch.body.clone())
        }
        Record::Vote(vote) => (RECORD_VOTE, encode(vote), Bytes::new()),
        Record::Ordering(bytes) => (RECORD_ORDERING, Vec::new(), bytes.clone()),
    }
}

/// Reads a record's payload.
pub fn decode_record(kind: u8, payload: Bytes) -> Result<Record, Reject> {
    match kind {
        RECORD_BATCH => Ok(Record::Batch(take_batch(payload)?)),
        RECORD_VOTE => Ok(Record::Vote(
            decode::<VoteRecord>(&payload).map_err(|_| Reject::Malformed)?,
        )),
        RECORD_ORDERING => Ok(Record::Ordering(payload)),
        _ => Err(Reject::Malformed),
    }
}

fn put_head(out: &mut Vec<u8>, batch: &Batch) {
    let head = encode(&batch.head);
    let length = u32::try_from(head.len()).expect("a head is small");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&head);
}

fn put_batch(out: &mut Vec<u8>, batch: &Batch) {
    put_head(out, batch);
    out.extend_from_slice(&batch.body);
}

fn take_batch(bytes: Bytes) -> Result<Batch, Reject> {
    let length = bytes.get(0..4).ok_or(Reject::Malformed)?;
    let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
    let end = length.checked_add(4).ok_or(Reject::Malformed)?;
    let head = bytes.get(4..end).ok_or(Reject::Malformed)?;
    let head: SignedHeader = decode(head).map_err(|_| Reject::Malformed)?;
    Ok(Batch {
        head,
        body: bytes.slice(end..),
    })
}

impl Small {
    fn from_message(message: &Message) -> Self {
        match message.clone() {
            Message::Batch(_) => unreachable!("a batch has its own layout"),
            Message::Ack(x) => Self::Ack(x),
            Message::Certificate(x) => Self::Certificate(x),
            Message::Block(x) => Self::Block(x),
            Message::Vote(x) => Self::Vote(x),
            Message::Suspect { view, standing } => Self::Suspect(view, standing),
            Message::Timeout(x) => Self::Timeout(x),
            Message::Entry(x) => Self::Entry(x),
            Message::HighQc(x) => Self::HighQc(x),
            Message::StateVote(x) => Self::StateVote(x),
            Message::StateCertificate(x) => Self::StateCertificate(x),
            Message::Lanes(x) => Self::Lanes(x),
            Message::FetchBlocks { slot, digest, floor } => Self::FetchBlocks(slot, digest, floor),
            Message::Blocks { digest, blocks } => Self::Blocks(digest, blocks),
            Message::FetchBatches {
                lane,
                height,
                digest,
                floor,
            } => Self::FetchBatches(lane, height, digest, floor),
            Message::NotHeld { digest } => Self::NotHeld(digest),
            Message::Committed { slot, digest } => Self::Committed(slot, digest),
            Message::FetchState { slot, part } => Self::FetchState(slot, part),
            Message::StatePart { slot, part, bytes } => Self::StatePart(slot, part, bytes),
            Message::Shown(x) => Self::Shown(x),
            Message::Inquire => Self::Inquire,
            Message::Recollection(x) => Self::Recollection(x),
            Message::LeaveView(x) => Self::LeaveView(x),
            Message::Readmitted(x) => Self::Readmitted(x),
            Message::Ordering(x) => Self::Ordering(x),
        }
    }

    fn into_message(self) -> Message {
        match self {
            Self::Ack(x) => Message::Ack(x),
            Self::Certificate(x) => Message::Certificate(x),
            Self::Block(x) => Message::Block(x),
            Self::Vote(x) => Message::Vote(x),
            Self::Suspect(view, standing) => Message::Suspect { view, standing },
            Self::Timeout(x) => Message::Timeout(x),
            Self::Entry(x) => Message::Entry(x),
            Self::HighQc(x) => Message::HighQc(x),
            Self::StateVote(x) => Message::StateVote(x),
            Self::StateCertificate(x) => Message::StateCertificate(x),
            Self::Lanes(x) => Message::Lanes(x),
            Self::FetchBlocks(slot, digest, floor) => Message::FetchBlocks { slot, digest, floor },
            Self::Blocks(digest, blocks) => Message::Blocks { digest, blocks },
            Self::FetchBatches(lane, height, digest, floor) => Message::FetchBatches {
                lane,
                height,
                digest,
                floor,
            },
            Self::NotHeld(digest) => Message::NotHeld { digest },
            Self::Committed(slot, digest) => Message::Committed { slot, digest },
            Self::FetchState(slot, part) => Message::FetchState { slot, part },
            Self::StatePart(slot, part, bytes) => Message::StatePart { slot, part, bytes },
            Self::Shown(x) => Message::Shown(x),
            Self::Inquire => Message::Inquire,
            Self::Recollection(x) => Message::Recollection(x),
            Self::LeaveView(x) => Message::LeaveView(x),
            Self::Readmitted(x) => Message::Readmitted(x),
            Self::Ordering(x) => Message::Ordering(x),
        }
    }
}
