//! Checkpoints: slots at which the whole state is kept, so that what led to it may go (section 8 of the protocol).
//!
//! The chain decides which slots are checkpoints. q votes on the state make one *stable*; with a snapshot of it durable here
//! it is *kept*. When a newer one is kept, what lies below the one before is released: the log reaches back to the older of
//! two snapshots, and who lags by less than an interval needs no image. Promises are carried forward whole
//! ([`VoteRecord::Standing`]): only a Qc releases an acceptance (R-RELEASE, R-REPORT).

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::api::{Effect, Outbox};
use crate::fetch::Kind;
use crate::message::{SignedBlock, StateCertificate, StateVote};
use crate::record::{Record, VoteRecord};
use crate::replica::{Done, Replica};
use crate::types::{Height, Params, Slot, Tick};

/// Checkpoints that wait for their snapshot or for their votes.
const MAX_WAITING: usize = 64;
/// Without progress for so many times the wait for an answer, a replica that a stable checkpoint left behind fetches its image.
const STALL_WAITS: u64 = 8;
/// The seeded bug's clock: it releases once in this time.
const CLOCK_US: u64 = 20_000;

/// What a checkpoint lets go: blocks below the slot, batches of each lane up to the height.
pub type Marks = (Slot, Vec<Height>);

/// What is known of checkpoints.
#[derive(Clone, Debug, Default)]
pub struct Checkpoints {
    /// The last checkpoint of the executed chain.
    last: Slot,
    /// Body bytes ordered since.
    bytes: u64,
    /// Checkpoints of which a snapshot is durable here, above the one that is kept.
    snapshots: BTreeSet<Slot>,
    /// Checkpoints that are stable and executed here, above the one that is kept, with the heights of their cuts.
    stable: BTreeMap<Slot, Vec<Height>>,
    /// The newest that was told as stable.
    told: Slot,
    /// The newest with a snapshot that is stable.
    kept: Option<Marks>,
    /// When the seeded bug released something.
    clock: Tick,
    /// The checkpoint whose image was asked for.
    transfer: Option<Slot>,
    /// While a stable checkpoint lies ahead: what was executed when it was looked at, and when to look again.
    stalled: Option<(Slot, Tick)>,
}

impl Checkpoints {
    /// Whether the slot that executes next is a checkpoint; `bytes` are those of its bodies. Equal at all replicas, also at
    /// one that started from an image: at a checkpoint nothing has been counted yet.
    pub fn is_one(&mut self, slot: Slot, bytes: u64, params: &Params) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        let reached = slot.saturating_sub(self.last) >= params.checkpoint_slots;
        let one = reached || self.bytes >= params.checkpoint_bytes;
        if one {
            self.start_at(slot);
        }
        one
    }

    /// The state after a checkpoint is here: counting begins anew.
    pub fn start_at(&mut self, slot: Slot) {
        self.last = slot;
        self.bytes = 0;
    }

    /// The host's own image of this one is durable.
    pub fn snapshotted(&mut self, slot: Slot) {
        self.snapshots.insert(slot);
        while self.snapshots.len() > MAX_WAITING {
            self.snapshots.pop_first();
        }
    }

    /// This one is stable and executed here; `heights` are those of its cut.
    pub fn settled(&mut self, slot: Slot, heights: Vec<Height>) {
        self.told = slot;
        self.stable.insert(slot, heights);
        while self.stable.len() > MAX_WAITING {
            self.stable.pop_first();
        }
    }

    /// The newest that is kept.
    pub fn kept(&self) -> Slot {
        self.kept.as_ref().map_or(0, |marks| marks.0)
    }

    /// The checkpoint whose image is to be fetched.
    pub(crate) fn transfer(&self) -> Option<Slot> {
        self.transfer
    }

    pub(crate) fn next_due(&self) -> Option<Tick> {
        self.stalled.map(|(_, due)| due)
    }

    /// The newest that is stable and has its snapshot, with the marks of the one before, if something newer is kept now.
    pub fn advance(&mut self) -> Option<Marks> {
        let newest = *self.stable.keys().rev().find(|slot| self.snapshots.contains(slot))?;
        let heights = self.stable.remove(&newest).expect("just found");
        self.stable = self.stable.split_off(&newest);
        self.snapshots = self.snapshots.split_off(&(newest + 1));
        self.kept.replace((newest, heights))
    }
}

impl Replica {
    /// A restart from a snapshot, before the first [`Replica::replay`]: the executor holds the state after the anchor's
    /// slot. Records of what lies below say nothing then; those of promises count.
    pub fn anchored(&mut self, certificate: StateCertificate, anchor: SignedBlock) {
        assert!(self.replaying, "recovery comes first");
        let mut nothing = Outbox::new();
        self.start_at(anchor, &mut nothing);
        self.on_state_certificate(certificate, &mut nothing);
        assert!(nothing.is_empty(), "a start has no effects");
    }

