//! Which fault comes next: drawn from a seed.

use std::time::Duration;

use serde::Serialize;
use trireme_transport::wan::Change;

/// What can happen to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// SIGKILL, and a new process a while later
    Kill,
    /// SIGTERM, and a new process a while later
    Restart,
    /// SIGKILL, and some bytes of the log are flipped before the new process starts
    Damage,
    /// SIGKILL, and some bytes of its snapshots are flipped before the new process starts
    Snapshot,
    /// SIGKILL, and its log is gone when the new process starts
    LogLost,
    /// SIGTERM, and the new process starts from another replica's backup in an empty directory
    Restore,
    /// Its disk has no room left
    DiskFull,
    /// SIGSTOP, and SIGCONT a while later
    Stop,
    /// Cut off from all replicas and clients
    Partition,
    /// Cut off in one direction
    OneWay,
    /// Cut off from some replicas
    Partial,
    /// Its links get delay, jitter and loss
    Slow,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill",
            Kind::Restart => "restart",
            Kind::Damage => "damage",
            Kind::Snapshot => "snapshot",
            Kind::LogLost => "log-lost",
            Kind::Restore => "restore",
            Kind::DiskFull => "disk-full",
            Kind::Stop => "stop",
            Kind::Partition => "partition",
            Kind::OneWay => "one-way",
            Kind::Partial => "partial",
            Kind::Slow => "slow",
        }
    }

    /// The shortest and the longest time that is drawn, in milliseconds.
    fn lengths_ms(self) -> (u64, u64) {
        match self {
            Kind::Kill | Kind::Restart | Kind::Damage | Kind::Snapshot | Kind::LogLost | Kind::Restore => (50, 2_000),
            // What is prepared lasts for a while.
            Kind::DiskFull => (3_000, 15_000),
            // Far past the view timer, and past the time after which silent connections end.
            Kind::Stop => (300, 8_000),
            Kind::Partition | Kind::OneWay | Kind::Partial | Kind::Slow => (300, 8_000),
        }
    }
}

/// Whom faults hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Target {
    /// The leader in one of three cases, anybody otherwise
    Any,
    /// The leader
    Leader,
    /// Anybody else
    Follower,
}

/// A change of links: the pair as `trireme wan` takes it, whether only from the first to the second, and what changes.
pub(super) type LinkChange = (String, bool, Change);

/// One fault.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) replica: u16,
    pub(super) length: Duration,
    pub(super) links: Vec<LinkChange>,
}

/// What is to be drawn from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<'a> {
    pub(super) kinds: &'a [Kind],
    pub(super) target: Target,
    pub(super) length: Option<Duration>,
    pub(super) replicas: u16,
}

