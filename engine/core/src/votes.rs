//! Votes by member and view: two watermarks per branch, like a match index (R-COMMIT), and what quorum certificates
//! are made of (R-LOCK).

use alloc::{collections::BTreeMap, vec, vec::Vec};

use trireme_crypto::Digest;

use crate::chain::Chain;
use crate::message::SignedVote;
use crate::quorum::MemberSet;
use crate::types::{MemberId, Slot, View};

/// Views above the newest committed block's of which votes are kept.
const MAX_BOOKS: usize = 64;

/// What one member said in one view.
#[derive(Debug, Default, Clone)]
struct Ring {
    voted: BTreeMap<Slot, Said>,
    locked: BTreeMap<Slot, Said>,
    /// What was said last of slots far above.
    far_voted: Option<(Slot, Said)>,
    far_locked: Option<(Slot, Said)>,
}

/// A block, and the vote that names it.
type Said = (Digest, SignedVote);

impl Ring {
    /// All of a kind, the newest last among those that are not far.
    fn all(&self, mark: Mark) -> impl DoubleEndedIterator<Item = (&Slot, &Said)> {
        let (near, far) = match mark {
            Mark::Voted => (&self.voted, &self.far_voted),
            Mark::Locked => (&self.locked, &self.far_locked),
        };
        near.iter().chain(far.iter().map(|(slot, said)| (slot, said)))
    }

    fn said(&self, mark: Mark, slot: Slot, digest: &Digest) -> bool {
        let (near, far) = match mark {
            Mark::Voted => (&self.voted, &self.far_voted),
            Mark::Locked => (&self.locked, &self.far_locked),
        };
        let far = far.as_ref().filter(|(far, _)| *far == slot).map(|(_, said)| said);
        near.get(&slot).into_iter().chain(far).any(|(named, _)| named == digest)
    }

    /// The newest slot of which anything was said.
    fn newest(&self, mark: Mark) -> Slot {
        let (near, far) = match mark {
            Mark::Voted => (&self.voted, &self.far_voted),
            Mark::Locked => (&self.locked, &self.far_locked),
        };
        let near = near.last_key_value().map_or(0, |(slot, _)| *slot);
        far.as_ref().map_or(near, |(slot, _)| near.max(*slot))
    }

    /// Whether a vote names a block above this one on its branch. It counts for ancestors of its own view only (R-COMMIT):
    /// naming a block of a later view says nothing about an earlier one.
    fn stands_above(&self, mark: Mark, tip: (Slot, &Digest), chain: &Chain) -> bool {
        let view = |digest: &Digest| chain.get(digest).map(|block| block.view);
        let (near, far) = match mark {
            Mark::Voted => (&self.voted, &self.far_voted),
            Mark::Locked => (&self.locked, &self.far_locked),
        };
        let far = far.iter().filter(|(slot, _)| *slot > tip.0).map(|(_, said)| said);
        let mut above = near.range(tip.0 + 1..).map(|(_, said)| said).chain(far).rev();
        above.any(|(digest, _)| chain.extends(digest, tip.1, tip.0) && view(digest) == view(tip.1))
    }
}

/// One view's votes.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    members: Vec<Ring>,
}

/// Which watermark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    Voted,
    Locked,
}

/// What became of a vote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// Something moved.
    New,
    /// Nothing new in it.
    Old,
    /// The same member voted for another block at this (view, slot).
    Conflict(SignedVote),
}

impl Book {
    fn new(n: usize) -> Self {
        Self {
            members: vec![Ring::default(); n],
        }
    }

