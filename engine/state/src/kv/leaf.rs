//! What the root covers of the store, and how it is written into images.
//!
//! A leaf is `version: u64 || key length: u16 || key || value`, the head is the revision as `u64`; little-endian.

use trireme_crypto::{Digest, context, hash_parts};

/// A key as an image has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf<'a> {
    pub(crate) version: u64,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// Where a key stands in the tree.
pub(crate) fn place(key: &[u8]) -> Digest {
    hash_parts(context::STATE, &[b"kv key  ", key])
}

/// What stands there.
pub(crate) fn value(version: u64, value: &[u8]) -> Digest {
    hash_parts(context::STATE, &[b"kv value", &version.to_le_bytes(), value])
}

/// The store's root.
pub(crate) fn root(revision: u64, map: &Digest) -> Digest {
    hash_parts(context::STATE, &[b"kv root ", &revision.to_le_bytes(), &map.0])
}

/// Writes a leaf over what `out` held.
pub(crate) fn encode(version: u64, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&u16::try_from(key.len()).expect("keys are short").to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// Reads a leaf.
pub(crate) fn decode(bytes: &[u8]) -> Option<Leaf<'_>> {
    let (version, rest) = bytes.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (key, value) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    let version = u64::from_le_bytes(*version);
    Some(Leaf { version, key, value })
}

/// Reads a head.
pub(crate) fn read_head(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}
