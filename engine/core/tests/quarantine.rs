//! R-QUARANTINE and the generation check at one replica; everybody else is played by the test.

mod lab;

use lab::{Actor, Disk, Lab, domain, genesis, without};
use trireme_core::api::{Input, Reject};
use trireme_core::message::{
    Entry, Justify, Message, QcRef, Readmission, Recollection, Shown, SignedVote, Timeout, Tip,
};
use trireme_core::quarantine::{Cause, Waits};
use trireme_core::record::{Record, VoteRecord};
use trireme_core::{MemberId, Slot, View};
use trireme_crypto::Digest;

const OTHERS: [MemberId; 3] = [0, 1, 2];

/// Anything that a quarantined replica never sends.
fn signed_something(actor: &Actor) -> bool {
    actor.sent.iter().any(|outbound| match &outbound.message {
        Message::Vote(_) | Message::Timeout(_) | Message::Ack(_) | Message::Block(_) => true,
        Message::Batch(batch) => batch.head.header.lane == 3,
        _ => false,
    })
}

fn recollection(entry: Entry, tips: &[Tip]) -> Message {
    let tips = tips.to_vec();
    Message::Recollection(Box::new(Recollection { entry, tips }))
}

fn wiped(lab: &Lab) -> Actor {
    let mut r3 = lab.come_back(3, &[], Some(Cause::Missing), &without(""));
    OTHERS.iter().for_each(|member| r3.step(Input::Connected(*member)));
    r3
}

fn waits(actor: &Actor) -> Option<Waits> {
    actor.replica.quarantine().map(|quarantine| quarantine.waits)
}

/// The view asked to be left last.
fn asked_to_leave(actor: &Actor) -> Option<View> {
    actor.sent.iter().rev().find_map(|outbound| match outbound.message {
        Message::LeaveView(view) => Some(view),
        _ => None,
    })
}

#[test]
fn a_quarantined_replica_signs_nothing() {
    let lab = Lab::new(4, 1);
    let mut r3 = wiped(&lab);
    assert_eq!(r3.quarantined, [Cause::Missing]);
    let block = lab.block(0, (0, genesis()), 0, Justify::None);
    r3.hear_block(&block.1);
    let (digest, batch) = lab.batch(1, 1, (0, Digest::ZERO));
    r3.hear(1, Message::Batch(batch)).unwrap();
    for (member, other) in [(0, digest), (1, digest)] {
        r3.hear(member, Message::Ack(lab.ack(member, 1, 1, other))).unwrap();
        let suspect = Message::Suspect {
            view: 0,
            standing: true,
        };
        r3.hear(member, suspect).unwrap();
    }
    let quit = |member| lab.timeout(member, 0, &lab.no_qc(), &[], Entry::Genesis);
    for member in [0, 1] {
        r3.hear(member, Message::Timeout(Box::new(quit(member)))).unwrap();
    }
    // It leads view 3, and its clients wait.
    r3.hear_tc(0, &lab.empty_tc(2, &OTHERS));
    r3.step(Input::Bundle {
        bytes: vec![1; 8].into(),
        ops: 1,
    });
    r3.wait(10_000_000);
    assert!(!signed_something(&r3), "{:?}", r3.sent);
    assert_eq!(r3.replica.intake_bytes(), 0);
    let written = |record: &Record| matches!(record, Record::Vote(VoteRecord::Quarantined(Cause::Missing)));
    assert!(r3.records.iter().any(written), "a restart would know");
}

#[test]
fn a_restart_stays_quarantined() {
    let lab = Lab::new(4, 1);
    let first = wiped(&lab);
    let mut again = lab.come_back(3, &first.records, None, &without(""));
    assert_eq!(again.quarantined, [Cause::Missing]);
    again.hear_block(&lab.block(0, (0, genesis()), 0, Justify::None).1);
    assert!(!signed_something(&again));
}

/// A block of this view on genesis, certified by the others.
fn certified(lab: &Lab, view: View) -> ((Digest, trireme_core::message::SignedBlock), trireme_core::message::Qc) {
    let tc = lab.empty_tc(view - 1, &OTHERS);
    let block = lab.block(view, (0, genesis()), 0, Justify::Tc(Box::new(tc)));
    let qc = lab.qc(view, (1, block.0), &OTHERS);
    (block, qc)
}

