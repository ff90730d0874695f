//! One lane as this replica sees it: stored batches, acks, witnessing, certificates (section 3 of the protocol).

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec,
    vec::Vec,
};

use bytes::Bytes;
use trireme_crypto::{Digest, Domain};

use crate::api::JobId;
use crate::bugs::Bugs;
use crate::check::ac_statements;
use crate::message::{Ac, AcEntry, Ack, Batch, BatchHeader, SignedAck, SignedHeader};
use crate::quorum::MemberSet;
use crate::types::{Height, Keys, MemberId, Signed, Tick};

/// Bytes of executed batches that are kept in memory for replicas that lag; older ones are read from the log.
const RETAINED_BYTES: u64 = 8 << 20;

/// What this replica knows about the client signatures of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Unasked,
    Asked(JobId),
    Good,
    Bad,
}

/// A batch whose record was appended.
#[derive(Clone, Debug)]
pub struct Stored {
    pub head: SignedHeader,
    pub body: Bytes,
    pub durable: bool,
    pub verdict: Verdict,
    /// R-WITNESS holds for it and, at that time, for each uncommitted ancestor. Once true it stays true.
    pub witnessed: bool,
    /// The ack that was sent last.
    pub acked: Option<SignedAck>,
    pub executed: bool,
    /// Its body is left to its witnesses until then.
    pub left_until: Option<Tick>,
}

impl Stored {
    pub fn header(&self) -> &BatchHeader {
        &self.head.header
    }

    pub fn batch(&self) -> Batch {
        Batch {
            head: self.head.clone(),
            body: self.body.clone(),
        }
    }
}

/// Acks of one batch, by member.
#[derive(Debug, Clone)]
struct AckBook {
    acks: Vec<Option<SignedAck>>,
}

/// Why a path to a tip is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    pub digest: Digest,
    /// The height, where it is known: a tip's.
    pub height: Height,
}

/// A lane.
#[derive(Clone, Debug)]
pub struct Lane {
    owner: MemberId,
    n: usize,
    stored: BTreeMap<Digest, Stored>,
    /// Those of them that were not executed: few, whatever is retained.
    waiting: BTreeSet<(Height, Digest)>,
    /// The digest acked (or to be acked when durable) at each height above the committed cut.
    acked: BTreeMap<Height, Digest>,
    /// The one fork that came unasked and is not acked.
    fork: Option<Digest>,
    books: BTreeMap<(Height, Digest), AckBook>,
    /// Highest stored batch on the acked chain.
    top: (Height, Digest),
    ac: Option<Ac>,
    /// Committed height and digest.
    committed: (Height, Digest),
    /// Digest of each executed batch by height.
    history: BTreeMap<Height, Digest>,
    /// Executed batches still in memory, oldest first.
    retained: VecDeque<Digest>,
    retained_bytes: u64,
    /// Highest batch that came from the owner and lay above the window here: fetched once the window has moved.
    pub missed: Option<(Height, Digest)>,
    /// Body bytes stored and not executed.
    pub live_bytes: u64,
}

impl Lane {
    pub fn new(owner: MemberId, n: usize) -> Self {
        Self {
            owner,
            n,
            stored: BTreeMap::new(),
            waiting: BTreeSet::new(),
            acked: BTreeMap::new(),
            fork: None,
            books: BTreeMap::new(),
            top: (0, Digest::ZERO),
            ac: None,
            committed: (0, Digest::ZERO),
            history: BTreeMap::new(),
            retained: VecDeque::new(),
            retained_bytes: 0,
            missed: None,
            live_bytes: 0,
        }
    }

    pub fn get(&self, digest: &Digest) -> Option<&Stored> {
        self.stored.get(digest)
    }

    pub fn get_mut(&mut self, digest: &Digest) -> Option<&mut Stored> {
        self.stored.get_mut(digest)
    }

    pub fn top(&self) -> (Height, Digest) {
        self.top
    }

