//! What members say to each other about the order: the `raft` crate's messages as bytes of our own. Sender and receiver are
//! the channel's ends, so they are not written; entries are always of the normal kind.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType, Snapshot, SnapshotMetadata};
use trireme_core::MemberId;
use trireme_core::types::Height;
use trireme_crypto::{Digest, decode, encode};

/// Kinds that may come over a channel; a kind is written as its place here.
const KINDS: [MessageType; 10] = [
    MessageType::MsgAppend,
    MessageType::MsgAppendResponse,
    MessageType::MsgHeartbeat,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgRequestVote,
    MessageType::MsgRequestVoteResponse,
    MessageType::MsgRequestPreVote,
    MessageType::MsgRequestPreVoteResponse,
    MessageType::MsgSnapshot,
    MessageType::MsgTimeoutNow,
];

/// An entry of the log of tips.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct EntryBytes {
    index: u64,
    term: u64,
    data: Bytes,
}

impl EntryBytes {
    pub(crate) fn of(entry: &Entry) -> Self {
        Self {
            index: entry.index,
            term: entry.term,
            data: entry.data.clone(),
        }
    }

    pub(crate) fn entry(self) -> Entry {
        let mut entry = Entry::default();
        entry.set_entry_type(EntryType::EntryNormal);
        (entry.index, entry.term, entry.data) = (self.index, self.term, self.data);
        entry
    }
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Word {
    kind: u8,
    term: u64,
    log_term: u64,
    index: u64,
    commit: u64,
    commit_term: u64,
    rejected: Option<(u64, u64)>,
    context: Bytes,
    entries: Vec<EntryBytes>,
    snapshot: Option<(u64, u64, Bytes)>,
}

/// What the leader proposes: newer tips of lanes, ascending by lane.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Proposal {
    pub(crate) timestamp: u64,
    pub(crate) tips: Vec<(MemberId, Height, Digest)>,
}

impl Proposal {
    /// What an entry proposes; a new leader's first proposes nothing.
    pub(crate) fn of(entry: &Entry, n: usize) -> Option<Self> {
        let proposal: Self = decode(&entry.data).ok()?;
        let lanes = proposal.tips.iter().all(|tip| usize::from(tip.0) < n);
        lanes.then_some(proposal)
    }
}

/// Raft's name of a member: it keeps 0 for nobody.
pub(crate) fn id(member: MemberId) -> u64 {
    u64::from(member) + 1
}

/// The member of that name.
pub(crate) fn member(id: u64) -> Option<MemberId> {
    MemberId::try_from(id.checked_sub(1)?).ok()
}

/// All members vote.
pub(crate) fn voters(n: u16) -> ConfState {
    ConfState {
        voters: (0..n).map(id).collect(),
        ..ConfState::default()
    }
}

/// A snapshot of the `raft` crate: where the log begins, and what vouches for the image of that slot.
pub(crate) fn snapshot(n: u16, (index, term): (u64, u64), data: Bytes) -> Snapshot {
    let mut metadata = SnapshotMetadata::default();
    metadata.set_conf_state(voters(n));
    (metadata.index, metadata.term) = (index, term);
    let mut snapshot = Snapshot {
        data,
        ..Snapshot::default()
    };
    snapshot.set_metadata(metadata);
    snapshot
}

/// A message as bytes; nothing for a kind that does not leave a replica.
pub(crate) fn write(message: &Message) -> Option<Bytes> {
    let kind = KINDS.iter().position(|kind| *kind == message.msg_type)?;
    let word = Word {
        kind: u8::try_from(kind).expect("few kinds"),
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        commit: message.commit,
        commit_term: message.commit_term,
        rejected: message
            .reject
            .then_some((message.reject_hint, message.request_snapshot)),
        context: message.context.clone(),
        entries: message.entries.iter().map(EntryBytes::of).collect(),
        snapshot: (message.msg_type == MessageType::MsgSnapshot).then(|| {
            let (snapshot, at) = (message.get_snapshot(), message.get_snapshot().get_metadata());
            (at.index, at.term, snapshot.data.clone())
        }),
    };
    Some(encode(&word).into())
}

/// Reads a message that came on `from`'s channel; nothing if it is none.
pub(crate) fn read(bytes: &[u8], from: MemberId, me: MemberId, n: u16) -> Option<Message> {
    let word: Word = decode(bytes).ok()?;
    let mut message = Message::default();
    message.set_msg_type(*KINDS.get(usize::from(word.kind))?);
    let contiguous = word
        .entries
        .iter()
        .zip(word.index + 1..)
        .all(|(entry, index)| entry.index == index && entry.term <= word.term);
    if !contiguous || word.entries.iter().any(|entry| entry.index == u64::MAX) {
        return None;
    }
    (message.from, message.to) = (id(from), id(me));
    (message.term, message.log_term) = (word.term, word.log_term);
    (message.index, message.commit, message.commit_term) = (word.index, word.commit, word.commit_term);
    if let Some((hint, request)) = word.rejected {
        (message.reject, message.reject_hint, message.request_snapshot) = (true, hint, request);
    }
    message.context = word.context;
    message.entries = word
        .entries
        .into_iter()
        .map(EntryBytes::entry)
        .collect::<Vec<_>>()
        .into();
    match (word.snapshot, message.msg_type == MessageType::MsgSnapshot) {
        (Some((index, term, data)), true) => message.set_snapshot(snapshot(n, (index, term), data)),
        (None, false) => {}
        _ => return None,
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append() -> Message {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgAppend);
        (message.from, message.to, message.term, message.index) = (id(2), id(1), 7, 4);
        let data = Bytes::from_static(b"tips");
        let entries = [5, 6].map(|index| {
            EntryBytes {
                index,
                term: 7,
                data: data.clone(),
            }
            .entry()
        });
        message.entries = entries.to_vec().into();
        message
    }

    #[test]
    fn a_message_comes_back_as_it_was() {
        let mut refusal = Message::default();
        refusal.set_msg_type(MessageType::MsgAppendResponse);
        (refusal.from, refusal.to, refusal.term) = (id(2), id(1), 3);
        (refusal.reject, refusal.reject_hint) = (true, 9);
        let mut image = append();
        image.set_msg_type(MessageType::MsgSnapshot);
        image.entries.clear();
        image.set_snapshot(snapshot(3, (40, 6), Bytes::from_static(b"image")));
        for message in [append(), refusal, image] {
            let bytes = write(&message).expect("a kind that leaves");
            assert_eq!(read(&bytes, 2, 1, 3), Some(message));
        }
    }

    #[test]
    fn what_no_member_sends_is_refused() {
        let good = write(&append()).expect("a kind that leaves");
        assert!(read(&good[..good.len() - 1], 2, 1, 3).is_none(), "cut off");
        let mut kind = good.to_vec();
        kind[0] = 99;
        assert!(read(&kind, 2, 1, 3).is_none(), "unknown kind");
        let mut gap = append();
        gap.index = 3;
        assert!(
            read(&write(&gap).expect("a kind that leaves"), 2, 1, 3).is_none(),
            "a gap"
        );
        let mut local = append();
        local.set_msg_type(MessageType::MsgHup);
        assert!(write(&local).is_none(), "a local message leaves");
    }
}
