//! Batches of lanes: own ones, others', and what is missing (R-LANE, R-FETCH without signatures and acks).

use trireme_core::MemberId;
use trireme_core::api::{Effect, JobId, Outbound, Outbox, Reject, Stored, To};
use trireme_core::fetch::Kind;
use trireme_core::lanes::{Lane, Verdict};
use trireme_core::message::{Batch, LaneMark, Message, SignedHeader};
use trireme_core::own_lane::choose_witnesses;
use trireme_core::quorum::MemberSet;
use trireme_core::record::Record;
use trireme_core::types::Height;
use trireme_crypto::{Digest, Signature};

use crate::record::RaftRecord;
use crate::replica::{Done, RaftReplica};

/// Batches, and bytes of them, in one answer.
const MAX_BATCHES_PER_ANSWER: usize = 64;
const MAX_ANSWER_BYTES: usize = 4 << 20;

impl RaftReplica {
    /// Cuts batches from what clients sent.
    pub(crate) fn cut_own_batch(&mut self, out: &mut Outbox) {
        let floor = self.committed_height(self.me);
        while !self.halted && self.own.is_due(self.now.tick, self.pace_us(), &self.params, floor) {
            self.reserve(out);
            let peers: Vec<(bool, u64)> = self.peers.iter().map(|p| (p.connected, p.rtt_us)).collect();
            let witnesses = choose_witnesses(&peers, self.me, self.own.next_height(), self.witnesses);
            let id = (self.me, &self.domain);
            let (digest, header, body) = self.own.cut(id, self.now.tick, &self.params, witnesses);
            let head = SignedHeader {
                header,
                signature: Signature([0; 64]),
            };
            self.send_own(digest, Batch { head, body }, out);
        }
    }

    /// R-RESERVE: within the durable reservation a header need not be durable before it leaves.
    fn send_own(&mut self, digest: Digest, batch: Batch, out: &mut Outbox) {
        let height = batch.head.header.height;
        let message = Message::Batch(batch.clone());
        let mut release = Vec::new();
        let urgent = !self.own.may_leave(height);
        if urgent {
            release.push(Outbound { to: To::All, message });
        } else {
            self.send(To::All, message, out);
        }
        let lane = &mut self.lanes[usize::from(self.me)];
        lane.insert(digest, batch.clone(), false);
        lane.get_mut(&digest).expect("just inserted").verdict = Verdict::Good;
        let done = Done::Stored { lane: self.me, digest };
        self.append(vec![Record::Batch(batch)], release, urgent, done, out);
    }

    pub(crate) fn reserve(&mut self, out: &mut Outbox) {
        if let Some(end) = self.own.extend(&self.params, self.committed_height(self.me)) {
            let record = RaftRecord::Reserve(end).record();
            self.append(vec![record], Vec::new(), true, Done::Reserved(end), out);
        }
    }

    pub(crate) fn committed_height(&self, lane: MemberId) -> Height {
        self.tip.cut[usize::from(lane)].0
    }

    pub(crate) fn on_batch(&mut self, from: MemberId, digest: Digest, batch: Batch, out: &mut Outbox) {
        let header = &batch.head.header;
        let (lane, height, parent) = (header.lane, header.height, header.parent);
        let wait_us = self.fetch_wait_us() / 4;
        if self.lanes[usize::from(lane)].get(&digest).is_some() {
            self.fetch.satisfied(&digest);
            self.fetch.advanced(lane, height, self.now.tick, wait_us);
            return;
        }
        let wanted = self.fetch.needs(&digest) || self.fetch.needs_lane(lane, height);
        let asked = from == lane || self.fetch.wants(&digest) || self.fetch.wants_lane(lane, height);
        let fits = wanted || asked && lane != self.me && self.admits(&batch);
        if !fits {
            self.counters.dropped += 1;
            let above = from == lane && height > self.committed_height(lane);
            let missed = &mut self.lanes[usize::from(lane)].missed;
            if above && missed.is_none_or(|(highest, _)| height > highest) {
                *missed = Some((height, digest));
            }
            return;
        }
        let state = &self.lanes[usize::from(lane)];
        if !state.stands(header) {
            if state.holds(&parent) {
                self.counters.dropped += 1;
                return;
            }
            // Its ancestors first; they and it come in one run, lowest first.
            let floor = state.top().0.min(height - 1);
            let kind = Kind::Batch { lane, height, floor };
            self.fetch
                .want_hearsay(digest, kind, MemberSet::of(from), self.now.tick);
            return;
        }
        self.store_batch(digest, batch, wanted, out);
        self.fetch.satisfied(&digest);
        self.fetch.advanced(lane, height, self.now.tick, wait_us);
    }

