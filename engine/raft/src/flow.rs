//! To and from the `raft` crate: words of members, entries to propose, and what its state machine wants done.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft::eraftpb::{Entry, Message as RaftMessage, MessageType};
use raft::{SnapshotStatus, StateRole};
use trireme_core::api::{Effect, Outbound, Reject, To};
use trireme_core::message::{Message, SignedBlock, StateCertificate};
use trireme_core::quorum::MemberSet;
use trireme_core::{MemberId, Outbox, Slot};
use trireme_crypto::{decode, encode};

use crate::record::{ENTRIES_PER_RECORD, Hard, RaftRecord};
use crate::replica::{Done, RaftReplica};
use crate::words::{self, EntryBytes, Proposal, id, member};

/// Appends that wait for their data. Raft sends no more than so many unanswered ones; those of an old leader may add to it.
const MAX_HELD: usize = 1_024;
/// Committed slots that wait for execution: beyond it no new entries are taken.
const MAX_ORDERED: usize = 1_024;

impl RaftReplica {
    pub(crate) fn on_word(&mut self, from: MemberId, bytes: &[u8], out: &mut Outbox) {
        let Some(message) = words::read(bytes, from, self.me, self.params.n) else {
            out.push(Effect::Disconnect {
                member: from,
                reason: Reject::Malformed,
            });
            return;
        };
        match message.msg_type {
            MessageType::MsgAppend if self.held.len() < MAX_HELD => self.held.push_back(message),
            MessageType::MsgAppend => self.counters.dropped += 1,
            MessageType::MsgSnapshot => self.on_offer(message, out),
            _ => self.take(message),
        }
    }

    fn take(&mut self, message: RaftMessage) {
        // What it does not want, such as an answer to an old leader, it says so and changes nothing.
        if self.node_mut().step(message).is_err() {
            self.counters.dropped += 1;
        }
        self.note_role();
    }

    /// Gives appends on whose data are here, in the order in which they came: an answer says that entry and data are durable.
    pub(crate) fn settle_held(&mut self, out: &mut Outbox) {
        while let Some(first) = self.held.front() {
            let outdated = first.term < self.node().raft.term;
            if !outdated && self.still_waits() {
                return;
            }
            if !outdated && (self.ordered.len() >= MAX_ORDERED || !self.has_data(first.clone(), out)) {
                return;
            }
            self.awaited.clear();
            let message = self.held.pop_front().expect("looked at");
            self.take(message);
        }
    }

    /// Whether a batch that the first held append lacked is not here yet. It comes after all below it.
    fn still_waits(&self) -> bool {
        let missing = |(lane, (height, digest)): &(MemberId, (_, _))| {
            *height > self.committed_height(*lane) && !self.lanes[usize::from(*lane)].holds(digest)
        };
        self.awaited.iter().any(missing)
    }

    /// Whether all batches that the entries name are here. If not, asks the leader for the highest that each lane lacks, and
    /// so for all below it: asking for every tip would bring the lower ones many times over.
    fn has_data(&mut self, message: RaftMessage, out: &mut Outbox) -> bool {
        let leader = member(message.from).expect("read from a channel");
        let n = self.quorums.n();
        let committed = self.tip.slot;
        let (mut all, mut lacking) = (true, BTreeMap::new());
        for entry in message.entries.iter().filter(|entry| entry.index > committed) {
            for (lane, height, digest) in Proposal::of(entry, n).map_or(Vec::new(), |proposal| proposal.tips) {
                all &= self.is_ready(lane, (height, digest));
                if let Some(missing) = self.lacks(lane, (height, digest)) {
                    let highest = lacking.entry(lane).or_insert(missing);
                    *highest = missing.max(*highest);
                }
            }
        }
        self.awaited = lacking.iter().map(|(lane, missing)| (*lane, *missing)).collect();
        for (lane, missing) in lacking {
            self.want_batch(lane, missing, self.committed_height(lane), MemberSet::of(leader));
        }
        if !all {
            self.tend_fetches(out);
        }
        all
    }

    /// A leader that holds no entries as old as what this replica lacks offers an image.
    fn on_offer(&mut self, message: RaftMessage, out: &mut Outbox) {
        let offered = message.get_snapshot().get_metadata().index;
        if message.term < self.node().raft.term || offered <= self.tip.slot {
            // Old, or answered from what is here.
            self.take(message);
            return;
        }
        let Ok((certificate, _)) = decode::<(StateCertificate, SignedBlock)>(&message.get_snapshot().data) else {
            self.counters.dropped += 1;
            return;
        };
        if self.offered.is_none_or(|(_, slot)| slot < offered) && certificate.vote.slot == offered {
            self.offered = Some((message.from, offered));
            let certificate = Box::new(certificate);
            out.push(Effect::Transfer { certificate });
        }
    }

