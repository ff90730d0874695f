//! Digests of many short inputs at once.
//!
//! BLAKE3 works on one block of an input after the other, so a short input keeps most of a processor's vector unit
//! idle: half a kilobyte takes as long as sixteen of them side by side. [`ManyHasher`] collects inputs of equal length
//! and hashes them so. What comes out is what [`hash_parts`] gives for each.

use alloc::vec::Vec;

use blake3::IncrementCounter;
use blake3::platform::Platform;

use crate::bytes::Digest;
use crate::context;
use crate::digest::hash_parts;

/// Bytes of a block: inputs come in whole ones.
const BLOCK_BYTES: usize = 64;
/// Blocks of the longest input that is hashed beside others; a longer one keeps the vector unit busy by itself.
const MAX_BLOCKS: usize = 16;
/// Inputs that are hashed at once.
const LANES: usize = 16;

// The flags of BLAKE3's specification, section 2.1.
const CHUNK_START: u8 = 1 << 0;
const CHUNK_END: u8 = 1 << 1;
const ROOT: u8 = 1 << 3;
const DERIVE_KEY_MATERIAL: u8 = 1 << 6;

/// The zeros that fill an input of `len` bytes up to whole blocks. An input that is filled holds its length, too.
pub fn padding(len: usize) -> &'static [u8] {
    const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
    &ZEROS[..len.next_multiple_of(BLOCK_BYTES) - len]
}

/// Inputs of one length that wait for company.
#[derive(Clone, Debug, Default)]
struct Class {
    bytes: Vec<u8>,
    /// Where their digests go.
    places: Vec<usize>,
}

/// Hashes inputs under one context into a list of digests. Between [`ManyHasher::push`] and [`ManyHasher::finish`]
/// digests that are not computed yet are [`Digest::ZERO`]. Holds 140 KB at the most.
#[derive(Clone, Debug)]
pub struct ManyHasher {
    context: &'static str,
    classes: [Class; MAX_BLOCKS],
}

impl ManyHasher {
    /// For inputs under `context`.
    pub fn new(context: &'static str) -> Self {
        Self {
            context,
            classes: core::array::from_fn(|_| Class::default()),
        }
    }

    /// Appends the digest of the concatenation of `parts` to `out`, or a place for it. `out` is the same list until
    /// [`ManyHasher::finish`].
    ///
    /// # Panics
    ///
    /// If the parts are not whole blocks together, or empty.
    pub fn push(&mut self, parts: &[&[u8]], out: &mut Vec<Digest>) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        assert!(len > 0 && len.is_multiple_of(BLOCK_BYTES), "inputs are whole blocks");
        let blocks = len / BLOCK_BYTES;
        if blocks > MAX_BLOCKS {
            out.push(hash_parts(self.context, parts));
            return;
        }
        let class = &mut self.classes[blocks - 1];
        for part in parts {
            class.bytes.extend_from_slice(part);
        }
        class.places.push(out.len());
        out.push(Digest::ZERO);
        if class.places.len() == LANES {
            class.solve(self.context, blocks, out);
        }
    }

    /// Computes what is left.
    pub fn finish(&mut self, out: &mut [Digest]) {
        for (class, blocks) in self.classes.iter_mut().zip(1..) {
            class.solve(self.context, blocks, out);
        }
    }
}

impl Class {
    fn solve(&mut self, context: &'static str, blocks: usize, out: &mut [Digest]) {
        if self.places.is_empty() {
            return;
        }
        let mut digests = [0; LANES * 32];
        let solve = [
            solve::<64>,
            solve::<128>,
            solve::<192>,
            solve::<256>,
            solve::<320>,
            solve::<384>,
            solve::<448>,
            solve::<512>,
            solve::<576>,
            solve::<640>,
            solve::<704>,
            solve::<768>,
            solve::<832>,
            solve::<896>,
            solve::<960>,
            solve::<1024>,
        ][blocks - 1];
        solve(context, &self.bytes, &mut digests);
        for (place, digest) in self.places.drain(..).zip(digests.chunks_exact(32)) {
            out[place].0.copy_from_slice(digest);
        }
        self.bytes.clear();
    }
}

/// Hashes up to [`LANES`] inputs of `N` bytes, which stand one behind the other. Each is a whole message of one chunk.
fn solve<const N: usize>(context: &'static str, bytes: &[u8], digests: &mut [u8; LANES * 32]) {
    let mut inputs: [&[u8; N]; LANES] = [&[0; N]; LANES];
    let mut count = 0;
    for (place, input) in inputs.iter_mut().zip(bytes.chunks_exact(N)) {
        *place = input.try_into().expect("cut to N bytes");
        count += 1;
    }
    let key = context::key(context);
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(key.chunks_exact(4)) {
        *word = u32::from_le_bytes(bytes.try_into().expect("chunks of 4 bytes"));
    }
    Platform::detect().hash_many(
        &inputs[..count],
        &words,
        0,
        IncrementCounter::No,
        DERIVE_KEY_MATERIAL,
        CHUNK_START,
        CHUNK_END | ROOT,
        digests,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_digests_are_those_of_each_input() {
        // Every length that has a class, one beyond, and every count up to two full sets of lanes.
        let bytes: Vec<u8> = (0..u32::MAX).map(|i| (i * 7 % 251) as u8).take(1 << 16).collect();
        let mut hasher = ManyHasher::new(context::REQUEST);
        for blocks in 1..=MAX_BLOCKS + 1 {
            for count in 1..=2 * LANES + 1 {
                let input = |index: usize| &bytes[index * 31..index * 31 + blocks * BLOCK_BYTES];
                let mut digests = Vec::new();
                (0..count).for_each(|index| {
                    let (head, tail) = input(index).split_at(40);
                    hasher.push(&[head, tail], &mut digests);
                });
                hasher.finish(&mut digests);
                let expected: Vec<Digest> = (0..count)
                    .map(|index| hash_parts(context::REQUEST, &[input(index)]))
                    .collect();
                assert_eq!(digests, expected, "{count} inputs of {blocks} blocks");
            }
        }
    }

    #[test]
    fn inputs_of_different_lengths_find_their_places() {
        let mut hasher = ManyHasher::new(context::RESULT);
        let lengths: Vec<usize> = (0..200).map(|index| (1 + index * 7 % 19) * BLOCK_BYTES).collect();
        let bytes = [5; 20 * BLOCK_BYTES];
        let mut digests = Vec::new();
        lengths
            .iter()
            .for_each(|len| hasher.push(&[&bytes[..*len]], &mut digests));
        hasher.finish(&mut digests);
        for (len, digest) in lengths.iter().zip(&digests) {
            assert_eq!(*digest, hash_parts(context::RESULT, &[&bytes[..*len]]));
        }
    }
}
