//! From committed entries to executed slots, from the records of the log back to a replica, and the checkpoints that bound
//! both.

use raft::eraftpb::Entry;
use trireme_core::api::{Effect, Execution, OrderedBatch};
use trireme_core::execution::interleave;
use trireme_core::fetch::Kind;
use trireme_core::lanes::Verdict;
use trireme_core::message::{Batch, Block, CutEntry, Justify, SignedBlock, StateCertificate, StateVote};
use trireme_core::quorum::MemberSet;
use trireme_core::record::Record;
use trireme_core::types::Height;
use trireme_core::{MemberId, Outbox, Slot};
use trireme_crypto::{Digest, Signature, decode, encode};

use crate::record::RaftRecord;
use crate::replica::{Done, Ordered, RaftReplica, Tip};
use crate::words::{EntryBytes, Proposal};

/// Slots given to execution and not answered.
const MAX_IN_EXECUTION: usize = 64;

impl RaftReplica {
    /// An entry is committed: its slot follows the one before. The slot's block is what every member makes of the entries up
    /// to there, so that roots, images and what anchors them are those of the default ordering.
    pub(crate) fn commit(&mut self, entry: &Entry) {
        if entry.index <= self.tip.slot {
            return;
        }
        assert_eq!(entry.index, self.tip.slot + 1, "entries commit in order");
        let proposal = Proposal::of(entry, self.quorums.n());
        let base = self.tip.cut.clone();
        let mut cut = base.clone();
        let (timestamp, tips) = proposal.map_or((0, Vec::new()), |proposal| (proposal.timestamp, proposal.tips));
        for (lane, height, digest) in tips {
            let tip = &mut cut[usize::from(lane)];
            if height > tip.0 {
                *tip = (height, digest);
            }
        }
        let entries = cut.iter().map(|(height, digest)| CutEntry {
            height: *height,
            digest: *digest,
            certificate: None,
        });
        let block = Block {
            view: entry.term,
            slot: entry.index,
            parent: self.tip.digest,
            cut: entries.collect(),
            timestamp: timestamp.max(self.tip.timestamp + 1),
            handoff: None,
            justify: Justify::None,
        };
        let digest = block.digest(&self.domain);
        self.move_tip(&block, digest, cut);
        let block = SignedBlock {
            block,
            signature: Signature([0; 64]),
        };
        self.ordered.push_back(Ordered { block, digest, base });
        self.counters.slow_commits += u64::from(self.started());
        self.want_missed();
    }

    fn move_tip(&mut self, block: &Block, digest: Digest, cut: Vec<(Height, Digest)>) {
        for (lane, (height, tip)) in self.lanes.iter_mut().zip(&cut) {
            lane.commit(*height, *tip);
        }
        if let Some(took_us) = self.own.commit(cut[usize::from(self.me)].0, self.now.tick) {
            self.commit_us.note(took_us, self.params.timer_floor_us);
        }
        self.tip = Tip {
            slot: block.slot,
            term: block.view,
            digest,
            cut,
            timestamp: block.timestamp,
        };
    }

    /// Gives to execution whatever is committed and whole.
    pub(crate) fn try_execute(&mut self, out: &mut Outbox) {
        while self.in_execution.len() < MAX_IN_EXECUTION {
            let Some(first) = self.ordered.front() else { return };
            let mut paths = Vec::with_capacity(first.base.len());
            let tips = first.block.block.cut.iter().map(|entry| (entry.height, entry.digest));
            let mut missing = None;
            for (lane, (tip, base)) in (0..).zip(tips.zip(&first.base)) {
                match self.lanes[usize::from(lane)].path(tip, base.0) {
                    Ok(path) => paths.push(path),
                    Err(gap) => missing = missing.or(Some((lane, (gap.height, gap.digest), base.0))),
                }
            }
            if let Some((lane, tip, floor)) = missing {
                // An entry is taken with its data; only a restart may lack some.
                if self.started() {
                    self.want_batch(lane, tip, floor, MemberSet::default());
                }
                return;
            }
            let first = self.ordered.pop_front().expect("looked at");
            self.execute(first, interleave(&paths), out);
        }
    }

