//! The order stage: owns the core, feeds it from the links, and turns its effects into work of the other stages.

mod status;

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Map, Value};
use trireme_core::api::{AppendId, Effect, Evidence, Execution};
use trireme_core::message::Envelope;
use trireme_core::{Input, Now, Outbound, Outbox, Slot, Tick};
use trireme_crypto::Domain;

use crate::clock::{Clock, Timer};
use crate::error::ReplicaError;
use crate::events::Weight;
use crate::gate::Gate;
use crate::items::{
    BodyJob, CheckedBundle, ExecuteJob, ExecuteNews, ExecutedSlot, FromMember, LogJob, ToMembers, Verdict,
};
use crate::keys::MemberKeys;
use crate::link::{Receiver, Sender};
use crate::log::{encode, frame};
use crate::orderer::Orderer;
use crate::passage::Passage;
use crate::peers::close_reason;
use crate::snapshots::ToKeeper;
use crate::stage::{Finish, Turn, Work, nothing_to_finish};
use crate::topology::Stage;
use crate::views::Views;

/// Slots that wait for the execute stage: beyond it no input is taken that could add more.
const MAX_EXECUTIONS: usize = 1_024;
/// And bytes of their batches.
const MAX_EXECUTION_BYTES: usize = 256 << 20;
/// Bodies that wait for the verify stage, likewise.
const MAX_BODIES: usize = 4_096;
/// The core is told that a run of inputs has ended when nothing more is on its way on this thread, but at the latest
/// after this time.
const IDLE_US: u64 = 400;

/// The links of the stage.
pub(crate) struct OrderLinks {
    pub(crate) messages: Receiver<FromMember>,
    pub(crate) bundles: Receiver<CheckedBundle>,
    pub(crate) verdicts: Receiver<Verdict>,
    pub(crate) durable: Receiver<AppendId>,
    pub(crate) executed: Receiver<ExecuteNews>,
    pub(crate) bodies: Sender<BodyJob>,
    pub(crate) urgent: Sender<BodyJob>,
    pub(crate) appends: Sender<LogJob>,
    pub(crate) frames: Sender<ToMembers>,
    pub(crate) slots: Sender<ExecuteJob>,
    pub(crate) checkpoints: Sender<ToKeeper>,
    pub(crate) kept: Receiver<Slot>,
}

/// See the module's text.
pub(crate) struct Order {
    replica: Orderer,
    /// Members that make a quorum, this one included.
    quorum: usize,
    keys: Arc<MemberKeys>,
    domain: Domain,
    links: OrderLinks,
    gate: Arc<Gate>,
    out: Outbox,
    /// Effects that found no room; while there are any, no input is taken.
    blocked: VecDeque<Effect>,
    executions: VecDeque<ExecuteJob>,
    execution_bytes: usize,
    bodies: VecDeque<BodyJob>,
    urgent: VecDeque<BodyJob>,
    /// Inputs were given since the core was last told that their run had ended, first at this time.
    since_idle: Option<Tick>,
    timer: Timer,
    timer_at: Option<Tick>,
    /// Time of the step under way.
    now: Now,
    passage: Passage,
    views: Views,
    counts: Tallies,
}

#[derive(Default)]
struct Tallies {
    inputs: u64,
    idles: u64,
    appends: u64,
    records: u64,
    frames: u64,
    evidence: Vec<&'static str>,
}

/// Kinds of evidence that are listed in the status; all are counted and logged.
const MAX_EVIDENCE_LISTED: usize = 64;

impl Order {
    /// Takes over a recovered core and starts it; inside the runtime of its thread.
    pub(crate) fn new(
        mut replica: Orderer,
        (keys, quorum): (Arc<MemberKeys>, usize),
        domain: Domain,
        links: OrderLinks,
        gate: Arc<Gate>,
        clock: &Clock,
    ) -> Self {
        let mut out = Outbox::new();
        let now = clock.now();
        replica.start(now, &mut out);
        let (me, views) = (replica.me(), Views::new(replica.view()));
        let mut order = Self {
            quorum,
            replica,
            keys,
            domain,
            links,
            gate,
            out,
            blocked: VecDeque::new(),
            executions: VecDeque::new(),
            execution_bytes: 0,
            bodies: VecDeque::new(),
            urgent: VecDeque::new(),
            since_idle: Some(now.tick),
            timer: clock.timer(now.tick),
            timer_at: None,
            now,
            passage: Passage::new(me),
            views,
            counts: Tallies::default(),
        };
        order.apply();
        order
    }

