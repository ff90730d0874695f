//! Replicas that fall behind while others go on: what they are told, and what a faulty lane owner may cost them.

mod lab;

use lab::{Actor, Disk, Lab, genesis, without};
use trireme_core::api::{Input, Outbound, Reject};
use trireme_core::message::{Entry, Justify, LaneMark, Message, SignedVote};
use trireme_core::{MemberId, Slot, To};
use trireme_crypto::Digest;

type At = (Slot, Digest);

/// What the three others said about a block: votes and locks.
fn locks(lab: &Lab, at: At) -> Vec<(MemberId, SignedVote)> {
    (0..3).map(|m| (m, lab.vote(m, 0, Some(at), Some(at)))).collect()
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
fn a_parked_replica_commits_by_votes_that_others_pass_on() {
    let lab = Lab::new(4, 1);
    let (mut r3, at) = parked(&lab);
    r3.hear(1, Message::Votes(locks(&lab, at))).unwrap();
    assert_eq!(r3.replica.committed(), 1);
}

#[test]
fn votes_that_are_passed_on_need_their_signers() {
    let lab = Lab::new(4, 1);
    let (mut r3, at) = parked(&lab);
    let mut forged = locks(&lab, at);
    forged[0].1.signature = forged[1].1.signature;
    assert_eq!(r3.hear(1, Message::Votes(forged)), Err(Reject::Signature));
    let good = locks(&lab, at);
    let thrice = vec![good[1].clone(), good[1].clone(), good[1].clone()];
    assert_eq!(r3.hear(1, Message::Votes(thrice)), Err(Reject::Members));
    let descending = vec![good[1].clone(), good[0].clone()];
    assert_eq!(r3.hear(1, Message::Votes(descending)), Err(Reject::Members));
    assert_eq!(r3.hear(1, Message::Votes(Vec::new())), Err(Reject::Members));
    // One member twice is one member.
    r3.hear(1, Message::Votes(vec![good[1].clone(), good[1].clone()]))
        .unwrap();
    assert_eq!(r3.replica.committed(), 0);
}

#[test]
fn a_timeout_that_is_sent_again_is_answered_once_for_a_slot() {
    let lab = Lab::new(4, 1);
    let (digest, block) = lab.block(0, (0, genesis()), 1, Justify::None);
    let mut r1 = lab.replica(1, &without(""));
    r1.hear_block(&block);
    r1.hear_qc(2, &lab.qc(0, (1, digest), &[0, 1, 2]));
    let mut said = locks(&lab, (1, digest));
    // One that R1 counts by its channel and that convinces nobody else.
    said[0].1.signature = said[2].1.signature;
    for (member, vote) in said.into_iter().filter(|(member, _)| *member != 1) {
        r1.hear_vote(member, vote);
    }
    r1.wait(100_000);
    assert_eq!(r1.replica.committed(), 1);
    let timeout = lab.timeout(3, 0, &lab.no_qc(), &[], Entry::Genesis);
    let told = |r1: &Actor| -> Vec<Vec<MemberId>> {
        let votes = r1.sent.iter().filter_map(|outbound| match &outbound.message {
            Message::Votes(votes) => {
                assert_eq!(outbound.to, To::One(3));
                Some(votes.iter().map(|(member, _)| *member).collect())
            }
            _ => None,
        });
        votes.collect()
    };
    r1.hear(3, Message::Timeout(Box::new(timeout.clone()))).unwrap();
    assert!(told(&r1).is_empty(), "a view change answers it, as a rule");
    for _ in 0..3 {
        r1.hear(3, Message::Timeout(Box::new(timeout.clone()))).unwrap();
    }
    let mut members = told(&r1);
    assert_eq!(members.len(), 1, "{members:?}");
    members[0].dedup();
    assert_eq!(members[0], [1, 2], "own votes, and those whose signatures hold");
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

/// A lag far beyond what is kept, and a liar who says something else once its lock has been told: what was told counts
/// when the blocks are here.
#[test]
fn what_was_told_counts_when_the_blocks_are_here() {
    let lab = Lab::new(4, 1);
    let mut blocks = vec![lab.block(0, (0, genesis()), 1, Justify::None)];
    for salt in 2..=300 {
        let (digest, below) = blocks.last().unwrap();
        blocks.push(lab.block(0, (below.block.slot, *digest), salt, Justify::None));
    }
    let at = (300, blocks[299].0);
    let mut r3 = lab.replica(3, &without(""));
    for member in [0, 2] {
        r3.hear(member, Message::Suspect { view: 0, standing: true }).unwrap();
    }
    (0..3).for_each(|member| r3.step(Input::Connected(member)));
    r3.hear(1, Message::Votes(locks(&lab, at))).unwrap();
    let invented = (9_000, blocks[3].0);
    r3.hear_vote(0, lab.vote(0, 0, Some(invented), Some(invented)));
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
        }
        r3.wait(100_000);
    }
    assert_eq!(r3.replica.committed(), 300);
}