    /// Batches that nothing needs yet stay within the lane's window.
    fn admits(&self, batch: &Batch) -> bool {
        let header = &batch.head.header;
        let committed = self.committed_height(header.lane);
        header.height > committed
            && header.height <= committed + self.params.lane_window_heights
            && self.lanes[usize::from(header.lane)].live_bytes + batch.body.len() as u64
                <= self.params.lane_window_bytes + u64::from(self.params.max_batch_bytes)
    }

    /// Its record waits for company: what makes it count is an entry, and that is written urgently.
    fn store_batch(&mut self, digest: Digest, batch: Batch, wanted: bool, out: &mut Outbox) {
        let header = &batch.head.header;
        let (lane, ops, checks) = (header.lane, header.ops, header.witnesses.contains(&self.me));
        let body = batch.body.clone();
        self.lanes[usize::from(lane)].insert(digest, batch.clone(), wanted);
        let done = Done::Stored { lane, digest };
        self.append(vec![Record::Batch(batch)], Vec::new(), false, done, out);
        let job = self.next_job;
        let stored = self.lanes[usize::from(lane)].get_mut(&digest).expect("just inserted");
        if !checks {
            stored.verdict = Verdict::Good;
            return;
        }
        stored.verdict = Verdict::Asked(job);
        self.next_job += 1;
        self.jobs.push_back((job, lane, digest));
        out.push(Effect::Verify {
            job,
            digest,
            ops,
            body,
            urgent: true,
        });
    }

    /// A witness's verdict. Under crash faults no owner passes on a bad signature: one that does is not listened to, and
    /// nothing that stands on its batch is accepted here.
    pub(crate) fn on_verified(&mut self, job: JobId, good: bool, out: &mut Outbox) {
        let Some(at) = self.jobs.iter().position(|(asked, ..)| *asked == job) else {
            return;
        };
        let (_, lane, digest) = self.jobs.remove(at).expect("position is valid");
        if let Some(stored) = self.lanes[usize::from(lane)].get_mut(&digest) {
            stored.verdict = if good { Verdict::Good } else { Verdict::Bad };
        }
        if !good {
            self.counters.evidence += 1;
            out.push(Effect::Disconnect {
                member: lane,
                reason: Reject::Signature,
            });
        }
    }

    /// Whether all batches up to a tip are here and checked as far as that is this replica's part.
    pub(crate) fn is_ready(&self, lane: MemberId, tip: (Height, Digest)) -> bool {
        let state = &self.lanes[usize::from(lane)];
        let path = state.path(tip, self.committed_height(lane));
        let good = |digest: &Digest| state.get(digest).is_some_and(|stored| stored.verdict == Verdict::Good);
        path.is_ok_and(|path| path.iter().all(good))
    }

    /// The highest batch that is missing on the way down from a tip.
    pub(crate) fn lacks(&self, lane: MemberId, tip: (Height, Digest)) -> Option<(Height, Digest)> {
        let path = self.lanes[usize::from(lane)].path(tip, self.committed_height(lane));
        path.err().map(|missing| (missing.height, missing.digest))
    }

    pub(crate) fn want_batch(&mut self, lane: MemberId, tip: (Height, Digest), floor: Height, from: MemberSet) {
        let kind = Kind::Batch {
            lane,
            height: tip.0,
            floor: floor.min(tip.0.saturating_sub(1)),
        };
        // A batch travels beside the entry that names it: it is asked for when it is late.
        let patience = self.fetch_wait_us() / 8;
        self.fetch.want(tip.1, kind, from, self.now.tick.plus(patience));
    }

