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
    voted: BTreeMap<Slot, (Digest, SignedVote)>,
    locked: BTreeMap<Slot, (Digest, SignedVote)>,
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

    /// Notes a vote; `ring` slots are kept for a member, the newest are never dropped.
    fn note(&mut self, member: MemberId, signed: &SignedVote, ring: usize) -> Noted {
        let entry = &mut self.members[usize::from(member)];
        let mut noted = Noted::Old;
        if let Some((slot, digest)) = signed.vote.voted {
            match entry.voted.get(&slot) {
                Some((first, vote)) if *first != digest => return Noted::Conflict(vote.clone()),
                Some(_) => {}
                None => {
                    entry.voted.insert(slot, (digest, signed.clone()));
                    noted = Noted::New;
                }
            }
        }
        if let Some((slot, digest)) = signed.vote.locked
            && entry.locked.insert(slot, (digest, signed.clone())).is_none()
        {
            noted = Noted::New;
        }
        while entry.voted.len() > ring {
            entry.voted.pop_first();
        }
        while entry.locked.len() > ring {
            entry.locked.pop_first();
        }
        noted
    }

    /// The highest slot at or below `tip`'s at which this member stands on `tip`'s branch; slots up to `floor` are not
    /// looked for.
    fn mark(&self, member: usize, mark: Mark, tip: (Slot, &Digest), floor: Slot, chain: &Chain) -> Slot {
        let ring = &self.members[member];
        let said = |slot: Slot| match mark {
            Mark::Voted => ring.voted.get(&slot).map(|(digest, _)| digest),
            Mark::Locked => ring.locked.get(&slot).map(|(digest, _)| digest),
        };
        let (tip_slot, tip_digest) = tip;
        if said(tip_slot) == Some(tip_digest) {
            return tip_slot;
        }
        let above = |(slot, digest): (&Slot, &Digest)| chain.extends(digest, tip_digest, tip_slot) && *slot > tip_slot;
        let beyond = match mark {
            Mark::Voted => ring.voted.range(tip_slot + 1..).map(|(s, (d, _))| (s, d)).any(above),
            Mark::Locked => ring.locked.range(tip_slot + 1..).map(|(s, (d, _))| (s, d)).any(above),
        };
        if beyond {
            return tip_slot;
        }
        let mut branch = chain.branch(tip_digest, floor);
        branch
            .find(|(slot, digest)| said(*slot) == Some(digest))
            .map_or(0, |(slot, _)| slot)
    }

    /// The newest slot of which this member said anything, at most `tip_slot`.
    fn bound(&self, member: usize, mark: Mark, tip_slot: Slot) -> Slot {
        let ring = &self.members[member];
        let newest = match mark {
            Mark::Voted => ring.voted.last_key_value().map(|(slot, _)| *slot),
            Mark::Locked => ring.locked.last_key_value().map(|(slot, _)| *slot),
        };
        newest.unwrap_or(0).min(tip_slot)
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

    /// Each member's newest vote of either part: what shows how far the view has come (R-TELL).
    pub(crate) fn newest(&self) -> Vec<(MemberId, SignedVote)> {
        let mut votes = Vec::new();
        for (member, ring) in (0..).zip(&self.members) {
            let voted = ring.voted.last_key_value().map(|(_, (_, vote))| vote);
            let locked = ring.locked.last_key_value().map(|(_, (_, vote))| vote);
            votes.extend(voted.map(|vote| (member, vote.clone())));
            votes.extend(
                locked
                    .filter(|vote| voted != Some(vote))
                    .map(|vote| (member, vote.clone())),
            );
        }
        votes
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
            let voted = ring.voted.get(&slot).is_some_and(|(d, _)| d == digest);
            if voted || ring.locked.get(&slot).is_some_and(|(d, _)| d == digest) {
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
        let mut slots: Vec<(Slot, Digest)> = Vec::new();
        for ring in &self.members {
            slots.extend(ring.voted.range(floor + 1..).map(|(s, (d, _))| (*s, *d)));
        }
        slots.sort_unstable();
        slots.chunk_by(|a, b| a == b).rev_find(count)
    }

    /// All digests that were voted for or locked, with their slots.
    pub(crate) fn named(&self) -> Vec<(Slot, Digest)> {
        let mut all = Vec::new();
        for ring in &self.members {
            all.extend(ring.voted.iter().map(|(s, (d, _))| (*s, *d)));
            all.extend(ring.locked.iter().map(|(s, (d, _))| (*s, *d)));
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

/// The last run of equal entries that is long enough.
trait LastRun {
    fn rev_find(self, count: usize) -> Option<(Slot, Digest)>;
}

impl<'a, I: Iterator<Item = &'a [(Slot, Digest)]>> LastRun for I {
    fn rev_find(self, count: usize) -> Option<(Slot, Digest)> {
        let mut last = None;
        for run in self {
            if run.len() >= count {
                last = Some(run[0]);
            }
        }
        last
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

    pub(crate) fn note(&mut self, member: MemberId, signed: &SignedVote) -> Noted {
        let n = self.n;
        self.books
            .entry(signed.vote.view)
            .or_insert_with(|| Book::new(n))
            .note(member, signed, self.ring)
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
