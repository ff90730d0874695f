//! A naive model of what the certified order means: the store as one map, sessions as sets of numbers (invariants 10, 12,
//! 14). Written from the documentation of `trireme_core::sessions` and `trireme_state::kv`, and with none of their code.

use std::collections::{BTreeMap, BTreeSet};

use trireme_core::types::ClientId;
use trireme_crypto::Digest;

use super::history::{Applied, payload_digest, take};

/// One client's session.
#[derive(Default)]
struct Session {
    /// Numbers below are settled.
    low: u64,
    executed: BTreeSet<u64>,
}

/// One copy of everything, executing one request after the other.
pub(super) struct Model {
    window: u64,
    max_sessions: usize,
    sessions: BTreeMap<ClientId, Session>,
    /// Version and value of each key.
    store: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    revision: u64,
    /// Requests executed so far.
    position: u64,
    effects: BTreeMap<(ClientId, u64), Effect>,
}

/// When a request took effect, and what it said.
#[derive(Clone, Copy)]
pub(super) struct Effect {
    /// Place in the certified order, from 1.
    pub(super) position: u64,
    pub(super) result: Digest,
}

impl Model {
    pub(super) fn new(window: u64, max_sessions: usize) -> Self {
        Self {
            window,
            max_sessions,
            sessions: BTreeMap::new(),
            store: BTreeMap::new(),
            revision: 0,
            position: 0,
            effects: BTreeMap::new(),
        }
    }

    /// What became of a request, if it took effect.
    pub(super) fn effect(&self, client: ClientId, number: u64) -> Option<Effect> {
        self.effects.get(&(client, number)).copied()
    }

    /// The next bundle of the order. Adds what takes effect.
    pub(super) fn run(
        &mut self,
        client: ClientId,
        done_below: u64,
        requests: &[(u64, &[u8])],
        into: &mut Vec<Applied>,
    ) {
        if !self.sessions.contains_key(&client) && self.sessions.len() >= self.max_sessions {
            return;
        }
        let session = self.sessions.entry(client).or_default();
        session.low = session.low.max(done_below);
        let low = session.low;
        session.executed.retain(|number| *number >= low);
        for (number, payload) in requests {
            let session = self.sessions.get_mut(&client).expect("just opened");
            let in_window = *number >= low && *number - low <= self.window;
            if !in_window || !session.executed.insert(*number) {
                continue;
            }
            let result = payload_digest(&self.execute(payload));
            self.position += 1;
            let effect = Effect {
                position: self.position,
                result,
            };
            self.effects.insert((client, *number), effect);
            into.push((client, *number, payload_digest(payload), result));
        }
    }

    /// Keys from `first` on, in order, as many as asked for and as fit into a result.
    fn scan(&self, first: &[u8], mut rest: &[u8]) -> Vec<u8> {
        let Some(limit) = take(&mut rest, 2) else {
            return vec![7, 1];
        };
        if !rest.is_empty() {
            return vec![7, 2];
        }
        let limit = usize::from(limit[0]) + 256 * usize::from(limit[1]);
        if limit == 0 || limit > 1_000 {
            return vec![7, 6];
        }
        let mut result = vec![8, 0];
        for (count, (key, (version, value))) in self.store.range(first.to_vec()..).enumerate() {
            let (key_len, value_len) = (key.len() as u64, value.len() as u64);
            let lengths = [&key_len.to_le_bytes()[..2], &value_len.to_le_bytes()[..4]].concat();
            let entry = [&lengths[..], &version.to_le_bytes(), key, value].concat();
            if count == limit || result.len() + entry.len() > MAX_RESULT {
                result[1] = 1;
                break;
            }
            result.extend(entry);
        }
        result
    }

