//! Keys: an Ed25519 key of its own for TLS, so that a handshake transcript can never be a vote.

use aws_lc_rs::hmac;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{CertifiedKey, SigningKey};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// DER of a PKCS #8 Ed25519 private key up to the seed (RFC 8410).
const PKCS8_HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// DER of an Ed25519 SubjectPublicKeyInfo up to the key (RFC 8410): the only form of certificate that is accepted.
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The own TLS key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tls key: {0}")]
pub struct IdentityError(pub(crate) String);

/// The Ed25519 key that this side proves in each handshake.
#[derive(Clone)]
pub struct Identity {
    signing: Arc<dyn SigningKey>,
    public: [u8; 32],
    /// Keyed to the identity, so that a restarted process can reset the connections of its former self.
    reset: hmac::Key,
}

impl Identity {
    /// The identity of a 32-byte Ed25519 seed.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, IdentityError> {
        let mut der = PKCS8_HEAD.to_vec();
        der.extend_from_slice(seed);
        let der = PrivatePkcs8KeyDer::from(der);
        let signing =
            rustls::crypto::aws_lc_rs::sign::any_eddsa_type(&der).map_err(|error| IdentityError(error.to_string()))?;
        let spki = signing
            .public_key()
            .ok_or_else(|| IdentityError("no public key".to_owned()))?;
        let public = key_of_spki(&spki).ok_or_else(|| IdentityError("not Ed25519".to_owned()))?;
        let reset = hmac::Key::new(hmac::HMAC_SHA256, seed);
        Ok(Self { signing, public, reset })
    }

    /// The public key that others pin.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// A secret that stays the same over restarts, for QUIC's stateless resets. `label` says what for.
    pub(crate) fn reset_secret(&self, label: &str) -> [u8; 32] {
        let tag = hmac::sign(&self.reset, format!("trireme reset v1 {label}").as_bytes());
        let mut secret = [0; 32];
        secret.copy_from_slice(tag.as_ref());
        secret
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        let spki = spki_of_key(&self.public).to_vec();
        Arc::new(CertifiedKey::new(vec![spki.into()], self.signing.clone()))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:02x?}..)", &self.public[..4])
    }
}

/// Whose keys are accepted.
#[derive(Clone, Debug)]
pub enum Trust {
    /// These keys, with the index of each holder.
    Pinned(BTreeMap<[u8; 32], u32>),
    /// Any key whose holder proves it. For clients in the explicit experiment mode only.
    Open,
}

impl Trust {
    pub(crate) fn accepts(&self, key: &[u8; 32]) -> bool {
        match self {
            Trust::Pinned(keys) => keys.contains_key(key),
            Trust::Open => true,
        }
    }

    /// Trust in a single key.
    pub(crate) fn only(key: [u8; 32]) -> Self {
        Trust::Pinned(BTreeMap::from([(key, 0)]))
    }
}

pub(crate) fn spki_of_key(key: &[u8; 32]) -> [u8; 44] {
    let mut spki = [0; 44];
    spki[..12].copy_from_slice(&SPKI_HEAD);
    spki[12..].copy_from_slice(key);
    spki
}

fn key_of_spki(spki: &SubjectPublicKeyInfoDer<'_>) -> Option<[u8; 32]> {
    key_of_der(spki.as_ref())
}

/// The key of an Ed25519 SubjectPublicKeyInfo; every other DER is refused.
pub(crate) fn key_of_der(der: &[u8]) -> Option<[u8; 32]> {
    der.strip_prefix(&SPKI_HEAD)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, 7.1, test 1.
    #[test]
    fn the_public_key_of_a_seed_is_that_of_rfc_8032() {
        let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(Identity::from_seed(&seed).unwrap().public(), public);
    }

    #[test]
    fn only_an_exact_ed25519_key_info_is_read() {
        let spki = spki_of_key(&[7; 32]);
        assert_eq!(key_of_der(&spki), Some([7; 32]));
        assert_eq!(key_of_der(&spki[..43]), None);
        assert_eq!(key_of_der(&[spki.as_slice(), &[0]].concat()), None);
        let mut rsa = spki;
        rsa[8] = 0x71;
        assert_eq!(key_of_der(&rsa), None);
    }

    fn hex(text: &str) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap();
        }
        bytes
    }
}
