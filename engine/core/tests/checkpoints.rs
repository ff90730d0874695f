//! Checkpoints: which slots they are, when they are stable, what they release and what they do not, and how a replica that
//! they leave behind comes back.

mod lab;

use lab::{Actor, Lab, genesis, state, without};
use trireme_core::api::{Input, Reject};
use trireme_core::bugs::Bugs;
use trireme_core::message::{Justify, Message, SignedBlock, StateCertificate, StateVote};
use trireme_core::record::{Record, Standing, VoteRecord};
use trireme_core::{Slot, To};
use trireme_crypto::Digest;

type At = (Slot, Digest);

/// Four members, a checkpoint every two slots, four slots of log.
fn lab() -> Lab {
    let mut lab = Lab::new(4, 1);
    lab.params.checkpoint_slots = 2;
    lab.params.log_window = 4;
    lab
}

/// Blocks of view 0, slot 1 first.
fn blocks(lab: &Lab, count: usize) -> Vec<(At, SignedBlock)> {
    let mut below = (0, genesis());
    let mut all = Vec::new();
    for _ in 0..count {
        let (digest, block) = lab.block(0, below, 1, Justify::None);
        below = (below.0 + 1, digest);
        all.push((below, block));
    }
    all
}

fn commit(actor: &mut Actor, (slot, digest): At) {
    for member in [0, 2] {
        actor.hear(member, Message::Committed { slot, digest }).unwrap();
    }
    assert_eq!(actor.replica.committed(), slot);
}

fn vote_states(lab: &Lab, actor: &mut Actor, members: &[u16], (slot, digest): At) {
    for member in members {
        let vote = lab.state_vote(*member, &state(slot, &digest));
        actor.hear(*member, Message::StateVote(vote)).unwrap();
    }
}

/// R1 hears these blocks and commits them all; a Qc of slot 1 lets it go on in the view.
fn settled(lab: &Lab, bugs: &Bugs, blocks: &[(At, SignedBlock)]) -> Actor {
    let mut r1 = lab.replica(1, bugs);
    r1.hear_block(&blocks[0].1);
    r1.hear_qc(2, &lab.qc(0, blocks[0].0, &[0, 1, 2]));
    for (_, block) in &blocks[1..] {
        r1.hear_block(block);
    }
    commit(&mut r1, blocks.last().expect("some").0);
    r1
}

/// The checkpoint at `at` is stable, and its snapshot durable.
fn keep(lab: &Lab, r1: &mut Actor, at: At) {
    vote_states(lab, r1, &[0, 2], at);
    r1.step(Input::Snapshotted { slot: at.0 });
}

fn own_state_votes(actor: &Actor) -> Vec<StateVote> {
    let vote = |message: &Message| match message {
        Message::StateVote(signed) => Some(signed.vote.clone()),
        _ => None,
    };
    actor.sent.iter().filter_map(|out| vote(&out.message)).collect()
}

#[test]
fn the_chain_decides_where_checkpoints_are_and_a_quorum_makes_them_stable() {
    let lab = lab();
    let blocks = blocks(&lab, 4);
    let mut r1 = settled(&lab, &without(""), &blocks);
    let expected: Vec<_> = [blocks[1].0, blocks[3].0]
        .map(|(slot, digest)| state(slot, &digest))
        .into();
    assert_eq!(own_state_votes(&r1), expected, "slots 2 and 4");
    vote_states(&lab, &mut r1, &[0], blocks[3].0);
    assert!(
        r1.stable.is_empty(),
        "two votes certify a state and do not make it stable"
    );
    assert_eq!(r1.replica.status().certified_state.map(|vote| vote.slot), Some(4));
    vote_states(&lab, &mut r1, &[2], blocks[3].0);
    assert_eq!(r1.stable, [4]);
    let told = |out: &&trireme_core::Outbound| {
        out.to == To::All && matches!(&out.message, Message::StateCertificate(c) if c.votes.len() == 3)
    };
    assert_eq!(
        r1.sent.iter().filter(told).count(),
        1,
        "others may lack one of the votes"
    );
}

