//! The replica: its state, and what one step does with an input.

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec, vec::Vec};

use trireme_crypto::{Digest, Domain};

use crate::api::{Alarm, AppendId, Effect, Evidence, Input, Outbound, Outbox, To};
use crate::bugs::Bugs;
use crate::chain::Chain;
use crate::check::{CheckContext, Checked};
use crate::checkpoint::Checkpoints;
use crate::execution::ExecutionQueue;
use crate::fetch::Fetcher;
use crate::generation::Heard;
use crate::lanes::Lane;
use crate::message::{Message, Readmission, SignedVote};
use crate::ordering::Leading;
use crate::own_lane::OwnLane;
use crate::quarantine::{Cause, Grants, Quarantine};
use crate::quorum::{MemberSet, Quorums};
use crate::record::Record;
use crate::safety::Safety;
use crate::state_votes::StateVotes;
use crate::timing::{TimerRtts, Timing};
use crate::types::{Height, Keys, MemberId, Now, Params, Slot, Tick, View};
use crate::view_state::ViewChange;
use crate::votes::Books;
use crate::witness::Witnessing;

/// What an append makes true once it is durable.
#[derive(Clone, Debug)]
pub(crate) enum Done {
    Stored { lane: MemberId, digest: Digest },
    Accepted(SignedVote),
    TimedOut(View),
    Entered(View),
    Reserved(Height),
    Readmitted,
    Nothing,
}

/// What is known of another member's channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) connected: bool,
    pub(crate) rtt_us: u64,
    /// The view of ours for which it was sent what R-ENTER lists.
    pub(crate) caught_up: Option<View>,
    /// The slot up to which it was told what is committed here (R-TELL).
    pub(crate) told_commits: Slot,
    /// The stable checkpoint that it was told because it asked for what was released.
    pub(crate) told_stable: Slot,
    /// What it says it committed.
    pub(crate) claimed: Option<(Slot, Digest)>,
    /// The newest of its statements, to show it when it connects.
    pub(crate) heard: Heard,
    /// What it may ask for.
    pub(crate) grants: Grants,
}

/// Numbers for status and metrics.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Slots committed by the fast path here.
    pub fast_commits: u64,
    /// Slots committed by locks here.
    pub slow_commits: u64,
    /// Of the slow ones: votes of connected members came too late.
    pub slow_late_votes: u64,
    /// Of the slow ones: a member whose vote was missing was not connected.
    pub slow_member_away: u64,
    /// Of the slow ones: their view had ended.
    pub slow_view_change: u64,
    /// Of the slow ones: found committed in the log at the start.
    pub slow_replayed: u64,
    /// By member: slots that the fast path missed without its vote. Empty before the first one.
    pub late_votes: Vec<u64>,
    /// Views entered after the first.
    pub views_entered: u64,
    /// Own suspicions of a view: work was not committed within its timer.
    pub suspected_uncommitted: u64,
    /// A certified tip was not ordered within the turnaround bound.
    pub suspected_turnaround: u64,
    /// The leader's channel was dead, or it said that it cannot lead, and work waited.
    pub suspected_leader_gone: u64,
    /// Batches in executed slots.
    pub batches_ordered: u64,
    /// Requests in executed slots, as their headers say.
    pub ops_ordered: u64,
    /// Body bytes in executed slots.
    pub batch_bytes_ordered: u64,
    /// Signatures made: headers, acks, blocks, votes, Timeouts, StateVotes.
    pub signatures_made: u64,
    /// Member signatures checked for certificates made here.
    pub signatures_verified: u64,
    /// Bodies of other lanes whose client signatures were checked here.
    pub bodies_checked: u64,
    /// Proofs of misbehaviour.
    pub evidence: u64,
    /// Alarms raised.
    pub alarms: u64,
    /// Messages dropped because they were outside a bound.
    pub dropped: u64,
}

