//! Secret keys, and public keys checked at registration.

use core::fmt;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::traits::IsIdentity;
use ed25519_dalek::SigningKey;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use sha2::Sha512;

use crate::bytes::{Digest, PublicKey, Signature};

/// An Ed25519 secret key. It is wiped from memory when dropped and never printed.
pub struct SecretKey {
    signing: SigningKey,
    // Expanding the seed costs a SHA-512; kept, it is paid once a key and not once a signature.
    expanded: ExpandedSecretKey,
}

impl SecretKey {
    /// The key of a 32-byte seed. The seed comes from the operating system's random source, or is fixed in tests.
    pub fn from_seed(seed: [u8; 32]) -> SecretKey {
        SecretKey {
            signing: SigningKey::from_bytes(&seed),
            expanded: ExpandedSecretKey::from(&seed),
        }
    }

    /// The seed, to be written to a key file. Whoever holds it is the replica.
    pub fn seed(&self) -> [u8; 32] {
        self.signing.to_bytes()
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.signing.verifying_key().to_bytes())
    }

    /// The public half in the form that checks signatures.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::from_public(&self.public()).expect("a key made from a seed is canonical and of prime order")
    }

    /// Signs a digest, which is to come from [`Domain::statement`](crate::Domain::statement). Deterministic (RFC 8032).
    pub fn sign(&self, digest: &Digest) -> Signature {
        Signature(raw_sign::<Sha512>(&self.expanded, &digest.0, &self.signing.verifying_key()).to_bytes())
    }

    /// Another key, derived from this one under `context`, that tells nothing about it.
    ///
    /// TLS uses such a key: what a handshake signs can then never be a vote.
    pub fn derive(&self, context: &'static str) -> SecretKey {
        SecretKey::from_seed(crate::digest::hash(context, self.signing.as_bytes()).0)
    }
}

impl Clone for SecretKey {
    fn clone(&self) -> SecretKey {
        SecretKey::from_seed(self.seed())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

/// Why a public key is refused at registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyError {
    /// The bytes name a point of the curve, but not in its one canonical encoding.
    NotCanonical,
    /// No point of the curve has this encoding.
    NotOnCurve,
    /// The point's order divides 8: everybody can sign for it.
    SmallOrder,
    /// The point has a component of small order beside its component of prime order.
    Torsioned,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyError::NotCanonical => "public key not in canonical encoding",
            KeyError::NotOnCurve => "public key not on the curve",
            KeyError::SmallOrder => "public key of small order",
            KeyError::Torsioned => "public key with a component of small order",
        })
    }
}

impl core::error::Error for KeyError {}

/// A checked public key with its decompressed point: 192 bytes, made once a member or client, and cached.
#[derive(Clone, Copy)]
pub struct VerifyingKey {
    public: PublicKey,
    /// `-A`: the form in which the equations take it.
    minus_a: EdwardsPoint,
}

impl VerifyingKey {
    /// Checks a public key and decompresses it. Costs some 25 us, most of it for the check of the order.
    ///
    /// # Errors
    ///
    /// [`KeyError`]; the kinds are tested in the order `NotOnCurve`, `NotCanonical`, `SmallOrder`, `Torsioned`.
    pub fn from_public(public: &PublicKey) -> Result<VerifyingKey, KeyError> {
        let encoding = CompressedEdwardsY(public.0);
        let point = encoding.decompress().ok_or(KeyError::NotOnCurve)?;
        if point.compress() != encoding {
            return Err(KeyError::NotCanonical);
        }
        if point.mul_by_cofactor().is_identity() {
            return Err(KeyError::SmallOrder);
        }
        if !point.is_torsion_free() {
            return Err(KeyError::Torsioned);
        }
        Ok(VerifyingKey {
            public: *public,
            minus_a: -point,
        })
    }

    /// The key's bytes.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn minus_a(&self) -> &EdwardsPoint {
        &self.minus_a
    }

    /// A key without the checks, to put the signature rule itself before published vectors with weak keys.
    #[cfg(test)]
    pub(crate) fn unchecked(public: &PublicKey) -> Option<VerifyingKey> {
        let point = CompressedEdwardsY(public.0).decompress()?;
        Some(VerifyingKey {
            public: *public,
            minus_a: -point,
        })
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &VerifyingKey) -> bool {
        self.public == other.public
    }
}

impl Eq for VerifyingKey {}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.public)
    }
}
