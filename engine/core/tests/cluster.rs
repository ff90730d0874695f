//! A cluster on a perfect network: every message arrives at once and in order, every write is durable at once.

use std::collections::VecDeque;
use std::sync::Arc;

use trireme_core::api::{Effect, Input, OrderedBatch, Outbound, To};
use trireme_core::check::{CheckContext, check};
use trireme_core::message::Envelope;
use trireme_core::quarantine::Cause;
use trireme_core::record::Record;
use trireme_core::request::BundleBuilder;
use trireme_core::types::Keys;
use trireme_core::wire::{decode_envelope, decode_record, encode_envelope, encode_record};
use trireme_core::{MemberId, Now, Params, Replica, Tick};
use trireme_crypto::{Digest, Domain, PublicKey, SecretKey, Signature, Signed, VerifyingKey, verify};

struct Ring {
    me: MemberId,
    secret: SecretKey,
    all: Vec<VerifyingKey>,
}

const DOMAIN: Domain = Domain {
    cluster_id: Digest([7; 32]),
    epoch: 0,
};

impl Keys for Ring {
    fn me(&self) -> MemberId {
        self.me
    }

    fn domain(&self) -> Domain {
        DOMAIN
    }

    fn sign(&self, statement: &Digest) -> Signature {
        self.secret.sign(statement)
    }

    fn invalid(&self, entries: &[(MemberId, Digest, Signature)]) -> Vec<usize> {
        let good = |(member, message, signature): &(MemberId, Digest, Signature)| {
            self.all.get(usize::from(*member)).is_some_and(|key| {
                verify(Signed {
                    key,
                    message,
                    signature,
                })
            })
        };
        (0..entries.len()).filter(|i| !good(&entries[*i])).collect()
    }
}

struct Host {
    replica: Option<Replica>,
    context: CheckContext,
    log: Vec<Record>,
    executed: Vec<(u64, Vec<OrderedBatch>)>,
}

struct Cluster {
    hosts: Vec<Host>,
    queue: VecDeque<(MemberId, MemberId, bytes::Bytes)>,
    now: Now,
    params: Params,
    keys: Vec<Arc<dyn Keys>>,
}

const GENESIS: Digest = Digest([9; 32]);

impl Cluster {
    fn new(n: u16) -> Self {
        let secrets: Vec<SecretKey> = (0..n)
            .map(|i| SecretKey::from_seed([u8::try_from(i).unwrap() + 1; 32]))
            .collect();
        let all: Vec<VerifyingKey> = secrets
            .iter()
            .map(|s| VerifyingKey::from_public(&s.public()).unwrap())
            .collect();
        let params = Params::new(n, (n - 1) / 3);
        let mut keys: Vec<Arc<dyn Keys>> = Vec::new();
        for (me, secret) in (0..).zip(secrets) {
            keys.push(Arc::new(Ring {
                me,
                secret,
                all: all.clone(),
            }));
        }
        let now = Now {
            tick: Tick(1_000_000),
            wall_us: 1_700_000_000_000_000,
        };
        let hosts = keys
            .iter()
            .map(|k| Host {
                replica: None,
                context: CheckContext::new(params.clone(), GENESIS, Arc::clone(k)),
                log: Vec::new(),
                executed: Vec::new(),
            })
            .collect();
        let mut cluster = Self {
            hosts,
            queue: VecDeque::new(),
            now,
            params,
            keys,
        };
        for member in 0..n {
            cluster.start(member);
        }
        for member in 0..n {
            cluster.connect(member);
        }
        cluster
    }

    fn start(&mut self, member: MemberId) {
        self.start_with(member, None);
    }

    fn start_with(&mut self, member: MemberId, cause: Option<Cause>) {
        let index = usize::from(member);
        let mut replica = Replica::new(self.params.clone(), Arc::clone(&self.keys[index]), GENESIS);
        self.hosts[index].executed.clear();
        let mut out = Vec::new();
        for record in self.hosts[index].log.clone() {
            let (kind, head, body) = encode_record(&record);
            let payload = [&head[..], &body[..]].concat();
            replica.replay(decode_record(kind, payload.into()).unwrap(), &mut out);
        }
        for effect in out.drain(..) {
            let Effect::Execute(e) = effect else {
                panic!("recovery only executes")
            };
            self.hosts[index].executed.push((e.slot, e.batches));
        }
        if let Some(cause) = cause {
            replica.start_quarantined(cause);
        }
        replica.start(self.now, &mut out);
        self.hosts[index].replica = Some(replica);
        self.apply(member, out);
    }