/// A replica of one epoch. See [`crate`]. A copy goes its own way from there: searches branch so.
#[derive(Clone)]
pub struct Replica {
    pub(crate) params: Params,
    pub(crate) quorums: Quorums,
    pub(crate) keys: Arc<dyn Keys>,
    pub(crate) domain: Domain,
    pub(crate) me: MemberId,
    pub(crate) bugs: Bugs,
    pub(crate) context: CheckContext,
    pub(crate) now: Now,
    pub(crate) safety: Safety,
    pub(crate) chain: Chain,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) own: OwnLane,
    pub(crate) books: Books,
    pub(crate) leading: Leading,
    pub(crate) change: ViewChange,
    pub(crate) timing: Timing,
    pub(crate) fetch: Fetcher,
    pub(crate) peers: Vec<Peer>,
    pub(crate) execution: ExecutionQueue,
    pub(crate) state: StateVotes,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) appends: VecDeque<(AppendId, Done)>,
    pub(crate) next_append: AppendId,
    /// The newest append was given to the log without hurry.
    pub(crate) lingering: bool,
    /// Batches are acked as soon as they are stored ([`Replica::set_eager_acks`]).
    pub(crate) eager_acks: bool,
    pub(crate) witnessing: Witnessing,
    /// The newest votes whose records are durable: with `voted`, and with `locked`.
    pub(crate) standing_votes: [Option<SignedVote>; 2],
    pub(crate) entered_durable: View,
    /// A view in which this replica was before it restarted: it proposes nothing in it.
    pub(crate) restart_view: Option<View>,
    /// Something is durable: a restart will know that it is one.
    pub(crate) log_begun: bool,
    /// An alarm was raised: it signs nothing any more.
    pub(crate) halted: bool,
    /// It may have forgotten what it signed: it signs nothing any more until its way out.
    pub(crate) quarantine: Option<Quarantine>,
    pub(crate) starts_quarantined: Option<Cause>,
    /// With what it left its last quarantine.
    pub(crate) readmission: Option<Box<Readmission>>,
    /// Per lane: the height from which its window is measured although less is committed (R-QUARANTINE).
    pub(crate) bases: Vec<Height>,
    /// After a restart: who has shown this replica's own statements. It signs nothing before enough have.
    pub(crate) unproven: Option<MemberSet>,
    pub(crate) replaying: bool,
    pub(crate) tend_at: Option<Tick>,
    /// Doublings of the time to the next look, while nothing can be done about what waits.
    pub(crate) tend_doublings: u32,
    pub(crate) counters: Counters,
}

impl Replica {
    /// A replica with an empty log.
    pub fn new(params: Params, keys: Arc<dyn Keys>, genesis: Digest) -> Self {
        Self::with_bugs(params, keys, genesis, Bugs::default())
    }

    /// The same with clauses broken on purpose; [`Bugs`] has no switch in a release build.
    pub fn with_bugs(params: Params, keys: Arc<dyn Keys>, genesis: Digest, bugs: Bugs) -> Self {
        let quorums = Quorums::new(params.n, params.f).expect("the configuration was checked");
        let n = quorums.n();
        let ring = usize::try_from(params.window + params.w0)
            .expect("a window fits in memory")
            .max(8);
        let mut context = CheckContext::new(params.clone(), genesis, Arc::clone(&keys));
        context.bugs = bugs.clone();
        Self {
            quorums,
            domain: bugs.domain(keys.domain()),
            me: keys.me(),
            context,
            now: Now::default(),
            safety: Safety::new(Arc::clone(&keys), params.clone(), genesis, bugs.clone()),
            chain: Chain::new(genesis, n),
            lanes: quorums.members().map(|m| Lane::new(m, n)).collect(),
            own: OwnLane::default(),
            books: Books::new(n, ring),
            leading: Leading::new(n),
            change: ViewChange::new(n),
            timing: Timing::new(&params, bugs.clone()),
            fetch: Fetcher::default(),
            peers: vec![Peer::default(); n],
            execution: ExecutionQueue::default(),
            state: StateVotes::new(n),
            checkpoints: Checkpoints::default(),
            appends: VecDeque::new(),
            next_append: 1,
            lingering: false,
            eager_acks: false,
            witnessing: Witnessing::default(),
            standing_votes: [None, None],
            entered_durable: 0,
            restart_view: None,
            log_begun: false,
            halted: false,
            quarantine: None,
            starts_quarantined: None,
            readmission: None,
            bases: vec![0; n],
            unproven: None,
            replaying: true,
            tend_at: None,
            tend_doublings: 0,
            counters: Counters::default(),
            keys,
            bugs,
            params,
        }
    }

    /// Whether each batch is written at once and acked as soon as it is stored, instead of when it waits for its order
    /// (R-LANE leaves the time open). Certificates then stand early; the price is a flush and n signatures a batch.
    pub fn set_eager_acks(&mut self, eager: bool) {
        self.eager_acks = eager;
    }