    fn execute(&mut self, ordered: Ordered, batches: Vec<(MemberId, Digest)>, out: &mut Outbox) {
        let block = &ordered.block.block;
        let (slot, view, timestamp) = (block.slot, block.view, block.timestamp);
        let bodies = batches.iter().map(|(lane, digest)| {
            let stored = self.lanes[usize::from(*lane)].get(digest).expect("on a path");
            OrderedBatch {
                lane: *lane,
                height: stored.header().height,
                digest: *digest,
                body: stored.body.clone(),
            }
        });
        let bodies: Vec<OrderedBatch> = bodies.collect();
        for (lane, digest) in &batches {
            let header = self.lanes[usize::from(*lane)].get(digest).map(|s| s.header().ops);
            self.counters.ops_ordered += u64::from(header.unwrap_or(0));
        }
        let bytes = bodies.iter().map(|batch| batch.body.len() as u64).sum();
        self.counters.batches_ordered += bodies.len() as u64;
        self.counters.batch_bytes_ordered += bytes;
        let checkpoint = self.checkpoints.is_one(slot, bytes, &self.params);
        if checkpoint {
            self.anchors.insert(slot, ordered.block.clone());
        }
        out.push(Effect::Execute(Execution {
            slot,
            block: ordered.digest,
            view,
            timestamp,
            batches: bodies,
            root: false,
            checkpoint,
            fast: false,
            replay: !self.started(),
        }));
        self.in_execution.push_back((slot, batches));
        if !self.started() {
            self.finish_executed(slot);
        }
    }

    pub(crate) fn on_executed(&mut self, slot: Slot, state: Option<StateVote>, out: &mut Outbox) {
        self.finish_executed(slot);
        if let Some(vote) = state {
            self.vote_state(vote, out);
        }
        self.settle_checkpoint(out);
        if self.executed == self.tip.slot {
            let due = self.now.tick.plus(self.params.state_idle_us);
            self.states.idle_from(due, slot);
        }
    }

    fn finish_executed(&mut self, slot: Slot) {
        while self.in_execution.front().is_some_and(|(first, _)| *first <= slot) {
            let (done, batches) = self.in_execution.pop_front().expect("looked at");
            self.executed = self.executed.max(done);
            let mut touched = MemberSet::default();
            for (lane, digest) in &batches {
                self.lanes[usize::from(*lane)].executed(digest);
                touched.insert(*lane);
            }
            for lane in touched.iter() {
                self.lanes[usize::from(lane)].drop_orphans();
            }
        }
    }

    /// Tells that a checkpoint is stable once it is executed here; when a newer one is kept, what lies below the one before
    /// is released.
    pub(crate) fn settle_checkpoint(&mut self, out: &mut Outbox) {
        if let Some(certificate) = self.states.stable()
            && certificate.vote.slot <= self.executed
            && let Some(anchor) = self.anchors.remove(&certificate.vote.slot)
            && !self.halted
        {
            let slot = anchor.block.slot;
            self.anchors = self.anchors.split_off(&slot);
            let heights = anchor.block.cut.iter().map(|entry| entry.height).collect();
            self.checkpoints.settled(slot, heights);
            self.vouched.insert(slot, anchor.clone());
            out.push(Effect::Stable {
                certificate: Box::new(certificate.clone()),
                anchor: Box::new(anchor),
            });
        }
        if let Some((slot, heights)) = self.checkpoints.advance() {
            self.release(slot, heights, out);
        }
        self.offer_kept();
    }

    /// Who lags is offered the newest checkpoint of which an image is kept.
    fn offer_kept(&mut self) {
        let kept = self.checkpoints.kept();
        let certificate = self.states.stable().filter(|certificate| certificate.vote.slot == kept);
        if let Some(certificate) = certificate
            && let Some(anchor) = self.vouched.remove(&kept)
        {
            let voucher = encode(&(certificate, &anchor)).into();
            let at = (kept, anchor.block.view);
            self.vouched = self.vouched.split_off(&kept);
            self.log_mut().keep_image(at, voucher);
        }
    }

    /// The log begins above this checkpoint: what stands is written again, then what came before may go.
    fn release(&mut self, slot: Slot, heights: Vec<Height>, out: &mut Outbox) {
        self.log_mut().compact(slot);
        if !self.started() {
            return;
        }
        let after = self.next_append;
        let records = self.standing();
        self.append(records, Vec::new(), false, Done::Nothing, out);
        for (lane, height) in self.lanes.iter_mut().zip(&heights) {
            lane.release(*height);
        }
        out.push(Effect::Release { after, slot, heights });
    }

    /// An image that was fetched took the place of the state.
    pub(crate) fn on_installed(&mut self, certificate: StateCertificate, anchor: SignedBlock, out: &mut Outbox) {
        if anchor.block.slot > self.executed {
            self.start_at(&anchor);
            self.begin_above(&anchor);
            self.want_missed();
        }
        self.vouched.insert(anchor.block.slot, anchor);
        self.on_state_certificate(certificate, out);
        self.settle_checkpoint(out);
    }