/// A small generator (splitmix64).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64, lane: u64) -> Dice {
        Dice(seed ^ lane.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From low to high, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub(super) fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        let last = list.len() as u64 - 1;
        list[usize::try_from(self.between(0, last)).expect("an index")]
    }

    /// True once in so many times.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.between(1, times) == 1
    }

    /// A pause with this mean, from a quarter to seven quarters of it.
    pub(super) fn pause(&mut self, mean: Duration) -> Duration {
        let us = u64::try_from(mean.as_micros()).unwrap_or(u64::MAX / 8);
        Duration::from_micros(self.between(us / 4, us / 4 * 7))
    }

    /// The next fault; `leader` leads, and to the replicas in `taken` something is being done already. None if that
    /// leaves nobody.
    pub(super) fn draw(&mut self, choice: &Choice<'_>, leader: u16, taken: &[u16]) -> Option<Fault> {
        let kind = self.one_of(choice.kinds);
        let (shortest, longest) = kind.lengths_ms();
        // Short ones are more frequent.
        let most = self.between(shortest, longest);
        let drawn = Duration::from_millis(self.between(shortest, most));
        let at_leader = match choice.target {
            Target::Any => self.between(0, 2) == 0,
            Target::Leader => true,
            Target::Follower => false,
        };
        let others: Vec<u16> = (0..choice.replicas)
            .filter(|index| choice.target == Target::Any || *index != leader)
            .collect();
        let free: Vec<u16> = others.into_iter().filter(|index| !taken.contains(index)).collect();
        let replica = match at_leader {
            true if taken.contains(&leader) => return None,
            true => leader,
            false if free.is_empty() => return None,
            false => self.one_of(&free),
        };
        let links = self.links(kind, replica, choice.replicas);
        Some(Fault {
            kind,
            replica,
            length: choice.length.unwrap_or(drawn),
            links,
        })
    }

    fn links(&mut self, kind: Kind, replica: u16, replicas: u16) -> Vec<LinkChange> {
        let cut = Change {
            cut: Some(true),
            ..Change::default()
        };
        let everybody = || format!("{replica}-all");
        match kind {
            Kind::Kill
            | Kind::Restart
            | Kind::Damage
            | Kind::Snapshot
            | Kind::LogLost
            | Kind::Restore
            | Kind::DiskFull
            | Kind::Stop => Vec::new(),
            Kind::Partition => vec![(everybody(), false, cut)],
            Kind::OneWay if self.between(0, 1) == 0 => vec![(everybody(), true, cut)],
            Kind::OneWay => vec![(format!("all-{replica}"), true, cut)],
            Kind::Partial => {
                let others: Vec<u16> = (0..replicas).filter(|other| *other != replica).collect();
                // At least one, and not all.
                let mut some = vec![self.one_of(&others)];
                for other in &others {
                    if some.len() + 1 < others.len() && !some.contains(other) && self.between(0, 1) == 0 {
                        some.push(*other);
                    }
                }
                some.into_iter()
                    .map(|other| (format!("{replica}-{other}"), false, cut))
                    .collect()
            }
            Kind::Slow => {
                let share = |percent: u64| f64::from(u32::try_from(percent).expect("a percentage")) / 100.0;
                let ms = |ms: u64| f64::from(u32::try_from(ms).expect("milliseconds"));
                let change = Change {
                    delay_ms: Some(ms(self.between(20, 300))),
                    jitter_ms: Some(ms(self.between(0, 50))),
                    loss: Some(share(self.between(0, 5))),
                    duplicate: Some(share(self.between(0, 2))),
                    reorder: Some(share(self.between(0, 3))),
                    ..Change::default()
                };
                vec![(everybody(), false, change)]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    fn choice(target: Target) -> Choice<'static> {
        Choice {
            kinds: Kind::value_variants(),
            target,
            length: None,
            replicas: 4,
        }
    }

    #[test]
    fn the_seed_decides_and_every_kind_comes() {
        let list = |seed| {
            let mut dice = Dice::new(seed, 0);
            (0..200)
                .filter_map(|_| dice.draw(&choice(Target::Any), 1, &[]))
                .collect::<Vec<Fault>>()
        };
        let faults = list(7);
        assert_eq!(faults, list(7));
        assert_ne!(faults, list(8));
        for kind in Kind::value_variants() {
            assert!(faults.iter().any(|fault| fault.kind == *kind), "{}", kind.name());
        }
        let at_leader = faults.iter().filter(|fault| fault.replica == 1).count();
        assert!((60..140).contains(&at_leader), "{at_leader}");
        for fault in faults.iter().filter(|fault| fault.kind == Kind::Partial) {
            assert!(
                (1..=2).contains(&fault.links.len()),
                "some of three, not all: {fault:?}"
            );
        }
    }

    #[test]
    fn nobody_is_hit_twice_and_targets_are_kept() {
        let mut dice = Dice::new(3, 1);
        for _ in 0..200 {
            let fault = dice.draw(&choice(Target::Any), 0, &[0, 2]);
            assert!(fault.is_none_or(|fault| fault.replica == 1 || fault.replica == 3));
            assert_eq!(
                dice.draw(&choice(Target::Leader), 2, &[]).map(|fault| fault.replica),
                Some(2)
            );
            assert!(dice.draw(&choice(Target::Leader), 2, &[2]).is_none());
            assert!(
                dice.draw(&choice(Target::Follower), 2, &[0, 1])
                    .is_some_and(|fault| fault.replica == 3)
            );
        }
    }
}
