//! A laboratory for scripted histories: one real replica, and everybody else played by the test, which holds all keys.
#![allow(dead_code, unreachable_pub)]

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use trireme_core::api::{Effect, Evidence, Input, Outbound, Reject};
use trireme_core::bugs::Bugs;
use trireme_core::check::{CheckContext, check, leader};
use trireme_core::message::{
    Accepted, Ack, Batch, BatchHeader, Block, CutEntry, Entry, Envelope, Justify, Qc, QcRef, QcVote, SignedAck,
    SignedBlock, SignedHeader, SignedStateVote, SignedTimeout, SignedVote, StateCertificate, StateVote, Tc, TcEntry,
    Timeout, Vote,
};
use trireme_core::quarantine::Cause;
use trireme_core::record::{Record, VoteRecord};
use trireme_core::types::{Height, Keys};
use trireme_core::{MemberId, Message, Now, Params, Replica, Slot, Tick, View};
use trireme_crypto::{Digest, Domain, Signature, context, hash, hash_parts};

/// Wall clock at the start.
pub const WALL: u64 = 1_794_000_000_000_000;

/// Keys of one member in a scheme that is as good as its secrecy, which ends at the test.
pub struct TestKeys {
    me: MemberId,
    n: u16,
    epoch: u64,
}

fn sign(member: MemberId, statement: &Digest) -> Signature {
    let half = hash_parts(context::SEED, &[b"lab", &member.to_le_bytes(), &statement.0]).0;
    Signature(core::array::from_fn(|i| half[i % 32]))
}

impl Keys for TestKeys {
    fn me(&self) -> MemberId {
        self.me
    }
    fn domain(&self) -> Domain {
        Domain {
            epoch: self.epoch,
            ..domain()
        }
    }
    fn sign(&self, statement: &Digest) -> Signature {
        sign(self.me, statement)
    }
    fn invalid(&self, entries: &[(MemberId, Digest, Signature)]) -> Vec<usize> {
        let good = |e: &(MemberId, Digest, Signature)| e.0 < self.n && sign(e.0, &e.1) == e.2;
        (0..entries.len()).filter(|i| !good(&entries[*i])).collect()
    }
}

pub fn domain() -> Domain {
    Domain {
        cluster_id: hash_parts(context::CLUSTER, &[b"lab"]),
        epoch: 0,
    }
}

pub fn genesis() -> Digest {
    hash_parts(context::CLUSTER, &[b"lab genesis"])
}

/// All clauses in force, but the named one.
pub fn without(clause: &str) -> Bugs {
    let mut bugs = Bugs::default();
    assert!(clause.is_empty() || bugs.set(clause), "no such clause: {clause}");
    bugs
}

/// Who writes what a history needs.
#[derive(Clone)]
pub struct Lab {
    pub params: Params,
}

impl Lab {
    pub fn new(n: u16, f: u16) -> Self {
        Self {
            params: Params::new(n, f),
        }
    }

    /// An empty block, signed by the leader of its view. `salt` tells blocks of one place apart.
    pub fn block(&self, view: View, parent: (Slot, Digest), salt: u64, justify: Justify) -> (Digest, SignedBlock) {
        let empty = CutEntry {
            height: 0,
            digest: Digest::ZERO,
            certificate: None,
        };
        let slot = parent.0 + 1;
        let block = Block {
            view,
            slot,
            parent: parent.1,
            cut: vec![empty; usize::from(self.params.n)],
            timestamp: WALL + 1_000 * slot + salt,
            handoff: None,
            justify,
        };
        self.sign_block(block)
    }

    pub fn sign_block(&self, block: Block) -> (Digest, SignedBlock) {
        let digest = block.digest(&domain());
        let signature = sign(leader(block.view, usize::from(self.params.n)), &digest);
        (digest, SignedBlock { block, signature })
    }

    /// A batch with one request, signed by the owner of its lane.
    pub fn batch(&self, lane: MemberId, height: Height, parent: (Height, Digest)) -> (Digest, Batch) {
        self.batch_of(1, lane, height, parent)
    }

