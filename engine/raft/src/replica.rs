//! The replica: its state, and what one step does with an input.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use raft::eraftpb::Message as RaftMessage;
use raft::{Config, RawNode, StateRole};
use slog::{Discard, Logger, o};
use trireme_core::api::{AppendId, Effect, JobId, Outbound, To};
use trireme_core::checkpoint::Checkpoints;
use trireme_core::fetch::Fetcher;
use trireme_core::lanes::Lane;
use trireme_core::message::{Message, SignedBlock};
use trireme_core::own_lane::OwnLane;
use trireme_core::quorum::{MemberSet, Quorums};
use trireme_core::record::Record;
use trireme_core::state_votes::StateVotes;
use trireme_core::timing::Mean;
use trireme_core::types::{Height, Keys};
use trireme_core::{Counters, Input, MemberId, Now, Outbox, Params, Slot, Tick, View};
use trireme_crypto::{Digest, Domain};

use crate::log::RaftLog;
use crate::words::id;

/// Ticks without a leader until an election, at least; at most twice as many.
const ELECTION_TICKS: usize = 10;
/// Ticks between two heartbeats.
const HEARTBEAT_TICKS: usize = 2;
/// Appends to one member that are not answered.
const MAX_IN_FLIGHT: usize = 256;
/// Bytes of entries in one message.
const MAX_MESSAGE_BYTES: u64 = 256 << 10;
/// The pace of batches and entries never exceeds this: beyond it the wait would be felt.
const MAX_PACE_US: u64 = 3_000;

/// What an append makes true once it is durable.
#[derive(Clone, Debug)]
pub(crate) enum Done {
    Stored {
        lane: MemberId,
        digest: Digest,
    },
    /// Of the `raft` crate's outputs, that of this number and all before.
    Persisted(u64),
    Reserved(Height),
    Nothing,
}

/// What is known of a member's channel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) connected: bool,
    pub(crate) rtt_us: u64,
}

/// The newest committed slot.
#[derive(Clone, Debug)]
pub(crate) struct Tip {
    pub(crate) slot: Slot,
    pub(crate) term: u64,
    pub(crate) digest: Digest,
    pub(crate) cut: Vec<(Height, Digest)>,
    pub(crate) timestamp: u64,
}

/// A committed slot that waits for execution.
#[derive(Clone, Debug)]
pub(crate) struct Ordered {
    pub(crate) block: SignedBlock,
    pub(crate) digest: Digest,
    /// The cut below.
    pub(crate) base: Vec<(Height, Digest)>,
}

/// See [`crate`].
pub struct RaftReplica {
    pub(crate) params: Params,
    pub(crate) quorums: Quorums,
    pub(crate) keys: Arc<dyn Keys>,
    pub(crate) domain: Domain,
    pub(crate) me: MemberId,
    /// Client signatures are checked, by the owner of a lane and by as many others as may crash.
    pub(crate) witnesses: usize,
    pub(crate) now: Now,
    /// Before the start; then it is in `node`.
    log: Option<RaftLog>,
    node: Option<RawNode<RaftLog>>,
    pub(crate) tick_at: Tick,
    /// Reign and leader that were known last.
    pub(crate) reign: (View, MemberId),
    pub(crate) role: StateRole,
    /// Appends whose data are not all here, in the order in which they came.
    pub(crate) held: VecDeque<RaftMessage>,
    /// Batches without which the first of them is not looked at again.
    pub(crate) awaited: Vec<(MemberId, (Height, Digest))>,
    /// The image that a leader offered: who, and which slot.
    pub(crate) offered: Option<(u64, Slot)>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) own: OwnLane,
    /// The leader's: tips in its log, committed or not.
    pub(crate) proposed: Vec<(Height, Digest)>,
    pub(crate) proposed_at: Tick,
    pub(crate) commit_us: Mean,
    pub(crate) fetch: Fetcher,
    pub(crate) jobs: VecDeque<(JobId, MemberId, Digest)>,
    pub(crate) next_job: JobId,
    pub(crate) peers: Vec<Peer>,
    pub(crate) tip: Tip,
    pub(crate) ordered: VecDeque<Ordered>,
    pub(crate) in_execution: VecDeque<(Slot, Vec<(MemberId, Digest)>)>,
    pub(crate) executed: Slot,
    pub(crate) states: StateVotes,
    pub(crate) checkpoints: Checkpoints,
    /// Blocks of executed checkpoints that are not stable yet.
    pub(crate) anchors: BTreeMap<Slot, SignedBlock>,
    /// The newest stable one, for who lags.
    pub(crate) vouched: BTreeMap<Slot, SignedBlock>,
    pub(crate) appends: VecDeque<(AppendId, Done)>,
    pub(crate) next_append: AppendId,
    /// Outputs of the `raft` crate on their way to the disk.
    pub(crate) persisting: usize,
    pub(crate) halted: bool,
    pub(crate) replayed_any: bool,
    /// The log began above what is here.
    pub(crate) gap: bool,
    pub(crate) counters: Counters,
}

