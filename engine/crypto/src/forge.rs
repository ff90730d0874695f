//! Signatures that only the holder of a key makes who does not follow RFC 8032. R-SIG accepts them in every company;
//! a rule without the factor 8 disagrees with itself about them.

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::hazmat::ExpandedSecretKey;
use sha2::{Digest as _, Sha512};

use crate::bytes::{Digest, Signature};
use crate::context;
use crate::digest::hash_parts;
use crate::keys::SecretKey;

/// A signature of `message` whose `R` has the component number `torsion` (modulo 8; 0: none) of small order.
pub fn torsioned(secret: &SecretKey, message: &Digest, torsion: u8) -> Signature {
    let seed = secret.seed();
    let r = Scalar::from_bytes_mod_order(hash_parts(context::SEED, &[b"torsion ", &seed, &message.0]).0);
    let commitment = ED25519_BASEPOINT_POINT * r + EIGHT_TORSION[usize::from(torsion % 8)];
    let r_bytes = commitment.compress().0;
    let challenge = Sha512::new()
        .chain_update(r_bytes)
        .chain_update(secret.public().0)
        .chain_update(message.0);
    let k = Scalar::from_bytes_mod_order_wide(&challenge.finalize().into());
    let s = r + k * ExpandedSecretKey::from(&seed).scalar;
    let mut signature = Signature([0; 64]);
    signature.0[..32].copy_from_slice(&r_bytes);
    signature.0[32..].copy_from_slice(&s.to_bytes());
    signature
}
