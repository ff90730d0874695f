//! What the flags stand for.

use std::fmt;
use std::str::FromStr;

use trireme_sim::Options;
use trireme_sim::bank;

use super::SimulateArgs;

/// Fewest members that stand a Byzantine one.
const LEAST: u16 = 4;
/// Most that the simulator takes: beyond it a seed takes minutes.
const MOST: u16 = 32;

/// What the replicas have to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// Faults, liars and odd constants, drawn from the seed
    Swarm,
    /// No faults, no liars; odd constants
    Calm,
    /// Most disks destroy what they acknowledged: only what is promised even then is judged
    Beyond,
}

impl Profile {
    /// As the flag has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Profile::Swarm => "swarm",
            Profile::Calm => "calm",
            Profile::Beyond => "beyond",
        }
    }

    /// Counters that have to fire in a long run.
    pub(crate) fn sometimes(self) -> &'static [&'static str] {
        match self {
            Profile::Swarm => trireme_sim::SOMETIMES,
            Profile::Calm => trireme_sim::ALWAYS,
            // A cluster that forgets need not do anything.
            Profile::Beyond => &[],
        }
    }
}

/// Which signatures replicas and clients make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Signatures {
    /// Real Ed25519 in 3 % of the seeds, a keyed mix as long as it in the others
    Swarm,
    /// Real Ed25519 in all seeds
    Real,
    /// The keyed mix in all seeds
    Fake,
}

impl Signatures {
    /// Whether all are real, or none is; none if each seed draws.
    fn forced(self) -> Option<bool> {
        match self {
            Signatures::Swarm => None,
            Signatures::Real => Some(true),
            Signatures::Fake => Some(false),
        }
    }
}

/// Numbers of members, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replicas {
    least: u16,
    most: u16,
}

impl Replicas {
    /// The number, if it is one and no range.
    pub(crate) fn only(self) -> Option<u16> {
        (self.least == self.most).then_some(self.least)
    }

    /// The members of a seed: a fixed function of it, so that a replay needs the seed and this number only.
    fn of_seed(self, seed: u64) -> u16 {
        let choices = u64::from(self.most - self.least) + 1;
        let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        self.least + u16::try_from(mixed % choices).expect("at most as many as members")
    }
}

impl FromStr for Replicas {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| -> Result<u16, String> {
            let number = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
            if (LEAST..=MOST).contains(&number) {
                Ok(number)
            } else {
                Err(format!("{number} members: from {LEAST} to {MOST} can be simulated"))
            }
        };
        let (least, most) = match text.split_once("..") {
            Some((least, most)) => (number(least)?, number(most.strip_prefix('=').unwrap_or(most))?),
            None => (number(text)?, number(text)?),
        };
        if least > most {
            return Err(format!("{least} is more than {most}"));
        }
        Ok(Self { least, most })
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.least == self.most {
            write!(f, "{}", self.least)
        } else {
            write!(f, "{}..{}", self.least, self.most)
        }
    }
}

/// A time of more than nothing, in minutes.
pub(crate) fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if minutes > 0.0 && minutes <= 1e6 => Ok(minutes),
        _ => Err("a number of minutes above 0 is needed".into()),
    }
}

impl SimulateArgs {
    /// What the flags ask for that cannot be done, if anything.
    pub(super) fn possible(&self) -> Result<(), String> {
        if self.files.shrinks() && self.seed.is_none() && self.files.scenario().is_none() {
            return Err("--shrink needs --seed or --scenario".into());
        }
        self.bank.possible(self.seed)?;
        if self.bank.chosen() && !bank::AVAILABLE {
            return Err(format!("{} --bug-bank", super::WITH_BUGS));
        }
        let Some(clause) = &self.clause else { return Ok(()) };
        if bank::Bug::of(clause).is_none() {
            let all: Vec<&str> = bank::Bug::all().filter_map(bank::Bug::switch).collect();
            return Err(format!("no clause has the name {clause}; there are {}", all.join(", ")));
        }
        if !bank::AVAILABLE {
            return Err(format!("{} --clause {clause}", super::WITH_BUGS));
        }
        Ok(())
    }

    /// Seeds at the same time.
    pub(super) fn threads(&self) -> u16 {
        let processors =
            || std::thread::available_parallelism().map_or(1, |n| u16::try_from(n.get()).unwrap_or(u16::MAX));
        self.threads.unwrap_or_else(processors)
    }

    /// How to run a seed.
    pub(crate) fn options(&self, seed: u64) -> Options {
        let chaos = self.profile != Profile::Calm;
        let mut options = Options {
            n: self.replicas.map(|replicas| replicas.of_seed(seed)),
            byzantine: chaos,
            chaos,
            beyond: self.profile == Profile::Beyond,
            real_signatures: self.signatures.forced(),
            ..Options::default()
        };
        if let Some(clause) = &self.clause {
            // `possible` has seen that there is such a switch.
            options.switch_off(clause);
        }
        options
    }

    /// The command that replays a seed.
    pub(crate) fn replay_command(&self, seed: u64) -> String {
        let mut command = format!("trireme simulate --seed {seed}");
        if let Some(replicas) = self.replicas {
            command += &format!(" --replicas {}", replicas.of_seed(seed));
        }
        if let Some(clause) = &self.clause {
            command += &format!(" --clause {clause}");
        }
        match self.signatures {
            Signatures::Swarm => {}
            Signatures::Real => command += " --signatures real",
            Signatures::Fake => command += " --signatures fake",
        }
        if self.profile != Profile::Swarm {
            command += &format!(" --profile {}", self.profile.name());
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_a_number_or_a_range() {
        let range: Replicas = "4..10".parse().unwrap();
        assert_eq!(range.to_string(), "4..10");
        let drawn: std::collections::BTreeSet<u16> = (0..100).map(|seed| range.of_seed(seed)).collect();
        assert_eq!(drawn, (4..=10).collect(), "both ends included");
        assert_eq!("7".parse::<Replicas>().unwrap().of_seed(3), 7);
        for wrong in ["", "3", "4..", "10..4", "4..33", "x"] {
            assert!(wrong.parse::<Replicas>().is_err(), "{wrong}");
        }
        assert!(minutes("0.5").is_ok() && minutes("0").is_err() && minutes("NaN").is_err());
    }
}
