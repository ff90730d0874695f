//! Replicas that fall behind while others go on: what they are told, and what a faulty lane owner may cost them.

mod lab;

use lab::{Actor, Disk, Lab, genesis, without};
use trireme_core::api::{Input, Outbound, Reject};
use trireme_core::message::{Entry, Justify, LaneMark, Message};
use trireme_core::record::Record;
use trireme_core::{Slot, To};
use trireme_crypto::{Digest, context, hash};

type At = (Slot, Digest);

fn committed(at: At) -> Message {
    Message::Committed {
        slot: at.0,
        digest: at.1,
    }
}

/// R3 has accepted a block and left view 0; the lock of R0, a liar, never comes on its channel.
fn parked(lab: &Lab) -> (Actor, At) {
    let (digest, block) = lab.block(0, (0, genesis()), 1, Justify::None);
    let at = (1, digest);
    let mut r3 = lab.replica(3, &without(""));
    r3.hear_block(&block);
    for member in [0, 2] {
        r3.hear(
            member,
            Message::Suspect {
                view: 0,
                standing: true,
            },
        )
        .unwrap();
    }
    assert!(r3.timeout_of(0).is_some(), "it left");
    for member in [1, 2] {
        r3.hear_vote(member, lab.vote(member, 0, None, Some(at)));
    }
    r3.wait(10_000_000);
    assert_eq!(r3.replica.committed(), 0, "two locks are not enough");
    (r3, at)
}

#[test]
fn a_parked_replica_commits_what_an_honest_one_says_it_committed() {
    let lab = Lab::new(4, 1);
    let (mut r3, at) = parked(&lab);
    r3.hear(1, committed(at)).unwrap();
    r3.hear(1, committed(at)).unwrap();
    assert_eq!(r3.replica.committed(), 0, "one member's word");
    r3.hear(0, committed((1, genesis()))).unwrap();
    assert_eq!(r3.replica.committed(), 0, "two that disagree");
    assert_eq!(r3.hear(2, committed((0, genesis()))), Err(Reject::Inconsistent));
    r3.hear(2, committed(at)).unwrap();
    assert_eq!(r3.replica.committed(), 1);
}

#[test]
fn a_timeout_that_is_sent_again_is_answered_once_for_a_slot() {
    let lab = Lab::new(4, 1);
    let (digest, block) = lab.block(0, (0, genesis()), 1, Justify::None);
    let mut r1 = lab.replica(1, &without(""));
    r1.hear_block(&block);
    r1.hear_qc(2, &lab.qc(0, (1, digest), &[0, 1, 2]));
    for member in [0, 2] {
        r1.hear_vote(member, lab.vote(member, 0, Some((1, digest)), Some((1, digest))));
    }
    r1.wait(100_000);
    assert_eq!(r1.replica.committed(), 1);
    let timeout = lab.timeout(3, 0, &lab.no_qc(), &[], Entry::Genesis);
    let told = |r1: &Actor| {
        let to_3 = |outbound: &&Outbound| outbound.to == To::One(3) && outbound.message == committed((1, digest));
        r1.sent.iter().filter(to_3).count()
    };
    r1.hear(3, Message::Timeout(Box::new(timeout.clone()))).unwrap();
    assert_eq!(told(&r1), 0, "a view change answers it, as a rule");
    for _ in 0..3 {
        r1.hear(3, Message::Timeout(Box::new(timeout.clone()))).unwrap();
    }
    assert_eq!(told(&r1), 1);
}

/// A batch leaves before it is durable if its height is reserved: whoever was not connected then gets it on connect,
/// although it is still not durable.
#[test]
fn a_batch_that_left_into_the_void_is_sent_on_connect() {
    let lab = Lab::new(4, 1);
    let mut r1 = lab.replica(1, &without(""));
    let give = |r1: &mut Actor| {
        let bytes = bytes::Bytes::from_static(b"a bundle");
        r1.step(Input::Bundle { bytes, ops: 1 });
        r1.wait(10_000);
    };
    let batches = |r1: &Actor, wanted: To| {
        let batch = |outbound: &&Outbound| outbound.to == wanted && matches!(outbound.message, Message::Batch(_));
        r1.sent.iter().filter(batch).count()
    };
    give(&mut r1);
    r1.disk = Disk::Stuck;
    give(&mut r1);
    assert_eq!(batches(&r1, To::All), 2, "both left, to nobody");
    let mark = LaneMark { stored: 0, acked: 0 };
    r1.hear(2, Message::Lanes(vec![mark; 4])).unwrap();
    assert_eq!(batches(&r1, To::One(2)), 2, "both are sent again");
}

