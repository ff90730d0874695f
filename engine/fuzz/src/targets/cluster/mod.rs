//! `Replica::step` with structured inputs: three replicas and a liar, and the input decides what happens next.
//!
//! The replicas are real, their disks, clocks and links are queues that the input moves, and the fourth member says
//! whatever the input makes of what it has heard, signed with its own key. Each replica gets, in any interleaving,
//! messages past the gate, timers, connections, flushes in order, verdicts and bundles. What must hold is the judge's.

mod judge;
mod liar;

use std::collections::VecDeque;
use std::sync::Arc;

use trireme_core::api::{Effect, Input, Outbound};
use trireme_core::check::{CheckContext, check};
use trireme_core::message::{Envelope, StateVote};
use trireme_core::record::Record;
use trireme_core::types::Keys;
use trireme_core::{MemberId, Message, Now, Params, Replica, Tick, To, wire};
use trireme_crypto::{Digest, context, hash};

use super::Samples;
use super::requests::bundle_of;
use crate::Source;
use crate::party::{PartyKeys, WALL_US, genesis};
use judge::Judge;
use liar::Liar;

const MEMBERS: usize = 4;
/// The most that one input does: mutants are long at times.
const MAX_TURNS: usize = 1_500;
/// Effects of one step: what a replica says at once is bounded.
const MAX_EFFECTS: usize = 2_048;

/// One real replica and what stands around it.
struct Host {
    me: MemberId,
    replica: Replica,
    gate: CheckContext,
    /// Written, not durable: records, what they release, and their number.
    unwritten: VecDeque<(u64, Vec<Record>, Vec<Outbound>)>,
    durable: Vec<Record>,
    /// Verdicts and executions that are under way.
    jobs: VecDeque<Input>,
    connected: [bool; MEMBERS],
}

struct Cluster {
    params: Params,
    hosts: Vec<Host>,
    liar: Liar,
    /// Messages under way, for each (from, to).
    links: Vec<VecDeque<Envelope>>,
    time_us: u64,
    judge: Judge,
    requests: u64,
}

fn start(me: MemberId, params: &Params, records: &[Record], now: Now) -> (Replica, Vec<Effect>) {
    let keys: Arc<dyn Keys> = Arc::new(PartyKeys { me, n: params.n });
    let mut replica = Replica::new(params.clone(), keys, genesis());
    let mut out = Vec::new();
    for record in records {
        replica.replay(record.clone(), &mut out);
    }
    replica.start(now, &mut out);
    (replica, out)
}

impl Cluster {
    fn new(source: &mut Source<'_>) -> Self {
        let mut params = Params::new(4, 1);
        params.window = source.pick(&[1, 2, 4, 64]);
        params.w0 = source.pick(&[1, 2]);
        params.lane_window_heights = source.pick(&[8, 256]);
        params.state_interval = 2;
        let faulty = source.below(MEMBERS) as MemberId;
        let mut cluster = Self {
            judge: Judge::new(&params, faulty),
            liar: Liar::new(faulty, params.clone()),
            hosts: Vec::new(),
            links: (0..MEMBERS * MEMBERS).map(|_| VecDeque::new()).collect(),
            time_us: 0,
            params,
            requests: 0,
        };
        for me in (0..4).filter(|me| *me != faulty) {
            let (replica, out) = start(me, &cluster.params, &[], cluster.now());
            cluster.hosts.push(Host {
                me,
                gate: replica.check_context(),
                replica,
                unwritten: VecDeque::new(),
                durable: Vec::new(),
                jobs: VecDeque::new(),
                connected: [false; MEMBERS],
            });
            cluster.perform(cluster.hosts.len() - 1, out);
        }
        for host in 0..3 {
            for member in 0..MEMBERS {
                cluster.connect(host, member);
            }
        }
        cluster
    }

    fn now(&self) -> Now {
        Now {
            tick: Tick(1_000_000 + self.time_us),
            wall_us: WALL_US + self.time_us,
        }
    }

    fn step(&mut self, host: usize, input: Input) {
        let mut out = Vec::new();
        let now = self.now();
        self.hosts[host].replica.step(now, input, &mut out);
        assert!(out.len() <= MAX_EFFECTS, "one step, {} effects", out.len());
        self.perform(host, out);
        self.judge.bounds(&self.hosts[host].replica.status());
        self.judge.committed(&self.hosts[host].replica);
    }

