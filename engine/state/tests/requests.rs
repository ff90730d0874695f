//! Bundles, bodies and frames: strict decoding, and the bytes pinned.

mod common;

use common::{DOMAIN, batch, bundle, client};
use proptest::collection::vec;
use proptest::prelude::*;
use trireme_core::reply::{
    FromReplica, MAX_REPLY_SET_BYTES, MAX_RESULT_BYTES, MAX_SUBSCRIBE_CLIENTS, MAX_TO_REPLICA_BYTES, Outcome,
    OutcomeRef, Refusal, ReplyEntry, ReplySet, ReplyWriter, ToReplica,
};
use trireme_core::request::{
    BUNDLE_OVERHEAD_BYTES, BadBundle, Body, BundleBuilder, BundleRef, MAX_BUNDLE_BYTES, MAX_BUNDLE_OPS,
    MAX_REQUEST_BYTES, REQUEST_OVERHEAD_BYTES, RequestHasher, body, request_digest,
};
use trireme_crypto::{Digest, Malformed, SecretKey, Signature, Signed, verify};

/// Rewrites what was parsed: equal bytes show that nothing was read in two ways.
fn rewrite(parsed: &BundleRef<'_>) -> Vec<u8> {
    let mut builder = BundleBuilder::new(*parsed.client(), parsed.done_below());
    for request in parsed.requests() {
        builder
            .push(request.number, request.payload)
            .expect("a parsed bundle keeps the rules");
    }
    builder.finish(|_| parsed.signature(), &DOMAIN)
}

fn requests() -> impl Strategy<Value = (u64, Vec<(u64, Vec<u8>)>)> {
    let request = (1..5u64, vec(any::<u8>(), 0..20));
    (0..50u64, vec(request, 1..6)).prop_map(|(done_below, steps)| {
        let mut number = done_below.max(1) - 1;
        let mut next = |step: u64| {
            number += step;
            number
        };
        (
            done_below,
            steps.into_iter().map(|(step, payload)| (next(step), payload)).collect(),
        )
    })
}

proptest! {
    #[test]
    fn bundles_come_back((done_below, requests) in requests()) {
        let bytes = bundle(client(4), done_below, &requests);
        let parsed = BundleRef::parse(&bytes).expect("a bundle");
        prop_assert_eq!((parsed.client(), parsed.done_below()), (&client(4), done_below));
        let read: Vec<_> = parsed.requests().map(|request| (request.number, request.payload.to_vec())).collect();
        prop_assert_eq!(read, requests);
        prop_assert_eq!(rewrite(&parsed), bytes);
    }

    #[test]
    fn damaged_bundles_are_refused_or_are_other_bundles(
        (done_below, requests) in requests(), at in any::<prop::sample::Index>(), bits in 1..=255u8, cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = bundle(client(4), done_below, &requests);
        prop_assert_eq!(BundleRef::parse(&bytes[..cut.index(bytes.len())]).err(), Some(BadBundle::Truncated));
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        if let Ok(parsed) = BundleRef::parse(&bytes) {
            prop_assert_eq!(rewrite(&parsed), bytes);
        }
    }

    #[test]
    fn bodies_come_back(bundles in vec(requests(), 1..5), cut in any::<prop::sample::Index>()) {
        let encode = |(done_below, requests): &(u64, Vec<_>)| bundle(client(1), *done_below, requests);
        let bundles: Vec<Vec<u8>> = bundles.iter().map(encode).collect();
        let bytes = batch(&bundles);
        let body = Body::parse(&bytes).expect("a body");
        prop_assert_eq!(body.bundles().map(|bundle| bundle.bytes().to_vec()).collect::<Vec<_>>(), bundles);
        prop_assert_eq!(body.ops(), body.bundles().map(|bundle| bundle.ops()).sum::<u32>());
        prop_assert!(Body::parse(&bytes[..cut.index(bytes.len())]).is_err());
        let longer = [&bytes[..], &[0]].concat();
        prop_assert_eq!(Body::parse(&longer).err(), Some(BadBundle::TrailingBytes));
    }

    #[test]
    fn frames_never_panic_and_re_encode(tag in 0..4u8, bytes in vec(prop_oneof![0..3u8, any::<u8>()], 0..200)) {
        let bytes = [&[tag], &bytes[..]].concat();
        if let Ok(frame) = ToReplica::from_bytes(&bytes) {
            prop_assert_eq!(frame.to_bytes(), bytes.clone());
        }
        if let Ok(frame) = FromReplica::from_bytes(&bytes) {
            prop_assert_eq!(frame.to_bytes(), bytes);
        }
    }
}

