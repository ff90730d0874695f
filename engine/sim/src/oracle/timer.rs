//! R-TIMER's steps down, counted here anew: a replica's doublings come down by one for k commits under each of f+1 leaders
//! since the last step, or once a minute, and for nothing else. What doubles them is not judged here.

use trireme_core::{MemberId, View};

use super::{Scene, Verdict};

/// The slow way down, in microseconds of the replica's own clock.
const MINUTE_US: u64 = 60_000_000;

/// What has been counted since a step down.
#[derive(Clone, Debug)]
struct Since {
    commits: Vec<u64>,
    tick_us: u64,
}

impl Since {
    /// Commits of blocks by these leaders come in: how many steps down that makes, from `doubled` at most.
    fn steps(&mut self, rule: Rule, now_us: u64, doubled: u32, leaders: &[MemberId]) -> u32 {
        let mut steps = 0;
        for leader in leaders {
            self.commits[usize::from(*leader)] += 1;
            let heard = self.commits.iter().filter(|count| **count >= rule.commits).count();
            if steps < doubled && (heard >= rule.leaders || now_us - self.tick_us >= MINUTE_US) {
                steps += 1;
                self.begin(now_us);
            }
        }
        steps
    }

    fn begin(&mut self, now_us: u64) {
        self.commits.fill(0);
        self.tick_us = now_us;
    }
}

/// k commits under each of f+1 leaders.
#[derive(Clone, Copy, Debug)]
struct Rule {
    commits: u64,
    leaders: usize,
}

/// What a replica shows after a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    /// Its monotonic clock.
    pub(crate) now_us: u64,
    pub(crate) view: View,
    /// How often its view timer, and its turnaround bound, are doubled.
    pub(crate) doublings: (u32, u32),
    /// It took over an image: slots that it committed without a block.
    pub(crate) installed: bool,
}

/// What one life of a replica showed.
#[derive(Clone, Debug)]
pub(crate) struct TimerWatch {
    rule: Rule,
    /// As if the last step had come as late as possible, and as early.
    sure: Since,
    most: Since,
    view: View,
    doublings: (u32, u32),
}

impl TimerWatch {
    /// A replica starts.
    pub(crate) fn new(n: usize, f: usize, commits: u64, now_us: u64, view: View) -> Self {
        let since = Since {
            commits: vec![0; n],
            tick_us: now_us,
        };
        Self {
            rule: Rule {
                commits,
                leaders: f + 1,
            },
            sure: since.clone(),
            most: since,
            view,
            doublings: (0, 0),
        }
    }

    /// After a step of the replica: what it shows, and the leaders of the blocks that it committed in the step, in order.
    pub(crate) fn look(&mut self, scene: Scene, verdict: &mut Verdict, shown: Shown, leaders: &[MemberId]) {
        let Shown {
            now_us,
            view,
            doublings,
            installed,
        } = shown;
        let before = std::mem::replace(&mut self.doublings, doublings);
        let entered = std::mem::replace(&mut self.view, view) != view;
        if entered || installed || doublings.0 > before.0 || doublings.1 > before.1 {
            // Commits and doublings in one step, in an order that does not show from outside.
            self.most.steps(self.rule, now_us, 0, leaders);
            if installed || !leaders.is_empty() {
                self.sure.begin(now_us);
            }
            return;
        }
        let (doubled, seen) = (before.0.max(before.1), self.most.clone());
        let least = self.sure.steps(self.rule, now_us, doubled, leaders);
        let most = self.most.steps(self.rule, now_us, doubled, leaders);
        let fits = |steps: u32| {
            let after = (before.0.saturating_sub(steps), before.1.saturating_sub(steps));
            after == doublings
        };
        verdict.check((least..=most).any(fits), scene, "R-TIMER", || {
            format!("doublings go from {before:?} to {doublings:?}: {least} to {most} steps down are due")
        });
        let came_down = doublings != before;
        if came_down {
            verdict.count("timer came down");
        }
        if least != most {
            // Which commit it counted last does not show.
            self.most = seen;
            if came_down {
                self.sure.begin(now_us);
                self.most.begin(now_us);
            }
            self.most.steps(self.rule, now_us, 0, leaders);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCENE: Scene = Scene { time_us: 0, member: 0 };

    /// What is wrong with a way from one number of doublings to another after these commits.
    fn wrong(seconds: u64, from: u32, to: u32, leaders: &[MemberId]) -> usize {
        let mut watch = TimerWatch::new(4, 1, 2, 0, 0);
        let mut verdict = Verdict::default();
        let shown = |now_us, doublings| Shown {
            now_us,
            view: 1,
            doublings,
            installed: false,
        };
        watch.look(SCENE, &mut verdict, shown(0, (from, 0)), &[]);
        watch.look(SCENE, &mut verdict, shown(seconds * 1_000_000, (to, 0)), leaders);
        verdict.violations.len()
    }

    #[test]
    fn what_cannot_be_told_is_allowed_either_way() {
        let mut watch = TimerWatch::new(4, 1, 2, 0, 0);
        let mut verdict = Verdict::default();
        let mut look = |view, doublings, leaders: &[MemberId]| {
            let shown = Shown {
                now_us: 0,
                view,
                doublings: (doublings, 0),
                installed: false,
            };
            watch.look(SCENE, &mut verdict, shown, leaders);
            verdict.violations.len()
        };
        look(1, 1, &[0, 0, 1]);
        // It may have come down before it doubled, in this very step.
        look(2, 2, &[1]);
        assert_eq!(look(2, 2, &[2]), 0, "then nothing is due yet");
        assert_eq!(look(2, 1, &[2, 3, 3]), 0, "and now it is");
        assert_eq!(look(2, 0, &[]), 1, "and only once");
    }

    #[test]
    fn a_step_down_is_due_and_allowed_at_one_time() {
        assert_eq!(wrong(1, 3, 2, &[0, 0, 1, 1]), 0);
        assert_eq!(wrong(1, 3, 3, &[0, 0, 1, 1]), 1, "it is due");
        assert_eq!(wrong(1, 3, 2, &[0, 0, 0, 1]), 1, "one leader is not enough");
        assert_eq!(wrong(1, 3, 3, &[0, 0, 0, 1]), 0);
        assert_eq!(wrong(60, 3, 2, &[0]), 0, "once a minute");
        assert_eq!(wrong(60, 3, 3, &[0]), 1);
        assert_eq!(wrong(60, 3, 2, &[]), 1, "and not without a commit");
        assert_eq!(wrong(1, 3, 1, &[0, 0, 1, 1, 2, 2, 3, 3]), 0, "two in one go");
        assert_eq!(wrong(1, 0, 0, &[0, 0, 1, 1]), 0, "nothing to come down from");
    }
}
