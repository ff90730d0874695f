//! The simulator's only source of chance: xoshiro256** seeded by splitmix64. Ours, so that a seed means the same run
//! on every platform and with every version of every dependency.

/// A stream of pseudo-random numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prng {
    state: [u64; 4],
}

/// One step of splitmix64, also used to mix words.
pub fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Prng {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        let mut word = seed;
        Self {
            state: core::array::from_fn(|_| split_mix(&mut word)),
        }
    }

    /// Where the stream stands.
    pub(crate) fn state(&self) -> [u64; 4] {
        self.state
    }

    /// A stream that goes on where another one stood; not from all zeros, where it would stay.
    pub(crate) fn at(state: [u64; 4]) -> Option<Self> {
        (state != [0; 4]).then_some(Self { state })
    }

    /// A stream of its own, so that draws of one part of the simulation do not shift those of another.
    pub fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    /// A stream for something new, without a draw from this one: seeds keep their meaning.
    pub(crate) fn aside(&self, what: u64) -> Self {
        Self::new(self.clone().next() ^ what)
    }

    /// 64 random bits.
    #[allow(clippy::should_implement_trait)] // A stream without an end.
    pub fn next(&mut self) -> u64 {
        let result = self.state[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = self.state[1] << 17;
        self.state[2] ^= self.state[0];
        self.state[3] ^= self.state[1];
        self.state[1] ^= self.state[2];
        self.state[0] ^= self.state[3];
        self.state[2] ^= shifted;
        self.state[3] = self.state[3].rotate_left(45);
        result
    }

    /// Uniform in `0..bound`; 0 for an empty range.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `low..=high`.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("an index")
    }

    /// True in `percent` of 100 cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// True in `millionths` of 1,000,000 cases.
    pub fn millionths(&mut self, millionths: u64) -> bool {
        self.below(1_000_000) < millionths
    }

    /// One of the choices.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// Many small values, few large ones, up to `max`: each halving of the range is as likely as the next.
    pub fn skewed(&mut self, max: u64) -> u64 {
        let bits = 64 - u64::from(max.leading_zeros());
        let top = 1u64 << self.below(bits + 1).min(63);
        self.below(top.min(max).saturating_add(1))
    }

    /// Puts the elements into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.index(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_pinned() {
        let mut prng = Prng::new(0);
        // The published first output of xoshiro256** after seeding by splitmix64 from 0.
        assert_eq!(prng.next(), 0x99EC_5F36_CB75_F2B4);
        let draws: Vec<u64> = (0..4).map(|_| prng.below(1000)).collect();
        assert!(draws.iter().all(|d| *d < 1000));
        assert_eq!(Prng::new(7).fork().next(), Prng::new(7).fork().next());
    }

    #[test]
    fn ranges_hold_their_ends() {
        let mut prng = Prng::new(3);
        let mut seen = [false; 3];
        for _ in 0..100 {
            seen[usize::try_from(prng.range(4, 6)).unwrap() - 4] = true;
            assert!(prng.skewed(10) <= 10);
        }
        assert_eq!(seen, [true; 3]);
        assert_eq!(prng.range(9, 9), 9);
    }
}