    pub fn ac(&self) -> Option<&Ac> {
        self.ac.as_ref()
    }

    pub fn committed(&self) -> (Height, Digest) {
        self.committed
    }

    pub fn acked_at(&self, height: Height) -> Option<&Digest> {
        self.acked.get(&height)
    }

    /// Stored, executed or not, or known to have been.
    pub fn holds(&self, digest: &Digest) -> bool {
        *digest == Digest::ZERO || self.stored.contains_key(digest) || self.history_height(digest).is_some()
    }

    /// Height of an executed batch whose entry may have left memory; looks at the newest few hundred.
    fn history_height(&self, digest: &Digest) -> Option<Height> {
        self.history
            .iter()
            .rev()
            .take(512)
            .find(|(_, d)| *d == digest)
            .map(|(h, _)| *h)
    }

    /// Whether a batch may be stored: what lies below it is held at the height that it says, or that height is committed.
    /// Then nobody looks below, and whether a replica happens to hold the parent, and at which height, decides nothing: a
    /// lying owner would divide those who hold it from those who do not.
    pub fn stands(&self, header: &BatchHeader) -> bool {
        if header.parent_height <= self.committed.0 {
            return true;
        }
        let held = match self.stored.get(&header.parent) {
            Some(parent) => Some(parent.header().height),
            None => self.history_height(&header.parent),
        };
        held == Some(header.parent_height)
    }

    /// Adds a batch that was just appended to the log. Its height's first digest above the committed cut is the one to
    /// ack; another one is a fork, and one unasked fork replaces the other. Returns whether it is to be acked.
    pub fn insert(&mut self, digest: Digest, batch: Batch, wanted: bool) -> bool {
        let header = &batch.head.header;
        let (height, parent) = (header.height, header.parent);
        let based = header.parent_height <= self.committed.0;
        self.live_bytes += batch.body.len() as u64;
        let to_ack = height > self.committed.0 && !self.acked.contains_key(&height);
        if to_ack {
            self.acked.insert(height, digest);
            if height > self.top.0 && (parent == self.top.1 || based || self.holds(&parent)) {
                self.top = (height, digest);
            }
        } else if !wanted && let Some(old) = self.fork.replace(digest) {
            self.forget(&old);
        }
        let stored = Stored {
            head: batch.head,
            body: batch.body,
            durable: false,
            verdict: Verdict::Unasked,
            witnessed: false,
            acked: None,
            executed: false,
            left_until: None,
        };
        self.stored.insert(digest, stored);
        self.waiting.insert((height, digest));
        to_ack
    }

    fn forget(&mut self, digest: &Digest) {
        if let Some(old) = self.stored.remove(digest)
            && !old.executed
        {
            self.live_bytes -= old.body.len() as u64;
            self.waiting.remove(&(old.header().height, *digest));
        }
    }

    /// Batches above `floor` on the chain that ends in `tip`, lowest first.
    pub fn path(&self, tip: (Height, Digest), floor: Height) -> Result<Vec<Digest>, Missing> {
        let mut path = Vec::new();
        let (mut height, mut at) = tip;
        while height > floor {
            let stored = self.stored.get(&at).ok_or(Missing { digest: at, height })?;
            if stored.header().height != height {
                // A block or a header named the digest at a height that is not the batch's: no such batch exists.
                return Err(Missing { digest: at, height });
            }
            path.push(at);
            (height, at) = (stored.header().parent_height, stored.header().parent);
        }
        path.reverse();
        Ok(path)
    }

