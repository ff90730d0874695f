//! Suspicion, Timeouts, and entering views (section 5 of the protocol).

use alloc::{boxed::Box, vec, vec::Vec};

use crate::api::{Alarm, Outbound, Outbox, To};
use crate::lanes::Lane;
use crate::message::{Block, Entry, Message, SignedTimeout, SignedVote, Tc, TcEntry};
use crate::quorum::MemberSet;
use crate::record::{Record, VoteRecord};
use crate::replica::{Done, Replica};
use crate::types::{Height, MemberId, Slot, Tick, View};

/// Why a view is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// Work is not committed within the view's timer.
    Uncommitted,
    /// A certified tip is not ordered within the turnaround bound.
    Turnaround,
    /// The leader's channel is dead, or it said that it cannot lead, and work waits.
    LeaderGone,
    /// This replica leads a view that it led before a restart, or is quarantined.
    Restarted,
    /// A quarantined member asked for it.
    Asked,
}

/// What a member is accused of, apart from two blocks, which accuse a view's leader.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Votes,
    Headers,
    FalseVerified,
}

/// What is known of views and their faults.
#[derive(Clone, Debug)]
pub(crate) struct ViewChange {
    suspects: Vec<Option<View>>,
    timeouts: Vec<Option<SignedTimeout>>,
    pub(crate) suspicion: Option<(View, Ground)>,
    pub(crate) entered_at: Tick,
    /// Since the start a quorum was connected once: only from then on can a view be at fault.
    pub(crate) met_quorum: bool,
    /// The leader of this view said that it cannot lead it.
    leader_gone: Option<View>,
    /// Per lane: since when a certified tip waits for its commit.
    certified_since: Vec<Option<Tick>>,
    /// Since when a block with a Qc waits for its commit.
    qc_since: Option<Tick>,
    /// Per lane: since when something waits to be ordered.
    unordered_since: Vec<Option<Tick>>,
    /// Per lane: since when a tip is ordered, not committed, and not certified; the tip's height.
    uncommitted_since: Vec<Option<(Tick, Height)>>,
    /// Per lane: certificate sent to this view's leader: when, which height, whether to all by now.
    sent: Vec<Option<(Tick, Height, bool)>>,
    /// Per lane: highest height in a block of this view.
    ordered: Vec<Height>,
    future: Vec<Vec<SignedVote>>,
    /// When the newest lock is told if the fast path has not committed by then.
    lock_due: Option<Tick>,
    /// When it is told although everything is committed: so long after the newest block's votes.
    idle_lock_due: Option<Tick>,
    told_lock: Option<(Slot, trireme_crypto::Digest)>,
    /// By fault.
    accused: [MemberSet; 3],
    resend_at: Tick,
    /// The newest slot whose q-th vote came, and when.
    pub(crate) q_reached: (Slot, Tick),
}

impl ViewChange {
    pub(crate) fn new(n: usize) -> Self {
        Self {
            suspects: vec![None; n],
            timeouts: vec![None; n],
            suspicion: None,
            entered_at: Tick::default(),
            met_quorum: false,
            leader_gone: None,
            certified_since: vec![None; n],
            qc_since: None,
            unordered_since: vec![None; n],
            uncommitted_since: vec![None; n],
            sent: vec![None; n],
            ordered: vec![0; n],
            future: vec![Vec::new(); n],
            lock_due: None,
            idle_lock_due: None,
            told_lock: None,
            accused: Default::default(),
            resend_at: Tick::default(),
            q_reached: (0, Tick::default()),
        }
    }

    fn new_view(&mut self, now: Tick) {
        self.suspicion = None;
        self.entered_at = now;
        self.sent.fill(None);
        self.ordered.fill(0);
        self.lock_due = None;
        self.idle_lock_due = None;
        self.told_lock = None;
    }

    pub(crate) fn certified(&mut self, lane: MemberId, now: Tick) {
        self.certified_since[usize::from(lane)].get_or_insert(now);
    }

    /// A Qc of an uncommitted block became the highest.
    pub(crate) fn qc_waits(&mut self, now: Tick) {
        self.qc_since.get_or_insert(now);
    }

    /// A vote with this lock leaves.
    pub(crate) fn voted(&mut self, locked: Option<(Slot, trireme_crypto::Digest)>) {
        if locked.is_some() {
            self.told_lock = locked;
        }
    }