#[test]
fn ordinary_votes_do_not_push_out_those_for_a_checkpoint() {
    let lab = lab();
    let blocks = blocks(&lab, 2);
    let mut r1 = settled(&lab, &without(""), &blocks);
    vote_states(&lab, &mut r1, &[0], blocks[1].0);
    for slot in 3..40 {
        let vote = StateVote {
            checkpoint: false,
            ..state(slot, &Digest::ZERO)
        };
        r1.hear(0, Message::StateVote(lab.state_vote(0, &vote))).unwrap();
    }
    // What a liar says of checkpoints that do not exist takes only its own place.
    for slot in 3..400 {
        let vote = lab.state_vote(3, &state(slot, &Digest::ZERO));
        r1.hear(3, Message::StateVote(vote)).unwrap();
    }
    assert!(r1.replica.held().state_votes <= 8 + 64);
    vote_states(&lab, &mut r1, &[2], blocks[1].0);
    assert_eq!(r1.stable, [2]);
}

#[test]
fn a_bad_signature_does_not_make_a_checkpoint_stable() {
    let lab = lab();
    let blocks = blocks(&lab, 2);
    let mut r1 = settled(&lab, &without(""), &blocks);
    let mut bad = lab.state_vote(0, &state(2, &blocks[1].0.1));
    bad.signature = lab.state_vote(3, &bad.vote).signature;
    r1.hear(0, Message::StateVote(bad)).unwrap();
    vote_states(&lab, &mut r1, &[2], blocks[1].0);
    assert!(r1.stable.is_empty());
    vote_states(&lab, &mut r1, &[3], blocks[1].0);
    assert_eq!(r1.stable, [2]);
    let vote = state(4, &Digest::ZERO);
    let short = Box::new(lab.state_certificate(&vote, &[3]));
    assert_eq!(r1.hear(3, Message::StateCertificate(short)), Err(Reject::Count));
}

#[test]
fn nothing_is_accepted_beyond_the_window_of_the_log() {
    let lab = lab();
    let blocks = blocks(&lab, 6);
    let mut r1 = settled(&lab, &without(""), &blocks[..4]);
    r1.hear_block(&blocks[4].1);
    assert!(!r1.voted_for(&blocks[4].0.1), "slot 5 with nothing stable");
    vote_states(&lab, &mut r1, &[0, 2], blocks[1].0);
    assert!(r1.voted_for(&blocks[4].0.1), "slot 5 above a stable slot 2");
    // A certificate is as good as the votes, and a state that was not executed here as good as one that was.
    r1.hear_block(&blocks[5].1);
    assert!(r1.voted_for(&blocks[5].0.1));
}

#[test]
fn what_is_released_lies_below_the_older_of_two_snapshots() {
    let lab = lab();
    let blocks = blocks(&lab, 4);
    let mut r1 = settled(&lab, &without(""), &blocks);
    vote_states(&lab, &mut r1, &[0, 2], blocks[1].0);
    assert_eq!((&r1.stable[..], r1.replica.status().kept), (&[2][..], 0));
    r1.step(Input::Snapshotted { slot: 2 });
    assert_eq!(r1.replica.status().kept, 2);
    r1.step(Input::Snapshotted { slot: 4 });
    assert!(r1.released.is_empty(), "slot 4 has a snapshot and is not stable");
    vote_states(&lab, &mut r1, &[0, 2], blocks[3].0);
    assert_eq!(r1.released.iter().map(|r| r.0).collect::<Vec<_>>(), [2]);
    // What is gone is not served, and the asker hears why.
    r1.sent.clear();
    let (slot, digest) = blocks[0].0;
    let ask = Message::FetchBlocks { slot, digest, floor: 0 };
    r1.hear(3, ask.clone()).unwrap();
    let certificate = |message: &Message| matches!(message, Message::StateCertificate(c) if c.vote.slot == 4);
    assert!(certificate(&r1.sent[0].message) && r1.sent[1].message == Message::NotHeld { digest });
    r1.hear(3, ask).unwrap();
    assert_eq!(r1.sent.len(), 3, "once for a connection and checkpoint");
}

