//! Missing blocks and batches, asked for by digest (R-FETCH): one request in flight a digest, from those who should
//! have it, in turn.

use alloc::{collections::BTreeMap, vec::Vec};

use trireme_crypto::Digest;

use crate::message::Message;
use crate::quorum::MemberSet;
use crate::types::{Height, MemberId, Slot, Tick};

/// Digests wanted at once; what is found missing beyond that is found again later.
const MAX_WANTS: usize = 256;
const MAX_WAIT_US: u64 = 2_000_000;

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Block {
        slot: Slot,
        floor: Slot,
    },
    Batch {
        lane: MemberId,
        height: Height,
        floor: Height,
    },
}

#[derive(Debug)]
struct Want {
    kind: Kind,
    /// Highest height that the answer under way has brought.
    reached: Height,
    candidates: MemberSet,
    asked: Option<MemberId>,
    due: Tick,
    tries: u32,
}

/// All that is missing.
#[derive(Debug, Default)]
pub(crate) struct Fetcher {
    wants: BTreeMap<Digest, Want>,
    /// Requests sent.
    pub(crate) sent: u64,
}

impl Fetcher {
    /// Asks for a digest from `due` on; adds candidates if it is wanted already.
    pub(crate) fn want(&mut self, digest: Digest, kind: Kind, candidates: MemberSet, due: Tick) {
        if let Some(want) = self.wants.get_mut(&digest) {
            want.candidates = want.candidates.union(&candidates);
            want.lower_floor(&kind);
            if want.asked.is_none() {
                want.due = want.due.min(due);
            }
            return;
        }
        if self.wants.len() < MAX_WANTS {
            self.wants.insert(
                digest,
                Want {
                    kind,
                    reached: 0,
                    candidates,
                    asked: None,
                    due,
                    tries: 0,
                },
            );
        }
    }

    pub(crate) fn wants(&self, digest: &Digest) -> bool {
        self.wants.contains_key(digest)
    }

    /// Whether some want covers this height of the lane: the batch may be a step towards it.
    pub(crate) fn wants_lane(&self, lane: MemberId, height: Height) -> bool {
        self.wants
            .values()
            .any(|w| matches!(w.kind, Kind::Batch { lane: l, height: top, .. } if l == lane && height <= top))
    }

    pub(crate) fn satisfied(&mut self, digest: &Digest) {
        self.wants.remove(digest);
    }

    /// A batch below a wanted one came: the next request may start above it, at once.
    pub(crate) fn advanced(&mut self, lane: MemberId, height: Height, now: Tick, wait_us: u64) {
        for want in self.wants.values_mut() {
            if let Kind::Batch {
                lane: l, height: top, ..
            } = want.kind
                && l == lane
                && height < top
                && height > want.reached
            {
                want.reached = height;
                want.due = now.plus(wait_us);
            }
        }
    }

    /// A member does not hold it: the next one, at once.
    pub(crate) fn not_held(&mut self, member: MemberId, digest: &Digest, now: Tick) {
        if let Some(want) = self.wants.get_mut(digest)
            && want.asked == Some(member)
        {
            want.candidates.remove(member);
            want.due = now;
        }
    }

    /// Forgets what is no longer needed.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Digest, &Kind) -> bool) {
        self.wants.retain(|d, w| keep(d, &w.kind));
    }

    pub(crate) fn next_due(&self) -> Option<Tick> {
        self.wants.values().map(|w| w.due).min()
    }

    /// Requests that are due; each goes to the next connected member.
    pub(crate) fn tend(&mut self, now: Tick, wait_us: u64, connected: &MemberSet) -> Vec<(MemberId, Message)> {
        let mut requests = Vec::new();
        for (digest, want) in &mut self.wants {
            if want.due > now {
                continue;
            }
            let backoff = wait_us.saturating_mul(1 << want.tries.min(6)).min(MAX_WAIT_US);
            want.due = now.plus(backoff);
            let Some(to) = want.next_candidate(connected) else {
                continue;
            };
            if want.asked.replace(to).is_some_and(|last| last != to) {
                // Another peer: what the last one sent on the way may have been a lie.
                want.reached = 0;
            }
            want.tries += 1;
            requests.push((to, want.request(digest)));
        }
        self.sent += requests.len() as u64;
        requests
    }
}

impl Want {
    /// Somebody needs more of the same chain.
    fn lower_floor(&mut self, needed: &Kind) {
        match (&mut self.kind, needed) {
            (Kind::Block { floor, .. }, Kind::Block { floor: lower, .. }) => *floor = (*floor).min(*lower),
            (Kind::Batch { floor, .. }, Kind::Batch { floor: lower, .. }) if *lower < *floor => {
                *floor = *lower;
                self.reached = 0;
            }
            _ => {}
        }
    }

    fn next_candidate(&self, connected: &MemberSet) -> Option<MemberId> {
        let likely: Vec<MemberId> = self.candidates.iter().filter(|m| connected.contains(*m)).collect();
        let pool = if likely.is_empty() || self.tries > 8 {
            connected.iter().collect()
        } else {
            likely
        };
        let start = pool.iter().position(|m| Some(*m) > self.asked).unwrap_or(0);
        pool.get(start).copied()
    }

    fn request(&self, digest: &Digest) -> Message {
        match self.kind {
            Kind::Block { slot, floor } => Message::FetchBlocks {
                slot,
                digest: *digest,
                floor,
            },
            Kind::Batch { lane, height, floor } => Message::FetchBatches {
                lane,
                height,
                digest: *digest,
                floor: floor.max(self.reached),
            },
        }
    }
}
