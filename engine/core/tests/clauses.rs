//! Single clauses of R-ACCEPT and R-TIMEOUT-VALID, each shown to matter: the test fails once its clause is off.

mod lab;

use lab::{Actor, Disk, Lab, genesis, without};
use trireme_core::bugs::Bugs;
use trireme_core::message::{Entry, Justify, SignedBlock};
use trireme_core::sessions::{SessionLimits, SessionTable, Verdict};
use trireme_core::{Message, Slot};
use trireme_crypto::{Digest, PublicKey};

fn needs(clause: &str, holds: impl Fn(&Bugs) -> bool) {
    assert!(holds(&without("")), "fails with every clause in force");
    assert!(!holds(&without(clause)), "holds without {clause}");
}

/// R-TIMEOUT-VALID: a Tc justifies a first block of view v only if it is Tc(v-1).
#[test]
fn a_stale_certificate_justifies_nothing() {
    needs("stale_tc", |bugs| {
        let lab = Lab::new(4, 1);
        let (old, new) = (lab.empty_tc(0, &[0, 1, 2]), lab.empty_tc(1, &[0, 1, 2]));
        let mut r3 = lab.replica(3, bugs);
        r3.hear_tc(1, &new);
        let block = lab.block(2, (0, genesis()), 0, Justify::Tc(Box::new(old)));
        r3.hear_block(&block.1);
        !r3.voted_for(&block.0)
    });
}

/// R-ACCEPT 4: a timestamp hours ahead, once in the chain, does not halt it: one microsecond more is always allowed.
#[test]
fn a_poisoned_timestamp_does_not_halt_the_chain() {
    needs("timestamp_no_escape", |bugs| {
        let lab = Lab::new(4, 1);
        let hours = 10_000_000_000;
        let poisoned = lab.block(0, (0, genesis()), hours, Justify::None);
        let list = [(0, 1, poisoned.0)];
        let quit = |member| lab.timeout(member, 0, &lab.no_qc(), &list, Entry::Genesis);
        let tc = lab.tc(&[quit(0), quit(1), quit(2)]);
        let mut r3 = lab.replica(3, bugs);
        r3.hear_block(&poisoned.1);
        assert!(!r3.voted_for(&poisoned.0), "it lies beyond max_drift");
        r3.hear_tc(1, &tc);
        // The lab adds 1 ms a slot: one microsecond above the parent.
        let next = lab.block(1, (1, poisoned.0), hours - 999, Justify::Tc(Box::new(tc)));
        r3.hear_block(&next.1);
        r3.voted_for(&next.0)
    });
}

/// R-DURABLE: a vote waits for the record of its acceptance.
#[test]
fn a_vote_waits_for_its_record() {
    needs("send_before_write", |bugs| {
        let lab = Lab::new(4, 1);
        let block = lab.block(0, (0, genesis()), 0, Justify::None);
        let mut r3 = lab.replica(3, bugs);
        r3.disk = Disk::Stuck;
        r3.hear_block(&block.1);
        assert!(r3.accepted(&block.0));
        let early = r3.voted_for(&block.0);
        r3.flush();
        !early && r3.voted_for(&block.0)
    });
}

/// R-ACCEPT 1: no vote in a view that was left.
#[test]
fn no_vote_after_a_timeout() {
    let lab = Lab::new(4, 1);
    let block = lab.block(0, (0, genesis()), 0, Justify::None);
    let mut r3 = lab.replica(3, &Bugs::default());
    for member in [0, 1] {
        let suspect = trireme_core::Message::Suspect {
            view: 0,
            standing: true,
        };
        r3.hear(member, suspect).unwrap();
    }
    assert!(r3.timeout_of(0).is_some());
    r3.hear_block(&block.1);
    assert!(!r3.voted_for(&block.0));
}

/// R-PROPOSE: a view's first block comes at once, empty if need be; without it nothing of an older view would commit.
#[test]
fn a_new_leader_proposes_with_nothing_to_order() {
    needs("no_empty_first_block", |bugs| {
        let lab = Lab::new(4, 1);
        let mut r1 = lab.replica(1, bugs);
        r1.hear_tc(0, &lab.empty_tc(0, &[0, 2, 3]));
        r1.wait(1_000);
        r1.proposals().len() == 1
    });
}

/// R-STATEMENT, section 4: a quorum is of distinct members.
#[test]
fn a_signer_counts_once() {
    needs("count_signer_twice", |bugs| {
        let lab = Lab::new(4, 1);
        let block = lab.block(0, (0, genesis()), 0, Justify::None);
        let doubled = lab.qc(0, (1, block.0), &[0, 0, 1]);
        let mut r3 = lab.replica(3, bugs);
        r3.hear(0, Message::HighQc(Box::new(doubled))).is_err()
    });
}

