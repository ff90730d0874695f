//! When requests of an open loop arrive: the shape of the rate over time.

use std::f64::consts::TAU;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::words::{BadWords, Words, duration_text};

/// When requests of an open loop arrive. As text: `poisson`, `constant`, `burst:period=1s,share=0.1`,
/// `step:from=0.5,to=1.5,steps=5`, `sine:period=10s,depth=0.8`. Burst and sine have the rate as their mean; all but
/// `constant` are random, as from many users who know nothing of each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Arrivals {
    /// At equal distances.
    Constant,
    /// At random, independent of each other.
    #[default]
    Poisson,
    /// All requests of a period in a share of it, at its beginning.
    Burst {
        /// From one burst to the next.
        period: Duration,
        /// Share of the period in which requests come, above 0, at most 1.
        share: f64,
    },
    /// Stairs of equal length over the whole load.
    Step {
        /// Times the rate, at the beginning.
        from: f64,
        /// Times the rate, at the end.
        to: f64,
        /// How many stairs.
        steps: u32,
    },
    /// Up and down.
    Sine {
        /// From one peak to the next.
        period: Duration,
        /// Height of the peak above the mean, as a share of it: 0 to 0.99.
        depth: f64,
    },
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Constant => f.write_str("constant"),
            Self::Poisson => f.write_str("poisson"),
            Self::Burst { period, share } => write!(f, "burst:period={},share={share}", duration_text(period)),
            Self::Step { from, to, steps } => write!(f, "step:from={from},to={to},steps={steps}"),
            Self::Sine { period, depth } => write!(f, "sine:period={},depth={depth}", duration_text(period)),
        }
    }
}

impl FromStr for Arrivals {
    type Err = BadWords;

    fn from_str(text: &str) -> Result<Self, BadWords> {
        let mut words = Words::parse(text)?;
        let arrivals = match words.name {
            "constant" | "fixed" => Self::Constant,
            "poisson" => Self::Poisson,
            "burst" => Self::Burst {
                period: words.take_duration("period", Duration::from_secs(1))?,
                share: words.take("share", 0.1)?,
            },
            "step" => Self::Step {
                from: words.take("from", 0.5)?,
                to: words.take("to", 1.5)?,
                steps: words.take("steps", 5)?,
            },
            "sine" => Self::Sine {
                period: words.take_duration("period", Duration::from_secs(10))?,
                depth: words.take("depth", 0.8)?,
            },
            _ => return Err(words.refuse("give constant, poisson, burst, step or sine")),
        };
        match arrivals {
            Self::Burst { period, share } => {
                words.within(share > 0.0 && share <= 1.0, "share above 0, at most 1")?;
                words.within(period >= Duration::from_millis(1), "a period of at least 1ms")?;
            }
            Self::Step { from, to, steps } => {
                let some = |factor: f64| factor > 0.0 && factor <= 1e3;
                words.within(some(from) && some(to), "from and to above 0, at most 1000")?;
                words.within((1..=10_000).contains(&steps), "1 to 10000 steps")?;
            }
            Self::Sine { period, depth } => {
                words.within((0.0..=0.99).contains(&depth), "depth from 0 to 0.99")?;
                words.within(period >= Duration::from_millis(1), "a period of at least 1ms")?;
            }
            Self::Constant | Self::Poisson => {}
        }
        words.end()?;
        Ok(arrivals)
    }
}

impl From<Arrivals> for String {
    fn from(arrivals: Arrivals) -> Self {
        arrivals.to_string()
    }
}

impl TryFrom<String> for Arrivals {
    type Error = BadWords;

    fn try_from(text: String) -> Result<Self, BadWords> {
        text.parse()
    }
}

/// The rate over time, as its integral: `G(t)` is how much of the mean rate's load has come by time t. Arrivals that
/// are evenly (or independently) spread over G come at the wanted rate at every time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Curve {
    arrivals: Arrivals,
    /// Of the whole load, in seconds: stairs divide it.
    length: f64,
}

impl Curve {
    pub(crate) fn new(arrivals: Arrivals, length_s: f64) -> Self {
        Self {
            arrivals,
            length: length_s,
        }
    }