    pub(crate) fn told_lock(&self) -> Option<(Slot, trireme_crypto::Digest)> {
        self.told_lock
    }

    /// The newest lock is to be told by `due` if its block is not committed by then.
    pub(crate) fn lock_by(&mut self, due: Tick) {
        self.lock_due = Some(self.lock_due.map_or(due, |d| d.min(due)));
    }

    /// The newest lock is to be told by `due` in any case: later is safe, never is not (R-LOCK). A newer block puts it off:
    /// while blocks come, the lock rides on their votes.
    pub(crate) fn idle_lock_by(&mut self, due: Tick) {
        self.idle_lock_due = Some(due);
    }

    /// Every block that has its votes is committed.
    pub(crate) fn rest_lock(&mut self) {
        self.lock_due = None;
    }

    pub(crate) fn next_lock_due(&self) -> Option<Tick> {
        [self.lock_due, self.idle_lock_due].into_iter().flatten().min()
    }

    /// Which of the two is due, taken: (for uncommitted blocks, in any case).
    pub(crate) fn take_lock_due(&mut self, now: Tick) -> (bool, bool) {
        let soon = self.lock_due.take_if(|due| *due <= now).is_some();
        let idle = self.idle_lock_due.take_if(|due| *due <= now).is_some();
        (soon, idle)
    }

    /// What it said of itself is void (R-QUARANTINE).
    pub(crate) fn forget_own(&mut self, me: MemberId) {
        self.suspicion = None;
        self.suspects[usize::from(me)] = None;
        self.timeouts[usize::from(me)] = None;
    }

    /// A member's newest Timeout.
    pub(crate) fn timeout_of(&self, member: MemberId) -> Option<&SignedTimeout> {
        self.timeouts[usize::from(member)].as_ref()
    }

    /// The own Timeout, once it is durable.
    pub(crate) fn own_timeout(&self, me: MemberId) -> Option<&SignedTimeout> {
        self.timeouts[usize::from(me)].as_ref()
    }

    /// One piece of evidence of a kind is enough for a member: more would let it fill logs.
    pub(crate) fn accuse_once(&mut self, fault: Fault, member: MemberId) -> bool {
        self.accused[fault as usize].insert(member)
    }

    /// The most votes for views ahead that are kept of one member.
    pub(crate) fn future_votes(&self) -> usize {
        self.future.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Keeps a vote of a view that is not entered yet: only of the newest such view.
    pub(crate) fn keep_future(&mut self, from: MemberId, signed: SignedVote, window: u64) {
        let kept = &mut self.future[usize::from(from)];
        if kept.first().is_some_and(|v| v.vote.view < signed.vote.view) {
            kept.clear();
        }
        let same = kept.first().is_none_or(|v| v.vote.view == signed.vote.view);
        if same && (kept.len() as u64) < 2 * window {
            kept.push(signed);
        }
    }

    fn take_future(&mut self, view: View) -> Vec<(MemberId, SignedVote)> {
        let mut taken = Vec::new();
        for (member, kept) in (0..).zip(&mut self.future) {
            if kept.first().is_some_and(|v| v.vote.view <= view) {
                taken.extend(kept.drain(..).map(|v| (member, v)));
            }
        }
        taken
    }

    /// The committed cut moved: clocks of what it passed stop, those of what remains start anew.
    pub(crate) fn progressed(&mut self, lanes: &[Lane], certified: bool, now: Tick) {
        self.qc_since = certified.then_some(now);
        for (lane, state) in lanes.iter().enumerate() {
            if self.certified_since[lane].is_some() {
                self.certified_since[lane] = state.ac().map(|_| now);
            }
            if state.top().0 <= state.committed().0 {
                self.unordered_since[lane] = None;
            }
        }
    }

    /// Members that stand against the view: they may not vote in it, and may lack what others say in it.
    pub(crate) fn apart(&self, view: View) -> MemberSet {
        let mut set = MemberSet::default();
        for (member, (suspect, timeout)) in (0..).zip(self.suspects.iter().zip(&self.timeouts)) {
            if *suspect == Some(view) || timeout.as_ref().is_some_and(|t| t.timeout.view == view) {
                set.insert(member);
            }
        }
        set
    }

    fn count_against(&self, view: View) -> usize {
        let mut set = MemberSet::default();
        for (member, (suspect, timeout)) in (0..).zip(self.suspects.iter().zip(&self.timeouts)) {
            if *suspect == Some(view) || timeout.as_ref().is_some_and(|t| t.timeout.view >= view) {
                set.insert(member);
            }
        }
        set.count()
    }

    /// The (f+1)-th largest of the members' highest Timeout views.
    fn join_view(&self, count: usize) -> Option<View> {
        let mut views: Vec<Option<View>> = self
            .timeouts
            .iter()
            .map(|t| t.as_ref().map(|t| t.timeout.view))
            .collect();
        views.sort_unstable_by(|a, b| b.cmp(a));
        views[count - 1]
    }
}

impl Replica {
    /// A block of the current view was seen: the tips in it count as ordered, whatever the digest.
    pub(crate) fn note_ordered(&mut self, block: &Block) {
        for (lane, entry) in block.cut.iter().enumerate() {
            let known = &mut self.change.ordered[lane];
            if entry.height > *known {
                *known = entry.height;
                if self.lanes[lane].top().0 <= entry.height {
                    self.change.unordered_since[lane] = None;
                } else {
                    self.change.unordered_since[lane] = Some(self.now.tick);
                }
            }
            if self.change.sent[lane].is_some_and(|s| s.1 <= entry.height) {
                self.change.sent[lane] = None;
            }
        }
    }

