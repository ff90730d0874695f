//! From the records of the log back to a replica (section 8 of the protocol).

use alloc::{vec, vec::Vec};

use crate::api::{Outbound, Outbox, To};
use crate::lanes::Verdict;
use crate::message::{Batch, Message};
use crate::record::{Record, Standing, VoteRecord};
use crate::replica::{Done, Replica};
use crate::types::Tick;
use crate::view_state::Ground;

impl Replica {
    /// Takes a recovered record, in the order of the log. Gives [`crate::Effect::Execute`] with `replay` set, to be
    /// executed before the next call; nothing is to be answered.
    pub fn replay(&mut self, record: Record, out: &mut Outbox) {
        assert!(self.replaying, "recovery comes first");
        self.restart_view = Some(self.safety.view());
        match record {
            Record::Batch(batch) => self.replay_batch(batch),
            Record::Vote(record) => self.replay_vote(record, out),
            // A log belongs to one cluster, and a cluster to one ordering.
            Record::Ordering(_) => {}
        }
        self.try_execute(out);
    }

    fn replay_batch(&mut self, batch: Batch) {
        let header = &batch.head.header;
        let (owner, height) = (header.lane, header.height);
        let digest = header.digest(&self.domain);
        let lane = &mut self.lanes[usize::from(owner)];
        if lane.get(&digest).is_some() {
            return;
        }
        lane.insert(digest, batch, true);
        let stored = lane.get_mut(&digest).expect("just inserted");
        stored.durable = true;
        if owner == self.me {
            stored.verdict = Verdict::Good;
            self.own.replay_batch(height, digest);
        }
    }

    fn replay_vote(&mut self, record: VoteRecord, out: &mut Outbox) {
        let forgets = self.bugs.drop_vote_state_on_restart();
        match record {
            VoteRecord::Accept(signed) => {
                let digest = signed.block.digest(&self.domain);
                let block = signed.block.clone();
                self.chain.insert(digest, *signed, Tick::default(), true);
                self.execution.logged(digest, block.slot);
                if !forgets {
                    self.safety.replay_accept(digest, &block, &self.chain);
                }
            }
            VoteRecord::Block(signed) => {
                let (digest, slot) = (signed.block.digest(&self.domain), signed.block.slot);
                self.chain.insert(digest, *signed, Tick::default(), true);
                self.execution.logged(digest, slot);
            }
            VoteRecord::HighQc(qc) if !forgets => {
                self.safety.adopt(&qc, &self.chain);
            }
            VoteRecord::Timeout(timeout) if !forgets => self.safety.replay_timeout(*timeout),
            VoteRecord::HighQc(_) | VoteRecord::Timeout(_) => {}
            VoteRecord::Enter(tc) => {
                self.safety.enter(*tc);
                self.start_view();
            }
            VoteRecord::Reserve(height) => self.own.replay_reserve(height),
            VoteRecord::Committed(slot, digest) => self.commit_to(slot, digest, false, out),
            VoteRecord::Standing(standing) => self.replay_standing(*standing, forgets, out),
            VoteRecord::Quarantined(cause) => self.replay_quarantined(cause),
            VoteRecord::Readmitted(readmission) => self.replay_readmitted(readmission),
        }
    }

    /// What stood when earlier records were released; some of them may be here all the same.
    fn replay_standing(&mut self, standing: Standing, forgets: bool, out: &mut Outbox) {
        let (slot, digest) = standing.committed;
        self.own.replay_reserve(standing.reserved);
        if !forgets {
            let newer = standing.entry.view() > self.safety.view();
            self.safety.restore(standing);
            if newer {
                self.start_view();
            }
        }
        self.commit_to(slot, digest, false, out);
    }

    /// Whether there was any record.
    pub fn has_replayed(&self) -> bool {
        self.restart_view.is_some()
    }

    /// After the last record: what was promised is told again when channels open.
    pub(crate) fn finish_recovery(&mut self, out: &mut Outbox) {
        match self.starts_quarantined.take() {
            Some(cause) if self.quarantine.is_none() => self.enter_quarantine(cause, out),
            _ => self.begin_quarantine(out),
        }
        if self.restart_view.is_none() {
            if self.quarantine.is_none() {
                self.reserve(out);
            }
            return;
        }
        let view = self.safety.view();
        self.restart_view = Some(view);
        self.change.entered_at = self.now.tick;
        self.chain.touch(self.now.tick);
        if let Some(last) = self.safety.sent_timeout().map(|t| t.timeout.view) {
            self.count_own_timeout(last, out);
        }
        if self.leader() == self.me && (self.quarantine.is_some() || !self.safety.timed_out(view)) {
            // R-PROPOSE: after a restart it proposes nothing in this view; members treat it as a dead channel.
            self.suspect(Ground::Restarted, out);
        }
        if !self.is_silent() {
            self.begin_signing(out);
        }
    }

    /// After a restart, once its log is known to be as new as what it signed; or after the way out of quarantine.
    pub(crate) fn begin_signing(&mut self, out: &mut Outbox) {
        if let Some(vote) = self.safety.resign_vote() {
            if self.connected().count() == 0 && self.appends.is_empty() {
                self.stand_by(&vote, out);
            } else {
                // What it says may still be on its way to the disk.
                let message = Message::Vote(vote.clone());
                let release = vec![Outbound { to: To::All, message }];
                self.append(Vec::new(), release, true, Done::Accepted(vote), out);
            }
        }
        for lane in self.quorums.members() {
            for digest in self.lanes[usize::from(lane)].uncommitted() {
                self.refresh_ack(lane, &digest, true, out);
            }
        }
        self.reserve(out);
        self.join(out);
    }
}
