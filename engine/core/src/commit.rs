//! Counting votes, committing, and making quorum certificates (R-COMMIT, R-LOCK).

use alloc::{boxed::Box, vec, vec::Vec};

use trireme_crypto::{Digest, Signature};

use crate::api::{Alarm, Effect, Evidence, Outbound, Outbox, Reject, To};
use crate::fetch::Kind;
use crate::message::{Message, Qc, QcRef, QcVote, SignedVote, Vote};
use crate::quorum::MemberSet;
use crate::record::{Record, VoteRecord};
use crate::replica::{Done, Replica};
use crate::types::{MemberId, Signed, Slot, View};
use crate::view_state::Fault;
use crate::votes::{Mark, Noted};

/// What a vote names.
fn parts(vote: &Vote) -> impl Iterator<Item = (Slot, Digest)> {
    [vote.voted, vote.locked].into_iter().flatten()
}

impl Replica {
    pub(crate) fn on_vote(&mut self, from: MemberId, signed: SignedVote, out: &mut Outbox) {
        self.peers[usize::from(from)].heard.vote(&signed);
        if signed.vote.view > self.safety.view() {
            // The entry certificate is on its way; what is dropped here is sent again with it (R-ENTER).
            self.change.keep_future(from, signed, self.params.window);
            return;
        }
        self.count_vote(from, &signed, out);
    }

    /// A member says what it committed. f+1 that say the same hold a correct one: the block is committed, although the
    /// votes for it never came here.
    pub(crate) fn on_committed(&mut self, from: MemberId, slot: Slot, digest: Digest, out: &mut Outbox) {
        self.peers[usize::from(from)].claimed = Some((slot, digest));
        self.count_claims(out);
    }

    /// Whoever committed a block committed its ancestors; blocks that are not here are asked for.
    pub(crate) fn count_claims(&mut self, out: &mut Outbox) {
        let committed = self.committed();
        if self
            .peers
            .iter()
            .all(|peer| peer.claimed.is_none_or(|(slot, _)| slot <= committed))
        {
            return;
        }
        let members = (0..).zip(&self.peers);
        let claims: Vec<(MemberId, (Slot, Digest))> = members
            .filter_map(|(member, peer)| Some((member, peer.claimed.filter(|(slot, _)| *slot > committed)?)))
            .collect();
        let needed = self.quorums.one_honest();
        if claims.len() < needed {
            return;
        }
        let backed = |(slot, digest): &(Slot, Digest)| {
            let agrees = |(_, (above, tip)): &&(MemberId, (Slot, Digest))| {
                (above, tip) == (slot, digest) || above > slot && self.chain.extends(tip, digest, *slot)
            };
            claims.iter().filter(agrees).count() >= needed
        };
        let newest = claims
            .iter()
            .map(|(_, claim)| *claim)
            .filter(backed)
            .max_by_key(|claim| claim.0);
        if let Some((slot, digest)) = newest {
            return self.commit_to(slot, digest, false, out);
        }
        for (member, (slot, digest)) in claims {
            if self.chain.get(&digest).is_none() {
                let kind = Kind::Block { slot, floor: committed };
                self.fetch
                    .want_hearsay(digest, kind, MemberSet::of(member), self.now.tick);
            }
        }
    }

    /// Blocks and votes of slots above this one are far: blocks are kept only if they were asked for.
    pub(crate) fn top_of_near(&self) -> Slot {
        self.committed().max(self.safety.horizon()) + 4 * self.params.window + self.params.w0
    }

    /// Counts what a member said on its own channel, or this replica durably.
    pub(crate) fn count_vote(&mut self, member: MemberId, signed: &SignedVote, out: &mut Outbox) {
        let vote = &signed.vote;
        let stale = vote.view < self.safety.view() && self.books.get(vote.view).is_none();
        let top = self.top_of_near();
        let far = parts(vote).any(|(slot, _)| slot > top);
        if stale || far {
            self.want_far(member, signed);
        }
        // One that is far is noted all the same: it may be the last that is said of its slot.
        if stale {
            return;
        }
        match self.books.note(member, signed, top) {
            Noted::Old => return,
            Noted::Conflict(first) => return self.vote_evidence(member, first, signed, out),
            Noted::New => {}
        }
        for (slot, digest) in parts(vote) {
            self.want_named(slot, &digest);
            self.evaluate(vote.view, slot, &digest, out);
        }
        if vote.view == self.safety.view()
            && let Some((slot, digest)) = vote.voted
        {
            self.measure_votes(vote.view, slot, &digest);
            self.consider_qc(out);
        }
    }