/// R1 accepts four blocks of view 0 with only the first one certified, keeps checkpoints 2 and 4, and leaves the view.
fn left_after_release(lab: &Lab, bugs: &Bugs) -> (Actor, Vec<(At, SignedBlock)>) {
    let blocks = blocks(lab, 4);
    let mut r1 = settled(lab, bugs, &blocks);
    keep(lab, &mut r1, blocks[1].0);
    keep(lab, &mut r1, blocks[3].0);
    assert_eq!(r1.released.len(), 1);
    (r1, blocks)
}

fn time_out(r1: &mut Actor) -> Vec<Slot> {
    for member in [0, 2] {
        let suspect = Message::Suspect {
            view: 0,
            standing: true,
        };
        r1.hear(member, suspect).unwrap();
    }
    let timeout = r1.timeout_of(0).expect("it left").timeout;
    timeout.accepted.iter().map(|entry| entry.1).collect()
}

#[test]
fn a_checkpoint_releases_no_acceptance() {
    let lab = lab();
    let (mut r1, _) = left_after_release(&lab, &without(""));
    assert_eq!(time_out(&mut r1), [2, 3, 4], "all that no Qc has passed");
}

#[cfg(feature = "bugs")]
#[test]
fn history_release_shows_when_a_checkpoint_does() {
    let lab = lab();
    let (mut r1, _) = left_after_release(&lab, &without("release_by_checkpoint"));
    assert_ne!(time_out(&mut r1), [2, 3, 4]);
}

/// What a log still has after a release, at the most that it may drop.
fn remaining(actor: &Actor) -> Vec<Record> {
    let (slot, until) = *actor.released.last().expect("something was released");
    let standing = actor.records[..until]
        .iter()
        .rposition(|record| matches!(record, Record::Vote(VoteRecord::Standing(_))))
        .expect("what stands was written before the release");
    let lives = |(at, record): &(usize, &Record)| match record {
        Record::Vote(VoteRecord::Accept(block) | VoteRecord::Block(block)) => {
            block.block.slot >= slot || carried(actor, standing, *at)
        }
        Record::Vote(_) | Record::Ordering(_) => *at >= standing,
        Record::Batch(_) => true,
    };
    let all = actor.records.iter().enumerate();
    all.filter(lives).map(|(_, record)| record.clone()).collect()
}

/// Blocks that stand right before the standing record belong to it.
fn carried(actor: &Actor, standing: usize, at: usize) -> bool {
    let block = |record: &Record| matches!(record, Record::Vote(VoteRecord::Block(_)));
    at < standing && actor.records[at..standing].iter().all(block)
}

fn snapshot(lab: &Lab, at: At) -> StateCertificate {
    lab.state_certificate(&state(at.0, &at.1), &[0, 1, 2])
}

#[test]
fn a_restart_from_a_snapshot_keeps_every_promise() {
    let lab = lab();
    let (r1, blocks) = left_after_release(&lab, &without(""));
    let records = remaining(&r1);
    assert!(records.len() < r1.records.len());
    for at in [1, 3] {
        let (at, anchor) = &blocks[at];
        let mut again = lab.restart(1, Some((&snapshot(&lab, *at), anchor)), &records);
        assert_eq!(again.replica.committed(), 4);
        assert_eq!(again.replica.executed(), 4);
        // Another first block of the view: it accepted one, although no list and no record of it is left.
        let (digest, other) = lab.block(0, (0, genesis()), 77, Justify::None);
        again.hear_block(&other);
        assert!(!again.voted_for(&digest), "a second first block of its view");
        assert_eq!(time_out(&mut again), [2, 3, 4]);
    }
}

