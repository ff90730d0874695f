//! Requests that follow from a seed. Values are cut from a pool of random bytes: a copy, not a number for each byte.

use trireme_config::AppKind;
use trireme_history::Kind;
use trireme_state::kv;

use crate::history::value_name;
use crate::options::{LoadOptions, Mix};
use crate::random::Random;

/// Bytes of random data that values are cut from.
const POOL_BYTES: usize = 1 << 20;

/// What a request asks for, for its row in a history.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) kind: Kind,
    /// Number of the key.
    pub(crate) key: u64,
    /// Name of the written value, if a history is recorded.
    pub(crate) value: Option<String>,
    /// The version that a compare-and-set expects.
    pub(crate) expected: u64,
}

/// Makes requests.
pub(crate) struct Payloads {
    app: AppKind,
    bytes: usize,
    keys: u64,
    mix: Mix,
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
        let (bytes, keys) = (options.payload_bytes, options.keys);
        let mut random = Random::new(options.seed, 0x9a71);
        let words = (POOL_BYTES + bytes).div_ceil(8);
        let pool = (0..words).flat_map(|_| random.next().to_le_bytes()).collect();
        let known = if options.mix == Mix::All { keys as usize } else { 0 };
        Self {
            app: options.app,
            bytes,
            keys: u64::from(keys),
            mix: options.mix,
            named: options.history.is_some(),
            versions: vec![0; known],
            random,
            pool,
            made: 0,
            value: Vec::new(),
        }
    }

    /// Writes the next request into `out`.
    pub(crate) fn next(&mut self, out: &mut Vec<u8>) -> Asked {
        self.make_value();
        out.clear();
        if self.app == AppKind::Null {
            out.extend_from_slice(&self.value);
            return self.asked(Kind::Put, 0, 0);
        }
        let index = self.random.below(self.keys);
        let (key, value) = (key_name(index), self.value.as_slice());
        let kind = match self.mix {
            Mix::Writes => Kind::Put,
            Mix::All => match self.random.below(20) {
                0..=7 => Kind::Put,
                8..=14 => Kind::Get,
                15..=16 => Kind::Delete,
                _ => Kind::Cas,
            },
        };
        let version = usize::try_from(index).ok().and_then(|index| self.versions.get(index));
        let expected = version.copied().unwrap_or(0);
        let op = match kind {
            Kind::Put => kv::Op::Put { key: &key, value },
            Kind::Get => kv::Op::Get { key: &key },
            Kind::Delete => kv::Op::Delete { key: &key },
            Kind::Cas => kv::Op::CompareAndSet {
                key: &key,
                expected,
                value,
            },
        };
        op.encode_into(out);
        self.asked(kind, index, expected)
    }

    fn asked(&self, kind: Kind, key: u64, expected: u64) -> Asked {
        let named = self.named && matches!(kind, Kind::Put | Kind::Cas);
        Asked {
            kind,
            key,
            value: named.then(|| value_name(&self.value)),
            expected,
        }
    }

    /// The running number in front makes every value another one.
    fn make_value(&mut self) {
        let offset = usize::try_from(self.random.below(POOL_BYTES as u64)).expect("below the pool's length");
        self.value.clear();
        self.value.extend_from_slice(&self.pool[offset..offset + self.bytes]);
        let stamp = self.made.to_le_bytes();
        let len = stamp.len().min(self.bytes);
        self.value[..len].copy_from_slice(&stamp[..len]);
        self.made += 1;
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

/// Whether a result says that the application did what was asked. A read that finds nothing, and a compare-and-set that
/// finds another version, did.
pub(crate) fn took_effect(app: AppKind, mix: Mix, result: &[u8]) -> bool {
    let result = match app {
        AppKind::Null => return true,
        AppKind::Kv => kv::OpResult::decode(result),
    };
    match mix {
        Mix::Writes => matches!(result, Ok(kv::OpResult::Written { .. })),
        Mix::All => !matches!(result, Err(_) | Ok(kv::OpResult::Full | kv::OpResult::Malformed(_))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_gives_the_same_requests_again_and_no_two_are_equal() {
        let make = |seed| {
            let mut payloads = Payloads::new(&LoadOptions {
                keys: 100,
                seed,
                ..LoadOptions::default()
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
                payload_bytes: bytes,
                ..LoadOptions::default()
            };
            let (mut payloads, mut out) = (Payloads::new(&options), Vec::new());
            payloads.next(&mut out);
            assert_eq!(out.len(), bytes);
        }
    }

    #[test]
    fn a_mixed_load_asks_for_everything_and_expects_what_it_heard() {
        let mut payloads = Payloads::new(&LoadOptions {
            keys: 10,
            mix: Mix::All,
            ..LoadOptions::default()
        });
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
            }
        }
        assert_eq!(kinds.len(), 4);
    }

    #[test]
    fn an_effect_is_what_the_load_asked_for() {
        let effect = |mix, result: kv::OpResult<'_>| took_effect(AppKind::Kv, mix, &result.encode());
        assert!(effect(Mix::Writes, kv::OpResult::Written { version: 3 }));
        assert!(!effect(Mix::Writes, kv::OpResult::Full) && !effect(Mix::All, kv::OpResult::Full));
        assert!(effect(Mix::All, kv::OpResult::Absent) && !effect(Mix::Writes, kv::OpResult::Absent));
        assert!(took_effect(AppKind::Null, Mix::Writes, &[]));
    }
}
