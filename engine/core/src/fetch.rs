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
/// Digests wanted at once that one member's word alone names, batches of its lane or blocks of its votes: a faulty one
/// invents as many as it likes.
const MAX_HEARSAY: usize = 8;
/// Rotations through all members after which such a digest is given up. If it matters, a block or a certificate names it.
const HEARSAY_ROTATIONS: u32 = 2;

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
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

#[derive(Clone, Debug)]
struct Want {
    kind: Kind,
    /// Highest height that the answer under way has brought.
    reached: Height,
    candidates: MemberSet,
    /// Who said that it has nothing, or did not answer in time, in this rotation.
    refused: MemberSet,
    /// Who said so, in any rotation.
    denied: MemberSet,
    asked: Option<MemberId>,
    due: Tick,
    rotations: u32,
    /// A block, a certificate, a commit or f+1 votes name it; else only one member's word.
    needed: bool,
    /// It was due at least once.
    tried: bool,
    /// The one asked last brought something on the way: it is asked for the rest.
    advanced: bool,
}

/// All that is missing.
#[derive(Clone, Debug, Default)]
pub struct Fetcher {
    wants: BTreeMap<Digest, Want>,
    /// Requests sent.
    pub sent: u64,
}

impl Fetcher {
    /// Asks for a digest from `due` on; adds candidates if it is wanted already.
    pub fn want(&mut self, digest: Digest, kind: Kind, candidates: MemberSet, due: Tick) {
        self.add(digest, kind, candidates, due, true);
    }

    /// Asks for a batch that nothing but its owner's word names, or for a block that one member's vote names.
    pub fn want_hearsay(&mut self, digest: Digest, kind: Kind, candidates: MemberSet, due: Tick) {
        let same = |want: &&Want| {
            !want.needed
                && match (&want.kind, &kind) {
                    (Kind::Batch { lane, .. }, Kind::Batch { lane: other, .. }) => lane == other,
                    (Kind::Block { .. }, Kind::Block { .. }) => candidates.iter().any(|m| want.candidates.contains(m)),
                    _ => false,
                }
        };
        if self.wants.contains_key(&digest) || self.wants.values().filter(same).count() < MAX_HEARSAY {
            self.add(digest, kind, candidates, due, false);
        }
    }

    fn add(&mut self, digest: Digest, kind: Kind, candidates: MemberSet, due: Tick, needed: bool) {
        if let Some(want) = self.wants.get_mut(&digest) {
            want.candidates = want.candidates.union(&candidates);
            want.needed |= needed;
            want.lower_floor(&kind);
            // Once it was due, rotation and back-off decide when it is due again.
            if !want.tried {
                want.due = want.due.min(due);
            }
            return;
        }
        if self.wants.len() < MAX_WANTS {
            let (refused, asked) = (MemberSet::default(), None);
            self.wants.insert(
                digest,
                Want {
                    kind,
                    reached: 0,
                    candidates,
                    refused,
                    denied: MemberSet::default(),
                    asked,
                    due,
                    rotations: 0,
                    needed,
                    tried: false,
                    advanced: false,
                },
            );
        }
    }

    pub fn wanted(&self) -> usize {
        self.wants.len()
    }

    pub fn wants(&self, digest: &Digest) -> bool {
        self.wants.contains_key(digest)
    }

    /// Whether it is wanted for more than one member's word.
    pub fn needs(&self, digest: &Digest) -> bool {
        self.wants.get(digest).is_some_and(|want| want.needed)
    }

    /// The wants of a lane that cover this height: the batch may be a step towards one of them.
    fn covering(&self, lane: MemberId, height: Height) -> impl Iterator<Item = &Want> {
        let covers =
            move |kind: &Kind| matches!(*kind, Kind::Batch { lane: l, height: top, .. } if l == lane && height <= top);
        self.wants.values().filter(move |want| covers(&want.kind))
    }

    /// Whether some want covers this height of the lane.
    pub fn wants_lane(&self, lane: MemberId, height: Height) -> bool {
        self.covering(lane, height).next().is_some()
    }

