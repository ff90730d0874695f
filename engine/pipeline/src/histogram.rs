//! Distributions that stages record: at most one record for a batch, a slot, a bundle or a group of records.
//!
//! A record costs about ten nanoseconds and no memory. Two significant digits: a value is off by less than 1 %.

use hdrhistogram::Histogram as Hdr;
use serde_json::{Value, json};

/// The longest time that is told from longer ones.
const LONGEST_US: u64 = 100_000_000;
/// The largest size, likewise.
const LARGEST: u64 = 1 << 30;

/// What the values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Micros,
    Items,
}

/// A distribution since the start of the process.
#[derive(Debug)]
pub(crate) struct Histogram {
    values: Hdr<u64>,
    unit: Unit,
    sum: u64,
}

impl Histogram {
    /// Of times in microseconds.
    pub(crate) fn times() -> Self {
        Self::new(Unit::Micros, LONGEST_US)
    }

    /// Of sizes in items.
    pub(crate) fn sizes() -> Self {
        Self::new(Unit::Items, LARGEST)
    }

    fn new(unit: Unit, highest: u64) -> Self {
        let values = Hdr::new_with_bounds(1, highest, 2).expect("bounds and digits are possible");
        Self { values, unit, sum: 0 }
    }

    /// Counts a value so many times.
    pub(crate) fn record(&mut self, value: u64, times: u64) {
        self.values.saturating_record_n(value, times);
        self.sum = self.sum.saturating_add(value.saturating_mul(times));
    }

    /// Percentiles, and how many values lie at or below each limit of the exposition.
    pub(crate) fn status(&self) -> Value {
        let at = |quantile: f64| match self.values.is_empty() {
            true => Value::Null,
            false => self.values.value_at_quantile(quantile).into(),
        };
        let buckets = self.buckets();
        match self.unit {
            Unit::Micros => json!({
                "count": self.values.len(), "sum_us": self.sum,
                "p50_us": at(0.5), "p90_us": at(0.9), "p99_us": at(0.99), "max_us": at(1.0),
                "le_us": TIMES.as_slice(), "at_or_below": buckets,
            }),
            Unit::Items => json!({
                "count": self.values.len(), "sum": self.sum,
                "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0),
                "le": SIZES, "at_or_below": buckets,
            }),
        }
    }

    /// Values at or below each limit, as far as the digits of the distribution tell.
    fn buckets(&self) -> Vec<u64> {
        let limits = match self.unit {
            Unit::Micros => TIMES.as_slice(),
            Unit::Items => SIZES.as_slice(),
        };
        let mut counts = Vec::with_capacity(limits.len());
        let mut recorded = self.values.iter_recorded().peekable();
        let mut below = 0;
        for limit in limits {
            // A value is told by the highest that it may have been; its lowest decides, so that a limit counts itself.
            while let Some(next) =
                recorded.next_if(|next| self.values.lowest_equivalent(next.value_iterated_to()) <= *limit)
            {
                below += next.count_since_last_iteration();
            }
            counts.push(below);
        }
        counts
    }
}

/// Limits of times: six in each power of ten, 10 us to 10 s.
const TIMES: [u64; 37] = {
    let mut limits = [0; 37];
    let steps = [10, 15, 20, 30, 50, 70];
    let (mut index, mut scale) = (0, 1);
    while index < 36 {
        limits[index] = steps[index % 6] * scale;
        index += 1;
        if index.is_multiple_of(6) {
            scale *= 10;
        }
    }
    limits[36] = 10_000_000;
    limits
};

/// Limits of sizes.
const SIZES: [u64; 16] = [
    1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 1_024, 4_096, 16_384,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_ascend() {
        assert!(TIMES.is_sorted_by(|a, b| a < b) && SIZES.is_sorted_by(|a, b| a < b));
        assert_eq!((TIMES[0], TIMES[6], TIMES[35]), (10, 100, 7_000_000));
    }

    #[test]
    fn what_is_recorded_is_counted_once_with_its_weight() {
        let mut times = Histogram::times();
        times.record(10, 3);
        times.record(11, 1);
        times.record(2_000, 4);
        times.record(u64::MAX / 8, 1);
        let status = times.status();
        assert_eq!(status["count"], 9);
        assert_eq!(status["p50_us"].as_u64().unwrap() / 100, 20);
        let below = |limit: u64| {
            let index = TIMES.iter().position(|known| *known == limit).unwrap();
            status["at_or_below"][index].as_u64().unwrap()
        };
        assert_eq!((below(10), below(15), below(1_500), below(2_000)), (3, 4, 4, 8));
        assert_eq!(below(10_000_000), 8, "the longest is above every limit");
        assert_eq!(Histogram::sizes().status()["p50"], Value::Null);
    }
}