    fn perform(&mut self, host: usize, effects: Vec<Effect>) {
        let me = self.hosts[host].me;
        for effect in effects {
            match effect {
                Effect::Append {
                    id, records, release, ..
                } => self.hosts[host].unwritten.push_back((id, records, release)),
                Effect::Send(outbound) => self.send(host, &outbound),
                Effect::Verify { job, body, .. } => {
                    let good = !body.ends_with(b"forged");
                    self.hosts[host].jobs.push_back(Input::Verified { job, good });
                }
                Effect::Execute(execution) => {
                    self.judge.executed(me, &execution);
                    let wanted = execution.root || execution.checkpoint;
                    let state = wanted.then(|| root(execution.slot, &execution.block, execution.checkpoint));
                    let slot = execution.slot;
                    if !execution.replay {
                        self.hosts[host].jobs.push_back(Input::Executed { slot, state });
                    }
                }
                Effect::StateRoot { slot } => {
                    let block = self.judge.block_of(slot);
                    let state = Some(root(slot, &block, false));
                    self.hosts[host].jobs.push_back(Input::Executed { slot, state });
                }
                Effect::Evidence(evidence) => self.judge.evidence(&evidence),
                Effect::Alarm(alarm) => panic!("replica {me}: {alarm:?}"),
                Effect::Disconnect { member, .. } => {
                    self.judge.accused(member);
                    self.disconnect(host, member);
                }
                // Its constants give no checkpoint.
                Effect::Quarantined(_) | Effect::Readmitted(_) => {}
                Effect::Serve { .. } | Effect::Stable { .. } | Effect::Release { .. } | Effect::Transfer { .. } => {}
            }
        }
    }

    fn send(&mut self, host: usize, outbound: &Outbound) {
        let (me, view) = (self.hosts[host].me, self.hosts[host].replica.view());
        self.judge.said(me, &outbound.message);
        for to in 0..MEMBERS {
            let meant = match outbound.to {
                To::All => to != usize::from(me),
                To::One(member) => usize::from(member) == to,
            };
            if !meant || !self.hosts[host].connected[to] {
                continue;
            }
            if to == usize::from(self.liar.me) {
                self.liar.hear(me, &outbound.message);
                continue;
            }
            let envelope = Envelope {
                epoch: 0,
                view,
                message: outbound.message.clone(),
            };
            self.links[usize::from(me) * MEMBERS + to].push_back(envelope);
        }
    }

    fn host_of(&self, member: usize) -> Option<usize> {
        self.hosts.iter().position(|host| usize::from(host.me) == member)
    }

    fn connect(&mut self, host: usize, member: usize) {
        let me = usize::from(self.hosts[host].me);
        if member == me || self.hosts[host].connected[member] {
            return;
        }
        self.hosts[host].connected[member] = true;
        let peer = MemberId::try_from(member).expect("a member");
        self.step(host, Input::Connected(peer));
        if let Some(other) = self.host_of(member) {
            self.connect(other, me);
        }
    }

    fn disconnect(&mut self, host: usize, member: MemberId) {
        let (me, member) = (usize::from(self.hosts[host].me), usize::from(member));
        if member == me || !self.hosts[host].connected[member] {
            return;
        }
        self.hosts[host].connected[member] = false;
        self.links[me * MEMBERS + member].clear();
        let peer = MemberId::try_from(member).expect("a member");
        self.step(host, Input::Disconnected(peer));
        if let Some(other) = self.host_of(member) {
            self.disconnect(other, MemberId::try_from(me).expect("a member"));
        }
    }

    /// A frame of the liar's, through the gate, in bytes.
    fn lie(&mut self, host: usize, message: Message, announced: u64) {
        let liar = self.liar.me;
        if !self.hosts[host].connected[usize::from(liar)] {
            return;
        }
        let envelope = Envelope {
            epoch: 0,
            view: announced,
            message,
        };
        let read = wire::decode_envelope(wire::encode_envelope(&envelope));
        assert_eq!(read.as_ref(), Ok(&envelope), "a frame says what was meant");
        if let Ok(checked) = check(&self.hosts[host].gate, liar, envelope) {
            self.step(host, Input::Message(checked));
        }
    }

    fn deliver(&mut self, host: usize, from: usize) {
        let to = usize::from(self.hosts[host].me);
        let Some(envelope) = self.links[from * MEMBERS + to].pop_front() else {
            return;
        };
        let sender = MemberId::try_from(from).expect("a member");
        let checked = check(&self.hosts[host].gate, sender, envelope.clone());
        let checked = checked.unwrap_or_else(|reason| panic!("{to} refuses correct {from}'s {envelope:?}: {reason:?}"));
        self.step(host, Input::Message(checked));
    }

    /// The oldest write becomes durable.
    fn flush(&mut self, host: usize) {
        let Some((id, records, release)) = self.hosts[host].unwritten.pop_front() else {
            return;
        };
        self.hosts[host].durable.extend(records);
        for outbound in &release {
            self.send(host, outbound);
        }
        self.step(host, Input::Appended(id));
    }