#[test]
fn records_that_the_log_kept_for_longer_or_copied_say_nothing_new() {
    let lab = lab();
    let (r1, blocks) = left_after_release(&lab, &without(""));
    let (at, anchor) = &blocks[1];
    // Everything is still there, and a live acceptance was copied to the tail.
    let mut records = r1.records.clone();
    let accepted =
        |record: &&Record| matches!(record, Record::Vote(VoteRecord::Accept(block)) if block.block.slot == 3);
    records.push(records.iter().find(accepted).expect("slot 3 was accepted").clone());
    let mut again = lab.restart(1, Some((&snapshot(&lab, *at), anchor)), &records);
    assert_eq!(time_out(&mut again), [2, 3, 4]);
    // The entry into a view was released, acceptances in it were not, what stood follows.
    let tc = lab.empty_tc(0, &[0, 2, 3]);
    let (digest, block) = lab.block(1, at_genesis(), 1, Justify::Tc(Box::new(tc.clone())));
    let standing = Standing {
        entry: trireme_core::message::Entry::Tc(Box::new(tc)),
        high_qc: lab.no_qc(),
        timeout: None,
        accepted: vec![(1, 1, digest)],
        last: Some((1, digest)),
        accepted_in_view: 1,
        locked: None,
        reserved: 9,
        committed: (0, genesis()),
    };
    let records = [
        Record::Vote(VoteRecord::Accept(Box::new(block))),
        Record::Vote(VoteRecord::Standing(Box::new(standing))),
    ];
    let again = lab.restart(1, None, &records);
    assert_eq!(again.replica.view(), 1);
    assert_eq!(again.replica.status().in_flight_slots, 1);
}

fn at_genesis() -> At {
    (0, genesis())
}

#[test]
fn own_votes_for_checkpoints_are_told_again_after_a_restart() {
    let lab = lab();
    let blocks = blocks(&lab, 4);
    let r1 = settled(&lab, &without(""), &blocks);
    let mut again = lab.restart(1, None, &r1.records);
    again.step(Input::Connected(2));
    let slots: Vec<Slot> = own_state_votes(&again).iter().map(|vote| vote.slot).collect();
    assert_eq!(slots, [2, 4]);
    vote_states(&lab, &mut again, &[0, 2], blocks[3].0);
    assert_eq!(again.stable, [4], "the own vote counts, too");
}

/// R1 knows of nothing but a stable checkpoint at slot 8.
fn left_behind(lab: &Lab) -> (Actor, Vec<(At, SignedBlock)>) {
    let blocks = blocks(lab, 12);
    let mut r1 = lab.replica(1, &without(""));
    for member in [0, 2, 3] {
        r1.step(Input::Connected(member));
    }
    let certificate = Box::new(snapshot(lab, blocks[7].0));
    r1.hear(0, Message::StateCertificate(certificate)).unwrap();
    (r1, blocks)
}

#[test]
fn a_replica_far_below_a_stable_checkpoint_fetches_its_image() {
    let lab = lab();
    let (mut r1, blocks) = left_behind(&lab);
    assert_eq!(r1.transfers, [8], "more than half of the log's window");
    assert!(r1.stable.is_empty(), "it did not execute to it");
    let newer = Box::new(snapshot(&lab, blocks[9].0));
    r1.hear(0, Message::StateCertificate(newer.clone())).unwrap();
    r1.hear(2, Message::StateCertificate(newer)).unwrap();
    assert_eq!(r1.transfers, [8, 10], "a newer one, once");
}

#[test]
fn one_that_is_near_fetches_an_image_when_what_it_needs_was_released() {
    let mut lab = lab();
    lab.params.log_window = 1_000;
    let (mut r1, blocks) = left_behind(&lab);
    let (slot, digest) = blocks[7].0;
    commit_claims(&mut r1, slot, digest);
    assert!(r1.transfers.is_empty());
    r1.hear(0, Message::NotHeld { digest }).unwrap();
    r1.hear(0, Message::NotHeld { digest }).unwrap();
    assert!(r1.transfers.is_empty(), "one member's word");
    for _ in 0..8 {
        r1.wait(30_000);
        for member in [0, 2, 3] {
            r1.hear(member, Message::NotHeld { digest }).unwrap();
        }
    }
    assert_eq!(r1.transfers, [8]);
}

