//! A cluster on a simulated network and disks: messages take time and are lost when a channel closes, writes take time and
//! are lost in a crash, replicas crash and come back. Everything is drawn from one seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use trireme_core::api::{AppendId, Effect, Execution, Input, Outbound, To};
use trireme_core::check::{CheckContext, check_crash};
use trireme_core::message::{Envelope, SignedBlock, StateCertificate, StateVote};
use trireme_core::record::Record;
use trireme_core::types::{Height, Keys};
use trireme_core::wire::{decode_envelope, decode_record, encode_envelope, encode_record};
use trireme_core::{MemberId, Now, Params, Slot, Tick};
use trireme_crypto::{Digest, Domain, Signature, context, hash_parts};
use trireme_raft::RaftReplica;

const DOMAIN: Domain = Domain {
    cluster_id: Digest([7; 32]),
    epoch: 0,
};
const GENESIS: Digest = Digest([9; 32]);
const START_US: u64 = 1_000_000;

/// Signs by hashing: nobody lies here.
struct Plain(MemberId);

impl Keys for Plain {
    fn me(&self) -> MemberId {
        self.0
    }

    fn domain(&self) -> Domain {
        DOMAIN
    }

    fn sign(&self, statement: &Digest) -> Signature {
        Signature([statement.0, statement.0].concat().try_into().expect("64 bytes"))
    }

    fn invalid(&self, entries: &[(MemberId, Digest, Signature)]) -> Vec<usize> {
        let good = |(_, statement, signature): &(MemberId, Digest, Signature)| self.sign(statement) == *signature;
        (0..entries.len()).filter(|i| !good(&entries[*i])).collect()
    }
}

/// xorshift.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// The application: what was executed, in order.
#[derive(Clone, Default)]
struct State {
    slot: Slot,
    root: Vec<u8>,
    bodies: Vec<Bytes>,
}

#[derive(Clone)]
struct Snapshot {
    certificate: StateCertificate,
    anchor: SignedBlock,
    state: State,
}

struct Pending {
    id: AppendId,
    records: Vec<Record>,
    release: Vec<Outbound>,
}

struct Release {
    after: AppendId,
    heights: Vec<Height>,
}

#[derive(Default)]
struct Host {
    replica: Option<RaftReplica>,
    life: u64,
    log: Vec<(AppendId, Record)>,
    /// Appends of the lives before have smaller numbers.
    past: AppendId,
    pending: VecDeque<Pending>,
    releases: Vec<Release>,
    state: State,
    images: BTreeMap<Slot, State>,
    snapshots: BTreeMap<Slot, Snapshot>,
    installs: u64,
}

impl Host {
    /// Whether a batch is on its disk, as a record or as part of a state.
    fn has_stored(&self, digest: &Digest, body: &Bytes) -> bool {
        let logged = self.log.iter().any(|(_, record)| {
            matches!(record, Record::Batch(batch) if batch.body == *body && batch.head.header.digest(&DOMAIN) == *digest)
        });
        logged
            || self
                .snapshots
                .values()
                .any(|snapshot| snapshot.state.bodies.contains(body))
    }
}

enum Event {
    Frame(MemberId, MemberId, u64, Bytes),
    Flush(MemberId, u64),
    Wake(MemberId, u64),
    Executed(MemberId, u64, Slot, Option<StateVote>),
}

pub(crate) struct Lab {
    hosts: Vec<Host>,
    params: Params,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    pub(crate) now_us: u64,
    pub(crate) dice: Dice,
    /// Generation of each channel; odd: open.
    channels: BTreeMap<(MemberId, MemberId), u64>,
    arrivals: BTreeMap<(MemberId, MemberId), u64>,
    /// What any replica executed in a slot.
    order: BTreeMap<Slot, Digest>,
    /// All bodies that any replica executed.
    pub(crate) executed: BTreeSet<Bytes>,
    pub(crate) releases: u64,
}

impl Lab {
    pub(crate) fn new(n: u16, seed: u64) -> Self {
        let mut params = Params::new(n, 0);
        params.checkpoint_slots = 40;
        params.log_window = 400;
        let mut lab = Self {
            hosts: (0..n).map(|_| Host::default()).collect(),
            params,
            events: BTreeMap::new(),
            next_event: 0,
            now_us: START_US,
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            channels: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            order: BTreeMap::new(),
            executed: BTreeSet::new(),
            releases: 0,
        };
        (0..n).for_each(|member| lab.start(member));
        lab.connect_all();
        lab
    }

    fn members(&self) -> std::ops::Range<MemberId> {
        0..self.params.n
    }