    /// A vote beyond what is kept: this replica lags. Its block leads to the chain that is missing.
    fn want_far(&mut self, member: MemberId, signed: &SignedVote) {
        if let Some((slot, digest)) = signed.vote.locked
            && slot > self.committed()
        {
            let due = self.now.tick.plus(self.fetch_wait_us());
            self.fetch.want_hearsay(
                digest,
                Kind::Block {
                    slot,
                    floor: self.committed(),
                },
                MemberSet::of(member),
                due,
            );
        }
    }

    fn vote_evidence(&mut self, member: MemberId, first: SignedVote, second: &SignedVote, out: &mut Outbox) {
        let entries = [&first, second].map(|v| (member, v.vote.statement(&self.domain), v.signature));
        self.counters.signatures_verified += 2;
        self.keys.count_checked(Signed::Vote, entries.len());
        if self.keys.invalid(&entries).is_empty() && self.change.accuse_once(Fault::Votes, member) {
            self.record_evidence(Evidence::Votes(member, first, second.clone()), out);
        }
    }

    /// Asks for a block that f+1 members voted for and that is not here: it usually is on its way.
    fn want_named(&mut self, slot: Slot, digest: &Digest) {
        if slot <= self.committed() || self.chain.get(digest).is_some() {
            return;
        }
        let holders = self.books_holders(slot, digest);
        if holders.count() >= self.quorums.one_honest() {
            let due = self.now.tick.plus(self.fetch_wait_us() / 4);
            self.fetch.want(
                *digest,
                Kind::Block {
                    slot,
                    floor: self.committed(),
                },
                holders,
                due,
            );
        }
    }

    /// Members that voted for a block.
    pub(crate) fn books_holders(&self, slot: Slot, digest: &Digest) -> MemberSet {
        self.books.holders(slot, digest)
    }

    fn measure_votes(&mut self, view: View, slot: Slot, digest: &Digest) {
        let (Some(book), Some(node)) = (self.books.get(view), self.chain.node(digest)) else {
            return;
        };
        let count = book.exact_count(slot, digest);
        let since = self.now.tick.since(node.received);
        if count == self.quorums.quorum() {
            self.timing.note_spread(since);
            self.change.q_reached = (slot, self.now.tick);
        } else if count == self.quorums.n() && self.change.q_reached.0 == slot {
            let late = self.now.tick.since(self.change.q_reached.1);
            self.timing.note_last_votes(late);
        }
    }

    /// Moves the two watermarks of the branch that ends at this block.
    pub(crate) fn evaluate(&mut self, view: View, slot: Slot, digest: &Digest, out: &mut Outbox) {
        let old = self.bugs.old_locks_count();
        if slot <= self.committed() || self.chain.get(digest).is_none_or(|b| b.view != view && !old) {
            return;
        }
        let Some(book) = self.books.get(view) else { return };
        let fast_at = if self.bugs.fast_at_quorum() {
            self.quorums.quorum()
        } else {
            self.quorums.fast()
        };
        let slow_at = if self.bugs.commit_at_one_honest() {
            self.quorums.one_honest()
        } else {
            self.quorums.quorum()
        };
        let fast = book.watermark(Mark::Voted, fast_at, (slot, digest), self.committed(), &self.chain);
        let slow = if self.bugs.old_locks_count() {
            self.books
                .merged(view)
                .watermark(Mark::Locked, slow_at, (slot, digest), self.committed(), &self.chain)
        } else {
            book.watermark(Mark::Locked, slow_at, (slot, digest), self.committed(), &self.chain)
        };
        let target = fast.max(slow);
        // A vote counts for ancestors of the same view only; older ones follow by the chain.
        if target > self.committed()
            && let Some(at) = self.chain.ancestor_at(digest, target)
            && self.chain.get(&at).is_some_and(|b| b.view == view || old)
        {
            self.commit_to(target, at, fast >= slow, out);
        }
    }

