//! A figure beside its goal.

use serde::Serialize;

use crate::local::report::rounded;

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn limit(self) -> f64 {
        let (Bound::AtLeast(limit) | Bound::AtMost(limit)) = self;
        limit
    }

    fn holds(self, value: f64) -> bool {
        match self {
            Bound::AtLeast(limit) => value >= limit,
            Bound::AtMost(limit) => value <= limit,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Bound::AtLeast(_) => "at least",
            Bound::AtMost(_) => "at most",
        }
    }
}

/// One figure of a goal.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// Number of the goal.
    pub(crate) goal: u8,
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    /// `at least` or `at most` the `goal_value`.
    pub(crate) bound: &'static str,
    pub(crate) goal_value: f64,
    /// Median over the runs; null: not measured.
    pub(crate) value: Option<f64>,
    /// Smallest and largest of the runs.
    pub(crate) range: Option<(f64, f64)>,
    /// Figure over goal for `at least`, goal over figure for `at most`: 1 or more is reached.
    pub(crate) ratio: Option<f64>,
    pub(crate) reached: bool,
    /// What limits it, from the run's own measurements.
    pub(crate) limited_by: Option<String>,
    /// Why it was not measured, or what has to be said.
    pub(crate) note: Option<String>,
}

impl Figure {
    /// Of the runs' values, ascending.
    pub(crate) fn new(goal: u8, name: impl Into<String>, unit: &'static str, bound: Bound, values: &[f64]) -> Figure {
        let value = crate::bench::runs::median(values);
        let ratio = |value: f64| match bound {
            Bound::AtLeast(limit) => value / limit,
            Bound::AtMost(limit) => limit / value.max(f64::MIN_POSITIVE),
        };
        Figure {
            goal,
            name: name.into(),
            unit,
            bound: bound.words(),
            goal_value: rounded(bound.limit()),
            value: value.map(rounded),
            range: values
                .first()
                .zip(values.last())
                .map(|(low, high)| (rounded(*low), rounded(*high))),
            ratio: value.map(|value| rounded(ratio(value))),
            reached: value.is_some_and(|value| bound.holds(value)),
            limited_by: None,
            note: None,
        }
    }

    /// With what limits it.
    pub(crate) fn limited(mut self, by: Option<String>) -> Figure {
        self.limited_by = by;
        self
    }

    /// With a remark.
    pub(crate) fn note(mut self, words: impl Into<String>) -> Figure {
        self.note = Some(words.into());
        self
    }

    /// With a remark beside the one that it may have.
    pub(crate) fn with_note(self, words: &str) -> Figure {
        let before = self.note.clone().map(|note| note + "; ");
        self.note(before.unwrap_or_default() + words)
    }

    /// `reached`, `missed` or `not measured`.
    pub(crate) fn verdict(&self) -> &'static str {
        match (self.value, self.reached) {
            (None, _) => "not measured",
            (_, true) => "reached",
            (_, false) => "missed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_judged_by_its_bound() {
        let least = Figure::new(1, "a", "ops/s", Bound::AtLeast(200.0), &[90.0, 100.0, 300.0]);
        assert_eq!(
            (least.value, least.ratio, least.verdict()),
            (Some(100.0), Some(0.5), "missed")
        );
        assert_eq!(least.range, Some((90.0, 300.0)));
        let most = Figure::new(1, "a", "us", Bound::AtMost(200.0), &[100.0]);
        assert_eq!((most.ratio, most.verdict()), (Some(2.0), "reached"));
        let none = Figure::new(1, "a", "us", Bound::AtMost(200.0), &[]);
        assert_eq!(
            (none.value, none.verdict(), none.reached),
            (None, "not measured", false)
        );
    }
}
