//! How much of the machine other processes took while a run was under way: figures of a shared machine say so.

use std::fs;

use rustix::param::clock_ticks_per_second;

/// A moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Ticks in which all cores worked, and all ticks.
    machine: (u64, u64),
    /// Ticks of processes that this one started and that have ended.
    children: u64,
}

impl Moment {
    /// Now; none where the kernel does not tell.
    pub(crate) fn now() -> Option<Moment> {
        Some(Moment {
            machine: machine(&fs::read_to_string("/proc/stat").ok()?)?,
            children: children(&fs::read_to_string("/proc/self/stat").ok()?)?,
        })
    }

    /// The share of the machine, from 0 to 1, that others took since then. All processes that this one started
    /// meanwhile have ended.
    pub(crate) fn others_since(self) -> Option<f64> {
        Some(self.others(Moment::now()?))
    }

    #[expect(clippy::cast_precision_loss, reason = "ticks of a run are far below 2^52")]
    fn others(self, now: Moment) -> f64 {
        let worked = now.machine.0.saturating_sub(self.machine.0);
        let all = now.machine.1.saturating_sub(self.machine.1);
        let own = now.children.saturating_sub(self.children);
        // A process that was under way before may end in this time; its whole time would count.
        (worked.saturating_sub(own) as f64 / (all.max(clock_ticks_per_second() / 10)) as f64).clamp(0.0, 1.0)
    }
}

/// Of `/proc/stat`: ticks worked (everything but idle and waiting for disks) and all.
fn machine(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    // Guests' time is in the first fields already.
    let ticks: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let all: u64 = ticks.iter().sum();
    Some((all - ticks.get(3)? - ticks.get(4)?, all))
}

/// Of `/proc/self/stat`: cutime + cstime, fields 16 and 17.
fn children(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(13);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_others_is_what_is_not_ours() {
        assert_eq!(machine("cpu  10 1 20 60 5 1 2 1 0 0\ncpu0 1\n"), Some((35, 100)));
        let stat = "71 (a) b) S 1 71 71 0 -1 4194560 100 0 0 0 250 50 30 12 20 0 4 0 9 0 0 18446744073709551615";
        assert_eq!(children(stat), Some(42));
        let before = Moment {
            machine: (100, 1_000),
            children: 10,
        };
        let now = Moment {
            machine: (700, 2_000),
            children: 410,
        };
        assert!((before.others(now) - 0.2).abs() < 1e-9);
        assert!(Moment::now().unwrap().others_since().is_some());
    }
}