    /// The image that was offered is the state now: Raft goes on above it.
    pub(crate) fn begin_above(&mut self, anchor: &SignedBlock) {
        let Some((from, _)) = self.offered.take() else { return };
        let leader = self.node().raft.leader_id;
        let mut message = RaftMessage::default();
        message.set_msg_type(MessageType::MsgSnapshot);
        message.from = if leader == 0 { from } else { leader };
        (message.to, message.term) = (id(self.me), self.node().raft.term);
        let at = (anchor.block.slot, anchor.block.view);
        message.set_snapshot(words::snapshot(self.params.n, at, Bytes::new()));
        if message.from != id(self.me) {
            self.take(message);
        }
    }

    pub(crate) fn tick(&mut self) {
        self.node_mut().tick();
        self.note_role();
    }

    /// Asks for votes at once.
    pub(crate) fn stand_for_election(&mut self) {
        // Refused only to a leader.
        let _ = self.node_mut().campaign();
        self.note_role();
    }

    /// What changed of who leads.
    fn note_role(&mut self) {
        let raft = &self.node().raft;
        let (role, term, leader) = (raft.state, raft.term, member(raft.leader_id));
        if let Some(leader) = leader.filter(|leader| (term, *leader) != self.reign) {
            self.reign = (term, leader);
            self.counters.views_entered += 1;
        }
        self.spread_elections();
        if role == self.role {
            return;
        }
        let stands = |role| matches!(role, StateRole::Candidate | StateRole::PreCandidate);
        if stands(role) && !stands(self.role) {
            self.counters.suspected_leader_gone += 1;
        }
        if role == StateRole::Leader {
            self.proposed = self.tips_in_log();
        }
        self.role = role;
    }

    pub(crate) fn on_connected(&mut self, member: MemberId, out: &mut Outbox) {
        if member == self.me {
            return;
        }
        self.peers[usize::from(member)].connected = true;
        self.tell_lanes(member, out);
        self.states.tell(self.me, |message| {
            out.push(Effect::Send(Outbound {
                to: To::One(member),
                message,
            }));
        });
        // The first election of a cluster need not wait for anybody's patience.
        let first = self.node().raft.term == 0 && self.me == 0 && self.role == StateRole::Follower;
        if first && self.connected().count() + 1 >= self.quorums.quorum() {
            self.stand_for_election();
        }
    }

    pub(crate) fn on_disconnected(&mut self, member: MemberId) {
        self.peers[usize::from(member)].connected = false;
        self.node_mut().report_unreachable(id(member));
        self.node_mut().report_snapshot(id(member), SnapshotStatus::Failure);
    }

    /// Entries above the committed slot.
    pub(crate) fn in_flight(&self) -> u64 {
        self.log_end().saturating_sub(self.tip.slot)
    }

    /// The last index, with what the `raft` crate has not put out yet.
    fn log_end(&self) -> Slot {
        self.node().raft.raft_log.last_index()
    }

    fn tips_in_log(&self) -> Vec<(trireme_core::types::Height, trireme_crypto::Digest)> {
        let mut tips = self.tip.cut.clone();
        for entry in self.log().above(self.tip.slot) {
            let proposal = Proposal::of(entry, tips.len());
            for (lane, height, digest) in proposal.map_or(Vec::new(), |proposal| proposal.tips) {
                let tip = &mut tips[usize::from(lane)];
                if height > tip.0 {
                    *tip = (height, digest);
                }
            }
        }
        tips
    }

    pub(crate) fn has_new_tips(&self) -> bool {
        let lanes = self.lanes.iter().zip(&self.proposed);
        lanes.into_iter().any(|(lane, proposed)| lane.top().0 > proposed.0)
    }

