//! Requests that follow from a seed. Values are cut from a pool of random bytes: a copy, not a number for each byte.

use trireme_config::AppKind;
use trireme_history as history;
use trireme_state::kv;

use crate::history::value_name;
use crate::keys::Keys;
use crate::options::LoadOptions;
use crate::random::Random;
use crate::sizes::Sizes;
use crate::workload::{Deck, Operation};

/// Bytes of random data that values are cut from.
const POOL_BYTES: usize = 1 << 20;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Put,
    Get,
    Delete,
    Cas,
    Scan,
}

impl Kind {
    /// As a history has it; scans have no place there.
    pub(crate) fn recorded(self) -> Option<history::Kind> {
        match self {
            Self::Put => Some(history::Kind::Put),
            Self::Get => Some(history::Kind::Get),
            Self::Delete => Some(history::Kind::Delete),
            Self::Cas => Some(history::Kind::Cas),
            Self::Scan => None,
        }
    }
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The operation that it belongs to.
    pub(crate) operation: Operation,
    /// What it is itself.
    pub(crate) kind: Kind,
    /// Number of the key.
    pub(crate) key: u64,
    /// Bytes of the written value (`kv`), of the request (`null`).
    pub(crate) bytes: u32,
    /// Name of the written value, if a history is recorded.
    pub(crate) value: Option<String>,
    /// The version that a compare-and-set expects.
    pub(crate) expected: u64,
}

/// Makes requests.
pub(crate) struct Payloads {
    app: AppKind,
    value_bytes: Sizes,
    scan_length: Sizes,
    deck: Deck,
    keys: Keys,
    /// Whether values need names.
    named: bool,
    /// The version that was last heard of each key, for compare-and-set; empty without.
    versions: Vec<u64>,
    random: Random,
    pool: Vec<u8>,
    made: u64,
    value: Vec<u8>,
}

impl Payloads {
    pub(crate) fn new(options: &LoadOptions) -> Self {
        let workload = &options.workload;
        let mut random = Random::new(options.seed, 0x9a71);
        let words = (POOL_BYTES + workload.value.largest() as usize).div_ceil(8);
        let pool = (0..words).flat_map(|_| random.next().to_le_bytes()).collect();
        let versioned = workload.mix.has(Operation::CompareAndSet);
        let known = if versioned { workload.keys as usize } else { 0 };
        Self {
            app: options.app,
            value_bytes: workload.value,
            scan_length: workload.scan_length,
            deck: Deck::new(&workload.mix),
            keys: Keys::new(
                workload.distribution,
                u64::from(workload.keys),
                options.part,
                options.parts,
            ),
            named: options.history.is_some(),
            versions: vec![0; known],
            random,
            pool,
            made: 0,
            value: Vec::new(),
        }
    }

    /// Writes the first request of the next operation into `out`.
    pub(crate) fn next(&mut self, out: &mut Vec<u8>) -> Asked {
        let operation = self.deck.draw(&mut self.random);
        let kind = match operation {
            Operation::Read | Operation::ReadModifyWrite => Kind::Get,
            Operation::Scan => Kind::Scan,
            Operation::Update | Operation::Insert => Kind::Put,
            Operation::Delete => Kind::Delete,
            Operation::CompareAndSet => Kind::Cas,
        };
        if self.app == AppKind::Null {
            self.make_value();
            out.clear();
            out.extend_from_slice(&self.value);
            return self.asked(operation, kind, 0, 0);
        }
        let key = match operation {
            Operation::Insert => self.keys.insert(),
            _ => self.keys.choose(&mut self.random),
        };
        self.request(operation, kind, key, out)
    }

    /// The put that follows the get of a read-modify-write.
    pub(crate) fn write_back(&mut self, key: u64, out: &mut Vec<u8>) -> Asked {
        self.request(Operation::ReadModifyWrite, Kind::Put, key, out)
    }

    /// The put that fills a key before the load.
    pub(crate) fn fill(&mut self, key: u64, out: &mut Vec<u8>) -> Asked {
        self.request(Operation::Insert, Kind::Put, key, out)
    }

    fn request(&mut self, operation: Operation, kind: Kind, key: u64, out: &mut Vec<u8>) -> Asked {
        if matches!(kind, Kind::Put | Kind::Cas) {
            self.make_value();
        }
        let expected = usize::try_from(key)
            .ok()
            .and_then(|place| self.versions.get(place).copied())
            .unwrap_or(0);
        let limit = match kind {
            Kind::Scan => self.scan_length.draw(&mut self.random),
            _ => 0,
        };
        let (name, value) = (key_name(key), self.value.as_slice());
        let key_bytes = &name[..];
        let op = match kind {
            Kind::Put => kv::Op::Put { key: key_bytes, value },
            Kind::Get => kv::Op::Get { key: key_bytes },
            Kind::Delete => kv::Op::Delete { key: key_bytes },
            Kind::Cas => kv::Op::CompareAndSet {
                key: key_bytes,
                expected,
                value,
            },
            Kind::Scan => kv::Op::Scan {
                start: key_bytes,
                limit: u16::try_from(limit).expect("a scan's length is bounded"),
            },
        };
        out.clear();
        op.encode_into(out);
        self.asked(operation, kind, key, expected)
    }

