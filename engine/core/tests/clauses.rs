//! Single clauses of R-ACCEPT and R-TIMEOUT-VALID, each shown to matter: the test fails once its clause is off.

mod lab;

use lab::{Lab, genesis, without};
use trireme_core::bugs::Bugs;
use trireme_core::message::{Entry, Justify};

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
        r3.disk = lab::Disk::Stuck;
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
