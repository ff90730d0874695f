//! Who checks client signatures (R-WITNESS): what this replica asked its verify stage, and what it leaves to others.
//!
//! The owner has checked a body, and the witnesses that it names check it for everybody. A replica that is not named
//! checks all the same while little is to be done: then its own verdict is the soonest. Under load it leaves the body
//! to the witnesses for about as long as a check of its own would take, or as work waits here anyway, and checks it only
//! if their acks have not come by then. So a vote waits at most about twice as long as it would have, and f+1 replicas
//! instead of n do the work. Who checks is no matter of safety: what counts as witnessed is decided by acks and verdicts
//! alone ([`crate::lanes::Lane::settle_witnessed`]).

use alloc::{collections::VecDeque, vec::Vec};

use trireme_crypto::Digest;

use crate::api::{Effect, JobId, Outbox};
use crate::lanes::Verdict;
use crate::replica::Replica;
use crate::timing::Mean;
use crate::types::{MemberId, Tick};

/// The stretch of time in which requests are counted.
const STRETCH_US: u64 = 10_000;
/// More requests of others in a stretch than this, and a replica checks only what it must: some 3,000 a second, which
/// cost all members together a tenth of a core when each checks them.
const BUSY_OPS: u64 = 32;
/// What a check takes, and an ack needs beyond it, before anything was measured; and the bounds of what was.
const PATIENCE_US: (u64, u64) = (500, 5_000);
/// No body is left to others for longer.
const MAX_PATIENCE_US: u64 = 50_000;
/// Bodies that are left to others at the most: beyond, the oldest is not looked after any more. A block that names it
/// still has it checked.
const MAX_LEFT: usize = 4_096;

/// A body whose signatures are being checked.
#[derive(Clone, Copy, Debug)]
struct Job {
    id: JobId,
    lane: MemberId,
    digest: Digest,
    asked: Tick,
}

/// Requests that came lately.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    since: Tick,
    before: u64,
    current: u64,
}

impl Load {
    fn roll(&mut self, now: Tick) {
        let passed = now.since(self.since);
        if passed >= 2 * STRETCH_US {
            *self = Self {
                since: now,
                ..Self::default()
            };
        } else if passed >= STRETCH_US {
            *self = Self {
                since: self.since.plus(STRETCH_US),
                before: self.current,
                current: 0,
            };
        }
    }

    fn note(&mut self, now: Tick, ops: u64) {
        self.roll(now);
        self.current += ops;
    }

    fn is_busy(&self) -> bool {
        self.before.max(self.current) > BUSY_OPS
    }
}

/// See the module's text.
#[derive(Clone, Debug)]
pub(crate) struct Witnessing {
    jobs: VecDeque<Job>,
    next_job: JobId,
    load: Load,
    /// From a question to its verdict.
    check: Mean,
    /// Bodies that are left to others, and until when; the order is that of their storing.
    left: VecDeque<(Tick, MemberId, Digest)>,
}

impl Default for Witnessing {
    fn default() -> Self {
        Self {
            jobs: VecDeque::new(),
            next_job: 1,
            load: Load::default(),
            check: Mean::default(),
            left: VecDeque::new(),
        }
    }
}

impl Witnessing {
    /// Bodies that are being checked.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// When a body that is left to others is to be looked at.
    pub(crate) fn due(&self) -> Option<Tick> {
        self.left.front().map(|left| left.0)
    }

    /// Whether many requests came lately, so that replicas check only what they must.
    pub(crate) fn is_busy(&self) -> bool {
        self.load.is_busy()
    }

    fn patience_us(&self) -> u64 {
        let (least, most) = PATIENCE_US;
        (least + 2 * self.check.us()).min(most)
    }
}

impl Replica {
    /// A batch of another lane was stored and is to be acked: has its body checked, or leaves that to its witnesses.
    pub(crate) fn witness_stored(&mut self, lane: MemberId, digest: &Digest, out: &mut Outbox) {
        let Some(stored) = self.lanes[usize::from(lane)].get(digest) else {
            return;
        };
        let header = stored.header();
        let ops = u64::from(header.ops);
        let witnesses = &header.witnesses;
        let named = witnesses.contains(&self.me);
        // With a witness away, the others' acks do not suffice.
        let attended = !witnesses.is_empty() && witnesses.iter().all(|w| self.peers[usize::from(*w)].connected);
        self.witnessing.load.note(self.now.tick, ops);
        if named || !attended || !self.witnessing.is_busy() {
            self.ask_verdict(lane, digest, false, out);
            return;
        }
        let until = self.now.tick.plus(self.witness_patience_us());
        if self.witnessing.left.len() >= MAX_LEFT {
            self.witnessing.left.pop_front();
        }
        self.witnessing.left.push_back((until, lane, *digest));
        let stored = self.lanes[usize::from(lane)].get_mut(digest).expect("looked up");
        stored.left_until = Some(until);
    }

