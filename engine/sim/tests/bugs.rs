//! The bug bank: every pinned run of `bank.toml` is good as things are, and bad without its clause. If one is not found
//! any more, a shift in what seeds draw took it away (pin a new one, see the file), or the simulator lost its grip.

use trireme_sim::bank::{self, Canary};

#[test]
fn every_pinned_bug_is_found() {
    const { assert!(bank::AVAILABLE, "the suite has the switches") };
    let pins = bank::pins(bank::PINS).expect("a table of runs");
    let mut wrong = Vec::new();
    for (clause, pin) in &pins {
        if let Some(sound) = pin.breaks_in_force() {
            wrong.push(format!("{pin} breaks {sound} with every clause in force"));
        }
        if bank::replay(clause, pin).is_none() {
            wrong.push(format!("{clause} is not found by {pin}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(pins.len() >= 28, "the bank only grows: {pins:?}");
}

#[test]
fn canaries_take_turns_and_are_reported() {
    let first = Canary::turn(0).expect("the suite has the switches");
    let second = Canary::turn(1).expect("more than one bug is pinned");
    assert_ne!(first, second);
    assert!(!first.run().violations.is_empty(), "{first:?}");
}
