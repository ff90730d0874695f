//! Proposing and accepting blocks (R-PROPOSE, R-ACCEPT).

use alloc::{boxed::Box, collections::BTreeMap, vec, vec::Vec};

use trireme_crypto::Digest;

use crate::api::{Evidence, Outbound, Outbox, To};
use crate::fetch::Kind;
use crate::lanes::Verdict;
use crate::message::{Block, CutEntry, Justify, Message, SignedBlock, Tc};
use crate::quorum::MemberSet;
use crate::record::{Record, VoteRecord};
use crate::replica::{Done, Replica};
use crate::safety::Hold;
use crate::types::{Height, MemberId, Signed, Slot, Tick, View};

/// Slots for which a lane whose optimistic tips made voters wait has to show certificates.
const OPTIMISM_PENALTY_SLOTS: u64 = 64;
/// Views ahead of the current one of which blocks are kept.
const MAX_VIEWS_AHEAD: u64 = 8;

/// What a replica knows as leader of its view.
#[derive(Clone, Debug)]
pub(crate) struct Leading {
    /// The last block proposed in this view.
    last: Option<(Slot, Digest)>,
    proposed: u64,
    proposed_at: Tick,
    last_empty: bool,
    /// Per lane: optimistic tips again from this slot on.
    optimism_from: Vec<Slot>,
    /// First blocks of recent views, to notice two different ones.
    firsts: BTreeMap<View, Digest>,
    /// Blocks of which evidence was given.
    accused: BTreeMap<(View, Slot), ()>,
    /// When a held block should be tried again because its time comes.
    pub(crate) early_until: Option<u64>,
    /// When a proposal was put off to keep the pace.
    pub(crate) paced: bool,
}

impl Leading {
    pub(crate) fn new(n: usize) -> Self {
        Self {
            last: None,
            proposed: 0,
            proposed_at: Tick::default(),
            last_empty: false,
            optimism_from: vec![0; n],
            firsts: BTreeMap::new(),
            accused: BTreeMap::new(),
            early_until: None,
            paced: false,
        }
    }

    pub(crate) fn new_view(&mut self) {
        self.last = None;
        self.proposed = 0;
        self.last_empty = false;
        self.paced = false;
    }

    pub(crate) fn last_proposed(&self) -> Option<(Slot, Digest)> {
        self.last
    }

    pub(crate) fn due(&self, pace_us: u64) -> Option<Tick> {
        self.paced.then(|| self.proposed_at.plus(pace_us))
    }
}

impl Replica {
    /// Whether this replica may propose in its current view at all. With nothing in its log yet it may not: if it came
    /// back from an empty log it could not know that it had proposed in view 0, and would again.
    fn leads(&self) -> bool {
        let view = self.safety.view();
        self.leader() == self.me
            && !self.is_silent()
            && !self.safety.timed_out(view)
            && self.entered_durable == view
            && self
                .restart_view
                .map_or(self.log_begun || self.bugs.leads_on_empty_log(), |r| view > r)
    }

    /// R-PROPOSE.
    pub(crate) fn try_propose(&mut self, out: &mut Outbox) {
        self.leading.paced = false;
        while self.leads() {
            let (slot, parent, justify) = match self.leading.last {
                Some((slot, digest)) => (slot, digest, Justify::None),
                None => self.safety.first_parent(),
            };
            if self.chain.get(&parent).is_none() {
                self.want_block(slot, parent, MemberSet::default());
                return;
            }
            let first = self.leading.last.is_none();
            if !first && !self.window_allows(slot + 1) {
                return;
            }
            let cut = self.choose_cut(&parent, slot + 1);
            let below = self.chain.get(&parent).expect("looked up");
            let changed = cut.iter().zip(&below.cut).any(|(a, b)| a.height != b.height);
            let timestamp = (below.timestamp + 1).max(self.now.wall_us);
            if !self.worth_proposing(first, changed) {
                return;
            }
            let view = self.safety.view();
            let block = Block {
                view,
                slot: slot + 1,
                parent,
                cut,
                timestamp,
                handoff: None,
                justify,
            };
            self.propose(block, !changed, out);
        }
    }

    fn window_allows(&self, slot: Slot) -> bool {
        let high = self.safety.high_ref();
        if high.view < self.safety.view() || high.slot == 0 {
            return self.leading.proposed < self.params.w0;
        }
        let end = self.log_end().min(self.committed() + self.params.window);
        slot <= end && slot <= high.slot + 2 * self.params.window
    }

