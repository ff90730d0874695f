//! The regression histories of PROTOCOL.md, section 5. Each is driven against a real replica and shown to fail once
//! the clause that it stands for is switched off. n = 4: q = 3, t = 3, F = 4, tau = 2. R0 is Byzantine throughout.

mod lab;

use lab::{Actor, Lab, genesis, without};
use trireme_core::api::{Input, Reject};
use trireme_core::bugs::Bugs;
use trireme_core::message::{Entry, Justify, Message, Qc, SignedBlock, Tc};
use trireme_core::safe_tip::safe_tip;
use trireme_core::{MemberId, Slot, To, View};
use trireme_crypto::Digest;

/// The history holds with every clause in force, and fails without this one.
fn needs(clause: &str, history: impl Fn(&Bugs) -> bool) {
    assert!(history(&without("")), "fails with every clause in force");
    assert!(!history(&without(clause)), "holds without {clause}");
}

fn justified(tc: &Tc) -> Justify {
    Justify::Tc(Box::new(tc.clone()))
}

/// A chain of blocks of one view on `parent`.
fn chain(lab: &Lab, view: View, parent: (Slot, Digest), salt: u64, length: usize) -> Vec<(Digest, SignedBlock)> {
    let mut blocks: Vec<(Digest, SignedBlock)> = Vec::new();
    for i in 0..length {
        let parent = blocks
            .last()
            .map_or(parent, |(digest, signed)| (signed.block.slot, *digest));
        blocks.push(lab.block(view, parent, salt + i as u64, Justify::None));
    }
    blocks
}

fn at(block: &(Digest, SignedBlock)) -> (Slot, Digest) {
    (block.1.block.slot, block.0)
}

fn listed(block: &(Digest, SignedBlock)) -> (View, Slot, Digest) {
    (block.1.block.view, block.1.block.slot, block.0)
}

/// Makes a replica leave its view: f+1 others are against it.
fn push_out(actor: &mut Actor, view: View, members: [MemberId; 2]) {
    for member in members {
        actor.hear(member, Message::Suspect { view, standing: true }).unwrap();
    }
}

/// "branch": R1 and R2 lock slot 1 of branch 1, which commits by R0's lock; R3 accepted slots 1 and 2 of branch 2, and
/// R0 lists branch 2's slot 2, too: it has tau = 2 reporters, and lies above the Qc.
#[test]
fn branch() {
    needs("no_branch_condition", |bugs| {
        let lab = Lab::new(4, 1);
        let one = chain(&lab, 0, (0, genesis()), 1, 1);
        let two = chain(&lab, 0, (0, genesis()), 100, 2);
        let qc = lab.qc(0, at(&one[0]), &[0, 1, 2]);
        let mut r2 = lab.replica(2, bugs);
        r2.hear_block(&one[0].1);
        r2.hear_qc(1, &qc);
        r2.hear_vote(0, lab.vote(0, 0, None, Some(at(&one[0]))));
        r2.hear_vote(1, lab.vote(1, 0, Some(at(&one[0])), Some(at(&one[0]))));
        r2.wait(100_000);
        assert_eq!(r2.replica.committed(), 1, "three locks commit branch 1");
        let second = [listed(&two[0]), listed(&two[1])];
        let tc = lab.tc(&[
            lab.timeout(0, 0, &lab.no_qc(), &second, Entry::Genesis),
            lab.timeout(1, 0, &qc, &[], Entry::Genesis),
            lab.timeout(3, 0, &lab.no_qc(), &second, Entry::Genesis),
        ]);
        r2.hear_tc(1, &tc);
        let good = lab.block(1, at(&one[0]), 0, justified(&tc));
        let bad = lab.block(1, at(&two[1]), 0, justified(&tc));
        two.iter().for_each(|block| r2.hear_block(&block.1));
        r2.hear_block(&bad.1);
        r2.hear_block(&good.1);
        r2.voted_for(&good.0) && !r2.voted_for(&bad.0) && r2.alarms == 0
    });
}

