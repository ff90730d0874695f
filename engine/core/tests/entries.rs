//! One view, several certificates: each replica enters by the first that it makes or hears, and their safe tips may
//! differ. R-ACCEPT 2(b) judges a first block by its own certificate, not by the receiver's. n = 4: t = 3, tau = 2.
//!
//! Found by seeds 9952 and 10889: after healing, those who had entered by another certificate than the leader's never
//! looked at the slot where its block stood, view for view, while each failed view doubled all timers.

mod lab;

use lab::{Actor, Lab, genesis, without};
use trireme_core::message::{Accepted, Entry, Justify, SignedBlock, Tc};
use trireme_core::{MemberId, Slot, View};
use trireme_crypto::Digest;

/// A Tc of members that report nothing but what is listed, without any Qc.
fn tc(lab: &Lab, view: View, reports: &[(MemberId, &[Accepted])]) -> Tc {
    let timeout =
        |(member, listed): &(MemberId, &[Accepted])| lab.timeout(*member, view, &lab.no_qc(), listed, Entry::Genesis);
    lab.tc(&reports.iter().map(timeout).collect::<Vec<_>>())
}

fn first_block(lab: &Lab, parent: (Slot, Digest), tc: &Tc) -> (Digest, SignedBlock) {
    lab.block(tc.view + 1, parent, 0, Justify::Tc(Box::new(tc.clone())))
}

/// R3 enters view 1 by one certificate and hears R1's block on the tip of the other.
fn hears_the_other(own: &Tc, leaders: &Tc, parent: (Slot, Digest), first: &SignedBlock) -> (Actor, Digest) {
    let lab = Lab::new(4, 1);
    let mut r3 = lab.replica(3, &without(""));
    r3.hear_block(first);
    r3.hear_tc(2, own);
    let block = first_block(&lab, parent, leaders);
    r3.hear_block(&block.1);
    (r3, block.0)
}

/// R0 and R1 accepted slot 1; R2 did not. With R0, R2 and R3 the view starts from genesis, with R0, R1 and R2 from slot 1.
#[test]
fn a_block_stands_on_its_own_certificates_tip() {
    let lab = Lab::new(4, 1);
    let (digest, first) = lab.block(0, (0, genesis()), 0, Justify::None);
    let listed = [(0, 1, digest)];
    let low = tc(&lab, 0, &[(0, &listed), (2, &[]), (3, &[])]);
    let high = tc(&lab, 0, &[(0, &listed), (1, &listed), (2, &[])]);
    let (r3, block) = hears_the_other(&low, &high, (1, digest), &first);
    assert!(r3.voted_for(&block), "the leader's tip is higher than the own one");
    let (r3, block) = hears_the_other(&high, &low, (0, genesis()), &first);
    assert!(r3.voted_for(&block), "or lower");
    let (r3, block) = hears_the_other(&low, &low, (1, digest), &first);
    assert!(
        !r3.voted_for(&block),
        "but what its certificate does not justify is not accepted"
    );
}

/// Views without any Qc climb: the leader's tip may lie far above the window that the own certificate gives. Votes that
/// came before the block count, too.
#[test]
fn a_tip_far_above_the_own_one_is_followed() {
    let mut lab = Lab::new(4, 1);
    (lab.params.window, lab.params.w0) = (1, 1);
    let mut blocks = vec![lab.block(0, (0, genesis()), 0, Justify::None)];
    let mut listed = vec![(0, 1, blocks[0].0)];
    for view in 1..8 {
        let entry = tc(&lab, view - 1, &[(0, &listed), (1, &listed), (2, &[])]);
        let (slot, digest) = (view, blocks[blocks.len() - 1].0);
        blocks.push(first_block(&lab, (slot, digest), &entry));
        listed.push((view, slot + 1, blocks[blocks.len() - 1].0));
    }
    let low = tc(&lab, 7, &[(0, &listed), (2, &[]), (3, &[])]);
    let high = tc(&lab, 7, &[(0, &listed), (1, &listed), (2, &[])]);
    let mut r3 = lab.replica(3, &without(""));
    r3.hear_tc(2, &low);
    let (top, parent) = (8, blocks[7].0);
    let (digest, block) = first_block(&lab, (top, parent), &high);
    for member in [0, 1, 2] {
        r3.hear_vote(member, lab.vote(member, 8, Some((top + 1, digest)), None));
    }
    r3.hear_block(&block);
    for (_, below) in blocks.iter().rev() {
        r3.hear_block(below);
    }
    r3.wait(200_000);
    let answer = blocks.iter().rev().map(|(_, signed)| signed.clone()).collect();
    let message = trireme_core::Message::Blocks {
        digest: parent,
        blocks: answer,
    };
    let _ = r3.hear(0, message);
    r3.wait(200_000);
    assert!(r3.voted_for(&digest), "its block is accepted");
    assert!(
        r3.votes()
            .iter()
            .any(|vote| vote.view == 8 && vote.locked == Some((9, digest))),
        "and certified with the votes that came first"
    );
}