    /// Whether anything waits for a commit.
    pub(crate) fn work_waits(&self) -> bool {
        let uncommitted = self.safety.last().is_some_and(|l| l.0 > self.committed())
            || self.safety.high_ref().slot > self.committed();
        uncommitted || self.lanes.iter().any(|l| l.ac().is_some())
    }

    /// R-SUSPECT: a dead leader's channel is ground enough as soon as work waits.
    pub(crate) fn suspect_dead_leader(&mut self, out: &mut Outbox) {
        let leader = self.leader();
        if leader == self.me || self.is_silent() {
            return;
        }
        let gone = self.change.leader_gone == Some(self.safety.view());
        if (gone || !self.peers[usize::from(leader)].connected) && self.work_waits() {
            self.suspect(Ground::LeaderGone, out);
        }
    }

    pub(crate) fn suspect(&mut self, ground: Ground, out: &mut Outbox) {
        let view = self.safety.view();
        if self.halted || self.safety.timed_out(view) || self.change.suspicion.is_some_and(|s| s.0 == view) {
            return;
        }
        match ground {
            Ground::Uncommitted => self.counters.suspected_uncommitted += 1,
            Ground::Turnaround => self.counters.suspected_turnaround += 1,
            Ground::LeaderGone => self.counters.suspected_leader_gone += 1,
            Ground::Restarted | Ground::Asked => {}
        }
        self.change.suspicion = Some((view, ground));
        self.change.suspects[usize::from(self.me)] = Some(view);
        self.send(To::All, Message::Suspect { view, standing: true }, out);
        self.join(out);
    }

    pub(crate) fn suspects(&self, view: View) -> bool {
        self.change.suspicion.is_some_and(|s| s.0 == view)
    }

    fn revoke_suspicion(&mut self, out: &mut Outbox) {
        if let Some((view, ground)) = self.change.suspicion
            && ground != Ground::Restarted
            && ground != Ground::Asked
        {
            self.change.suspicion = None;
            self.change.suspects[usize::from(self.me)] = None;
            self.send(To::All, Message::Suspect { view, standing: false }, out);
        }
    }

    pub(crate) fn on_suspect(&mut self, from: MemberId, view: View, standing: bool, out: &mut Outbox) {
        if view < self.safety.view() {
            return;
        }
        let known = &mut self.change.suspects[usize::from(from)];
        if standing {
            *known = Some(view);
            if from == self.leader() && view == self.safety.view() {
                self.change.leader_gone = Some(view);
            }
            self.tell_commits(from, view, out);
        } else if *known == Some(view) {
            *known = None;
        }
        self.join(out);
    }

    /// R-JOIN and R-SUSPECT: sends Timeout for the current view when f+1 members are against it.
    pub(crate) fn join(&mut self, out: &mut Outbox) {
        let view = self.safety.view();
        let count = if self.bugs.join_at_one() {
            1
        } else {
            self.quorums.one_honest()
        };
        let joined = self.change.join_view(count).is_some_and(|v| v >= view);
        if !self.is_silent() && !self.safety.timed_out(view) && (joined || self.change.count_against(view) >= count) {
            self.send_timeout(out);
        }
    }