    fn step(&mut self, turn: &Turn<'_, '_>, input: Input) {
        self.counts.inputs += 1;
        self.since_idle.get_or_insert(turn.now.tick);
        self.now = turn.now;
        self.replica.step(turn.now, input, &mut self.out);
        self.apply();
        if self.replica.view() != self.views.current() {
            self.views.enter(&self.replica, turn.now.wall_us, &self.gate.events);
        }
    }

    /// Passes the effects on, in order.
    fn apply(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        for effect in out.drain(..) {
            self.passage.note(&effect, self.now.tick);
            if !self.blocked.is_empty() {
                self.blocked.push_back(effect);
            } else if let Some(effect) = self.perform(effect) {
                self.blocked.push_back(effect);
            }
        }
        self.out = out;
    }

    /// Tries blocked effects again.
    fn unblock(&mut self) -> bool {
        let mut progress = false;
        while let Some(effect) = self.blocked.pop_front() {
            if let Some(effect) = self.perform(effect) {
                self.blocked.push_front(effect);
                break;
            }
            progress = true;
        }
        progress
    }

    /// Does what an effect asks for, or gives it back if its link is full.
    fn perform(&mut self, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::Stable { .. } | Effect::Transfer { .. } if !self.links.checkpoints.room() => return Some(effect),
            Effect::Append { .. } | Effect::Serve { .. } | Effect::Release { .. } if !self.links.appends.room() => {
                return Some(effect);
            }
            Effect::Send(_) | Effect::Disconnect { .. } if !self.links.frames.room() => return Some(effect),
            Effect::Append {
                id,
                records,
                release,
                urgent,
            } => {
                let records: Vec<_> = records.iter().map(|record| encode(record, &self.domain)).collect();
                let release = release.into_iter().map(|outbound| self.frame(outbound)).collect();
                self.counts.appends += 1;
                self.counts.records += records.len() as u64;
                let bytes = records.iter().map(|record| record.head.len() + record.body.len()).sum();
                self.links.appends.push(
                    bytes,
                    LogJob::Append {
                        id,
                        records,
                        release,
                        urgent,
                    },
                );
            }
            Effect::Serve { to, kind, digests } => {
                let view = self.replica.view();
                self.links.appends.push(
                    0,
                    LogJob::Serve {
                        to,
                        view,
                        kind,
                        digests,
                    },
                );
            }
            Effect::Send(outbound) => {
                let frame = self.frame(outbound);
                self.links.frames.push(frame.bytes(), frame);
            }
            Effect::Disconnect { member, reason } => {
                tracing::warn!(
                    member,
                    reason = reason.name(),
                    "member broke the protocol, channel closed"
                );
                let text = format!("member {member} broke the protocol: {}", reason.name());
                self.tell(Weight::Warning, "peer", text);
                self.links
                    .frames
                    .push(0, ToMembers::Disconnect(member, close_reason(reason)));
            }
            Effect::Verify {
                job, ops, body, urgent, ..
            } => {
                let queue = if urgent { &mut self.urgent } else { &mut self.bodies };
                queue.push_back(BodyJob { job, ops, body });
            }
            Effect::Execute(execution) => {
                self.execution_bytes += execution_bytes(&execution);
                self.executions.push_back(ExecuteJob::Slot(execution));
            }
            Effect::StateRoot { slot } => self.executions.push_back(ExecuteJob::Root(slot)),
            Effect::Stable { certificate, anchor } => {
                tracing::info!(slot = certificate.vote.slot, "checkpoint is stable");
                self.links.checkpoints.push(0, ToKeeper::Stable(certificate, anchor));
            }
            Effect::Transfer { certificate } => {
                tracing::info!(
                    slot = certificate.vote.slot,
                    "far behind: the state of a checkpoint is wanted"
                );
                self.links.checkpoints.push(0, ToKeeper::Transfer(certificate));
            }
            Effect::Release { after, slot, heights } => {
                self.links.appends.push(0, LogJob::Release { after, slot, heights });
            }
            Effect::Quarantined(cause) => {
                let cause = cause.name();
                tracing::warn!(
                    cause,
                    "quarantined: this replica signs nothing until it cannot contradict what it forgot"
                );
            }
            Effect::Readmitted(at) => {
                tracing::info!(
                    view = at.view,
                    slot = at.slot,
                    "left quarantine: this replica votes again"
                );
            }
            Effect::Evidence(evidence) => {
                let accused = accused(&evidence);
                tracing::error!(kind = evidence.kind(), accused, "evidence of misbehaviour");
                self.tell(Weight::Error, "evidence", format!("{}: {accused}", evidence.kind()));
                if self.counts.evidence.len() < MAX_EVIDENCE_LISTED {
                    self.counts.evidence.push(evidence.kind());
                }
            }
            Effect::Alarm(alarm) => {
                tracing::error!("{alarm:?}: this replica has stopped voting");
                self.tell(
                    Weight::Error,
                    "alarm",
                    format!("{alarm:?}: this replica has stopped voting"),
                );
                self.gate.alarm();
            }
        }
        None
    }

    /// Keeps an event for whoever looks.
    fn tell(&self, weight: Weight, kind: &'static str, text: String) {
        self.gate.events.add(self.now.wall_us, weight, kind, text);
    }

    fn frame(&mut self, outbound: Outbound) -> ToMembers {
        self.counts.frames += 1;
        let Outbound { to, message } = outbound;
        let (epoch, view) = (self.domain.epoch, self.replica.view());
        frame(to, &Envelope { epoch, view, message })
    }

    /// Gives the execute and verify stages what fits their links.
    fn hand_over(&mut self) -> bool {
        let mut progress = false;
        while !self.executions.is_empty() && self.links.slots.room() {
            let job = self.executions.pop_front().expect("not empty");
            let bytes = match &job {
                ExecuteJob::Slot(execution) => execution_bytes(execution),
                ExecuteJob::Root(_) => 0,
            };
            self.execution_bytes -= bytes;
            self.links.slots.push(bytes, job);
            progress = true;
        }
        let queues = [
            (&mut self.urgent, &mut self.links.urgent),
            (&mut self.bodies, &mut self.links.bodies),
        ];
        for (queue, link) in queues {
            while !queue.is_empty() && link.room() {
                let job = queue.pop_front().expect("not empty");
                link.push(job.body.len(), job);
                progress = true;
            }
        }
        progress
    }

    /// Answers to what the core asked for: few, bounded by the questions.
    fn take_answers(&mut self, turn: &Turn<'_, '_>) -> bool {
        let mut progress = false;
        while self.blocked.is_empty() {
            let input = if let Some(id) = self.links.durable.pop() {
                Input::Appended(id)
            } else if let Some(Verdict { job, good }) = self.links.verdicts.pop() {
                Input::Verified { job, good }
            } else if let Some(news) = self.links.executed.pop() {
                match news {
                    ExecuteNews::Slot(ExecutedSlot { slot, state }) => {
                        self.passage.executed(slot, turn.now.tick);
                        Input::Executed { slot, state }
                    }
                    ExecuteNews::Installed(certificate, anchor) => Input::Installed { certificate, anchor },
                }
            } else if let Some(slot) = self.links.kept.pop() {
                Input::Snapshotted { slot }
            } else {
                break;
            };
            self.step(turn, input);
            progress = true;
        }
        progress
    }

    /// What may add work.
    fn take_messages(&mut self, turn: &Turn<'_, '_>) -> bool {
        let mut progress = false;
        for _ in 0..turn.budget {
            if !self.blocked.is_empty() || self.is_laden() {
                break;
            }
            let Some(message) = self.links.messages.pop() else {
                break;
            };
            let input = match message {
                FromMember::Message(checked) => Input::Message(checked),
                FromMember::Connected(member) => {
                    self.tell(Weight::Info, "peer", format!("member {member} connected"));
                    Input::Connected(member)
                }
                FromMember::Disconnected(member) => {
                    self.tell(Weight::Warning, "peer", format!("member {member} disconnected"));
                    Input::Disconnected(member)
                }
                FromMember::Rtt(member, us) => Input::Rtt { member, us },
            };
            self.step(turn, input);
            progress = true;
        }
        progress
    }

    fn is_laden(&self) -> bool {
        self.executions.len() >= MAX_EXECUTIONS
            || self.execution_bytes >= MAX_EXECUTION_BYTES
            || self.bodies.len() + self.urgent.len() >= MAX_BODIES
    }

    /// Bundles of own clients, as long as the own lane has room: behind it, QUIC pushes back on them.
    fn take_bundles(&mut self, turn: &Turn<'_, '_>) -> bool {
        let mut progress = false;
        for _ in 0..turn.budget {
            if !self.blocked.is_empty() || self.is_laden() {
                break;
            }
            let Some(next) = self.links.bundles.peek() else { break };
            if next.bytes.len() > self.replica.intake_bytes() {
                break;
            }
            let next = self.links.bundles.pop().expect("just seen");
            let CheckedBundle {
                bytes,
                ops,
                permit,
                passed,
            } = next;
            drop(permit);
            self.passage.take(passed, ops, turn.now.tick);
            self.step(turn, Input::Bundle { bytes, ops });
            progress = true;
        }
        progress
    }

    /// Tells the core that a run of inputs has ended.
    fn idle(&mut self, turn: &Turn<'_, '_>) -> bool {
        let Some(since) = self.since_idle else { return false };
        if !self.blocked.is_empty() || !(turn.quiet || turn.now.tick.since(since) >= IDLE_US) {
            return false;
        }
        self.counts.idles += 1;
        self.step(turn, Input::Idle);
        self.since_idle = None;
        true
    }

    /// Gives the core its timeout, and sets the timer for the next.
    fn timeout(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let Some(due) = self.replica.next_timeout() else {
            // One that is left set would wake the thread for nothing.
            if self.timer_at.take().is_some() {
                self.timer.reset(Tick(u64::MAX));
            }
            return false;
        };
        if due <= turn.now.tick {
            if !self.blocked.is_empty() {
                return false;
            }
            self.step(turn, Input::Timeout);
            return true;
        }
        if self.timer_at != Some(due) {
            self.timer_at = Some(due);
            self.timer.reset(due);
        }
        // A timer that fired early, or for an earlier time, is set again at the next poll.
        if self.timer.poll(turn.cx) {
            self.timer_at = None;
            return true;
        }
        false
    }
}

/// Whom a proof is about.
fn accused(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Blocks(block, _) => format!("leader of view {}", block.block.view),
        Evidence::Votes(member, ..) | Evidence::FalseVerified(member, ..) => format!("member {member}"),
        Evidence::Headers(header, _) => format!("member {}", header.header.lane),
    }
}

fn execution_bytes(execution: &Execution) -> usize {
    execution.batches.iter().map(|batch| batch.body.len()).sum()
}

impl Work for Order {
    fn stage(&self) -> Stage {
        Stage::Order
    }

    fn poll(&mut self, turn: &mut Turn<'_, '_>) -> Result<bool, ReplicaError> {
        let mut progress = self.unblock();
        progress |= self.hand_over();
        progress |= self.take_answers(turn);
        progress |= self.take_messages(turn);
        progress |= self.take_bundles(turn);
        progress |= self.timeout(turn);
        progress |= self.idle(turn);
        progress |= self.hand_over();
        if progress && self.passage.is_spreading() {
            self.passage.spread(self.replica.own_certified(), turn.now.tick);
        }
        Ok(progress)
    }

    fn status(&mut self) -> Map<String, Value> {
        self.describe()
    }

    fn finish(self: Box<Self>) -> Finish {
        nothing_to_finish()
    }
}