    /// A batch that says that it holds so many requests.
    pub fn batch_of(&self, ops: u32, lane: MemberId, height: Height, parent: (Height, Digest)) -> (Digest, Batch) {
        let body = Bytes::from_static(b"one request");
        let witnesses = (0..self.params.n).filter(|member| *member != lane);
        let header = BatchHeader {
            lane,
            height,
            parent: parent.1,
            parent_height: parent.0,
            body_root: hash(context::BATCH_BODY, &body),
            ops,
            bytes: u32::try_from(body.len()).expect("short"),
            witnesses: witnesses.take(usize::from(self.params.f)).collect(),
        };
        let digest = header.digest(&domain());
        let signature = sign(lane, &digest);
        let head = SignedHeader { header, signature };
        (digest, Batch { head, body })
    }

    /// A member's ack that it stored a batch and vouches for it.
    pub fn ack(&self, member: MemberId, lane: MemberId, height: Height, digest: Digest) -> SignedAck {
        let ack = Ack {
            lane,
            height,
            digest,
            stored: true,
            verified: true,
            witnessed: true,
        };
        let signature = sign(member, &ack.statement(&domain()));
        SignedAck { ack, signature }
    }

    pub fn vote(
        &self,
        member: MemberId,
        view: View,
        voted: Option<(Slot, Digest)>,
        locked: Option<(Slot, Digest)>,
    ) -> SignedVote {
        let vote = Vote { view, voted, locked };
        let signature = sign(member, &vote.statement(&domain()));
        SignedVote { vote, signature }
    }

    pub fn qc(&self, view: View, at: (Slot, Digest), members: &[MemberId]) -> Qc {
        let vote = |member: &MemberId| {
            let signature = self.vote(*member, view, Some(at), None).signature;
            QcVote {
                member: *member,
                locked: None,
                signature,
            }
        };
        let votes = members.iter().map(vote).collect();
        Qc {
            at: QcRef {
                view,
                slot: at.0,
                digest: at.1,
            },
            votes,
        }
    }

    pub fn no_qc(&self) -> Qc {
        Qc::genesis(genesis())
    }

    pub fn timeout(
        &self,
        member: MemberId,
        view: View,
        high_qc: &Qc,
        accepted: &[Accepted],
        entry: Entry,
    ) -> SignedTimeout {
        let timeout = Timeout {
            view,
            high_qc: high_qc.at,
            accepted: accepted.to_vec(),
        };
        let signature = sign(member, &timeout.statement(&domain()));
        SignedTimeout {
            member,
            timeout,
            signature,
            high_qc: high_qc.clone(),
            entry,
        }
    }

    /// The certificate of these Timeouts, members ascending.
    pub fn tc(&self, timeouts: &[SignedTimeout]) -> Tc {
        let high_qc = timeouts
            .iter()
            .map(|t| &t.high_qc)
            .max_by_key(|qc| qc.at.rank())
            .expect("some")
            .clone();
        let entry = |t: &SignedTimeout| TcEntry {
            member: t.member,
            high_qc: t.timeout.high_qc,
            accepted: t.timeout.accepted.clone(),
            signature: t.signature,
        };
        Tc {
            view: timeouts[0].timeout.view,
            timeouts: timeouts.iter().map(entry).collect(),
            high_qc,
        }
    }

    /// A certificate of members that have nothing to report.
    pub fn empty_tc(&self, view: View, members: &[MemberId]) -> Tc {
        let quiet = |m: &MemberId| self.timeout(*m, view, &self.no_qc(), &[], Entry::Genesis);
        self.tc(&members.iter().map(quiet).collect::<Vec<_>>())
    }

    /// A real replica with one clause switched off, or none.
    pub fn replica(&self, me: MemberId, bugs: &Bugs) -> Actor {
        self.replica_in(0, me, bugs)
    }

    /// The same in an epoch; what the lab makes is of epoch 0.
    pub fn replica_in(&self, epoch: u64, me: MemberId, bugs: &Bugs) -> Actor {
        self.replica_on(Disk::Instant, epoch, me, bugs)
    }

    /// The same on a disk.
    pub fn replica_on(&self, disk: Disk, epoch: u64, me: MemberId, bugs: &Bugs) -> Actor {
        let n = self.params.n;
        let keys: Arc<dyn Keys> = Arc::new(TestKeys { me, n, epoch });
        let replica = Replica::with_bugs(self.params.clone(), keys, genesis(), bugs.clone());
        start(replica, disk)
    }

