//! Which key an operation takes.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use rand_distr::{Distribution as _, Zipf};
use serde::{Deserialize, Serialize};

use crate::random::{Random, mix};
use crate::words::{BadWords, Words};

/// YCSB's exponent.
const EXPONENT: f64 = 0.99;

/// How keys are chosen. As text: `uniform`, `zipfian:exponent=0.99`, `latest:exponent=0.99`,
/// `hotspot:keys=0.2,requests=0.8`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum KeyDistribution {
    /// Every key as often.
    #[default]
    Uniform,
    /// The k-th favourite in proportion to 1 / k^exponent. Favourites are scattered over all keys, as YCSB does it:
    /// by a hash, so that now and then two ranks fall on one key.
    Zipfian {
        /// How steep.
        exponent: f64,
    },
    /// The k-th newest key in proportion to 1 / k^exponent; a key counts from its acknowledgement.
    Latest {
        /// How steep.
        exponent: f64,
    },
    /// A share of the requests goes to a share of the keys, the rest to the others; uniform in both.
    Hotspot {
        /// Share of the keys that are hot.
        keys: f64,
        /// Share of the requests that go there.
        requests: f64,
    },
}

impl fmt::Display for KeyDistribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipfian { exponent } => write!(f, "zipfian:exponent={exponent}"),
            Self::Latest { exponent } => write!(f, "latest:exponent={exponent}"),
            Self::Hotspot { keys, requests } => write!(f, "hotspot:keys={keys},requests={requests}"),
        }
    }
}

impl FromStr for KeyDistribution {
    type Err = BadWords;

    fn from_str(text: &str) -> Result<Self, BadWords> {
        let mut words = Words::parse(text)?;
        let distribution = match words.name {
            "uniform" => Self::Uniform,
            "zipfian" => Self::Zipfian {
                exponent: words.take("exponent", EXPONENT)?,
            },
            "latest" => Self::Latest {
                exponent: words.take("exponent", EXPONENT)?,
            },
            "hotspot" => Self::Hotspot {
                keys: words.take("keys", 0.2)?,
                requests: words.take("requests", 0.8)?,
            },
            _ => return Err(words.refuse("give uniform, zipfian, latest or hotspot")),
        };
        match distribution {
            Self::Zipfian { exponent } | Self::Latest { exponent } => {
                words.within((0.0..=10.0).contains(&exponent), "exponent from 0 to 10")?;
            }
            Self::Hotspot { keys, requests } => words.within(
                keys > 0.0 && keys <= 1.0 && (0.0..=1.0).contains(&requests),
                "keys above 0, requests from 0, both up to 1",
            )?,
            Self::Uniform => {}
        }
        words.end()?;
        Ok(distribution)
    }
}

impl From<KeyDistribution> for String {
    fn from(distribution: KeyDistribution) -> Self {
        distribution.to_string()
    }
}

impl TryFrom<String> for KeyDistribution {
    type Error = BadWords;

    fn try_from(text: String) -> Result<Self, BadWords> {
        text.parse()
    }
}

/// Chooses keys of one part of a load. Keys `0..base` belong to all parts; those that part p of n inserts are
/// `base + p`, `base + p + n`, ..., so that no two parts insert the same.
pub(crate) struct Keys {
    distribution: KeyDistribution,
    base: u64,
    part: u64,
    parts: u64,
    /// Inserts that were asked for.
    asked: u64,
    /// Of those, without gaps from the first on, acknowledged or given up: readers may choose them.
    settled: u64,
    /// Whether the inserts after these are settled, too.
    open: VecDeque<bool>,
    /// For the number of keys that it was made for.
    zipf: Option<(u64, Zipf<f64>)>,
}

impl Keys {
    pub(crate) fn new(distribution: KeyDistribution, base: u64, part: u32, parts: u32) -> Self {
        Self {
            distribution,
            base,
            part: u64::from(part),
            parts: u64::from(parts.max(1)),
            asked: 0,
            settled: 0,
            open: VecDeque::new(),
            zipf: None,
        }
    }

    /// Keys that may be chosen.
    fn len(&self) -> u64 {
        self.base + self.settled
    }

    /// The key of a place among those that may be chosen.
    fn key(&self, place: u64) -> u64 {
        match place.checked_sub(self.base) {
            None => place,
            Some(own) => self.inserted(own),
        }
    }

    fn inserted(&self, own: u64) -> u64 {
        self.base + own * self.parts + self.part
    }

    /// The next key to insert.
    pub(crate) fn insert(&mut self) -> u64 {
        self.asked += 1;
        self.open.push_back(false);
        self.inserted(self.asked - 1)
    }

    /// An insert came back: from now on its key may be chosen.
    pub(crate) fn settle(&mut self, key: u64) {
        let Some(own) = key.checked_sub(self.base + self.part).map(|past| past / self.parts) else {
            return;
        };
        let place = own
            .checked_sub(self.settled)
            .and_then(|place| usize::try_from(place).ok());
        if let Some(open) = place.and_then(|place| self.open.get_mut(place)) {
            *open = true;
        }
        while self.open.front() == Some(&true) {
            self.open.pop_front();
            self.settled += 1;
        }
    }