/// What members with the same keys signed in epoch 0 says nothing in epoch 1.
fn refuses_the_epoch_before(bugs: &Bugs) -> bool {
    let lab = Lab::new(4, 1);
    let block = lab.block(0, (0, genesis()), 0, Justify::None);
    let old = lab.qc(0, (1, block.0), &[0, 1, 2]);
    let mut r3 = lab.replica_in(1, 3, bugs);
    r3.hear(0, Message::HighQc(Box::new(old))).is_err()
}

/// R-STATEMENT: the epoch is under every signature.
#[test]
fn the_epoch_is_signed() {
    needs("epoch_unsigned", refuses_the_epoch_before);
}

/// R-EPOCH: a signature counts in its epoch only.
#[test]
fn a_quorum_counts_in_its_epoch() {
    needs("old_epoch_quorum", refuses_the_epoch_before);
}

/// R-EXECUTE: blocks that were fetched and are committed by votes execute once.
#[test]
fn what_was_fetched_executes_once() {
    needs("sync_delivers_too", |bugs| {
        let lab = Lab::new(4, 1);
        let first = lab.block(0, (0, genesis()), 0, Justify::None);
        let second = lab.block(0, (1, first.0), 0, Justify::None);
        let mut r3 = lab.replica(3, bugs);
        for member in [0, 1, 2] {
            let at = Some((2, second.0));
            r3.hear_vote(member, lab.vote(member, 0, at, at));
        }
        r3.wait(1_000_000);
        assert!(r3.executed.is_empty(), "the blocks are not here");
        let blocks = vec![second.1, first.1];
        r3.hear(
            0,
            Message::Blocks {
                digest: second.0,
                blocks,
            },
        )
        .unwrap();
        r3.executed == [1, 2]
    });
}

/// R-EXECUTE: what was executed in a session's window is known, whatever became of its reply.
#[test]
fn a_retry_finds_its_reply() {
    needs("forget_replies", |bugs| {
        let limits = SessionLimits {
            window: 8,
            max_sessions: 1,
            result_bytes: 100,
        };
        let mut table = SessionTable::with_bugs(limits, bugs.clone());
        let mut session = table.open(&PublicKey([1; 32]), 0).expect("room for one");
        for number in [1, 2] {
            assert_eq!(session.judge(number, number), Verdict::Fresh);
            session.record(number, Digest([9; 32]), b"done", number);
        }
        matches!(session.judge(1, 3), Verdict::Executed { .. })
    });
}

/// Lets a block be accepted and committed by the votes of all.
fn commit(lab: &Lab, replica: &mut Actor, block: &(Digest, SignedBlock)) {
    let (view, slot) = (block.1.block.view, block.1.block.slot);
    replica.hear_block(&block.1);
    for member in [0, 1, 2] {
        replica.hear_vote(member, lab.vote(member, view, Some((slot, block.0)), None));
    }
    assert_eq!(replica.replica.committed(), slot);
}

/// A block of view 0 that is not committed within the timer.
fn wait_in_vain(lab: &Lab, replica: &mut Actor, parent: (Slot, Digest)) {
    replica.hear_block(&lab.block(0, parent, 7, Justify::None).1);
    replica.wait(lab.params.timer_floor_us);
}

/// R-TIMER: commits under f+1 leaders take a doubling back.
#[test]
fn the_timer_comes_down_again() {
    needs("timer_never_resets", |bugs| {
        let mut lab = Lab::new(4, 1);
        lab.params.timer_decay_commits = 1;
        let mut r3 = lab.replica(3, bugs);
        let first = lab.block(0, (0, genesis()), 0, Justify::None);
        commit(&lab, &mut r3, &first);
        wait_in_vain(&lab, &mut r3, (1, first.0));
        let list = [(0, 1, first.0)];
        let quit = |member| lab.timeout(member, 0, &lab.no_qc(), &list, Entry::Genesis);
        let tc = lab.tc(&[quit(0), quit(1), quit(2)]);
        r3.hear_tc(1, &tc);
        let doubled = r3.replica.status().view_timer_us;
        let second = lab.block(1, (1, first.0), 0, Justify::Tc(Box::new(tc)));
        commit(&lab, &mut r3, &second);
        assert_eq!(doubled, 2 * lab.params.timer_floor_us);
        r3.replica.status().view_timer_us == lab.params.timer_floor_us
    });
}