    /// A leader proposes every newer tip of which it holds the data: at once while nothing is under way, else at the pace,
    /// within the window of slots, and within the log's window above the stable checkpoint.
    pub(crate) fn try_propose(&mut self) {
        if self.role != StateRole::Leader || self.halted || !self.has_new_tips() {
            return;
        }
        let under_way = self.in_flight();
        let paced = under_way > 0 && self.now.tick.since(self.proposed_at) < self.pace_us();
        let stable = self.states.stable().map_or(0, |certificate| certificate.vote.slot);
        if paced || under_way >= self.params.window || self.log_end() >= stable + self.params.log_window {
            return;
        }
        let mut tips = Vec::new();
        for (lane, (state, proposed)) in (0..).zip(self.lanes.iter().zip(&self.proposed)) {
            let top = state.top();
            if top.0 > proposed.0 && self.is_ready(lane, top) {
                tips.push((lane, top.0, top.1));
            }
        }
        if tips.is_empty() {
            return;
        }
        let proposal = Proposal {
            timestamp: self.now.wall_us,
            tips,
        };
        if self.node_mut().propose(Vec::new(), encode(&proposal)).is_ok() {
            self.proposed_at = self.now.tick;
            for (lane, height, digest) in proposal.tips {
                self.proposed[usize::from(lane)] = (height, digest);
            }
        }
    }

    /// Does what the `raft` crate wants done, until it wants nothing more.
    pub(crate) fn pump(&mut self, out: &mut Outbox) {
        while self.node().has_ready() {
            let mut ready = self.node_mut().ready();
            let number = ready.number();
            let now = self.words(ready.take_messages());
            out.extend(now.into_iter().map(Effect::Send));
            let release = ready.take_persisted_messages();
            let mut records = Vec::new();
            let before = self.log().hard;
            if let Some(hard) = ready.hs() {
                self.log_mut().hard = hard.into();
            }
            if !ready.snapshot().is_empty() {
                let at = ready.snapshot().get_metadata();
                let at = (at.index, at.term);
                self.log_mut().begin_above(at);
                records.extend(self.standing());
            }
            let entries = ready.take_entries();
            let hard = self.log().hard;
            let promises = |hard: Hard| (hard.term, hard.vote);
            if !entries.is_empty() || promises(hard) != promises(before) {
                let bytes = entries.iter().map(EntryBytes::of).collect();
                records.push(RaftRecord::Entries(hard, bytes).record());
                let whole = self.log_mut().append(entries);
                assert!(whole, "entries follow those that are here");
            }
            let committed = ready.take_committed_entries();
            self.node_mut().advance_append_async(ready);
            let release = self.words(release);
            self.persist(number, records, release, out);
            for entry in &committed {
                self.commit(entry);
            }
            // Past an image that was taken over only once that is durable.
            let log = &self.node().raft.raft_log;
            let applied = self.tip.slot.min(log.committed).min(log.persisted);
            if applied > log.applied {
                self.node_mut().advance_apply_to(applied);
            }
            self.note_role();
        }
    }

    /// Makes an output durable; with nothing to write and nothing before it on its way it is so already.
    fn persist(
        &mut self,
        number: u64,
        records: Vec<trireme_core::record::Record>,
        release: Vec<Outbound>,
        out: &mut Outbox,
    ) {
        if records.is_empty() && self.persisting == 0 {
            out.extend(release.into_iter().map(Effect::Send));
            self.node_mut().on_persist_ready(number);
        } else if !records.is_empty() || !release.is_empty() {
            self.persisting += 1;
            self.append(records, release, true, Done::Persisted(number), out);
        }
    }

    /// Messages to those who are there. Of the others Raft is told that they are not.
    fn words(&mut self, messages: Vec<RaftMessage>) -> Vec<Outbound> {
        let mut outbound = Vec::with_capacity(messages.len());
        for message in messages {
            let Some(to) = member(message.to).filter(|to| usize::from(*to) < self.peers.len()) else {
                continue;
            };
            if !self.peers[usize::from(to)].connected {
                let offered = message.msg_type == MessageType::MsgSnapshot;
                if offered {
                    self.node_mut().report_snapshot(message.to, SnapshotStatus::Failure);
                }
                continue;
            }
            if let Some(bytes) = words::write(&message) {
                outbound.push(Outbound {
                    to: To::One(to),
                    message: Message::Ordering(bytes),
                });
            }
        }
        outbound
    }

    /// What stands when earlier records are released, and the entries above the log's base.
    pub(crate) fn standing(&self) -> Vec<trireme_core::record::Record> {
        let log = self.log();
        let mut records = vec![RaftRecord::Standing(log.hard, log.base(), self.own.reservation()).record()];
        let entries: Vec<&Entry> = log.above(log.base().0).collect();
        for some in entries.chunks(ENTRIES_PER_RECORD) {
            let bytes = some.iter().map(|entry| EntryBytes::of(entry)).collect();
            records.push(RaftRecord::Entries(log.hard, bytes).record());
        }
        records
    }
}