    /// A key that is there already.
    pub(crate) fn choose(&mut self, random: &mut Random) -> u64 {
        let len = self.len();
        let place = match self.distribution {
            KeyDistribution::Uniform => random.below(len),
            KeyDistribution::Zipfian { exponent } => mix(self.rank(exponent, random)) % len,
            KeyDistribution::Latest { exponent } => len - 1 - self.rank(exponent, random),
            KeyDistribution::Hotspot { keys, requests } => {
                let hot = ((len as f64 * keys).round() as u64).clamp(1, len);
                if hot == len || random.unit() < requests {
                    random.below(hot)
                } else {
                    hot + random.below(len - hot)
                }
            }
        };
        self.key(place)
    }

    /// Of all keys: 0 is the favourite.
    fn rank(&mut self, exponent: f64, random: &mut Random) -> u64 {
        let len = self.len();
        let zipf = match self.zipf {
            Some((of, zipf)) if of == len => zipf,
            _ => {
                let zipf = Zipf::new(len as f64, exponent).expect("a load has keys, and the exponent was checked");
                self.zipf = Some((len, zipf));
                zipf
            }
        };
        let rank: f64 = zipf.sample(random);
        (rank as u64).clamp(1, len) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn counts(keys: &mut Keys, draws: u32) -> BTreeMap<u64, u32> {
        let mut random = Random::new(8, 8);
        let mut counts = BTreeMap::new();
        for _ in 0..draws {
            *counts.entry(keys.choose(&mut random)).or_default() += 1;
        }
        counts
    }

    fn keys(text: &str, base: u64) -> Keys {
        Keys::new(text.parse().unwrap(), base, 0, 1)
    }

    #[test]
    fn the_favourites_of_a_zipfian_choice_have_their_shares() {
        let counts = counts(&mut keys("zipfian:exponent=1", 10_000), 200_000);
        let mut shares: Vec<f64> = counts.values().map(|&count| f64::from(count) / 2e5).collect();
        shares.sort_by(|a, b| b.total_cmp(a));
        // 1 / H(10,000) = 0.1022 to the first, half of it to the second; other ranks may fall on the same keys.
        assert!((0.098..0.108).contains(&shares[0]), "{}", shares[0]);
        assert!((0.048..0.058).contains(&shares[1]), "{}", shares[1]);
        let top: Vec<u64> = counts
            .iter()
            .filter(|(_, count)| **count > 2_000)
            .map(|(key, _)| *key)
            .collect();
        assert!(top.windows(2).any(|pair| pair[1] - pair[0] > 100), "scattered: {top:?}");
    }

    #[test]
    fn a_hotspot_takes_its_share_and_uniform_takes_all() {
        let hot = counts(&mut keys("hotspot:keys=0.1,requests=0.7", 1_000), 100_000);
        let share = hot.range(..100).map(|(_, count)| count).sum::<u32>();
        assert!((69_000..71_000).contains(&share), "{share}");
        let uniform = counts(&mut keys("uniform", 100), 100_000);
        assert!(uniform.len() == 100 && uniform.values().all(|count| (850..1_150).contains(count)));
    }

    #[test]
    fn the_latest_are_those_that_were_acknowledged_last() {
        let mut keys = Keys::new("latest".parse().unwrap(), 100, 1, 3);
        let mut random = Random::new(1, 1);
        let inserted: Vec<u64> = (0..5).map(|_| keys.insert()).collect();
        assert_eq!(inserted, [101, 104, 107, 110, 113], "every third is its own");
        let favourite = |keys: &mut Keys, random: &mut Random| {
            let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
            (0..5_000).for_each(|_| *counts.entry(keys.choose(random)).or_default() += 1);
            *counts.iter().max_by_key(|(_, count)| **count).unwrap().0
        };
        assert_eq!(favourite(&mut keys, &mut random), 99, "none came back yet");
        keys.settle(107);
        assert_eq!(favourite(&mut keys, &mut random), 99, "the first are missing");
        keys.settle(101);
        keys.settle(104);
        assert_eq!(favourite(&mut keys, &mut random), 107);
    }

    #[test]
    fn distributions_are_written_as_they_are_read() {
        for text in [
            "uniform",
            "zipfian:exponent=0.5",
            "latest:exponent=0.99",
            "hotspot:keys=0.3,requests=0.9",
        ] {
            assert_eq!(text.parse::<KeyDistribution>().unwrap().to_string(), text);
        }
        for bad in [
            "zipf",
            "zipfian:theta=1",
            "hotspot:keys=0",
            "hotspot:requests=2",
            "latest:exponent=nan",
        ] {
            assert!(bad.parse::<KeyDistribution>().is_err(), "{bad}");
        }
    }
}
