//! Signatures as only the holder of a key who does not follow RFC 8032 can make them.

use curve25519_dalek::EdwardsPoint;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use ed25519_dalek::hazmat::ExpandedSecretKey;
use sha2::{Digest as _, Sha512};
use trireme_crypto::{Digest, SecretKey, Signature, Signed, VerifyingKey, context, hash};

/// The order of the base point, little-endian: `2^252 + 27742317777372353535851937790883648493`.
pub(crate) const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// A signature with its key and digest, and whether R-SIG accepts it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: VerifyingKey,
    pub(crate) message: Digest,
    pub(crate) signature: Signature,
    pub(crate) valid: bool,
}

impl Entry {
    pub(crate) fn signed(&self) -> Signed<'_> {
        Signed {
            key: &self.key,
            message: &self.message,
            signature: &self.signature,
        }
    }
}

pub(crate) fn secret(number: u64) -> SecretKey {
    SecretKey::from_seed(hash(context::SEED, &number.to_le_bytes()).0)
}

pub(crate) fn message(number: u64) -> Digest {
    hash(context::REQUEST, &number.to_le_bytes())
}

/// An honest signature of key number `signer` over message `number`.
pub(crate) fn honest(signer: u64, number: u64) -> Entry {
    let (secret, message) = (secret(signer), message(number));
    Entry {
        key: secret.verifying_key(),
        signature: secret.sign(&message),
        message,
        valid: true,
    }
}

/// A signature whose `R` is `commitment`, its encoding `r_bytes`, and `S` what makes the rule hold: `r + k*a`, where
/// `commitment` is `r*B` plus what the factor 8 removes.
pub(crate) fn with_r(signer: u64, number: u64, r: Scalar, r_bytes: [u8; 32]) -> Entry {
    let (secret, message) = (secret(signer), message(number));
    let challenge = Sha512::new()
        .chain_update(r_bytes)
        .chain_update(secret.public().0)
        .chain_update(message.0);
    let k = Scalar::from_bytes_mod_order_wide(&challenge.finalize().into());
    let a = ExpandedSecretKey::from(&secret.seed()).scalar;
    let mut signature = Signature([0; 64]);
    signature.0[..32].copy_from_slice(&r_bytes);
    signature.0[32..].copy_from_slice(&(r + k * a).to_bytes());
    Entry {
        key: secret.verifying_key(),
        message,
        signature,
        valid: true,
    }
}

/// A valid signature whose `R` has the component number `torsion` of small order.
pub(crate) fn torsioned(signer: u64, number: u64, torsion: usize) -> Entry {
    let (secret, message) = (secret(signer), message(number));
    let component = u8::try_from(torsion % 8).unwrap();
    Entry {
        key: secret.verifying_key(),
        signature: trireme_crypto::forge::torsioned(&secret, &message, component),
        message,
        valid: true,
    }
}

/// The signature with `S + L` in place of `S`: equal modulo the order, but not canonical.
pub(crate) fn with_s_plus_order(mut entry: Entry) -> Entry {
    let mut carry = 0;
    for (byte, order) in entry.signature.0[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    entry.valid = false;
    entry
}

/// The 8 points of small order: multiples of one of order 8.
pub(crate) fn small_order() -> [EdwardsPoint; 8] {
    let encoding = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
        .parse::<Digest>()
        .unwrap();
    let generator = CompressedEdwardsY(encoding.0).decompress().unwrap();
    let points = std::array::from_fn(|i| generator * Scalar::from(i as u64));
    assert!(
        points[1..].iter().all(|point: &EdwardsPoint| !point.is_identity()),
        "the point has order 8"
    );
    points
}

/// Encodings of points of small order that are not canonical: `y` of 0 or 1 given as `p` or `p + 1`, and zero with a
/// sign. ZIP-215 lists the same.
pub(crate) fn small_order_not_canonical() -> Vec<[u8; 32]> {
    let mut p = [0xff; 32];
    (p[0], p[31]) = (0xed, 0x7f);
    let negative = |mut encoding: [u8; 32]| {
        encoding[31] |= 0x80;
        encoding
    };
    let mut p_plus_1 = p;
    p_plus_1[0] += 1;
    let mut minus_1 = p;
    minus_1[0] -= 1;
    let mut one = [0; 32];
    one[0] = 1;
    vec![
        p,
        negative(p),
        p_plus_1,
        negative(p_plus_1),
        negative(one),
        negative(minus_1),
    ]
}
