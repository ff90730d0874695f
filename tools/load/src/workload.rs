//! What a load asks the key-value store for: kinds of operations with their shares, keys, sizes. YCSB's six by name,
//! others from a TOML file:
//!
//! ```toml
//! keys = 100000
//! distribution = "hotspot:keys=0.1,requests=0.9"
//! value = "exponential:mean=300,max=8192"
//! scan-length = "uniform:min=1,max=100"
//! fill = true                 # write every key before the load begins
//!
//! [mix]                       # shares; they need not add up to anything
//! read = 70
//! update = 20
//! insert = 5
//! read-modify-write = 5
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::keys::KeyDistribution;
use crate::random::Random;
use crate::sizes::Sizes;

/// One kind of operation. Each is one request, except for the read-modify-write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// A get, ordered like a write.
    Read,
    /// A put to a key that is there.
    Update,
    /// A put to a key that is not.
    Insert,
    /// Keys in order from a given one on, with their values.
    Scan,
    /// A get and then a put to the same key, as YCSB has it: two requests one after the other, not atomic. It takes from
    /// the get's intended time to the put's acknowledgement.
    ReadModifyWrite,
    /// Removes a key.
    Delete,
    /// Writes a key if it has the version that was last heard of.
    CompareAndSet,
}

impl Operation {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Read,
        Self::Update,
        Self::Insert,
        Self::Scan,
        Self::ReadModifyWrite,
        Self::Delete,
        Self::CompareAndSet,
    ];

    /// Its name in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Update => "update",
            Self::Insert => "insert",
            Self::Scan => "scan",
            Self::ReadModifyWrite => "read-modify-write",
            Self::Delete => "delete",
            Self::CompareAndSet => "compare-and-set",
        }
    }
}

/// Shares of the kinds of operations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mix(BTreeMap<Operation, f64>);

impl Mix {
    /// Of these shares; they need not add up to anything.
    pub fn of(shares: &[(Operation, f64)]) -> Self {
        Self(shares.iter().copied().collect())
    }

    /// Shares of one, without those that are nothing.
    pub fn shares(&self) -> Vec<(Operation, f64)> {
        let sum: f64 = self.0.values().sum();
        let some = self.0.iter().filter(|(_, share)| **share > 0.0);
        some.map(|(operation, share)| (*operation, share / sum)).collect()
    }

    /// Whether this kind occurs.
    pub fn has(&self, operation: Operation) -> bool {
        self.0.get(&operation).is_some_and(|share| *share > 0.0)
    }

    fn check(&self) -> Result<(), &'static str> {
        let fits = |share: &f64| share.is_finite() && (0.0..=1e9).contains(share);
        if !self.0.values().all(fits) {
            Err("mix: shares from 0")
        } else if self.0.values().sum::<f64>() <= 0.0 {
            Err("mix: no operation has a share")
        } else {
            Ok(())
        }
    }
}

/// What to ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Workload {
    /// For people.
    #[serde(default)]
    pub name: String,
    /// Shares of the operations.
    pub mix: Mix,
    /// Keys that the load begins with.
    #[serde(default = "keys")]
    pub keys: u32,
    /// How they are chosen.
    #[serde(default)]
    pub distribution: KeyDistribution,
    /// Bytes of a written value (`kv`), of a request (`null`).
    #[serde(default = "value")]
    pub value: Sizes,
    /// Keys that a scan asks for.
    #[serde(default = "scan_length")]
    pub scan_length: Sizes,
    /// Whether every key is written once before the load begins.
    #[serde(default)]
    pub fill: bool,
}

fn keys() -> u32 {
    100_000
}

fn value() -> Sizes {
    Sizes::Constant(512)
}

fn scan_length() -> Sizes {
    Sizes::Uniform { min: 1, max: 100 }
}

impl Default for Workload {
    /// Puts to keys uniformly at random: [`Workload::named`] calls it `writes`.
    fn default() -> Self {
        Self {
            name: "writes".to_owned(),
            mix: Mix::of(&[(Operation::Update, 1.0)]),
            keys: keys(),
            distribution: KeyDistribution::Uniform,
            value: value(),
            scan_length: scan_length(),
            fill: false,
        }
    }
}

/// The most keys of a load with compare-and-sets: it remembers the version of each.
const MAX_VERSIONED_KEYS: u32 = 1 << 20;

impl Workload {
    /// Names that [`Workload::named`] knows.
    pub const NAMES: [&'static str; 8] = [
        "writes", "history", "ycsb-a", "ycsb-b", "ycsb-c", "ycsb-d", "ycsb-e", "ycsb-f",
    ];