    /// Commits a block and all its ancestors, as soon as they are all here.
    pub(crate) fn commit_to(&mut self, slot: Slot, digest: Digest, fast: bool, out: &mut Outbox) {
        if slot <= self.committed() {
            return;
        }
        if let Some((gap_slot, gap)) = self.chain.gap(&digest, slot) {
            self.execution.wait_for(slot, digest, fast);
            self.want_block(gap_slot, gap, MemberSet::default());
            return;
        }
        let base = self.chain.ancestor_at(&digest, self.committed());
        if base != Some(self.chain.committed_tip()) {
            self.alarm(
                Alarm::SafeTipConflict {
                    view: self.safety.view(),
                },
                out,
            );
            return;
        }
        let mut path = Vec::new();
        let mut at = digest;
        while at != self.chain.committed_tip() {
            path.push(at);
            at = self.chain.get(&at).expect("there is no gap").parent;
        }
        let mut records = if self.replaying {
            Vec::new()
        } else {
            self.unlogged_ancestors(&digest)
        };
        if !fast {
            self.count_fast_misses(slot, &digest, path.len() as u64);
        }
        for block in path.into_iter().rev() {
            self.commit_block(block, fast);
        }
        self.prune_chain();
        self.safety.committed(slot);
        self.want_missed();
        if !self.replaying {
            self.rest_lock();
            records.push(Record::Vote(VoteRecord::Committed(slot, digest)));
            self.append(records, Vec::new(), false, Done::Nothing, out);
            let (me, view) = (self.me, self.safety.view());
            for member in self.change.apart(view).iter().filter(|member| *member != me) {
                self.tell_commits(member, view, out);
            }
        }
    }

    /// Nothing that has its votes is uncommitted: no lock is due for it.
    fn rest_lock(&mut self) {
        let (committed, quorum) = (self.committed(), self.quorums.quorum());
        let book = self.books.get(self.safety.view());
        if book.is_none_or(|book| book.certifiable(committed, quorum).is_none()) {
            self.change.rest_lock();
        }
    }

    /// Tries again a commit that waited for blocks.
    pub(crate) fn resume_commit(&mut self, out: &mut Outbox) {
        if let Some((slot, digest, fast)) = self.execution.waiting(self.chain.committed_slot()) {
            self.commit_to(slot, digest, fast, out);
        }
    }

    /// Why the fast path did not commit these slots first, for whoever watches: a member away, votes that were late, or
    /// a view that ended before.
    fn count_fast_misses(&mut self, slot: Slot, digest: &Digest, slots: u64) {
        if self.replaying {
            self.counters.slow_replayed += slots;
            return;
        }
        let view = self.chain.get(digest).map_or(0, |block| block.view);
        if view < self.safety.view() {
            self.counters.slow_view_change += slots;
            return;
        }
        let (holders, connected) = (self.books.holders(slot, digest), self.connected());
        let absent = |member: &MemberId| *member != self.me && !holders.contains(*member);
        let late = &mut self.counters.late_votes;
        late.resize(self.quorums.n(), 0);
        let mut away = false;
        for member in self.quorums.members().filter(absent) {
            late[usize::from(member)] += slots;
            away |= !connected.contains(member);
        }
        if away {
            self.counters.slow_member_away += slots;
        } else {
            self.counters.slow_late_votes += slots;
        }
    }

    fn commit_block(&mut self, digest: Digest, fast: bool) {
        let node = self.chain.node(&digest).expect("there is no gap");
        let (view, received) = (node.signed.block.view, node.received);
        self.chain.commit_next(digest);
        let cut = self.chain.committed_cut().to_vec();
        for (lane, (height, tip)) in self.lanes.iter_mut().zip(cut) {
            lane.commit(height, tip);
        }
        let took = self.own.commit(self.chain.committed_height(self.me), self.now.tick);
        if !self.replaying {
            self.timing
                .note_commit(took.unwrap_or_else(|| self.now.tick.since(received)));
            let leader = self.bugs.leader(view, self.quorums.n());
            self.timing.committed(leader, self.now.tick);
            self.timing.fast_misses = if fast {
                0
            } else {
                self.timing.fast_misses.saturating_add(1)
            };
            let certified = self.safety.high_ref().slot > self.committed();
            self.change.progressed(&self.lanes, certified, self.now.tick);
        }
        if fast {
            self.counters.fast_commits += 1;
        } else {
            self.counters.slow_commits += 1;
        }
        self.execution.committed(fast);
    }

