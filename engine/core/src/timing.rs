//! Measured times and the bounds made of them (R-TIMER). Nothing here delays the normal path.

use alloc::{vec, vec::Vec};

use crate::bugs::Bugs;
use crate::types::{MemberId, Params, Tick};

/// The most doublings of the view timer: 2^32 x base (R-TIMER).
const MAX_DOUBLINGS: u32 = 32;
/// The pace of proposals and batches never exceeds this: beyond it the wait would be felt.
const MAX_PACE_US: u64 = 3_000;
/// A lock never waits longer than this for the last votes (R-LOCK).
const MAX_LOCK_WAIT_US: u64 = 1_000;
const MINUTE_US: u64 = 60_000_000;

/// An exponentially weighted mean, in microseconds; rises fast, falls slowly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean(u64);

impl Mean {
    /// A single sample counts as twice the mean at most, or as `floor_us`: one that spans a partition says nothing about
    /// what comes after it. Lasting slowness still raises the mean by a quarter with each sample.
    pub fn note(&mut self, us: u64, floor_us: u64) {
        let us = us.min(floor_us.max(2 * self.0));
        self.0 = match self.0 {
            0 => us,
            old if us > old => old + (us - old) / 4,
            old => old - (old - us) / 16,
        };
    }

    /// Microseconds; 0 before the first sample.
    pub fn us(self) -> u64 {
        self.0
    }
}

/// Round trips that the view timer is made of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TimerRtts {
    /// min(RTT to the leader, `reached_us`).
    pub(crate) own_us: u64,
    /// The (f+1)-th largest RTT to members: within it q members were asked and have answered.
    pub(crate) reached_us: u64,
}

/// What one replica measured.
#[derive(Clone, Debug)]
pub(crate) struct Timing {
    bugs: Bugs,
    floor_us: u64,
    factor: u64,
    decay_commits: u64,
    one_honest: usize,
    /// From a block's arrival to its q-th vote.
    spread: Mean,
    /// From the q-th vote to the n-th.
    last_votes: Mean,
    /// From a batch's cut, or a block's arrival, to its commit here.
    commit: Mean,
    doublings: u32,
    turnaround_doublings: u32,
    late_views: u32,
    commits_under: Vec<u64>,
    decayed_at: Tick,
    /// Blocks in a row that the fast path did not commit first.
    pub(crate) fast_misses: u32,
}

impl Timing {
    pub(crate) fn new(params: &Params, bugs: Bugs) -> Self {
        Self {
            bugs,
            floor_us: params.timer_floor_us,
            factor: params.timer_factor,
            decay_commits: params.timer_decay_commits,
            one_honest: usize::from(params.f) + 1,
            spread: Mean::default(),
            last_votes: Mean::default(),
            commit: Mean::default(),
            doublings: 0,
            turnaround_doublings: 0,
            late_views: 0,
            commits_under: vec![0; usize::from(params.n)],
            decayed_at: Tick::default(),
            fast_misses: 0,
        }
    }

    pub(crate) fn note_spread(&mut self, us: u64) {
        self.spread.note(us, self.floor_us);
    }

    pub(crate) fn note_last_votes(&mut self, us: u64) {
        self.last_votes.note(us, self.floor_us);
    }

    pub(crate) fn note_commit(&mut self, us: u64) {
        self.commit.note(us, self.floor_us);
    }

    /// The replica starts: the minute of R-TIMER begins.
    pub(crate) fn begin(&mut self, now: Tick) {
        self.decayed_at = now;
    }

    /// What a commit takes here, in the mean.
    pub(crate) fn commit_us(&self) -> u64 {
        self.commit.us()
    }

    /// From a block's arrival to its q-th vote, in the mean.
    pub(crate) fn spread_us(&self) -> u64 {
        self.spread.us()
    }

    /// R-TIMER's base. Before the first sample half of the round trip to a quorum stands for the spread: on a wide-area
    /// network the floor alone would end the first view before its first block can commit. (Not half of the one to the
    /// leader: the leader itself and its neighbours wait for votes from far away like everybody else.)
    fn base(&self, rtts: TimerRtts) -> u64 {
        let spread = match self.spread.us() {
            0 => rtts.reached_us / 2,
            measured => measured,
        };
        self.floor_us.max(self.factor * spread + rtts.own_us)
    }

