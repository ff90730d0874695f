//! Medians, ranges, and quotients of rounds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::{Comparison, PointKind, Price, SystemFigures, Verdict};
use crate::scale::number;

/// A figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Of an even number of values the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
    /// How many.
    pub count: u32,
}

impl Spread {
    /// Of these values; none of none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let (low, high) = (*values.first()?, *values.last()?);
        let median = f64::midpoint(values[(count - 1) / 2], values[count / 2]);
        Some(Self {
            median,
            low,
            high,
            count: u32::try_from(count).ok()?,
        })
    }

    /// The median, and the range if there is one, in another unit.
    pub(crate) fn text(&self, unit: f64) -> String {
        let of = |value: f64| number(value / unit);
        let (low, high) = (of(self.low), of(self.high));
        if self.count < 2 || low == high {
            return of(self.median);
        }
        format!("{} ({low} to {high})", of(self.median))
    }
}

/// Figures that are compared, and whether more is better.
const COMPARED: [(PointKind, &str); 6] = [
    (PointKind::Slo, "slo_ops_s"),
    (PointKind::Saturation, "throughput_ops_s"),
    (PointKind::Saturation, "cpu_us"),
    (PointKind::Low, "p50_us"),
    (PointKind::Low, "cpu_us"),
    (PointKind::Saturation, "wire_bytes"),
];

/// Fills the medians of every system, and the prices.
pub fn summarise(comparison: &mut Comparison) {
    for system in &mut comparison.systems {
        system.points = points(system);
    }
    comparison.prices = prices(&comparison.systems);
}

fn points(system: &SystemFigures) -> BTreeMap<PointKind, BTreeMap<String, Spread>> {
    let mut values: BTreeMap<PointKind, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
    for run in system.runs.iter().filter(|run| run.ok) {
        let point = values.entry(run.point).or_default();
        for (name, value) in &run.figures {
            point.entry(name.clone()).or_default().push(*value);
        }
    }
    let spread = |(name, all)| Some((name, Spread::of(all)?));
    let of_point =
        |(point, all): (PointKind, BTreeMap<String, Vec<f64>>)| (point, all.into_iter().filter_map(spread).collect());
    values.into_iter().map(of_point).collect()
}

fn prices(systems: &[SystemFigures]) -> Vec<Price> {
    let byzantine = systems.iter().filter(|system| system.ordering == "trireme");
    let mut out = Vec::new();
    for of in byzantine {
        for over in systems.iter().filter(|other| other.ordering != "trireme") {
            let own = over.system == of.system;
            let same: &[&str] = match (own, of.f == over.f, of.replicas == over.replicas) {
                (true, true, true) => &["f and n"],
                (true, true, false) => &["f"],
                (true, false, true) => &["n"],
                (true, false, false) => &[],
                (false, ..) => &["use"],
            };
            out.extend(same.iter().filter_map(|same| price(same, of, over)));
        }
    }
    out
}

fn price(at_the_same: &str, of: &SystemFigures, over: &SystemFigures) -> Option<Price> {
    let ratios: Vec<Verdict> = COMPARED
        .iter()
        .filter_map(|(point, figure)| {
            let rounds = of.runs.iter().map(|run| run.round).max()?;
            // Runs of one round saw the same machine: their quotient is worth more than that of medians.
            let quotient = |round| Some(of.of_round(round, *point, figure)? / over.of_round(round, *point, figure)?);
            let ratio = Spread::of((1..=rounds).filter_map(quotient).collect())?;
            Some(Verdict {
                point: *point,
                figure: (*figure).to_owned(),
                ratio,
            })
        })
        .collect();
    let verified = |system: &SystemFigures| {
        let figure = system.figure(PointKind::Saturation, "signatures_verified");
        let count = figure.map_or("an unknown number of".to_owned(), |spread| number(spread.median));
        format!("{} verifies {count} signatures an operation", system.name)
    };
    (!ratios.is_empty()).then(|| Price {
        at_the_same: at_the_same.to_owned(),
        of: of.name.clone(),
        over: over.name.clone(),
        words: format!("{}, {}", verified(of), verified(over)),
        ratios,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::model::RunFigures;

    #[test]
    fn medians_stand_between_the_least_and_the_most() {
        assert_eq!(Spread::of(vec![]), None);
        assert_eq!(Spread::of(vec![f64::NAN, f64::INFINITY]), None, "no figures");
        let odd = Spread::of(vec![9.0, 1.0, 4.0]).unwrap();
        assert_eq!((odd.median, odd.low, odd.high, odd.count), (4.0, 1.0, 9.0, 3));
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0, 10.0]).unwrap().median, 2.5);
        assert_eq!(odd.text(1.0), "4 (1 to 9)");
        assert_eq!(Spread::of(vec![1_500.0]).unwrap().text(1_000.0), "1.5");
    }

    fn run(round: u32, point: PointKind, figure: &str, value: f64) -> RunFigures {
        RunFigures {
            round,
            point,
            ok: true,
            error: None,
            file: String::new(),
            replicas: 4,
            f: 1,
            durability: "sync".to_owned(),
            client_auth: "signed".to_owned(),
            app: "kv".to_owned(),
            payload_bytes: 512,
            bundle: 1,
            cores: 2,
            figures: BTreeMap::from([(figure.to_owned(), value)]),
            steps: Vec::new(),
            generator_limits: Vec::new(),
        }
    }

    fn system(name: &str, ordering: &str, n: u64, f: u64, values: [f64; 3]) -> SystemFigures {
        let rounds = (1..).zip(values);
        SystemFigures {
            name: name.to_owned(),
            system: "trireme".to_owned(),
            ordering: ordering.to_owned(),
            replicas: n,
            f,
            runs: rounds
                .map(|(round, value)| run(round, PointKind::Saturation, "throughput_ops_s", value))
                .collect(),
            ..SystemFigures::default()
        }
    }

    #[test]
    fn prices_are_quotients_within_a_round_of_runs_that_ended_well() {
        let mut comparison = Comparison {
            systems: vec![
                system("trireme", "trireme", 4, 1, [70.0, 140.0, 8.0]),
                system("raft", "raft", 3, 1, [100.0, 200.0, 10.0]),
                system("raft:n=4", "raft", 4, 1, [70.0, 70.0, 1.0]),
                system("raft:n=5", "raft", 5, 2, [1.0, 1.0, 1.0]),
            ],
            ..Comparison::default()
        };
        comparison.systems[2].runs[2].ok = false;
        summarise(&mut comparison);
        let prices: Vec<_> = comparison
            .prices
            .iter()
            .map(|price| (price.at_the_same.as_str(), price.over.as_str(), price.ratios[0].ratio))
            .collect();
        let [f, both] = &prices[..] else { panic!("{prices:?}") };
        assert_eq!((f.0, f.1, both.0, both.1), ("f", "raft", "f and n", "raft:n=4"));
        assert!((f.2.median - 0.7).abs() < 1e-9 && (f.2.high - 0.8).abs() < 1e-9);
        assert_eq!((both.2.median, both.2.count), (1.5, 2));
        let median = comparison.systems[0].figure(PointKind::Saturation, "throughput_ops_s");
        assert_eq!(median.unwrap().median, 70.0);
    }
}
