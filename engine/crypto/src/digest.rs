//! Domain-separated hashing (R-STATEMENT).

use blake3::hazmat::HasherExt;
use borsh::BorshSerialize;

use crate::bytes::Digest;
use crate::context;

/// The digest of `bytes` under `context`: BLAKE3 in key derivation mode.
#[inline]
pub fn hash(context: &'static str, bytes: &[u8]) -> Digest {
    hash_parts(context, &[bytes])
}

/// The digest of the concatenation of `parts` under `context`.
///
/// Where one part ends is not hashed: the caller makes the parts self-delimiting (fixed sizes, or lengths in front).
#[inline]
pub fn hash_parts(context: &'static str, parts: &[&[u8]]) -> Digest {
    let mut hasher = hasher(context);
    for part in parts {
        hasher.update(part);
    }
    finish(&hasher)
}

/// The digest of `value`'s canonical encoding under `context`, without building the encoding in memory.
///
/// # Panics
///
/// If `value` has no encoding; see [`encode`](crate::encode).
pub fn hash_of<T: BorshSerialize + ?Sized>(context: &'static str, value: &T) -> Digest {
    let mut hasher = hasher(context);
    write_encoding(&mut hasher, value);
    finish(&hasher)
}

/// Where and when a statement is made: no statement of one cluster and epoch is one of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain {
    /// The digest of the cluster's genesis.
    pub cluster_id: Digest,
    /// The epoch whose members make the statement.
    pub epoch: u64,
}

impl Domain {
    /// What is signed for a statement of kind `context` whose canonical encoding is `canonical_bytes`:
    /// `derive_key(context, cluster_id || epoch as 8 bytes, little-endian || canonical_bytes)`. R-STATEMENT.
    #[inline]
    pub fn statement(&self, context: &'static str, canonical_bytes: &[u8]) -> Digest {
        hash_parts(
            context,
            &[&self.cluster_id.0, &self.epoch.to_le_bytes(), canonical_bytes],
        )
    }

    /// [`Domain::statement`] of `value`'s canonical encoding, without building the encoding in memory.
    ///
    /// # Panics
    ///
    /// If `value` has no encoding; see [`encode`](crate::encode).
    pub fn statement_of<T: BorshSerialize + ?Sized>(&self, context: &'static str, value: &T) -> Digest {
        let mut hasher = hasher(context);
        hasher.update(&self.cluster_id.0).update(&self.epoch.to_le_bytes());
        write_encoding(&mut hasher, value);
        finish(&hasher)
    }
}

#[inline]
pub(crate) fn hasher(context: &'static str) -> blake3::Hasher {
    blake3::Hasher::new_from_context_key(&context::key(context))
}

#[inline]
fn finish(hasher: &blake3::Hasher) -> Digest {
    Digest(*hasher.finalize().as_bytes())
}

fn write_encoding<T: BorshSerialize + ?Sized>(hasher: &mut blake3::Hasher, value: &T) {
    value.serialize(&mut Sink(hasher)).expect(crate::encoding::NO_ENCODING);
}

/// Lets an encoding flow into a hasher. A type of its own: without `std` the hasher implements no writer.
struct Sink<'a>(&'a mut blake3::Hasher);

impl borsh::io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> borsh::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> borsh::io::Result<()> {
        Ok(())
    }
}