    fn send_timeout(&mut self, out: &mut Outbox) {
        if self.change.suspicion.is_some_and(|s| s.1 == Ground::Turnaround) {
            self.timing.turnaround_missed(self.quorums.n());
        }
        let signed = self.safety.time_out();
        let record = Record::Vote(VoteRecord::Timeout(Box::new(signed.clone())));
        let release = vec![Outbound {
            to: To::All,
            message: Message::Timeout(Box::new(signed)),
        }];
        self.change.resend_at = self.now.tick.plus(self.timing.view_us(self.timer_rtts()));
        let view = self.safety.view();
        self.append(vec![record], release, true, Done::TimedOut(view), out);
    }

    /// The own Timeout of this view is durable. A newer one may be on its way to the disk already: it does not count.
    pub(crate) fn count_own_timeout(&mut self, view: View, out: &mut Outbox) {
        if self.quarantine.is_some() {
            return;
        }
        if let Some(own) = self.safety.sent_timeout().filter(|t| t.timeout.view == view).cloned() {
            self.change.timeouts[usize::from(self.me)] = Some(own);
            self.try_certificate(out);
        }
    }

    pub(crate) fn on_timeout(&mut self, signed: SignedTimeout, out: &mut Outbox) {
        let view = signed.timeout.view;
        if let Entry::Tc(tc) = &signed.entry {
            self.enter((**tc).clone(), out);
        }
        self.adopt_qc(&signed.high_qc, out);
        let member = usize::from(signed.member);
        let newer = self.change.timeouts[member]
            .as_ref()
            .is_none_or(|t| t.timeout.view < signed.timeout.view);
        if newer {
            self.change.timeouts[member] = Some(signed);
            self.join(out);
            self.try_certificate(out);
        } else {
            // Sent again: its view does not end, others may go on in it.
            self.tell_commits(signed.member, view, out);
        }
    }

    /// TC(v): t Timeouts of exactly the current view.
    fn try_certificate(&mut self, out: &mut Outbox) {
        let view = self.safety.view();
        let timeouts: Vec<&SignedTimeout> = self
            .change
            .timeouts
            .iter()
            .flatten()
            .filter(|t| t.timeout.view == view)
            .collect();
        let needed = self.quorums.timeout() - usize::from(self.bugs.short_tc());
        if timeouts.len() < needed {
            return;
        }
        let greatest = timeouts
            .iter()
            .max_by_key(|t| t.high_qc.at.rank())
            .expect("t is at least one");
        let high_qc = greatest.high_qc.clone();
        let timeouts = timeouts
            .into_iter()
            .map(|t| TcEntry {
                member: t.member,
                high_qc: t.timeout.high_qc,
                accepted: t.timeout.accepted.clone(),
                signature: t.signature,
            })
            .collect();
        self.enter(
            Tc {
                view,
                timeouts,
                high_qc,
            },
            out,
        );
    }

    /// R-ENTER: moves to the view after a valid certificate, and tells it to all.
    pub(crate) fn enter(&mut self, tc: Tc, out: &mut Outbox) {
        if tc.view < self.safety.view() || self.halted {
            return;
        }
        let record = Record::Vote(VoteRecord::Enter(Box::new(tc.clone())));
        let high_qc = tc.high_qc.clone();
        let boxed = Box::new(tc.clone());
        if self.waited_in_vain() {
            self.timing.view_failed();
        }
        self.safety.enter(tc);
        self.start_view();
        let view = self.safety.view();
        self.append(vec![record], Vec::new(), true, Done::Entered(view), out);
        self.adopt_qc(&high_qc, out);
        self.check_safe_tip(out);
        if self.bugs.entry_to_leader_only() {
            self.send(To::One(self.leader()), Message::Entry(boxed), out);
        } else {
            self.send(To::All, Message::Entry(boxed), out);
        }
        for (member, vote) in self.change.take_future(view) {
            self.on_vote(member, vote, out);
        }
        self.offer_certificates(out);
        self.quarantine_in_new_view();
        if self.quarantine.is_some() && self.leader() == self.me {
            // R-PROPOSE: it says that it cannot lead; members treat it as a dead channel.
            self.suspect(Ground::Restarted, out);
        }
        self.join(out);
    }

