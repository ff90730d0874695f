//! One replica of the cluster: a core, its inbox, and its clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use trireme_core::api::{Effect, Input, Outbound};
use trireme_core::check::{CheckContext, check};
use trireme_core::message::{Envelope, Message, StateVote};
use trireme_core::request::{Body, BundleRef};
use trireme_core::types::Keys as _;
use trireme_core::wire::{decode_envelope, encode_envelope, encode_record};
use trireme_core::{MemberId, Now, Params, Replica, Tick};
use trireme_crypto::{Digest, Signed, VerifyingKey, context, hash, invalid_in_batch};

use super::keys::Ring;
use super::{Load, Model, nanos};
use crate::load::DOMAIN;
use crate::meter::thread_cpu;

const GENESIS: Digest = Digest([9; 32]);
/// Simulated time begins here, so that nothing lies before zero.
const ORIGIN_US: u64 = 1_000_000;
const WALL_US: u64 = 1_790_000_000_000_000;
/// Inputs of one turn at most, as a stage's budget.
const TURN: usize = 256;

/// What comes to a replica.
pub(super) enum Arrival {
    Frame { from: MemberId, frame: Bytes },
    Bundle { bytes: Bytes },
    Durable { id: u64 },
}

/// Nanoseconds by kind of work.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) clients: u64,
    pub(super) codec: u64,
    pub(super) core: u64,
    pub(super) transport: u64,
    pub(super) log: u64,
    pub(super) execute: u64,
}

/// What a turn led to: times in nanoseconds.
#[derive(Default)]
pub(super) struct Done {
    pub(super) sent: Vec<(u64, Outbound)>,
    pub(super) durable: Vec<(u64, u64)>,
    /// The first request's number of each bundle.
    pub(super) executed: Vec<u64>,
}

struct Item {
    at: u64,
    order: u64,
    arrival: Arrival,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Item {}
impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Item {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// See the module's text.
pub(super) struct Host {
    pub(super) replica: Replica,
    pub(super) ring: Arc<Ring>,
    pub(super) parts: Parts,
    /// Requests executed.
    pub(super) executed: u64,
    /// From when on its core is free.
    pub(super) free: u64,
    context: CheckContext,
    inbox: BinaryHeap<Reverse<Item>>,
    keys: HashMap<[u8; 32], VerifyingKey>,
    released: HashMap<u64, Vec<Outbound>>,
    effects: Vec<Effect>,
    /// Digest of the block that was executed last.
    last: Digest,
}

impl Host {
    pub(super) fn new(params: &Params, ring: Arc<Ring>) -> Host {
        let keys: Arc<dyn trireme_core::types::Keys> = ring.clone();
        Host {
            replica: Replica::new(params.clone(), keys.clone(), GENESIS),
            context: CheckContext::new(params.clone(), GENESIS, keys),
            ring,
            parts: Parts::default(),
            executed: 0,
            free: 0,
            inbox: BinaryHeap::new(),
            keys: HashMap::new(),
            released: HashMap::new(),
            effects: Vec::new(),
            last: Digest::ZERO,
        }
    }

    /// Begins, with everybody connected. What it has to say goes out in its first turn.
    pub(super) fn start(&mut self, n: usize) {
        self.replica.start(now(0), &mut self.effects);
        let me = self.ring.member();
        let others = (0..n)
            .map(|member| MemberId::try_from(member).expect("a member"))
            .filter(|member| *member != me);
        for member in others {
            self.replica.step(now(0), Input::Connected(member), &mut self.effects);
        }
    }

    pub(super) fn arrive(&mut self, at: u64, order: u64, arrival: Arrival) {
        self.inbox.push(Reverse(Item { at, order, arrival }));
    }

    /// When its next turn begins, if anything is to be done.
    pub(super) fn next_start(&self) -> Option<u64> {
        let arrival = self.inbox.peek().map(|Reverse(item)| item.at);
        let timer = self
            .replica
            .next_timeout()
            .map(|tick| tick.0.saturating_sub(ORIGIN_US) * 1_000);
        let begun = (!self.effects.is_empty()).then_some(0);
        [arrival, timer, begun]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.max(self.free))
    }

    /// Does everything that has arrived, and ends the turn.
    pub(super) fn turn(&mut self, start: u64, model: &Model, load: &Load) -> Done {
        self.free = start;
        let mut done = Done::default();
        self.settle(model, load, &mut done);
        if self
            .replica
            .next_timeout()
            .is_some_and(|tick| tick <= now(self.free).tick)
        {
            self.step(Input::Timeout, model, load, &mut done);
        }
        let mut arrived = Vec::new();
        while arrived.len() < TURN && self.inbox.peek().is_some_and(|Reverse(item)| item.at <= start) {
            arrived.extend(self.inbox.pop().map(|Reverse(item)| item.arrival));
        }
        self.ingress(&arrived, load);
        for arrival in arrived {
            self.handle(arrival, model, load, &mut done);
        }
        self.step(Input::Idle, model, load, &mut done);
        done
    }

    /// Client signatures of everything that waits, in one equation.
    fn ingress(&mut self, arrived: &[Arrival], load: &Load) {
        if load.signed {
            let bundles = arrived.iter().filter_map(|arrival| match arrival {
                Arrival::Bundle { bytes } => Some(BundleRef::parse(bytes).expect("clients send bundles")),
                _ => None,
            });
            self.client_signatures(bundles);
        }
    }

    fn client_signatures<'a>(&mut self, bundles: impl Iterator<Item = BundleRef<'a>>) {
        let from = cpu();
        let keys = &mut self.keys;
        let items: Vec<_> = bundles
            .map(|bundle| {
                let client = *bundle.client();
                let new = || VerifyingKey::from_public(&client).expect("a client's key");
                let key = *keys.entry(client.0).or_insert_with(new);
                (key, bundle.statement(&DOMAIN), bundle.signature())
            })
            .collect();
        let signed: Vec<Signed<'_>> = items
            .iter()
            .map(|(key, message, signature)| Signed {
                key,
                message,
                signature,
            })
            .collect();
        assert!(invalid_in_batch(&signed).is_empty(), "clients sign well");
        let took = cpu() - from;
        self.parts.clients += took;
        self.free += took;
    }