    /// A replica that restarts from a snapshot and the records of its log.
    pub fn restart(
        &self,
        me: MemberId,
        snapshot: Option<(&StateCertificate, &SignedBlock)>,
        records: &[Record],
    ) -> Actor {
        let (n, epoch) = (self.params.n, 0);
        let keys: Arc<dyn Keys> = Arc::new(TestKeys { me, n, epoch });
        let mut replica = Replica::new(self.params.clone(), keys, genesis());
        if let Some((certificate, anchor)) = snapshot {
            replica.anchored(certificate.clone(), anchor.clone());
        }
        let mut out = Vec::new();
        for record in records {
            replica.replay(record.clone(), &mut out);
            for effect in out.drain(..) {
                let Effect::Execute(execution) = effect else {
                    panic!("a replay only executes")
                };
                if execution.checkpoint {
                    replica.replayed(state(execution.slot, &execution.block));
                }
            }
        }
        start(replica, Disk::Instant)
    }

    /// A replica that comes back with these records, quarantined by its host or not; it waits for proof that they are all.
    pub fn come_back(&self, me: MemberId, records: &[Record], cause: Option<Cause>, bugs: &Bugs) -> Actor {
        let n = self.params.n;
        let keys: Arc<dyn Keys> = Arc::new(TestKeys { me, n, epoch: 0 });
        let mut replica = Replica::with_bugs(self.params.clone(), keys, genesis(), bugs.clone());
        let mut out = Vec::new();
        for record in records {
            replica.replay(record.clone(), &mut out);
        }
        replica.await_proof();
        if let Some(cause) = cause {
            replica.start_quarantined(cause);
        }
        start(replica, Disk::Instant)
    }

    /// A member's vote on the state after a slot that is a checkpoint.
    pub fn state_vote(&self, member: MemberId, vote: &StateVote) -> SignedStateVote {
        let signature = sign(member, &vote.statement(&domain()));
        SignedStateVote {
            vote: vote.clone(),
            signature,
        }
    }

    /// The certificate of these members.
    pub fn state_certificate(&self, vote: &StateVote, members: &[MemberId]) -> StateCertificate {
        let votes = members.iter().map(|m| (*m, self.state_vote(*m, vote).signature));
        StateCertificate {
            vote: vote.clone(),
            votes: votes.collect(),
        }
    }
}

/// The state after a checkpoint, as every correct replica computes it.
pub fn state(slot: Slot, block: &Digest) -> StateVote {
    StateVote {
        slot,
        state_root: hash(context::STATE, &block.0),
        receipts_root: Digest::ZERO,
        timestamp: slot,
        checkpoint: true,
    }
}

fn start(mut replica: Replica, disk: Disk) -> Actor {
    let context = replica.check_context();
    let mut out = Vec::new();
    replica.start(now(0), &mut out);
    let mut actor = Actor {
        replica,
        context,
        time: 0,
        sent: Vec::new(),
        records: Vec::new(),
        executed: Vec::new(),
        alarms: 0,
        evidence: Vec::new(),
        stable: Vec::new(),
        released: Vec::new(),
        transfers: Vec::new(),
        quarantined: Vec::new(),
        readmitted: Vec::new(),
        disk,
        unwritten: VecDeque::new(),
    };
    actor.perform(out);
    actor
}

fn now(time: u64) -> Now {
    Now {
        tick: Tick(1_000_000 + time),
        wall_us: WALL + 1_000_000 + time,
    }
}

/// How fast a replica's disk is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// Every write is durable at once.
    Instant,
    /// Nothing is, until the test says so.
    Stuck,
}

/// A real replica under the microscope.
pub struct Actor {
    pub replica: Replica,
    context: CheckContext,
    time: u64,
    /// All that left.
    pub sent: Vec<Outbound>,
    /// All that was written.
    pub records: Vec<Record>,
    /// Slots given to execution, in order.
    pub executed: Vec<Slot>,
    pub alarms: usize,
    pub evidence: Vec<Evidence>,
    /// Checkpoints that are stable.
    pub stable: Vec<Slot>,
    /// What was released: blocks below the slot, promises before that many records.
    pub released: Vec<(Slot, usize)>,
    /// Checkpoints whose image was asked for.
    pub transfers: Vec<Slot>,
    pub quarantined: Vec<Cause>,
    pub readmitted: Vec<QcRef>,
    pub disk: Disk,
    unwritten: VecDeque<(u64, Vec<Outbound>)>,
}

impl Actor {
    /// A message on a member's channel; refused if the gate refuses it.
    pub fn hear(&mut self, from: MemberId, message: Message) -> Result<(), Reject> {
        let envelope = Envelope {
            epoch: self.context.keys.domain().epoch,
            view: self.replica.view(),
            message,
        };
        let checked = check(&self.context, from, envelope)?;
        self.step(Input::Message(checked));
        Ok(())
    }