    /// What a new view resets, at run time and in recovery.
    pub(crate) fn start_view(&mut self) {
        let (view, committed) = (self.safety.view(), self.committed());
        self.change.new_view(self.now.tick);
        self.leading.new_view();
        self.chain.forget_firsts_below(view);
        self.counters.views_entered += u64::from(!self.replaying);
        let chain = &self.chain;
        self.books.retain(view, |v, book| {
            let accepted = |(slot, digest): &(Slot, _)| *slot > committed && chain.get(digest).is_some();
            v < view && book.named().iter().any(accepted)
        });
    }

    /// What committed here is in every later safe tip; anything else breaks the model.
    fn check_safe_tip(&mut self, out: &mut Outbox) {
        let (slot, digest, _) = self.safety.first_parent();
        // Below the start of the chain, after an image or a release, nothing is known to compare it with.
        if self.committed_digest(slot).is_some_and(|committed| committed != digest) {
            self.alarm(
                Alarm::SafeTipConflict {
                    view: self.safety.view(),
                },
                out,
            );
        }
    }

    /// On entering a view all unordered certificates go to its leader.
    fn offer_certificates(&mut self, out: &mut Outbox) {
        let leader = self.leader();
        for lane in self.quorums.members() {
            let Some(ac) = self.lanes[usize::from(lane)].ac().cloned() else {
                continue;
            };
            self.change.certified_since[usize::from(lane)] = Some(self.now.tick);
            if leader != self.me {
                self.change.sent[usize::from(lane)] = Some((self.now.tick, ac.height, false));
                self.send(To::One(leader), Message::Certificate(ac), out);
            }
        }
    }

    /// Looks after tips that wait to be ordered: certificates to the leader, later to all, at last suspicion.
    pub(crate) fn tend_lanes(&mut self, out: &mut Outbox) -> bool {
        let rtt = self.peers[usize::from(self.leader())].rtt_us;
        let patience = 5_000 + 2 * rtt + self.timing.commit_us();
        let bound = self.timing.turnaround_us(self.timer_rtts());
        let mut late = false;
        for lane in self.quorums.members() {
            let index = usize::from(lane);
            let floor = self.change.ordered[index].max(self.lanes[index].committed().0);
            if self.lanes[index].top().0 <= floor && self.lanes[index].ac().is_none_or(|a| a.height <= floor) {
                self.change.unordered_since[index] = None;
                self.certify_uncommitted(lane, patience, out);
                continue;
            }
            let waited = self
                .now
                .tick
                .since(*self.change.unordered_since[index].get_or_insert(self.now.tick));
            if waited >= patience {
                self.certify_waiting(lane, floor, out);
            } else if waited >= patience / 2 {
                self.ack_overdue(lane, out);
            }
            late |= self.press_leader(lane, bound, out);
        }
        late
    }

    /// A tip that a block of this view orders, which may never be acceptable: with its certificate the clock of its
    /// commit starts, and the leader answers for it.
    fn certify_uncommitted(&mut self, lane: MemberId, patience: u64, out: &mut Outbox) {
        let index = usize::from(lane);
        let (top, committed) = (self.lanes[index].top().0, self.lanes[index].committed().0);
        if top <= committed || self.lanes[index].ac().is_some() {
            self.change.uncommitted_since[index] = None;
            return;
        }
        // The clock is that of one tip: under a steady load there always is one that waits.
        let running = self.change.uncommitted_since[index].filter(|(_, height)| *height > committed);
        let (since, height) = running.unwrap_or((self.now.tick, top));
        self.change.uncommitted_since[index] = Some((since, height));
        let waited = self.now.tick.since(since);
        if waited >= patience {
            self.change.uncommitted_since[index] = None;
            self.verify_overdue(lane, out);
            self.make_certificate(lane, committed, out);
        } else if waited >= patience / 2 {
            self.ack_overdue(lane, out);
        }
    }

    fn certify_waiting(&mut self, lane: MemberId, floor: Height, out: &mut Outbox) {
        self.verify_overdue(lane, out);
        let made = self.make_certificate(lane, floor, out);
        let leader = self.leader();
        let unsent = self.change.sent[usize::from(lane)].is_none();
        let known = self.lanes[usize::from(lane)]
            .ac()
            .filter(|ac| ac.height > floor)
            .cloned();
        if let Some(ac) = made.or(known.filter(|_| unsent))
            && leader != self.me
        {
            self.change.sent[usize::from(lane)].get_or_insert((self.now.tick, ac.height, false));
            self.send(To::One(leader), Message::Certificate(ac), out);
        }
    }

