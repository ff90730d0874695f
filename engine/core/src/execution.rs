//! From committed slots to executed ones: gathers the batches of each cut in the order of R-EXECUTE.

use alloc::{
    collections::{BTreeSet, VecDeque},
    vec::Vec,
};

use trireme_crypto::Digest;

use crate::api::{Effect, Execution, OrderedBatch, Outbox};
use crate::message::StateVote;
use crate::quorum::MemberSet;
use crate::replica::Replica;
use crate::types::{Height, MemberId, Slot};

/// Slots given to execution and not answered: enough to keep it busy, few enough to bound what is held.
const MAX_IN_EXECUTION: usize = 64;
/// Slots below the committed one of which it is remembered that their block is in the log.
const LOGGED_SLOTS: u64 = 1_024;

/// What waits for execution or is in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExecutionQueue {
    sent: Slot,
    executed: Slot,
    in_flight: VecDeque<(Slot, Vec<(MemberId, Digest)>)>,
    /// Whether each committed slot above `sent` was committed by the fast path.
    fast: VecDeque<bool>,
    /// A commit that waits for blocks.
    target: Option<(Slot, Digest, bool)>,
    logged: BTreeSet<(Slot, Digest)>,
    logged_floor: Slot,
}

impl ExecutionQueue {
    pub(crate) fn executed(&self) -> Slot {
        self.executed
    }

    /// Nothing is with the executor.
    pub(crate) fn is_starved(&self) -> bool {
        self.in_flight.is_empty()
    }

    pub(crate) fn is_idle(&self, committed: Slot) -> bool {
        self.executed == committed
    }

    /// The state is that after `slot`: what is below is void.
    pub(crate) fn anchor(&mut self, slot: Slot) {
        let skipped = usize::try_from(slot.saturating_sub(self.sent)).unwrap_or(usize::MAX);
        self.fast.drain(..skipped.min(self.fast.len()));
        self.sent = self.sent.max(slot);
        self.executed = self.executed.max(slot);
    }

    /// Gives slots from `slot` on to execution again: only a seeded bug does that.
    pub(crate) fn give_again(&mut self, slot: Slot) {
        self.sent = self.sent.min(slot - 1);
    }

    pub(crate) fn committed(&mut self, fast: bool) {
        self.fast.push_back(fast);
    }

    pub(crate) fn wait_for(&mut self, slot: Slot, digest: Digest, fast: bool) {
        if self.target.is_none_or(|t| t.0 < slot) {
            self.target = Some((slot, digest, fast));
        }
    }

    pub(crate) fn waiting(&mut self, committed: Slot) -> Option<(Slot, Digest, bool)> {
        self.target = self.target.filter(|t| t.0 > committed);
        self.target
    }

    /// Notes that a block's record was appended.
    pub(crate) fn logged(&mut self, digest: Digest, slot: Slot) {
        self.logged.insert((slot, digest));
        while let Some((first, _)) = self.logged.first()
            && *first + LOGGED_SLOTS < self.executed
        {
            self.logged_floor = self.logged_floor.max(*first);
            self.logged.pop_first();
        }
    }

    pub(crate) fn is_logged(&self, digest: &Digest, slot: Slot) -> bool {
        slot <= self.logged_floor || self.logged.contains(&(slot, *digest))
    }
}

impl Replica {
    /// Gives to execution whatever is committed and whole.
    pub(crate) fn try_execute(&mut self, out: &mut Outbox) {
        while self.execution.sent < self.committed() && self.execution.in_flight.len() < MAX_IN_EXECUTION {
            let ahead = u64::from(self.bugs.execute_out_of_order() && self.execution.sent + 1 < self.committed());
            let slot = self.execution.sent + 1 + ahead;
            let Some(batches) = self.gather(slot) else { return };
            self.execute(slot, batches, out);
        }
    }