    pub fn hear_block(&mut self, block: &SignedBlock) {
        let from = leader(block.block.view, usize::from(self.context.params.n));
        self.hear(from, Message::Block(Box::new(block.clone())))
            .expect("a valid block");
    }

    pub fn hear_vote(&mut self, from: MemberId, vote: SignedVote) {
        self.hear(from, Message::Vote(vote)).expect("a valid vote");
    }

    pub fn hear_tc(&mut self, from: MemberId, tc: &Tc) {
        self.hear(from, Message::Entry(Box::new(tc.clone())))
            .expect("a valid certificate");
    }

    pub fn hear_qc(&mut self, from: MemberId, qc: &Qc) {
        self.hear(from, Message::HighQc(Box::new(qc.clone())))
            .expect("a valid certificate");
    }

    pub fn step(&mut self, input: Input) {
        let mut out = Vec::new();
        self.replica.step(now(self.time), input, &mut out);
        self.perform(out);
    }

    /// Time passes; timers fire when they are due.
    pub fn wait(&mut self, us: u64) {
        let end = self.time + us;
        while let Some(due) = self.replica.next_timeout().map(|t| t.0.saturating_sub(1_000_000)) {
            if due > end {
                break;
            }
            self.time = due.max(self.time + 1);
            self.step(Input::Timeout);
        }
        self.time = end;
        self.step(Input::Idle);
    }

    /// What was written so far is durable.
    pub fn flush(&mut self) {
        while let Some((id, release)) = self.unwritten.pop_front() {
            self.sent.extend(release);
            self.step(Input::Appended(id));
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append {
                    id, records, release, ..
                } => {
                    self.records.extend(records);
                    self.unwritten.push_back((id, release));
                }
                Effect::Send(outbound) => self.sent.push(outbound),
                Effect::Verify { job, .. } => self.step(Input::Verified { job, good: true }),
                Effect::Execute(execution) => {
                    self.executed.push(execution.slot);
                    let state = execution.checkpoint.then(|| state(execution.slot, &execution.block));
                    let slot = execution.slot;
                    self.step(Input::Executed { slot, state });
                }
                Effect::Evidence(evidence) => self.evidence.push(*evidence),
                Effect::Alarm(_) => self.alarms += 1,
                Effect::StateRoot { .. } | Effect::Serve { .. } | Effect::Disconnect { .. } => {}
                Effect::Stable { certificate, .. } => self.stable.push(certificate.vote.slot),
                Effect::Release { slot, .. } => self.released.push((slot, self.records.len())),
                Effect::Transfer { certificate } => self.transfers.push(certificate.vote.slot),
                Effect::Quarantined(cause) => self.quarantined.push(cause),
                Effect::Readmitted(at) => self.readmitted.push(at),
            }
        }
        if self.disk == Disk::Instant {
            self.flush();
        }
    }

    /// Votes that left.
    pub fn votes(&self) -> Vec<Vote> {
        let vote = |outbound: &Outbound| match &outbound.message {
            Message::Vote(signed) => Some(signed.vote.clone()),
            _ => None,
        };
        self.sent.iter().filter_map(vote).collect()
    }

    /// Whether a vote for this block left.
    pub fn voted_for(&self, digest: &Digest) -> bool {
        self.votes()
            .iter()
            .any(|vote| vote.voted.is_some_and(|(_, d)| d == *digest))
    }

    /// The Timeout that left for a view.
    pub fn timeout_of(&self, view: View) -> Option<SignedTimeout> {
        self.sent.iter().find_map(|outbound| match &outbound.message {
            Message::Timeout(signed) if signed.timeout.view == view => Some((**signed).clone()),
            _ => None,
        })
    }

    /// Blocks that left.
    pub fn proposals(&self) -> Vec<SignedBlock> {
        let block = |outbound: &Outbound| match &outbound.message {
            Message::Block(signed) => Some((**signed).clone()),
            _ => None,
        };
        self.sent.iter().filter_map(block).collect()
    }

    /// Whether a record of this acceptance exists.
    pub fn accepted(&self, digest: &Digest) -> bool {
        self.records
            .iter()
            .any(|record| matches!(record, Record::Vote(VoteRecord::Accept(b)) if b.block.digest(&domain()) == *digest))
    }
}