    /// After the turnaround bound the certificate goes to all, and the leader is at fault. The clock stands while the
    /// window is full.
    fn press_leader(&mut self, lane: MemberId, bound: u64, out: &mut Outbox) -> bool {
        let index = usize::from(lane);
        let Some((at, height, told)) = self.change.sent[index] else {
            return false;
        };
        let full = self
            .safety
            .last()
            .is_some_and(|l| l.0 >= self.committed() + self.params.window);
        if full || self.log_is_full() {
            self.change.sent[index] = Some((self.now.tick, height, told));
            return false;
        }
        if self.now.tick.since(at) < bound {
            return false;
        }
        if !told && let Some(ac) = self.lanes[index].ac().cloned() {
            self.send(To::All, Message::Certificate(ac), out);
            self.change.sent[index] = Some((at, height, true));
        }
        true
    }

    /// R-SUSPECT's grounds, looked at when a timer fires.
    pub(crate) fn tend_view(&mut self, late: bool, out: &mut Outbox) {
        let view = self.safety.view();
        if self.safety.timed_out(view) {
            self.resend_timeout(out);
            return;
        }
        if self.is_silent() {
            return;
        }
        let limit = self.timing.view_us(self.timer_rtts());
        let overdue = self.change.met_quorum
            && self
                .oldest_uncommitted()
                .is_some_and(|since| self.now.tick.since(since) >= limit);
        let leader = self.leader();
        let gone = leader != self.me
            && self.work_waits()
            && (!self.peers[usize::from(leader)].connected || self.change.leader_gone == Some(view));
        if overdue {
            self.suspect(Ground::Uncommitted, out);
        } else if late && leader != self.me {
            self.suspect(Ground::Turnaround, out);
        } else if !gone {
            self.revoke_suspicion(out);
        }
    }

    /// Channels open one by one after a start, over long distances in half a second: the first view's timer starts with
    /// the first quorum of them, or its leader would suspect itself alone.
    pub(crate) fn begin_with_a_quorum(&mut self) {
        if !self.change.met_quorum && self.connected().count() + 1 >= self.quorums.quorum() {
            self.change.met_quorum = true;
            self.change.entered_at = self.now.tick;
        }
    }

    /// Since when the oldest certified tip or accepted block waits for its commit, in this view.
    fn oldest_uncommitted(&self) -> Option<Tick> {
        let committed = self.committed();
        let last = self.safety.last().filter(|l| l.0 > committed);
        let block = last.and_then(|(_, digest)| {
            let oldest = self.chain.ancestor_at(&digest, committed + 1)?;
            self.chain.node(&oldest).map(|n| n.received)
        });
        let certified =
            (self.safety.high_ref().slot > committed).then(|| self.change.qc_since.unwrap_or(self.change.entered_at));
        // While the log's window is full a leader can order nothing: what ends that are votes on states.
        let ordering = !self.log_is_full();
        let tips = self.lanes.iter().zip(&self.change.certified_since).filter(|_| ordering);
        let tip = tips
            .filter(|(l, _)| l.ac().is_some())
            .filter_map(|(_, since)| *since)
            .min();
        let oldest = [block, certified, tip].into_iter().flatten().min()?;
        Some(oldest.max(self.change.entered_at))
    }

    /// R-TIMER: whether the view that is left had half of its timer for work that waits here. A view that others leave at
    /// once, for a dead channel say, shows nothing about the timer.
    fn waited_in_vain(&self) -> bool {
        let limit = self.timing.view_us(self.timer_rtts());
        self.oldest_uncommitted()
            .is_some_and(|since| self.now.tick.since(since) >= limit / 2)
    }

    /// A Timeout is sent again, byte for byte, while its view does not end.
    fn resend_timeout(&mut self, out: &mut Outbox) {
        if self.now.tick < self.change.resend_at {
            return;
        }
        self.change.resend_at = self.now.tick.plus(self.timing.view_us(self.timer_rtts()));
        if let Some(signed) = self.change.timeouts[usize::from(self.me)].clone() {
            self.send(To::All, Message::Timeout(Box::new(signed)), out);
        }
    }

    /// A batch came: something may wait to be ordered from now on.
    pub(crate) fn is_waiting_for_order(&self) -> bool {
        self.lanes
            .iter()
            .any(|l| l.top().0 > l.committed().0 || l.ac().is_some())
    }
}
