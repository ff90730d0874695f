//! What clients sign, and what batches hold.

use trireme_core::request::{Body, BundleBuilder, BundleRef, body};
use trireme_crypto::{Digest, PublicKey, Signature};

use super::Samples;
use crate::party::domain;

pub(super) fn bundle(bytes: &[u8]) -> bool {
    let Ok(read) = BundleRef::parse(bytes) else {
        return false;
    };
    let mut again = BundleBuilder::new(*read.client(), read.done_below());
    for request in read.requests() {
        again
            .push(request.number, request.payload)
            .expect("what was read can be written");
    }
    assert_eq!(read.requests().len(), read.ops() as usize);
    assert_eq!(again.encoded_len(), bytes.len());
    let statement = read.statement(&domain());
    let written = again.finish(
        |signed: &Digest| {
            assert_eq!(*signed, statement, "the signature covers the same");
            read.signature()
        },
        &domain(),
    );
    assert_eq!(written, bytes, "a bundle is written as it was read");
    true
}

pub(super) fn body(bytes: &[u8]) -> bool {
    let Ok(read) = Body::parse(bytes) else {
        return false;
    };
    let bundles: Vec<&[u8]> = read.bundles().map(|bundle| bundle.bytes()).collect();
    assert_eq!(bundles.len(), read.len() as usize);
    assert!(!read.is_empty() && bundles.iter().all(|bytes| bundle(bytes)));
    assert_eq!(read.ops(), read.bundles().map(|bundle| bundle.ops()).sum::<u32>());
    assert_eq!(body::assemble(&bundles), bytes, "a body is written as it was read");
    true
}

/// A bundle of these requests.
pub(super) fn bundle_of(client: u8, done_below: u64, requests: &[(u64, &[u8])]) -> Vec<u8> {
    let mut builder = BundleBuilder::new(PublicKey([client; 32]), done_below);
    for (number, payload) in requests {
        builder.push(*number, payload).expect("a valid request");
    }
    builder.finish(|_| Signature([client; 64]), &domain())
}

pub(super) fn bundles() -> Samples {
    vec![
        ("one".into(), bundle_of(1, 0, &[(1, b"payload")])),
        (
            "empty-payloads".into(),
            bundle_of(2, 3, &[(3, b""), (4, b""), (9, b"")]),
        ),
        ("highest-number".into(), bundle_of(3, u64::MAX, &[(u64::MAX, b"last")])),
    ]
}

pub(super) fn bodies() -> Samples {
    let bundles: Vec<Vec<u8>> = bundles().into_iter().map(|(_, bytes)| bytes).collect();
    vec![
        ("one".into(), body::assemble(&bundles[..1]).to_vec()),
        ("three".into(), body::assemble(&bundles).to_vec()),
    ]
}
