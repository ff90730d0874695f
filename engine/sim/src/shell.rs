//! What follows from a replica's effects: messages, flushes, checks of client signatures, execution.

use std::rc::Rc;

use trireme_core::api::{Effect, Evidence, Execution, Input, Reject, Stored};
use trireme_core::check::{check, leader};
use trireme_core::message::{Envelope, Message, Shown, StateVote};
use trireme_core::request::Body;
use trireme_core::{MemberId, Outbound, To, wire};
use trireme_crypto::Digest;

use crate::byzantine::{Act, Habit, Said, kind};
use crate::disk::{Append, Needless};
use crate::event::Event;
use crate::host::Work;
use crate::network::{Frame, HostId};
use crate::trace;
use crate::world::World;

/// The counter of a refusal at the gate.
fn refusal(reason: Reject) -> &'static str {
    match reason {
        Reject::Malformed => "refused: malformed",
        Reject::Epoch => "refused: epoch",
        Reject::Members => "refused: members",
        Reject::Count => "refused: count",
        Reject::Signature => "refused: signature",
        Reject::Author => "refused: author",
        Reject::Body => "refused: body",
        Reject::Inconsistent => "refused: inconsistent",
        Reject::TooLarge => "refused: too large",
        Reject::Unrequested => "refused: not asked for",
    }
}