    /// Whether one of them is for more than its owner's word.
    pub fn needs_lane(&self, lane: MemberId, height: Height) -> bool {
        self.covering(lane, height).any(|want| want.needed)
    }

    pub fn satisfied(&mut self, digest: &Digest) {
        self.wants.remove(digest);
    }

    /// A batch below a wanted one came: the next request may start above it, at once.
    pub fn advanced(&mut self, lane: MemberId, height: Height, now: Tick, wait_us: u64) {
        for want in self.wants.values_mut() {
            if let Kind::Batch {
                lane: l, height: top, ..
            } = want.kind
                && l == lane
                && height < top
                && height > want.reached
            {
                want.reached = height;
                want.advanced = true;
                want.due = now.plus(wait_us);
            }
        }
    }

    /// A member does not hold it: the next one at once, if there is one that has not been asked in this rotation.
    pub fn not_held(&mut self, member: MemberId, digest: &Digest, now: Tick, connected: &MemberSet) {
        if let Some(want) = self.wants.get_mut(digest)
            && want.asked == Some(member)
        {
            want.refused.insert(member);
            want.denied.insert(member);
            want.asked = None;
            if connected.iter().any(|m| !want.refused.contains(m)) {
                want.due = now;
            }
        }
    }

    /// What is wanted under a digest, if more than one member's word names it, and how many said that they do not hold it.
    pub fn denials(&self, digest: &Digest) -> Option<(Kind, usize)> {
        let want = self.wants.get(digest).filter(|want| want.needed)?;
        Some((want.kind, want.denied.count()))
    }

    /// Forgets what is no longer needed.
    pub fn retain(&mut self, keep: impl Fn(&Digest, &Kind) -> bool) {
        self.wants.retain(|d, w| keep(d, &w.kind));
    }

    /// What lies at or below these heights is executed: it is not asked for any more, and others may have released it.
    pub fn raise_floors(&mut self, executed: impl Fn(MemberId) -> Height) {
        for want in self.wants.values_mut() {
            if let Kind::Batch { lane, height, floor } = &mut want.kind {
                *floor = (*floor).max(executed(*lane)).min(height.saturating_sub(1));
            }
        }
    }

    pub fn next_due(&self) -> Option<Tick> {
        self.wants.values().map(|w| w.due).min()
    }

    /// Requests that are due; each goes to the next connected member.
    pub fn tend(&mut self, now: Tick, wait_us: u64, connected: &MemberSet) -> Vec<(MemberId, Message)> {
        let mut requests = Vec::new();
        self.wants
            .retain(|_, w| w.needed || w.rotations < HEARSAY_ROTATIONS || w.due > now);
        for (digest, want) in &mut self.wants {
            if want.due > now {
                continue;
            }
            want.tried = true;
            let last = want.asked;
            let same = last.filter(|m| connected.contains(*m) && core::mem::take(&mut want.advanced));
            let next = same.or_else(|| want.next_candidate(connected));
            want.due = now.plus(wait_us.saturating_mul(1 << want.rotations.min(6)).min(MAX_WAIT_US));
            let Some(to) = next else { continue };
            if last != Some(to) {
                // Another peer: what the last one sent on the way may have been a lie.
                want.reached = 0;
            }
            want.asked = Some(to);
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

    /// The next to ask: likely holders first, then anybody, each once in a rotation. Whoever was asked and did not
    /// answer in time has had its turn.
    fn next_candidate(&mut self, connected: &MemberSet) -> Option<MemberId> {
        if let Some(silent) = self.asked {
            self.refused.insert(silent);
        }
        if connected.iter().all(|m| self.refused.contains(m)) {
            self.refused = MemberSet::default();
            self.rotations += 1;
        }
        let open = |m: &MemberId| !self.refused.contains(*m);
        let likely = connected.iter().filter(open).find(|m| self.candidates.contains(*m));
        likely.or_else(|| connected.iter().find(open))
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