    /// R-LOCK: makes a certificate of q exact votes, when it is worth a batch equation. While the fast path commits
    /// first, locks are rare; a view's first one, and one in each half window, are made at once because bounds of
    /// R-ACCEPT 5 hang on them; when the fast path fails they are made at once because the commit hangs on them.
    pub(crate) fn consider_qc(&mut self, out: &mut Outbox) {
        let view = self.safety.view();
        if self.halted || self.safety.timed_out(view) {
            return;
        }
        let high = self.safety.high_ref();
        let first = high.view < view || high.slot == 0;
        let floor = if first { 0 } else { high.slot };
        let Some(book) = self.books.get(view) else { return };
        let Some((slot, digest)) = book.certifiable(floor, self.quorums.quorum()) else {
            return;
        };
        self.change.idle_lock_by(self.now.tick.plus(self.params.idle_lock_us));
        let wait = self.timing.lock_wait_us();
        if self.committed() < slot && wait == 0 {
            self.form_qc(slot, digest, true, out);
        } else if first || slot - floor >= self.params.window / 2 {
            self.form_qc(slot, digest, false, out);
        }
        if self.committed() < slot {
            self.change.lock_by(self.now.tick.plus(wait));
        }
    }

    /// The time has come to tell the newest lock: `idle` in any case, else only if something is uncommitted.
    pub(crate) fn lock_now(&mut self, idle: bool, out: &mut Outbox) {
        let view = self.safety.view();
        if self.halted || self.safety.timed_out(view) {
            return;
        }
        let high = self.safety.high_ref();
        let floor = if high.view < view { 0 } else { high.slot };
        let quorum = self.quorums.quorum();
        let newest = self.books.get(view).and_then(|b| b.certifiable(floor, quorum));
        let slot = newest.map_or(floor, |n| n.0);
        if !idle && slot <= self.committed() {
            return;
        }
        match newest {
            Some((slot, digest)) => self.form_qc(slot, digest, true, out),
            None => self.tell_lock(out),
        }
    }

    /// A vote with the lock alone, unless one with it left already.
    fn tell_lock(&mut self, out: &mut Outbox) {
        let told = self.safety.locked() == self.change.told_lock();
        if self.safety.locked().is_none() || told || self.is_silent() {
            return;
        }
        if let Some(vote) = self.safety.lock_vote() {
            self.change.voted(vote.vote.locked);
            let release = vec![Outbound {
                to: To::All,
                message: Message::Vote(vote.clone()),
            }];
            self.append(Vec::new(), release, true, Done::Accepted(vote), out);
        }
    }

    fn form_qc(&mut self, slot: Slot, digest: Digest, tell: bool, out: &mut Outbox) {
        let view = self.safety.view();
        let quorum = self.quorums.quorum();
        let Some(book) = self.books.get(view) else { return };
        let mut votes = book.exact(slot, &digest);
        votes.truncate(quorum);
        let entries: Vec<(MemberId, Digest, Signature)> = votes
            .iter()
            .map(|(m, v)| (*m, v.vote.statement(&self.domain), v.signature))
            .collect();
        self.counters.signatures_verified += entries.len() as u64;
        self.keys.count_checked(Signed::Vote, entries.len());
        let bad = self.keys.invalid(&entries);
        if !bad.is_empty() || votes.len() < quorum {
            for index in bad {
                let member = votes[index].0;
                self.books.get_mut(view).expect("looked up").strike(member, slot);
                out.push(Effect::Disconnect {
                    member,
                    reason: Reject::Signature,
                });
            }
            return;
        }
        let votes = votes
            .into_iter()
            .map(|(member, v)| QcVote {
                member,
                locked: v.vote.locked,
                signature: v.signature,
            })
            .collect();
        let qc = Qc {
            at: QcRef { view, slot, digest },
            votes,
        };
        self.adopt_qc(&qc, out);
        if tell {
            self.tell_lock(out);
        }
    }

    /// Takes over a verified certificate, if it is higher and of no later view.
    pub(crate) fn adopt_qc(&mut self, qc: &Qc, out: &mut Outbox) {
        if self.halted || !self.safety.adopt(qc, &self.chain) {
            return;
        }
        if qc.at.slot > self.committed() {
            self.change.qc_waits(self.now.tick);
        }
        // Whatever says or uses it, a vote, a Timeout, an acceptance, is released by a later append: the log's order keeps
        // this record before it, and it needs no flush of its own.
        let record = Record::Vote(VoteRecord::HighQc(Box::new(qc.clone())));
        self.append(vec![record], Vec::new(), false, Done::Nothing, out);
        if self.chain.get(&qc.at.digest).is_none() {
            self.want_block(qc.at.slot, qc.at.digest, self.context.members_of(qc));
        }
        if self.safety.locked().is_some() {
            self.change.idle_lock_by(self.now.tick.plus(self.params.idle_lock_us));
        }
    }
}
