//! Signing of bundles. AWS-LC signs in some 6 us where the portable code takes 13; Ed25519 is deterministic, so both
//! give the same bytes.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use trireme_crypto::{Digest, SecretKey, Signature};

/// One identity's way to sign.
pub(crate) enum Signer {
    /// With its key.
    Ed25519(Ed25519KeyPair),
    /// The cluster checks no signatures (measurements only): zeros.
    Unsigned,
}

impl Signer {
    pub(crate) fn new(key: &SecretKey) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&key.seed()).expect("any 32 bytes are a seed");
        assert_eq!(pair.public_key().as_ref(), key.public().0, "one seed, one key");
        Self::Ed25519(pair)
    }

    pub(crate) fn sign(&self, statement: &Digest) -> Signature {
        match self {
            Self::Ed25519(pair) => {
                let signature = pair.sign(&statement.0);
                Signature(
                    signature
                        .as_ref()
                        .try_into()
                        .expect("an Ed25519 signature has 64 bytes"),
                )
            }
            Self::Unsigned => Signature([0; 64]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_crypto::{Signed, verify};

    #[test]
    fn both_implementations_give_the_same_signature() {
        for seed in 0..20 {
            let key = SecretKey::from_seed([seed; 32]);
            let statement = Digest([seed ^ 0x5a; 32]);
            let signature = Signer::new(&key).sign(&statement);
            assert_eq!(signature, key.sign(&statement));
            assert!(verify(Signed {
                key: &key.verifying_key(),
                message: &statement,
                signature: &signature
            }));
        }
    }
}
