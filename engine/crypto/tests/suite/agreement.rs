//! Single check, batch and search agree, whatever is in a batch and however large it is.

use curve25519_dalek::scalar::Scalar;
use proptest::prelude::*;
use trireme_crypto::{Digest, MAX_EQUATION, Signed, invalid_in_batch, verify, verify_batch};

use crate::forge::{Entry, honest, message, torsioned, with_s_plus_order};

/// What is done to a signature.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Honest,
    Torsioned(usize),
    OtherMessage,
    OtherKey,
    FlippedBit(usize),
    LargeS,
}

fn make(signer: u64, number: u64, kind: Kind) -> Entry {
    let mut entry = honest(signer, number);
    match kind {
        Kind::Honest => {}
        Kind::Torsioned(torsion) => entry = torsioned(signer, number, torsion),
        Kind::OtherMessage => (entry.message, entry.valid) = (message(number + 1_000_000), false),
        Kind::OtherKey => (entry.key, entry.valid) = (honest(signer + 1, 0).key, false),
        Kind::FlippedBit(bit) => {
            entry.signature.0[bit / 8] ^= 1 << (bit % 8);
            entry.valid = false;
        }
        Kind::LargeS => entry = with_s_plus_order(entry),
    }
    entry
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        6 => Just(Kind::Honest),
        3 => (0..8_usize).prop_map(Kind::Torsioned),
        1 => Just(Kind::OtherMessage),
        1 => Just(Kind::OtherKey),
        1 => (0..512_usize).prop_map(Kind::FlippedBit),
        1 => Just(Kind::LargeS),
    ]
}

fn batch(sizes: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec((0..4_u64, 0..1000_u64, kind()), sizes).prop_map(|parts| {
        parts
            .into_iter()
            .map(|(signer, number, kind)| make(signer, number, kind))
            .collect()
    })
}

fn check(entries: &[Entry]) {
    let items: Vec<Signed<'_>> = entries.iter().map(Entry::signed).collect();
    let invalid: Vec<usize> = (0..items.len()).filter(|i| !entries[*i].valid).collect();
    let alone: Vec<usize> = (0..items.len()).filter(|i| !verify(items[*i])).collect();
    assert_eq!(alone, invalid);
    assert_eq!(verify_batch(&items), invalid.is_empty());
    assert_eq!(invalid_in_batch(&items), invalid);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn single_and_batch_agree(entries in batch(0..24)) {
        check(&entries);
        let valid: Vec<Entry> = entries.into_iter().filter(|entry| entry.valid).collect();
        check(&valid);
    }

    #[test]
    fn order_does_not_matter(entries in batch(2..12), turn in 1..11_usize) {
        let mut turned = entries.clone();
        turned.rotate_left(turn % entries.len());
        check(&entries);
        check(&turned);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// From 190 points on the library multiplies by another algorithm.
    #[test]
    fn single_and_batch_agree_when_large(entries in batch(170..400)) {
        check(&entries);
        let valid: Vec<Entry> = entries.into_iter().filter(|entry| entry.valid).collect();
        check(&valid);
    }
}

/// Lists longer than one equation are cut, and the places of the bad ones still count from the list's start.
#[test]
fn long_lists_are_cut() {
    let entry = honest(0, 0);
    let bad = make(0, 0, Kind::OtherMessage);
    let mut items = vec![entry.signed(); MAX_EQUATION + 10];
    assert!(verify_batch(&items));
    let places = [0, MAX_EQUATION - 1, MAX_EQUATION, MAX_EQUATION + 9];
    places.iter().for_each(|place| items[*place] = bad.signed());
    assert!(!verify_batch(&items));
    assert!(!verify_batch(&items[MAX_EQUATION - 1..]));
    assert_eq!(invalid_in_batch(&items), places);
}

/// Two errors that cancel in a plain sum do not cancel under the coefficients, with one key and with two.
#[test]
fn errors_do_not_cancel() {
    for second_signer in [0, 1] {
        let mut entries: Vec<Entry> = (0..6)
            .map(|i| honest(if i < 3 { 0 } else { second_signer }, i))
            .collect();
        for (place, error) in [(1, Scalar::ONE), (4, -Scalar::ONE)] {
            let s_bytes = &mut entries[place].signature.0[32..];
            let s = Scalar::from_bytes_mod_order((&*s_bytes).try_into().unwrap());
            s_bytes.copy_from_slice(&(s + error).to_bytes());
            entries[place].valid = false;
        }
        check(&entries);
    }
}

/// One invalid signature that stands in a batch many times, where it might cancel itself.
#[test]
fn repeated_signatures_are_judged_each() {
    for count in 1..=9 {
        check(&vec![make(0, 0, Kind::OtherMessage); count]);
        check(&vec![make(0, 0, Kind::Torsioned(4)); count]);
    }
}

#[test]
fn no_signatures_are_valid() {
    check(&[]);
}

/// A signature of one message is none of another that differs in a bit.
#[test]
fn every_bit_of_the_message_counts() {
    let entry = honest(0, 0);
    for bit in 0..256 {
        let mut message: Digest = entry.message;
        message.0[bit / 8] ^= 1 << (bit % 8);
        assert!(!verify(Signed {
            message: &message,
            ..entry.signed()
        }));
    }
}
