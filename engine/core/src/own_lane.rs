//! This replica's own lane: what its clients sent, cut into batches (R-LANE, R-RESERVE).

use alloc::{collections::VecDeque, vec, vec::Vec};

use bytes::Bytes;
use trireme_crypto::{Digest, Domain, context, hash};

use crate::api::{Outbound, Outbox, To};
use crate::lanes::{Lane, Verdict};
use crate::message::{Batch, BatchHeader, Message, SignedHeader};
use crate::record::{Record, VoteRecord};
use crate::replica::{Done, Replica};
use crate::request::body;
use crate::types::{Height, MemberId, Params, Signed, Tick};

/// Bundles held back at the most, in batches' worth of bytes.
const QUEUE_BATCHES: usize = 4;
/// Round trips that differ by less count as equal when witnesses are chosen, so that the duty rotates.
const EQUAL_RTT_US: u64 = 1_000;

/// Intake and heights of the own lane.
#[derive(Clone, Debug, Default)]
pub struct OwnLane {
    queue: VecDeque<(Bytes, u32)>,
    queued_bytes: usize,
    /// Height and digest of the newest own batch.
    last: (Height, Digest),
    /// Heights up to here may leave before they are durable.
    reserved: Height,
    reserving: bool,
    /// The newest reservation that was handed to the log, durable or not.
    written: Height,
    /// After a restart: headers up to here may have left and be forgotten.
    skip_to: Height,
    cut_at: Tick,
    /// When the uncommitted batches were cut, oldest first.
    cuts: VecDeque<(Height, Tick)>,
}

impl Params {
    /// Bytes of client bundles that may wait for a batch.
    pub fn intake_bytes(&self) -> usize {
        self.max_batch_bytes as usize * QUEUE_BATCHES
    }
}

impl OwnLane {
    pub fn push(&mut self, bytes: Bytes, ops: u32) {
        self.queued_bytes += bytes.len() + 4;
        self.queue.push_back((bytes, ops));
    }

    pub fn reserved(&mut self, height: Height) {
        self.reserved = self.reserved.max(height);
        self.reserving = false;
    }

    /// Bytes of bundles that wait for a batch.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Bytes that still fit: none while the lane's window is full, so that the caller stops reading from clients.
    pub fn room(&self, params: &Params, lane: &Lane) -> usize {
        if lane.live_bytes + self.queued_bytes as u64 >= params.lane_window_bytes {
            return 0;
        }
        params.intake_bytes().saturating_sub(self.queued_bytes)
    }

    /// Whether a batch is to be cut: at once while none is under way, else at the pace, or when one is full; never above
    /// the lane's window.
    pub fn is_due(&self, now: Tick, pace_us: u64, params: &Params, floor: Height) -> bool {
        let full = self.queued_bytes >= params.max_batch_bytes as usize;
        let paced = now.since(self.cut_at) < pace_us;
        let room = self.next_height() <= floor + params.lane_window_heights;
        !self.queue.is_empty() && room && (full || !paced || self.cuts.is_empty())
    }

    /// Cuts the next batch: its header, and its body.
    pub fn cut(
        &mut self,
        (me, domain): (MemberId, &Domain),
        now: Tick,
        params: &Params,
        witnesses: Vec<MemberId>,
    ) -> (Digest, BatchHeader, Bytes) {
        let (bundles, ops) = self.take(params.max_batch_bytes as usize);
        let body = body::assemble(&bundles);
        let height = self.next_height();
        let header = BatchHeader {
            lane: me,
            height,
            parent: self.last.1,
            parent_height: self.last.0,
            body_root: hash(context::BATCH_BODY, &body),
            ops,
            bytes: u32::try_from(body.len()).expect("a batch is bounded"),
            witnesses,
        };
        let digest = header.digest(domain);
        self.last = (height, digest);
        self.cut_at = now;
        self.cuts.push_back((height, now));
        (digest, header, body)
    }

    /// R-RESERVE: where the reservation is to end next, if it is time to write one: well before it ends, and not near the
    /// window's end, where heights must not skip.
    pub fn extend(&mut self, params: &Params, floor: Height) -> Option<Height> {
        let run = (params.lane_window_heights / 8).max(1);
        let next = self.next_height();
        let end = self.reserved.max(next - 1) + run;
        let limit = floor + params.lane_window_heights;
        if self.reserving || next + run / 2 <= self.reserved || end + 2 * run > limit {
            return None;
        }
        self.reserving = true;
        self.written = end;
        Some(end)
    }

    /// Recovery: an own batch was found in the log.
    pub fn replay_batch(&mut self, height: Height, digest: Digest) {
        if height > self.last.0 {
            self.last = (height, digest);
        }
    }

    /// Recovery: a reservation was found in the log.
    pub fn replay_reserve(&mut self, height: Height) {
        self.reserved = self.reserved.max(height);
        self.skip_to = self.skip_to.max(self.reserved);
    }

    /// The way out of quarantine: the lane goes on above `base`, on the batch that the way out's block orders.
    pub fn readmitted(&mut self, parent: (Height, Digest), base: Height) {
        self.last = parent;
        self.skip_to = self.skip_to.max(base);
        self.cuts.clear();
    }