    fn worth_proposing(&mut self, first: bool, changed: bool) -> bool {
        let since = self.now.tick.since(self.leading.proposed_at);
        let last = self.leading.last.map_or(0, |l| l.0);
        let in_flight = last > self.committed();
        if first {
            return changed || self.safety.view() > 0 && !self.bugs.no_empty_first_block();
        }
        if changed {
            self.leading.paced = in_flight && since < self.timing.pace_us();
            return !self.leading.paced;
        }
        in_flight && !self.leading.last_empty && since >= self.timing.turnaround_us(self.timer_rtts()) / 2
    }

    /// The newest tip of every lane that this leader can answer for.
    fn choose_cut(&mut self, parent: &Digest, slot: Slot) -> Vec<CutEntry> {
        let below: Vec<(Height, Digest)> = self
            .chain
            .get(parent)
            .expect("the parent is known")
            .cut
            .iter()
            .map(|c| (c.height, c.digest))
            .collect();
        self.quorums
            .members()
            .zip(below)
            .map(|(lane, base)| self.choose_tip(lane, base, slot))
            .collect()
    }

    fn choose_tip(&mut self, lane: MemberId, base: (Height, Digest), slot: Slot) -> CutEntry {
        let optimistic = if self.leading.optimism_from[usize::from(lane)] <= slot {
            self.optimistic_tip(lane, base)
        } else {
            base
        };
        let certified = self.lanes[usize::from(lane)].ac().filter(|ac| ac.height > optimistic.0);
        match certified {
            Some(ac) => CutEntry {
                height: ac.height,
                digest: ac.digest,
                certificate: Some(ac.clone()),
            },
            None => CutEntry {
                height: optimistic.0,
                digest: optimistic.1,
                certificate: None,
            },
        }
    }

    /// The highest stored and witnessed batch above `base`, or `base`.
    fn optimistic_tip(&mut self, lane: MemberId, base: (Height, Digest)) -> (Height, Digest) {
        let one_honest = self.quorums.one_honest();
        let state = &mut self.lanes[usize::from(lane)];
        let top = state.top();
        if top.0 <= base.0 {
            return base;
        }
        let Ok(path) = state.path(top, base.0) else { return base };
        state.settle_witnessed(top, one_honest, &self.bugs);
        let witnessed = path
            .iter()
            .rev()
            .find_map(|d| state.get(d).filter(|s| s.witnessed).map(|s| (s, d)));
        witnessed.map_or(base, |(s, d)| (s.header().height, *d))
    }

    fn propose(&mut self, block: Block, empty: bool, out: &mut Outbox) {
        let digest = block.digest(&self.domain);
        let signature = self.safety.sign(Signed::Block, &digest);
        let signed = SignedBlock { block, signature };
        self.leading.last = Some((signed.block.slot, digest));
        self.leading.proposed += 1;
        self.leading.proposed_at = self.now.tick;
        self.leading.last_empty = empty;
        self.send(To::All, Message::Block(Box::new(signed.clone())), out);
        self.note_ordered(&signed.block);
        self.chain.insert(digest, signed, self.now.tick, true);
        self.try_accept(out);
    }

    /// Voters had to wait for this lane's data: certificates only, for a while.
    pub(crate) fn end_optimism(&mut self, lane: MemberId) {
        let from = self.committed() + OPTIMISM_PENALTY_SLOTS;
        self.leading.optimism_from[usize::from(lane)] = from;
    }

    /// A block came from its leader or whoever re-sent it.
    pub(crate) fn on_block(&mut self, from: MemberId, digest: Digest, signed: SignedBlock, out: &mut Outbox) {
        if let Justify::Tc(tc) = &signed.block.justify {
            self.enter((**tc).clone(), out);
            self.stand_on(tc);
        }
        let block = &signed.block;
        let in_bounds = block.slot > self.committed()
            && block.slot <= self.top_of_near()
            && block.view <= self.safety.view() + MAX_VIEWS_AHEAD;
        let wanted = self.fetch.wants(&digest);
        if !in_bounds && !wanted {
            self.counters.dropped += 1;
            return;
        }
        self.block_evidence(&digest, &signed, out);
        self.learn_block(digest, signed, wanted, MemberSet::of(from), out);
    }

