//! Names of the parts of a trie.

use trireme_crypto::Digest;

use crate::tree::shares;

/// A part of the trie: the places that share their first bits.
///
/// As a number it is the part's place in a heap: the whole is 1, and below `i` lie `2i` and `2i + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    index: u64,
}

impl Prefix {
    /// The whole.
    pub const WHOLE: Self = Self { index: 1 };
    /// No part has a longer prefix than this many bits, so that its number fits: 2^61 places would have to be tried for
    /// a second one beside a given one.
    pub const MAX_DEPTH: usize = 61;

    /// The part with this number.
    pub fn from_index(index: u64) -> Option<Self> {
        (index != 0 && index >> (Self::MAX_DEPTH + 1) == 0).then_some(Self { index })
    }

    /// Its number.
    pub fn index(self) -> u64 {
        self.index
    }

    /// Bits that its places share.
    pub fn depth(self) -> usize {
        self.index.ilog2() as usize
    }

    /// The two parts that it is made of; `None` at the greatest depth.
    pub fn halves(self) -> Option<[Self; 2]> {
        let left = self.index << 1;
        Some([Self::from_index(left)?, Self::from_index(left | 1)?])
    }

    /// The part that this one is a half of.
    pub fn parent(self) -> Option<Self> {
        Self::from_index(self.index >> 1)
    }

    /// Whether `place` lies in it.
    pub fn holds(self, place: &Digest) -> bool {
        shares(place, &self.first(), self.depth())
    }

    /// Its lowest place.
    pub fn first(self) -> Digest {
        self.filled(0)
    }

    /// Its highest place.
    pub fn last(self) -> Digest {
        self.filled(u8::MAX)
    }

    fn filled(self, with: u8) -> Digest {
        let free = 64 - u32::try_from(self.depth()).expect("at most 61");
        // The leading one of the number is shifted out.
        let bits = self.index.checked_shl(free).unwrap_or(0);
        let rest = u64::MAX.checked_shr(64 - free).unwrap_or(0) & u64::from_le_bytes([with; 8]);
        let mut place = [with; 32];
        place[..8].copy_from_slice(&(bits | rest).to_be_bytes());
        Digest(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_places() {
        assert_eq!(Prefix::WHOLE.first(), Digest([0; 32]));
        assert_eq!(Prefix::WHOLE.last(), Digest([0xff; 32]));
        let right = Prefix::from_index(0b1_101).unwrap();
        assert_eq!(right.depth(), 3);
        assert_eq!(right.first().0[0], 0b1010_0000);
        assert_eq!(right.last().0[0], 0b1011_1111);
        assert!(right.holds(&right.first()) && right.holds(&right.last()));
        let [low, high] = right.halves().unwrap();
        assert_eq!((low.first(), high.last()), (right.first(), right.last()));
        assert!(!low.holds(&high.first()) && !high.holds(&low.last()));
        assert_eq!(low.parent(), Some(right));
        assert_eq!(Prefix::from_index(0), None);
        assert_eq!(Prefix::from_index(1 << 62), None);
        let deepest = Prefix::from_index((1 << 62) - 1).unwrap();
        assert_eq!((deepest.depth(), deepest.halves()), (61, None));
        assert_eq!(deepest.last(), Digest([0xff; 32]));
        assert_eq!(
            deepest.first().0[..9],
            [255, 255, 255, 255, 255, 255, 255, 0b1111_1000, 0]
        );
    }
}
