//! Histograms in files: HdrHistogram's compressed form (V2, deflate) in base64, as its interval logs have it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as HistogramReader, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Latencies are told apart from 1 us to 100 s, to three digits; longer ones count as 100 s.
const LOWEST_NS: u64 = 1_000;
const HIGHEST_NS: u64 = 100_000_000_000;

/// An empty histogram of nanoseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, 3).expect("bounds that a histogram takes")
}

/// A histogram of nanoseconds that can be written to a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded(pub Histogram<u64>);

impl Default for Encoded {
    fn default() -> Self {
        Self(histogram())
    }
}

impl Encoded {
    /// Adds what another one counted; what is above this one's bounds counts as its highest.
    pub fn add(&mut self, other: &Self) {
        if self.0.add(&other.0).is_err() {
            for value in other.0.iter_recorded() {
                self.0
                    .saturating_record_n(value.value_iterated_to(), value.count_at_value());
            }
        }
    }

    /// Base64 of the compressed form.
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.0, &mut bytes)
            .expect("a histogram fits into memory");
        STANDARD.encode(bytes)
    }

    /// Reads the text of [`Encoded::to_text`], or that of another HdrHistogram.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
        let read = HistogramReader::new().deserialize(&mut bytes.as_slice());
        read.map(Self).map_err(|error| error.to_string())
    }
}

impl Serialize for Encoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_text(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_comes_back_and_adds_up() {
        let mut one = Encoded::default();
        for value in [900, 5_000, 70_000, 1_000_000_000, 99_000_000_000] {
            one.0.saturating_record(value);
        }
        let text = serde_json::to_string(&one).unwrap();
        let mut two: Encoded = serde_json::from_str(&text).unwrap();
        assert_eq!(one, two);
        two.add(&one);
        assert_eq!((two.0.len(), two.0.max()), (10, one.0.max()));
        let mut foreign = Encoded(Histogram::new(2).unwrap());
        foreign.0.record(500_000_000_000).unwrap();
        one.add(&foreign);
        assert_eq!(one.0.len(), 6, "what is above the bounds counts all the same");
        assert!(Encoded::from_text("HISTFAAA").is_err() && Encoded::from_text("?").is_err());
    }
}
