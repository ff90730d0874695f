//! Scales: from values to places, and where the ticks are.

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Linear,
    Log,
    /// Of a quantile q: log10 of 1 / (1 - q), so that 90, 99, 99.9 % are equally far apart.
    Percentile,
}

/// An axis with its bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    kind: Kind,
    low: f64,
    high: f64,
}

impl Scale {
    /// Of values that lie between these two; the bounds move out to round numbers.
    pub(crate) fn new(kind: Kind, low: f64, high: f64) -> Self {
        let (low, high) = match kind {
            Kind::Linear => {
                let step = step(high - low);
                (
                    (low / step).floor() * step,
                    (high / step).ceil().max((low / step).floor() + 1.0) * step,
                )
            }
            Kind::Log => {
                let low = low.max(1e-6);
                (round_down(low), round_up(high.max(low * 1.5)))
            }
            Kind::Percentile => (0.0, high.clamp(0.9, 0.999_999_9)),
        };
        Self { kind, low, high }
    }

    fn place(&self, value: f64) -> f64 {
        match self.kind {
            Kind::Linear => value,
            Kind::Log => value.max(1e-9).log10(),
            Kind::Percentile => -(1.0 - value).max(1e-9).log10(),
        }
    }

    /// Where a value is: 0 at the lower bound, 1 at the upper one.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let (low, high) = (self.place(self.low), self.place(self.high));
        ((self.place(value) - low) / (high - low)).clamp(0.0, 1.0)
    }

    /// Values with a tick, and what stands there.
    pub(crate) fn ticks(&self) -> Vec<(f64, String)> {
        match self.kind {
            Kind::Linear => {
                let step = step(self.high - self.low);
                let count = ((self.high - self.low) / step).round() as u32;
                (0..=count)
                    .map(|index| self.low + f64::from(index) * step)
                    .map(|value| (value, number(value)))
                    .collect()
            }
            Kind::Log => {
                let mut ticks = Vec::new();
                let wide = self.high / self.low > 300.0;
                let mut decade = 10f64.powf(self.low.log10().floor());
                while decade <= self.high * 1.000_001 {
                    for factor in if wide { &[1.0][..] } else { &[1.0, 2.0, 5.0][..] } {
                        let value = decade * factor;
                        if value >= self.low * 0.999_999 && value <= self.high * 1.000_001 {
                            ticks.push((value, number(value)));
                        }
                    }
                    decade *= 10.0;
                }
                ticks
            }
            Kind::Percentile => [0.0, 0.5, 0.9, 0.99, 0.999, 0.999_9, 0.999_99, 0.999_999]
                .into_iter()
                .filter(|&quantile| quantile <= self.high)
                .map(|quantile| (quantile, percent(quantile)))
                .collect(),
        }
    }
}

/// A step with 1, 2 or 5 in front that cuts a width into four to ten.
fn step(width: f64) -> f64 {
    let raw = width.max(1e-9) / 5.0;
    let decade = 10f64.powf(raw.log10().floor());
    let nice = [1.0, 2.0, 5.0, 10.0].into_iter().find(|nice| raw <= nice * decade);
    nice.unwrap_or(10.0) * decade
}

fn round_down(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let nice = [5.0, 2.0].into_iter().find(|nice| value >= nice * decade * 0.999_999);
    nice.unwrap_or(1.0) * decade
}

fn round_up(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let nice = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|nice| value <= nice * decade * 1.000_001);
    nice.unwrap_or(10.0) * decade
}

/// A quantile in per cent.
pub(crate) fn percent(quantile: f64) -> String {
    let text = format!("{:.4}", quantile * 100.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} %")
}

/// A number as short as it can be without losing what matters: `1,500`, `12.5`, `0.004`.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    let digits = if !(1e-9..100.0).contains(&size) {
        0
    } else if size >= 10.0 {
        1
    } else if size >= 1.0 {
        2
    } else {
        (2.0 - size.log10().floor()) as usize
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    };
    if size < 1e3 { text } else { thousands(&text) }
}

fn thousands(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let mut out = String::from(sign);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scale: &Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_and_in_order() {
        assert_eq!(
            texts(&Scale::new(Kind::Linear, 0.0, 9.3)),
            ["0", "2", "4", "6", "8", "10"]
        );
        assert_eq!(
            texts(&Scale::new(Kind::Log, 0.7, 30.0)),
            ["0.5", "1", "2", "5", "10", "20", "50"]
        );
        assert_eq!(
            texts(&Scale::new(Kind::Log, 1.0, 1e4)),
            ["1", "10", "100", "1,000", "10,000"]
        );
        assert_eq!(
            texts(&Scale::new(Kind::Percentile, 0.0, 0.9995)),
            ["0 %", "50 %", "90 %", "99 %", "99.9 %"]
        );
        assert!(
            !texts(&Scale::new(Kind::Linear, 3.0, 3.0)).is_empty(),
            "one value has an axis, too"
        );
    }

    #[test]
    fn places_follow_the_scale() {
        let percentile = Scale::new(Kind::Percentile, 0.0, 0.999);
        assert!((percentile.at(0.9) - 1.0 / 3.0).abs() < 1e-9 && (percentile.at(0.99) - 2.0 / 3.0).abs() < 1e-9);
        let log = Scale::new(Kind::Log, 1.0, 100.0);
        assert!((log.at(10.0) - 0.5).abs() < 1e-9);
        assert_eq!(
            (log.at(0.0), log.at(1e9)),
            (0.0, 1.0),
            "what lies outside stays on the edge"
        );
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 0.004_2, 1.5, 12.54, 1_234.6, -1_234_567.0];
        assert_eq!(
            numbers.map(number),
            ["0", "0.0042", "1.5", "12.5", "1,235", "-1,234,567"]
        );
    }
}