#[test]
fn one_that_nobody_answers_fetches_an_image_after_a_while() {
    let mut lab = lab();
    lab.params.log_window = 1_000;
    let (mut r1, blocks) = left_behind(&lab);
    commit_claims(&mut r1, blocks[7].0.0, blocks[7].0.1);
    r1.wait(200_000);
    assert!(r1.transfers.is_empty(), "it has to have been asked for first");
    r1.wait(2_000_000);
    assert_eq!(r1.transfers, [8]);
}

/// Found by seed 224 of the simulator: the request for a batch above an image went on asking for what the image covers.
/// Whoever held the batch had released that, and answered that it holds nothing.
#[test]
fn what_an_image_covers_is_not_asked_for_any_more() {
    let lab = lab();
    let (mut r1, blocks) = left_behind(&lab);
    let (below, _) = lab.batch(0, 2, (1, Digest::ZERO));
    let (tip, batch) = lab.batch(0, 3, (2, below));
    r1.hear(0, Message::Batch(batch)).unwrap();
    let floors = |actor: &Actor| -> Vec<u64> {
        let floor = |message: &Message| match message {
            Message::FetchBatches { digest, floor, .. } if *digest == tip => Some(*floor),
            _ => None,
        };
        actor.sent.iter().filter_map(|out| floor(&out.message)).collect()
    };
    r1.wait(1_000);
    assert_eq!(floors(&r1).last(), Some(&0));
    let mut anchor = blocks[7].1.block.clone();
    (anchor.cut[0].height, anchor.cut[0].digest) = (2, below);
    let (digest, anchor) = lab.sign_block(anchor);
    install(&lab, &mut r1, (8, digest), &anchor);
    r1.wait(2_000_000);
    assert_eq!(floors(&r1).last(), Some(&2));
}

fn commit_claims(actor: &mut Actor, slot: Slot, digest: Digest) {
    for member in [0, 2] {
        actor.hear(member, Message::Committed { slot, digest }).unwrap();
    }
}

fn install(lab: &Lab, actor: &mut Actor, at: At, anchor: &SignedBlock) {
    actor.step(Input::Installed {
        certificate: Box::new(snapshot(lab, at)),
        anchor: Box::new(anchor.clone()),
    });
}

#[test]
fn an_image_takes_the_place_of_what_led_to_it() {
    let lab = lab();
    let (mut r1, blocks) = left_behind(&lab);
    let (at, anchor) = &blocks[7];
    install(&lab, &mut r1, *at, anchor);
    assert_eq!((r1.replica.committed(), r1.replica.executed()), (8, 8));
    assert_eq!(r1.replica.committed_digest(8), Some(at.1));
    assert_eq!(r1.replica.status().transfer, None);
    // It goes on from there, and the next checkpoint lies where it does for all.
    for (_, block) in &blocks[8..10] {
        r1.hear_block(block);
    }
    commit(&mut r1, blocks[9].0);
    assert_eq!(r1.executed, [9, 10]);
    assert_eq!(own_state_votes(&r1).last(), Some(&state(10, &blocks[9].0.1)));
    // Never backwards.
    install(&lab, &mut r1, blocks[3].0, &blocks[3].1);
    install(&lab, &mut r1, *at, anchor);
    assert_eq!((r1.replica.committed(), r1.replica.executed()), (10, 10));
}

#[test]
fn an_image_leaves_promises_alone() {
    let lab = lab();
    let blocks = blocks(&lab, 8);
    let mut r1 = lab.replica(1, &without(""));
    r1.hear_block(&blocks[0].1);
    r1.hear_block(&blocks[1].1);
    install(&lab, &mut r1, blocks[7].0, &blocks[7].1);
    // A Qc of the same view passes what lies below it, and only if the branch is the same: that can still be told.
    r1.hear_qc(2, &lab.qc(0, blocks[0].0, &[0, 2, 3]));
    assert_eq!(time_out(&mut r1), [2]);
}

