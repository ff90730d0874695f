//! What the root covers of the store, and how it is written into images.
//!
//! A leaf is `version: u64 || key length: u16 || key || value`, the head is the revision as `u64`; little-endian.

use trireme_crypto::{Digest, ManyHasher, context, hash_parts, padding};

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

/// What stands there: of the version, the value and its length, with zeros up to whole blocks, so that many values are
/// hashed at once ([`ValueHasher`]).
pub(crate) fn value(version: u64, value: &[u8]) -> Digest {
    hash_parts(context::STATE, &[&value_head(version, value), value, value_tail(value)])
}

const VALUE_HEAD_BYTES: usize = 8 + 8 + 4;

fn value_head(version: u64, value: &[u8]) -> [u8; VALUE_HEAD_BYTES] {
    let mut head = *b"kv val 2............";
    let len = u32::try_from(value.len()).expect("values are bounded");
    head[8..16].copy_from_slice(&version.to_le_bytes());
    head[16..].copy_from_slice(&len.to_le_bytes());
    head
}

fn value_tail(value: &[u8]) -> &'static [u8] {
    padding(VALUE_HEAD_BYTES + value.len())
}

/// Gives the digests of many values, several at once.
#[derive(Clone, Debug)]
pub(crate) struct ValueHasher(ManyHasher);

impl ValueHasher {
    pub(crate) fn new() -> Self {
        Self(ManyHasher::new(context::STATE))
    }

    /// Appends [`value`] to `out`, which is the same list until [`ValueHasher::finish`]; there it is afterwards.
    pub(crate) fn push(&mut self, version: u64, value: &[u8], out: &mut Vec<Digest>) {
        self.0
            .push(&[&value_head(version, value), value, value_tail(value)], out);
    }

    /// Computes what is left.
    pub(crate) fn finish(&mut self, out: &mut [Digest]) {
        self.0.finish(out);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_same_digests_one_by_one_and_together() {
        let values: Vec<Vec<u8>> = (0..100).map(|index| vec![9; index * 37 % 700]).collect();
        let (mut hasher, mut together) = (ValueHasher::new(), Vec::new());
        (1..)
            .zip(&values)
            .for_each(|(version, each)| hasher.push(version, each, &mut together));
        hasher.finish(&mut together);
        let single: Vec<Digest> = (1..).zip(&values).map(|(version, each)| value(version, each)).collect();
        assert_eq!(together, single);
        assert_ne!(
            value(1, b""),
            value(1, b"\0"),
            "zeros that fill a block are not those of a value"
        );
    }
}