/// W is one above the highest view that n-f members prove, and the way out a certificate of a view above W.
#[test]
fn the_way_out_is_a_certificate_of_a_view_above_w() {
    let lab = Lab::new(4, 1);
    let mut r3 = wiped(&lab);
    let entry = |view: View| Entry::Tc(Box::new(lab.empty_tc(view - 1, &OTHERS)));
    r3.hear(0, recollection(entry(4), &[])).unwrap();
    r3.hear(1, recollection(entry(5), &[])).unwrap();
    assert_eq!(waits(&r3), Some(Waits::Answers), "n-f answers, not f+1");
    r3.hear(2, recollection(Entry::Genesis, &[])).unwrap();
    assert_eq!(r3.replica.quarantine().unwrap().above, Some(6));
    r3.wait(1_000);
    assert_eq!(asked_to_leave(&r3), Some(5), "an idle cluster would keep it for ever");
    let (block, qc) = certified(&lab, 6);
    r3.hear_tc(0, &lab.empty_tc(5, &OTHERS));
    r3.hear_block(&block.1);
    r3.hear_qc(0, &qc);
    r3.wait(1_000);
    assert_eq!(
        waits(&r3),
        Some(Waits::Certificate),
        "view 6 is W itself: it may have voted in it"
    );
    assert_eq!(asked_to_leave(&r3), Some(6));
    let (block, qc) = certified(&lab, 8);
    r3.hear_tc(0, &lab.empty_tc(7, &OTHERS));
    r3.hear_qc(0, &qc);
    assert_eq!(waits(&r3), Some(Waits::Blocks));
    assert!(!signed_something(&r3));
    r3.hear_block(&block.1);
    r3.wait(10_000);
    let at = QcRef {
        view: 8,
        slot: 1,
        digest: block.0,
    };
    assert_eq!((waits(&r3), &r3.readmitted[..]), (None, &[at][..]));
    // It votes again, for what stands on that block only.
    let beside = lab.block(8, (0, genesis()), 1, Justify::Tc(Box::new(lab.empty_tc(7, &OTHERS))));
    r3.hear_block(&beside.1);
    assert!(!r3.voted_for(&beside.0), "another first block of that view");
    let above = lab.block(8, (1, block.0), 0, Justify::None);
    r3.hear_block(&above.1);
    assert!(r3.voted_for(&above.0));
}

/// A release that falls between the record of the way out and its durability must not quarantine the replica again
/// after a restart: what it writes stands behind that record.
#[test]
fn a_release_keeps_a_way_out_that_is_being_written() {
    let lab = Lab::new(4, 1);
    let mut r3 = wiped(&lab);
    for member in OTHERS {
        r3.hear(member, recollection(Entry::Genesis, &[])).unwrap();
    }
    let quarantined = r3.replica.standing_quarantine();
    assert!(matches!(quarantined, Some(Record::Vote(VoteRecord::Quarantined(_)))));
    let (block, qc) = certified(&lab, 8);
    r3.hear_tc(0, &lab.empty_tc(7, &OTHERS));
    r3.hear_qc(0, &qc);
    r3.flush();
    r3.disk = Disk::Stuck;
    r3.hear_block(&block.1);
    r3.wait(10_000);
    assert_eq!(waits(&r3), Some(Waits::Disk));
    let standing = r3.replica.standing_quarantine();
    assert!(matches!(standing, Some(Record::Vote(VoteRecord::Readmitted(_)))));
    r3.flush();
    assert_eq!(waits(&r3), None);
}

/// Bug 32: after a checkpoint, or any certificate, it is as if it had never voted.
#[test]
fn without_w_it_votes_twice_in_one_view() {
    let votes = |clause: &str| {
        let lab = Lab::new(4, 1);
        let mut r3 = lab.come_back(3, &[], Some(Cause::Missing), &without(clause));
        for member in OTHERS {
            r3.hear(member, recollection(Entry::Genesis, &[])).unwrap();
        }
        // What it voted for before it forgot was on another branch of view 0.
        let first = lab.block(0, (0, genesis()), 0, Justify::None);
        r3.hear_block(&first.1);
        r3.hear_qc(0, &lab.qc(0, (1, first.0), &OTHERS));
        r3.wait(10_000);
        let second = lab.block(0, (1, first.0), 0, Justify::None);
        r3.hear_block(&second.1);
        r3.voted_for(&second.0)
    };
    assert!(!votes(""));
    assert!(votes("quarantine_until_checkpoint"));
}

