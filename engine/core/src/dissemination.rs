//! Batches of other lanes, acks and availability certificates (R-LANE, R-WITNESS).

use alloc::{vec, vec::Vec};

use trireme_crypto::Digest;

use crate::api::{Effect, Evidence, Outbox, Reject, To};
use crate::fetch::Kind;
use crate::lanes::{Verdict, bad_acks};
use crate::message::{Ac, Ack, Batch, Message, SignedAck};
use crate::quorum::MemberSet;
use crate::record::Record;
use crate::replica::{Done, Replica};
use crate::types::{Height, MemberId, Signed};
use crate::view_state::Fault;

/// From this many requests on, a named witness tells its verdict at once: one signature more here saves every other replica
/// as many checks. Below it the others check for themselves, unless there is much to do: then they leave that to witnesses.
const EARLY_OPS: u32 = 8;
/// A batch of this size is written while its block is still to come; a smaller one shares the flush of its acceptance.
const WRITTEN_AT_ONCE_BYTES: usize = 256 << 10;

impl Replica {
    pub(crate) fn on_batch(&mut self, from: MemberId, digest: Digest, batch: Batch, out: &mut Outbox) {
        let header = &batch.head.header;
        let (lane, height, parent) = (header.lane, header.height, header.parent);
        self.peers[usize::from(lane)].heard.header(&batch.head);
        if self.halted || self.lane(lane).get(&digest).is_some() {
            // An answer that starts with what is held already still leads on.
            self.fetch.satisfied(&digest);
            self.fetch
                .advanced(lane, height, self.now.tick, self.fetch_wait_us() / 4);
            return;
        }
        // What only its owner's word names keeps to the lane's limits, whoever sends it.
        let wanted = self.fetch.needs(&digest) || self.fetch.needs_lane(lane, height);
        let asked = from == lane || self.fetch.wants(&digest) || self.fetch.wants_lane(lane, height);
        let fits = wanted || asked && self.admits(&batch);
        // What an answer names may be any of a lane's forks, its own lane's too.
        let wanted = wanted || fits && self.quarantine.is_some() && !self.fetch_is_idle(&digest, lane, height);
        if !fits {
            self.counters.dropped += 1;
            let above = from == lane && height > self.committed_height(lane);
            let missed = &mut self.lanes[usize::from(lane)].missed;
            if above && missed.is_none_or(|(highest, _)| height > highest) {
                *missed = Some((height, digest));
            }
            return;
        }
        if lane == self.me && !wanted {
            return;
        }
        self.header_evidence(&digest, &batch, out);
        if !self.lane(lane).stands(header) {
            if self.lane(lane).holds(&parent) {
                // Its owner lies about the height below.
                self.counters.dropped += 1;
                return;
            }
            // Its ancestors first; they and it come in one run, lowest first.
            let floor = self.lane(lane).top().0.min(height - 1);
            let kind = Kind::Batch { lane, height, floor };
            let holders = self.lane(lane).holders(height, &digest).union(&MemberSet::of(from));
            self.fetch.want_hearsay(digest, kind, holders, self.now.tick);
            return;
        }
        self.store_batch(digest, batch, wanted, out);
        self.fetch.satisfied(&digest);
        self.fetch
            .advanced(lane, height, self.now.tick, self.fetch_wait_us() / 4);
    }

    fn fetch_is_idle(&self, digest: &Digest, lane: MemberId, height: Height) -> bool {
        !self.fetch.wants(digest) && !self.fetch.wants_lane(lane, height)
    }

    fn lane(&self, lane: MemberId) -> &crate::lanes::Lane {
        &self.lanes[usize::from(lane)]
    }

    /// Batches that nothing needs yet stay within the lane's window.
    fn admits(&self, batch: &Batch) -> bool {
        let header = &batch.head.header;
        let committed = self.committed_height(header.lane);
        let lane = self.lane(header.lane);
        // In quarantine every member's fork of a faulty lane may be needed.
        let forks = if self.quarantine.is_some() {
            self.quorums.n() as u64
        } else {
            1
        };
        header.height > committed
            && header.height <= self.lane_floor(header.lane) + self.params.lane_window_heights
            && lane.live_bytes + batch.body.len() as u64
                <= forks * (self.params.lane_window_bytes + u64::from(self.params.max_batch_bytes))
    }

