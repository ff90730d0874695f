//! Frames between replicas, and records (R-STATEMENT: strict and canonical).

use bytes::Bytes;
use trireme_core::Message;
use trireme_core::Params;
use trireme_core::message::{
    Ack, Entry, Envelope, Justify, LaneMark, Qc, QcRef, Readmission, Recollection, Shown, StateVote, Tip,
};
use trireme_core::quarantine::Cause;
use trireme_core::record::{Record, VoteRecord};
use trireme_core::wire::{
    RECORD_BATCH, RECORD_VOTE, decode_envelope, decode_record, encode_envelope, encode_record, is_bulk,
};
use trireme_crypto::Digest;

use super::Samples;
use crate::party::{ac, ack, batch, block, domain, genesis, qc, signed_block, state_certificate, state_vote, tc};
use crate::party::{timeout, vote};

pub(super) fn envelope(bytes: &[u8]) -> bool {
    let Ok(read) = decode_envelope(Bytes::copy_from_slice(bytes)) else {
        return false;
    };
    let _ = is_bulk(&read.message);
    assert_eq!(encode_envelope(&read), bytes, "a frame is encoded as it was read");
    true
}

pub(super) fn record(bytes: &[u8]) -> bool {
    let Some((kind, payload)) = bytes.split_first() else {
        return false;
    };
    let Ok(read) = decode_record(*kind, Bytes::copy_from_slice(payload)) else {
        return false;
    };
    let (again, head, body) = encode_record(&read);
    assert_eq!((again, [&head[..], &body[..]].concat()), (*kind, payload.to_vec()));
    true
}

/// One message of each kind, with everything in it that can be.
pub(super) fn messages() -> Vec<(&'static str, Message)> {
    let params = Params::new(4, 1);
    let first = signed_block(block(0, (0, genesis()), Justify::None, &params), 4);
    let at = QcRef {
        view: 0,
        slot: 1,
        digest: first.0,
    };
    let high = qc(at, &[0, 1, 2]);
    let batch = batch(1, 1, (0, Digest::ZERO), Bytes::from_static(b"body"), 4, 1);
    let (digest, head) = (batch.head.header.digest(&domain()), batch.head.clone());
    let list = [(0, 2, Digest([2; 32]))];
    let quit = |member| timeout(member, 0, &high, &list, Entry::Genesis);
    let tc = tc(0, &[quit(0), quit(1), quit(3)]);
    let mut second = block(1, (1, first.0), Justify::Tc(Box::new(tc.clone())), &params);
    second.cut[1].height = 1;
    second.cut[1].digest = digest;
    second.cut[1].certificate = Some(ac(1, 1, digest, &[0, 2]));
    let second = signed_block(second, 4).1;
    let said = Ack {
        lane: 1,
        height: 1,
        digest,
        stored: true,
        verified: true,
        witnessed: false,
    };
    let state = StateVote {
        slot: 1,
        state_root: Digest([3; 32]),
        receipts_root: Digest([4; 32]),
        timestamp: 5,
        checkpoint: true,
    };
    let mark = LaneMark { stored: 3, acked: 2 };
    vec![
        ("batch", Message::Batch(batch)),
        ("ack", Message::Ack(ack(2, said))),
        ("certificate", Message::Certificate(ac(1, 1, digest, &[0, 2]))),
        ("block", Message::Block(Box::new(second.clone()))),
        (
            "vote",
            Message::Vote(vote(3, 0, Some((1, first.0)), Some((1, first.0)))),
        ),
        ("lock", Message::Vote(vote(3, 0, None, Some((1, first.0))))),
        (
            "suspect",
            Message::Suspect {
                view: 4,
                standing: true,
            },
        ),
        (
            "timeout",
            Message::Timeout(Box::new(timeout(2, 1, &high, &[], Entry::Tc(Box::new(tc.clone()))))),
        ),
        ("entry", Message::Entry(Box::new(tc))),
        ("high-qc", Message::HighQc(Box::new(high.clone()))),
        ("genesis-qc", Message::HighQc(Box::new(Qc::genesis(genesis())))),
        ("state-vote", Message::StateVote(state_vote(1, state.clone()))),
        (
            "state-certificate",
            Message::StateCertificate(Box::new(state_certificate(&state, &[1, 2]))),
        ),
        ("lanes", Message::Lanes(vec![mark; 4])),
        (
            "fetch-blocks",
            Message::FetchBlocks {
                slot: 3,
                digest,
                floor: 1,
            },
        ),
        (
            "blocks",
            Message::Blocks {
                digest: first.0,
                blocks: vec![second, first.1.clone()],
            },
        ),
        (
            "fetch-batches",
            Message::FetchBatches {
                lane: 1,
                height: 9,
                digest,
                floor: 2,
            },
        ),
        ("not-held", Message::NotHeld { digest }),
        ("shown", Message::Shown(Box::new(Shown::nothing(2)))),
        (
            "shown-all",
            Message::Shown(Box::new(Shown {
                member: 3,
                votes: vec![vote(3, 1, Some((1, first.0)), Some((1, first.0)))],
                timeout: Some((quit(3).timeout, quit(3).signature)),
                header: Some(head),
            })),
        ),
        (
            "committed",
            Message::Committed {
                slot: 1,
                digest: first.0,
            },
        ),
        (
            "readmitted",
            Message::Readmitted(Box::new(Readmission {
                qc: high.clone(),
                block: first.1.clone(),
            })),
        ),
        ("inquire", Message::Inquire),
        ("leave-view", Message::LeaveView(3)),
        (
            "recollection",
            Message::Recollection(Box::new(Recollection {
                entry: Entry::Genesis,
                tips: vec![Tip {
                    lane: 1,
                    height: 4,
                    digest,
                }],
            })),
        ),
        ("fetch-state", Message::FetchState { slot: 64, part: 2 }),
        (
            "state-part",
            Message::StatePart {
                slot: 64,
                part: 2,
                bytes: vec![1, 2, 3].into(),
            },
        ),
    ]
}