/// "split": the evidence of a fast commit is spread over two views. All accepted B1 in view 1, which commits it. In view
/// 2 only R3 accepted something, B2. Its Timeout of view 2 must list B1 beside it: with R0 silent about all, R1 and R3
/// are the two reports that B1 needs.
#[test]
fn split() {
    needs("report_last_view_only", |bugs| {
        let lab = Lab::new(4, 1);
        let tc0 = lab.empty_tc(0, &[0, 1, 2]);
        let b1 = lab.block(1, (0, genesis()), 0, justified(&tc0));
        let entry1 = Entry::Tc(Box::new(tc0.clone()));
        let mut r3 = lab.replica(3, bugs);
        r3.hear_tc(1, &tc0);
        r3.hear_block(&b1.1);
        assert!(r3.voted_for(&b1.0));
        let list = [listed(&b1)];
        let tc1 = lab.tc(&[
            lab.timeout(0, 1, &lab.no_qc(), &[], entry1.clone()),
            lab.timeout(1, 1, &lab.no_qc(), &list, entry1.clone()),
            lab.timeout(2, 1, &lab.no_qc(), &list, entry1),
        ]);
        r3.hear_tc(2, &tc1);
        let b2 = lab.block(2, at(&b1), 0, justified(&tc1));
        r3.hear_block(&b2.1);
        assert!(r3.voted_for(&b2.0));
        push_out(&mut r3, 2, [0, 1]);
        let own = r3.timeout_of(2).expect("it joins");
        let entry2 = Entry::Tc(Box::new(tc1));
        let tc2 = lab.tc(&[
            lab.timeout(0, 2, &lab.no_qc(), &[], entry2.clone()),
            lab.timeout(1, 2, &lab.no_qc(), &list, entry2),
            own,
        ]);
        let tip = safe_tip(&tc2, 4, 1, &Bugs::default());
        tip.digest == b1.0
    });
}

/// "old lock": B1 of view 1 has the locks of R0 and R1, said in view 1. In view 2, where a conflicting B2 is committed
/// by four acceptances, the others learn B1's Qc. If they said in view 2 that they are locked on it, or such locks
/// counted, B1 would be committed, too.
#[test]
fn old_lock() {
    needs("old_locks_count", |bugs| {
        let lab = Lab::new(4, 1);
        let tc0 = lab.empty_tc(0, &[0, 1, 2]);
        let entry1 = Entry::Tc(Box::new(tc0.clone()));
        let b1 = lab.block(1, (0, genesis()), 1, justified(&tc0));
        let qc1 = lab.qc(1, at(&b1), &[0, 1, 2]);
        let mut r3 = lab.replica(3, bugs);
        r3.hear_tc(1, &tc0);
        r3.hear_block(&b1.1);
        for member in [0, 1] {
            r3.hear_vote(member, lab.vote(member, 1, None, Some(at(&b1))));
        }
        // R3 and R2 report B1 late or not at all: R0 makes a Tc with one report of it.
        let tc1 = lab.tc(&[
            lab.timeout(0, 1, &lab.no_qc(), &[], entry1.clone()),
            lab.timeout(2, 1, &lab.no_qc(), &[listed(&b1)], entry1.clone()),
            lab.timeout(3, 1, &lab.no_qc(), &[], entry1),
        ]);
        r3.hear_tc(2, &tc1);
        let b2 = lab.block(2, (0, genesis()), 2, justified(&tc1));
        r3.hear_block(&b2.1);
        r3.hear_qc(1, &qc1);
        r3.hear_vote(0, lab.vote(0, 2, None, Some(at(&b1))));
        r3.wait(200_000);
        let speaks_of_old = r3.votes().iter().any(|v| v.view == 2 && v.locked == Some(at(&b1)));
        for member in [0, 1, 2] {
            r3.hear_vote(member, lab.vote(member, 2, Some(at(&b2)), None));
        }
        !speaks_of_old && r3.replica.committed_digest(1) == Some(b2.0) && r3.alarms == 0
    });
}

