//! The stages follow each other and add up to the whole.

use trireme_core::message::{BatchHeader, Block, CutEntry, Justify, SignedBlock, SignedHeader};
use trireme_crypto::{Digest, Signature};

use super::*;

const ME: MemberId = 2;

fn batch(height: Height, ops: u32) -> Record {
    let header = BatchHeader {
        lane: ME,
        height,
        parent: Digest::ZERO,
        parent_height: 0,
        body_root: Digest::ZERO,
        ops,
        bytes: 0,
        witnesses: Vec::new(),
    };
    Record::Batch(Batch {
        head: SignedHeader {
            header,
            signature: Signature([0; 64]),
        },
        body: bytes::Bytes::new(),
    })
}

fn block(height: Height) -> Record {
    let entry = |height| CutEntry {
        height,
        digest: Digest::ZERO,
        certificate: None,
    };
    let block = Block {
        view: 0,
        slot: 1,
        parent: Digest::ZERO,
        cut: vec![entry(9), entry(9), entry(height), entry(9)],
        timestamp: 0,
        handoff: None,
        justify: Justify::None,
    };
    Record::Vote(VoteRecord::Accept(Box::new(SignedBlock {
        block,
        signature: Signature([0; 64]),
    })))
}

fn append(record: Record) -> Effect {
    Effect::Append {
        id: 1,
        records: vec![record],
        release: Vec::new(),
        urgent: false,
    }
}

fn sum(passage: &Passage, stage: &str) -> (u64, u64) {
    let status = passage.status();
    let number = |key: &str| status[stage][key].as_u64().unwrap();
    (number("count"), number("sum_us"))
}

#[test]
fn a_block_that_names_the_batch_ends_its_dissemination() {
    let mut passage = Passage::new(ME);
    let passed = Passed {
        read: Tick(0),
        verifying: Tick(10),
    };
    passage.take(passed, 3, Tick(30));
    passage.note(&append(batch(5, 3)), Tick(100));
    assert!(passage.is_spreading());
    passage.note(&append(block(4)), Tick(200));
    assert!(passage.is_spreading(), "a block below it says nothing");
    passage.note(&append(block(5)), Tick(1_100));
    assert!(!passage.is_spreading());
    passage.spread(5, Tick(9_000));
    assert_eq!(sum(&passage, "verify"), (3, 60));
    assert_eq!(sum(&passage, "batching"), (3, 210));
    let whole = sum(&passage, "dissemination");
    assert_eq!(whole, (3, 3_000), "once: a certificate later changes nothing");
}

#[test]
fn a_certificate_ends_it_too() {
    let mut passage = Passage::new(ME);
    let passed = Passed {
        read: Tick(0),
        verifying: Tick(0),
    };
    passage.take(passed, 1, Tick(0));
    passage.note(&append(batch(1, 1)), Tick(0));
    passage.spread(1, Tick(400));
    passage.note(&append(block(1)), Tick(900));
    assert_eq!(sum(&passage, "dissemination"), (1, 400));
}