/// A bundle with these numbers, written without the builder's rules.
fn raw(done_below: u64, numbers: &[u64]) -> Vec<u8> {
    let mut bytes = [
        &client(1).0[..],
        &done_below.to_le_bytes(),
        &(numbers.len() as u32).to_le_bytes(),
    ]
    .concat();
    for number in numbers {
        bytes.extend_from_slice(&[&number.to_le_bytes()[..], &1u32.to_le_bytes(), b"p"].concat());
    }
    bytes.extend_from_slice(&[0; 64]);
    bytes
}

#[test]
fn rules_of_numbers() {
    let parse = |done_below, numbers: &[u64]| BundleRef::parse(&raw(done_below, numbers)).map(|bundle| bundle.ops());
    assert_eq!(parse(0, &[1]), Ok(1));
    assert_eq!(parse(5, &[5, 9, u64::MAX]), Ok(3));
    assert_eq!(parse(0, &[]), Err(BadBundle::Empty));
    assert_eq!(parse(0, &[0]), Err(BadBundle::Numbers));
    assert_eq!(parse(6, &[5]), Err(BadBundle::DoneBelow));
    assert_eq!(parse(0, &[2, 2]), Err(BadBundle::Numbers));
    assert_eq!(parse(0, &[2, 1]), Err(BadBundle::Numbers));
    assert_eq!(parse(0, &[u64::MAX, u64::MAX]), Err(BadBundle::Numbers));
    assert_eq!(parse(0, &[u64::MAX, 1]), Err(BadBundle::Numbers));
    let many: Vec<u64> = (1..=MAX_BUNDLE_OPS as u64 + 1).collect();
    assert_eq!(parse(0, &many), Err(BadBundle::TooManyRequests));
    assert_eq!(parse(0, &many[..MAX_BUNDLE_OPS]), Ok(MAX_BUNDLE_OPS as u32));
}

#[test]
fn the_builder_keeps_the_rules() {
    let push = |builder: &mut BundleBuilder, number| builder.push(number, b"p").map(|_| ());
    let mut builder = BundleBuilder::new(client(1), 5);
    assert_eq!(push(&mut builder, 0), Err(BadBundle::Numbers));
    assert_eq!(push(&mut builder, 4), Err(BadBundle::DoneBelow));
    assert_eq!(push(&mut builder, 5), Ok(()));
    assert_eq!(push(&mut builder, 5), Err(BadBundle::Numbers));
    assert_eq!(push(&mut builder, u64::MAX), Ok(()));
    assert_eq!(push(&mut builder, u64::MAX), Err(BadBundle::Numbers));
    assert_eq!(builder.finish(|_| Signature([0; 64]), &DOMAIN), raw(5, &[5, u64::MAX]));
}

