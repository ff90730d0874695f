//! Scans: bounds, strictness of their bytes, and what they see after an image was taken over.

mod common;

use trireme_core::reply::MAX_RESULT_BYTES;
use trireme_state::Application as _;
use trireme_state::kv::{BadOp, Kv, MAX_SCAN_KEYS, MAX_VALUE_BYTES, Op, OpResult};

fn put(store: &mut Kv, key: &[u8], value: &[u8]) {
    store.run(&Op::Put { key, value }, |result| {
        assert!(matches!(result, OpResult::Written { .. }))
    });
}

/// Keys found, whether there are more, and the bytes of the result.
fn scan(store: &mut Kv, start: &[u8], limit: u16) -> (Vec<Vec<u8>>, bool, usize) {
    store.run(&Op::Scan { start, limit }, |result| {
        let OpResult::Found(found) = result else {
            panic!("{result:?}")
        };
        let bytes = result.encode();
        assert_eq!(OpResult::decode(&bytes), Ok(result));
        (
            found.keys().map(|found| found.key.to_vec()).collect(),
            found.more(),
            bytes.len(),
        )
    })
}

#[test]
fn a_result_stays_within_its_bound_and_who_goes_on_sees_every_key_once() {
    let mut store = Kv::new();
    for key in 0..20_u8 {
        put(
            &mut store,
            &[key],
            &vec![key; MAX_VALUE_BYTES / (1 + usize::from(key % 3))],
        );
    }
    let (mut seen, mut start) = (Vec::new(), vec![0]);
    loop {
        let (keys, more, bytes) = scan(&mut store, &start, MAX_SCAN_KEYS);
        assert!(bytes <= MAX_RESULT_BYTES && !keys.is_empty());
        seen.extend(keys);
        if !more {
            break;
        }
        start.clone_from(seen.last().unwrap());
        start.push(0);
    }
    assert_eq!(seen, (0..20_u8).map(|key| vec![key]).collect::<Vec<_>>());
}

#[test]
fn the_order_is_that_of_the_bytes_and_follows_deletes() {
    let mut store = Kv::new();
    for key in ["b", "a", "ab", "\u{ff}", "aa"] {
        put(&mut store, key.as_bytes(), b"v");
    }
    put(&mut store, b"ab", b"again");
    store.run(&Op::Delete { key: b"aa" }, |_| ());
    let (keys, more, _) = scan(&mut store, b"a", 3);
    assert_eq!((keys, more), (vec![b"a".to_vec(), b"ab".to_vec(), b"b".to_vec()], true));
    assert_eq!(scan(&mut store, b"zz", 9).0, ["\u{ff}".as_bytes()]);
    assert_eq!(scan(&mut store, &[0xff], 9), (Vec::new(), false, 2));
}

#[test]
fn a_store_made_of_an_image_scans_alike() {
    let mut store = Kv::new();
    for key in 0..200_u8 {
        put(&mut store, &[key % 150, 7], &[key]);
    }
    let image = store.image();
    let mut fresh = Kv::new();
    assert!(fresh.restore_head(&image.head()));
    image.leaves(trireme_state::Prefix::WHOLE, &mut |leaf| {
        assert!(fresh.restore_leaf(leaf));
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(scan(&mut fresh, &[20], 100), scan(&mut store, &[20], 100));
    assert_eq!(fresh.root(), store.root());
}

#[test]
fn bytes_that_are_no_scan_are_refused() {
    let op = |limit: u16| {
        let mut bytes = b"\x05\x01\x00k".to_vec();
        bytes.extend_from_slice(&limit.to_le_bytes());
        bytes
    };
    assert_eq!(Op::decode(&op(1)), Ok(Op::Scan { start: b"k", limit: 1 }));
    assert_eq!(Op::decode(&op(0)), Err(BadOp::Limit));
    assert_eq!(Op::decode(&op(MAX_SCAN_KEYS + 1)), Err(BadOp::Limit));
    assert_eq!(Op::decode(&op(1)[..5]), Err(BadOp::Truncated));
    assert_eq!(Op::decode(&[op(1), vec![0]].concat()), Err(BadOp::TrailingBytes));
    let entry = |key: u8| [&[1, 0, 1, 0, 0, 0][..], &[0; 8], &[key, b'v']].concat();
    let found = |parts: &[Vec<u8>]| [vec![8, 0], parts.concat()].concat();
    assert!(OpResult::decode(&found(&[entry(1), entry(2)])).is_ok());
    assert_eq!(
        OpResult::decode(&found(&[entry(2), entry(1)])),
        Err(BadOp::Key),
        "not ascending"
    );
    assert_eq!(
        OpResult::decode(&found(&[entry(1), entry(1)])),
        Err(BadOp::Key),
        "twice"
    );
    assert_eq!(OpResult::decode(&[8, 2]), Err(BadOp::Tag));
    assert_eq!(OpResult::decode(&[8]), Err(BadOp::Truncated));
    let long = vec![8, 0, 1, 0, 1, 0, 1, 0];
    assert!(OpResult::decode(&long).is_err(), "a value above the longest");
}