/// "handoff child": a second block under a handoff block in its own view is never accepted.
#[test]
fn handoff_child() {
    needs("handoff_child", |bugs| {
        let lab = Lab::new(4, 1);
        let (_, mut signed) = lab.block(0, (0, genesis()), 0, Justify::None);
        signed.block.handoff = Some(2);
        let handoff = lab.sign_block(signed.block);
        let child = lab.block(0, at(&handoff), 0, Justify::None);
        let mut r1 = lab.replica(1, bugs);
        r1.hear_block(&handoff.1);
        assert!(
            r1.voted_for(&handoff.0),
            "the handoff block itself is a block like others"
        );
        r1.hear_block(&child.1);
        !r1.voted_for(&child.0)
    });
}

/// "future QC": R0 leads view 4 and makes a Timeout of view 3 that carries a Qc of view 4. A Tc(3) with it would justify
/// a first block on a block of view 4 that the voter never accepted, and its vote would count for that one, too.
#[test]
fn future_qc() {
    needs("future_qc", |bugs| {
        let lab = Lab::new(4, 1);
        let tc2 = lab.empty_tc(2, &[0, 1, 2]);
        let tc3 = lab.empty_tc(3, &[0, 1, 2]);
        let entry3 = Entry::Tc(Box::new(tc2.clone()));
        let first = lab.block(4, (0, genesis()), 0, justified(&tc3));
        let qc4 = lab.qc(4, at(&first), &[0, 1, 2]);
        let mut r3 = lab.replica(3, bugs);
        r3.hear_tc(1, &tc2);
        let lie = lab.timeout(0, 3, &qc4, &[], entry3.clone());
        let refused = r3.hear(0, Message::Timeout(Box::new(lie.clone())));
        let tc = lab.tc(&[
            lie,
            lab.timeout(1, 3, &lab.no_qc(), &[], entry3.clone()),
            lab.timeout(2, 3, &lab.no_qc(), &[], entry3),
        ]);
        let second = lab.block(4, at(&first), 0, justified(&tc));
        // The first block is known, but not accepted: it stands on another certificate.
        let _ = r3.hear(0, Message::Block(Box::new(second.1.clone())));
        let _ = r3.hear(0, Message::Block(Box::new(first.1.clone())));
        refused == Err(Reject::Inconsistent) && !r3.voted_for(&second.0)
    });
}

/// "release": acceptances are reported until a Qc passes them, not until a commit or a checkpoint does. R3 hears of
/// each other member one vote only, for three blocks in a row: all four stand on B1, which commits, and no block has the
/// q votes of a Qc. R3's report of B1 and R1's are what keeps it; R0 reports nothing.
#[test]
fn release() {
    needs("release_by_commit", |bugs| {
        let mut lab = Lab::new(4, 1);
        lab.params.w0 = 3;
        let blocks = chain(&lab, 0, (0, genesis()), 0, 3);
        let b1 = &blocks[0];
        let mut r3 = lab.replica(3, bugs);
        blocks.iter().for_each(|block| r3.hear_block(&block.1));
        for (member, block) in [1, 2, 0].into_iter().zip(&blocks) {
            r3.hear_vote(member, lab.vote(member, 0, Some(at(block)), None));
        }
        assert_eq!(r3.replica.committed(), 1, "four acceptances commit");
        push_out(&mut r3, 0, [0, 1]);
        let own = r3.timeout_of(0).expect("it joins");
        let tc = lab.tc(&[
            lab.timeout(0, 0, &lab.no_qc(), &[], Entry::Genesis),
            lab.timeout(1, 0, &lab.no_qc(), &[listed(b1)], Entry::Genesis),
            own,
        ]);
        safe_tip(&tc, 4, 1, &Bugs::default()).digest == b1.0
    });
}