#[test]
fn limits_of_size() {
    let most = vec![0; MAX_REQUEST_BYTES];
    let mut builder = BundleBuilder::new(client(1), 0);
    assert_eq!(
        builder.push(1, &[most.as_slice(), &[0]].concat()).err(),
        Some(BadBundle::TooLarge)
    );
    builder.push(1, &most).expect("the longest request");
    let left = MAX_BUNDLE_BYTES - BUNDLE_OVERHEAD_BYTES - 2 * REQUEST_OVERHEAD_BYTES - MAX_REQUEST_BYTES;
    assert_eq!(builder.push(2, &most[..left + 1]).err(), Some(BadBundle::TooLarge));
    builder.push(2, &most[..left]).expect("fills the bundle");
    let bytes = builder.finish(|_| Signature([0; 64]), &DOMAIN);
    assert_eq!(bytes.len(), MAX_BUNDLE_BYTES);
    assert_eq!(BundleRef::parse(&bytes).map(|bundle| bundle.ops()), Ok(2));
    assert_eq!(
        BundleRef::parse(&[bytes.as_slice(), &[0]].concat()).err(),
        Some(BadBundle::TooLarge)
    );
    let frame = ToReplica::Bundle(bytes.into()).to_bytes();
    assert!(ToReplica::from_bytes(&frame).is_ok(), "the longest bundle fits a frame");
    assert_eq!(
        ToReplica::from_bytes(&vec![0; MAX_TO_REPLICA_BYTES + 1]),
        Err(Malformed::TooLong)
    );
    let clients = vec![client(1); MAX_SUBSCRIBE_CLIENTS + 1];
    let frame = ToReplica::Subscribe { clients, full: true }.to_bytes();
    assert_eq!(ToReplica::from_bytes(&frame), Err(Malformed::TooLong));
    assert_eq!(
        Body::parse(&body::assemble::<Vec<u8>>(&[])).err(),
        Some(BadBundle::Empty)
    );
}

#[test]
fn signatures_cover_everything_before_them() {
    let key = SecretKey::from_seed([1; 32]);
    let mut builder = BundleBuilder::new(key.public(), 2);
    builder.push(3, b"payload").expect("well-formed");
    let bytes = builder.finish(|statement| key.sign(statement), &DOMAIN);
    let good = |bytes: &[u8]| {
        BundleRef::parse(bytes).is_ok_and(|bundle| {
            let (message, signature) = (bundle.statement(&DOMAIN), bundle.signature());
            verify(Signed {
                key: &key.verifying_key(),
                message: &message,
                signature: &signature,
            })
        })
    };
    assert!(good(&bytes));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(!good(&damaged), "byte {at} is not covered");
    }
}

#[test]
fn reply_sets_are_held_together_by_their_digest() {
    let entry = ReplyEntry {
        number: 3,
        request: Digest([1; 32]),
        outcome: Outcome::Executed(b"result".as_slice().into()),
    };
    let set = ReplySet::new(client(1), 9, 2, vec![entry.clone()]);
    assert!(set.is_consistent());
    assert!(!set.brief().is_consistent(), "a digest alone shows nothing");
    assert_eq!(set.brief().digest, set.digest);
    let other = ReplyEntry {
        outcome: Outcome::ResultGone,
        ..entry
    };
    assert!(
        !ReplySet {
            entries: Some(vec![other]),
            ..set.clone()
        }
        .is_consistent()
    );
    assert!(
        !ReplySet {
            slot: 10,
            ..set.clone()
        }
        .is_consistent()
    );
    assert!(
        !ReplySet {
            client: client(2),
            ..set.clone()
        }
        .is_consistent()
    );
    for frame in [
        FromReplica::Replies(set.brief()),
        FromReplica::Replies(set),
        FromReplica::Refused {
            client: client(1),
            numbers: vec![1, 2],
            reason: Refusal::Overloaded,
        },
        FromReplica::Status {
            nonce: 1,
            json: "{}".into(),
        },
    ] {
        assert_eq!(FromReplica::from_bytes(&frame.to_bytes()), Ok(frame));
    }
}

#[test]
fn digests_are_pinned() {
    let hex = |digest: Digest| digest.to_string();
    assert_eq!(
        hex(request_digest(&client(1), 2, b"payload")),
        "ec3ef9bcf151189296d227cac88e1ed72917b4e6434f33316c45f1aabde40836"
    );
    let bytes = bundle(client(1), 2, &[(2, b"payload".to_vec()), (7, vec![])]);
    assert_eq!(
        hex(BundleRef::parse(&bytes).expect("a bundle").statement(&DOMAIN)),
        "ddba44ebe94b342caedf5118610a31756dc3d6ebc6109d470ae466006aca6b42"
    );
    let entries = vec![
        ReplyEntry {
            number: 2,
            request: Digest([1; 32]),
            outcome: Outcome::Executed(b"r".as_slice().into()),
        },
        ReplyEntry {
            number: 9,
            request: Digest([2; 32]),
            outcome: Outcome::TooFarAhead { low: 2 },
        },
    ];
    assert_eq!(
        hex(ReplySet::new(client(1), 4, 0, entries).digest),
        "062f74d66fb39a7a49e43ece64b24fd1120f0bc68a4d41d53fbfde6750ca3a86"
    );
}