    fn now(&self) -> Now {
        Now {
            tick: Tick(self.now_us),
            wall_us: 1_700_000_000_000_000 + self.now_us,
        }
    }

    fn at(&mut self, us: u64, event: Event) {
        self.next_event += 1;
        self.events.insert((us, self.next_event), event);
    }

    pub(crate) fn is_up(&self, member: MemberId) -> bool {
        self.hosts[usize::from(member)].replica.is_some()
    }

    pub(crate) fn replica(&self, member: MemberId) -> &RaftReplica {
        self.hosts[usize::from(member)].replica.as_ref().expect("it is up")
    }

    /// A replica from its disk.
    pub(crate) fn start(&mut self, member: MemberId) {
        let keys: Arc<dyn Keys> = Arc::new(Plain(member));
        let mut replica = RaftReplica::new(self.params.clone(), keys, GENESIS, false);
        let host = &mut self.hosts[usize::from(member)];
        host.life += 1;
        host.state = State::default();
        if let Some((_, newest)) = host.snapshots.last_key_value() {
            host.state = newest.state.clone();
            replica.anchored(newest.certificate.clone(), newest.anchor.clone());
        }
        host.past = host.log.last().map_or(0, |(id, _)| *id);
        let mut out = Vec::new();
        for (_, record) in host.log.clone() {
            let (kind, head, body) = encode_record(&record);
            let payload = [&head[..], &body[..]].concat();
            replica.replay(decode_record(kind, payload.into()).expect("own record"), &mut out);
            for effect in std::mem::take(&mut out) {
                let Effect::Execute(execution) = effect else {
                    panic!("a replay only executes, not {effect:?}");
                };
                if let Some(vote) = self.execute(member, &execution) {
                    replica.replayed(vote);
                }
            }
        }
        assert!(!replica.forgot(), "replica {member} forgot");
        replica.start(self.now(), &mut out);
        self.hosts[usize::from(member)].replica = Some(replica);
        self.perform(member, out);
        self.wake(member);
    }

    /// What was not durable is lost, or, sometimes, was written after all.
    pub(crate) fn crash(&mut self, member: MemberId) {
        for other in self.members() {
            self.disconnect(member, other);
        }
        let written = self.dice.below(3) == 0;
        let host = &mut self.hosts[usize::from(member)];
        host.replica = None;
        host.life += 1;
        let past = host.past;
        for pending in host.pending.drain(..) {
            if written {
                host.log
                    .extend(pending.records.into_iter().map(|record| (past + pending.id, record)));
            }
        }
        host.releases.clear();
        host.images.clear();
    }

    fn channel(&mut self, a: MemberId, b: MemberId) -> &mut u64 {
        self.channels.entry((a.min(b), a.max(b))).or_default()
    }

    fn is_open(&mut self, a: MemberId, b: MemberId) -> bool {
        !(*self.channel(a, b)).is_multiple_of(2)
    }

    pub(crate) fn connect(&mut self, a: MemberId, b: MemberId) {
        if a == b || !self.is_up(a) || !self.is_up(b) || self.is_open(a, b) {
            return;
        }
        *self.channel(a, b) += 1;
        self.step(a, Input::Connected(b));
        self.step(b, Input::Connected(a));
    }

    pub(crate) fn connect_all(&mut self) {
        for a in self.members() {
            for b in a + 1..self.params.n {
                self.connect(a, b);
            }
        }
    }

    pub(crate) fn disconnect(&mut self, a: MemberId, b: MemberId) {
        if a == b || !self.is_open(a, b) {
            return;
        }
        *self.channel(a, b) += 1;
        for (member, other) in [(a, b), (b, a)] {
            if self.is_up(member) {
                self.step(member, Input::Disconnected(other));
            }
        }
    }

    pub(crate) fn submit(&mut self, member: MemberId, body: Bytes) -> bool {
        if !self.is_up(member) || self.replica(member).intake_bytes() < body.len() {
            return false;
        }
        self.step(member, Input::Bundle { bytes: body, ops: 1 });
        true
    }

    fn step(&mut self, member: MemberId, input: Input) {
        let now = self.now();
        let Some(replica) = &mut self.hosts[usize::from(member)].replica else {
            return;
        };
        let mut out = Vec::new();
        replica.step(now, input, &mut out);
        replica.step(now, Input::Idle, &mut out);
        self.perform(member, out);
        self.wake(member);
    }

    fn wake(&mut self, member: MemberId) {
        let life = self.hosts[usize::from(member)].life;
        if let Some(due) = self.replica(member).next_timeout() {
            self.at(due.0.max(self.now_us + 1), Event::Wake(member, life));
        }
    }