    fn asked(&self, operation: Operation, kind: Kind, key: u64, expected: u64) -> Asked {
        let writes = matches!(kind, Kind::Put | Kind::Cas);
        let named = self.named && writes;
        Asked {
            operation,
            kind,
            key,
            bytes: if writes {
                u32::try_from(self.value.len()).unwrap_or(u32::MAX)
            } else {
                0
            },
            value: named.then(|| value_name(&self.value)),
            expected,
        }
    }

    /// The running number in front makes every value another one.
    fn make_value(&mut self) {
        let bytes = self.value_bytes.draw(&mut self.random) as usize;
        let offset = usize::try_from(self.random.below(POOL_BYTES as u64)).expect("below the pool's length");
        self.value.clear();
        self.value.extend_from_slice(&self.pool[offset..offset + bytes]);
        let stamp = self.made.to_le_bytes();
        let len = stamp.len().min(bytes);
        self.value[..len].copy_from_slice(&stamp[..len]);
        self.made += 1;
    }

    /// An insert has ended, well or not: its key may be chosen.
    pub(crate) fn settled(&mut self, asked: &Asked) {
        if asked.operation == Operation::Insert {
            self.keys.settle(asked.key);
        }
    }

    /// A result tells a key's version: the next compare-and-set of that key expects it.
    pub(crate) fn heard(&mut self, key: u64, result: &[u8]) {
        let Some(known) = usize::try_from(key).ok().and_then(|key| self.versions.get_mut(key)) else {
            return;
        };
        match kv::OpResult::decode(result) {
            Ok(
                kv::OpResult::Written { version }
                | kv::OpResult::Value { version, .. }
                | kv::OpResult::Mismatch { version },
            ) => *known = version,
            Ok(kv::OpResult::Absent | kv::OpResult::Deleted { .. }) => *known = 0,
            _ => {}
        }
    }
}

/// The name of key number `index`: `key-` and 12 decimal digits.
pub(crate) fn key_name(mut index: u64) -> [u8; 16] {
    let mut key = *b"key-000000000000";
    for place in key[4..].iter_mut().rev() {
        *place = b'0' + u8::try_from(index % 10).expect("a digit");
        index /= 10;
    }
    key
}

/// What a result says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The application did what was asked.
    Done,
    /// So it did, and found no such key.
    NotFound,
    /// So it did, and found another version than was expected.
    Conflict,
    /// It did something else, or nothing.
    None,
}

