//! Requests that follow from a seed. Values are cut from a pool of random bytes: a copy, not a number for each byte.

use trireme_config::AppKind;
use trireme_state::kv;

use crate::random::Random;

/// Bytes of random data that values are cut from.
const POOL_BYTES: usize = 1 << 20;

/// Makes requests.
pub(crate) struct Payloads {
    app: AppKind,
    bytes: usize,
    keys: u64,
    random: Random,
    pool: Vec<u8>,
    made: u64,
    value: Vec<u8>,
}

impl Payloads {
    pub(crate) fn new(app: AppKind, bytes: usize, keys: u32, seed: u64) -> Self {
        let mut random = Random::new(seed, 0x9a71);
        let words = (POOL_BYTES + bytes).div_ceil(8);
        let pool = (0..words).flat_map(|_| random.next().to_le_bytes()).collect();
        Self {
            app,
            bytes,
            keys: u64::from(keys),
            random,
            pool,
            made: 0,
            value: Vec::new(),
        }
    }

    /// Writes the next request into `out`. The running number in front makes every value another one.
    pub(crate) fn next(&mut self, out: &mut Vec<u8>) {
        let offset = usize::try_from(self.random.below(POOL_BYTES as u64)).expect("below the pool's length");
        self.value.clear();
        self.value.extend_from_slice(&self.pool[offset..offset + self.bytes]);
        let stamp = self.made.to_le_bytes();
        let len = stamp.len().min(self.bytes);
        self.value[..len].copy_from_slice(&stamp[..len]);
        self.made += 1;
        out.clear();
        match self.app {
            AppKind::Null => out.extend_from_slice(&self.value),
            AppKind::Kv => {
                let key = key(self.random.below(self.keys));
                kv::Op::Put {
                    key: &key,
                    value: &self.value,
                }
                .encode_into(out);
            }
        }
    }
}

/// The name of key number `index`: `key-` and 12 decimal digits.
fn key(mut index: u64) -> [u8; 16] {
    let mut key = *b"key-000000000000";
    for place in key[4..].iter_mut().rev() {
        *place = b'0' + u8::try_from(index % 10).expect("a digit");
        index /= 10;
    }
    key
}

/// Whether a result says that the write took effect.
pub(crate) fn took_effect(app: AppKind, result: &[u8]) -> bool {
    match app {
        AppKind::Null => true,
        AppKind::Kv => matches!(kv::OpResult::decode(result), Ok(kv::OpResult::Written { .. })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_gives_the_same_requests_again_and_no_two_are_equal() {
        let make = |seed| {
            let mut payloads = Payloads::new(AppKind::Kv, 512, 100, seed);
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
            let (mut payloads, mut out) = (Payloads::new(AppKind::Null, bytes, 1, 1), Vec::new());
            payloads.next(&mut out);
            assert_eq!(out.len(), bytes);
        }
    }

    #[test]
    fn only_a_written_key_counts_as_an_effect() {
        let mut result = Vec::new();
        kv::OpResult::Written { version: 3 }.encode_into(&mut result);
        assert!(took_effect(AppKind::Kv, &result));
        result.clear();
        kv::OpResult::Full.encode_into(&mut result);
        assert!(!took_effect(AppKind::Kv, &result) && took_effect(AppKind::Null, &result));
    }
}
