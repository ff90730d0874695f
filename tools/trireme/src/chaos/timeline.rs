//! What happened when: faults, and the load's seconds around them.

use serde::Serialize;

use crate::chaos::fault::Kind;

/// A fault that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) kind: Kind,
    pub(super) replica: u16,
    /// It led when the fault began.
    pub(super) leader: bool,
    /// Seconds since the begin of the load.
    pub(super) begin_s: f64,
    pub(super) end_s: f64,
    /// The longest time in which no slot was committed at the others, from the begin until half a second after the end.
    pub(super) without_commits_ms: f64,
    /// One view timer and four round trips, as the replicas had measured them before.
    pub(super) bound_ms: f64,
    /// Views that were left meanwhile.
    pub(super) views: u64,
    /// From the end until the replica had executed what the others had committed by then.
    pub(super) caught_up_s: f64,
    /// It came up quarantined.
    pub(super) quarantined: bool,
    /// What the replica itself noticed of the fault.
    pub(super) noticed: Option<&'static str>,
    /// From the end until others committed with its vote again: after a quarantine.
    pub(super) votes_after_s: Option<f64>,
}

/// A second of load.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Second {
    /// Its end, since the begin of the load.
    pub(super) second: u32,
    pub(super) ops_s: f64,
    pub(super) p99_ms: f64,
}

impl Second {
    pub(super) fn of(progress: &trireme_load::Second) -> Second {
        Second {
            second: progress.second,
            ops_s: progress.ops_s,
            p99_ms: progress.p99_us / 1e3,
        }
    }
}

/// Seconds before a fault that say what the throughput is without it.
const BEFORE: u32 = 5;
/// What counts as back.
const BACK: f64 = 0.95;

/// Throughput over the whole seconds of a fault as a share of that before it, and how many seconds after its end the
/// first second with 95 % of it had ended. None if no whole second lies there.
pub(super) fn around(seconds: &[Second], begin_s: f64, end_s: f64) -> (Option<f64>, Option<f64>) {
    let mean = |list: &mut dyn Iterator<Item = &Second>| {
        let (sum, count) = list.fold((0.0, 0u32), |(sum, count), second| (sum + second.ops_s, count + 1));
        (count > 0).then(|| sum / f64::from(count))
    };
    let whole_before =
        |second: &&Second| f64::from(second.second) <= begin_s && f64::from(second.second + BEFORE) > begin_s;
    let Some(usual) = mean(&mut seconds.iter().filter(whole_before)).filter(|usual| *usual > 0.0) else {
        return (None, None);
    };
    let within = |second: &&Second| f64::from(second.second) - 1.0 >= begin_s && f64::from(second.second) <= end_s;
    let during = mean(&mut seconds.iter().filter(within)).map(|ops_s| ops_s / usual);
    let back = seconds
        .iter()
        .filter(|second| f64::from(second.second) > end_s)
        .find(|second| second.ops_s >= BACK * usual)
        .map(|second| f64::from(second.second) - end_s);
    (during, back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_in_a_fault_and_after_it() {
        let ops = [100.0, 100.0, 100.0, 40.0, 0.0, 20.0, 90.0, 96.0, 100.0];
        let seconds: Vec<Second> = (1..)
            .zip(ops)
            .map(|(second, ops_s)| Second {
                second,
                ops_s,
                p99_ms: 1.0,
            })
            .collect();
        // From 3.5 s to 6 s: whole are the fifth and the sixth; back with the eighth.
        let (during, back) = around(&seconds, 3.5, 6.0);
        assert_eq!(during, Some(0.1));
        assert_eq!(back, Some(2.0));
        assert_eq!(around(&seconds, 0.5, 2.0), (None, None), "nothing is known of before");
        assert_eq!(around(&seconds, 3.2, 3.9).0, None, "no whole second");
    }
}