/// R-TIMER: one leader alone, who may be faulty, takes nothing back.
#[test]
fn one_leader_does_not_shorten_the_timer() {
    needs("decay_on_one_leader", |bugs| {
        let mut lab = Lab::new(4, 1);
        lab.params.timer_decay_commits = 1;
        let mut r3 = lab.replica(3, bugs);
        wait_in_vain(&lab, &mut r3, (0, genesis()));
        let tc = lab.empty_tc(0, &[0, 1, 2]);
        r3.hear_tc(1, &tc);
        let first = lab.block(1, (0, genesis()), 0, Justify::Tc(Box::new(tc)));
        commit(&lab, &mut r3, &first);
        let second = lab.block(1, (1, first.0), 0, Justify::None);
        commit(&lab, &mut r3, &second);
        r3.replica.status().view_timer_us == 2 * lab.params.timer_floor_us
    });
}

/// R-WITNESS: an owner's header says nothing about storage. R1's batch is nowhere durable but at R0, who may be faulty.
#[test]
fn a_header_is_no_entry_of_a_certificate() {
    needs("header_as_ack", |bugs| {
        let lab = Lab::new(4, 1);
        let mut r3 = lab.replica(3, bugs);
        r3.disk = Disk::Stuck;
        let (digest, batch) = lab.batch(1, 1, (0, Digest::ZERO));
        r3.hear(1, Message::Batch(batch)).unwrap();
        r3.hear(0, Message::Ack(lab.ack(0, 1, 1, digest))).unwrap();
        r3.wait(1_000_000);
        let certified = |o: &trireme_core::Outbound| matches!(o.message, Message::Certificate(_));
        !r3.sent.iter().any(certified)
    });
}

/// R-PROPOSE after a restart: a leader whose log is still empty proposes nothing, for it would not know of it.
#[test]
fn nothing_is_proposed_before_the_log_begins() {
    let lab = Lab::new(4, 1);
    let mut r0 = lab.replica_on(Disk::Stuck, 0, 0, &Bugs::default());
    let (_, batch) = lab.batch(1, 1, (0, Digest::ZERO));
    r0.hear(1, Message::Batch(batch)).unwrap();
    r0.wait(10_000);
    assert!(r0.proposals().is_empty(), "a restart now finds nothing");
    r0.flush();
    r0.wait(10_000);
    assert_eq!(r0.proposals().len(), 1);
}

/// A block that says it stands far above genesis and names genesis as its parent is known and never whole.
#[test]
fn a_block_that_lies_about_its_slot_is_harmless() {
    let lab = Lab::new(4, 1);
    let mut r3 = lab.replica(3, &Bugs::default());
    let lie = lab.block(0, (4, genesis()), 0, Justify::None);
    r3.hear_block(&lie.1);
    r3.wait(1_000_000);
    assert!(!r3.voted_for(&lie.0) && r3.alarms == 0);
    let asked = |o: &trireme_core::Outbound| matches!(o.message, Message::FetchBlocks { .. });
    assert!(!r3.sent.iter().any(asked), "there is nothing to fetch");
}

/// R-COMMIT: a vote counts for ancestors of its own view. One of view 0 that names a block of view 1 says nothing about
/// what that member stands for in view 0.
#[test]
fn a_vote_counts_in_its_own_view_only() {
    let lab = Lab::new(4, 1);
    let first = lab.block(0, (0, genesis()), 0, Justify::None);
    let list = [(0, 1, first.0)];
    let quit = |member| lab.timeout(member, 0, &lab.no_qc(), &list, Entry::Genesis);
    let tc = lab.tc(&[quit(0), quit(1), quit(2)]);
    let second = lab.block(1, (1, first.0), 0, Justify::Tc(Box::new(tc.clone())));
    let mut r3 = lab.replica(3, &without(""));
    r3.hear_block(&first.1);
    for member in [1, 2] {
        r3.hear_vote(member, lab.vote(member, 0, Some((1, first.0)), None));
    }
    r3.hear_tc(1, &tc);
    r3.hear_block(&second.1);
    assert!(r3.voted_for(&second.0));
    r3.hear_vote(0, lab.vote(0, 0, Some((2, second.0)), None));
    assert_eq!(r3.replica.committed(), 0, "three of four stand for it in view 0");
    r3.hear_vote(0, lab.vote(0, 0, Some((1, first.0)), None));
    assert_eq!(r3.replica.committed(), 1, "and now all do");
}