    /// The committed cut moved: what came too early for the window is asked for now.
    pub(crate) fn want_missed(&mut self) {
        for lane in self.quorums.members() {
            let window = self.committed_height(lane) + self.params.lane_window_heights;
            let state = &mut self.lanes[usize::from(lane)];
            let Some(tip) = state.missed.take_if(|(height, _)| *height <= window) else {
                continue;
            };
            if tip.0 > state.committed().0 && state.get(&tip.1).is_none() {
                let (height, floor) = (tip.0, state.top().0.min(tip.0 - 1));
                let kind = Kind::Batch { lane, height, floor };
                self.fetch.want_hearsay(tip.1, kind, MemberSet::of(lane), self.now.tick);
            }
        }
    }

    pub(crate) fn tend_fetches(&mut self, out: &mut Outbox) {
        let lanes = &self.lanes;
        // What a leader that is gone proposed may be nobody's any more: it is wanted until the lane's cut has passed it. A
        // restart may want what lies below.
        let passed = |lane: &Lane, height| self.ordered.is_empty() && height <= lane.committed().0;
        self.fetch.retain(|digest, kind| match kind {
            Kind::Block { .. } => false,
            Kind::Batch { lane, height, .. } => {
                let lane = &lanes[usize::from(*lane)];
                lane.get(digest).is_none() && !passed(lane, *height)
            }
        });
        let connected = self.connected();
        let wait_us = self.fetch_wait_us();
        for (to, message) in self.fetch.tend(self.now.tick, wait_us, &connected) {
            self.send(To::One(to), message, out);
        }
    }

    /// A channel opened: it is told how far every lane is here, and answers with what is newer of its own.
    pub(crate) fn tell_lanes(&self, to: MemberId, out: &mut Outbox) {
        let mark = |height| LaneMark {
            stored: height,
            acked: height,
        };
        let marks = self.lanes.iter().map(|lane| mark(lane.top().0)).collect();
        self.send(To::One(to), Message::Lanes(marks), out);
    }

    /// Sends again own batches that the peer does not hold.
    pub(crate) fn on_lanes(&mut self, from: MemberId, marks: &[LaneMark], out: &mut Outbox) {
        let stored = marks[usize::from(self.me)].stored;
        let own = &self.lanes[usize::from(self.me)];
        for digest in own.uncommitted() {
            let batch = own.get(&digest).expect("on the path");
            let height = batch.header().height;
            if height > stored && (batch.durable || self.own.may_leave(height)) {
                self.send(To::One(from), Message::Batch(batch.batch()), out);
            }
        }
    }

    pub(crate) fn serve_batches(
        &mut self,
        from: MemberId,
        lane: MemberId,
        tip: (Height, Digest),
        floor: Height,
        out: &mut Outbox,
    ) {
        let state = &self.lanes[usize::from(lane)];
        let mut digests = state.chain_to_serve(tip, floor, MAX_BATCHES_PER_ANSWER);
        if lane == self.me {
            let may_leave = |digest: &Digest| {
                let stored = state.get(digest);
                stored.is_none_or(|s| s.durable || self.own.may_leave(s.header().height))
            };
            let until = digests.iter().position(|d| !may_leave(d)).unwrap_or(digests.len());
            digests.truncate(until);
        }
        if digests.is_empty() {
            return self.send(To::One(from), Message::NotHeld { digest: tip.1 }, out);
        }
        if !digests.iter().all(|digest| state.get(digest).is_some()) {
            out.push(Effect::Serve {
                to: from,
                kind: Stored::Batches,
                digests,
            });
            return;
        }
        let mut bytes = 0;
        for digest in digests {
            let batch = state.get(&digest).expect("looked up").batch();
            bytes += batch.body.len();
            self.send(To::One(from), Message::Batch(batch), out);
            if bytes > MAX_ANSWER_BYTES {
                return;
            }
        }
    }
}