impl RaftReplica {
    /// A replica with an empty log. `signed`: client signatures are checked.
    pub fn new(params: Params, keys: Arc<dyn Keys>, genesis: Digest, signed: bool) -> Self {
        let quorums = Quorums::new(params.n, params.f).expect("the configuration was checked");
        let n = quorums.n();
        Self {
            quorums,
            domain: keys.domain(),
            me: keys.me(),
            witnesses: if signed {
                usize::from(crate::crash_faults(params.n))
            } else {
                0
            },
            now: Now::default(),
            log: Some(RaftLog::new(params.n)),
            node: None,
            tick_at: Tick::default(),
            reign: (0, 0),
            role: StateRole::Follower,
            held: VecDeque::new(),
            awaited: Vec::new(),
            offered: None,
            lanes: quorums.members().map(|m| Lane::new(m, n)).collect(),
            own: OwnLane::default(),
            proposed: vec![(0, Digest::ZERO); n],
            proposed_at: Tick::default(),
            commit_us: Mean::default(),
            fetch: Fetcher::default(),
            jobs: VecDeque::new(),
            next_job: 1,
            peers: vec![Peer::default(); n],
            tip: Tip {
                slot: 0,
                term: 0,
                digest: genesis,
                cut: vec![(0, Digest::ZERO); n],
                timestamp: 0,
            },
            ordered: VecDeque::new(),
            in_execution: VecDeque::new(),
            executed: 0,
            states: StateVotes::new(n),
            checkpoints: Checkpoints::default(),
            anchors: BTreeMap::new(),
            vouched: BTreeMap::new(),
            appends: VecDeque::new(),
            next_append: 1,
            persisting: 0,
            halted: false,
            replayed_any: false,
            gap: false,
            counters: Counters::default(),
            keys,
            params,
        }
    }

    /// Starts after recovery; the first step follows. Not after [`RaftReplica::forgot`].
    pub fn start(&mut self, now: Now, out: &mut Outbox) {
        let mut log = self.log.take().expect("starts once");
        assert!(!self.gap, "a replica that forgot does not start");
        self.now = now;
        log.hard.commit = log.hard.commit.clamp(log.base().0, log.last()).max(self.tip.slot);
        let config = Config {
            id: id(self.me),
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: self.tip.slot,
            max_size_per_msg: MAX_MESSAGE_BYTES,
            max_inflight_msgs: MAX_IN_FLIGHT,
            check_quorum: true,
            pre_vote: true,
            batch_append: true,
            ..Config::default()
        };
        let node = RawNode::new(&config, log, &Logger::root(Discard, o!()));
        self.node = Some(node.expect("the settings and the log fit each other"));
        self.reign.0 = self.node().raft.term;
        self.spread_elections();
        self.tick_at = now.tick.plus(self.tick_us());
        self.reserve(out);
        if self.quorums.n() == 1 {
            self.stand_for_election();
        }
        self.after(out);
    }

