//! Registration of keys, signing, what is printed.

use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;
use trireme_crypto::{Digest, HexError, KeyError, PublicKey, SecretKey, Signature, VerifyingKey, context};

use crate::forge::{honest, message, secret, small_order, small_order_not_canonical};

fn register(bytes: [u8; 32]) -> Result<VerifyingKey, KeyError> {
    VerifyingKey::from_public(&PublicKey(bytes))
}

#[test]
fn honest_keys_are_registered() {
    for number in 0..32 {
        let public = secret(number).public();
        assert_eq!(VerifyingKey::from_public(&public).map(|key| key.public()), Ok(public));
    }
}

#[test]
fn small_order_keys_are_refused() {
    for point in small_order() {
        assert_eq!(register(point.compress().0), Err(KeyError::SmallOrder));
    }
}

#[test]
fn torsioned_keys_are_refused() {
    let honest = CompressedEdwardsY(secret(0).public().0).decompress().unwrap();
    for (number, torsion) in small_order().into_iter().enumerate() {
        let expected = if number == 0 { Ok(()) } else { Err(KeyError::Torsioned) };
        assert_eq!(register((honest + torsion).compress().0).map(drop), expected);
    }
}

#[test]
fn other_encodings_are_refused() {
    for encoding in small_order_not_canonical() {
        assert_eq!(register(encoding), Err(KeyError::NotCanonical));
    }
}

/// All 19 values of `y` that fit into 255 bits unreduced, with both signs.
#[test]
fn unreduced_keys_are_refused() {
    let mut not_canonical = 0;
    for (low, high) in (0xed..=0xff).flat_map(|low| [(low, 0x7f), (low, 0xff)]) {
        let mut encoding = [0xff; 32];
        (encoding[0], encoding[31]) = (low, high);
        match register(encoding) {
            Err(KeyError::NotCanonical) => not_canonical += 1,
            Err(KeyError::NotOnCurve) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(not_canonical >= 4, "some of them are points");
}

#[test]
fn every_kind_of_refusal_occurs() {
    let off_curve = (2..)
        .map(|byte: u8| [byte; 32])
        .find(|key| CompressedEdwardsY(*key).decompress().is_none());
    assert_eq!(register(off_curve.unwrap()), Err(KeyError::NotOnCurve));
}

/// The kept expanded key signs as RFC 8032 says, that is as the library does from the seed.
#[test]
fn signing_follows_the_standard() {
    for number in 0..16 {
        let (secret, message) = (secret(number), message(number));
        let plain = SigningKey::from_bytes(&secret.seed());
        assert_eq!(secret.public().0, plain.verifying_key().to_bytes());
        assert_eq!(secret.sign(&message).0, plain.sign(&message.0).to_bytes());
        assert_eq!(secret.clone().sign(&message), secret.sign(&message));
    }
}

#[test]
fn derived_keys_differ() {
    let secret = secret(0);
    let derived = context::ALL.iter().map(|context| secret.derive(context).public());
    let all: std::collections::BTreeSet<_> = derived.chain([secret.public()]).collect();
    assert_eq!(all.len(), context::ALL.len() + 1);
    assert_eq!(
        secret.derive(context::TLS).public(),
        secret.derive(context::TLS).public()
    );
}

#[test]
fn secrets_are_not_printed() {
    let secret = SecretKey::from_seed([0xab; 32]);
    let printed = format!("{secret:?} {secret:#?}");
    assert!(!printed.contains("abab"));
    assert!(!printed.contains("171"));
    assert!(printed.contains(&secret.public().to_string()));
}

#[test]
fn printed_forms() {
    let digest = Digest(std::array::from_fn(|i| i as u8 * 3));
    assert_eq!(digest.short(), "00030609");
    assert!(digest.to_string().starts_with("000306090c0f12") && digest.to_string().len() == 64);
    assert_eq!(format!("{digest:?}"), digest.to_string());
    assert_eq!(format!("{:?}", honest(0, 0).signature).len(), 18);
}

#[test]
fn bad_hex_is_refused() {
    assert_eq!("00".parse::<Digest>(), Err(HexError::Length));
    assert_eq!("0g".repeat(32).parse::<Digest>(), Err(HexError::Character));
    assert_eq!("é".repeat(32).parse::<PublicKey>(), Err(HexError::Character));
}

proptest! {
    #[test]
    fn hex_reads_what_it_writes(digest: [u8; 32], signature: [u8; 64]) {
        let (digest, key, signature) = (Digest(digest), PublicKey(digest), Signature(signature));
        prop_assert_eq!(digest.to_string().parse(), Ok(digest));
        prop_assert_eq!(key.to_string().to_uppercase().parse(), Ok(key));
        prop_assert_eq!(signature.to_string().parse(), Ok(signature));
    }

    /// No bytes make registration panic, and what it takes is canonical.
    #[test]
    fn registration_takes_any_bytes(bytes: [u8; 32]) {
        if let Ok(key) = register(bytes) {
            prop_assert_eq!(CompressedEdwardsY(bytes).decompress().unwrap().compress().0, key.public().0);
        }
    }
}