    fn connect(&mut self, member: MemberId) {
        for other in 0..self.params.n {
            if other != member && self.hosts[usize::from(other)].replica.is_some() {
                self.step(other, Input::Connected(member));
                self.step(member, Input::Connected(other));
            }
        }
    }

    fn crash(&mut self, member: MemberId) {
        self.hosts[usize::from(member)].replica = None;
        self.queue.retain(|m| m.0 != member && m.1 != member);
        for other in 0..self.params.n {
            self.step(other, Input::Disconnected(member));
        }
    }

    fn step(&mut self, member: MemberId, input: Input) {
        let mut out = Vec::new();
        if let Some(replica) = &mut self.hosts[usize::from(member)].replica {
            replica.step(self.now, input, &mut out);
            self.apply(member, out);
        }
    }

    fn apply(&mut self, member: MemberId, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append {
                    id, records, release, ..
                } => {
                    self.hosts[usize::from(member)].log.extend(records);
                    for outbound in release {
                        self.send(member, outbound);
                    }
                    self.step(member, Input::Appended(id));
                }
                Effect::Send(outbound) => self.send(member, outbound),
                Effect::Verify { job, .. } => self.step(member, Input::Verified { job, good: true }),
                Effect::Execute(e) => {
                    self.hosts[usize::from(member)].executed.push((e.slot, e.batches));
                    self.step(
                        member,
                        Input::Executed {
                            slot: e.slot,
                            state: None,
                        },
                    );
                }
                Effect::StateRoot { .. } | Effect::Quarantined(_) | Effect::Readmitted(_) => {}
                Effect::Serve { .. } => {}
                other => panic!("a perfect network needs no {other:?}"),
            }
        }
    }

    fn send(&mut self, from: MemberId, outbound: Outbound) {
        let view = self.hosts[usize::from(from)].replica.as_ref().map_or(0, Replica::view);
        let frame = encode_envelope(&Envelope {
            epoch: 0,
            view,
            message: outbound.message,
        });
        for to in 0..self.params.n {
            if to != from && (outbound.to == To::All || outbound.to == To::One(to)) {
                self.queue.push_back((from, to, frame.clone()));
            }
        }
    }

    fn drain(&mut self) {
        while let Some((from, to, frame)) = self.queue.pop_front() {
            let envelope = decode_envelope(frame).unwrap();
            let checked = check(&self.hosts[usize::from(to)].context, from, envelope).unwrap();
            self.step(to, Input::Message(checked));
            self.step(to, Input::Idle);
        }
    }

    fn run(&mut self, us: u64) {
        let end = self.now.tick.plus(us);
        while self.now.tick < end {
            self.drain();
            self.now.tick = self.now.tick.plus(500);
            self.now.wall_us += 500;
            for member in 0..self.params.n {
                let due = self.hosts[usize::from(member)]
                    .replica
                    .as_ref()
                    .and_then(Replica::next_timeout);
                if due.is_some_and(|d| d <= self.now.tick) {
                    self.step(member, Input::Timeout);
                }
                self.step(member, Input::Idle);
            }
        }
    }

    fn submit(&mut self, member: MemberId, number: u64) {
        let mut bundle = BundleBuilder::new(PublicKey([3; 32]), 1);
        bundle.push(number, b"payload").unwrap();
        let bytes = bundle.finish(|_| Signature([0; 64]), &DOMAIN);
        self.step(
            member,
            Input::Bundle {
                bytes: bytes.into(),
                ops: 1,
            },
        );
        self.step(member, Input::Idle);
    }

    fn batches(&self, member: MemberId) -> Vec<Digest> {
        self.hosts[usize::from(member)]
            .executed
            .iter()
            .flat_map(|(_, b)| b.iter().map(|b| b.digest))
            .collect()
    }

    fn assert_equal(&self, count: usize) {
        let first = self.batches(0);
        assert_eq!(first.len(), count);
        for member in 1..self.params.n {
            assert_eq!(self.batches(member), first, "replica {member}");
        }
    }
}

#[test]
fn orders_what_every_lane_brings() {
    for n in [4, 5, 6, 7, 10] {
        let mut cluster = Cluster::new(n);
        for number in 1..=60 {
            cluster.submit(u16::try_from(number % u64::from(n)).unwrap(), number);
            if number % 3 == 0 {
                cluster.run(1_000);
            }
        }
        cluster.run(200_000);
        cluster.assert_equal(60);
        let status = cluster.hosts[0].replica.as_ref().unwrap().status();
        assert_eq!((status.view, status.counters.slow_commits), (0, 0), "n={n}");
        assert_eq!(
            cluster.hosts[0].replica.as_ref().unwrap().next_timeout(),
            None,
            "an idle replica sets no timer"
        );
    }
}

