//! Contexts hold kinds of statements apart (R-STATEMENT).

use std::collections::BTreeSet;

use borsh::BorshSerialize;
use trireme_crypto::{Digest, Domain, context, encode, hash, hash_of, hash_parts};

#[test]
fn contexts_are_unique_and_versioned() {
    let unique: BTreeSet<_> = context::ALL.iter().collect();
    assert_eq!(unique.len(), context::ALL.len());
    for text in context::ALL {
        let name = text.strip_prefix("trireme 2026-11 ").expect("one prefix for all");
        let (kind, version) = name.rsplit_once(" v").expect("a version");
        assert!(version.parse::<u32>().is_ok_and(|version| version > 0), "{text}");
        assert!(
            kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
            "{text}"
        );
    }
}

/// The keys that are kept are those of the library, when they are filled, when they are read, and from many threads.
#[test]
fn kept_keys_are_the_librarys() {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..3 {
                    for context in context::ALL {
                        assert_eq!(hash(context, b"bytes").0, blake3::derive_key(context, b"bytes"));
                    }
                }
            });
        }
    });
    assert_eq!(
        hash("a foreign context", b"bytes").0,
        blake3::derive_key("a foreign context", b"bytes")
    );
}

#[test]
fn parts_are_concatenated() {
    for length in [0, 1, 63, 64, 65, 1023, 1024, 1025, 5000] {
        let bytes: Vec<u8> = (0..length).map(|i| i as u8).collect();
        let (left, right) = bytes.split_at(length / 3);
        assert_eq!(
            hash_parts(context::BLOCK, &[left, &[], right]),
            hash(context::BLOCK, &bytes)
        );
    }
}

#[derive(BorshSerialize)]
struct Statement {
    view: u64,
    digests: Vec<Digest>,
    text: Option<String>,
}

fn statement() -> Statement {
    Statement {
        view: 5,
        digests: vec![Digest([1; 32]); 50],
        text: Some("text".into()),
    }
}

#[test]
fn streamed_values_hash_as_their_encoding() {
    let value = statement();
    let domain = Domain {
        cluster_id: Digest([9; 32]),
        epoch: 3,
    };
    assert_eq!((value.view, value.digests.len(), value.text.is_some()), (5, 50, true));
    assert_eq!(hash_of(context::BLOCK, &value), hash(context::BLOCK, &encode(&value)));
    assert_eq!(
        domain.statement_of(context::VOTE, &value),
        domain.statement(context::VOTE, &encode(&value))
    );
}

/// R-STATEMENT spelled out, and each of its inputs changes the digest.
#[test]
fn statements_cover_cluster_epoch_kind_and_bytes() {
    let domain = Domain {
        cluster_id: Digest([9; 32]),
        epoch: 0x0102,
    };
    let mut material = vec![9; 32];
    material.extend([2, 1, 0, 0, 0, 0, 0, 0]);
    material.extend(b"statement");
    let digest = domain.statement(context::VOTE, b"statement");
    assert_eq!(digest.0, blake3::derive_key(context::VOTE, &material));

    let others = [
        Domain {
            cluster_id: Digest([8; 32]),
            ..domain
        }
        .statement(context::VOTE, b"statement"),
        Domain {
            epoch: 0x0103,
            ..domain
        }
        .statement(context::VOTE, b"statement"),
        domain.statement(context::ACK, b"statement"),
        domain.statement(context::VOTE, b"statemenu"),
    ];
    assert!(others.iter().all(|other| *other != digest));
}
