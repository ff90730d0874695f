//! The mutator of the smoke run: seeded, the same on every machine. Without coverage it stays near its corpus, which is
//! what a smoke run is for; libFuzzer goes further.

/// A stream of pseudo-random numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The stream of a name and a number.
    pub fn new(name: &str, number: u64) -> Self {
        let mut seed = number;
        for byte in name.bytes() {
            seed = (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(seed)
    }

    /// 64 random bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `bound`; 0 for an empty range.
    pub fn below(&mut self, bound: usize) -> usize {
        let scaled = (u128::from(self.draw()) * bound as u128) >> 64;
        usize::try_from(scaled).expect("below a usize")
    }
}

/// The longest input that the mutator makes.
const MAX_BYTES: usize = 16 << 10;

/// Numbers at which decoders go wrong.
const EDGES: [u32; 10] = [0, 1, 2, 127, 128, 255, 65_535, 65_536, u32::MAX - 1, u32::MAX];

/// An input like one of the corpus: one of them, changed in a few places.
pub fn mutate(corpus: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = if corpus.is_empty() || chance.below(16) == 0 {
        (0..chance.below(256)).map(|_| chance.draw() as u8).collect()
    } else {
        corpus[chance.below(corpus.len())].clone()
    };
    for _ in 0..=chance.below(6) {
        change(&mut bytes, corpus, chance);
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(bytes.len() + 1);
    let until = (at + 1 + chance.below(32)).min(bytes.len());
    match chance.below(9) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
        2 if at < bytes.len() => bytes[at] = chance.draw() as u8,
        3 if at < until => drop(bytes.drain(at..until)),
        4 => {
            let fresh: Vec<u8> = (0..=chance.below(16)).map(|_| chance.draw() as u8).collect();
            bytes.splice(at..at, fresh);
        }
        5 if at < until => {
            let again = bytes[at..until].to_vec();
            bytes.splice(at..at, again);
        }
        6 if at + 4 <= bytes.len() => {
            let edge = EDGES[chance.below(EDGES.len())].to_le_bytes();
            let width = 1 << chance.below(3);
            bytes[at..at + width].copy_from_slice(&edge[..width]);
        }
        7 if !corpus.is_empty() => {
            let other = &corpus[chance.below(corpus.len())];
            let from = chance.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => bytes.truncate(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_an_input_and_inputs_differ() {
        let corpus = vec![vec![1; 40], vec![2; 9]];
        let input = |number| mutate(&corpus, &mut Chance::new("x", number));
        assert_eq!(input(7), input(7));
        let distinct: std::collections::BTreeSet<Vec<u8>> = (0..500).map(input).collect();
        assert!(distinct.len() > 400, "{}", distinct.len());
    }
}