    /// The batches of one slot in order, or `None` after asking for what is missing.
    fn gather(&mut self, slot: Slot) -> Option<Vec<(MemberId, Digest)>> {
        let digest = self.chain.committed_at(slot).expect("committed");
        let below = self.chain.committed_at(slot - 1).expect("committed");
        let tips = self.cut_of(&digest);
        let bases = self.cut_of(&below);
        let mut paths = Vec::with_capacity(tips.len());
        let mut whole = true;
        for (lane, (tip, base)) in (0..).zip(tips.into_iter().zip(bases)) {
            match self.lanes[usize::from(lane)].path(tip, base.0) {
                Ok(path) => paths.push(path),
                Err(missing) => {
                    if !self.replaying {
                        self.want_batch(lane, (missing.height, missing.digest), base.0, MemberSet::default());
                    }
                    whole = false;
                }
            }
        }
        whole.then(|| interleave(&paths))
    }

    /// The cut up to which every batch was gathered.
    pub(crate) fn gathered_cut(&self) -> Vec<(Height, Digest)> {
        let digest = self.chain.committed_at(self.execution.sent).expect("committed");
        self.cut_of(&digest)
    }

    fn cut_of(&self, digest: &Digest) -> Vec<(Height, Digest)> {
        let block = self
            .chain
            .get(digest)
            .expect("committed blocks stay until they are executed");
        block.cut.iter().map(|c| (c.height, c.digest)).collect()
    }

    fn execute(&mut self, slot: Slot, batches: Vec<(MemberId, Digest)>, out: &mut Outbox) {
        let digest = self.chain.committed_at(slot).expect("committed");
        let block = self.chain.get(&digest).expect("committed");
        let (view, timestamp) = (block.view, block.timestamp);
        let mut ordered = Vec::with_capacity(batches.len());
        for (lane, batch) in &batches {
            let stored = self.lanes[usize::from(*lane)].get(batch).expect("gathered");
            self.counters.batches_ordered += 1;
            self.counters.ops_ordered += u64::from(stored.header().ops);
            self.counters.batch_bytes_ordered += stored.body.len() as u64;
            ordered.push(OrderedBatch {
                lane: *lane,
                height: stored.header().height,
                digest: *batch,
                body: stored.body.clone(),
            });
        }
        let fast = self.execution.fast.pop_front().unwrap_or(false);
        let bytes = ordered.iter().map(|batch| batch.body.len() as u64).sum();
        let checkpoint = self.checkpoints.is_one(slot, bytes, &self.params);
        let root = !self.replaying && slot.is_multiple_of(self.params.state_interval);
        out.push(Effect::Execute(Execution {
            slot,
            block: digest,
            view,
            timestamp,
            batches: ordered,
            root,
            checkpoint,
            fast,
            replay: self.replaying,
        }));
        self.execution.sent = slot;
        self.execution.in_flight.push_back((slot, batches));
        if self.replaying {
            self.finish_executed(slot);
        }
    }

    pub(crate) fn on_executed(&mut self, slot: Slot, state: Option<StateVote>, out: &mut Outbox) {
        self.finish_executed(slot);
        if let Some(vote) = state {
            self.vote_state(vote, out);
        }
        self.settle_checkpoint(out);
        if self.execution.is_idle(self.committed()) {
            self.state
                .idle_from(self.now.tick.plus(self.params.state_idle_us), slot);
        }
    }

    pub(crate) fn finish_executed(&mut self, slot: Slot) {
        while self.execution.in_flight.front().is_some_and(|(s, _)| *s <= slot) {
            let (done, batches) = self.execution.in_flight.pop_front().expect("looked at");
            self.execution.executed = self.execution.executed.max(done);
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
}

/// R-EXECUTE: for k = 1, 2, ...: for each lane: its k-th batch.
pub fn interleave(paths: &[Vec<Digest>]) -> Vec<(MemberId, Digest)> {
    let longest = paths.iter().map(Vec::len).max().unwrap_or(0);
    let mut ordered = Vec::new();
    for k in 0..longest {
        for (lane, path) in (0..).zip(paths) {
            ordered.extend(path.get(k).map(|d| (lane, *d)));
        }
    }
    ordered
}