    /// Takes one input. Never fails, never blocks.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Outbox) {
        self.now = now;
        match input {
            Input::Message(checked) => {
                let (from, message, digests) = checked.into_parts();
                self.on_message(from, message, &digests, out);
            }
            Input::Connected(member) => self.on_connected(member, out),
            Input::Disconnected(member) => self.on_disconnected(member),
            Input::Rtt { member, us } => self.peers[usize::from(member)].rtt_us = us,
            Input::Appended(id) => self.on_appended(id),
            Input::Verified { job, good } => self.on_verified(job, good, out),
            Input::Executed { slot, state } => self.on_executed(slot, state, out),
            Input::Snapshotted { slot } => {
                if slot > self.checkpoints.kept() {
                    self.checkpoints.snapshotted(slot);
                    self.settle_checkpoint(out);
                }
            }
            Input::Installed { certificate, anchor } => self.on_installed(*certificate, *anchor, out),
            Input::Bundle { bytes, ops } => self.own.push(bytes, ops),
            Input::Idle => {
                self.cut_own_batch(out);
                self.try_propose();
            }
            Input::Timeout => self.on_timer(out),
        }
        self.after(out);
    }

    fn on_message(&mut self, from: MemberId, message: Message, digests: &[Digest], out: &mut Outbox) {
        if from == self.me {
            return;
        }
        match message {
            Message::Ordering(bytes) => self.on_word(from, &bytes, out),
            Message::Batch(batch) => self.on_batch(from, digests[0], batch, out),
            Message::Lanes(marks) => self.on_lanes(from, &marks, out),
            Message::FetchBatches {
                lane,
                height,
                digest,
                floor,
            } => self.serve_batches(from, lane, (height, digest), floor, out),
            Message::NotHeld { digest } => {
                let connected = self.connected();
                self.fetch.not_held(from, &digest, self.now.tick, &connected);
            }
            Message::StateVote(vote) => self.on_state_vote(from, vote, out),
            Message::StateCertificate(certificate) => self.on_state_certificate(*certificate, out),
            // The gate lets nothing else of the core's pass; parts of images are the host's own affair.
            _ => self.counters.dropped += 1,
        }
    }

    /// What any input may have made possible.
    fn after(&mut self, out: &mut Outbox) {
        self.settle_held(out);
        self.pump(out);
        self.try_execute(out);
    }

    fn on_timer(&mut self, out: &mut Outbox) {
        if self.tick_at <= self.now.tick {
            self.tick_at = self.now.tick.plus(self.tick_us());
            self.tick();
        }
        self.cut_own_batch(out);
        self.try_propose();
        self.tend_fetches(out);
        self.tend_state(out);
    }

    /// When [`Input::Timeout`] is due.
    pub fn next_timeout(&self) -> Option<Tick> {
        let now = self.now.tick;
        let own = self.own.due(self.pace_us()).filter(|due| *due > now);
        let waits = self.role == StateRole::Leader && self.in_flight() > 0 && self.has_new_tips();
        let leading = waits.then(|| self.proposed_at.plus(self.pace_us()).max(now.plus(1)));
        let others = [
            Some(self.tick_at),
            self.fetch.next_due(),
            self.states.idle_due(),
            own,
            leading,
        ];
        others.into_iter().flatten().min()
    }

    /// Raft's clock: a tick is half of the configured floor of the timer, or of the longest round trip.
    fn tick_us(&self) -> u64 {
        let slowest = self.peers.iter().map(|peer| peer.rtt_us).max().unwrap_or(0);
        self.params.timer_floor_us.max(slowest) / 2
    }

    /// How long the followers wait for a leader, in microseconds.
    pub(crate) fn election_us(&self) -> u64 {
        self.tick_us() * ELECTION_TICKS as u64
    }

    /// The least time between two batches of the own lane, or two entries, while an earlier one is under way: an eighth of
    /// what a commit takes, as under the default ordering.
    pub(crate) fn pace_us(&self) -> u64 {
        (self.commit_us.us() / 8).min(MAX_PACE_US)
    }

    pub(crate) fn fetch_wait_us(&self) -> u64 {
        let slowest = self.peers.iter().map(|peer| peer.rtt_us).max().unwrap_or(0);
        (4 * slowest).max(self.params.timer_floor_us)
    }

    /// How long a member waits for a leader follows from its name and the reign, not from the `raft` crate's own chance: the
    /// same inputs give the same effects. Members of small clusters wait differently long, so that they do not stand at
    /// once.
    pub(crate) fn spread_elections(&mut self) {
        let (term, me) = (self.node().raft.term, u64::from(self.me));
        let mixed = (term + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let ticks = ELECTION_TICKS + usize::try_from((mixed + 3 * me) % ELECTION_TICKS as u64).expect("few ticks");
        self.node_mut().raft.set_randomized_election_timeout(ticks);
    }

    /// Hands records to the log; `done` takes effect when they are durable.
    pub(crate) fn append(
        &mut self,
        records: Vec<Record>,
        release: Vec<Outbound>,
        urgent: bool,
        done: Done,
        out: &mut Outbox,
    ) {
        let id = self.next_append;
        self.next_append += 1;
        self.appends.push_back((id, done));
        out.push(Effect::Append {
            id,
            records,
            release,
            urgent,
        });
    }

    fn on_appended(&mut self, id: AppendId) {
        while self.appends.front().is_some_and(|(first, _)| *first <= id) {
            let (_, done) = self.appends.pop_front().expect("looked at");
            match done {
                Done::Stored { lane, digest } => {
                    if let Some(stored) = self.lanes[usize::from(lane)].get_mut(&digest) {
                        stored.durable = true;
                    }
                }
                Done::Persisted(number) => {
                    self.persisting -= 1;
                    self.node_mut().on_persist_ready(number);
                }
                Done::Reserved(height) => self.own.reserved(height),
                Done::Nothing => {}
            }
        }
    }

    pub(crate) fn send(&self, to: To, message: Message, out: &mut Outbox) {
        out.push(Effect::Send(Outbound { to, message }));
    }

    pub(crate) fn connected(&self) -> MemberSet {
        let mut set = MemberSet::default();
        for (member, peer) in (0..).zip(&self.peers) {
            if peer.connected && member != self.me {
                set.insert(member);
            }
        }
        set
    }

    pub(crate) fn node(&self) -> &RawNode<RaftLog> {
        self.node.as_ref().expect("started")
    }

    pub(crate) fn node_mut(&mut self) -> &mut RawNode<RaftLog> {
        self.node.as_mut().expect("started")
    }

    pub(crate) fn started(&self) -> bool {
        self.node.is_some()
    }

    pub(crate) fn log(&self) -> &RaftLog {
        let running = || self.node().store();
        self.log.as_ref().unwrap_or_else(running)
    }

    pub(crate) fn log_mut(&mut self) -> &mut RaftLog {
        match (&mut self.log, &mut self.node) {
            (Some(log), _) => log,
            (None, Some(node)) => node.mut_store(),
            (None, None) => unreachable!("the log is here or there"),
        }
    }

    /// This member.
    pub fn me(&self) -> MemberId {
        self.me
    }

    /// The reign of the leader that was known last.
    pub fn view(&self) -> View {
        self.reign.0
    }

    /// The leader that was known last.
    pub fn leader(&self) -> MemberId {
        self.reign.1
    }

    /// The newest committed slot.
    pub fn committed(&self) -> Slot {
        self.tip.slot
    }

    /// Digest of the newest committed slot's block, which names all before it.
    pub fn committed_digest(&self) -> Digest {
        self.tip.digest
    }

    /// The newest executed slot.
    pub fn executed(&self) -> Slot {
        self.executed
    }

    /// Bytes of client bundles that may be given now.
    pub fn intake_bytes(&self) -> usize {
        if self.halted {
            0
        } else {
            self.own.room(&self.params, &self.lanes[usize::from(self.me)])
        }
    }
}