pub(super) fn envelopes() -> Samples {
    let frame = |(name, message): (&str, Message)| {
        let envelope = Envelope {
            epoch: 0,
            view: 1,
            message,
        };
        (name.to_owned(), encode_envelope(&envelope).to_vec())
    };
    messages().into_iter().map(frame).collect()
}

pub(super) fn records() -> Samples {
    let mut all = vec![
        ("reserve", Record::Vote(VoteRecord::Reserve(32))),
        ("committed", Record::Vote(VoteRecord::Committed(7, Digest([7; 32])))),
        ("quarantined", Record::Vote(VoteRecord::Quarantined(Cause::Shown(2)))),
    ];
    for (name, message) in messages() {
        match message {
            Message::Batch(batch) => all.push((name, Record::Batch(batch))),
            Message::Block(block) => {
                all.push(("accept", Record::Vote(VoteRecord::Accept(block.clone()))));
                all.push(("fetched", Record::Vote(VoteRecord::Block(block))));
            }
            Message::HighQc(qc) => all.push((name, Record::Vote(VoteRecord::HighQc(qc)))),
            Message::Timeout(timeout) => all.push((name, Record::Vote(VoteRecord::Timeout(timeout)))),
            Message::Entry(tc) => all.push(("enter", Record::Vote(VoteRecord::Enter(tc)))),
            Message::Readmitted(way) => all.push((name, Record::Vote(VoteRecord::Readmitted(way)))),
            _ => {}
        }
    }
    let bytes = |(name, record): (&str, Record)| {
        let (kind, head, body) = encode_record(&record);
        assert!(kind == RECORD_BATCH || kind == RECORD_VOTE);
        (name.to_owned(), [&[kind], &head[..], &body[..]].concat())
    };
    all.into_iter().map(bytes).collect()
}
