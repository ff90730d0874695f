//! R-WITNESS: whose signatures a replica checks, and when.

mod lab;

use lab::{Actor, Lab, genesis, without};
use trireme_core::api::Input;
use trireme_core::message::{Ac, AcEntry, CutEntry, Justify};
use trireme_core::{MemberId, Message};
use trireme_crypto::Digest;

/// More requests than a replica checks unasked.
const MANY: u32 = 100;
/// Longer than a body is left to its witnesses where nothing else takes long.
const PATIENCE_US: u64 = 1_000;

/// With acks as soon as there is something to say, so that they show what was checked.
fn connect(replica: &mut Actor, members: impl IntoIterator<Item = MemberId>) {
    replica.replica.set_eager_acks(true);
    members.into_iter().for_each(|m| replica.step(Input::Connected(m)));
}

/// Whether it said that it checked this batch itself.
fn checked(replica: &Actor, batch: &Digest) -> bool {
    let acks = replica.sent.iter().filter_map(|outbound| match &outbound.message {
        Message::Ack(signed) => Some(&signed.ack),
        _ => None,
    });
    acks.into_iter().any(|ack| ack.digest == *batch && ack.verified)
}

#[test]
fn under_load_a_body_is_left_to_its_witnesses_for_a_while() {
    let lab = Lab::new(4, 1);
    let mut r3 = lab.replica(3, &without(""));
    connect(&mut r3, 0..3);
    let (few, batch) = lab.batch(1, 1, (0, Digest::ZERO));
    r3.hear(1, Message::Batch(batch)).unwrap();
    assert!(checked(&r3, &few), "little is to be done");
    let (attended, batch) = lab.batch_of(MANY, 1, 2, (1, few));
    r3.hear(1, Message::Batch(batch)).unwrap();
    let ack = lab.ack(0, 1, 2, attended);
    r3.hear(0, Message::Ack(ack)).unwrap();
    let (silent, batch) = lab.batch_of(MANY, 1, 3, (2, attended));
    r3.hear(1, Message::Batch(batch)).unwrap();
    assert!(
        !checked(&r3, &attended) && !checked(&r3, &silent),
        "their witness may answer"
    );
    r3.wait(PATIENCE_US);
    assert!(checked(&r3, &silent), "it did not");
    assert!(!checked(&r3, &attended), "here it did");
}

#[test]
fn a_body_whose_witness_is_away_is_not_left_to_it() {
    let lab = Lab::new(4, 1);
    let mut r3 = lab.replica(3, &without(""));
    connect(&mut r3, 1..3);
    let (digest, batch) = lab.batch_of(MANY, 1, 1, (0, Digest::ZERO));
    assert_eq!(batch.head.header.witnesses, [0]);
    r3.hear(1, Message::Batch(batch)).unwrap();
    assert!(checked(&r3, &digest));
}

#[test]
fn a_named_witness_checks_at_once() {
    let lab = Lab::new(4, 1);
    let mut r0 = lab.replica(0, &without(""));
    connect(&mut r0, 1..4);
    let (digest, batch) = lab.batch_of(MANY, 1, 1, (0, Digest::ZERO));
    r0.hear(1, Message::Batch(batch)).unwrap();
    assert!(checked(&r0, &digest));
}

/// The parent's cut hides batches that nobody here has checked. n = 7: f+1 = 3.
///
/// Found by seed 10889: five correct replicas held all data of a block, had checked what it names anew, and waited for
/// ever for a batch below it, which they had taken over by a certificate.
#[test]
fn ancestors_below_the_parents_cut_are_checked_too() {
    let lab = Lab::new(7, 2);
    let mut r6 = lab.replica(6, &without(""));
    connect(&mut r6, 0..6);
    let (first, batch) = lab.batch_of(MANY, 2, 1, (0, Digest::ZERO));
    r6.hear(2, Message::Batch(batch)).unwrap();
    let (second, batch) = lab.batch_of(MANY, 2, 2, (1, first));
    r6.hear(2, Message::Batch(batch)).unwrap();
    let acks = [0, 1, 3].map(|member| {
        let ack = lab.ack(member, 2, 1, first);
        let (verified, signature) = (ack.ack.verified, ack.signature);
        AcEntry {
            member,
            verified,
            signature,
        }
    });
    let (_, mut certified) = lab.block(0, (0, genesis()), 0, Justify::None);
    certified.block.cut[2] = CutEntry {
        height: 1,
        digest: first,
        certificate: Some(Ac {
            lane: 2,
            height: 1,
            digest: first,
            acks: acks.to_vec(),
        }),
    };
    let (below, certified) = lab.sign_block(certified.block);
    r6.hear_block(&certified);
    assert!(r6.voted_for(&below), "a certificate needs no check of its batch");
    let (_, mut optimistic) = lab.block(0, (1, below), 0, Justify::None);
    optimistic.block.cut[2] = CutEntry {
        height: 2,
        digest: second,
        certificate: None,
    };
    let (above, optimistic) = lab.sign_block(optimistic.block);
    r6.hear_block(&optimistic);
    assert!(!r6.voted_for(&above), "the witnesses have time");
    r6.wait(PATIENCE_US);
    assert!(r6.voted_for(&above), "both batches are checked, and the block accepted");
}