    /// The leader may have entered this view by another certificate, with a higher safe tip: what is kept follows it.
    fn stand_on(&mut self, tc: &Tc) {
        let view = self.safety.view();
        if tc.view.checked_add(1) == Some(view) && self.safety.raise_base(tc) {
            let top = self.top_of_near();
            if let Some(book) = self.books.get_mut(view) {
                book.come_near(top);
            }
        }
    }

    fn block_evidence(&mut self, digest: &Digest, signed: &SignedBlock, out: &mut Outbox) {
        let (view, slot) = (signed.block.view, signed.block.slot);
        let mut twin = self.chain.twin(&signed.block, digest).cloned();
        if signed.block.justify != Justify::None {
            let first = *self.leading.firsts.entry(view).or_insert(*digest);
            if first != *digest && twin.is_none() {
                twin = self.chain.node(&first).map(|n| n.signed.clone());
            }
            while self.leading.firsts.len() > 64 {
                self.leading.firsts.pop_first();
            }
        }
        if let Some(twin) = twin
            && self.leading.accused.insert((view, slot), ()).is_none()
        {
            self.record_evidence(Evidence::Blocks(twin, signed.clone()), out);
            while self.leading.accused.len() > 256 {
                self.leading.accused.pop_first();
            }
        }
    }

    /// Adds a block to the tree, asks for its parent if that is missing, and counts the votes that waited for it.
    pub(crate) fn learn_block(
        &mut self,
        digest: Digest,
        signed: SignedBlock,
        wanted: bool,
        from: MemberSet,
        out: &mut Outbox,
    ) {
        let (view, slot, parent) = (signed.block.view, signed.block.slot, signed.block.parent);
        if view == self.safety.view() {
            self.note_ordered(&signed.block);
        }
        self.fetch.satisfied(&digest);
        if !self.chain.insert(digest, signed, self.now.tick, wanted) {
            return;
        }
        if let Some((gap_slot, gap)) = self.chain.gap(&parent, slot - 1) {
            self.want_block(gap_slot, gap, from);
        }
        self.evaluate(view, slot, &digest, out);
        self.count_claims(out);
        self.resume_commit(out);
    }

    pub(crate) fn want_block(&mut self, slot: Slot, digest: Digest, from: MemberSet) {
        let voters = self.books_holders(slot, &digest).union(&from);
        let kind = Kind::Block {
            slot,
            floor: self.committed(),
        };
        self.fetch.want(digest, kind, voters, self.now.tick);
    }

    /// Accepts whatever may be accepted now.
    pub(crate) fn try_accept(&mut self, out: &mut Outbox) {
        self.leading.early_until = None;
        if self.is_silent() {
            return;
        }
        while let Some(digest) = self.next_acceptable(out) {
            self.accept(digest, out);
        }
    }

    fn next_acceptable(&mut self, out: &mut Outbox) -> Option<Digest> {
        let view = self.safety.view();
        if self.safety.timed_out(view) {
            return None;
        }
        let rejoin = self.safety.high_ref().slot + 1;
        let mut candidates: Vec<Digest> = match self.safety.last() {
            Some((slot, _)) => self.chain.at_slot(slot + 1).to_vec(),
            // View 0 of epoch 0 begins on genesis, without justification.
            None if view == 0 => self.chain.at_slot(1).to_vec(),
            None => self.chain.firsts(view).to_vec(),
        };
        if self.safety.last().is_none_or(|(slot, _)| rejoin > slot + 1) {
            candidates.extend_from_slice(self.chain.at_slot(rejoin));
        }
        candidates.into_iter().find(|d| self.judge(d, view, out).is_ok())
    }

    /// All rules of R-ACCEPT for one candidate; asks for what is missing.
    fn judge(&mut self, digest: &Digest, view: View, out: &mut Outbox) -> Result<(), Hold> {
        let block = self.chain.get(digest).ok_or(Hold::Parent)?;
        if block.view != view {
            return Err(Hold::View);
        }
        self.safety
            .may_accept(block, &self.chain, self.chain.committed_slot(), self.log_end())?;
        let parent = self.chain.get(&block.parent).ok_or(Hold::Parent)?;
        self.rule_four(block.timestamp, parent.timestamp)?;
        let changed = changed_tips(block, parent)?;
        if let Some(limit) = self.early(block.timestamp, parent.timestamp) {
            self.leading.early_until = Some(limit);
            return Err(Hold::Early);
        }
        let mut ready = Ok(());
        for (lane, tip, base) in changed {
            if let Err(hold) = self.tip_ready(lane, tip, base, out) {
                ready = Err(hold);
            }
        }
        ready
    }