    /// How long the current view's leader has to get work committed.
    pub(crate) fn view_us(&self, rtts: TimerRtts) -> u64 {
        self.base(rtts).saturating_mul(1 << self.doublings.min(MAX_DOUBLINGS))
    }

    /// How long it has to order a tip whose certificate it was sent.
    pub(crate) fn turnaround_us(&self, rtts: TimerRtts) -> u64 {
        (self.pace_us() + self.base(rtts)).saturating_mul(1 << self.turnaround_doublings.min(MAX_DOUBLINGS))
    }

    /// The least time between two proposals, or two batches of a lane, while an earlier one is under way: a third of
    /// what a commit takes, so that load makes them larger instead of more.
    pub(crate) fn pace_us(&self) -> u64 {
        (self.commit.us() / 3).min(MAX_PACE_US)
    }

    /// How long a lock waits for the fast path to make it unnecessary.
    pub(crate) fn lock_wait_us(&self) -> u64 {
        if self.fast_misses > 2 {
            0
        } else {
            (2 * self.last_votes.us()).clamp(100, MAX_LOCK_WAIT_US)
        }
    }

    /// A view was left by a Timeout after work had waited in it.
    pub(crate) fn view_failed(&mut self) {
        self.doublings = (self.doublings + 1).min(MAX_DOUBLINGS);
    }

    /// Doublings of the view timer, and of the turnaround bound.
    pub(crate) fn doublings(&self) -> (u32, u32) {
        (self.doublings, self.turnaround_doublings)
    }

    /// A leader was given up for being slow to order; after a whole rotation of such the bound doubles.
    pub(crate) fn turnaround_missed(&mut self, n: usize) {
        self.late_views += 1;
        if self.late_views as usize >= n {
            self.late_views = 0;
            self.turnaround_doublings = (self.turnaround_doublings + 1).min(MAX_DOUBLINGS);
        }
    }

    /// A block was committed: the timer decays one step for k commits under each of f+1 leaders, or once a minute.
    pub(crate) fn committed(&mut self, leader: MemberId, now: Tick) {
        self.late_views = 0;
        self.commits_under[usize::from(leader)] += 1;
        if self.doublings == 0 && self.turnaround_doublings == 0 || self.bugs.timer_never_resets() {
            return;
        }
        let leaders = self.commits_under.iter().filter(|c| **c >= self.decay_commits).count();
        let enough = if self.bugs.decay_on_one_leader() {
            1
        } else {
            self.one_honest
        };
        if leaders >= enough || now.since(self.decayed_at) >= MINUTE_US {
            self.doublings = self.doublings.saturating_sub(1);
            self.turnaround_doublings = self.turnaround_doublings.saturating_sub(1);
            self.commits_under.fill(0);
            self.decayed_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtts(own_us: u64, reached_us: u64) -> TimerRtts {
        TimerRtts { own_us, reached_us }
    }

    #[test]
    fn the_first_view_has_time_for_a_commit_over_long_distances() {
        let mut timing = Timing::new(&Params::new(4, 1), Bugs::default());
        let far = rtts(130_000, 130_000);
        assert!(timing.view_us(far) >= 4 * 130_000, "before anything was measured");
        assert!(
            timing.view_us(rtts(0, 130_000)) >= 4 * 130_000,
            "the leader itself, and whoever stands beside it"
        );
        timing.note_spread(1_000);
        assert_eq!(
            timing.view_us(far),
            8_000 + 130_000,
            "afterwards what was measured counts"
        );
    }

    #[test]
    fn a_partition_does_not_stretch_the_timer_and_lasting_slowness_does() {
        let mut timing = Timing::new(&Params::new(4, 1), Bugs::default());
        let floor = timing.floor_us;
        timing.note_spread(30_000_000);
        assert!(timing.view_us(rtts(0, 0)) <= timing.factor * floor, "the first sample");
        (0..200).for_each(|_| timing.note_spread(1_000));
        timing.note_spread(30_000_000);
        assert!(timing.view_us(rtts(0, 0)) <= timing.factor * floor / 2, "one of many");
        let samples = (0..100).take_while(|_| {
            timing.note_spread(400_000);
            timing.spread_us() < 300_000
        });
        assert!(samples.count() < 30, "a network that is slow now is followed");
    }
}
