//! The signature rule (R-SIG) for one signature. The batch equation is a sum of the terms given here.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use sha2::{Digest as _, Sha512};

use crate::bytes::{Digest, Signature};
use crate::keys::VerifyingKey;

/// A signature, with the digest that it should cover and the key that should have made it.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The alleged signer, checked at registration.
    pub key: &'a VerifyingKey,
    /// The digest of the statement (R-STATEMENT).
    pub message: &'a Digest,
    /// The signature.
    pub signature: &'a Signature,
}

/// Whether the signature is valid: the one rule, R-SIG. See the crate's page for its text.
pub fn verify(item: Signed<'_>) -> bool {
    Terms::of(&item).is_some_and(|terms| terms.hold(item.key.minus_a()))
}

/// A signature taken apart. It is valid if `8 * (S*B - R - k*A) = 0`.
pub(crate) struct Terms {
    pub(crate) s: Scalar,
    pub(crate) k: Scalar,
    pub(crate) r: EdwardsPoint,
}

impl Terms {
    /// The terms of a signature; nothing if `S` is not canonical or `R` is no point.
    pub(crate) fn of(item: &Signed<'_>) -> Option<Terms> {
        let (r_bytes, s_bytes) = (item.signature.r(), item.signature.s());
        let s = Option::from(Scalar::from_canonical_bytes(s_bytes))?;
        let r = CompressedEdwardsY(r_bytes).decompress()?;
        // The challenge covers R and A as sent: hashing a reduced form would make two signatures out of one.
        let challenge = Sha512::new()
            .chain_update(r_bytes)
            .chain_update(item.key.public().0)
            .chain_update(item.message.0);
        let k = Scalar::from_bytes_mod_order_wide(&challenge.finalize().into());
        Some(Terms { s, k, r })
    }

    /// Whether `8 * (S*B - R - k*A) = 0`, given `-A`.
    pub(crate) fn hold(&self, minus_a: &EdwardsPoint) -> bool {
        let expected_r = EdwardsPoint::vartime_double_scalar_mul_basepoint(&self.k, minus_a, &self.s);
        (expected_r - self.r).mul_by_cofactor().is_identity()
    }
}
