//! Timers: one wake-up, set to the earliest thing that time alone makes due. An idle replica sets none.

use alloc::vec::Vec;

use crate::api::Outbox;
use crate::replica::{Done, Replica};
use crate::types::{MemberId, Tick};
use crate::view_state::Ground;

/// While work waits, grounds for suspicion are looked at this often at least, and at most.
const TEND_US: (u64, u64) = (2_000, 25_000);
/// Up to a few seconds while nothing can be done about it.
const MAX_TEND_DOUBLINGS: u32 = 8;
/// Batches of a lane that are looked after at once: the lowest, since the others stand on them.
const TENDED_BATCHES: usize = 16;

impl Replica {
    /// When [`crate::Input::Timeout`] is due.
    pub fn next_timeout(&self) -> Option<Tick> {
        let pace = self.timing.pace_us();
        let now = self.now.tick;
        let own = self.own.due(pace).filter(|due| *due > now);
        let leading = self.leading.due(pace).map(|due| due.max(now.plus(1)));
        let early = self
            .leading
            .early_until
            .map(|wall| now.plus(wall.saturating_sub(self.now.wall_us).max(1)));
        let others = [
            self.change.next_lock_due(),
            self.state.idle_due(),
            self.fetch.next_due(),
            self.witnessing.due(),
            self.checkpoints.next_due(),
            self.tend_at,
            self.quarantine.as_ref().map(crate::quarantine::Quarantine::next_due),
        ];
        [own, leading, early].into_iter().chain(others).flatten().min()
    }

    pub(crate) fn on_timer(&mut self, out: &mut Outbox) {
        self.cut_own_batch(out);
        self.try_propose(out);
        let (soon, idle) = self.change.take_lock_due(self.now.tick);
        if soon || idle {
            self.lock_now(idle, out);
        }
        self.tend_state(out);
        self.tend_checkpoints(out);
        self.tend_fetches(out);
        self.tend_witnessing(out);
        if self.tend_at.is_some_and(|at| at <= self.now.tick) {
            self.tend_at = None;
            // A faulty lane's tip may wait for ever for acks that never come: look ever less often.
            let hopeless = !self.work_waits() && !self.waits_for_view();
            self.tend_doublings = if hopeless {
                (self.tend_doublings + 1).min(MAX_TEND_DOUBLINGS)
            } else {
                0
            };
            self.penalise_late_lanes();
            let late = self.tend_lanes(out);
            self.tend_view(late, out);
            self.resume_commit(out);
        }
    }

    fn tend_fetches(&mut self, out: &mut Outbox) {
        let committed = self.committed();
        let (lanes, chain) = (&self.lanes, &self.chain);
        self.fetch.retain(|digest, kind| match kind {
            crate::fetch::Kind::Block { slot, .. } => *slot > committed && chain.get(digest).is_none(),
            crate::fetch::Kind::Batch { lane, .. } => lanes[usize::from(*lane)].get(digest).is_none(),
        });
        let executed = self
            .chain
            .committed_at(self.executed())
            .filter(|_| self.fetch.wanted() > 0 && !self.bugs.fetch_floor_stays());
        if let Some(block) = executed.and_then(|digest| self.chain.get(&digest)) {
            self.fetch.raise_floors(|lane| block.cut[usize::from(lane)].height);
        }
        let connected = self.connected();
        for (to, message) in self.fetch.tend(self.now.tick, self.fetch_wait_us(), &connected) {
            self.send(crate::api::To::One(to), message, out);
        }
    }

    /// Sets the wake-up that looks after waiting work, if there is any and none is set.
    pub(crate) fn schedule(&mut self) {
        let waits = self.work_waits() || self.is_waiting_for_order() || self.waits_for_view();
        if !waits {
            self.tend_at = None;
        } else if self.tend_at.is_none() {
            let period = (self.timing.turnaround_us(self.timer_rtts()) / 8).clamp(TEND_US.0, TEND_US.1);
            self.tend_at = Some(self.now.tick.plus(period << self.tend_doublings));
        }
    }

    /// Something came that a look may help.
    pub(crate) fn look_soon(&mut self) {
        if self.tend_doublings > 0 {
            self.tend_doublings = 0;
            self.tend_at = None;
        }
    }

    fn waits_for_view(&self) -> bool {
        let suspects = self
            .change
            .suspicion
            .is_some_and(|s| !matches!(s.1, Ground::Restarted | Ground::Asked));
        self.safety.timed_out(self.safety.view()) || suspects
    }

    /// R-WITNESS: whatever its queue, a stored batch that nobody vouches for after a turnaround is checked here.
    pub(crate) fn verify_overdue(&mut self, lane: MemberId, out: &mut Outbox) {
        let index = usize::from(lane);
        for digest in self.lanes[index].uncommitted().into_iter().take(TENDED_BATCHES) {
            let unwitnessed = self.lanes[index].get(&digest).is_some_and(|stored| !stored.witnessed);
            if unwitnessed && !self.is_vouched(lane, &digest) {
                self.ask_verdict(lane, &digest, false, out);
            }
        }
        self.ack_overdue(lane, out);
    }

    /// Acks of batches that wait longer than usual, since somebody may need a certificate of them; those that are not on
    /// the disk yet are sent there.
    pub(crate) fn ack_overdue(&mut self, lane: MemberId, out: &mut Outbox) {
        let index = usize::from(lane);
        for digest in self.lanes[index].uncommitted().into_iter().take(TENDED_BATCHES) {
            if self.lanes[index].get(&digest).is_some_and(|stored| !stored.durable) && self.lingering {
                self.append(Vec::new(), Vec::new(), true, Done::Nothing, out);
            }
            self.refresh_ack(lane, &digest, true, out);
        }
    }

    /// A leader whose block waits for votes suspects the optimistic tips in it (R-PROPOSE).
    fn penalise_late_lanes(&mut self) {
        let Some((slot, digest)) = self.leading.last_proposed() else {
            return;
        };
        let oldest = self.committed() + 1;
        if slot < oldest {
            return;
        }
        let Some(at) = self.chain.ancestor_at(&digest, oldest) else {
            return;
        };
        let Some(node) = self.chain.node(&at) else { return };
        let patience = self.params.timer_floor_us / 2 + 4 * self.timing.spread_us();
        if self.now.tick.since(node.received) < patience {
            return;
        }
        let Some(parent) = self.chain.get(&node.signed.block.parent) else {
            return;
        };
        let cuts = node.signed.block.cut.iter().zip(&parent.cut);
        let optimistic = (0..)
            .zip(cuts)
            .filter(|(_, (a, b))| a.height > b.height && a.certificate.is_none());
        let lanes: Vec<MemberId> = optimistic.map(|(lane, _)| lane).collect();
        for lane in lanes {
            if lane != self.me {
                self.end_optimism(lane);
            }
        }
    }
}