    /// R-ACCEPT 4, the part that never changes.
    fn rule_four(&self, timestamp: u64, parent: u64) -> Result<(), Hold> {
        if timestamp > parent { Ok(()) } else { Err(Hold::Never) }
    }

    /// R-ACCEPT 4: how far the wall clock has to come before the block is acceptable, if it is ahead.
    fn early(&self, timestamp: u64, parent: u64) -> Option<u64> {
        let escape = if self.bugs.timestamp_no_escape() { 0 } else { parent + 1 };
        let limit = self.now.wall_us.saturating_add(self.params.max_drift_us).max(escape);
        (timestamp > limit).then(|| timestamp - self.params.max_drift_us)
    }

    /// R-ACCEPT 3 for a changed tip without certificate: all data here, all witnessed.
    fn tip_ready(
        &mut self,
        lane: MemberId,
        tip: (Height, Digest),
        base: (Height, Digest),
        out: &mut Outbox,
    ) -> Result<(), Hold> {
        let one_honest = self.quorums.one_honest();
        let leader = MemberSet::of(self.leader());
        let state = &mut self.lanes[usize::from(lane)];
        if state.path(tip, base.0).is_ok() && state.settle_witnessed(tip, one_honest, &self.bugs) {
            return Ok(());
        }
        // Witnessed is a batch with all its ancestors above the committed cut: also those that a block below this one
        // names, which may have come here by a certificate that somebody else checked.
        let floor = base.0.min(state.committed().0);
        let path = match state.path(tip, floor) {
            Ok(path) => path,
            Err(missing) => {
                // The leader has the data; the owner's own copy is usually on its way.
                let holders = state.holders(tip.0, &tip.1).union(&leader);
                let due = self.now.tick.plus(self.fetch_wait_us() / 8);
                let height = missing.height;
                let kind = Kind::Batch { lane, height, floor };
                self.fetch.want(missing.digest, kind, holders, due);
                return Err(Hold::Data);
            }
        };
        for digest in path {
            let stored = self.lanes[usize::from(lane)].get(&digest).expect("on the path");
            if !stored.witnessed && stored.verdict == Verdict::Unasked {
                self.witness_named(lane, &digest, out);
            }
        }
        Err(Hold::Data)
    }

    fn accept(&mut self, digest: Digest, out: &mut Outbox) {
        let node = self.chain.node(&digest).expect("just judged");
        let signed = node.signed.clone();
        let mut records = self.unlogged_ancestors(&signed.block.parent);
        records.push(Record::Vote(VoteRecord::Accept(Box::new(signed.clone()))));
        let vote = self.safety.accept(digest, &signed.block, &self.chain);
        self.execution.logged(digest, signed.block.slot);
        self.change.voted(vote.vote.locked);
        let release = vec![Outbound {
            to: To::All,
            message: Message::Vote(vote.clone()),
        }];
        self.append(records, release, true, Done::Accepted(vote), out);
    }

    /// Blocks below an accepted or committed one that no record holds yet.
    pub(crate) fn unlogged_ancestors(&mut self, from: &Digest) -> Vec<Record> {
        let mut records = Vec::new();
        let mut at = *from;
        while let Some(node) = self.chain.node(&at) {
            let slot = node.signed.block.slot;
            if slot == 0 || self.execution.is_logged(&at, slot) {
                break;
            }
            records.push(Record::Vote(VoteRecord::Block(Box::new(node.signed.clone()))));
            self.execution.logged(at, slot);
            at = node.signed.block.parent;
        }
        records.reverse();
        records
    }
}

/// A lane's changed tip without a certificate: (lane, tip, what it stands on).
type ChangedTip = (MemberId, (Height, Digest), (Height, Digest));

/// R-ACCEPT 3: each entry is the parent's own, without certificate, or higher. Gives those that need data.
fn changed_tips(block: &Block, parent: &Block) -> Result<Vec<ChangedTip>, Hold> {
    let mut changed = Vec::new();
    for (lane, (entry, below)) in (0..).zip(block.cut.iter().zip(&parent.cut)) {
        let same = entry.height == below.height && entry.digest == below.digest && entry.certificate.is_none();
        if !same && entry.height <= below.height {
            return Err(Hold::Never);
        }
        if !same && entry.certificate.is_none() {
            changed.push((lane, (entry.height, entry.digest), (below.height, below.digest)));
        }
    }
    Ok(changed)
}
