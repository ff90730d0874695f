//! Suspicion, Timeouts, and entering views (section 5 of the protocol).

use alloc::{boxed::Box, vec, vec::Vec};

use crate::api::{Alarm, Outbound, Outbox, To};
use crate::message::{Block, Entry, Message, SignedTimeout, Tc, TcEntry};
use crate::record::{Record, VoteRecord};
use crate::replica::{Done, Replica};
use crate::types::{Height, MemberId, Slot, Tick, View};
use crate::view_state::Ground;

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