    /// Notes an ack; false if it says nothing new. Only heights within the window are kept, and for a member at most
    /// two digests a height.
    pub fn note_ack(&mut self, member: MemberId, signed: SignedAck, window: u64) -> bool {
        let (height, digest) = (signed.ack.height, signed.ack.digest);
        if height <= self.committed.0 || height > self.committed.0 + window {
            return false;
        }
        let index = usize::from(member);
        let at_height = self.books.range((height, Digest::ZERO)..(height + 1, Digest::ZERO));
        let others = at_height
            .filter(|((_, d), b)| *d != digest && b.acks[index].is_some())
            .count();
        if others >= 2 {
            return false;
        }
        let n = self.n;
        let book = self
            .books
            .entry((height, digest))
            .or_insert_with(|| AckBook { acks: vec![None; n] });
        let slot = &mut book.acks[index];
        let flags = |a: &Ack| u8::from(a.stored) + u8::from(a.verified) + u8::from(a.witnessed);
        if slot.as_ref().is_some_and(|old| flags(&old.ack) >= flags(&signed.ack)) {
            return false;
        }
        *slot = Some(signed);
        true
    }

    /// Members whose ack of exactly this batch has the property.
    fn ackers(&self, height: Height, digest: &Digest, property: impl Fn(&Ack) -> bool) -> MemberSet {
        let mut set = MemberSet::default();
        if let Some(book) = self.books.get(&(height, *digest)) {
            for (member, ack) in (0..).zip(&book.acks) {
                if ack.as_ref().is_some_and(|a| property(&a.ack)) {
                    set.insert(member);
                }
            }
        }
        set
    }

    /// Members that said they store this batch: whom to ask for it.
    pub fn holders(&self, height: Height, digest: &Digest) -> MemberSet {
        self.ackers(height, digest, |a| a.stored)
    }

    /// An ack that claims to have checked this body.
    pub fn verified_ack(&self, height: Height, digest: &Digest) -> Option<(MemberId, SignedAck)> {
        let book = self.books.get(&(height, *digest))?;
        (0..)
            .zip(&book.acks)
            .find_map(|(m, a)| a.clone().filter(|a| a.ack.verified).map(|a| (m, a)))
    }

    /// Whether R-WITNESS holds for the batch: it and each ancestor above the committed cut was verified here, or has
    /// f+1 members each `verified` on it, or `witnessed` on it or a descendant. Marks what it finds.
    pub fn settle_witnessed(&mut self, tip: (Height, Digest), one_honest: usize, bugs: &Bugs) -> bool {
        if self.stored.get(&tip.1).is_some_and(|s| s.witnessed) {
            return true;
        }
        let Ok(mut path) = self.path(tip, self.committed.0) else {
            return false;
        };
        // Below a witnessed batch all is witnessed.
        if let Some(at) = path.iter().rposition(|d| self.stored[d].witnessed) {
            path.drain(..=at);
        }
        let mut above = self.witnesses_above(tip);
        let mut sets = Vec::with_capacity(path.len());
        for digest in path.iter().rev() {
            let height = self.stored[digest].header().height;
            above = above.union(&self.ackers(height, digest, |a| a.witnessed));
            above.insert(self.owner);
            sets.push(above.union(&self.ackers(height, digest, |a| a.verified)));
        }
        let mut below = true;
        for (digest, set) in path.iter().zip(sets.iter().rev()) {
            let stored = self.stored.get_mut(digest).expect("on the path");
            let own = stored.verdict == Verdict::Good || set.count() >= one_honest;
            let holds = own && (below || bugs.witness_not_cumulative());
            stored.witnessed |= holds;
            below = stored.witnessed;
        }
        path.last().is_none_or(|d| self.stored[d].witnessed)
    }

    /// Whether a batch was verified here, or by f+1 members as R-WITNESS counts them; whatever its ancestors.
    pub(crate) fn is_vouched(&self, digest: &Digest, one_honest: usize) -> bool {
        let Some(stored) = self.stored.get(digest) else {
            return false;
        };
        if stored.witnessed || stored.verdict == Verdict::Good {
            return true;
        }
        let height = stored.header().height;
        let mut set = self.witnesses_above((height, *digest));
        set.insert(self.owner);
        set = set.union(&self.ackers(height, digest, |a| a.witnessed || a.verified));
        set.count() >= one_honest
    }

