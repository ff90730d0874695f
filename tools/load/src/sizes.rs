//! Distributions of sizes: bytes of a value, keys of a scan.

use std::fmt;
use std::str::FromStr;

use rand_distr::{Distribution as _, Exp1, Zipf};
use serde::{Deserialize, Serialize};

use crate::random::Random;
use crate::words::{BadWords, Words};

/// How large something is, each time anew. As text: `512`, `uniform:min=64,max=4096`, `exponential:mean=512,max=65536`,
/// `zipfian:min=64,max=4096,exponent=0.99` (the smallest is the most frequent).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Sizes {
    /// Always the same.
    Constant(u32),
    /// Every size from `min` to `max` as often.
    Uniform {
        /// The smallest.
        min: u32,
        /// The largest.
        max: u32,
    },
    /// Many small ones, few large ones; at least 1, at most `max`.
    Exponential {
        /// Before it is cut at `max`.
        mean: u32,
        /// The largest.
        max: u32,
    },
    /// Size `min + k` in proportion to 1 / (k + 1)^exponent.
    Zipfian {
        /// The smallest, and most frequent.
        min: u32,
        /// The largest.
        max: u32,
        /// How steep.
        exponent: f64,
    },
}

impl Sizes {
    /// The largest that can come.
    pub fn largest(&self) -> u32 {
        match *self {
            Self::Constant(size) => size,
            Self::Uniform { max, .. } | Self::Exponential { max, .. } | Self::Zipfian { max, .. } => max,
        }
    }

    /// The smallest that can come.
    pub fn smallest(&self) -> u32 {
        match *self {
            Self::Constant(size) => size,
            Self::Uniform { min, .. } | Self::Zipfian { min, .. } => min,
            Self::Exponential { .. } => 1,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "floats that were clamped to the bounds"
    )]
    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        match *self {
            Self::Constant(size) => size,
            Self::Uniform { min, max } => {
                let more = random.below(u64::from(max - min) + 1);
                min + u32::try_from(more).expect("below the width")
            }
            Self::Exponential { mean, max } => {
                let unit: f64 = Exp1.sample(random);
                (unit * f64::from(mean)).round().clamp(1.0, f64::from(max)) as u32
            }
            Self::Zipfian { min, max, exponent } => {
                let zipf = Zipf::new(f64::from(max - min) + 1.0, exponent).expect("bounds that were checked");
                let rank: f64 = zipf.sample(random);
                min + (rank - 1.0).clamp(0.0, f64::from(max - min)) as u32
            }
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Constant(size) => write!(f, "{size}"),
            Self::Uniform { min, max } => write!(f, "uniform:min={min},max={max}"),
            Self::Exponential { mean, max } => write!(f, "exponential:mean={mean},max={max}"),
            Self::Zipfian { min, max, exponent } => write!(f, "zipfian:min={min},max={max},exponent={exponent}"),
        }
    }
}

impl FromStr for Sizes {
    type Err = BadWords;

    fn from_str(text: &str) -> Result<Self, BadWords> {
        if let Ok(size) = text.parse() {
            return Ok(Self::Constant(size));
        }
        let mut words = Words::parse(text)?;
        let sizes = match words.name {
            "constant" => Self::Constant(words.take("size", 512)?),
            "uniform" => Self::Uniform {
                min: words.take("min", 1)?,
                max: words.take("max", 1_024)?,
            },
            "exponential" => Self::Exponential {
                mean: words.take("mean", 512)?,
                max: words.take("max", 65_536)?,
            },
            "zipfian" => Self::Zipfian {
                min: words.take("min", 1)?,
                max: words.take("max", 1_024)?,
                exponent: words.take("exponent", 0.99)?,
            },
            _ => return Err(words.refuse("give a number, or uniform, exponential, zipfian with their settings")),
        };
        words.within(sizes.smallest() <= sizes.largest(), "min above max")?;
        if let Self::Zipfian { exponent, .. } = sizes {
            words.within((0.0..=10.0).contains(&exponent), "exponent from 0 to 10")?;
        }
        words.end()?;
        Ok(sizes)
    }
}

impl From<Sizes> for String {
    fn from(sizes: Sizes) -> Self {
        sizes.to_string()
    }
}

impl TryFrom<String> for Sizes {
    type Error = BadWords;

    fn try_from(text: String) -> Result<Self, BadWords> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_stay_in_their_bounds_and_have_their_means() {
        let mut random = Random::new(4, 4);
        for (text, low, high) in [
            ("512", 512.0, 512.0),
            ("uniform:min=100,max=300", 199.0, 201.0),
            ("exponential:mean=500,max=100000", 490.0, 510.0),
            // Of 1/k weights over 1..=100 the mean is 100 / H(100) = 19.28.
            ("zipfian:min=1,max=100,exponent=1", 18.9, 19.7),
        ] {
            let sizes: Sizes = text.parse().unwrap();
            let drawn: Vec<u32> = (0..100_000).map(|_| sizes.draw(&mut random)).collect();
            assert!(
                drawn
                    .iter()
                    .all(|size| (sizes.smallest()..=sizes.largest()).contains(size)),
                "{text}"
            );
            let mean = drawn.iter().map(|&size| f64::from(size)).sum::<f64>() / 1e5;
            assert!((low..=high).contains(&mean), "{text}: {mean}");
            assert_eq!(sizes.to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "-1",
            "uniform:min=9,max=3",
            "uniform:size=3",
            "zipfian:exponent=-1",
            "huge",
        ] {
            assert!(bad.parse::<Sizes>().is_err(), "{bad}");
        }
    }
}