    /// Committed and executed begin at this block, of which a snapshot is held.
    fn start_at(&mut self, anchor: &SignedBlock) {
        let block = &anchor.block;
        let slot = block.slot;
        let cut: Vec<_> = block.cut.iter().map(|entry| (entry.height, entry.digest)).collect();
        self.finish_executed(slot);
        self.ordered.retain(|ordered| ordered.block.block.slot > slot);
        if slot > self.tip.slot {
            self.move_tip(block, block.digest(&self.domain), cut.clone());
        }
        self.executed = self.executed.max(slot);
        let own = cut[usize::from(self.me)];
        self.own.replay_batch(own.0, own.1);
        for (lane, (height, digest)) in self.lanes.iter_mut().zip(&cut) {
            lane.anchor(*height, *digest);
        }
        self.fetch.retain(|_, kind| match kind {
            Kind::Block { .. } => false,
            Kind::Batch { lane, height, .. } => *height > cut[usize::from(*lane)].0,
        });
        self.checkpoints.start_at(slot);
        self.checkpoints.snapshotted(slot);
        self.fetch.raise_floors(|lane| cut[usize::from(lane)].0);
        let heights = cut.into_iter().map(|entry| entry.0).collect();
        self.checkpoints.settled(slot, heights);
        // What an image replaced is released with the next checkpoint.
        let _ = self.checkpoints.advance();
    }

    /// A restart from a snapshot, before the first [`RaftReplica::replay`].
    pub fn anchored(&mut self, certificate: StateCertificate, anchor: SignedBlock) {
        assert!(!self.started(), "recovery comes first");
        self.start_at(&anchor);
        self.log_mut().begin_above((anchor.block.slot, anchor.block.view));
        self.vouched.insert(anchor.block.slot, anchor);
        self.states.set_stable(certificate.clone());
        self.states.certify(&certificate);
        self.offer_kept();
    }

    /// Takes a recovered record, in the order of the log. Gives [`Effect::Execute`] with `replay` set, to be executed before
    /// the next call; nothing is to be answered.
    pub fn replay(&mut self, record: Record, out: &mut Outbox) {
        assert!(!self.started(), "recovery comes first");
        self.replayed_any = true;
        match record {
            Record::Batch(batch) => self.replay_batch(batch),
            Record::Ordering(bytes) => match decode::<RaftRecord>(&bytes) {
                Ok(record) => self.replay_ordering(record),
                Err(_) => self.gap = true,
            },
            // A log belongs to one cluster, and a cluster to one ordering.
            Record::Vote(_) => self.gap = true,
        }
        self.try_execute(out);
    }

    fn replay_batch(&mut self, batch: Batch) {
        let header = &batch.head.header;
        let (owner, height) = (header.lane, header.height);
        let digest = header.digest(&self.domain);
        let lane = &mut self.lanes[usize::from(owner)];
        if lane.get(&digest).is_some() || height <= lane.committed().0 {
            return;
        }
        lane.insert(digest, batch, true);
        let stored = lane.get_mut(&digest).expect("just inserted");
        (stored.durable, stored.verdict) = (true, Verdict::Good);
        if owner == self.me {
            self.own.replay_batch(height, digest);
        }
    }

    fn replay_ordering(&mut self, record: RaftRecord) {
        match record {
            RaftRecord::Reserve(height) => self.own.replay_reserve(height),
            RaftRecord::Standing(hard, base, reserved) => {
                self.own.replay_reserve(reserved);
                self.log_mut().hard = hard;
                // Without the image that it stands on, what was promised is not here.
                self.gap |= base.0 > self.log().last();
            }
            RaftRecord::Entries(hard, entries) => {
                self.log_mut().hard = hard;
                let whole = self.log_mut().append(entries.into_iter().map(EntryBytes::entry));
                self.gap |= !whole;
                let until = hard.commit.min(self.log().last());
                while self.tip.slot < until {
                    let next = self.tip.slot + 1;
                    let Some(entry) = self.log().get(next).cloned() else {
                        self.gap = true;
                        return;
                    };
                    self.commit(&entry);
                }
            }
        }
    }

    /// The state that a checkpoint executed again gave, during recovery.
    pub fn replayed(&mut self, vote: StateVote) {
        assert!(!self.started(), "afterwards votes are inputs");
        self.sign_state(vote);
    }

    /// Whether there was any record.
    pub fn has_replayed(&self) -> bool {
        self.replayed_any
    }

    /// Whether promises that it made are not in its log: it must not start.
    pub fn forgot(&self) -> bool {
        self.gap
    }
}