    /// Notes a vote; `ring` slots are kept for a member, the newest are never dropped. What lies above `top` has a place
    /// of its own, so that slots which a faulty member invents do not push out what it said of real ones.
    fn note(&mut self, member: MemberId, signed: &SignedVote, ring: usize, top: Slot) -> Noted {
        let entry = &mut self.members[usize::from(member)];
        let mut noted = Noted::Old;
        if let Some((slot, digest)) = signed.vote.voted {
            match entry.voted.get(&slot) {
                Some((first, vote)) if *first != digest => return Noted::Conflict(vote.clone()),
                Some(_) => {}
                None if slot > top => {
                    entry.far_voted = Some((slot, (digest, signed.clone())));
                    noted = Noted::New;
                }
                None => {
                    entry.voted.insert(slot, (digest, signed.clone()));
                    noted = Noted::New;
                }
            }
        }
        if let Some((slot, digest)) = signed.vote.locked {
            if slot > top {
                entry.far_locked = Some((slot, (digest, signed.clone())));
                noted = Noted::New;
            } else if entry.locked.insert(slot, (digest, signed.clone())).is_none() {
                noted = Noted::New;
            }
        }
        while entry.voted.len() > ring {
            entry.voted.pop_first();
        }
        while entry.locked.len() > ring {
            entry.locked.pop_first();
        }
        noted
    }

    /// Slots up to `top` are near from now on.
    pub(crate) fn come_near(&mut self, top: Slot) {
        for ring in &mut self.members {
            if let Some((slot, said)) = ring.far_voted.take_if(|(slot, _)| *slot <= top) {
                ring.voted.entry(slot).or_insert(said);
            }
            if let Some((slot, said)) = ring.far_locked.take_if(|(slot, _)| *slot <= top) {
                ring.locked.entry(slot).or_insert(said);
            }
        }
    }

    /// The highest slot at or below `tip`'s at which this member stands on `tip`'s branch; slots up to `floor` are not
    /// looked for.
    fn mark(&self, member: usize, mark: Mark, tip: (Slot, &Digest), floor: Slot, chain: &Chain) -> Slot {
        let ring = &self.members[member];
        let (tip_slot, tip_digest) = tip;
        if ring.said(mark, tip_slot, tip_digest) {
            return tip_slot;
        }
        if ring.stands_above(mark, tip, chain) {
            return tip_slot;
        }
        let mut branch = chain.branch(tip_digest, floor);
        branch
            .find(|(slot, digest)| ring.said(mark, *slot, digest))
            .map_or(0, |(slot, _)| slot)
    }

    /// The newest slot of which this member said anything, at most `tip_slot`.
    fn bound(&self, member: usize, mark: Mark, tip_slot: Slot) -> Slot {
        self.members[member].newest(mark).min(tip_slot)
    }

    /// The `count`-th largest watermark on the branch that ends at `tip`, or something up to `floor` if it is not above.
    pub(crate) fn watermark(&self, mark: Mark, count: usize, tip: (Slot, &Digest), floor: Slot, chain: &Chain) -> Slot {
        // Most votes move nothing, which is seen without a look at the branch.
        let bounds = (0..self.members.len()).map(|m| self.bound(m, mark, tip.0));
        if bounds.filter(|bound| *bound > floor).count() < count {
            return 0;
        }
        let mut marks: Vec<Slot> = (0..self.members.len())
            .map(|m| self.mark(m, mark, tip, floor, chain))
            .collect();
        marks.sort_unstable_by(|a, b| b.cmp(a));
        marks[count - 1]
    }

    /// Votes that name exactly this block.
    pub(crate) fn exact(&self, slot: Slot, digest: &Digest) -> Vec<(MemberId, SignedVote)> {
        let members = (0..).zip(&self.members);
        members
            .filter_map(|(m, ring)| {
                ring.voted
                    .get(&slot)
                    .filter(|(d, _)| d == digest)
                    .map(|(_, v)| (m, v.clone()))
            })
            .collect()
    }

    /// How many voted for exactly this block.
    pub(crate) fn exact_count(&self, slot: Slot, digest: &Digest) -> usize {
        self.members
            .iter()
            .filter(|r| r.voted.get(&slot).is_some_and(|(d, _)| d == digest))
            .count()
    }

    fn named_by(&self, slot: Slot, digest: &Digest, set: &mut MemberSet) {
        for (member, ring) in (0..).zip(&self.members) {
            if ring.said(Mark::Voted, slot, digest) || ring.said(Mark::Locked, slot, digest) {
                set.insert(member);
            }
        }
    }

    /// Strikes a vote whose signature proved bad: it may not stand in a certificate. Commits keep counting what the
    /// member said on its own channel, so the lock stays.
    pub(crate) fn strike(&mut self, member: MemberId, slot: Slot) {
        self.members[usize::from(member)].voted.remove(&slot);
    }