    fn perform(&mut self, member: MemberId, out: Vec<Effect>) {
        let life = self.hosts[usize::from(member)].life;
        for effect in out {
            match effect {
                Effect::Append {
                    id, records, release, ..
                } => {
                    let host = &mut self.hosts[usize::from(member)];
                    host.pending.push_back(Pending { id, records, release });
                    let due = self.now_us + 50 + self.dice.below(400);
                    self.at(due, Event::Flush(member, life));
                }
                Effect::Send(outbound) => self.send(member, outbound),
                Effect::Execute(execution) => {
                    let state = self.execute(member, &execution);
                    let due = self.now_us + 10 + self.dice.below(50);
                    self.at(due, Event::Executed(member, life, execution.slot, state));
                }
                Effect::StateRoot { slot } => {
                    let vote = self.vote(member, slot, 0, false);
                    self.at(self.now_us + 10, Event::Executed(member, life, slot, Some(vote)));
                }
                Effect::Stable { certificate, anchor } => self.stable(member, *certificate, *anchor),
                Effect::Transfer { certificate } => self.transfer(member, *certificate),
                Effect::Release { after, heights, .. } => {
                    self.releases += 1;
                    let host = &mut self.hosts[usize::from(member)];
                    let after = host.past + after;
                    host.releases.push(Release { after, heights });
                }
                Effect::Serve { to, digests, .. } => self.serve(member, to, &digests),
                other => panic!("replica {member} of an honest cluster: {other:?}"),
            }
        }
    }

    fn serve(&mut self, member: MemberId, to: MemberId, digests: &[Digest]) {
        for digest in digests {
            let log = self.hosts[usize::from(member)].log.iter();
            let found = log.rev().find_map(|(_, record)| match record {
                Record::Batch(batch) if batch.head.header.digest(&DOMAIN) == *digest => Some(batch.clone()),
                _ => None,
            });
            let message = match found {
                Some(batch) => trireme_core::Message::Batch(batch),
                None => trireme_core::Message::NotHeld { digest: *digest },
            };
            let to = To::One(to);
            self.send(member, Outbound { to, message });
        }
    }

    fn send(&mut self, from: MemberId, outbound: Outbound) {
        let view = self.hosts[usize::from(from)]
            .replica
            .as_ref()
            .map_or(0, RaftReplica::view);
        let message = outbound.message;
        let frame = encode_envelope(&Envelope {
            epoch: 0,
            view,
            message,
        });
        let receivers: Vec<MemberId> = match outbound.to {
            To::All => self.members().filter(|to| *to != from).collect(),
            To::One(to) => vec![to],
        };
        for to in receivers {
            let generation = *self.channel(from, to);
            if generation % 2 == 1 {
                let delay = 100 + self.dice.below(900);
                let last = self.arrivals.entry((from, to)).or_default();
                *last = (*last + 1).max(self.now_us + delay);
                let due = *last;
                self.at(due, Event::Frame(from, to, generation, frame.clone()));
            }
        }
    }

    fn execute(&mut self, member: MemberId, execution: &Execution) -> Option<StateVote> {
        let known = self.order.entry(execution.slot).or_insert(execution.block);
        assert_eq!(*known, execution.block, "slot {} at replica {member}", execution.slot);
        for batch in &execution.batches {
            let holders = self
                .hosts
                .iter()
                .filter(|host| host.has_stored(&batch.digest, &batch.body));
            let holders = holders.count();
            assert!(
                2 * holders > self.hosts.len(),
                "a batch of slot {} at {holders}",
                execution.slot
            );
        }
        let host = &mut self.hosts[usize::from(member)];
        assert_eq!(execution.slot, host.state.slot + 1, "in order at replica {member}");
        host.state.slot = execution.slot;
        host.state.root = hash_parts(context::STATE, &[&host.state.root, &execution.block.0])
            .0
            .to_vec();
        for batch in &execution.batches {
            assert!(!host.state.bodies.contains(&batch.body), "twice at replica {member}");
            host.state.bodies.push(batch.body.clone());
            self.executed.insert(batch.body.clone());
        }
        if !execution.checkpoint {
            return None;
        }
        let state = host.state.clone();
        host.images.insert(execution.slot, state);
        Some(self.vote(member, execution.slot, execution.timestamp, true))
    }

    fn vote(&self, member: MemberId, slot: Slot, timestamp: u64, checkpoint: bool) -> StateVote {
        let root = &self.hosts[usize::from(member)].state.root;
        StateVote {
            slot,
            state_root: Digest(root.clone().try_into().expect("32 bytes")),
            receipts_root: Digest::ZERO,
            timestamp,
            checkpoint,
        }
    }

