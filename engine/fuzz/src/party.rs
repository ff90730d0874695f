//! A cluster whose keys the fuzzer holds: a scheme of keyed hashes, as good as its secrecy, and makers of every message.

use bytes::Bytes;
use trireme_core::message::{
    Ac, AcEntry, Accepted, Ack, Batch, BatchHeader, Block, CutEntry, Entry, Justify, Qc, QcRef, QcVote, SignedAck,
    SignedBlock, SignedHeader, SignedStateVote, SignedTimeout, SignedVote, StateCertificate, StateVote, Tc, TcEntry,
    Timeout, Vote,
};
use trireme_core::types::{Height, Keys};
use trireme_core::{MemberId, Params, Slot, View};
use trireme_crypto::{Digest, Domain, Signature, context, hash, hash_parts};

/// Wall clock at the start, in microseconds.
pub(crate) const WALL_US: u64 = 1_794_000_000_000_000;

/// Where every statement is made.
pub(crate) fn domain() -> Domain {
    Domain {
        cluster_id: hash_parts(context::CLUSTER, &[b"fuzz"]),
        epoch: 0,
    }
}

/// The block before the first.
pub(crate) fn genesis() -> Digest {
    hash_parts(context::CLUSTER, &[b"fuzz genesis"])
}

/// A member's signature.
pub(crate) fn sign(member: MemberId, statement: &Digest) -> Signature {
    let half = hash_parts(context::SEED, &[b"fuzz", &member.to_le_bytes(), &statement.0]).0;
    Signature(core::array::from_fn(|i| half[i % 32] ^ u8::from(i >= 32)))
}

/// Keys of one member.
pub(crate) struct PartyKeys {
    pub(crate) me: MemberId,
    pub(crate) n: u16,
}

impl Keys for PartyKeys {
    fn me(&self) -> MemberId {
        self.me
    }
    fn domain(&self) -> Domain {
        domain()
    }
    fn sign(&self, statement: &Digest) -> Signature {
        sign(self.me, statement)
    }
    fn invalid(&self, entries: &[(MemberId, Digest, Signature)]) -> Vec<usize> {
        let good = |e: &(MemberId, Digest, Signature)| e.0 < self.n && sign(e.0, &e.1) == e.2;
        (0..entries.len()).filter(|i| !good(&entries[*i])).collect()
    }
}

/// Signs a block as the leader of its view.
pub(crate) fn signed_block(block: Block, n: u16) -> (Digest, SignedBlock) {
    let digest = block.digest(&domain());
    let leader = MemberId::try_from(block.view % u64::from(n)).expect("smaller than n");
    let signature = sign(leader, &digest);
    (digest, SignedBlock { block, signature })
}

/// An empty block.
pub(crate) fn block(view: View, parent: (Slot, Digest), justify: Justify, params: &Params) -> Block {
    let empty = CutEntry {
        height: 0,
        digest: Digest::ZERO,
        certificate: None,
    };
    Block {
        view,
        slot: parent.0.saturating_add(1),
        parent: parent.1,
        cut: vec![empty; usize::from(params.n)],
        timestamp: WALL_US.saturating_add(parent.0.saturating_mul(1_000)),
        handoff: None,
        justify,
    }
}

/// A vote.
pub(crate) fn vote(
    member: MemberId,
    view: View,
    voted: Option<(Slot, Digest)>,
    locked: Option<(Slot, Digest)>,
) -> SignedVote {
    let vote = Vote { view, voted, locked };
    let signature = sign(member, &vote.statement(&domain()));
    SignedVote { vote, signature }
}

/// A certificate of these members' votes.
pub(crate) fn qc(at: QcRef, members: &[MemberId]) -> Qc {
    let entry = |member: &MemberId| QcVote {
        member: *member,
        locked: None,
        signature: vote(*member, at.view, Some((at.slot, at.digest)), None).signature,
    };
    Qc {
        at,
        votes: members.iter().map(entry).collect(),
    }
}

/// A Timeout.
pub(crate) fn timeout(
    member: MemberId,
    view: View,
    high_qc: &Qc,
    accepted: &[Accepted],
    entry: Entry,
) -> SignedTimeout {
    let timeout = Timeout {
        view,
        high_qc: high_qc.at,
        accepted: accepted.to_vec(),
    };
    let signature = sign(member, &timeout.statement(&domain()));
    SignedTimeout {
        member,
        timeout,
        signature,
        high_qc: high_qc.clone(),
        entry,
    }
}

/// The certificate of these Timeouts, in their order.
pub(crate) fn tc(view: View, timeouts: &[SignedTimeout]) -> Tc {
    let high_qc = timeouts.iter().map(|t| &t.high_qc).max_by_key(|qc| qc.at.rank());
    let entry = |t: &SignedTimeout| TcEntry {
        member: t.member,
        high_qc: t.timeout.high_qc,
        accepted: t.timeout.accepted.clone(),
        signature: t.signature,
    };
    Tc {
        view,
        high_qc: high_qc.cloned().unwrap_or_else(|| Qc::genesis(genesis())),
        timeouts: timeouts.iter().map(entry).collect(),
    }
}

/// A batch.
pub(crate) fn batch(lane: MemberId, height: Height, parent: (Height, Digest), body: Bytes, n: u16, f: u16) -> Batch {
    let witnesses = (0..n).filter(|member| *member != lane).take(usize::from(f));
    let header = BatchHeader {
        lane,
        height,
        parent: parent.1,
        parent_height: parent.0,
        body_root: hash(context::BATCH_BODY, &body),
        ops: 1,
        bytes: u32::try_from(body.len()).expect("a small body"),
        witnesses: witnesses.collect(),
    };
    let signature = sign(lane, &header.digest(&domain()));
    Batch {
        head: SignedHeader { header, signature },
        body,
    }
}

/// An ack.
pub(crate) fn ack(member: MemberId, ack: Ack) -> SignedAck {
    let signature = sign(member, &ack.statement(&domain()));
    SignedAck { ack, signature }
}

/// An availability certificate.
pub(crate) fn ac(lane: MemberId, height: Height, digest: Digest, members: &[MemberId]) -> Ac {
    let entry = |member: &MemberId| {
        let said = Ack {
            lane,
            height,
            digest,
            stored: true,
            verified: false,
            witnessed: true,
        };
        AcEntry {
            member: *member,
            verified: false,
            signature: ack(*member, said).signature,
        }
    };
    Ac {
        lane,
        height,
        digest,
        acks: members.iter().map(entry).collect(),
    }
}

/// A state vote.
pub(crate) fn state_vote(member: MemberId, vote: StateVote) -> SignedStateVote {
    let signature = sign(member, &vote.statement(&domain()));
    SignedStateVote { vote, signature }
}

/// A state certificate.
pub(crate) fn state_certificate(vote: &StateVote, members: &[MemberId]) -> StateCertificate {
    let votes = members.iter().map(|m| (*m, state_vote(*m, vote.clone()).signature));
    StateCertificate {
        vote: vote.clone(),
        votes: votes.collect(),
    }
}