#[test]
fn a_frame_that_is_written_entry_by_entry_is_that_of_the_set() {
    let long = vec![3; MAX_RESULT_BYTES];
    let results: [&[u8]; 3] = [b"", b"result", &long];
    let executed = results.map(|result| (OutcomeRef::Executed(result), Outcome::Executed(result.to_vec().into())));
    let others = [
        (OutcomeRef::TooFarAhead { low: 9 }, Outcome::TooFarAhead { low: 9 }),
        (OutcomeRef::ResultGone, Outcome::ResultGone),
        (OutcomeRef::LeftOut, Outcome::LeftOut),
        (OutcomeRef::NotRegistered, Outcome::NotRegistered),
        (OutcomeRef::NoSession, Outcome::NoSession),
    ];
    let outcomes: Vec<_> = executed.into_iter().chain(others).collect();
    for count in 0..=outcomes.len() {
        let mut writer = ReplyWriter::new(client(1), 9, 2, 1);
        let mut entries = Vec::new();
        for (number, (borrowed, owned)) in (5..).zip(&outcomes[..count]) {
            let request = request_digest(&client(1), number, b"payload");
            writer.push(number, &request, *borrowed);
            entries.push(ReplyEntry {
                number,
                request,
                outcome: owned.clone(),
            });
        }
        let (frame, set) = (writer.finish(), ReplySet::new(client(1), 9, 2, entries));
        assert_eq!(frame.set(), set);
        assert_eq!((frame.client(), frame.digest()), (&set.client, &set.digest));
        assert_eq!(frame.entries() as usize, count);
        assert_eq!(frame.brief(), FromReplica::Replies(set.brief()).to_bytes());
        assert_eq!(frame.whole(), FromReplica::Replies(set).to_bytes());
        assert_eq!(frame.bytes(), frame.whole().len());
    }
}

#[test]
fn a_frame_leaves_out_what_is_too_long_for_it() {
    let (long, request) = (vec![3; MAX_RESULT_BYTES], request_digest(&client(1), 1, b"payload"));
    let fit = MAX_REPLY_SET_BYTES / MAX_RESULT_BYTES;
    let mut writer = ReplyWriter::new(client(1), 9, 2, 1);
    (1..=fit as u64 + 1).for_each(|number| writer.push(number, &request, OutcomeRef::Executed(&long)));
    let entries = writer.finish().set().entries.expect("written");
    assert!(
        entries[..fit]
            .iter()
            .all(|entry| matches!(entry.outcome, Outcome::Executed(_)))
    );
    assert_eq!(entries[fit].outcome, Outcome::LeftOut);
}

#[test]
fn requests_have_the_same_digests_one_by_one_and_together() {
    let lengths = [0, 1, 19, 20, 21, 64, 300, 512, 979, 980, 981, 5_000];
    let payloads: Vec<Vec<u8>> = lengths.iter().cycle().take(70).map(|len| vec![7; *len]).collect();
    let mut builder = BundleBuilder::new(client(1), 0);
    for (number, payload) in (1..).zip(&payloads) {
        builder.push(number, payload).expect("fits");
    }
    let bytes = builder.finish(|_| Signature([0; 64]), &DOMAIN);
    let bundle = BundleRef::parse(&bytes).expect("a bundle");
    let (mut hasher, mut digests) = (RequestHasher::default(), Vec::new());
    hasher.bundle(&bundle, &mut digests);
    hasher.bundle(&bundle, &mut digests);
    hasher.finish(&mut digests);
    let single: Vec<Digest> = bundle.requests().map(|request| request.digest(&client(1))).collect();
    assert_eq!(digests, [single.clone(), single].concat());
    let distinct: std::collections::BTreeSet<Digest> = [b"".as_slice(), b"\0", b"\0\0"]
        .iter()
        .map(|payload| request_digest(&client(1), 1, payload))
        .collect();
    assert_eq!(distinct.len(), 3, "zeros that fill a block are not those of a payload");
}