    /// Heights up to here may have been signed, as far as this replica knows.
    pub fn known(&self) -> Height {
        self.last.0.max(self.skip_to).max(self.reserved)
    }

    /// R-RESERVE: whether an own header of this height may leave before it is durable.
    pub fn may_leave(&self, height: Height) -> bool {
        height <= self.reserved
    }

    /// Heights up to here are reserved, or were used: batches with them may be released with the rest.
    pub fn reservation(&self) -> Height {
        self.written.max(self.reserved).max(self.last.0)
    }

    /// Height of the next batch.
    pub fn next_height(&self) -> Height {
        self.last.0.max(self.skip_to) + 1
    }

    /// The bundles of the next batch: whole ones, up to the limit, at least one.
    fn take(&mut self, limit: usize) -> (Vec<Bytes>, u32) {
        let (mut bundles, mut ops, mut bytes) = (Vec::new(), 0u32, 0usize);
        while let Some((bundle, count)) = self.queue.front() {
            if !bundles.is_empty() && bytes + bundle.len() + 4 > limit {
                break;
            }
            bytes += bundle.len() + 4;
            ops = ops.saturating_add(*count);
            bundles.push(bundle.clone());
            self.queue.pop_front();
        }
        self.queued_bytes -= bytes;
        (bundles, ops)
    }

    /// The committed cut moved: how long the newest batch that it passed took.
    pub fn commit(&mut self, height: Height, now: Tick) -> Option<u64> {
        let mut took = None;
        while self.cuts.front().is_some_and(|(h, _)| *h <= height) {
            took = self.cuts.pop_front().map(|(_, at)| now.since(at));
        }
        took
    }

    /// When the next batch may be cut, if something waits for that.
    pub fn due(&self, pace_us: u64) -> Option<Tick> {
        (!self.queue.is_empty()).then(|| self.cut_at.plus(pace_us))
    }
}

/// `count` members whose acks come soonest, in turn among equals (R-WITNESS). `peers` says of each member whether its
/// channel is open, and the round trip to it in microseconds.
pub fn choose_witnesses(peers: &[(bool, u64)], me: MemberId, height: Height, count: usize) -> Vec<MemberId> {
    let n = peers.len() as u64;
    let mut members: Vec<MemberId> = (0..me).chain(me + 1..).take(peers.len() - 1).collect();
    members.sort_by_key(|m| {
        let (connected, rtt_us) = peers[usize::from(*m)];
        (!connected, rtt_us / EQUAL_RTT_US, (u64::from(*m) + height) % n)
    });
    members.truncate(count);
    members.sort_unstable();
    members
}

impl Replica {
    /// Cuts batches from what clients sent.
    pub(crate) fn cut_own_batch(&mut self, out: &mut Outbox) {
        while !self.is_silent() && self.own_batch_is_due() {
            self.reserve(out);
            self.cut_one(out);
        }
    }

    fn own_batch_is_due(&self) -> bool {
        let floor = self.lane_floor(self.me);
        self.own
            .is_due(self.now.tick, self.timing.pace_us(), &self.params, floor)
    }

    fn cut_one(&mut self, out: &mut Outbox) {
        let peers: Vec<(bool, u64)> = self.peers.iter().map(|p| (p.connected, p.rtt_us)).collect();
        let witnesses = choose_witnesses(&peers, self.me, self.own.next_height(), self.quorums.f());
        let id = (self.me, &self.domain);
        let (digest, header, body) = self.own.cut(id, self.now.tick, &self.params, witnesses);
        let signature = self.safety.sign(Signed::Header, &digest);
        let head = SignedHeader { header, signature };
        self.look_soon();
        self.send_own(digest, Batch { head, body }, out);
    }

    /// R-RESERVE: within the durable reservation a header need not be durable before it leaves.
    fn send_own(&mut self, digest: Digest, batch: Batch, out: &mut Outbox) {
        let height = batch.head.header.height;
        let message = Message::Batch(batch.clone());
        let mut release = Vec::new();
        if self.own.may_leave(height) {
            self.send(To::All, message, out);
        } else {
            release.push(Outbound { to: To::All, message });
        }
        let lane = &mut self.lanes[usize::from(self.me)];
        lane.insert(digest, batch.clone(), false);
        lane.get_mut(&digest).expect("just inserted").verdict = Verdict::Good;
        let urgent = !release.is_empty() || self.writes_at_once(&batch);
        self.append(
            vec![Record::Batch(batch)],
            release,
            urgent,
            Done::Stored { lane: self.me, digest },
            out,
        );
    }

    /// Extends the reservation when it is time.
    pub(crate) fn reserve(&mut self, out: &mut Outbox) {
        if let Some(end) = self.own.extend(&self.params, self.lane_floor(self.me)) {
            let record = Record::Vote(VoteRecord::Reserve(end));
            self.append(vec![record], Vec::new(), true, Done::Reserved(end), out);
        }
    }

    pub(crate) fn committed_height(&self, lane: MemberId) -> Height {
        self.chain.committed_height(lane)
    }
}
