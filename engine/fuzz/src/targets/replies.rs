//! Frames between clients and replicas.

use bytes::Bytes;
use trireme_core::reply::{FromReplica, Outcome, Refusal, ReplyEntry, ReplySet, ToReplica};
use trireme_crypto::{Digest, PublicKey};

use super::Samples;
use super::requests::bundle_of;

/// Both directions read the same bytes: each accepts its own alone, or none.
pub(super) fn frames(bytes: &[u8]) -> bool {
    let to = ToReplica::from_bytes(bytes);
    if let Ok(frame) = &to {
        assert_eq!(frame.to_bytes(), bytes, "a client's frame is written as it was read");
    }
    let from = FromReplica::from_bytes(bytes);
    if let Ok(frame) = &from {
        assert_eq!(frame.to_bytes(), bytes, "a replica's frame is written as it was read");
        if let FromReplica::Replies(set) = frame
            && set.is_consistent()
        {
            let brief = set.brief();
            assert_eq!((brief.digest, brief.slot), (set.digest, set.slot));
        }
    }
    to.is_ok() || from.is_ok()
}

pub(super) fn samples() -> Samples {
    let client = PublicKey([5; 32]);
    let outcomes = [
        Outcome::Executed(Bytes::from_static(b"result")),
        Outcome::LeftOut,
        Outcome::ResultGone,
        Outcome::TooFarAhead { low: 4 },
        Outcome::NoSession,
        Outcome::NotRegistered,
    ];
    let entries = (1..).zip(outcomes).map(|(number, outcome)| ReplyEntry {
        number,
        request: Digest([9; 32]),
        outcome,
    });
    let set = ReplySet::new(client, 7, 1, entries.collect());
    let to = [
        ("bundle", ToReplica::Bundle(bundle_of(1, 0, &[(1, b"payload")]).into())),
        (
            "subscribe",
            ToReplica::Subscribe {
                clients: vec![client; 2],
                full: true,
            },
        ),
        ("ask-status", ToReplica::Status { nonce: 3 }),
    ];
    let from = [
        ("replies", FromReplica::Replies(set.clone())),
        ("brief-replies", FromReplica::Replies(set.brief())),
        (
            "refused",
            FromReplica::Refused {
                client,
                numbers: vec![1, 2],
                reason: Refusal::Quota,
            },
        ),
        (
            "status",
            FromReplica::Status {
                nonce: 3,
                json: "{}".into(),
            },
        ),
    ];
    let to = to.map(|(name, frame)| (name.to_owned(), frame.to_bytes()));
    let from = from.map(|(name, frame)| (name.to_owned(), frame.to_bytes()));
    to.into_iter().chain(from).collect()
}
