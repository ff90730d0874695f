//! The key-value store against an ordered map, and its encodings.

mod common;

use std::collections::BTreeMap;

use common::naive_root;
use proptest::collection::vec;
use proptest::prelude::*;
use trireme_crypto::{Digest, context, hash_parts};
use trireme_state::Application;
use trireme_state::kv::{BadOp, Kv, KvLimits, MAX_KEY_BYTES, MAX_VALUE_BYTES, Op, OpResult};

#[derive(Clone, Debug)]
enum Step {
    Put(u8, Vec<u8>),
    Get(u8),
    Delete(u8),
    /// Expects the key's version with this added: mostly the right one.
    Set(u8, u64, Vec<u8>),
    Scan(u8, u16),
    Root,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..12u8;
    let value = || vec(any::<u8>(), 0..6);
    prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => key().prop_map(Step::Get),
        2 => key().prop_map(Step::Delete),
        3 => (key(), 0..2u64, value()).prop_map(|(key, off, value)| Step::Set(key, off, value)),
        2 => (key(), 1..9u16).prop_map(|(key, limit)| Step::Scan(key, limit)),
        1 => Just(Step::Root),
    ]
}

/// The store as its documentation has it.
#[derive(Default)]
struct Model {
    revision: u64,
    map: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
}