/// A lag far beyond what is kept, while others go on: what they say they committed differs by a few slots.
#[test]
fn claims_of_several_slots_commit_the_lowest_that_f_plus_one_stand_on() {
    let lab = Lab::new(4, 1);
    let mut blocks = vec![lab.block(0, (0, genesis()), 1, Justify::None)];
    for salt in 2..=300 {
        let (digest, below) = blocks.last().unwrap();
        blocks.push(lab.block(0, (below.block.slot, *digest), salt, Justify::None));
    }
    let mut r3 = lab.replica(3, &without(""));
    (0..3).for_each(|member| r3.step(Input::Connected(member)));
    r3.hear(0, committed((9_000, genesis()))).unwrap();
    r3.hear(1, committed((300, blocks[299].0))).unwrap();
    r3.hear(2, committed((290, blocks[289].0))).unwrap();
    r3.wait(100_000);
    let mut answered = 0;
    while answered < r3.sent.len() {
        let Outbound { to, message } = r3.sent[answered].clone();
        answered += 1;
        if let (To::One(peer), Message::FetchBlocks { digest, floor, .. }) = (to, message) {
            let upto = blocks.iter().position(|(d, _)| *d == digest);
            let answer = upto.map_or(Vec::new(), |upto| {
                let wanted = blocks[..=upto].iter().rev().filter(|(_, b)| b.block.slot > floor);
                wanted.take(64).map(|(_, block)| block.clone()).collect()
            });
            r3.hear(peer, Message::Blocks { digest, blocks: answer }).unwrap();
            r3.wait(100_000);
        }
    }
    assert_eq!(r3.replica.committed(), 290);
}

/// One member's word about blocks that nobody has costs a bounded number of requests, and keeps out none that matters.
#[test]
fn invented_locks_do_not_fill_the_table_of_what_is_missing() {
    let lab = Lab::new(4, 1);
    let mut r3 = lab.replica(3, &without(""));
    (0..3).for_each(|member| r3.step(Input::Connected(member)));
    for slot in 5_000..5_600 {
        let invented = hash(context::SEED, &u64::to_le_bytes(slot));
        r3.hear_vote(0, lab.vote(0, 0, None, Some((slot, invented))));
    }
    r3.wait(1_000_000);
    let asked_for = |r3: &Actor, wanted: Option<Digest>| {
        let messages = r3.sent.iter().map(|outbound| &outbound.message);
        messages
            .filter(|m| matches!(m, Message::FetchBlocks { digest, .. } if wanted.is_none_or(|w| w == *digest)))
            .count()
    };
    let invented = asked_for(&r3, None);
    assert!(
        (1..100).contains(&invented),
        "{invented} requests for what one member made up"
    );
    // The rest has gone on to a block that this replica never saw.
    let (digest, _) = lab.block(0, (0, genesis()), 1, Justify::None);
    for member in [1, 2] {
        r3.hear_vote(member, lab.vote(member, 0, Some((1, digest)), None));
    }
    r3.wait(1_000_000);
    assert!(asked_for(&r3, Some(digest)) > 0, "the block that matters is asked for");
}

/// The owner of lane 1 names the committed height and a parent of another one. Whether a replica holds that parent must
/// not decide whether it stores the batch: others store it, and execute it.
#[test]
fn a_parent_of_another_height_does_not_divide_those_who_hold_it_from_those_who_do_not() {
    let lab = Lab::new(4, 1);
    let first = lab.batch(1, 1, (0, Digest::ZERO));
    let second = lab.batch(1, 2, (1, first.0));
    let lie = lab.batch(1, 3, (1, second.0));
    let mut r3 = lab.replica(3, &without(""));
    r3.hear(1, Message::Batch(first.1.clone())).unwrap();
    let (_, mut block) = lab.block(0, (0, genesis()), 1, Justify::None);
    (block.block.cut[1].height, block.block.cut[1].digest) = (1, first.0);
    let (digest, block) = lab.sign_block(block.block);
    r3.hear_block(&block);
    for member in 0..3 {
        r3.hear_vote(member, lab.vote(member, 0, Some((1, digest)), None));
    }
    assert_eq!(r3.replica.executed(), 1);
    r3.hear(1, Message::Batch(second.1)).unwrap();
    r3.hear(1, Message::Batch(lie.1.clone())).unwrap();
    assert!(r3.records.contains(&Record::Batch(lie.1)), "it is stored");
}

/// A liar answers what its far lock makes others ask for, each time with a block on a parent that nobody has: what one
/// member's word leads to stays that member's word.
#[test]
fn invented_chains_do_not_fill_the_table_of_what_is_missing() {
    let lab = Lab::new(4, 1);
    let mut r3 = lab.replica(3, &without(""));
    (0..3).for_each(|member| r3.step(Input::Connected(member)));
    for round in 0..400 {
        let nobody = hash(context::SEED, &u64::to_le_bytes(round));
        let (digest, block) = lab.block(0, (9_000 + round, nobody), round, Justify::None);
        r3.hear_vote(0, lab.vote(0, 0, None, Some((9_001 + round, digest))));
        r3.wait(50_000);
        let blocks = vec![block];
        r3.hear(0, Message::Blocks { digest, blocks }).unwrap();
    }
    let held = r3.replica.held();
    assert!(held.wanted <= 16, "{} wants for one member's inventions", held.wanted);
}
