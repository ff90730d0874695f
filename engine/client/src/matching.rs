//! R-REPLY: a reply counts when f+1 distinct replicas sent the same (slot, digest), one of them with the entries.

use std::collections::VecDeque;

use trireme_core::quorum::MemberSet;
use trireme_core::reply::{ReplyEntry, ReplySet};
use trireme_core::types::{MemberId, Slot, View};

use trireme_crypto::Digest;

/// Slots remembered after acceptance, to recognise the replies of the slower replicas.
const LATE_SLOTS: usize = 64;

/// What a reply set led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// Not enough yet.
    Waiting,
    /// These entries are the cluster's.
    Accepted {
        /// The slot that executed them.
        slot: Slot,
        /// View of its block, as one of the replicas says.
        view: View,
        /// In the order of execution.
        entries: Vec<ReplyEntry>,
    },
    /// Of a slot that was accepted before; equal to what was accepted.
    Late,
    /// This replica contradicts itself, its own digest, or f+1 others: proof that somebody is faulty.
    Wrong,
}

/// The reply sets of one client, by slot.
#[derive(Debug)]
pub(crate) struct Matcher {
    /// Ascending by slot.
    slots: VecDeque<Candidate>,
    /// How many of them are accepted.
    accepted: usize,
    needed: usize,
}

#[derive(Debug)]
struct Candidate {
    slot: Slot,
    view: View,
    /// What was accepted.
    accepted: Option<Digest>,
    /// The first opinion, and others if replicas differ.
    votes: Vote,
    more: Vec<Vote>,
}

#[derive(Debug)]
struct Vote {
    digest: Digest,
    members: MemberSet,
    entries: Option<Vec<ReplyEntry>>,
}

impl Candidate {
    fn new(from: MemberId, set: ReplySet) -> Self {
        let ReplySet {
            slot,
            view,
            digest,
            entries,
            ..
        } = set;
        let votes = Vote {
            digest,
            members: MemberSet::of(from),
            entries,
        };
        Self {
            slot,
            view,
            accepted: None,
            votes,
            more: Vec::new(),
        }
    }

    fn voters(&self) -> MemberSet {
        self.more
            .iter()
            .fold(self.votes.members, |all, vote| all.union(&vote.members))
    }

    fn vote_mut(&mut self, digest: &Digest) -> Option<&mut Vote> {
        let all = std::iter::once(&mut self.votes).chain(&mut self.more);
        all.into_iter().find(|vote| vote.digest == *digest)
    }

    /// Counts one more opinion. A member's second opinion counts only if it adds the entries to its first.
    fn add(&mut self, from: MemberId, set: ReplySet) -> Offer {
        let again = self.voters().contains(from);
        if let Some(accepted) = self.accepted {
            if !again {
                self.votes.members.insert(from);
            }
            return if accepted == set.digest {
                Offer::Late
            } else {
                Offer::Wrong
            };
        }
        match self.vote_mut(&set.digest) {
            Some(vote) if !again || vote.members.contains(from) => {
                vote.members.insert(from);
                vote.entries = vote.entries.take().or(set.entries);
                Offer::Waiting
            }
            _ if again => Offer::Wrong,
            _ => {
                let vote = Vote {
                    digest: set.digest,
                    members: MemberSet::of(from),
                    entries: set.entries,
                };
                self.more.push(vote);
                Offer::Waiting
            }
        }
    }

    /// Takes the entries of an opinion that enough share. What stays is the accepted digest and who has spoken.
    fn accept(&mut self, needed: usize) -> Option<Offer> {
        let enough = |vote: &&mut Vote| vote.members.count() >= needed && vote.entries.is_some();
        let vote = std::iter::once(&mut self.votes).chain(&mut self.more).find(enough)?;
        let entries = vote.entries.take().expect("found by its entries");
        self.accepted = Some(vote.digest);
        self.votes.members = self.voters();
        self.more = Vec::new();
        self.votes.entries = None;
        Some(Offer::Accepted {
            slot: self.slot,
            view: self.view,
            entries,
        })
    }
}

impl Matcher {
    /// A matcher that wants `needed` = f+1 equal replies.
    pub(crate) fn new(needed: usize) -> Self {
        assert!(needed >= 1, "f+1 is at least one");
        Self {
            slots: VecDeque::new(),
            accepted: 0,
            needed,
        }
    }

    /// Slots held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Takes one replica's reply set. `open_limit`: of how many slots nobody else has confirmed a replica's opinion is
    /// held; more than the client has requests outstanding there cannot be from a correct one that is needed.
    pub(crate) fn offer(&mut self, from: MemberId, set: ReplySet, open_limit: usize) -> Offer {
        if set.entries.is_some() && !set.is_consistent() {
            return Offer::Wrong;
        }
        let slot = set.slot;
        // Replies come nearly in order: the place is found from the back.
        let behind = self
            .slots
            .iter()
            .rev()
            .take_while(|candidate| candidate.slot > slot)
            .count();
        let mut place = self.slots.len() - behind;
        let known = place > 0 && self.slots[place - 1].slot == slot;
        let offer = if known {
            place -= 1;
            self.slots[place].add(from, set)
        } else {
            self.slots.insert(place, Candidate::new(from, set));
            Offer::Waiting
        };
        if offer == Offer::Waiting
            && let Some(accepted) = self.slots[place].accept(self.needed)
        {
            self.accepted += 1;
            self.forget_late();
            return accepted;
        }
        if !known {
            self.forget_open(from, open_limit);
        }
        offer
    }

