//! Operations and results of the key-value store.

use trireme_state::kv::{BadOp, Kv, Op, OpResult};

use super::Samples;

pub(super) fn run(bytes: &[u8]) -> bool {
    let op = Op::decode(bytes);
    if let Ok(op) = &op {
        assert_eq!(op.encode(), bytes, "an operation is written as it was read");
        assert!(!op.key().is_empty());
    }
    let result = OpResult::decode(bytes);
    if let Ok(result) = &result {
        assert_eq!(result.encode(), bytes, "a result is written as it was read");
        if let OpResult::Found(found) = result {
            assert!(found.keys().is_sorted_by(|a, b| a.key < b.key));
        }
    }
    op.is_ok() || result.is_ok()
}

pub(super) fn samples() -> Samples {
    let (key, value) = (b"key".as_slice(), b"value".as_slice());
    let ops = [
        ("put", Op::Put { key, value }),
        ("get", Op::Get { key }),
        ("delete", Op::Delete { key }),
        (
            "compare-and-set",
            Op::CompareAndSet {
                key,
                expected: 4,
                value,
            },
        ),
    ];
    let found = {
        let mut store = Kv::new();
        for (key, value) in [(key, value), (b"other", b"")] {
            store.run(&Op::Put { key, value }, |_| ());
        }
        store.run(&Op::Scan { start: b"a", limit: 2 }, |found| found.encode())
    };
    let results = [
        ("written", OpResult::Written { version: 1 }),
        ("value", OpResult::Value { version: 2, value }),
        ("absent", OpResult::Absent),
        ("deleted", OpResult::Deleted { version: 3 }),
        ("mismatch", OpResult::Mismatch { version: 4 }),
        ("full", OpResult::Full),
        ("malformed", OpResult::Malformed(BadOp::Key)),
    ];
    let ops = ops.map(|(name, op)| (name.to_owned(), op.encode()));
    let results = results.map(|(name, result)| (name.to_owned(), result.encode()));
    let scans = [
        ("scan".to_owned(), Op::Scan { start: key, limit: 7 }.encode()),
        ("found".to_owned(), found),
    ];
    ops.into_iter().chain(results).chain(scans).collect()
}
