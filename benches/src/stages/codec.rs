//! Bytes to messages and back: a batch, a vote, a block.

use bytes::Bytes;
use trireme_core::message::{
    Batch, BatchHeader, Block, CutEntry, Envelope, Justify, Message, SignedBlock, SignedHeader, SignedVote, Vote,
};
use trireme_core::request::{Body, BundleRef};
use trireme_core::wire::{decode_envelope, encode_envelope};
use trireme_crypto::{Digest, Signature, context, hash};

use crate::load;
use crate::meter::Meter;

/// Members of the block's cut.
const MEMBERS: usize = 4;

pub(super) fn measure(meter: &mut Meter) {
    if !meter.wants("codec", "")
        && !["encode", "decode", "parse"]
            .iter()
            .any(|name| meter.wants("codec", name))
    {
        return;
    }
    let bundles = load::bundles(64, 512);
    let body = load::body_of(&bundles, 64, 512);
    for (name, message) in [
        ("batch of 512 requests", batch(&body)),
        ("vote", vote()),
        ("block, n = 4", block()),
    ] {
        let envelope = Envelope {
            epoch: 0,
            view: 3,
            message,
        };
        let frame = encode_envelope(&envelope);
        meter.each("codec", &format!("encode {name}"), 1, "us", || {
            encode_envelope(&envelope)
        });
        meter.each("codec", &format!("decode {name}"), 1, "us", || {
            decode_envelope(frame.clone()).expect("our own")
        });
    }
    meter.each("codec", "parse bundle of 64", 1, "us", || {
        BundleRef::parse(&bundles[0]).expect("our own").ops()
    });
    meter.each("codec", "parse body of 512 requests", 512, "us/op", || {
        Body::parse(&body).expect("our own").ops()
    });
}

fn batch(body: &Bytes) -> Message {
    let header = BatchHeader {
        lane: 1,
        height: 9,
        parent: Digest([3; 32]),
        parent_height: 8,
        body_root: hash(context::BATCH_BODY, body),
        ops: 512,
        bytes: u32::try_from(body.len()).expect("short"),
        witnesses: vec![2],
    };
    let head = SignedHeader {
        header,
        signature: Signature([4; 64]),
    };
    Message::Batch(Batch {
        head,
        body: body.clone(),
    })
}

fn vote() -> Message {
    let vote = Vote {
        view: 3,
        voted: Some((7, Digest([1; 32]))),
        locked: Some((6, Digest([2; 32]))),
    };
    Message::Vote(SignedVote {
        vote,
        signature: Signature([4; 64]),
    })
}

fn block() -> Message {
    let entry = CutEntry {
        height: 9,
        digest: Digest([5; 32]),
        certificate: None,
    };
    let block = Block {
        view: 3,
        slot: 7,
        parent: Digest([1; 32]),
        cut: vec![entry; MEMBERS],
        timestamp: 1,
        handoff: None,
        justify: Justify::None,
    };
    Message::Block(Box::new(SignedBlock {
        block,
        signature: Signature([4; 64]),
    }))
}