    fn handle(&mut self, arrival: Arrival, model: &Model, load: &Load, done: &mut Done) {
        match arrival {
            Arrival::Durable { id } => {
                let release = self.released.remove(&id).unwrap_or_default();
                done.sent
                    .extend(release.into_iter().map(|outbound| (self.free, outbound)));
                self.step(Input::Appended(id), model, load, done);
            }
            Arrival::Bundle { bytes } => {
                let receiving = nanos((model.frame_us + model.byte_us * bytes.len() as f64) / 2.0);
                self.parts.transport += receiving;
                self.free += receiving;
                self.step(
                    Input::Bundle {
                        bytes,
                        ops: load.bundle,
                    },
                    model,
                    load,
                    done,
                );
            }
            Arrival::Frame { from, frame } => {
                let receiving = nanos((model.frame_us + model.byte_us * frame.len() as f64) / 2.0);
                self.parts.transport += receiving;
                let (begin, before) = (cpu(), self.ring.spent().1);
                let envelope = decode_envelope(frame).expect("a member's frame");
                let checked = check(&self.context, from, envelope).expect("a member's message");
                let took = cpu() - begin;
                self.parts.codec += took.saturating_sub(self.ring.spent().1 - before);
                self.free += receiving + took;
                self.step(Input::Message(checked), model, load, done);
            }
        }
    }

    fn step(&mut self, input: Input, model: &Model, load: &Load, done: &mut Done) {
        let (begin, before) = (cpu(), self.ring.spent());
        self.replica.step(now(self.free), input, &mut self.effects);
        let took = cpu() - begin;
        let after = self.ring.spent();
        self.parts.core += took.saturating_sub(after.0 - before.0 + after.1 - before.1);
        self.free += took;
        self.settle(model, load, done);
    }

    /// Carries out the effects of a step.
    fn settle(&mut self, model: &Model, load: &Load, done: &mut Done) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Send(outbound) => done.sent.push((self.free, outbound)),
                Effect::Append {
                    id, records, release, ..
                } => {
                    let begin = cpu();
                    for record in &records {
                        std::hint::black_box(encode_record(record));
                    }
                    let encoding = cpu() - begin;
                    self.parts.codec += encoding;
                    let flushing = if records.is_empty() {
                        0
                    } else {
                        nanos(model.flush_cpu_us)
                    };
                    self.parts.log += flushing;
                    self.free += encoding + flushing;
                    let after = if records.is_empty() { 0 } else { nanos(model.flush_us) };
                    self.released.insert(id, release);
                    done.durable.push((self.free + after, id));
                }
                Effect::Verify { job, body, .. } => {
                    if load.signed {
                        let body = Body::parse(&body).expect("a member's body");
                        self.client_signatures(body.bundles());
                    }
                    self.step(Input::Verified { job, good: true }, model, load, done);
                }
                Effect::Execute(execution) => {
                    let mut requests = 0;
                    for batch in &execution.batches {
                        let body = Body::parse(&batch.body).expect("an ordered body");
                        requests += u64::from(body.ops());
                        let first = |bundle: BundleRef<'_>| bundle.requests().next().expect("a request").number;
                        done.executed.extend(body.bundles().map(first));
                    }
                    let executing = nanos(model.execute_us * requests as f64);
                    self.executed += requests;
                    self.parts.execute += executing;
                    self.free += executing;
                    let wanted = execution.root || execution.checkpoint;
                    let state = wanted.then(|| state(execution.slot, &execution.block, execution.checkpoint));
                    let slot = execution.slot;
                    self.last = execution.block;
                    self.step(Input::Executed { slot, state }, model, load, done);
                }
                Effect::StateRoot { slot } => {
                    let state = Some(state(slot, &self.last, false));
                    self.step(Input::Executed { slot, state }, model, load, done);
                }
                Effect::Evidence(evidence) => panic!("no member lies: {evidence:?}"),
                Effect::Alarm(alarm) => panic!("nothing is wrong: {alarm:?}"),
                _ => {}
            }
        }
    }

    /// A message as a frame, and what encoding it took.
    pub(super) fn encode(&mut self, message: Message) -> (Bytes, u64) {
        let envelope = Envelope {
            epoch: self.ring.domain().epoch,
            view: self.replica.view(),
            message,
        };
        let begin = cpu();
        let frame = encode_envelope(&envelope);
        (frame, cpu() - begin)
    }
}

/// The state after a slot, equal everywhere.
fn state(slot: u64, block: &Digest, checkpoint: bool) -> StateVote {
    StateVote {
        slot,
        state_root: hash(context::STATE, &block.0),
        receipts_root: Digest::ZERO,
        timestamp: slot,
        checkpoint,
    }
}

/// CPU time of this thread in nanoseconds.
fn cpu() -> u64 {
    u64::try_from(thread_cpu().as_nanos()).expect("centuries")
}

fn now(nanoseconds: u64) -> Now {
    let us = nanoseconds / 1_000;
    Now {
        tick: Tick(ORIGIN_US + us),
        wall_us: WALL_US + us,
    }
}