    /// The committed cut moved: what came too early for the window is asked for now. Nobody sends it again unasked.
    pub(crate) fn want_missed(&mut self) {
        for lane in self.quorums.members() {
            let window = self.lane_floor(lane) + self.params.lane_window_heights;
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

    fn header_evidence(&mut self, digest: &Digest, batch: &Batch, out: &mut Outbox) {
        let header = &batch.head.header;
        let lane = self.lane(header.lane);
        let other = lane
            .acked_at(header.height)
            .filter(|d| *d != digest)
            .and_then(|d| lane.get(d));
        if let Some(other) = other {
            let evidence = Evidence::Headers(other.head.clone(), batch.head.clone());
            if self.change.accuse_once(Fault::Headers, header.lane) {
                self.record_evidence(evidence, out);
            }
        }
    }

    fn store_batch(&mut self, digest: Digest, batch: Batch, wanted: bool, out: &mut Outbox) {
        let header = &batch.head.header;
        let owner = header.lane;
        self.look_soon();
        let at_once = self.writes_at_once(&batch);
        let to_ack = self.lanes[usize::from(owner)].insert(digest, batch.clone(), wanted);
        self.append(
            vec![Record::Batch(batch)],
            Vec::new(),
            at_once,
            Done::Stored { lane: owner, digest },
            out,
        );
        if to_ack {
            self.witness_stored(owner, &digest, out);
        }
        if self.bugs.ack_before_storage() {
            self.lanes[usize::from(owner)]
                .get_mut(&digest)
                .expect("just inserted")
                .durable = true;
            self.refresh_ack(owner, &digest, true, out);
        }
    }

    /// Whether a batch's record is worth a flush of its own. Nobody waits for the others' before a block names them, and
    /// then the acceptance, which is urgent, takes them along.
    pub(crate) fn writes_at_once(&self, batch: &Batch) -> bool {
        self.eager_acks || batch.body.len() >= WRITTEN_AT_ONCE_BYTES
    }

    pub(crate) fn false_ack_evidence(&mut self, lane: MemberId, digest: &Digest, out: &mut Outbox) {
        let stored = self.lane(lane).get(digest).expect("just judged");
        let accused = self.lane(lane).verified_ack(stored.header().height, digest);
        if let Some((member, ack)) = accused {
            let evidence = Evidence::FalseVerified(member, ack, stored.head.clone(), stored.body.clone());
            if self.change.accuse_once(Fault::FalseVerified, member) {
                self.record_evidence(evidence, out);
            }
        }
    }

    pub(crate) fn on_stored(&mut self, lane: MemberId, digest: Digest, out: &mut Outbox) {
        if let Some(stored) = self.lanes[usize::from(lane)].get_mut(&digest) {
            stored.durable = true;
            self.refresh_ack(lane, &digest, self.eager_acks, out);
        }
    }

    /// Sends the ack that this batch deserves now, if it says more than the last one and somebody may need it: `due`, when
    /// the batch waits for its order or its commit; before, only a named witness's verdict on which others depend.
    pub(crate) fn refresh_ack(&mut self, lane: MemberId, digest: &Digest, due: bool, out: &mut Outbox) {
        let index = usize::from(lane);
        let Some(stored) = self.lanes[index].get(digest) else {
            return;
        };
        let (height, ops) = (stored.header().height, stored.header().ops);
        let (durable, verdict) = (stored.durable, stored.verdict);
        let named = stored.header().witnesses.contains(&self.me);
        let last = stored.acked.as_ref().map(|a| a.ack.clone());
        if self.is_silent()
            || height <= self.committed_height(lane)
            || self.lanes[index].acked_at(height) != Some(digest)
            || last.as_ref().is_some_and(|a| a.stored && a.verified && a.witnessed)
        {
            return;
        }
        let verified = verdict == Verdict::Good;
        let depended_on = ops >= EARLY_OPS || self.witnessing.is_busy();
        let early = verified && named && depended_on && last.is_none();
        // While the verdict is under way the ack waits for it: one signature instead of two.
        let settled = due && durable && !matches!(verdict, Verdict::Asked(_));
        if !early && !settled {
            return;
        }
        let one_honest = self.quorums.one_honest();
        let witnessed = self.lanes[index].settle_witnessed((height, *digest), one_honest, &self.bugs);
        let ack = Ack {
            lane,
            height,
            digest: *digest,
            stored: durable,
            verified,
            witnessed,
        };
        let says_more = last
            .is_none_or(|old| (durable && !old.stored) || (verified && !old.verified) || (witnessed && !old.witnessed));
        if says_more {
            self.send_ack(ack, out);
        }
    }

    fn send_ack(&mut self, ack: Ack, out: &mut Outbox) {
        let signature = self.safety.sign(Signed::Ack, &ack.statement(&self.domain));
        let signed = SignedAck { ack, signature };
        let window = self.acks_window(signed.ack.lane);
        let lane = &mut self.lanes[usize::from(signed.ack.lane)];
        if let Some(stored) = lane.get_mut(&signed.ack.digest) {
            stored.acked = Some(signed.clone());
        }
        lane.note_ack(self.me, signed.clone(), window);
        self.send(To::All, Message::Ack(signed), out);
    }

    /// Heights above a lane's committed one of which acks are kept.
    fn acks_window(&self, lane: MemberId) -> u64 {
        self.lane_floor(lane) - self.committed_height(lane) + self.params.lane_window_heights
    }

    pub(crate) fn on_ack(&mut self, from: MemberId, signed: SignedAck, out: &mut Outbox) {
        let (lane, digest) = (signed.ack.lane, signed.ack.digest);
        let bad = self.lane(lane).get(&digest).is_some_and(|s| s.verdict == Verdict::Bad);
        let verified = signed.ack.verified;
        let window = self.acks_window(lane);
        self.lanes[usize::from(lane)].note_ack(from, signed, window);
        if bad && verified {
            self.false_ack_evidence(lane, &digest, out);
        }
    }

    pub(crate) fn on_certificate(&mut self, ac: &Ac, out: &mut Outbox) {
        self.note_certificate(ac);
        self.try_propose(out);
    }

    /// Keeps a verified certificate; whoever signed it has the data.
    pub(crate) fn note_certificate(&mut self, ac: &Ac) {
        if self.lanes[usize::from(ac.lane)].keep_ac(ac) {
            self.change.certified(ac.lane, self.now.tick);
        }
        if self.lane(ac.lane).get(&ac.digest).is_none() {
            let mut holders = MemberSet::default();
            ac.acks.iter().for_each(|a| {
                holders.insert(a.member);
            });
            // An owner that sends to f+1 only must not stall anybody: the data are fetched, without hurry.
            let due = self.now.tick.plus(self.fetch_wait_us());
            let kind = Kind::Batch {
                lane: ac.lane,
                height: ac.height,
                floor: self.committed_height(ac.lane),
            };
            self.fetch.want(ac.digest, kind, holders, due);
        }
    }

    /// Makes the highest certificate above `floor` that the acks allow, verifies it, and keeps it.
    pub(crate) fn make_certificate(&mut self, lane: MemberId, floor: Height, out: &mut Outbox) -> Option<Ac> {
        let count = self.quorums.one_honest();
        for _ in 0..self.quorums.n() {
            let ac = self.lanes[usize::from(lane)].newest_certifiable(floor, count, &self.bugs)?;
            if self.lane(lane).ac().is_some_and(|known| known.height >= ac.height) {
                return None;
            }
            self.counters.signatures_verified += ac.acks.len() as u64;
            let bad = bad_acks(&ac, &*self.keys, &self.domain, &self.bugs);
            if bad.is_empty() {
                self.note_certificate(&ac);
                return Some(ac);
            }
            for member in bad {
                self.lanes[usize::from(lane)].strike_ack(ac.height, &ac.digest, member);
                out.push(Effect::Disconnect {
                    member,
                    reason: Reject::Signature,
                });
            }
        }
        None
    }

    pub(crate) fn want_batch(&mut self, lane: MemberId, tip: (Height, Digest), floor: Height, from: MemberSet) {
        let holders = self.lane(lane).holders(tip.0, &tip.1).union(&from);
        let kind = Kind::Batch {
            lane,
            height: tip.0,
            floor: floor.min(tip.0.saturating_sub(1)),
        };
        self.fetch.want(tip.1, kind, holders, self.now.tick);
    }
}
