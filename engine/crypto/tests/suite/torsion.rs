//! R-SIG where rules without the factor 8 disagree with themselves: `R` with a component of small order, and encodings
//! that are not canonical, in every composition of small batches.

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::VerifyingKey as PlainKey;
use trireme_crypto::{Digest, Signed, invalid_in_batch, verify, verify_batch};

use crate::forge::{self, Entry, honest, small_order, small_order_not_canonical, torsioned, with_r, with_s_plus_order};

/// Checks every answer about a batch against what each entry says of itself.
fn check(batch: &[&Entry]) {
    let items: Vec<Signed<'_>> = batch.iter().map(|entry| entry.signed()).collect();
    let invalid: Vec<usize> = (0..batch.len()).filter(|i| !batch[*i].valid).collect();
    assert_eq!(verify_batch(&items), invalid.is_empty());
    assert_eq!(invalid_in_batch(&items), invalid);
    for entry in batch {
        assert_eq!(verify(entry.signed()), entry.valid);
    }
}

/// `special` at every place of batches of 1 to 8, among honest signatures of other keys and of its own key.
fn check_everywhere(special: &Entry, signer: u64) {
    let others: Vec<Entry> = (0..8).map(|i| honest(100 + i, i)).collect();
    let own: Vec<Entry> = (0..8).map(|i| honest(signer, 50 + i)).collect();
    for size in 1..=8 {
        for place in 0..size {
            for company in [&others, &own] {
                let mut batch: Vec<&Entry> = company[..size].iter().collect();
                batch[place] = special;
                check(&batch);
            }
        }
    }
}

#[test]
fn torsioned_r_is_valid_at_every_place() {
    for torsion in 0..8 {
        check_everywhere(&torsioned(1, torsion, torsion as usize), 1);
    }
}

/// The attack that R-SIG is about exists: the strict check of the library refuses what R-SIG accepts everywhere.
#[test]
fn torsioned_r_is_refused_without_the_factor() {
    for torsion in 0..8 {
        let entry = torsioned(1, torsion, torsion as usize);
        let key = PlainKey::from_bytes(&entry.key.public().0).unwrap();
        let signature = ed25519_dalek::Signature::from_bytes(&entry.signature.0);
        assert_eq!(key.verify_strict(&entry.message.0, &signature).is_ok(), torsion == 0);
    }
}

/// Without the factor, one signature is good in some company and bad alone and in other company: the bug that R-SIG
/// keeps out exists, and the bank's switch has it.
#[test]
fn without_the_factor_company_decides() {
    let bent = torsioned(1, 7, 3);
    let mut verdicts = [0, 0];
    for company in 0..200 {
        let other = honest(2, company);
        let items = [bent.signed(), other.signed()];
        assert!(verify_batch(&items) && invalid_in_batch(&items).is_empty());
        verdicts[trireme_crypto::bugs::invalid_without_cofactor(&items).len()] += 1;
    }
    assert_eq!(trireme_crypto::bugs::invalid_without_cofactor(&[bent.signed()]), [0]);
    // One in eight, give or take.
    assert!((8..=50).contains(&verdicts[0]), "{verdicts:?}");
}

/// All ways to put torsioned and plain signatures into batches of 8, with equal and with different components, which
/// cancel in some of them.
#[test]
fn torsioned_r_is_valid_in_every_mixture() {
    let plain: Vec<Entry> = (0..8).map(|i| honest(i % 3, i)).collect();
    for step in 0..8 {
        let bent: Vec<Entry> = (0..8).map(|i| torsioned(i % 3, i, 4 + step * i as usize)).collect();
        for mask in 0..256_u32 {
            let choose = |i: usize| if mask >> i & 1 == 1 { &bent[i] } else { &plain[i] };
            let batch: Vec<&Entry> = (0..8).map(choose).collect();
            let items: Vec<Signed<'_>> = batch.iter().map(|entry| entry.signed()).collect();
            assert!(verify_batch(&items), "step {step} mask {mask:08b}");
        }
    }
}

/// Every set of bad places in batches of 8 torsioned signatures is found exactly.
#[test]
fn bad_ones_among_torsioned_are_found() {
    let bent: Vec<Entry> = (0..8).map(|i| torsioned(i % 3, i, i as usize)).collect();
    let bad: Vec<Entry> = bent
        .iter()
        .map(|entry| Entry {
            message: Digest::ZERO,
            valid: false,
            ..entry.clone()
        })
        .collect();
    for mask in 0..256_u32 {
        let choose = |i: usize| if mask >> i & 1 == 1 { &bad[i] } else { &bent[i] };
        check(&(0..8).map(choose).collect::<Vec<_>>());
    }
}

/// `R` of small order only, in canonical and in other encodings. As in ZIP-215 they are valid if the equation holds.
#[test]
fn small_order_r_in_any_encoding_is_valid_at_every_place() {
    let canonical = small_order().map(|point| point.compress().0);
    for (number, r_bytes) in canonical.into_iter().chain(small_order_not_canonical()).enumerate() {
        check_everywhere(&with_r(2, number as u64, Scalar::ZERO, r_bytes), 2);
    }
}

/// The encodings in the test above are what they are called.
#[test]
fn other_encodings_decode_and_are_not_canonical() {
    for encoding in small_order_not_canonical().into_iter().map(CompressedEdwardsY) {
        let point = encoding.decompress().unwrap();
        assert!(point.is_small_order());
        assert_ne!(point.compress(), encoding);
    }
}

#[test]
fn s_out_of_range_is_refused_at_every_place() {
    check_everywhere(&with_s_plus_order(honest(3, 0)), 3);
    check_everywhere(&with_s_plus_order(torsioned(3, 0, 5)), 3);
    // S = L itself is zero modulo the order: the identity as R and a zero challenge are not needed to refuse it.
    let mut zero = honest(3, 1);
    zero.signature.0[32..].copy_from_slice(&forge::ORDER);
    zero.valid = false;
    check_everywhere(&zero, 3);
    let mut high = honest(3, 2);
    high.signature.0[63] |= 0x80;
    high.valid = false;
    check_everywhere(&high, 3);
}

#[test]
fn r_off_the_curve_is_refused_at_every_place() {
    let mut entry = honest(4, 0);
    let off_curve = |first: u8| [first; 32];
    let r = (2..)
        .map(off_curve)
        .find(|r| CompressedEdwardsY(*r).decompress().is_none())
        .unwrap();
    entry.signature.0[..32].copy_from_slice(&r);
    entry.valid = false;
    check_everywhere(&entry, 4);
}