    /// The time at which G has this value; both in seconds.
    pub(crate) fn time(&self, load: f64) -> f64 {
        match self.arrivals {
            Arrivals::Constant | Arrivals::Poisson => load,
            Arrivals::Burst { period, share } => {
                let period = period.as_secs_f64();
                let whole = (load / period).floor() * period;
                whole + (load - whole) * share
            }
            Arrivals::Step { from, to, steps } => self.stair(load, from, to, steps),
            Arrivals::Sine { period, depth } => {
                let period = period.as_secs_f64();
                let whole = (load / period).floor() * period;
                whole + period / TAU * angle((load - whole) / period * TAU, depth)
            }
        }
    }

    fn stair(&self, load: f64, from: f64, to: f64, steps: u32) -> f64 {
        let width = self.length / f64::from(steps);
        let (mut left, mut time) = (load, 0.0);
        for step in 0..steps {
            let way = if steps == 1 {
                0.0
            } else {
                f64::from(step) / f64::from(steps - 1)
            };
            let factor = from + (to - from) * way;
            if left <= width * factor || step + 1 == steps {
                return time + left / factor;
            }
            left -= width * factor;
            time += width;
        }
        time
    }
}

/// The x in 0..2 pi with x + depth (1 - cos x) = value: Newton's steps, kept inside of the bracket that they narrow.
fn angle(value: f64, depth: f64) -> f64 {
    let (mut low, mut high) = (0.0, TAU);
    let mut x = value;
    for _ in 0..60 {
        let excess = x + depth * (1.0 - x.cos()) - value;
        if excess.abs() < 1e-12 {
            break;
        }
        if excess > 0.0 {
            high = x;
        } else {
            low = x;
        }
        let next = x - excess / (1.0 + depth * x.sin());
        x = if next > low && next < high {
            next
        } else {
            f64::midpoint(low, high)
        };
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(text: &str) -> Curve {
        Curve::new(text.parse().unwrap(), 10.0)
    }

    /// Arrivals of 1,000 a second, counted by tenths of the ten seconds.
    fn tenths(text: &str) -> Vec<u32> {
        let curve = curve(text);
        let mut counts = vec![0; 10];
        for arrival in 0..40_000 {
            let time = curve.time((f64::from(arrival) + 0.5) / 1e3);
            if let Some(count) = counts.get_mut(time as usize) {
                *count += 1;
            }
        }
        counts
    }

    #[test]
    fn each_shape_has_its_rate_at_each_time() {
        assert_eq!(tenths("constant"), [1_000; 10]);
        assert_eq!(
            tenths("burst:period=2s,share=0.5"),
            [2_000, 0, 2_000, 0, 2_000, 0, 2_000, 0, 2_000, 0]
        );
        assert_eq!(
            tenths("step:from=1,to=3,steps=5"),
            [1_000, 1_000, 1_500, 1_500, 2_000, 2_000, 2_500, 2_500, 3_000, 3_000]
        );
        // Over the first half of a period the mean is 1 + 2 depth / pi, over the second 1 - 2 depth / pi.
        let sine = tenths("sine:period=2s,depth=0.5");
        assert_eq!(sine.iter().sum::<u32>(), 10_000);
        for pair in sine.chunks(2) {
            assert!(pair[0].abs_diff(1_318) <= 1 && pair[1].abs_diff(682) <= 1, "{sine:?}");
        }
    }

    #[test]
    fn time_never_runs_backwards() {
        for text in [
            "burst:share=0.01",
            "step:from=2,to=0.1,steps=7",
            "sine:period=100ms,depth=0.99",
        ] {
            let curve = curve(text);
            let times: Vec<f64> = (0..50_000).map(|step| curve.time(f64::from(step) * 1e-4)).collect();
            assert!(times.is_sorted() && times[0] == 0.0, "{text}");
        }
    }

    #[test]
    fn shapes_are_written_as_they_are_read() {
        for text in [
            "constant",
            "poisson",
            "burst:period=1s,share=0.1",
            "step:from=0.5,to=1.5,steps=5",
            "sine:period=250ms,depth=0.8",
        ] {
            assert_eq!(text.parse::<Arrivals>().unwrap().to_string(), text);
        }
        assert_eq!("fixed".parse(), Ok(Arrivals::Constant), "its former name");
        for bad in [
            "burst:share=0",
            "step:from=0",
            "step:steps=0",
            "sine:depth=1",
            "sine:period=0s",
            "square",
        ] {
            assert!(bad.parse::<Arrivals>().is_err(), "{bad}");
        }
    }
}