    /// The highest slot above `floor` at which some digest has `count` exact votes.
    pub(crate) fn certifiable(&self, floor: Slot, count: usize) -> Option<(Slot, Digest)> {
        // Members that keep so many slots voted for it, so it lies between the ends of what they keep; usually at the upper.
        let kept = self.members.iter().filter_map(|ring| {
            let (first, last) = (ring.voted.first_key_value()?.0, ring.voted.last_key_value()?.0);
            Some((*first, *last))
        });
        let (mut firsts, mut lasts): (Vec<Slot>, Vec<Slot>) = kept.unzip();
        firsts.sort_unstable();
        lasts.sort_unstable_by(|a, b| b.cmp(a));
        let nth = count.checked_sub(1)?;
        let (lowest, highest) = (*firsts.get(nth)?, *lasts.get(nth)?);
        (lowest.max(floor + 1)..=highest).rev().find_map(|slot| {
            let named = |ring: &Ring| ring.voted.get(&slot).map(|(digest, _)| *digest);
            let mut named: Vec<Digest> = self.members.iter().filter_map(named).collect();
            named.sort_unstable();
            let run = named.chunk_by(|a, b| a == b).find(|run| run.len() >= count)?;
            Some((slot, run[0]))
        })
    }

    /// All digests that were voted for or locked, with their slots.
    pub(crate) fn named(&self) -> Vec<(Slot, Digest)> {
        let mut all = Vec::new();
        for ring in &self.members {
            let both = [Mark::Voted, Mark::Locked].into_iter().flat_map(|mark| ring.all(mark));
            all.extend(both.map(|(s, (d, _))| (*s, *d)));
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Adds another book's locks: only a seeded bug does that.
    pub(crate) fn add_locks(&mut self, other: &Self) {
        for (mine, theirs) in self.members.iter_mut().zip(&other.members) {
            for (slot, lock) in &theirs.locked {
                mine.locked.entry(*slot).or_insert_with(|| lock.clone());
            }
        }
    }
}

/// The books of all views that may still commit something.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    n: usize,
    ring: usize,
    books: BTreeMap<View, Book>,
}

impl Books {
    pub(crate) fn new(n: usize, ring: usize) -> Self {
        Self {
            n,
            ring,
            books: BTreeMap::new(),
        }
    }

    /// `top`: slots above are far.
    pub(crate) fn note(&mut self, member: MemberId, signed: &SignedVote, top: Slot) -> Noted {
        let n = self.n;
        self.books
            .entry(signed.vote.view)
            .or_insert_with(|| Book::new(n))
            .note(member, signed, self.ring, top)
    }

    pub(crate) fn get(&self, view: View) -> Option<&Book> {
        self.books.get(&view)
    }

    /// Members that voted for this block, or locked it, in any view that is kept.
    pub(crate) fn holders(&self, slot: Slot, digest: &Digest) -> MemberSet {
        let mut set = MemberSet::default();
        for book in self.books.values() {
            book.named_by(slot, digest, &mut set);
        }
        set
    }

    pub(crate) fn get_mut(&mut self, view: View) -> Option<&mut Book> {
        self.books.get_mut(&view)
    }

    /// All locks of views up to `view` in one book: only a seeded bug asks for it.
    pub(crate) fn merged(&self, view: View) -> Book {
        let mut all = Book::new(self.n);
        for book in self.books.range(..=view).map(|(_, b)| b) {
            all.add_locks(book);
        }
        all
    }

    /// Views, and the most slots of one kind of one member and view.
    pub(crate) fn held(&self) -> (usize, usize) {
        let rings = self.books.values().flat_map(|book| &book.members);
        let slots = rings.map(|ring| ring.voted.len().max(ring.locked.len())).max();
        (self.books.len(), slots.unwrap_or(0))
    }

    /// Drops the books of views below `view` for which `keep` is false, and the oldest beyond the limit.
    pub(crate) fn retain(&mut self, view: View, keep: impl Fn(View, &Book) -> bool) {
        self.books.retain(|v, b| *v >= view || keep(*v, b));
        while self.books.len() > MAX_BOOKS {
            self.books.pop_first();
        }
    }
}