impl Model {
    fn version(&self, key: &[u8]) -> u64 {
        self.map.get(key).map_or(0, |(version, _)| *version)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Vec<u8> {
        self.revision += 1;
        self.map.insert(key.to_vec(), (self.revision, value.to_vec()));
        OpResult::Written { version: self.revision }.encode()
    }

    fn run(&mut self, op: &Op<'_>) -> Vec<u8> {
        match *op {
            Op::Put { key, value } => self.put(key, value),
            Op::CompareAndSet { key, expected, value } if expected == self.version(key) => self.put(key, value),
            Op::CompareAndSet { key, .. } => OpResult::Mismatch {
                version: self.version(key),
            }
            .encode(),
            Op::Get { key } => match self.map.get(key) {
                Some((version, value)) => OpResult::Value {
                    version: *version,
                    value,
                }
                .encode(),
                None => OpResult::Absent.encode(),
            },
            Op::Delete { key } => match self.map.remove(key) {
                Some((version, _)) => {
                    self.revision += 1;
                    OpResult::Deleted { version }.encode()
                }
                None => OpResult::Absent.encode(),
            },
            Op::Scan { start, limit } => self.scan(start, limit),
        }
    }

    /// Of values so short that a result has room for all of them.
    fn scan(&self, start: &[u8], limit: u16) -> Vec<u8> {
        let from: Vec<_> = self.map.range(start.to_vec()..).collect();
        let more = from.len() > usize::from(limit);
        let mut out = vec![8, u8::from(more)];
        for (key, (version, value)) in from.into_iter().take(limit.into()) {
            out.extend_from_slice(&u16::try_from(key.len()).unwrap().to_le_bytes());
            out.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
            out.extend_from_slice(&version.to_le_bytes());
            out.extend_from_slice(key);
            out.extend_from_slice(value);
        }
        out
    }

    fn root(&self) -> Digest {
        let leaf = |(key, (version, value)): (&Vec<u8>, &(u64, Vec<u8>))| {
            let place = hash_parts(context::STATE, &[b"kv key  ", key]);
            let mut covered = [b"kv val 2".as_slice(), &version.to_le_bytes()].concat();
            covered.extend_from_slice(&u32::try_from(value.len()).expect("short").to_le_bytes());
            covered.extend_from_slice(value);
            while covered.len() % 64 != 0 {
                covered.push(0);
            }
            (place, hash_parts(context::STATE, &[&covered]))
        };
        let map = naive_root(self.map.iter().map(leaf).collect());
        hash_parts(context::STATE, &[b"kv root ", &self.revision.to_le_bytes(), &map.0])
    }
}

/// Runs the encoded operation through the application's own entrance.
fn execute(store: &mut Kv, payload: &[u8]) -> Vec<u8> {
    let (client, request, mut result) = (common::client(1), Digest::ZERO, Vec::new());
    let op = trireme_state::Op {
        slot: 1,
        timestamp: 0,
        client: &client,
        request: &request,
        payload,
    };
    store.execute(&op, &mut result);
    result
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn equals_the_model(steps in vec(step(), 1..120)) {
        // `quiet` is asked for its root once, at the end: when roots were asked for must not matter.
        let (mut store, mut quiet, mut model) = (Kv::new(), Kv::new(), Model::default());
        for step in &steps {
            let (key, value, expected);
            let op = match step {
                Step::Root => {
                    prop_assert_eq!(store.root(), model.root());
                    continue;
                }
                Step::Put(k, v) => { key = [*k]; value = v; Op::Put { key: &key, value } }
                Step::Get(k) => { key = [*k]; Op::Get { key: &key } }
                Step::Delete(k) => { key = [*k]; Op::Delete { key: &key } }
                Step::Scan(k, limit) => { key = [*k]; Op::Scan { start: &key, limit: *limit } }
                Step::Set(k, off, v) => {
                    key = [*k];
                    (value, expected) = (v, model.version(&key) + off);
                    Op::CompareAndSet { key: &key, expected, value }
                }
            };
            let payload = op.encode();
            prop_assert_eq!(Op::decode(&payload), Ok(op));
            let result = execute(&mut store, &payload);
            prop_assert_eq!(&result, &execute(&mut quiet, &payload));
            prop_assert_eq!(&result, &model.run(&op));
            prop_assert_eq!(OpResult::decode(&result).expect("a result").encode(), result);
            prop_assert_eq!((store.len(), store.revision()), (model.map.len(), model.revision));
        }
        prop_assert_eq!(store.root(), model.root());
        prop_assert_eq!(quiet.root(), model.root());
    }

    #[test]
    fn what_is_accepted_encodes_to_the_same_bytes(tag in 0..10u8, rest in vec(prop_oneof![0..4u8, any::<u8>()], 0..40)) {
        let mut bytes = vec![tag];
        bytes.extend(rest);
        if let Ok(op) = Op::decode(&bytes) {
            prop_assert_eq!(op.encode(), bytes.clone());
        }
        if let Ok(result) = OpResult::decode(&bytes) {
            prop_assert_eq!(result.encode(), bytes);
        }
    }
}

#[test]
fn encodings_are_pinned() {
    let set = Op::CompareAndSet {
        key: b"k",
        expected: 5,
        value: b"v",
    };
    assert_eq!(set.encode(), b"\x04\x01\x00k\x05\x00\x00\x00\x00\x00\x00\x00v");
    assert_eq!(Op::Put { key: b"ab", value: b"" }.encode(), b"\x01\x02\x00ab");
    assert_eq!(Op::Get { key: b"k" }.encode(), b"\x02\x01\x00k");
    assert_eq!(Op::Delete { key: b"k" }.encode(), b"\x03\x01\x00k");
    assert_eq!(
        OpResult::Value {
            version: 1,
            value: b"v"
        }
        .encode(),
        b"\x02\x01\x00\x00\x00\x00\x00\x00\x00v"
    );
    assert_eq!(OpResult::Malformed(BadOp::Key).encode(), [7, 4]);
}

#[test]
fn malformed_operations_get_typed_results_and_change_nothing() {
    let long = [b'k'; MAX_KEY_BYTES + 1];
    let heavy = vec![0; MAX_VALUE_BYTES + 1];
    let cases: [(Vec<u8>, BadOp); 7] = [
        (vec![], BadOp::Truncated),
        (vec![9, 1, 0, b'k'], BadOp::Tag),
        (vec![2, 0, 0], BadOp::Key),
        (Op::Get { key: &long }.encode(), BadOp::Key),
        (vec![4, 1, 0, b'k', 1, 0, 0], BadOp::Truncated),
        (vec![3, 1, 0, b'k', 0], BadOp::TrailingBytes),
        (
            Op::Put {
                key: b"k",
                value: &heavy,
            }
            .encode(),
            BadOp::Value,
        ),
    ];
    let mut store = Kv::new();
    let root = store.root();
    for (payload, reason) in cases {
        assert_eq!(
            OpResult::decode(&execute(&mut store, &payload)),
            Ok(OpResult::Malformed(reason))
        );
    }
    assert_eq!(store.root(), root);
    let most = Op::Put {
        key: &long[1..],
        value: &heavy[1..],
    }
    .encode();
    assert_eq!(
        OpResult::decode(&execute(&mut store, &most)),
        Ok(OpResult::Written { version: 1 })
    );
}

#[test]
fn a_full_store_refuses_growth_only() {
    let run = |store: &mut Kv, op: Op<'_>| execute(store, &op.encode());
    let written = |version| OpResult::Written { version }.encode();
    let mut store = Kv::with_limits(KvLimits {
        max_keys: 2,
        max_bytes: 2 * (256 + 1) + 10,
    });
    assert_eq!(
        run(
            &mut store,
            Op::Put {
                key: b"a",
                value: b"12345"
            }
        ),
        written(1)
    );
    assert_eq!(
        run(
            &mut store,
            Op::Put {
                key: b"b",
                value: b"12345"
            }
        ),
        written(2)
    );
    let root = store.root();
    assert_eq!(
        run(&mut store, Op::Put { key: b"c", value: b"" }),
        OpResult::Full.encode()
    );
    assert_eq!(
        run(
            &mut store,
            Op::Put {
                key: b"a",
                value: b"123456"
            }
        ),
        OpResult::Full.encode()
    );
    assert_eq!(store.root(), root);
    assert_eq!(
        run(
            &mut store,
            Op::Put {
                key: b"a",
                value: b"54321"
            }
        ),
        written(3)
    );
    assert_eq!(
        run(&mut store, Op::Delete { key: b"b" }),
        OpResult::Deleted { version: 2 }.encode()
    );
    assert_eq!(
        run(
            &mut store,
            Op::Put {
                key: b"c",
                value: b"123"
            }
        ),
        written(5)
    );
}

#[test]
fn many_entries_go_to_the_tree_unasked() {
    let (mut store, mut model) = (Kv::new(), Model::default());
    for index in 0..40_000u32 {
        let key = (index % 20_000).to_le_bytes();
        let op = if index % 3 == 0 {
            Op::Delete { key: &key }
        } else {
            Op::Put { key: &key, value: b"v" }
        };
        assert_eq!(store.run(&op, |result| result.encode()), model.run(&op));
    }
    assert_eq!(store.root(), model.root());
}