    /// The state that a checkpoint executed again gave, during recovery.
    pub fn replayed(&mut self, vote: StateVote) {
        assert!(self.replaying, "afterwards votes are inputs");
        self.remember_state(vote);
    }

    /// The last slot that R-ACCEPT 5 allows for the log's sake.
    pub(crate) fn log_end(&self) -> Slot {
        let stable = self.state.stable().map_or(0, |c| c.vote.slot);
        stable.saturating_add(self.params.log_window)
    }

    /// Whether everything that the log's window allows is accepted here.
    pub(crate) fn log_is_full(&self) -> bool {
        let last = self.safety.last().map_or(0, |last| last.0);
        last.max(self.committed()) >= self.log_end()
    }

    /// A newer checkpoint has q votes.
    pub(crate) fn on_stable(&mut self, out: &mut Outbox) {
        if self.replaying {
            return;
        }
        self.settle_checkpoint(out);
        self.consider_lag(out);
        // The log's window moved.
        self.try_propose(out);
    }

    /// Tells that a checkpoint is stable once it is executed here, and releases what a newer one makes needless.
    pub(crate) fn settle_checkpoint(&mut self, out: &mut Outbox) {
        if let Some(certificate) = self.state.stable()
            && certificate.vote.slot > self.checkpoints.told
            && certificate.vote.slot <= self.executed()
            && !self.halted
            && let Some(anchor) = self
                .chain
                .committed_at(certificate.vote.slot)
                .and_then(|digest| self.chain.node(&digest))
        {
            let (certificate, anchor) = (Box::new(certificate.clone()), Box::new(anchor.signed.clone()));
            let slot = anchor.block.slot;
            let heights = anchor.block.cut.iter().map(|entry| entry.height).collect();
            self.checkpoints.settled(slot, heights);
            out.push(Effect::Stable { certificate, anchor });
        }
        self.checkpoints.transfer = self.checkpoints.transfer.filter(|asked| *asked > self.executed());
        if let Some(before) = self.checkpoints.advance() {
            self.release(before, out);
        }
    }

    /// The host's own image is durable.
    pub(crate) fn on_snapshotted(&mut self, slot: Slot, out: &mut Outbox) {
        if slot <= self.checkpoints.kept() {
            return;
        }
        self.checkpoints.snapshotted(slot);
        self.settle_checkpoint(out);
    }

    /// R-RELEASE: promises are written again whole, then what came before them may go, in the log and here.
    fn release(&mut self, (slot, heights): Marks, out: &mut Outbox) {
        self.safety.checkpointed(slot);
        let listed = self.safety.accepted().iter().filter(|entry| entry.1 < slot);
        let blocks = listed.filter_map(|entry| self.chain.node(&entry.2));
        let mut records: Vec<Record> = blocks
            .map(|node| Record::Vote(VoteRecord::Block(Box::new(node.signed.clone()))))
            .collect();
        let committed = (self.committed(), self.chain.committed_tip());
        let standing = self.safety.standing(self.own.reservation(), committed);
        records.push(Record::Vote(VoteRecord::Standing(Box::new(standing))));
        records.extend(self.standing_quarantine());
        let after = self.next_append;
        self.append(records, Vec::new(), false, Done::Nothing, out);
        for (lane, height) in self.lanes.iter_mut().zip(&heights) {
            lane.release(*height);
        }
        self.chain.rebase(slot);
        self.prune_chain();
        out.push(Effect::Release { after, slot, heights });
    }

    /// A seeded bug: an own checkpoint is enough, stable or not, once the own clock says so.
    pub(crate) fn release_by_clock(&mut self, out: &mut Outbox) {
        if !self.bugs.release_by_clock() || self.now.tick.since(self.checkpoints.clock) < CLOCK_US {
            return;
        }
        let newest = self
            .state
            .newest_checkpoint(self.me)
            .filter(|slot| *slot <= self.executed());
        if let Some(slot) = newest
            && let Some(block) = self.chain.committed_at(slot).and_then(|digest| self.chain.get(&digest))
        {
            let heights = block.cut.iter().map(|entry| entry.height).collect();
            self.checkpoints.clock = self.now.tick;
            self.release((slot, heights), out);
        }
    }

    /// The slot of the stable checkpoint, if this replica has not executed up to it.
    fn stable_ahead(&self) -> Option<Slot> {
        let slot = self.state.stable()?.vote.slot;
        (slot > self.executed()).then_some(slot)
    }

    /// Somebody does not hold what is needed. If f+1 say so and it lies at or below a stable checkpoint, it was released
    /// (R-RELEASE): one of them is correct.
    pub(crate) fn consider_denial(&mut self, digest: &trireme_crypto::Digest, out: &mut Outbox) {
        let Some(stable) = self.stable_ahead() else {
            return;
        };
        let Some((kind, denials)) = self.fetch.denials(digest) else {
            return;
        };
        let below = match kind {
            Kind::Block { slot, .. } => slot <= stable,
            Kind::Batch { lane, height, .. } => height <= self.committed_height(lane),
        };
        if below && denials >= self.quorums.one_honest() {
            self.transfer(out);
        }
    }

