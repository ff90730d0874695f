//! Clients: they number requests, sign bundles, retry elsewhere, cut retries anew, and believe f+1 equal replies.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use trireme_core::reply::{Outcome, ReplyEntry, ReplySet};
use trireme_core::request::{BundleBuilder, request_digest};
use trireme_core::types::ClientId;
use trireme_core::{MemberId, Slot};
use trireme_crypto::Digest;

use crate::keys::Ring;
use crate::prng::Prng;

/// A request without an answer.
struct Open {
    payload: Vec<u8>,
    /// Not sent again: a correct replica that took it in has to see it through.
    once: bool,
}

/// Members that gave one reply set, and its entries.
type Replies = (BTreeSet<MemberId>, Option<Vec<ReplyEntry>>);

/// One client.
pub(crate) struct Client {
    pub(crate) index: usize,
    pub(crate) id: ClientId,
    next: u64,
    done: BTreeSet<u64>,
    done_below: u64,
    open: BTreeMap<u64, Open>,
    replies: BTreeMap<(Slot, Digest), Replies>,
    /// Replies needed to believe.
    enough: usize,
    window: u64,
}

impl Client {
    pub(crate) fn new(index: usize, ring: &Ring, enough: usize, window: u64) -> Self {
        Self {
            index,
            id: ring.client_id(index),
            next: 1,
            done: BTreeSet::new(),
            done_below: 1,
            open: BTreeMap::new(),
            replies: BTreeMap::new(),
            enough,
            window,
        }
    }

    /// Requests without an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.open.len()
    }

    /// Numbers without an answer, ascending.
    pub(crate) fn unanswered(&self) -> Vec<u64> {
        self.open.keys().copied().collect()
    }

    /// Opens a new request; nothing if the window is full. Returns its number.
    pub(crate) fn open(&mut self, payload: Vec<u8>, once: bool) -> Option<u64> {
        if self.next > self.done_below + self.window {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.open.insert(number, Open { payload, once });
        Some(number)
    }

    /// The payload of a request that waits.
    pub(crate) fn payload(&self, number: u64) -> Option<&[u8]> {
        self.open.get(&number).map(|open| open.payload.as_slice())
    }

    /// Signs a bundle of requests that wait.
    pub(crate) fn cut(&self, ring: &Ring, numbers: &[u64]) -> Option<Bytes> {
        let numbers: Vec<u64> = numbers.iter().copied().filter(|n| self.open.contains_key(n)).collect();
        if numbers.is_empty() {
            return None;
        }
        let mut bundle = BundleBuilder::new(self.id, self.done_below);
        for number in &numbers {
            bundle
                .push(*number, &self.open[number].payload)
                .expect("numbers ascend and payloads are small");
        }
        let bytes = bundle.finish(|statement| ring.sign_as_client(self.index, statement), &ring.domain());
        Some(bytes.into())
    }

    /// Requests to send again, cut in a new way.
    pub(crate) fn retry(&self, ring: &Ring, prng: &mut Prng) -> Vec<Bytes> {
        let again: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, open)| !open.once)
            .map(|(n, _)| *n)
            .take(64)
            .collect();
        let mut cuts = Vec::new();
        let mut rest = again.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(1 + prng.index(rest.len()));
            cuts.extend(self.cut(ring, now));
            rest = later;
        }
        cuts
    }

    /// A reply of a replica. Returns requests that are answered by it: number, slot, and the result if it came along.
    pub(crate) fn reply(&mut self, from: MemberId, set: &ReplySet) -> Vec<(u64, Slot, Option<Bytes>)> {
        let (members, entries) = self.replies.entry((set.slot, set.digest)).or_default();
        members.insert(from);
        if set.is_consistent() && entries.is_none() {
            entries.clone_from(&set.entries);
        }
        if members.len() < self.enough {
            return Vec::new();
        }
        let Some(entries) = entries.clone() else {
            return Vec::new();
        };
        entries
            .iter()
            .filter_map(|entry| self.settle(entry, set.slot))
            .collect()
    }

    fn settle(&mut self, entry: &ReplyEntry, slot: Slot) -> Option<(u64, Slot, Option<Bytes>)> {
        let open = self.open.get(&entry.number)?;
        let own = request_digest(&self.id, entry.number, &open.payload) == entry.request;
        if !own
            || !matches!(
                entry.outcome,
                Outcome::Executed(_) | Outcome::LeftOut | Outcome::ResultGone
            )
        {
            return None;
        }
        self.open.remove(&entry.number);
        self.done.insert(entry.number);
        while self.done.remove(&self.done_below) {
            self.done_below += 1;
        }
        let result = match &entry.outcome {
            Outcome::Executed(result) => Some(result.clone()),
            _ => None,
        };
        Some((entry.number, slot, result))
    }
}