    /// `writes` (puts), `history` (puts, gets, deletes, compare-and-sets over few keys, for a check of linearizability),
    /// or one of YCSB's: A updates half, B a twentieth, C only reads, D reads the latest of what it inserts, E scans, F
    /// reads, modifies and writes. YCSB's keys follow its zipfian law over 100,000 records; its records of ten fields
    /// of 100 bytes are values of 1,000 bytes.
    pub fn named(name: &str) -> Option<Self> {
        use Operation as O;
        let zipfian = KeyDistribution::Zipfian { exponent: 0.99 };
        let ycsb = |shares: &[(O, f64)], distribution| Self {
            name: name.to_owned(),
            mix: Mix::of(shares),
            distribution,
            value: Sizes::Constant(1_000),
            fill: true,
            ..Self::default()
        };
        Some(match name {
            "writes" => Self::default(),
            "history" => Self {
                name: name.to_owned(),
                mix: Mix::of(&[
                    (O::Update, 8.0),
                    (O::Read, 7.0),
                    (O::Delete, 2.0),
                    (O::CompareAndSet, 3.0),
                ]),
                keys: 1_000,
                ..Self::default()
            },
            "ycsb-a" => ycsb(&[(O::Read, 0.5), (O::Update, 0.5)], zipfian),
            "ycsb-b" => ycsb(&[(O::Read, 0.95), (O::Update, 0.05)], zipfian),
            "ycsb-c" => ycsb(&[(O::Read, 1.0)], zipfian),
            "ycsb-d" => ycsb(
                &[(O::Read, 0.95), (O::Insert, 0.05)],
                KeyDistribution::Latest { exponent: 0.99 },
            ),
            "ycsb-e" => ycsb(&[(O::Scan, 0.95), (O::Insert, 0.05)], zipfian),
            "ycsb-f" => ycsb(&[(O::Read, 0.5), (O::ReadModifyWrite, 0.5)], zipfian),
            _ => return None,
        })
    }

    /// Reads a workload file (module documentation).
    ///
    /// # Errors
    ///
    /// What is wrong and where, in words.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, String> {
        let mut workload: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if workload.name.is_empty() {
            name.clone_into(&mut workload.name);
        }
        workload.check()?;
        Ok(workload)
    }

    /// Whether it asks for puts only.
    pub fn only_writes(&self) -> bool {
        self.mix
            .shares()
            .iter()
            .all(|(operation, _)| *operation == Operation::Update)
    }

    /// Checks what serde cannot.
    ///
    /// # Errors
    ///
    /// The reason.
    pub fn check(&self) -> Result<(), &'static str> {
        self.mix.check()?;
        let versioned = self.mix.has(Operation::CompareAndSet);
        let rules = [
            (self.keys >= 1, "keys: at least 1"),
            (self.value.smallest() >= 1, "value: at least 1 byte"),
            (
                self.value.largest() as usize <= trireme_state::kv::MAX_VALUE_BYTES,
                "value: at most 65,536 bytes",
            ),
            (self.scan_length.smallest() >= 1, "scan-length: at least 1"),
            (
                !versioned || self.keys <= MAX_VERSIONED_KEYS,
                "keys: at most 1,048,576 of a load with compare-and-sets",
            ),
            (
                self.scan_length.largest() <= u32::from(trireme_state::kv::MAX_SCAN_KEYS),
                "scan-length: at most 1,000",
            ),
        ];
        rules
            .iter()
            .find(|(holds, _)| !holds)
            .map_or(Ok(()), |(_, why)| Err(why))
    }
}

/// Draws operations by their shares.
pub(crate) struct Deck {
    /// With the sum of shares up to and including it.
    upto: Vec<(Operation, f64)>,
}

impl Deck {
    pub(crate) fn new(mix: &Mix) -> Self {
        let mut sum = 0.0;
        let add = |(operation, share)| {
            sum += share;
            (operation, sum)
        };
        Self {
            upto: mix.shares().into_iter().map(add).collect(),
        }
    }

    pub(crate) fn draw(&self, random: &mut Random) -> Operation {
        let last = self.upto.last().expect("a mix that was checked").0;
        if self.upto.len() == 1 {
            return last;
        }
        let at = random.unit();
        let found = self.upto.iter().find(|(_, upto)| at < *upto);
        found.map_or(last, |(operation, _)| *operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_come_in_their_shares() {
        let deck = Deck::new(&Workload::named("ycsb-b").unwrap().mix);
        let mut random = Random::new(2, 2);
        let updates = (0..100_000)
            .filter(|_| deck.draw(&mut random) == Operation::Update)
            .count();
        assert!((4_700..5_300).contains(&updates), "{updates}");
    }

    #[test]
    fn a_file_says_what_it_must_and_nothing_unknown() {
        let text = "keys = 50\ndistribution = \"latest\"\nvalue = \"uniform:min=1,max=9\"\n[mix]\nread = 3\n\
                    read-modify-write = 1\n";
        let workload = Workload::from_toml("mine", text).unwrap();
        assert_eq!(
            (workload.name.as_str(), workload.keys, workload.fill),
            ("mine", 50, false)
        );
        assert_eq!(
            workload.mix.shares(),
            [(Operation::Read, 0.75), (Operation::ReadModifyWrite, 0.25)]
        );
        let again = serde_json::to_string(&workload).unwrap();
        assert_eq!(serde_json::from_str::<Workload>(&again).unwrap(), workload);
        for bad in [
            "",
            "[mix]\n",
            "[mix]\nread = -1\n",
            "[mix]\nreed = 1\n",
            "keys = 0\n[mix]\nread = 1\n",
            "value = \"uniform:min=0,max=3\"\n[mix]\nread = 1\n",
            "value = \"100000\"\n[mix]\nread = 1\n",
            "speed = 3\n[mix]\nread = 1\n",
        ] {
            assert!(Workload::from_toml("bad", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_name_is_known_and_makes_sense() {
        for name in Workload::NAMES {
            let workload = Workload::named(name).unwrap();
            assert_eq!(workload.name, name);
            workload.check().unwrap();
        }
        assert!(Workload::named("ycsb-g").is_none());
    }
}