    /// A stable checkpoint may have left this replica far behind, or a newer one have come while it fetches an image
    /// (section 8, decision 0008).
    fn consider_lag(&mut self, out: &mut Outbox) {
        let Some(stable) = self.stable_ahead() else {
            self.checkpoints.transfer = None;
            self.checkpoints.stalled = None;
            return;
        };
        let far = stable - self.executed() > self.params.log_window / 2;
        if far || self.checkpoints.transfer.is_some() {
            self.transfer(out);
        } else if self.checkpoints.stalled.is_none() {
            let due = self.now.tick.plus(STALL_WAITS * self.fetch_wait_us());
            self.checkpoints.stalled = Some((self.executed(), due));
        }
    }

    /// While a stable checkpoint lies ahead, execution moves, or the image is fetched.
    pub(crate) fn tend_checkpoints(&mut self, out: &mut Outbox) {
        let Some((before, _)) = self.checkpoints.stalled.take_if(|(_, due)| *due <= self.now.tick) else {
            return;
        };
        let stalls = self.executed() == before && self.execution.is_starved();
        if stalls && self.state.stable().is_some_and(|c| c.vote.slot > before) {
            self.transfer(out);
        } else {
            self.consider_lag(out);
        }
    }

    /// Asks for the image of the newest stable checkpoint, once.
    fn transfer(&mut self, out: &mut Outbox) {
        let Some(certificate) = self.state.stable().cloned() else {
            return;
        };
        let slot = certificate.vote.slot;
        self.checkpoints.stalled = None;
        if !self.halted && self.checkpoints.transfer.is_none_or(|asked| asked < slot) {
            self.checkpoints.transfer = Some(slot);
            let certificate = Box::new(certificate);
            out.push(Effect::Transfer { certificate });
        }
    }

    /// An image that was fetched took the place of the state.
    pub(crate) fn on_installed(&mut self, certificate: StateCertificate, anchor: SignedBlock, out: &mut Outbox) {
        let slot = anchor.block.slot;
        if slot > self.executed() {
            self.start_at(anchor, out);
            self.change.progressed(
                &self.lanes,
                self.safety.high_ref().slot > self.committed(),
                self.now.tick,
            );
            self.want_missed();
        }
        // The host ended what it was asked, and forgot what it was asked meanwhile.
        let asked = self.checkpoints.transfer.take();
        self.on_state_certificate(certificate, out);
        if asked.is_some_and(|asked| asked > self.executed()) {
            self.transfer(out);
        }
        self.consider_lag(out);
        self.count_claims(out);
        self.resume_commit(out);
    }

    /// Committed and executed begin at this block, of which a snapshot is held. Promises stay what they are.
    fn start_at(&mut self, anchor: SignedBlock, out: &mut Outbox) {
        let slot = anchor.block.slot;
        let digest = anchor.block.digest(&self.domain);
        let cut: Vec<_> = anchor.block.cut.iter().map(|c| (c.height, c.digest)).collect();
        self.finish_executed(slot);
        if slot > self.committed() {
            self.chain.anchor(digest, anchor, self.now.tick);
            for (lane, (height, tip)) in self.lanes.iter_mut().zip(&cut) {
                lane.commit(*height, *tip);
            }
            self.own.commit(self.chain.committed_height(self.me), self.now.tick);
        }
        self.execution.anchor(slot);
        let own = cut[usize::from(self.me)];
        self.own.replay_batch(own.0, own.1);
        let committed = self.committed();
        self.fetch.retain(|_, kind| match kind {
            Kind::Block { slot, .. } => *slot > committed,
            Kind::Batch { lane, height, .. } => *height > cut[usize::from(*lane)].0,
        });
        for (lane, (height, tip)) in self.lanes.iter_mut().zip(&cut) {
            lane.anchor(*height, *tip);
        }
        self.prune_chain();
        self.checkpoints.start_at(slot);
        self.checkpoints.told = self.checkpoints.told.max(slot);
        self.checkpoints.snapshots.insert(slot);
        let heights = cut.into_iter().map(|entry| entry.0).collect();
        self.checkpoints.stable.insert(slot, heights);
        if let Some(before) = self.checkpoints.advance() {
            self.release(before, out);
        }
    }

    /// Drops blocks that nothing needs.
    pub(crate) fn prune_chain(&mut self) {
        let accepted = self.safety.accepted();
        let listed = |digest: &_| accepted.iter().any(|entry| entry.2 == *digest);
        self.chain.prune(self.execution.executed(), listed);
    }
}
