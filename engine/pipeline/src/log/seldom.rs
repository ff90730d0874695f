//! Messages that somebody else could make us write without end.

use trireme_core::Tick;

/// At most one in this time.
const INTERVAL_US: u64 = 1_000_000;

/// Lets one message through a second, and counts the others.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    last: Option<Tick>,
    held_back: u64,
}

impl Seldom {
    /// Whether it is due; with it, how many were not since the last.
    pub(super) fn due(&mut self, now: Tick) -> Option<u64> {
        if self.last.is_some_and(|last| now < last.plus(INTERVAL_US)) {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second() {
        let mut seldom = Seldom::default();
        let start = Tick::default();
        assert_eq!(seldom.due(start), Some(0));
        assert_eq!(seldom.due(start.plus(10)), None);
        assert_eq!(seldom.due(start.plus(INTERVAL_US - 1)), None);
        assert_eq!(seldom.due(start.plus(INTERVAL_US)), Some(2));
    }
}