    /// Members `witnessed` on descendants of `tip` along the chain to the top.
    fn witnesses_above(&self, tip: (Height, Digest)) -> MemberSet {
        let mut set = MemberSet::default();
        if self.top.0 <= tip.0 {
            return set;
        }
        if let Ok(path) = self.path(self.top, tip.0)
            && let Some(first) = path.first()
            && self.stored[first].header().parent == tip.1
        {
            for digest in &path {
                let height = self.stored[digest].header().height;
                set = set.union(&self.ackers(height, digest, |a| a.witnessed));
                set.insert(self.owner);
            }
        }
        set
    }

    /// The f+1 acks that would make a certificate of this batch, not verified yet.
    pub fn certifiable(&self, height: Height, digest: &Digest, count: usize, bugs: &Bugs) -> Option<Ac> {
        let book = self.books.get(&(height, *digest))?;
        let header = self
            .stored
            .get(digest)
            .filter(|_| bugs.header_as_ack())
            .map(|s| AcEntry {
                member: self.owner,
                verified: false,
                signature: s.head.signature,
            });
        let good = (0..).zip(&book.acks).filter_map(|(member, ack)| {
            let signed = ack.as_ref().filter(|s| s.ack.stored && s.ack.witnessed);
            let entry = signed.map(|s| AcEntry {
                member,
                verified: s.ack.verified,
                signature: s.signature,
            });
            entry.or_else(|| header.clone().filter(|h| h.member == member))
        });
        let acks: Vec<AcEntry> = good.take(count).collect();
        (acks.len() == count).then_some(Ac {
            lane: self.owner,
            height,
            digest: *digest,
            acks,
        })
    }

    /// The highest batch above `floor` whose acks suffice for a certificate.
    pub fn newest_certifiable(&self, floor: Height, count: usize, bugs: &Bugs) -> Option<Ac> {
        let keys = self.books.range((floor + 1, Digest::ZERO)..).rev();
        keys.map(|(k, _)| k)
            .find_map(|(height, digest)| self.certifiable(*height, digest, count, bugs))
    }

    /// Drops an ack whose signature proved bad.
    pub fn strike_ack(&mut self, height: Height, digest: &Digest, member: MemberId) {
        if let Some(book) = self.books.get_mut(&(height, *digest)) {
            book.acks[usize::from(member)] = None;
        }
    }

    /// Keeps a verified certificate if it is the highest.
    pub fn keep_ac(&mut self, ac: &Ac) -> bool {
        let better = ac.height > self.committed.0 && self.ac.as_ref().is_none_or(|a| a.height < ac.height);
        if better {
            self.ac = Some(ac.clone());
        }
        better
    }

    /// The committed cut moved.
    pub fn commit(&mut self, height: Height, digest: Digest) {
        if height <= self.committed.0 {
            return;
        }
        self.committed = (height, digest);
        self.acked = self.acked.split_off(&(height + 1));
        self.books = self.books.split_off(&(height + 1, Digest::ZERO));
        if self.ac.as_ref().is_some_and(|a| a.height <= height) {
            self.ac = None;
        }
        if self.top.0 <= height {
            self.top = (height, digest);
        }
    }

    /// A batch was executed: it stays in memory for a while. What it orphaned goes.
    pub fn executed(&mut self, digest: &Digest) {
        let stored = self.stored.get_mut(digest).expect("an executed batch is stored");
        stored.executed = true;
        let (height, bytes) = (stored.header().height, stored.body.len() as u64);
        self.live_bytes -= bytes;
        self.waiting.remove(&(height, *digest));
        self.history.insert(height, *digest);
        self.retained.push_back(*digest);
        self.retained_bytes += bytes;
        while self.retained_bytes > RETAINED_BYTES || self.retained.len() > 1024 {
            let oldest = self.retained.pop_front().expect("bytes are retained");
            if let Some(old) = self.stored.remove(&oldest) {
                self.retained_bytes -= old.body.len() as u64;
            }
        }
    }

