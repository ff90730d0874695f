//! What several tests need: bundles, slots, and a root computed the slow way.
#![allow(dead_code, reason = "each test file is a crate of its own and uses its share")]

pub(crate) mod transfer;

use bytes::Bytes;
use trireme_core::Slot;
use trireme_core::api::{Execution, OrderedBatch};
use trireme_core::request::{BundleBuilder, body};
use trireme_crypto::{Digest, Domain, PublicKey, Signature, context, hash_parts};

pub(crate) const DOMAIN: Domain = Domain {
    cluster_id: Digest([7; 32]),
    epoch: 3,
};

pub(crate) fn client(index: u8) -> PublicKey {
    PublicKey([index; 32])
}

/// A bundle whose signature is no signature: executors do not look at it.
pub(crate) fn bundle(client: PublicKey, done_below: u64, requests: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut builder = BundleBuilder::new(client, done_below);
    for (number, payload) in requests {
        builder.push(*number, payload).expect("a well-formed bundle");
    }
    builder.finish(|_| Signature([9; 64]), &DOMAIN)
}

pub(crate) fn batch(bundles: &[Vec<u8>]) -> Bytes {
    body::assemble(bundles)
}

pub(crate) fn slot(slot: Slot, bodies: Vec<Bytes>, root: bool) -> Execution {
    let batches = bodies
        .into_iter()
        .zip(0..)
        .map(|(body, lane)| ordered(lane, slot, body))
        .collect();
    let (block, timestamp) = (Digest::ZERO, 1_000 + slot);
    Execution {
        slot,
        block,
        view: 1,
        timestamp,
        batches,
        root,
        checkpoint: false,
        fast: false,
        replay: false,
    }
}

fn ordered(lane: u16, height: u64, body: Bytes) -> OrderedBatch {
    OrderedBatch {
        lane,
        height,
        digest: Digest::ZERO,
        body,
    }
}

/// The root of a map, straight from the definition in `tree.rs`.
pub(crate) fn naive_root(mut leaves: Vec<(Digest, Digest)>) -> Digest {
    leaves.sort();
    let count = (leaves.len() as u64).to_le_bytes();
    hash_parts(context::STATE, &[b"map     ", &count, &naive_part(&leaves, 0).0])
}

fn naive_part(leaves: &[(Digest, Digest)], depth: usize) -> Digest {
    match leaves {
        [] => Digest::ZERO,
        [(place, value)] => hash_parts(context::MERKLE_LEAF, &[&place.0, &value.0]),
        _ => {
            let right = |leaf: &&(Digest, Digest)| leaf.0.0[depth / 8] >> (7 - depth % 8) & 1 == 1;
            let (right, left): (Vec<_>, Vec<_>) = leaves.iter().partition(right);
            let part = |leaves: Vec<&(Digest, Digest)>| {
                naive_part(&leaves.into_iter().copied().collect::<Vec<_>>(), depth + 1)
            };
            hash_parts(context::MERKLE_INNER, &[&part(left).0, &part(right).0])
        }
    }
}