/// "full window": R0 crashed; the others accepted a full window and left the view before any lock. Nothing of it is
/// committed, and the first block of the next view lies above the window: it is accepted all the same.
#[test]
fn full_window() {
    needs("window_on_first_blocks", |bugs| {
        let mut lab = Lab::new(4, 1);
        (lab.params.window, lab.params.w0) = (2, 2);
        let full = chain(&lab, 0, (0, genesis()), 0, 2);
        let mut r3 = lab.replica(3, bugs);
        full.iter().for_each(|block| r3.hear_block(&block.1));
        assert!(full.iter().all(|block| r3.voted_for(&block.0)));
        let list = [listed(&full[0]), listed(&full[1])];
        let quit = |member| lab.timeout(member, 0, &lab.no_qc(), &list, Entry::Genesis);
        let tc = lab.tc(&[quit(1), quit(2), quit(3)]);
        r3.hear_tc(1, &tc);
        let next = lab.block(1, at(&full[1]), 0, justified(&tc));
        r3.hear_block(&next.1);
        r3.voted_for(&next.0)
    });
}

/// "parked": Tc(3) is known to R1 alone, made with R0's Timeout, which only R1 was shown; R0 leads view 4 and is silent.
/// Unless R1 tells everybody how it came to view 4, R2 and R3 stay behind for ever.
#[test]
fn parked() {
    needs("entry_to_leader_only", |bugs| {
        let lab = Lab::new(4, 1);
        let entry3 = lab.empty_tc(2, &[0, 1, 2]);
        let quit = |member| lab.timeout(member, 3, &lab.no_qc(), &[], Entry::Tc(Box::new(entry3.clone())));
        let mut r1 = lab.replica(1, bugs);
        let mut r2 = lab.replica(2, bugs);
        r1.hear_tc(0, &entry3);
        r2.hear_tc(0, &entry3);
        for member in [0, 2] {
            r1.hear(member, Message::Timeout(Box::new(quit(member)))).unwrap();
        }
        assert_eq!((r1.replica.view(), r2.replica.view()), (4, 3));
        let for_r2 = r1
            .sent
            .iter()
            .filter(|outbound| matches!(outbound.to, To::All | To::One(2)));
        for message in for_r2.map(|outbound| outbound.message.clone()).collect::<Vec<_>>() {
            // Its own Timeout is not enough for R2: it knows of one member only.
            if !matches!(message, Message::Timeout(_)) {
                r2.hear(1, message).unwrap();
            }
        }
        r2.replica.view() == 4
    });
}

/// R-ENTER, the other half of "parked": whoever announces an older view is told how to come here, once.
#[test]
fn a_peer_that_lags_is_told_once_for_each_view() {
    let lab = Lab::new(4, 1);
    let tc = lab.empty_tc(0, &[0, 1, 2]);
    let mut r1 = lab.replica(1, &Bugs::default());
    r1.step(Input::Connected(2));
    r1.hear_tc(0, &tc);
    let entries = |actor: &Actor| {
        let told = |o: &&trireme_core::Outbound| o.to == To::One(2) && matches!(o.message, Message::Entry(_));
        actor.sent.iter().filter(told).count()
    };
    let envelope = |view| trireme_core::message::Envelope {
        epoch: 0,
        view,
        message: Message::HighQc(Box::new(lab.no_qc())),
    };
    for (announced, told) in [(0, 1), (0, 1), (1, 1)] {
        let checked = trireme_core::check::check(&r1.replica.check_context(), 2, envelope(announced)).unwrap();
        r1.step(Input::Message(checked));
        assert_eq!(entries(&r1), told, "announced {announced}");
    }
}

/// A Qc in a history: three voters, exactly this block.
#[test]
fn the_lab_makes_valid_certificates() {
    let lab = Lab::new(4, 1);
    let block = lab.block(0, (0, genesis()), 0, Justify::None);
    let context = lab.replica(1, &Bugs::default()).replica.check_context();
    let good: Qc = lab.qc(0, at(&block), &[0, 1, 2]);
    assert_eq!(context.qc(&good), Ok(()));
    assert_eq!(context.qc(&lab.qc(0, at(&block), &[0, 1])), Err(Reject::Count));
    assert_eq!(context.qc(&lab.qc(0, at(&block), &[0, 1, 1])), Err(Reject::Members));
    assert_eq!(context.tc(&lab.empty_tc(5, &[0, 1, 3])), Ok(()));
    assert_eq!(context.tc(&lab.empty_tc(5, &[0, 1])), Err(Reject::Count));
}