    /// The state holds what this height and all below did; batches up to there are not needed.
    pub fn anchor(&mut self, height: Height, digest: Digest) {
        if height > 0 {
            self.history.insert(height, digest);
        }
        self.drop_orphans();
    }

    /// Forgets executed batches below a height that peers get from an image.
    pub fn release(&mut self, height: Height) {
        self.history = self.history.split_off(&height);
        while let Some(oldest) = self.retained.front().copied()
            && self.stored.get(&oldest).is_none_or(|s| s.header().height < height)
        {
            self.retained.pop_front();
            if let Some(old) = self.stored.remove(&oldest) {
                self.retained_bytes -= old.body.len() as u64;
            }
        }
    }

    /// Drops batches that can never be executed: at or below an executed height and not executed.
    pub fn drop_orphans(&mut self) {
        let floor = self.history.last_key_value().map_or(0, |(h, _)| *h);
        let below = self.waiting.range(..=(floor, Digest([u8::MAX; 32])));
        let orphans: Vec<Digest> = below.map(|(_, d)| *d).filter(|d| self.stored[d].durable).collect();
        for digest in &orphans {
            self.forget(digest);
        }
        if self.fork.is_some_and(|f| orphans.contains(&f)) {
            self.fork = None;
        }
    }

    /// Batches above the committed cut on the acked chain, lowest first: what a peer that reconnects may lack.
    pub fn uncommitted(&self) -> Vec<Digest> {
        self.path(self.top, self.committed.0).unwrap_or_default()
    }

    /// Acked batches above the committed cut on which no other acked one stands, lowest first.
    pub fn tips(&self) -> Vec<(Height, Digest)> {
        let held = || {
            self.acked
                .iter()
                .filter_map(|(height, digest)| Some((*height, self.stored.get(digest)?)))
        };
        let parents: BTreeSet<Digest> = held().map(|(_, stored)| stored.header().parent).collect();
        let leaves = self
            .acked
            .iter()
            .filter(|(_, digest)| self.stored.contains_key(*digest) && !parents.contains(*digest));
        leaves.map(|(height, digest)| (*height, *digest)).collect()
    }

    /// Digests to serve for a fetch: from `digest` down to, not including, `floor`; lowest first, `most` at the most.
    pub fn chain_to_serve(&self, tip: (Height, Digest), floor: Height, most: usize) -> Vec<Digest> {
        let mut found = VecDeque::new();
        let (mut height, mut at) = tip;
        while height > floor && at != Digest::ZERO {
            if let Some(stored) = self.stored.get(&at) {
                height = stored.header().height;
                if height <= floor {
                    break;
                }
                found.push_front(at);
                (height, at) = (stored.header().parent_height, stored.header().parent);
            } else {
                // Executed and out of memory: the history knows its chain.
                let below = self.history.range(..=height).next_back();
                match below {
                    Some((h, d)) if *h > floor && (*d == at || !found.is_empty()) => {
                        found.push_front(*d);
                        height = h.saturating_sub(1);
                        at = self.history.range(..*h).next_back().map_or(Digest::ZERO, |(_, d)| *d);
                    }
                    _ => break,
                }
            }
            if found.len() > 4096 {
                found.pop_back();
            }
        }
        found.truncate(most);
        found.into()
    }
}

/// Verifies the acks of a certificate made here; the members whose signature is bad.
pub fn bad_acks(ac: &Ac, keys: &dyn Keys, domain: &Domain, bugs: &Bugs) -> Vec<MemberId> {
    let entries = ac_statements(ac, keys, domain, bugs);
    keys.count_checked(Signed::Ack, entries.len());
    keys.invalid(&entries).into_iter().map(|i| entries[i].0).collect()
}