    fn execute(&mut self, payload: &[u8]) -> Vec<u8> {
        let (tag, key, mut rest) = match split(payload) {
            Ok(parts) => parts,
            Err(reason) => return vec![7, reason],
        };
        let held = self.store.get(key).cloned();
        let version = held.as_ref().map_or(0, |(version, _)| *version);
        if matches!(tag, 2 | 3) && !rest.is_empty() {
            return vec![7, 2];
        }
        match (tag, held) {
            (2, Some((version, value))) => [&[2][..], &version.to_le_bytes(), &value].concat(),
            (2 | 3, None) => vec![3],
            (3, Some((version, _))) => {
                self.store.remove(key);
                self.revision += 1;
                [&[4][..], &version.to_le_bytes()].concat()
            }
            (4, _) => {
                let Some(expected) = take(&mut rest, 8) else {
                    return vec![7, 1];
                };
                if rest.len() > MAX_VALUE {
                    return vec![7, 5];
                }
                if expected != version.to_le_bytes() {
                    return [&[5][..], &version.to_le_bytes()].concat();
                }
                self.write(key, rest)
            }
            (5, _) => self.scan(key, rest),
            _ if rest.len() > MAX_VALUE => vec![7, 5],
            _ => self.write(key, rest),
        }
    }

    fn write(&mut self, key: &[u8], value: &[u8]) -> Vec<u8> {
        self.revision += 1;
        self.store.insert(key.to_vec(), (self.revision, value.to_vec()));
        [&[1][..], &self.revision.to_le_bytes()].concat()
    }
}

/// The longest value.
const MAX_VALUE: usize = 64 << 10;
/// The longest result, in bytes.
const MAX_RESULT: usize = 128 << 10;

/// Kind, key and the rest of an operation, or the number of what is wrong with it.
fn split(payload: &[u8]) -> Result<(u8, &[u8], &[u8]), u8> {
    let mut rest = payload;
    let tag = take(&mut rest, 1).ok_or(1)?[0];
    if tag == 0 || tag > 5 {
        return Err(3);
    }
    let length = take(&mut rest, 2).ok_or(1)?;
    let length = usize::from(length[0]) + 256 * usize::from(length[1]);
    if length == 0 || length > 1_024 {
        return Err(4);
    }
    let key = take(&mut rest, length).ok_or(1)?;
    Ok((tag, key, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::payload;
    use crate::prng::Prng;
    use trireme_state::{Application, Op, kv::Kv};

    /// The model and the store, written apart, say the same to everything, nonsense included.
    #[test]
    fn the_model_agrees_with_the_store() {
        let (mut model, mut store, mut prng) = (Model::new(10, 2), Kv::new(), Prng::new(9));
        let client = trireme_crypto::PublicKey([1; 32]);
        for marker in 0..3_000 {
            let mut bytes = payload(&mut prng, marker);
            if prng.percent(20) {
                bytes.truncate(prng.index(bytes.len() + 1));
            }
            if prng.percent(5) && !bytes.is_empty() {
                let at = prng.index(bytes.len().min(3));
                bytes[at] ^= 1 << prng.below(8);
            }
            if prng.percent(5) {
                let first = bytes.get(3..5).unwrap_or(&[1]);
                let limit = if prng.percent(80) {
                    prng.below(9)
                } else {
                    prng.below(2_000)
                };
                let length = [u8::try_from(first.len()).expect("short"), 0];
                bytes = [&[5][..], &length, first, &limit.to_le_bytes()[..2]].concat();
            }
            let mut result = Vec::new();
            let op = Op {
                client: &client,
                request: &trireme_crypto::Digest::ZERO,
                slot: 1,
                timestamp: 0,
                payload: &bytes,
            };
            store.execute(&op, &mut result);
            assert_eq!(model.execute(&bytes), result, "{bytes:?}");
        }
        assert!(model.revision > 1_000);
    }

    #[test]
    fn a_number_takes_effect_once_within_the_window() {
        let (mut model, client) = (Model::new(10, 1), trireme_crypto::PublicKey([1; 32]));
        let mut run = |done_below, numbers: &[u64]| {
            let requests: Vec<(u64, &[u8])> = numbers.iter().map(|number| (*number, &b"x"[..])).collect();
            let mut into = Vec::new();
            model.run(client, done_below, &requests, &mut into);
            into.into_iter().map(|(_, number, ..)| number).collect::<Vec<u64>>()
        };
        assert_eq!(run(1, &[1, 2, 2, 11, 12]), [1, 2, 11]);
        assert_eq!(run(3, &[1, 2, 3, 11, 13, 14]), [3, 13]);
        let mut into = Vec::new();
        model.run(trireme_crypto::PublicKey([2; 32]), 0, &[(1, b"x")], &mut into);
        assert!(into.is_empty(), "no room for a second session");
    }
}