    /// The gate for messages to this replica.
    pub fn check_context(&self) -> CheckContext {
        self.context.clone()
    }

    /// Starts after recovery; the first step follows.
    pub fn start(&mut self, now: Now, out: &mut Outbox) {
        assert!(self.replaying, "starts once");
        self.now = now;
        self.replaying = false;
        self.entered_durable = self.safety.view();
        self.timing.begin(now.tick);
        self.finish_recovery(out);
        self.after(out);
    }

    /// Takes one input. Never fails, never blocks; bad input was refused before ([`crate::check::check`]).
    pub fn step(&mut self, now: Now, input: Input, out: &mut Outbox) {
        assert!(!self.replaying, "starts before it steps");
        self.now = now;
        match input {
            Input::Message(checked) => self.on_message(checked, out),
            Input::Connected(member) => self.on_connected(member, out),
            Input::Disconnected(member) => {
                self.peers[usize::from(member)].connected = false;
                self.peers[usize::from(member)].caught_up = None;
                self.peers[usize::from(member)].told_commits = 0;
                self.peers[usize::from(member)].told_stable = 0;
            }
            Input::Rtt { member, us } => self.peers[usize::from(member)].rtt_us = us,
            Input::Appended(id) => self.on_appended(id, out),
            Input::Verified { job, good } => self.on_verified(job, good, out),
            Input::Executed { slot, state } => self.on_executed(slot, state, out),
            Input::Snapshotted { slot } => self.on_snapshotted(slot, out),
            Input::Installed { certificate, anchor } => self.on_installed(*certificate, *anchor, out),
            Input::Bundle { bytes, ops } => self.own.push(bytes, ops),
            Input::Idle => {
                self.cut_own_batch(out);
                self.try_propose(out);
            }
            Input::Timeout => self.on_timer(out),
        }
        self.after(out);
    }

    /// What any input may have made possible.
    fn after(&mut self, out: &mut Outbox) {
        self.try_accept(out);
        self.try_execute(out);
        self.suspect_dead_leader(out);
        self.tend_quarantine(out);
        self.schedule();
    }

    fn on_message(&mut self, checked: Checked, out: &mut Outbox) {
        let announced = checked.view();
        let (from, message, digests) = checked.into_parts();
        if from == self.me {
            return;
        }
        self.catch_up_view(from, announced, out);
        match message {
            Message::Batch(batch) => self.on_batch(from, digests[0], batch, out),
            Message::Ack(signed) => self.on_ack(from, signed, out),
            Message::Certificate(ac) => self.on_certificate(&ac, out),
            Message::Block(signed) => self.on_block(from, digests[0], *signed, out),
            Message::Vote(signed) => self.on_vote(from, signed, out),
            Message::Committed { slot, digest } => self.on_committed(from, slot, digest, out),
            Message::Suspect { view, standing } => self.on_suspect(from, view, standing, out),
            Message::Timeout(signed) => self.on_timeout(*signed, out),
            Message::Entry(tc) => self.enter(*tc, out),
            Message::HighQc(qc) => self.adopt_qc(&qc, out),
            Message::StateVote(signed) => self.on_state_vote(from, signed, out),
            Message::StateCertificate(certificate) => self.on_state_certificate(*certificate, out),
            Message::Lanes(marks) => self.on_lanes(from, &marks, out),
            Message::FetchBlocks { slot, digest, floor } => self.serve_blocks(from, slot, digest, floor, out),
            Message::Blocks { digest, blocks } => self.on_blocks(from, digest, blocks, &digests, out),
            Message::FetchBatches {
                lane,
                height,
                digest,
                floor,
            } => {
                self.serve_batches(from, lane, (height, digest), floor, out);
            }
            Message::NotHeld { digest } => self.on_not_held(from, &digest, out),
            // The host's own affair, should one come here.
            Message::FetchState { .. } | Message::StatePart { .. } => {}
            // Another ordering's words: the gate refused them.
            Message::Ordering(_) => {}
            Message::Shown(shown) => self.on_shown(from, &shown, out),
            Message::Inquire => self.on_inquire(from, out),
            Message::Recollection(recollection) => self.on_recollection(from, *recollection, out),
            Message::LeaveView(view) => self.on_leave_view(from, view, out),
            Message::Readmitted(readmission) => self.on_readmitted(from, &readmission, out),
        }
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
        assert!(!self.replaying, "recovery writes nothing");
        let id = self.next_append;
        self.next_append += 1;
        self.lingering = !urgent;
        self.appends.push_back((id, done));
        if self.bugs.send_before_write() {
            out.extend(release.into_iter().map(Effect::Send));
            out.push(Effect::Append {
                id,
                records,
                release: Vec::new(),
                urgent,
            });
            return;
        }
        out.push(Effect::Append {
            id,
            records,
            release,
            urgent,
        });
    }