/// Whatever n-f members stored may have been acked here: it is stored again before the way out.
#[test]
fn stored_tips_are_fetched_first() {
    let lab = Lab::new(4, 1);
    let mut r3 = wiped(&lab);
    let (digest, batch) = lab.batch(1, 7, (0, Digest::ZERO));
    let tip = Tip {
        lane: 1,
        height: 7,
        digest,
    };
    for member in OTHERS {
        r3.hear(member, recollection(Entry::Genesis, &[tip])).unwrap();
    }
    let (block, qc) = certified(&lab, 2);
    r3.hear_tc(0, &lab.empty_tc(1, &OTHERS));
    r3.hear_block(&block.1);
    r3.hear_qc(0, &qc);
    r3.wait(100_000);
    assert_eq!(waits(&r3), Some(Waits::Batches));
    let asked = |actor: &Actor| {
        let wants = |m: &Message| matches!(m, Message::FetchBatches { digest: d, .. } if *d == digest);
        actor.sent.iter().filter(|outbound| wants(&outbound.message)).count()
    };
    assert!(asked(&r3) > 0);
    r3.hear(0, Message::Batch(batch)).unwrap();
    r3.wait(1_000_000);
    assert_eq!(waits(&r3), None);
    let record = r3
        .records
        .iter()
        .position(|r| matches!(r, Record::Batch(b) if b.head.header.height == 7));
    let way_out = r3
        .records
        .iter()
        .position(|r| matches!(r, Record::Vote(VoteRecord::Readmitted(_))));
    assert!(record.unwrap() < way_out.unwrap(), "stored before it leaves");
}

/// A tip that nobody holds is named by one faulty member at most: the answers of n-f others let it out.
#[test]
fn an_invented_tip_does_not_keep_it() {
    let mut params = Lab::new(5, 1);
    params.params.n = 5;
    let lab = params;
    let mut r4 = lab.come_back(4, &[], Some(Cause::Missing), &without(""));
    let invented = Tip {
        lane: 1,
        height: 7,
        digest: Digest([7; 32]),
    };
    r4.hear(3, recollection(Entry::Genesis, &[invented])).unwrap();
    for member in [0, 1, 2] {
        r4.hear(member, recollection(Entry::Genesis, &[])).unwrap();
    }
    let tc = lab.empty_tc(1, &[0, 1, 2, 3]);
    let block = lab.block(2, (0, genesis()), 0, Justify::Tc(Box::new(tc.clone())));
    let quorum: Vec<MemberId> = (0..4).collect();
    r4.hear_tc(0, &tc);
    r4.hear_block(&block.1);
    r4.hear_qc(0, &lab.qc(2, (1, block.0), &quorum));
    r4.wait(1_000_000);
    // n-f = 4: of the four that answered one names what does not exist.
    assert_eq!(waits(&r4), Some(Waits::Batches));
    // Once the chain has passed it, it does not matter.
    assert!(r4.readmitted.is_empty());
}

fn shown(vote: Option<SignedVote>, timeout: Option<Timeout>, lab: &Lab) -> Message {
    let timeout = timeout.map(|t| {
        let signature = lab
            .timeout(3, t.view, &lab.no_qc(), &t.accepted, Entry::Genesis)
            .signature;
        (t, signature)
    });
    let votes = vote.into_iter().collect();
    Message::Shown(Box::new(Shown {
        votes,
        timeout,
        ..Shown::nothing(3)
    }))
}

/// A replica that came back with a log that knows of a vote at slot 1 of view 0.
fn restarted(lab: &Lab) -> (Actor, (Slot, Digest)) {
    let block = lab.block(0, (0, genesis()), 0, Justify::None);
    let mut r3 = lab.replica(3, &without(""));
    r3.hear_block(&block.1);
    let at = (1, block.0);
    (lab.come_back(3, &r3.records, None, &without("")), at)
}

#[test]
fn an_older_log_is_found_out_by_an_own_signature_alone() {
    let lab = Lab::new(4, 1);
    let (mut r3, at) = restarted(&lab);
    r3.hear(0, shown(Some(lab.vote(3, 0, Some(at), None)), None, &lab))
        .unwrap();
    assert!(r3.quarantined.is_empty(), "it knows that vote");
    let newer = (2, Digest([2; 32]));
    let forged = lab.vote(2, 0, Some(newer), None);
    let refused = r3.hear(0, shown(Some(forged), None, &lab));
    assert_eq!(refused, Err(Reject::Signature), "a peer's word is no proof");
    assert!(r3.quarantined.is_empty());
    r3.hear(1, shown(Some(lab.vote(3, 0, Some(newer), None)), None, &lab))
        .unwrap();
    assert_eq!(r3.quarantined, [Cause::Shown(1)]);
    // Timeouts and locks prove it as well.
    let timeout = Timeout {
        view: 0,
        high_qc: lab.no_qc().at,
        accepted: Vec::new(),
    };
    let (mut r3, at) = restarted(&lab);
    r3.hear(0, shown(None, Some(timeout), &lab)).unwrap();
    assert_eq!(r3.quarantined, [Cause::Shown(0)]);
    let (mut r3, _) = restarted(&lab);
    r3.hear(0, shown(Some(lab.vote(3, 0, None, Some(at))), None, &lab))
        .unwrap();
    assert_eq!(r3.quarantined, [Cause::Shown(0)]);
}