    /// How long a body is left to its witnesses: about as long as a check here takes, and where commits take long because
    /// of what waits for processors and disks, and not because of the network, about as long as a commit.
    fn witness_patience_us(&self) -> u64 {
        let slowest = self.peers.iter().map(|peer| peer.rtt_us).max().unwrap_or(0);
        let queued = self.timing.commit_us().saturating_sub(2 * slowest);
        self.witnessing.patience_us().max(queued.min(MAX_PATIENCE_US))
    }

    /// Has those bodies checked whose witnesses did not answer in time.
    pub(crate) fn tend_witnessing(&mut self, out: &mut Outbox) {
        let now = self.now.tick;
        let mut unanswered: Vec<(MemberId, Digest)> = Vec::new();
        while let Some((_, lane, digest)) = self.witnessing.left.pop_front_if(|left| left.0 <= now) {
            unanswered.push((lane, digest));
        }
        for (lane, digest) in unanswered {
            if !self.is_vouched(lane, &digest) {
                self.ask_verdict(lane, &digest, false, out);
            }
        }
    }

    /// Whether this body needs no check here: it is committed, or f+1 members vouch for it.
    pub(crate) fn is_vouched(&self, lane: MemberId, digest: &Digest) -> bool {
        let state = &self.lanes[usize::from(lane)];
        let committed = |height| height <= state.committed().0;
        state.get(digest).is_none_or(|s| committed(s.header().height))
            || state.is_vouched(digest, self.quorums.one_honest())
    }

    /// A block names this batch, which is not witnessed: it is checked ahead of others, unless its witnesses still have
    /// time.
    pub(crate) fn witness_named(&mut self, lane: MemberId, digest: &Digest, out: &mut Outbox) {
        let now = self.now.tick;
        let stored = self.lanes[usize::from(lane)].get(digest);
        let due = stored.is_some_and(|s| s.left_until.is_none_or(|until| until <= now));
        if due && !self.is_vouched(lane, digest) {
            self.ask_verdict(lane, digest, true, out);
        }
    }

    /// Has a body's client signatures checked, once.
    pub(crate) fn ask_verdict(&mut self, lane: MemberId, digest: &Digest, urgent: bool, out: &mut Outbox) {
        let id = self.witnessing.next_job;
        let Some(stored) = self.lanes[usize::from(lane)].get_mut(digest) else {
            return;
        };
        if stored.verdict != Verdict::Unasked {
            return;
        }
        stored.verdict = Verdict::Asked(id);
        let (ops, body) = (stored.header().ops, stored.body.clone());
        self.counters.bodies_checked += 1;
        self.witnessing.next_job += 1;
        self.witnessing.jobs.push_back(Job {
            id,
            lane,
            digest: *digest,
            asked: self.now.tick,
        });
        out.push(Effect::Verify {
            job: id,
            digest: *digest,
            ops,
            body,
            urgent,
        });
    }

    pub(crate) fn on_verified(&mut self, job: JobId, good: bool, out: &mut Outbox) {
        let Some(at) = self.witnessing.jobs.iter().position(|j| j.id == job) else {
            return;
        };
        let Job {
            lane, digest, asked, ..
        } = self.witnessing.jobs.remove(at).expect("position is valid");
        self.witnessing.check.note(self.now.tick.since(asked), PATIENCE_US.1);
        let Some(stored) = self.lanes[usize::from(lane)].get_mut(&digest) else {
            return;
        };
        stored.verdict = if good { Verdict::Good } else { Verdict::Bad };
        if good {
            self.refresh_ack(lane, &digest, self.eager_acks, out);
        } else {
            self.false_ack_evidence(lane, &digest, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_what_came_in_this_stretch_or_the_one_before() {
        let mut load = Load::default();
        load.note(Tick(1_000), BUSY_OPS);
        assert!(!load.is_busy(), "few");
        load.note(Tick(9_000), 1);
        assert!(load.is_busy());
        load.note(Tick(STRETCH_US + 1), 1);
        assert!(load.is_busy(), "a moment ago there were many");
        load.note(Tick(2 * STRETCH_US + 1), 1);
        assert!(!load.is_busy(), "and now no more");
        load.note(Tick(2 * STRETCH_US + 2), BUSY_OPS);
        assert!(load.is_busy());
        load.note(Tick(9 * STRETCH_US), 1);
        assert!(!load.is_busy(), "long ago");
    }

    #[test]
    fn patience_follows_what_checks_take() {
        let mut witnessing = Witnessing::default();
        assert_eq!(witnessing.patience_us(), PATIENCE_US.0);
        (0..100).for_each(|_| witnessing.check.note(700, PATIENCE_US.1));
        assert_eq!(witnessing.patience_us(), PATIENCE_US.0 + 1_400);
        (0..100).for_each(|_| witnessing.check.note(1_000_000, PATIENCE_US.1));
        assert_eq!(witnessing.patience_us(), PATIENCE_US.1, "bounded");
    }
}
