//! R-WITNESS where the parent's cut hides batches that nobody here has checked. n = 7: f+1 = 3.
//!
//! Found by seed 10889: five correct replicas held all data of a block, had checked what it names anew, and waited for
//! ever for a batch below it, which they had taken over by a certificate.

mod lab;

use lab::{Lab, genesis, without};
use trireme_core::Message;
use trireme_core::message::{Ac, AcEntry, CutEntry, Justify};

#[test]
fn ancestors_below_the_parents_cut_are_checked_too() {
    let lab = Lab::new(7, 2);
    let mut r6 = lab.replica(6, &without(""));
    // Too many requests to be checked unasked.
    let (first, batch) = lab.batch_of(100, 2, 1, (0, trireme_crypto::Digest::ZERO));
    r6.hear(2, Message::Batch(batch)).unwrap();
    let (second, batch) = lab.batch_of(100, 2, 2, (1, first));
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
    assert!(r6.voted_for(&above), "both batches are checked, and the block accepted");
}