    /// Bounds the slots that one replica alone has spoken of, oldest first.
    fn forget_open(&mut self, from: MemberId, limit: usize) {
        let alone = MemberSet::of(from);
        let open = |candidate: &Candidate| candidate.accepted.is_none() && candidate.voters() == alone;
        if self.slots.len() - self.accepted > limit
            && self.slots.iter().filter(|candidate| open(candidate)).count() > limit
        {
            let oldest = self.slots.iter().position(open).expect("counted above");
            self.slots.remove(oldest);
        }
    }

    /// Bounds what is kept of accepted slots, and drops what is older than all of it: slots execute in order, so
    /// what f+1 replicas have not confirmed LATE_SLOTS accepted slots later was dropped on the way or invented.
    fn forget_late(&mut self) {
        if self.accepted > LATE_SLOTS {
            let oldest = self
                .slots
                .iter()
                .position(|candidate| candidate.accepted.is_some())
                .expect("counted above");
            self.slots.drain(..=oldest);
            self.accepted -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use trireme_core::reply::Outcome;
    use trireme_crypto::PublicKey;

    const CLIENT: PublicKey = PublicKey([9; 32]);

    fn set(slot: Slot, result: u8) -> ReplySet {
        let outcome = Outcome::Executed(Bytes::from(vec![result]));
        let entry = ReplyEntry {
            number: slot,
            request: Digest::ZERO,
            outcome,
        };
        ReplySet::new(CLIENT, slot, 1, vec![entry])
    }

    fn accepted(offer: &Offer) -> Option<(Slot, u8)> {
        match offer {
            Offer::Accepted { slot, entries, .. } => match &entries[0].outcome {
                Outcome::Executed(result) => Some((*slot, result[0])),
                _ => None,
            },
            _ => None,
        }
    }

    #[test]
    fn two_digests_and_no_entries_are_not_enough() {
        let mut matcher = Matcher::new(2);
        assert_eq!(matcher.offer(0, set(5, 1).brief(), 8), Offer::Waiting);
        assert_eq!(matcher.offer(1, set(5, 1).brief(), 8), Offer::Waiting);
        assert_eq!(accepted(&matcher.offer(2, set(5, 1), 8)), Some((5, 1)));
        assert_eq!(matcher.offer(3, set(5, 1).brief(), 8), Offer::Late);
        assert_eq!(matcher.offer(3, set(5, 2).brief(), 8), Offer::Wrong);
    }

    #[test]
    fn one_replica_counts_once_whatever_it_says() {
        let mut matcher = Matcher::new(2);
        assert_eq!(matcher.offer(0, set(5, 1), 8), Offer::Waiting);
        assert_eq!(matcher.offer(0, set(5, 1), 8), Offer::Waiting);
        assert_eq!(matcher.offer(0, set(5, 2), 8), Offer::Wrong);
        assert_eq!(matcher.offer(1, set(5, 2), 8), Offer::Waiting);
        assert_eq!(
            matcher.offer(0, set(5, 2), 8),
            Offer::Wrong,
            "a second opinion confirms nobody"
        );
        assert_eq!(accepted(&matcher.offer(2, set(5, 2).brief(), 8)), Some((5, 2)));
    }

    #[test]
    fn entries_must_be_those_of_the_digest() {
        let mut matcher = Matcher::new(2);
        let mut forged = set(5, 1);
        forged.entries = set(5, 2).entries;
        assert_eq!(matcher.offer(0, forged, 8), Offer::Wrong);
        assert_eq!(matcher.offer(1, set(5, 1).brief(), 8), Offer::Waiting);
        assert_eq!(accepted(&matcher.offer(2, set(5, 1), 8)), Some((5, 1)));
    }

    #[test]
    fn a_flood_of_invented_slots_costs_only_the_flooder() {
        let mut matcher = Matcher::new(2);
        assert_eq!(matcher.offer(0, set(5, 1), 8), Offer::Waiting);
        for slot in 1_000..3_000 {
            assert_eq!(matcher.offer(3, set(slot, 7), 8), Offer::Waiting);
        }
        assert_eq!(matcher.len(), 9);
        assert_eq!(accepted(&matcher.offer(1, set(5, 1).brief(), 8)), Some((5, 1)));
    }

    #[test]
    fn what_is_kept_of_accepted_slots_is_bounded() {
        let mut matcher = Matcher::new(2);
        for slot in 1..1_000 {
            matcher.offer(0, set(slot, 1), 8);
            assert!(accepted(&matcher.offer(1, set(slot, 1), 8)).is_some());
        }
        assert!(matcher.len() <= LATE_SLOTS);
    }

    proptest! {
        /// With f = 1 liar among four, any order of arrival: nothing but the true entries is ever accepted, each slot
        /// once, and every slot that all three others answered is accepted.
        #[test]
        fn one_liar_of_four_decides_nothing(
            order in Just((0..10u64).flat_map(|slot| (0..4u16).map(move |from| (slot, from))).collect::<Vec<_>>())
                .prop_shuffle(),
            full in 0..3u16,
            lies in prop::collection::vec(0..4u8, 40),
        ) {
            let mut matcher = Matcher::new(2);
            let mut seen = std::collections::BTreeMap::new();
            for (place, (slot, from)) in order.into_iter().enumerate() {
                let set = if from == 3 { set(slot, lies[place]) } else { set(slot, 1) };
                let set = if from == full || from == 3 { set } else { set.brief() };
                let offer = matcher.offer(from, set, 40);
                if let Some((slot, result)) = accepted(&offer) {
                    prop_assert_eq!(result, 1);
                    prop_assert!(seen.insert(slot, ()).is_none(), "slot {} accepted twice", slot);
                }
            }
            prop_assert_eq!(seen.len(), 10);
        }
    }
}