/// What the application made of a request.
pub(crate) fn effect(app: AppKind, kind: Kind, result: &[u8]) -> Effect {
    use kv::OpResult as R;
    if app == AppKind::Null {
        return Effect::Done;
    }
    match (kind, kv::OpResult::decode(result)) {
        (Kind::Put | Kind::Cas, Ok(R::Written { .. }))
        | (Kind::Get, Ok(R::Value { .. }))
        | (Kind::Delete, Ok(R::Deleted { .. })) => Effect::Done,
        (Kind::Scan, Ok(R::Found(found))) if found.keys().next().is_some() => Effect::Done,
        (Kind::Scan, Ok(R::Found(_))) => Effect::NotFound,
        (Kind::Get | Kind::Delete, Ok(R::Absent)) => Effect::NotFound,
        (Kind::Cas, Ok(R::Mismatch { .. })) => Effect::Conflict,
        _ => Effect::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Mix, Workload};
    use std::collections::BTreeSet;

    fn options(workload: Workload) -> LoadOptions {
        LoadOptions {
            workload,
            ..LoadOptions::default()
        }
    }

    #[test]
    fn a_seed_gives_the_same_requests_again_and_no_two_are_equal() {
        let make = |seed| {
            let mut payloads = Payloads::new(&LoadOptions {
                seed,
                ..options(Workload {
                    keys: 100,
                    ..Workload::default()
                })
            });
            let one = |_| {
                let mut out = Vec::new();
                payloads.next(&mut out);
                out
            };
            (0..1_000).map(one).collect::<Vec<_>>()
        };
        let requests = make(5);
        assert_eq!(requests, make(5));
        assert_ne!(requests, make(6));
        assert_eq!(requests.iter().collect::<BTreeSet<_>>().len(), 1_000);
        let mut keys = BTreeSet::new();
        for request in &requests {
            match kv::Op::decode(request) {
                Ok(kv::Op::Put { key, value }) if value.len() == 512 => keys.insert(key),
                other => panic!("{other:?}"),
            };
        }
        assert_eq!(keys.len(), 100);
        assert_eq!(*keys.last().unwrap(), b"key-000000000099");
    }

    #[test]
    fn null_requests_have_the_wanted_length_even_if_tiny() {
        for bytes in [1, 7, 8, 9, 4_096] {
            let options = LoadOptions {
                app: AppKind::Null,
                ..options(Workload {
                    value: Sizes::Constant(bytes),
                    ..Workload::default()
                })
            };
            let (mut payloads, mut out) = (Payloads::new(&options), Vec::new());
            payloads.next(&mut out);
            assert_eq!(out.len(), bytes as usize);
        }
    }

    #[test]
    fn a_mixed_load_asks_for_everything_and_expects_what_it_heard() {
        let mut payloads = Payloads::new(&options(Workload {
            keys: 10,
            ..Workload::named("history").unwrap()
        }));
        (0..10).for_each(|key| payloads.heard(key, &kv::OpResult::Written { version: 50 + key }.encode()));
        payloads.heard(4, &kv::OpResult::Deleted { version: 54 }.encode());
        let (mut out, mut kinds) = (Vec::new(), BTreeSet::new());
        for _ in 0..1_000 {
            let asked = payloads.next(&mut out);
            match kv::Op::decode(&out).unwrap() {
                kv::Op::CompareAndSet { key, expected, .. } => {
                    assert_eq!((key, expected), (&key_name(asked.key)[..], asked.expected));
                    assert_eq!(expected, if asked.key == 4 { 0 } else { 50 + asked.key });
                    kinds.insert(4);
                }
                kv::Op::Put { .. } => drop(kinds.insert(1)),
                kv::Op::Get { .. } => drop(kinds.insert(2)),
                kv::Op::Delete { .. } => drop(kinds.insert(3)),
                kv::Op::Scan { .. } => panic!("nobody asked for scans"),
            }
        }
        assert_eq!(kinds.len(), 4);
    }

    #[test]
    fn a_read_modify_write_reads_a_key_and_writes_the_same() {
        let mut payloads = Payloads::new(&options(Workload {
            mix: Mix::of(&[(Operation::ReadModifyWrite, 1.0)]),
            ..Workload::default()
        }));
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let asked = payloads.next(&mut first);
        let then = payloads.write_back(asked.key, &mut second);
        let (get, put) = (kv::Op::decode(&first).unwrap(), kv::Op::decode(&second).unwrap());
        assert!(matches!(get, kv::Op::Get { .. }) && matches!(put, kv::Op::Put { .. }));
        assert_eq!((get.key(), then.operation), (put.key(), Operation::ReadModifyWrite));
    }

    #[test]
    fn scans_begin_at_keys_and_have_the_lengths_that_were_asked_for() {
        let mut payloads = Payloads::new(&options(Workload {
            keys: 10,
            ..Workload::named("ycsb-e").unwrap()
        }));
        let (mut out, mut limits, mut inserts) = (Vec::new(), BTreeSet::new(), 0);
        for _ in 0..2_000 {
            let asked = payloads.next(&mut out);
            match kv::Op::decode(&out).unwrap() {
                kv::Op::Scan { start, limit } => {
                    assert_eq!((start, asked.kind.recorded()), (&key_name(asked.key)[..], None));
                    limits.insert(limit);
                }
                kv::Op::Put { .. } => inserts += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((limits.first(), limits.last()), (Some(&1), Some(&100)));
        assert!((50..150).contains(&inserts), "{inserts}");
    }

    #[test]
    fn an_effect_is_what_the_request_asked_for() {
        let of = |kind, result: kv::OpResult<'_>| effect(AppKind::Kv, kind, &result.encode());
        assert_eq!(of(Kind::Put, kv::OpResult::Written { version: 3 }), Effect::Done);
        assert_eq!(of(Kind::Put, kv::OpResult::Full), Effect::None);
        assert_eq!(of(Kind::Put, kv::OpResult::Absent), Effect::None);
        assert_eq!(of(Kind::Get, kv::OpResult::Absent), Effect::NotFound);
        assert_eq!(of(Kind::Get, kv::OpResult::Written { version: 3 }), Effect::None);
        assert_eq!(of(Kind::Cas, kv::OpResult::Mismatch { version: 3 }), Effect::Conflict);
        assert_eq!(effect(AppKind::Kv, Kind::Get, &[99]), Effect::None);
        assert_eq!(effect(AppKind::Null, Kind::Put, &[]), Effect::Done);
    }
}