    fn stable(&mut self, member: MemberId, certificate: StateCertificate, anchor: SignedBlock) {
        let host = &mut self.hosts[usize::from(member)];
        let slot = anchor.block.slot;
        let Some(state) = host.images.remove(&slot) else { return };
        host.snapshots.insert(
            slot,
            Snapshot {
                certificate,
                anchor,
                state,
            },
        );
        while host.snapshots.len() > 2 {
            host.snapshots.pop_first();
        }
        self.step(member, Input::Snapshotted { slot });
    }

    /// From anybody who is up and has it, at once.
    fn transfer(&mut self, member: MemberId, certificate: StateCertificate) {
        let slot = certificate.vote.slot;
        let holders = self.hosts.iter().filter(|host| host.replica.is_some());
        let Some(snapshot) = holders.filter_map(|host| host.snapshots.get(&slot)).next().cloned() else {
            return;
        };
        let host = &mut self.hosts[usize::from(member)];
        host.installs += 1;
        if snapshot.state.slot > host.state.slot {
            host.state = snapshot.state.clone();
        }
        host.snapshots.insert(slot, snapshot.clone());
        let Snapshot {
            certificate, anchor, ..
        } = snapshot;
        let (certificate, anchor) = (Box::new(certificate), Box::new(anchor));
        self.step(member, Input::Installed { certificate, anchor });
    }

    fn flush(&mut self, member: MemberId) {
        let host = &mut self.hosts[usize::from(member)];
        let Some(Pending { id, records, release }) = host.pending.pop_front() else {
            return;
        };
        let place = host.past + id;
        host.log.extend(records.into_iter().map(|record| (place, record)));
        while let Some(first) = host.releases.first()
            && first.after <= place
        {
            let Release { after, heights } = host.releases.remove(0);
            host.log.retain(|(at, record)| match record {
                Record::Batch(batch) => {
                    let header = &batch.head.header;
                    header.height > heights[usize::from(header.lane)]
                }
                _ => *at >= after,
            });
        }
        for outbound in release {
            self.send(member, outbound);
        }
        self.step(member, Input::Appended(id));
    }

    fn deliver(&mut self, from: MemberId, to: MemberId, generation: u64, frame: Bytes) {
        if *self.channel(from, to) == generation {
            let keys: Arc<dyn Keys> = Arc::new(Plain(to));
            let gate = CheckContext::new(self.params.clone(), GENESIS, keys);
            let envelope = decode_envelope(frame).expect("own frame");
            let checked = check_crash(&gate, from, envelope).expect("honest");
            self.step(to, Input::Message(checked));
        }
    }

    /// Lets the time pass.
    pub(crate) fn run(&mut self, us: u64) {
        let end = self.now_us + us;
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= end
        {
            let ((at, _), event) = entry.remove_entry();
            self.now_us = at;
            match event {
                Event::Frame(from, to, generation, frame) => {
                    self.deliver(from, to, generation, frame);
                }
                Event::Flush(member, life) if self.hosts[usize::from(member)].life == life => self.flush(member),
                Event::Wake(member, life) if self.hosts[usize::from(member)].life == life => {
                    let due = self.replica(member).next_timeout();
                    if due.is_some_and(|due| due.0 <= at) {
                        self.step(member, Input::Timeout);
                    }
                }
                Event::Executed(member, life, slot, state) if self.hosts[usize::from(member)].life == life => {
                    self.step(member, Input::Executed { slot, state });
                }
                _ => {}
            }
        }
        self.now_us = end;
    }

    /// All are up, executed equally far, and no more than what any replica executed.
    pub(crate) fn agrees(&self) -> bool {
        let first = &self.hosts[0].state;
        let same = |host: &Host| host.replica.is_some() && host.state.root == first.root;
        self.hosts.iter().all(same) && first.bodies.len() == self.executed.len()
    }

    pub(crate) fn executed_by(&self, member: MemberId) -> BTreeSet<Bytes> {
        self.hosts[usize::from(member)].state.bodies.iter().cloned().collect()
    }

    pub(crate) fn installs(&self) -> u64 {
        self.hosts.iter().map(|host| host.installs).sum()
    }

    pub(crate) fn log_records(&self, member: MemberId) -> usize {
        self.hosts[usize::from(member)].log.len()
    }

    /// The leader that most replicas follow.
    pub(crate) fn leader(&self) -> MemberId {
        let up = self.members().filter(|member| self.is_up(*member));
        let newest = up.max_by_key(|member| self.replica(*member).view());
        self.replica(newest.expect("somebody is up")).leader()
    }
}
