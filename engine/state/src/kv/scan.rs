//! Reading keys in their order: the index of keys, and what a scan found, byte for byte (integers little-endian).
//!
//! ```text
//! found   [8][more u8] and for each key, ascending: [key_len u16][value_len u32][version u64][key][value]
//! ```

use std::collections::BTreeSet;
use std::ops::Bound;

use super::op::{BadOp, MAX_KEY_BYTES, MAX_VALUE_BYTES};
use trireme_core::reply::MAX_RESULT_BYTES;

/// The most keys that one scan may ask for.
pub const MAX_SCAN_KEYS: u16 = 1_000;

/// Bytes of a result before its first entry.
const HEAD_BYTES: usize = 2;
/// Bytes of an entry beside its key and value.
const ENTRY_BYTES: usize = 2 + 4 + 8;

const _: () = assert!(HEAD_BYTES + ENTRY_BYTES + MAX_KEY_BYTES + MAX_VALUE_BYTES <= MAX_RESULT_BYTES);

/// The keys present, in order. Touched when a key comes or goes, not when its value changes; no part of images or roots,
/// since it follows from the keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Order(BTreeSet<Box<[u8]>>);

impl Order {
    pub(super) fn insert(&mut self, key: &[u8]) {
        self.0.insert(key.into());
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.0.remove(key);
    }

    /// Keys from this one on.
    pub(super) fn from(&self, start: &[u8]) -> impl Iterator<Item = &[u8]> {
        let range = (Bound::Included(start), Bound::Unbounded);
        self.0.range::<[u8], _>(range).map(|key| &**key)
    }
}

/// What a scan found, borrowed from its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    bytes: &'a [u8],
    more: bool,
}

/// A key of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundKey<'a> {
    /// Which.
    pub key: &'a [u8],
    /// Its version.
    pub version: u64,
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Found<'a> {
    /// Whether further keys follow that the scan had no room for, or was not asked for.
    pub fn more(&self) -> bool {
        self.more
    }

    /// The keys, ascending.
    pub fn keys(&self) -> impl Iterator<Item = FoundKey<'a>> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || (!rest.is_empty()).then(|| entry(&mut rest).expect("checked when it was read")))
    }

    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.more));
        out.extend_from_slice(self.bytes);
    }

    /// Reads what follows the kind of a result.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, BadOp> {
        let (more, bytes) = bytes.split_first().ok_or(BadOp::Truncated)?;
        let more = match more {
            0 => false,
            1 => true,
            _ => return Err(BadOp::Tag),
        };
        let (mut rest, mut last, mut count): (_, &[u8], _) = (bytes, &[], 0);
        while !rest.is_empty() {
            let found = entry(&mut rest)?;
            count += 1;
            if found.key <= last || count > usize::from(MAX_SCAN_KEYS) {
                return Err(BadOp::Key);
            }
            last = found.key;
        }
        Ok(Self { bytes, more })
    }
}

impl std::fmt::Debug for Found<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} key(s)", self.keys().count())
    }
}

fn entry<'a>(rest: &mut &'a [u8]) -> Result<FoundKey<'a>, BadOp> {
    let (key_len, after) = rest.split_first_chunk().ok_or(BadOp::Truncated)?;
    let (value_len, after) = after.split_first_chunk().ok_or(BadOp::Truncated)?;
    let (version, after) = after.split_first_chunk().ok_or(BadOp::Truncated)?;
    let key_len = usize::from(u16::from_le_bytes(*key_len));
    let value_len = usize::try_from(u32::from_le_bytes(*value_len)).map_err(|_| BadOp::Value)?;
    if key_len == 0 || key_len > MAX_KEY_BYTES {
        return Err(BadOp::Key);
    }
    if value_len > MAX_VALUE_BYTES {
        return Err(BadOp::Value);
    }
    let (key, after) = after.split_at_checked(key_len).ok_or(BadOp::Truncated)?;
    let (value, after) = after.split_at_checked(value_len).ok_or(BadOp::Truncated)?;
    *rest = after;
    let version = u64::from_le_bytes(*version);
    Ok(FoundKey { key, version, value })
}

/// Entries of a result under way.
#[derive(Debug, Default)]
pub(super) struct Finding {
    bytes: Vec<u8>,
    more: bool,
}

impl Finding {
    /// Collects entries up to `limit`, as long as the result stays within [`MAX_RESULT_BYTES`]. The first one always
    /// fits: so who goes on from the last key comes to an end.
    pub(super) fn collect<'a>(&mut self, limit: u16, mut keys: impl Iterator<Item = FoundKey<'a>>) -> Found<'_> {
        self.bytes.clear();
        let mut left = limit;
        self.more = keys.any(|found| {
            let bytes = ENTRY_BYTES + found.key.len() + found.value.len();
            let fits = left > 0 && HEAD_BYTES + self.bytes.len() + bytes <= MAX_RESULT_BYTES;
            if fits {
                left -= 1;
                self.push(found);
            }
            !fits
        });
        Found {
            bytes: &self.bytes,
            more: self.more,
        }
    }

    fn push(&mut self, found: FoundKey<'_>) {
        let key_len = u16::try_from(found.key.len()).expect("keys are short");
        let value_len = u32::try_from(found.value.len()).expect("values are short");
        self.bytes.extend_from_slice(&key_len.to_le_bytes());
        self.bytes.extend_from_slice(&value_len.to_le_bytes());
        self.bytes.extend_from_slice(&found.version.to_le_bytes());
        self.bytes.extend_from_slice(found.key);
        self.bytes.extend_from_slice(found.value);
    }
}
