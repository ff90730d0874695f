//! The 12 edge cases of ed25519-speccheck (Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs", SSR 2020, table
//! 5), put before the rule itself and before registration.
//!
//! They live in the crate, not beside it, because 10 of them have keys that registration refuses: only a test may ask
//! the rule about those.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::traits::IsIdentity;

use crate::{
    Digest, KeyError, PublicKey, SecretKey, Signature, Signed, VerifyingKey, invalid_in_batch, verify, verify_batch,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Small,
    Mixed,
    Prime,
}

struct Case {
    key: &'static str,
    message: &'static str,
    r: &'static str,
    s: &'static str,
    /// The class that the paper states: order of `A`, order of `R`. It guards against errors of copying.
    orders: (Order, Order),
    /// Whether R-SIG accepts.
    valid: bool,
    /// What registration says about the key.
    registration: Result<(), KeyError>,
}

const SMALL: Result<(), KeyError> = Err(KeyError::SmallOrder);
const TORSIONED: Result<(), KeyError> = Err(KeyError::Torsioned);
const NOT_CANONICAL: Result<(), KeyError> = Err(KeyError::NotCanonical);

/// S of 8 and 9 differ in whether the challenge was taken over `R` reduced (8) or as sent (9); 10 and 11 likewise for
/// `A`. R-SIG hashes as sent, so it refuses 8; in 10 the factor 8 removes `k*A` whatever `k` is.
const CASES: [Case; 12] = [
    Case {
        key: "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        message: "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
        r: "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        s: "0000000000000000000000000000000000000000000000000000000000000000",
        orders: (Order::Small, Order::Small),
        valid: true,
        registration: SMALL,
    },
    Case {
        key: "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        message: "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        r: "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        s: "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        orders: (Order::Small, Order::Mixed),
        valid: true,
        registration: SMALL,
    },
    Case {
        key: "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        message: "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
        r: "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        s: "8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
        orders: (Order::Mixed, Order::Small),
        valid: true,
        registration: TORSIONED,
    },
    Case {
        key: "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        message: "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        r: "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f",
        s: "87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
        orders: (Order::Mixed, Order::Mixed),
        valid: true,
        registration: TORSIONED,
    },
    Case {
        key: "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        message: "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        r: "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512",
        s: "5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
        orders: (Order::Mixed, Order::Mixed),
        valid: true,
        registration: TORSIONED,
    },
    Case {
        key: "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        message: "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        r: "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7",
        s: "e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405",
        orders: (Order::Mixed, Order::Prime),
        valid: true,
        registration: TORSIONED,
    },
    Case {
        key: "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        message: "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        r: "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e",
        s: "547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
        orders: (Order::Prime, Order::Prime),
        valid: false,
        registration: Ok(()),
    },
    Case {
        key: "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        message: "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        r: "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa1942",
        s: "7e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22",
        orders: (Order::Prime, Order::Prime),
        valid: false,
        registration: Ok(()),
    },
    Case {
        key: "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        message: "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
        r: "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        s: "03be9678ac102edcd92b0210bb34d7428d12ffc5df5f37e359941266a4e35f0f",
        orders: (Order::Mixed, Order::Small),
        valid: false,
        registration: TORSIONED,
    },
    Case {
        key: "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        message: "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
        r: "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        s: "ca8c5b64cd208982aa38d4936621a4775aa233aa0505711d8fdcfdaa943d4908",
        orders: (Order::Mixed, Order::Small),
        valid: true,
        registration: TORSIONED,
    },
    Case {
        key: "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        message: "e96b7021eb39c1a163b6da4e3093dcd3f21387da4cc4572be588fafae23c155b",
        r: "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dc",
        s: "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        orders: (Order::Small, Order::Mixed),
        valid: true,
        registration: NOT_CANONICAL,
    },
    Case {
        key: "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        message: "39a591f5321bbe07fd5a23dc2f39d025d74526615746727ceefd6e82ae65c06f",
        r: "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dc",
        s: "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        orders: (Order::Small, Order::Mixed),
        valid: true,
        registration: NOT_CANONICAL,
    },
];

/// A case in bytes, or an honest signature.
struct Entry {
    key: VerifyingKey,
    message: Digest,
    signature: Signature,
    valid: bool,
}

impl Entry {
    fn signed(&self) -> Signed<'_> {
        Signed {
            key: &self.key,
            message: &self.message,
            signature: &self.signature,
        }
    }
}

fn entry(case: &Case) -> Entry {
    let signature = alloc::format!("{}{}", case.r, case.s).parse().unwrap();
    let key = VerifyingKey::unchecked(&case.key.parse().unwrap()).unwrap();
    Entry {
        key,
        message: case.message.parse().unwrap(),
        signature,
        valid: case.valid,
    }
}

fn honest(number: u8) -> Entry {
    let secret = SecretKey::from_seed([number; 32]);
    let message = Digest([number ^ 0x55; 32]);
    Entry {
        key: secret.verifying_key(),
        signature: secret.sign(&message),
        message,
        valid: true,
    }
}

fn order(encoding: &str) -> Order {
    let bytes: PublicKey = encoding.parse().unwrap();
    let point: EdwardsPoint = CompressedEdwardsY(bytes.0).decompress().unwrap();
    match (point.mul_by_cofactor().is_identity(), point.is_torsion_free()) {
        (true, _) => Order::Small,
        (false, true) => Order::Prime,
        (false, false) => Order::Mixed,
    }
}

/// Checks every answer about a batch against what each entry says of itself.
fn check_batch(batch: &[&Entry]) {
    let items: Vec<_> = batch.iter().map(|entry| entry.signed()).collect();
    let invalid: Vec<_> = (0..batch.len()).filter(|i| !batch[*i].valid).collect();
    assert_eq!(verify_batch(&items), invalid.is_empty());
    assert_eq!(invalid_in_batch(&items), invalid);
}

#[test]
fn cases_are_of_their_class() {
    for (number, case) in CASES.iter().enumerate() {
        assert_eq!((order(case.key), order(case.r)), case.orders, "case {number}");
    }
}

#[test]
fn the_rule_gives_the_expected_row() {
    for (number, case) in CASES.iter().enumerate() {
        assert_eq!(verify(entry(case).signed()), case.valid, "case {number}");
    }
}

#[test]
fn registration_refuses_the_keys() {
    for (number, case) in CASES.iter().enumerate() {
        let key = VerifyingKey::from_public(&case.key.parse().unwrap());
        assert_eq!(key.map(drop), case.registration, "case {number}");
    }
}

#[test]
fn every_subset_of_the_cases_gives_the_rules_answer() {
    let entries: Vec<_> = CASES.iter().map(entry).collect();
    for subset in 0..1_u32 << entries.len() {
        let batch: Vec<_> = (0..entries.len())
            .filter(|i| subset >> i & 1 == 1)
            .map(|i| &entries[i])
            .collect();
        check_batch(&batch);
    }
}

#[test]
fn every_case_at_every_place_among_honest_signatures() {
    const SIZES: RangeInclusive<usize> = 1..=8;
    let honest: Vec<_> = (0..8).map(honest).collect();
    for case in CASES.iter().map(entry) {
        for (size, place) in SIZES.flat_map(|size| (0..size).map(move |place| (size, place))) {
            let mut batch: Vec<_> = honest[..size].iter().collect();
            batch[place] = &case;
            check_batch(&batch);
        }
    }
}