/// Within a durable reservation headers are forgotten by right (R-RESERVE); above it they are not.
#[test]
fn a_header_above_the_reservation_proves_it_too() {
    let lab = Lab::new(4, 1);
    let reserve = Record::Vote(VoteRecord::Reserve(32));
    for (height, proves) in [(32, false), (33, true)] {
        let mut r3 = lab.come_back(3, std::slice::from_ref(&reserve), None, &without(""));
        let head = lab.batch(3, height, (0, Digest::ZERO)).1.head;
        let header = Some(head);
        r3.hear(
            0,
            Message::Shown(Box::new(Shown {
                header,
                ..Shown::nothing(3)
            })),
        )
        .unwrap();
        assert_eq!(!r3.quarantined.is_empty(), proves, "height {height}");
    }
}

/// After a restart nothing is signed before f+1 members have shown what they hold, one of them correct.
#[test]
fn a_restart_waits_for_proof() {
    let lab = Lab::new(4, 1);
    let (mut r3, at) = restarted(&lab);
    let next = lab.block(0, at, 0, Justify::None);
    r3.hear_block(&next.1);
    r3.hear(0, shown(None, None, &lab)).unwrap();
    assert!(!signed_something(&r3));
    r3.hear(1, shown(None, None, &lab)).unwrap();
    assert!(r3.voted_for(&next.0));
}

/// The owner of a lane that came back goes on above everything that it can have signed, and says so.
#[test]
fn a_lane_goes_on_above_its_base() {
    let lab = Lab::new(4, 1);
    let window = lab.params.lane_window_heights;
    let mut r0 = lab.replica(0, &without(""));
    let far = |height| lab.batch(3, height, (0, Digest::ZERO));
    let stored = |actor: &Actor, digest: &Digest| {
        let is = |r: &Record| matches!(r, Record::Batch(b) if b.head.header.digest(&domain()) == *digest);
        actor.records.iter().any(is)
    };
    let (digest, batch) = far(window + 1);
    r0.hear(3, Message::Batch(batch.clone())).unwrap();
    assert!(!stored(&r0, &digest), "beyond the window");
    let (block, qc) = certified(&lab, 2);
    let other = lab.qc(2, (1, Digest([1; 32])), &OTHERS);
    let lie = Readmission {
        qc: other,
        block: block.1.clone(),
    };
    let refused = r0.hear(3, Message::Readmitted(Box::new(lie)));
    assert_eq!(refused, Err(Reject::Inconsistent));
    r0.hear(3, Message::Readmitted(Box::new(Readmission { qc, block: block.1 })))
        .unwrap();
    r0.hear(3, Message::Batch(batch)).unwrap();
    assert!(stored(&r0, &digest));
    let (beyond, batch) = far(2 * window + 1);
    r0.hear(3, Message::Batch(batch)).unwrap();
    assert!(!stored(&r0, &beyond), "one window above the base");
}

/// A member may wish to leave a view; a faulty one does not get to depose leader after leader.
#[test]
fn wishes_are_granted_a_few_times() {
    let lab = Lab::new(4, 1);
    let mut r0 = lab.replica(0, &without(""));
    for view in 0..20 {
        r0.hear(3, Message::LeaveView(view)).unwrap();
        r0.hear_tc(1, &lab.empty_tc(view, &[1, 2, 3]));
    }
    let suspects = |actor: &Actor| {
        let granted = |m: &Message| matches!(m, Message::Suspect { standing: true, .. });
        actor.sent.iter().filter(|outbound| granted(&outbound.message)).count()
    };
    assert_eq!(suspects(&r0), 4, "f+3 at once");
    r0.wait(11_000_000);
    // Nothing of view 20 was committed: it is against that view by itself.
    let before = suspects(&r0);
    for view in 20..23 {
        r0.hear_tc(1, &lab.empty_tc(view, &[1, 2, 3]));
        r0.hear(3, Message::LeaveView(view + 1)).unwrap();
    }
    assert_eq!(suspects(&r0), before + 1, "and one more in ten seconds");
}