#[test]
fn a_view_that_starts_below_an_image_is_no_conflict() {
    let lab = lab();
    let blocks = blocks(&lab, 8);
    let mut r1 = lab.replica(1, &without(""));
    install(&lab, &mut r1, blocks[7].0, &blocks[7].1);
    // Its members time out late: what they report lies below the anchor.
    let qc = lab.qc(0, blocks[0].0, &[0, 2, 3]);
    let late = |m: u16| lab.timeout(m, 0, &qc, &[], trireme_core::message::Entry::Genesis);
    r1.hear_tc(2, &lab.tc(&[late(0), late(2), late(3)]));
    assert_eq!((r1.replica.view(), r1.alarms), (1, 0));
}

#[test]
fn votes_and_certificates_of_nothing_are_refused() {
    let lab = lab();
    let mut r1 = lab.replica(1, &without(""));
    let none = state(0, &genesis());
    let vote = Message::StateVote(lab.state_vote(0, &none));
    assert_eq!(r1.hear(0, vote), Err(Reject::Inconsistent));
    let certificate = Message::StateCertificate(Box::new(snapshot(&lab, at_genesis())));
    assert_eq!(r1.hear(0, certificate), Err(Reject::Inconsistent));
    let part = |slot, bytes: Vec<u8>| Message::StatePart {
        slot,
        part: 1,
        bytes: bytes.into(),
    };
    assert_eq!(r1.hear(0, part(0, Vec::new())), Err(Reject::Inconsistent));
    assert_eq!(r1.hear(0, part(1, vec![0; (4 << 20) + 1])), Err(Reject::TooLarge));
    r1.hear(0, part(1, vec![0; 4 << 20])).unwrap();
    assert_eq!(
        r1.hear(0, Message::FetchState { slot: 0, part: 0 }),
        Err(Reject::Inconsistent)
    );
}

#[test]
fn another_root_than_a_stable_one_stops_the_replica() {
    let lab = lab();
    let blocks = blocks(&lab, 2);
    let mut r1 = lab.replica(1, &without(""));
    let wrong = state(2, &Digest::ZERO);
    let certificate = Box::new(lab.state_certificate(&wrong, &[0, 2, 3]));
    r1.hear(0, Message::StateCertificate(certificate)).unwrap();
    for (_, block) in &blocks {
        r1.hear_block(block);
    }
    commit(&mut r1, blocks[1].0);
    assert_eq!((r1.alarms, r1.stable.len()), (1, 0));
}

/// Golden: what is signed and what is sent does not change unnoticed.
#[test]
fn the_bytes_of_checkpoint_statements_and_messages() {
    use trireme_core::message::Envelope;
    use trireme_core::wire::{decode_envelope, encode_envelope};
    let vote = StateVote {
        slot: 1,
        state_root: Digest([2; 32]),
        receipts_root: Digest([3; 32]),
        timestamp: 4,
        checkpoint: true,
    };
    let ordinary = StateVote {
        checkpoint: false,
        ..vote.clone()
    };
    let domain = lab::domain();
    assert_ne!(
        vote.statement(&domain),
        ordinary.statement(&domain),
        "it is under the signature"
    );
    let bytes = trireme_crypto::encode(&vote);
    assert_eq!(bytes.len(), 8 + 32 + 32 + 8 + 1);
    assert_eq!(bytes.last(), Some(&1));
    let frame = |message| {
        encode_envelope(&Envelope {
            epoch: 5,
            view: 6,
            message,
        })
    };
    let fetch = frame(Message::FetchState { slot: 7, part: 8 });
    let mut golden = vec![5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 1, 16];
    golden.extend([7, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(fetch[..], golden[..]);
    let part = frame(Message::StatePart {
        slot: 7,
        part: 8,
        bytes: vec![9, 9].into(),
    });
    golden[17] = 17;
    golden.extend([2, 0, 0, 0, 9, 9]);
    assert_eq!(part[..], golden[..]);
    assert!(matches!(
        decode_envelope(part).unwrap().message,
        Message::StatePart { part: 8, .. }
    ));
}
