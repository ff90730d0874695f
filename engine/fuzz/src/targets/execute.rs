//! Any bytes as the body of a committed batch: execution never fails, and is a function.

use bytes::Bytes;
use trireme_core::Params;
use trireme_core::api::{Execution, OrderedBatch};
use trireme_core::request::{Body, body};
use trireme_crypto::Digest;
use trireme_state::kv::{Kv, Op};
use trireme_state::{ClientRegistry, Executor};

use super::Samples;
use super::requests::bundle_of;

fn slot(slot: u64, bodies: &[&[u8]]) -> Execution {
    let batches = bodies.iter().map(|body| OrderedBatch {
        lane: 0,
        height: slot,
        digest: Digest::ZERO,
        body: Bytes::copy_from_slice(body),
    });
    Execution {
        slot,
        block: Digest::ZERO,
        view: 0,
        timestamp: slot,
        batches: batches.collect(),
        root: true,
        checkpoint: false,
        fast: true,
        replay: false,
    }
}

/// The input is two bodies, the first as long as its first two bytes say; each is executed twice.
pub(super) fn run(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else {
        return false;
    };
    let cut = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (first, second) = rest.split_at(cut);
    let mut params = Params::new(4, 1);
    params.session_window = 8;
    params.max_sessions = 2;
    let executor = || Executor::new(Box::new(Kv::new()), ClientRegistry::Open, &params);
    let (mut one, mut other) = (executor(), executor());
    let slots = [slot(1, &[first, second]), slot(2, &[second, first]), slot(3, &[first])];
    let mut fresh = 0;
    for execution in &slots {
        let (a, b) = (one.execute(execution, None), other.execute(execution, None));
        assert_eq!(a, b, "equal slots, equal replies and roots");
        assert_eq!(
            a.ops,
            a.fresh + a.duplicates + a.refused,
            "every request has its outcome"
        );
        assert!(a.replies.iter().all(|frame| frame.set().is_consistent()));
        assert!(one.sessions() <= 2);
        fresh += a.fresh;
    }
    let both = [first, second].map(|bytes| Body::parse(bytes).map_or(0, |body| body.ops()));
    assert!(fresh <= both[0] + both[1], "each request takes effect at most once");
    fresh > 0
}

pub(super) fn samples() -> Samples {
    let (key, value) = (b"key".as_slice(), b"value".as_slice());
    let put = Op::Put { key, value }.encode();
    let get = Op::Get { key }.encode();
    let first = body::assemble(&[bundle_of(1, 0, &[(1, &put), (2, &get)])]);
    let second = body::assemble(&[
        bundle_of(1, 2, &[(2, &get), (3, b"no operation")]),
        bundle_of(2, 0, &[(1, &put), (20, &get)]),
        bundle_of(3, 0, &[(1, &get)]),
    ]);
    let length = u16::try_from(first.len()).expect("short").to_le_bytes();
    vec![("two-bodies".into(), [&length[..], &first, &second].concat())]
}
