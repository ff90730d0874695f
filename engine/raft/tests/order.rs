//! The order is one and the same everywhere, and nothing that was executed anywhere is lost, whatever crashes.

mod lab;

use bytes::Bytes;
use lab::Lab;

fn body(number: u64) -> Bytes {
    // What a lane carries is opaque here: a length and a number.
    let mut bytes = vec![0u8; 40];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes.into()
}

fn settle(lab: &mut Lab) {
    for member in 0..3 {
        if !lab.is_up(member) {
            lab.start(member);
        }
    }
    lab.connect_all();
    for _ in 0..40 {
        lab.run(200_000);
        if lab.agrees() {
            return;
        }
    }
    let executed = [0, 1, 2].map(|member| lab.replica(member).status());
    panic!("no agreement: {executed:#?}");
}

#[test]
fn what_clients_of_every_replica_send_is_executed_everywhere() {
    let mut lab = Lab::new(3, 1);
    lab.run(100_000);
    for number in 0..300 {
        assert!(lab.submit(u16::try_from(number % 3).unwrap(), body(number)));
        let pause = lab.dice.below(2_000);
        lab.run(pause);
    }
    settle(&mut lab);
    assert_eq!(lab.executed.len(), lab.executed_by(2).len());
    let status = lab.replica(1).status();
    assert_eq!(status.counters.ops_ordered, 300, "nothing is lost and nothing is twice");
    assert_eq!(status.counters.signatures_verified, 0);
    assert!(status.certified_state.is_some(), "idle members tell their roots");
}

#[test]
fn one_replica_alone_orders_too() {
    let mut lab = Lab::new(1, 1);
    lab.run(100_000);
    for number in 0..100 {
        assert!(lab.submit(0, body(number)));
        lab.run(500);
    }
    lab.run(100_000);
    assert_eq!(lab.replica(0).status().counters.ops_ordered, 100);
}

#[test]
fn a_leader_that_crashes_is_replaced_and_comes_back() {
    for seed in 1..20 {
        let mut lab = Lab::new(3, seed);
        lab.run(100_000);
        for number in 0..60 {
            lab.submit(u16::try_from(number % 3).unwrap(), body(number));
            lab.run(700);
        }
        let old = lab.leader();
        lab.crash(old);
        lab.run(2_000_000);
        assert_ne!(lab.leader(), old, "seed {seed}");
        let before = lab.executed.len();
        let mut sent = Vec::new();
        for number in 60..120 {
            let member = (old + 1 + u16::try_from(number % 2).unwrap()) % 3;
            assert!(lab.submit(member, body(number)));
            sent.push(number);
            lab.run(700);
        }
        lab.run(500_000);
        assert!(lab.executed.len() > before, "seed {seed}: two of three go on");
        settle(&mut lab);
        let fetches = lab.replica(old).status().fetches;
        assert!(fetches < 40, "seed {seed}: {fetches} requests for two chains");
        let all: Vec<u8> = lab
            .executed_by(old)
            .into_iter()
            .flat_map(|body| body.to_vec())
            .collect();
        for number in sent {
            let needle = number.to_le_bytes();
            assert!(all.windows(8).any(|w| w == needle), "seed {seed}: {number} is lost");
        }
    }
}

#[test]
fn crashes_and_cuts_at_random_keep_one_order() {
    for seed in 1..25 {
        let mut lab = Lab::new(3, seed);
        let mut number = 0;
        for _ in 0..150 {
            for _ in 0..lab.dice.below(6) {
                let member = u16::try_from(lab.dice.below(3)).unwrap();
                number += u64::from(lab.submit(member, body(number)));
                let pause = lab.dice.below(3_000);
                lab.run(pause);
            }
            let (a, b) = (lab.dice.below(3), lab.dice.below(3));
            let (a, b) = (u16::try_from(a).unwrap(), u16::try_from(b).unwrap());
            match lab.dice.below(8) {
                0 if lab.is_up(a) => lab.crash(a),
                1 if lab.is_up(a) => lab.crash(lab.leader()),
                2 => lab.disconnect(a, b),
                3 if !lab.is_up(a) => lab.start(a),
                4 => {
                    for member in 0..3 {
                        if !lab.is_up(member) {
                            lab.start(member);
                        }
                    }
                    lab.connect_all();
                }
                _ => lab.connect(a, b),
            }
            let pause = lab.dice.below(120_000);
            lab.run(pause);
            if (0..3).all(|member| !lab.is_up(member)) {
                lab.start(0);
            }
        }
        settle(&mut lab);
        assert!(
            lab.executed.len() > 20,
            "seed {seed}: {} of {number}",
            lab.executed.len()
        );
    }
}

#[test]
fn a_replica_that_was_away_for_long_fetches_an_image_and_the_log_stays_short() {
    let mut lab = Lab::new(3, 5);
    lab.run(100_000);
    let away = (lab.leader() + 1) % 3;
    let others = [lab.leader(), (away + 1) % 3];
    lab.crash(away);
    for number in 0..600 {
        assert!(lab.submit(others[usize::try_from(number % 2).unwrap()], body(number)));
        lab.run(2_500);
    }
    assert!(lab.releases > 4, "checkpoints release what came before");
    assert!(
        lab.log_records(others[0]) < 900,
        "{} records",
        lab.log_records(others[0])
    );
    settle(&mut lab);
    assert_eq!(lab.installs(), 1);
    assert_eq!(lab.executed_by(away).len(), lab.executed.len());
    // It restarts from that image.
    lab.crash(away);
    lab.run(100_000);
    settle(&mut lab);
}