    /// Power is lost: what was not durable is gone.
    fn restart(&mut self, host: usize) {
        for member in 0..MEMBERS {
            self.disconnect(host, MemberId::try_from(member).expect("a member"));
        }
        let (me, now) = (self.hosts[host].me, self.now());
        self.judge.restarted(me);
        let (replica, out) = start(me, &self.params, &self.hosts[host].durable, now);
        let entry = &mut self.hosts[host];
        entry.replica = replica;
        entry.unwritten.clear();
        entry.jobs.clear();
        self.perform(host, out);
    }

    fn turn(&mut self, source: &mut Source<'_>) {
        let host = source.below(3);
        match source.below(16) {
            0..=4 => {
                let from = source.below(MEMBERS);
                for _ in 0..=source.below(4) {
                    self.deliver(host, from);
                }
            }
            5 | 6 => self.settle(source.below(8)),
            7 => self.flush(host),
            8 => {
                if let Some(done) = self.hosts[host].jobs.pop_front() {
                    self.step(host, done);
                }
            }
            9 => {
                self.time_us += u64::from(source.word()) * 4;
                if self.hosts[host]
                    .replica
                    .next_timeout()
                    .is_some_and(|due| due <= self.now().tick)
                {
                    self.step(host, Input::Timeout);
                }
            }
            10 => self.bundle(host),
            11 => match source.below(4) {
                0 => self.disconnect(host, source.below(MEMBERS) as MemberId),
                1 => self.restart(host),
                _ => self.connect(host, source.below(MEMBERS)),
            },
            _ => {
                let view = self.hosts[host].replica.view();
                if let Some(message) = self.liar.speak(source, view) {
                    let announced = if source.chance(200) { view } else { source.number() };
                    self.lie(host, message, announced);
                }
            }
        }
    }

    fn bundle(&mut self, host: usize) {
        self.requests += 1;
        let bytes = bundle_of(1, 0, &[(self.requests, b"request")]);
        if self.hosts[host].replica.intake_bytes() >= bytes.len() {
            let input = Input::Bundle {
                bytes: bytes.into(),
                ops: 1,
            };
            self.step(host, input);
        }
        self.step(host, Input::Idle);
    }

    /// Everything that is under way among the correct arrives, some times over.
    fn settle(&mut self, rounds: usize) {
        for _ in 0..rounds {
            for host in 0..3 {
                while !self.hosts[host].unwritten.is_empty() {
                    self.flush(host);
                }
                while let Some(done) = self.hosts[host].jobs.pop_front() {
                    self.step(host, done);
                }
                for from in 0..MEMBERS {
                    let to = usize::from(self.hosts[host].me);
                    for _ in 0..self.links[from * MEMBERS + to].len() {
                        self.deliver(host, from);
                    }
                }
                self.step(host, Input::Idle);
            }
        }
    }
}

/// A root that every correct replica computes alike.
fn root(slot: u64, block: &Digest, checkpoint: bool) -> StateVote {
    StateVote {
        slot,
        state_root: hash(context::STATE, &block.0),
        receipts_root: hash(context::STATE, &slot.to_le_bytes()),
        timestamp: slot,
        checkpoint,
    }
}

pub(super) fn run(bytes: &[u8]) -> bool {
    let mut source = Source::new(bytes);
    let mut cluster = Cluster::new(&mut source);
    for _ in 0..MAX_TURNS {
        if source.is_empty() {
            break;
        }
        cluster.turn(&mut source);
    }
    cluster.judge.slots() > 0
}

pub(super) fn samples() -> Samples {
    // Bundles, everything arrives, time passes: commits in a calm cluster; then with each kind of lie in between.
    let calm = [0, 10, 1, 5, 3, 0, 9, 0, 64, 1, 10, 2, 5, 3];
    let turn = |kind: u8| [&[2, 12, kind, 1, 2, 3, 4, 0, 1][..], &calm[..]].concat();
    let mut samples = vec![("calm".to_owned(), [&[3, 1, 1, 3][..], &calm, &calm, &calm].concat())];
    for kind in 0..liar::KINDS as u8 {
        let bytes = [&[kind % 4, 1, 1, kind % 4][..], &calm, &turn(kind), &turn(kind)].concat();
        samples.push((format!("lie-{kind}"), bytes));
    }
    let restart = [1, 11, 1, 0, 11, 2, 0, 0, 11, 2, 1];
    samples.push((
        "restart".to_owned(),
        [&[1, 0, 0, 2][..], &calm, &restart, &calm, &restart, &calm].concat(),
    ));
    samples
}