    fn on_appended(&mut self, id: AppendId, out: &mut Outbox) {
        self.log_begun = true;
        while self.appends.front().is_some_and(|(first, _)| *first <= id) {
            let (_, done) = self.appends.pop_front().expect("looked at");
            match done {
                Done::Stored { lane, digest } => self.on_stored(lane, digest, out),
                Done::Accepted(vote) => self.stand_by(&vote, out),
                Done::TimedOut(view) => self.count_own_timeout(view, out),
                Done::Entered(view) => {
                    self.entered_durable = self.entered_durable.max(view);
                    self.try_propose(out);
                }
                Done::Reserved(height) => self.own.reserved(height),
                Done::Readmitted => self.readmitted(out),
                Done::Nothing => {}
            }
        }
    }

    /// An own vote is durable: it counts, and is told again to whoever connects.
    pub(crate) fn stand_by(&mut self, vote: &SignedVote, out: &mut Outbox) {
        if self.quarantine.is_some() {
            return;
        }
        if vote.vote.voted.is_some() {
            self.standing_votes[0] = Some(vote.clone());
        }
        if vote.vote.locked.is_some() {
            self.standing_votes[1] = Some(vote.clone());
        }
        self.count_vote(self.me, vote, out);
    }

    /// Whether it signs nothing, and promises nothing: after an alarm, in quarantine, or before it knows that its log is
    /// as new as what it signed.
    pub(crate) fn is_silent(&self) -> bool {
        self.halted || self.quarantine.is_some() || self.unproven.is_some()
    }

    pub(crate) fn send(&self, to: To, message: Message, out: &mut Outbox) {
        out.push(Effect::Send(Outbound { to, message }));
    }

    /// This member.
    pub fn me(&self) -> MemberId {
        self.me
    }

    /// Leader of the current view.
    pub fn leader(&self) -> MemberId {
        self.bugs.leader(self.safety.view(), self.quorums.n())
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

    /// The round trips of R-TIMER.
    pub(crate) fn timer_rtts(&self) -> TimerRtts {
        let to_leader = self.peers[usize::from(self.leader())].rtt_us;
        let mut all: Vec<u64> = self.peers.iter().map(|p| p.rtt_us).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        let reached_us = all[self.quorums.f()];
        TimerRtts {
            own_us: to_leader.min(reached_us),
            reached_us,
        }
    }

    /// How long a request for data may take before the next member is asked.
    pub(crate) fn fetch_wait_us(&self) -> u64 {
        let slowest = self.peers.iter().map(|p| p.rtt_us).max().unwrap_or(0);
        (4 * slowest).max(self.params.timer_floor_us)
    }

    pub(crate) fn record_evidence(&mut self, evidence: Evidence, out: &mut Outbox) {
        self.counters.evidence += 1;
        out.push(Effect::Evidence(alloc::boxed::Box::new(evidence)));
    }

    pub(crate) fn alarm(&mut self, alarm: Alarm, out: &mut Outbox) {
        self.counters.alarms += 1;
        self.halted = true;
        out.push(Effect::Alarm(alarm));
    }

    /// The current view, announced in every frame.
    pub fn view(&self) -> View {
        self.safety.view()
    }

    /// The newest committed slot.
    pub fn committed(&self) -> Slot {
        self.chain.committed_slot()
    }

    /// Digest of the committed block of a slot, if it is known.
    pub fn committed_digest(&self, slot: Slot) -> Option<Digest> {
        self.chain.committed_at(slot)
    }

    /// The newest executed slot.
    pub fn executed(&self) -> Slot {
        self.execution.executed()
    }

    /// Bytes of client bundles that may be given now.
    pub fn intake_bytes(&self) -> usize {
        if self.is_silent() {
            0
        } else {
            self.own.room(&self.params, &self.lanes[usize::from(self.me)])
        }
    }
}
