//! Requests as clients make them.

use bytes::Bytes;
use trireme_core::request::{BundleBuilder, body};
use trireme_crypto::{Digest, Domain, SecretKey, context, hash};

/// The cluster of all measurements.
pub const DOMAIN: Domain = Domain {
    cluster_id: Digest([7; 32]),
    epoch: 0,
};

/// Clients whose bundles are made once and sent in turn.
pub const CLIENTS: usize = 64;

/// A key from a number.
pub fn secret(number: u64) -> SecretKey {
    SecretKey::from_seed(hash(context::SEED, &number.to_le_bytes()).0)
}

/// A signed bundle of each client: `ops` requests of `payload_bytes`.
pub fn bundles(ops: u32, payload_bytes: usize) -> Vec<Bytes> {
    (0..CLIENTS as u64)
        .map(|client| bundle(&secret(client), 1, ops, payload_bytes))
        .collect()
}

/// A signed bundle whose requests have the numbers from `first` on.
pub fn bundle(secret: &SecretKey, first: u64, ops: u32, payload_bytes: usize) -> Bytes {
    let mut builder = BundleBuilder::new(secret.public(), first);
    for number in first..first + u64::from(ops) {
        let fill = u8::try_from(number % 251).expect("a byte");
        builder
            .push(number, &vec![fill; payload_bytes])
            .expect("within the limits");
    }
    builder.finish(|statement| secret.sign(statement), &DOMAIN).into()
}

/// A batch's body of these bundles, each once, until it holds so many requests.
pub fn body_of(bundles: &[Bytes], ops_each: u32, ops: u32) -> Bytes {
    let count = (ops / ops_each).max(1) as usize;
    let chosen: Vec<&Bytes> = bundles.iter().cycle().take(count).collect();
    let chosen: Vec<&[u8]> = chosen.into_iter().map(|bundle| &bundle[..]).collect();
    body::assemble(&chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_core::request::{Body, BundleRef};
    use trireme_crypto::{Signed, VerifyingKey, verify};

    #[test]
    fn bundles_are_valid_and_bodies_hold_them() {
        let all = bundles(4, 32);
        let bundle = BundleRef::parse(&all[3]).unwrap();
        let key = VerifyingKey::from_public(bundle.client()).unwrap();
        let (message, signature) = (bundle.statement(&DOMAIN), bundle.signature());
        assert!(verify(Signed {
            key: &key,
            message: &message,
            signature: &signature
        }));
        assert_eq!(Body::parse(&body_of(&all, 4, 64)).unwrap().ops(), 64);
    }
}
