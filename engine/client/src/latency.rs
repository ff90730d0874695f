//! The retry timeout: derived from measured latency as in RFC 6298, without its clock granularity.

/// A running mean and deviation of the latency, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    mean_us: u64,
    deviation_us: u64,
    floor_us: u64,
    ceiling_us: u64,
    measured: bool,
}

/// Before the first sample.
const UNMEASURED_US: u64 = 1_000_000;

impl Latency {
    pub(crate) fn new(floor_us: u64, ceiling_us: u64) -> Self {
        Self {
            mean_us: 0,
            deviation_us: 0,
            floor_us,
            ceiling_us: ceiling_us.max(floor_us),
            measured: false,
        }
    }

    /// Takes a sample, from the first sending to acceptance. For a request that was retried that is more than either
    /// try took: the error is on the patient side, and the estimate never starves as with Karn's rule.
    pub(crate) fn sample(&mut self, us: u64) {
        if self.measured {
            let off = us.abs_diff(self.mean_us);
            self.deviation_us = (3 * self.deviation_us + off) / 4;
            self.mean_us = (7 * self.mean_us + us) / 8;
        } else {
            (self.mean_us, self.deviation_us, self.measured) = (us, us / 2, true);
        }
    }

    /// How long to wait for the result of try number `attempt` (from 0) before the next one.
    pub(crate) fn timeout_us(&self, attempt: usize) -> u64 {
        let base = if self.measured {
            2 * self.mean_us + 4 * self.deviation_us
        } else {
            UNMEASURED_US
        };
        let doubled = base.max(self.floor_us).saturating_mul(1 << attempt.min(16));
        doubled.min(self.ceiling_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_the_latency_within_its_bounds() {
        let mut latency = Latency::new(10_000, 4_000_000);
        assert_eq!(latency.timeout_us(0), UNMEASURED_US);
        for _ in 0..100 {
            latency.sample(50_000);
        }
        let calm = latency.timeout_us(0);
        assert!((100_000..110_000).contains(&calm), "{calm}");
        assert_eq!(latency.timeout_us(1), 2 * calm);
        assert_eq!(latency.timeout_us(60), 4_000_000);
        for sample in 0..100 {
            latency.sample(if sample % 2 == 0 { 20_000 } else { 80_000 });
        }
        assert!(latency.timeout_us(0) > calm + 50_000, "jitter makes it more patient");
        for _ in 0..100 {
            latency.sample(100);
        }
        assert_eq!(latency.timeout_us(0), 10_000);
    }
}