impl World<'_> {
    /// Does what a step asks for, in order.
    pub(crate) fn perform(&mut self, host: HostId, effects: Vec<Effect>) {
        let life = self.hosts[host].life;
        for effect in effects {
            // A process that ended asks for nothing more.
            if self.hosts[host].life != life {
                return;
            }
            self.perform_one(host, effect);
        }
    }

    fn perform_one(&mut self, host: HostId, effect: Effect) {
        let life = self.hosts[host].life;
        match effect {
            Effect::Append {
                id,
                records,
                release,
                urgent,
            } => {
                let append = Append {
                    id,
                    records,
                    release,
                    urgent,
                };
                if let Some(at) = self.hosts[host].disk.append(self.time, &mut self.prng, append) {
                    self.at(at, Event::Flushed { host, life });
                }
            }
            Effect::Send(outbound) => self.emit(host, &outbound),
            Effect::Verify { job, ops, body, .. } => {
                let good = self.body_is_good(&body, ops);
                self.oracle
                    .verdict
                    .count(if good { "body verified" } else { "forged body refused" });
                let at = self.time + 1 + self.prng.skewed(self.plan.verification_us);
                self.at(at, Event::Verified { host, life, job, good });
            }
            Effect::Execute(execution) => {
                self.judge_ordered(host, &execution);
                self.enqueue(host, Work::Execute(Box::new(execution)));
            }
            Effect::StateRoot { slot } => self.enqueue(host, Work::Root(slot)),
            Effect::Serve { to, kind, digests } => {
                let at = self.time + self.plan.disk.flush_us;
                self.at(
                    at,
                    Event::Serve {
                        host,
                        life,
                        to,
                        kind,
                        digests,
                    },
                );
            }
            Effect::Disconnect { member, reason } => self.accuse(host, member, reason.name()),
            Effect::Stable { certificate, anchor } => self.stable(host, *certificate, *anchor),
            Effect::Release { after, slot, heights } => self.may_release(host, after, Needless { slot, heights }),
            Effect::Transfer { certificate } => self.begin_transfer(host, *certificate),
            Effect::Quarantined(cause) => self.quarantined(host, cause),
            Effect::Readmitted(_) => self.readmitted(host),
            Effect::Evidence(evidence) => self.judge_evidence(host, &evidence),
            Effect::Alarm(alarm) => {
                let scene = self.scene(host);
                if self.hosts[host].judged() {
                    self.oracle.verdict.fail(scene, "alarm", format!("{alarm:?}"));
                }
            }
        }
    }

    /// A host closes another one's channel.
    fn accuse(&mut self, host: HostId, member: MemberId, reason: &str) {
        let scene = self.scene(host);
        let wrong = self.hosts[host].judged() && self.oracle.is_correct(member);
        self.oracle.verdict.check(!wrong, scene, "19", || {
            format!("closes correct {member}'s channel: {reason}")
        });
        self.oracle.verdict.count("channel closed for misbehaviour");
        if let Some(peer) = self.channel_to(host, member) {
            self.break_link(host, peer);
        }
    }

    /// Evidence never names a correct replica (invariant 19).
    fn judge_evidence(&mut self, host: HostId, evidence: &Evidence) {
        let accused = match evidence {
            Evidence::Blocks(block, _) => leader(block.block.view, self.plan.roles.len()),
            Evidence::Votes(member, ..) | Evidence::FalseVerified(member, ..) => *member,
            Evidence::Headers(header, _) => header.header.lane,
        };
        let scene = self.scene(host);
        if self.hosts[host].judged() {
            let name = match evidence {
                Evidence::Blocks(..) => "evidence of two blocks",
                Evidence::Votes(..) => "evidence of two votes",
                Evidence::Headers(..) => "evidence of two headers",
                Evidence::FalseVerified(..) => "evidence of a false witness",
            };
            self.oracle.verdict.count(name);
            let fair = !self.oracle.is_correct(accused);
            self.oracle.verdict.check(fair, scene, "19", || {
                format!("evidence ({}) against {accused}", evidence.kind())
            });
        }
    }

    /// Whether a body is well-formed, of as many requests as promised, and signed by its clients.
    fn body_is_good(&self, body: &bytes::Bytes, ops: u32) -> bool {
        let Ok(parsed) = Body::parse(body) else { return false };
        let domain = self.ring.domain();
        let signed = parsed
            .bundles()
            .map(|bundle| (*bundle.client(), bundle.statement(&domain), bundle.signature()));
        parsed.ops() == ops && self.ring.clients_signed(&signed.collect::<Vec<_>>())
    }

    /// The host that a host's channel to a member leads to.
    pub(crate) fn channel_to(&self, host: HostId, member: MemberId) -> Option<HostId> {
        (0..self.hosts.len())
            .find(|peer| self.hosts[*peer].member == member && self.hosts[host].channels[*peer].is_some())
    }

    /// A message leaves a host.
    pub(crate) fn emit(&mut self, host: HostId, outbound: &Outbound) {
        if self.hosts[host].gone {
            return;
        }
        let peers: Vec<HostId> = match outbound.to {
            To::All => (0..self.hosts.len())
                .filter(|peer| self.hosts[host].channels[*peer].is_some())
                .collect(),
            To::One(member) => self.channel_to(host, member).into_iter().collect(),
        };
        if self.hosts[host].liar.is_none() {
            if let Message::Suspect { view, standing: true } = &outbound.message
                && self.hosts[host].judged()
            {
                self.judge_suspicion(host, *view);
            }
            if let Message::LeaveView(view) = outbound.message {
                self.oracle.asked_to_leave.insert(view);
            }
            let scene = self.scene(host);
            self.oracle.sent(scene, &outbound.message, &self.hosts[host].facts);
            self.count_message(&outbound.message);
            if let (To::One(of), Message::FetchBlocks { digest, .. } | Message::FetchBatches { digest, .. }) =
                (outbound.to, &outbound.message)
            {
                self.asks(host, of, *digest);
            }
            let envelope = self.envelope(host, outbound.message.clone());
            for peer in peers {
                self.transmit(host, peer, &envelope);
            }
        } else {
            let view = self.hosts[host].view;
            let liar = self.hosts[host].liar.as_mut().expect("a faulty member");
            liar.about_to_say(&outbound.message, view);
            for peer in peers {
                self.emit_lies(host, peer, &outbound.message);
            }
        }
    }

    fn count_message(&mut self, message: &Message) {
        let name = match message {
            Message::FetchBlocks { .. } => "fetch of blocks",
            Message::FetchBatches { .. } => "fetch of batches",
            Message::Timeout(_) => "timeout sent",
            Message::Entry(_) => "entry certificate sent",
            Message::StateCertificate(_) => "state certificate sent",
            Message::Certificate(_) => "availability certificate sent",
            Message::Suspect { .. } => "suspicion",
            Message::NotHeld { .. } => "fetch not answered",
            Message::Committed { .. } => "a laggard is told what is committed",
            Message::LeaveView(_) => "a quarantined member asks to leave a view",
            Message::Block(block) if block.block.cut.iter().any(|entry| entry.certificate.is_some()) => {
                "block with a certified tip"
            }
            Message::Block(_) => "block without certified tips",
            _ => return,
        };
        self.oracle.verdict.count(name);
    }

    fn envelope(&mut self, host: HostId, message: Message) -> Rc<Envelope> {
        let view = self.hosts[host].replica.as_ref().map_or(0, |replica| replica.view());
        let envelope = Envelope {
            epoch: self.ring.domain().epoch,
            view,
            message,
        };
        if !self.plan.encode {
            return Rc::new(envelope);
        }
        let read = wire::decode_envelope(wire::encode_envelope(&envelope));
        assert_eq!(read.as_ref(), Ok(&envelope), "a frame says what was meant");
        Rc::new(read.expect("just compared"))
    }

    fn transmit(&mut self, from: HostId, to: HostId, envelope: &Rc<Envelope>) {
        let Some(link) = self.hosts[from].channels[to] else {
            return;
        };
        if self.network.link(from, to) != Some(link) {
            return;
        }
        if self.is_out_of_scope(from, to, envelope) {
            return self.oracle.verdict.count("message lost in a small scope");
        }
        let bulk = wire::is_bulk(&envelope.message);
        let frame = Frame {
            from,
            to,
            link,
            bulk,
            envelope: Rc::clone(envelope),
        };
        for (at, frame) in self.network.send(self.time, frame) {
            self.at(at, Event::Deliver(frame));
        }
    }

    /// Whether the network loses it (`plan::Scope`).
    fn is_out_of_scope(&self, from: HostId, to: HostId, envelope: &Envelope) -> bool {
        let scopes = &self.plan.scopes;
        scopes.iter().any(|scope| {
            scope.view == envelope.view
                && scope.kind == kind(&envelope.message)
                && scope.from >> from & 1 == 1
                && scope.to >> to & 1 == 1
        })
    }

    /// What a faulty member's replica says, bent on the way out.
    fn emit_lies(&mut self, host: HostId, peer: HostId, message: &Message) {
        let to = self.hosts[peer].member;
        let view = self.hosts[host].view;
        let Some(liar) = &mut self.hosts[host].liar else { return };
        let past = liar.bring_back(&self.ring, view).map(Said::from);
        for said in liar.outgoing(to, message).into_iter().chain(past) {
            if said.delay_us == 0 {
                self.say(host, peer, said);
            } else {
                let (at, life) = (self.time + said.delay_us, self.hosts[host].life);
                let said = Box::new(said);
                self.at(at, Event::Late { host, life, peer, said });
            }
        }
    }

    /// A faulty member says something to one other.
    pub(crate) fn say(&mut self, host: HostId, peer: HostId, said: Said) {
        self.note_lie(host, &said.message);
        let mut envelope = self.envelope(host, said.message);
        if let Some(epoch) = said.epoch {
            Rc::make_mut(&mut envelope).epoch = epoch;
        }
        self.transmit_spoilt(host, peer, envelope);
    }

    fn note_lie(&mut self, host: HostId, message: &Message) {
        let scene = self.scene(host);
        self.oracle.sent(scene, message, &self.hosts[host].facts);
    }

    /// What a faulty member does on hearing something.
    fn act(&mut self, host: HostId, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Say(to, message) => {
                    let peers: Vec<HostId> = match to {
                        Some(member) => self.channel_to(host, member).into_iter().collect(),
                        None => (0..self.hosts.len())
                            .filter(|peer| self.hosts[host].channels[*peer].is_some())
                            .collect(),
                    };
                    for peer in peers {
                        self.say(host, peer, message.clone().into());
                    }
                }
                Act::TakeIn(bytes, ops) => self.step(host, Input::Bundle { bytes, ops }),
            }
        }
    }

    fn transmit_spoilt(&mut self, host: HostId, peer: HostId, envelope: Rc<Envelope>) {
        let liar = self.hosts[host].liar.as_mut().expect("a faulty member");
        if !liar.is(Habit::Garbage) || !liar.chance(5) {
            return self.transmit(host, peer, &envelope);
        }
        let mut bytes = wire::encode_envelope(&envelope).to_vec();
        liar.spoil(&mut bytes);
        liar.fire(Habit::Garbage);
        self.oracle.verdict.count("spoilt frame");
        match wire::decode_envelope(bytes.clone().into()) {
            // A spoilt frame may say something new: it counts as said.
            Ok(other) => {
                let scene = self.scene(host);
                let same = wire::encode_envelope(&other)[..] == bytes[..];
                self.oracle.verdict.check(same, scene, "21", || {
                    format!(
                        "a spoilt frame is accepted and is not its own encoding: {}",
                        trace::message(&other.message)
                    )
                });
                self.oracle.verdict.count("spoilt frame that can be read");
                self.note_lie(host, &other.message);
                self.transmit(host, peer, &Rc::new(other));
            }
            Err(_) => self.break_link(host, peer),
        }
    }

    /// A frame arrives.
    pub(crate) fn deliver(&mut self, frame: Frame) {
        let Frame {
            from,
            to,
            link,
            envelope,
            ..
        } = frame;
        if self.network.link(from, to) != Some(link) || self.hosts[to].channels[from] != Some(link) {
            return;
        }
        let member = self.hosts[from].member;
        if let Some(liar) = &mut self.hosts[to].liar {
            let acts = liar.heard(member, &envelope.message);
            let deaf = liar.is_deaf();
            self.act(to, acts);
            if deaf {
                return;
            }
        }
        let mut envelope = Rc::unwrap_or_clone(envelope);
        if let (Message::Shown(shown), false) = (&mut envelope.message, self.hosts[to].correct) {
            // A faulty member is not stopped by what it said.
            **shown = Shown::nothing(shown.member);
        }
        match check(&self.hosts[to].context, member, envelope) {
            Ok(checked) if self.routed(to, member, checked.message()) => {}
            Ok(checked) => {
                let told = match checked.message() {
                    Message::Committed { slot, .. } => Some(*slot),
                    _ => None,
                };
                let before = self.hosts[to].committed;
                self.step(to, Input::Message(checked));
                // The claim itself brought the commit: no vote did.
                let state = &self.hosts[to];
                if told.is_some_and(|slot| before < slot && slot <= state.committed && state.correct) {
                    self.oracle.verdict.count("a laggard commits what it is told");
                }
            }
            Err(reason) => {
                let scene = self.scene(to);
                let wrong = self.hosts[from].judged() && self.hosts[to].judged();
                self.oracle.verdict.check(!wrong, scene, "19", || {
                    format!("refuses a message of correct {member}: {}", reason.name())
                });
                self.oracle.verdict.count("message refused");
                self.oracle.verdict.count(refusal(reason));
                self.break_link(from, to);
            }
        }
    }

    /// A flush is done, or due.
    pub(crate) fn flushed(&mut self, host: HostId) {
        loop {
            let done = match self.hosts[host].disk.complete(self.time) {
                Ok(Some(done)) => done,
                Ok(None) => break,
                Err(error) => return self.end_process(host, &error),
            };
            self.learn(host);
            for outbound in &done.release {
                self.emit(host, outbound);
            }
            self.step(host, Input::Appended(done.id));
            self.release_log(host, done.id);
        }
        if let Some(at) = self.hosts[host].disk.again(self.time, &mut self.prng) {
            let life = self.hosts[host].life;
            self.at(at, Event::Flushed { host, life });
        }
    }

    /// The oracle hears what became durable.
    pub(crate) fn learn(&mut self, host: HostId) {
        let (scene, domain) = (self.scene(host), self.ring.domain());
        let host = &mut self.hosts[host];
        let (from, to) = (host.known, host.disk.durable());
        host.known = to;
        if !host.correct || from >= to {
            return;
        }
        for record in host.disk.range(from, to) {
            if host.judged() {
                self.oracle.durable(scene, record, &host.facts);
            }
            host.facts.add(&domain, record);
        }
    }

    /// A slot goes to execution.
    pub(crate) fn judge_ordered(&mut self, host: HostId, execution: &Execution) {
        if self.hosts[host].memory.forgot {
            self.oracle.history.installed(self.hosts[host].member, execution.slot);
        }
        if self.hosts[host].judged() {
            let scene = self.scene(host);
            let oracle = &mut self.oracle;
            let fresh = oracle
                .history
                .ordered(scene, &mut oracle.verdict, &oracle.chain, execution);
            oracle.committed(scene, execution.slot, execution.block);
            if fresh {
                let ring = &self.ring;
                let signed =
                    |client: &_, statement: &_, signature: &_| ring.client_signed(client, statement, signature);
                oracle
                    .history
                    .judge_bodies(scene, &mut oracle.verdict, &ring.domain(), execution, signed);
            }
        }
    }

    /// Executes a slot, judges what it did, and answers clients.
    pub(crate) fn execute(&mut self, host: HostId, execution: &Execution) -> Option<StateVote> {
        if execution.slot <= self.hosts[host].machine.executed() {
            // An image that was fetched meanwhile holds what it did.
            return None;
        }
        let done = self.hosts[host].machine.execute(execution);
        self.make_image(host, execution);
        self.oracle.verdict.add("copy of a request", u64::from(done.duplicates));
        if self.hosts[host].judged() {
            let scene = self.scene(host);
            let replies = done.replies.iter().map(|set| (set.client, set.digest)).collect();
            let replies = (!execution.replay).then_some(replies);
            let verdict = &mut self.oracle.verdict;
            self.oracle
                .history
                .executed(scene, verdict, execution.slot, replies, done.applied);
        }
        self.answer(host, done.replies);
        done.state
    }

    pub(crate) fn enqueue(&mut self, host: HostId, work: Work) {
        self.hosts[host].work.push_back(work);
        if self.hosts[host].work.len() == 1 {
            self.schedule_work(host);
        }
    }

    fn schedule_work(&mut self, host: HostId) {
        let at = self.time + 1 + self.prng.skewed(self.plan.execution_us);
        let life = self.hosts[host].life;
        self.at(at, Event::Worked { host, life });
    }

    /// The execution stage finishes a piece of work.
    pub(crate) fn worked(&mut self, host: HostId) {
        let work = self.hosts[host].work.pop_front().expect("work was scheduled");
        if !self.hosts[host].work.is_empty() {
            self.schedule_work(host);
        }
        let (slot, state) = match work {
            Work::Root(slot) => {
                let machine = &mut self.hosts[host].machine;
                (slot, (slot == machine.executed()).then(|| machine.state_root(slot)))
            }
            Work::Execute(execution) => (execution.slot, self.execute(host, &execution)),
            Work::Install(fetched) => return self.install(host, *fetched),
        };
        self.step(host, Input::Executed { slot, state });
    }

    /// Reads the log for another member.
    pub(crate) fn serve(&mut self, host: HostId, to: MemberId, kind: Stored, digests: &[Digest]) {
        self.oracle.verdict.count("served from the log");
        let messages = self.hosts[host].look_up(kind, digests);
        self.collect_findings(host);
        for message in messages {
            self.emit(
                host,
                &Outbound {
                    to: To::One(to),
                    message,
                },
            );
        }
    }
}