#[test]
fn a_crashed_leader_is_replaced_and_comes_back() {
    let mut cluster = Cluster::new(4);
    cluster.submit(1, 1);
    cluster.run(50_000);
    cluster.crash(0);
    cluster.submit(2, 2);
    cluster.run(2_000_000);
    assert_eq!(cluster.batches(1).len(), 2, "f crashed replicas do not stop the others");
    assert!(cluster.hosts[1].replica.as_ref().unwrap().view() > 0);
    cluster.submit(3, 3);
    cluster.run(100_000);
    cluster.start(0);
    cluster.connect(0);
    cluster.run(3_000_000);
    cluster.submit(0, 4);
    cluster.run(1_000_000);
    cluster.assert_equal(4);
}

#[test]
fn a_cluster_killed_at_once_goes_on() {
    let mut cluster = Cluster::new(4);
    for number in 1..=10 {
        cluster.submit(u16::try_from(number % 4).unwrap(), number);
        cluster.run(5_000);
    }
    for member in 0..4 {
        cluster.crash(member);
    }
    for member in 0..4 {
        cluster.start(member);
    }
    for member in 0..4 {
        cluster.connect(member);
    }
    cluster.run(1_000_000);
    cluster.assert_equal(10);
    cluster.submit(1, 11);
    cluster.run(2_000_000);
    cluster.assert_equal(11);
}

fn quarantined(cluster: &Cluster, member: MemberId) -> bool {
    let replica = cluster.hosts[usize::from(member)].replica.as_ref().unwrap();
    replica.quarantine().is_some()
}

/// The log is gone; the cluster has nothing to do and changes no view by itself. Each member in turn, so that the one
/// that leads, and the one that leads next, are among them.
#[test]
fn a_wiped_replica_comes_back_in_an_idle_cluster() {
    for n in [4, 7] {
        for wiped in 0..n {
            let mut cluster = Cluster::new(n);
            for number in 1..=10 {
                cluster.submit(u16::try_from(number % u64::from(n)).unwrap(), number);
                cluster.run(5_000);
            }
            cluster.run(500_000);
            cluster.crash(wiped);
            cluster.hosts[usize::from(wiped)].log.clear();
            cluster.start_with(wiped, Some(Cause::Missing));
            assert!(quarantined(&cluster, wiped));
            cluster.connect(wiped);
            cluster.run(10_000_000);
            assert!(!quarantined(&cluster, wiped), "n={n}, member {wiped}");
            cluster.assert_equal(10);
            // Its lane goes on, and it votes: the fast path, which needs every vote here, works again.
            cluster.submit(wiped, 11);
            cluster.run(2_000_000);
            cluster.assert_equal(11);
            let fast = |c: &Cluster| c.hosts[0].replica.as_ref().unwrap().status().counters.fast_commits;
            let before = fast(&cluster);
            cluster.submit((wiped + 1) % n, 12);
            cluster.run(2_000_000);
            cluster.assert_equal(12);
            assert!(fast(&cluster) > before, "n={n}, member {wiped}");
        }
    }
}

/// The log is brought back to an earlier state while requests come: its own signatures give it away.
#[test]
fn a_rolled_back_log_is_found_out_under_load() {
    let mut cluster = Cluster::new(4);
    for number in 1..=20 {
        cluster.submit(u16::try_from(number % 4).unwrap(), number);
        cluster.run(5_000);
    }
    cluster.crash(2);
    let kept = cluster.hosts[2].log.len() / 2;
    cluster.hosts[2].log.truncate(kept);
    cluster.start(2);
    cluster.connect(2);
    cluster.drain();
    assert!(quarantined(&cluster, 2));
    for number in 21..=40 {
        cluster.submit(u16::try_from([0, 1, 3][number as usize % 3]).unwrap(), number);
        cluster.run(5_000);
    }
    cluster.run(5_000_000);
    assert!(!quarantined(&cluster, 2));
    cluster.assert_equal(40);
    // A restart after the way out is an ordinary one.
    cluster.crash(2);
    cluster.start(2);
    assert!(!quarantined(&cluster, 2));
    cluster.connect(2);
    cluster.run(1_000_000);
    cluster.submit(2, 41);
    cluster.run(2_000_000);
    cluster.assert_equal(41);
}
