//! How the parts of a scenario stand in a file.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use trireme_core::types::Params;
use trireme_log::simulation::Fault as Harm;

use crate::prng::Prng;

/// The constants that all members share: a field of [`Params`] that is missing here does not compile.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Params", deny_unknown_fields)]
pub(crate) struct ParamsText {
    n: u16,
    f: u16,
    window: u64,
    w0: u64,
    lane_window_heights: u64,
    lane_window_bytes: u64,
    max_batch_bytes: u32,
    max_drift_us: u64,
    state_interval: u64,
    state_idle_us: u64,
    #[serde(default = "checkpoint_slots")]
    checkpoint_slots: u64,
    #[serde(default = "checkpoint_bytes")]
    checkpoint_bytes: u64,
    #[serde(default = "log_window")]
    log_window: u64,
    timer_floor_us: u64,
    timer_factor: u64,
    timer_decay_commits: u64,
    idle_lock_us: u64,
    session_window: u32,
    max_sessions: u32,
}

fn checkpoint_slots() -> u64 {
    Params::new(1, 0).checkpoint_slots
}

fn checkpoint_bytes() -> u64 {
    Params::new(1, 0).checkpoint_bytes
}

fn log_window() -> u64 {
    Params::new(1, 0).log_window
}

/// What goes wrong with a disk: a kind that is missing here does not compile.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Harm", rename_all = "snake_case")]
pub(crate) enum HarmText {
    FailFlush,
    ShortWrite,
    FailRead,
    NoSpace { us: u64 },
    MisdirectRead,
    MisdirectWrite,
    LoseFlush,
    Rot,
    Latent,
}

/// A number that may be more than TOML's: hexadecimal digits.
pub(crate) mod big {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{number:016x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        u64::from_str_radix(&text, 16).map_err(|_| D::Error::custom("hexadecimal digits are needed"))
    }
}

/// A set of members as the list of them.
pub(crate) mod members {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(set: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq((0..128u8).filter(|member| set >> member & 1 == 1))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let members = Vec::<u8>::deserialize(from)?;
        members.into_iter().try_fold(0, |set, member| match member {
            0..128 => Ok(set | 1 << member),
            _ => Err(D::Error::custom(format!("no member has the number {member}"))),
        })
    }
}

/// What happens at a time: `at_us` beside the fields of what happens.
pub(crate) mod timed {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Timed<T> {
        at_us: u64,
        #[serde(flatten)]
        what: T,
    }

    pub(crate) fn serialize<S: Serializer, T: Serialize>(all: &[(u64, T)], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(all.iter().map(|(at_us, what)| Timed { at_us: *at_us, what }))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
        from: D,
    ) -> Result<Vec<(u64, T)>, D::Error> {
        let all = Vec::<Timed<T>>::deserialize(from)?;
        Ok(all.into_iter().map(|timed| (timed.at_us, timed.what)).collect())
    }
}

/// The stream of the run's own choices: a number that seeds it, or where it stood once a seed had drawn its plan, as 64
/// hexadecimal digits.
pub(crate) mod chance {
    use super::*;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Text {
        Seed(u64),
        State(String),
    }

    pub(crate) fn serialize<S: Serializer>(prng: &Prng, to: S) -> Result<S::Ok, S::Error> {
        let words = prng.state().map(|word| format!("{word:016x}"));
        to.serialize_str(&words.concat())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Prng, D::Error> {
        match Text::deserialize(from)? {
            Text::Seed(seed) => Ok(Prng::new(seed)),
            Text::State(text) => {
                parse(&text).ok_or_else(|| D::Error::custom("a number is needed, or a string of 64 hexadecimal digits"))
            }
        }
    }

    fn parse(text: &str) -> Option<Prng> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut state = [0; 4];
        for (word, at) in state.iter_mut().zip((0..64).step_by(16)) {
            *word = u64::from_str_radix(&text[at..at + 16], 16).ok()?;
        }
        Prng::at(state)
    }
}
