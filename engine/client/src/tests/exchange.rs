//! The exchange against a model of a cluster: a common order, replicas that crash, stay silent, refuse or lie, and a
//! network that delays, reorders between replicas, loses, and breaks connections.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;
use trireme_core::reply::{FromReplica, Outcome, Refusal, ReplyEntry, ReplySet, ToReplica};
use trireme_core::request::BundleRef;
use trireme_core::types::MemberId;
use trireme_crypto::{Digest, Signed, verify};

use super::*;
use crate::options::Route;

fn shape() -> Shape {
    let domain = Domain {
        cluster_id: Digest([7; 32]),
        epoch: 0,
    };
    Shape {
        quorums: Quorums::new(4, 1).unwrap(),
        domain,
        session_window: 64,
        signed: true,
    }
}

fn keys(count: u8) -> Vec<SecretKey> {
    (0..count).map(|seed| SecretKey::from_seed([seed + 1; 32])).collect()
}

fn options() -> Options {
    Options {
        route: Route::Spread,
        retry_floor_us: 10_000,
        retry_ceiling_us: 80_000,
        give_up_us: 2_000_000,
        ..Options::default()
    }
}

/// What a replica does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Takes requests and answers nothing.
    Silent,
    /// Refuses every bundle; answers what others order.
    Refuses(Refusal),
    /// Takes requests, orders none, and answers with invented results.
    Lies,
}

struct Model {
    manners: [Manner; 4],
    /// Who wants full replies, at each replica.
    full: [HashMap<ClientId, bool>; 4],
    executed: BTreeMap<(ClientId, u64), (Digest, Bytes)>,
    runs: BTreeMap<(ClientId, u64), u32>,
    slot: Slot,
    /// To the client, each replica's in order.
    inbox: [Vec<FromReplica>; 4],
}

impl Model {
    fn new(manners: [Manner; 4]) -> Self {
        Self {
            manners,
            full: Default::default(),
            executed: BTreeMap::new(),
            runs: BTreeMap::new(),
            slot: 0,
            inbox: Default::default(),
        }
    }

    fn take(&mut self, member: MemberId, frame: &[u8]) {
        let place = usize::from(member);
        match ToReplica::from_bytes(frame).expect("well-formed") {
            ToReplica::Subscribe { clients, full } => {
                self.full[place].extend(clients.into_iter().map(|client| (client, full)));
            }
            ToReplica::Bundle(bytes) => {
                let bundle = BundleRef::parse(&bytes).expect("well-formed");
                check_bundle(&bundle);
                match self.manners[place] {
                    Manner::Refuses(reason) => {
                        let numbers = bundle.requests().map(|request| request.number).collect();
                        self.inbox[place].push(FromReplica::Refused {
                            client: *bundle.client(),
                            numbers,
                            reason,
                        });
                    }
                    Manner::Honest => self.order(&bundle),
                    Manner::Lies => self.invent(place, &bundle),
                    Manner::Silent => {}
                }
            }
            ToReplica::Status { .. } => unreachable!("not asked here"),
        }
    }

    /// Orders a bundle as a slot of its own, executes what is new, and has all replicas answer.
    fn order(&mut self, bundle: &BundleRef<'_>) {
        self.slot += 1;
        let client = *bundle.client();
        let mut entries = Vec::new();
        for request in bundle.requests() {
            let key = (client, request.number);
            if !self.executed.contains_key(&key) {
                *self.runs.entry(key).or_default() += 1;
                self.executed
                    .insert(key, (request.digest(&client), result_of(request.payload)));
            }
            let (digest, result) = self.executed[&key].clone();
            entries.push(ReplyEntry {
                number: request.number,
                request: digest,
                outcome: Outcome::Executed(result),
            });
        }
        for place in 0..4 {
            if matches!(self.manners[place], Manner::Honest | Manner::Refuses(_)) {
                self.answer(place, ReplySet::new(client, self.slot, 1, entries.clone()));
            }
        }
    }

    fn invent(&mut self, place: usize, bundle: &BundleRef<'_>) {
        let client = *bundle.client();
        let lie = |request: trireme_core::request::RequestRef<'_>| ReplyEntry {
            number: request.number,
            request: request.digest(&client),
            outcome: Outcome::Executed(Bytes::from_static(b"lie")),
        };
        let entries = bundle.requests().map(lie).collect();
        self.inbox[place].push(FromReplica::Replies(ReplySet::new(client, self.slot + 1, 1, entries)));
    }

    fn answer(&mut self, place: usize, set: ReplySet) {
        let Some(&full) = self.full[place].get(&set.client) else {
            return;
        };
        self.inbox[place].push(FromReplica::Replies(if full { set } else { set.brief() }));
    }
}

fn check_bundle(bundle: &BundleRef<'_>) {
    let key = keys(8)
        .into_iter()
        .find(|key| key.public() == *bundle.client())
        .expect("a known client");
    let (statement, signature) = (bundle.statement(&shape().domain), bundle.signature());
    assert!(verify(Signed {
        key: &key.verifying_key(),
        message: &statement,
        signature: &signature
    }));
    let last = bundle.requests().last().expect("not empty").number;
    assert!(
        last <= bundle.done_below() + 64,
        "a number further ahead than the window allows"
    );
}

fn result_of(payload: &[u8]) -> Bytes {
    payload.iter().rev().copied().collect::<Vec<u8>>().into()
}

struct Rig {
    exchange: Exchange,
    model: Model,
    now: Tick,
    up: [bool; 4],
    done: Vec<Completion>,
}

impl Rig {
    fn new(manners: [Manner; 4], identities: u8, options: Options) -> Self {
        let mut rig = Self {
            exchange: Exchange::new(shape(), &keys(identities), 1, options),
            model: Model::new(manners),
            now: Tick(1),
            up: [false; 4],
            done: Vec::new(),
        };
        for member in 0..4 {
            rig.connect(member);
        }
        rig
    }

    fn connect(&mut self, member: MemberId) {
        self.up[usize::from(member)] = true;
        self.model.full[usize::from(member)].clear();
        self.exchange.on_connected(self.now, member, 100);
        self.send(|_| true);
    }

    fn disconnect(&mut self, member: MemberId) {
        self.up[usize::from(member)] = false;
        self.model.inbox[usize::from(member)].clear();
        self.exchange.on_disconnected(self.now, member);
    }

    /// Hands what is outgoing to the replicas, bundles only if `keep` says so.
    fn send(&mut self, mut keep: impl FnMut(MemberId) -> bool) {
        let outgoing: Vec<Outgoing> = self.exchange.drain_outgoing().collect();
        for Outgoing {
            member,
            head,
            body,
            bundle,
        } in outgoing
        {
            assert!(
                self.up[usize::from(member)],
                "nothing goes to a replica that is not connected"
            );
            if bundle.is_none() || keep(member) {
                self.model.take(member, &[head, body].concat());
            }
        }
    }

    /// Delivers the oldest frame of one replica.
    fn deliver(&mut self, member: MemberId) -> bool {
        let inbox = &mut self.model.inbox[usize::from(member)];
        if inbox.is_empty() || !self.up[usize::from(member)] {
            return false;
        }
        let frame = inbox.remove(0).to_bytes();
        self.exchange.on_frame(self.now, member, &frame).expect("well-formed");
        true
    }

    fn tick(&mut self, us: u64) {
        self.now = self.now.plus(us);
        if self.now >= self.exchange.next_timeout() {
            self.exchange.on_timeout(self.now);
        }
    }

    /// Delivers everything until nothing moves.
    fn settle(&mut self) {
        loop {
            self.send(|_| true);
            let moved = (0..4).filter(|&member| self.deliver(member)).count();
            self.done.extend(self.exchange.drain_completions());
            if moved == 0 {
                break;
            }
        }
    }

    fn run_for(&mut self, us: u64) {
        for _ in 0..us / 5_000 {
            self.tick(5_000);
            self.settle();
        }
    }
}

fn ok(completion: &Completion) -> &Bytes {
    &completion.result.as_ref().expect("accepted").result
}

#[test]
fn a_request_is_done_with_two_equal_replies_and_one_full() {
    let mut rig = Rig::new([Manner::Honest; 4], 2, options());
    rig.run_for(5_000);
    let first = rig.exchange.submit(rig.now, 1, &[b"abc", b"xyz"], 42).unwrap();
    rig.send(|_| true);
    assert!(rig.deliver(0) && rig.deliver(2), "two digests");
    assert!(!rig.exchange.has_completions());
    assert!(rig.deliver(1), "the home's full reply");
    rig.settle();
    let found: Vec<_> = rig
        .done
        .iter()
        .map(|c| (c.identity, c.number, c.tag, c.position, ok(c).clone()))
        .collect();
    assert_eq!(
        found,
        [(1, first, 42, 0, "cba".into()), (1, first + 1, 42, 1, "zyx".into())]
    );
    assert_eq!(rig.exchange.bundles.held_bytes(), 0);
}

#[test]
fn a_silent_home_is_left_for_the_next_replica() {
    let mut rig = Rig::new(
        [Manner::Silent, Manner::Honest, Manner::Honest, Manner::Honest],
        1,
        options(),
    );
    rig.exchange.submit(rig.now, 0, &[b"abc"], 0).unwrap();
    rig.settle();
    assert!(rig.done.is_empty());
    rig.run_for(300_000);
    assert_eq!(ok(&rig.done[0]), "cba");
    assert_ne!(rig.exchange.home(0), 0);
    let before = rig.exchange.counters().retries;
    rig.exchange.submit(rig.now, 0, &[b"abc"], 0).unwrap();
    rig.settle();
    assert_eq!(
        (rig.done.len(), rig.exchange.counters().retries),
        (2, before),
        "no timeout any more"
    );
}

#[test]
fn one_replicas_final_reason_does_not_end_a_request_and_two_do() {
    use Manner::{Honest, Refuses};
    let no = Refuses(Refusal::BadSignature);
    let mut rig = Rig::new([no, Honest, Honest, Honest], 1, options());
    rig.exchange.submit(rig.now, 0, &[b"abc"], 0).unwrap();
    rig.settle();
    assert_eq!(ok(&rig.done[0]), "cba");
    let mut rig = Rig::new([no, no, Honest, Honest], 1, options());
    rig.exchange.submit(rig.now, 0, &[b"abc"], 0).unwrap();
    rig.settle();
    assert_eq!(rig.done[0].result, Err(SubmitError::Refused(Refusal::BadSignature)));
}

#[test]
fn overloaded_only_when_every_replica_refused() {
    use Manner::{Refuses, Silent};
    let full = Refuses(Refusal::Overloaded);
    let mut rig = Rig::new([full; 4], 1, options());
    rig.exchange.submit(rig.now, 0, &[b"abc", b"def"], 0).unwrap();
    rig.settle();
    assert_eq!(rig.done.len(), 2);
    assert_eq!(rig.done[1].result, Err(SubmitError::Overloaded));
    // One that stays silent may have it ordered: the outcome is unknown, and only time tells.
    let mut rig = Rig::new([full, full, Silent, full], 1, options());
    rig.exchange.submit(rig.now, 0, &[b"abc"], 0).unwrap();
    rig.settle();
    assert!(rig.done.is_empty());
    rig.run_for(2_100_000);
    assert_eq!(rig.done[0].result, Err(SubmitError::TimedOut));
    assert!(SubmitError::TimedOut.outcome_unknown() && !SubmitError::Overloaded.outcome_unknown());
}

#[test]
fn a_copy_that_left_with_its_connection_keeps_the_outcome_unknown() {
    use Manner::{Refuses, Silent};
    let full = Refuses(Refusal::Overloaded);
    let mut rig = Rig::new([Silent, full, full, full], 1, options());
    rig.run_for(5_000);
    rig.exchange.submit(rig.now, 0, &[b"abc"], 0).unwrap();
    rig.settle();
    assert_eq!(rig.exchange.home(0), 0);
    rig.disconnect(0);
    rig.settle();
    assert!(rig.exchange.counters().refusals >= 3 && rig.done.is_empty());
    rig.run_for(2_100_000);
    assert_eq!(rig.done[0].result, Err(SubmitError::TimedOut));
}

#[test]
fn patience_with_an_overloaded_cluster_can_be_chosen() {
    let patient = Options {
        fail_when_overloaded: false,
        ..options()
    };
    let mut rig = Rig::new([Manner::Refuses(Refusal::Overloaded); 4], 1, patient);
    rig.exchange.submit(rig.now, 0, &[b"abc"], 0).unwrap();
    rig.run_for(1_200_000);
    assert!(rig.done.is_empty());
    rig.model.manners = [Manner::Honest; 4];
    rig.run_for(1_000_000);
    assert_eq!(ok(&rig.done[0]), "cba");
}

#[test]
fn what_was_never_sent_is_unreachable_and_what_was_is_unknown() {
    let mut rig = Rig::new([Manner::Silent; 4], 1, options());
    rig.exchange.submit(rig.now, 0, &[b"sent"], 0).unwrap();
    rig.settle();
    for member in 0..4 {
        rig.disconnect(member);
    }
    rig.exchange.submit(rig.now, 0, &[b"not sent"], 1).unwrap();
    rig.run_for(2_100_000);
    assert_eq!(rig.done[0].result, Err(SubmitError::TimedOut));
    assert_eq!(rig.done[1].result, Err(SubmitError::Unreachable));
}

#[test]
fn a_request_that_waits_for_a_connection_goes_when_there_is_one() {
    let mut rig = Rig::new([Manner::Honest; 4], 3, options());
    for member in 0..4 {
        rig.disconnect(member);
    }
    rig.exchange.submit(rig.now, 2, &[b"abc"], 0).unwrap();
    for member in [3, 1] {
        rig.connect(member);
    }
    rig.settle();
    assert_eq!(ok(&rig.done[0]), "cba");
    assert_eq!(rig.exchange.home(2), 3);
}

#[test]
fn a_number_that_another_process_used_is_an_error() {
    let mut rig = Rig::new([Manner::Honest; 4], 1, options());
    let mut other = Rig::new([Manner::Honest; 4], 1, options());
    other.exchange.submit(other.now, 0, &[b"other"], 0).unwrap();
    other.settle();
    rig.model.executed = other.model.executed;
    rig.exchange.submit(rig.now, 0, &[b"mine"], 0).unwrap();
    rig.settle();
    assert_eq!(rig.done[0].result, Err(SubmitError::NumberTaken));
}

#[test]
fn limits_are_checked_before_anything_is_sent() {
    let mut rig = Rig::new([Manner::Silent; 4], 1, options());
    let now = rig.now;
    let long = vec![0; MAX_REQUEST_BYTES + 1];
    let limit = |result: Result<u64, SubmitError>| match result {
        Err(SubmitError::TooLarge { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(limit(rig.exchange.submit(now, 0, &[&long], 0)), Limit::RequestBytes);
    assert_eq!(
        limit(rig.exchange.submit(now, 0, &[&long[1..]; 2], 0)),
        Limit::BundleBytes
    );
    assert_eq!(
        limit(rig.exchange.submit(now, 0, &vec![b"x"; MAX_BUNDLE_OPS + 1], 0)),
        Limit::BundleRequests
    );
    let window = rig.exchange.submit(now, 0, &[b"x"; 65], 0);
    assert_eq!(window, Err(SubmitError::Busy(Busy::Window)));
    assert!(rig.exchange.submit(now, 0, &[b"x"; 64], 0).is_ok());
    rig.exchange.options.max_held_bytes = 0;
    let mut full = Rig::new(
        [Manner::Silent; 4],
        1,
        Options {
            max_held_bytes: 100,
            ..options()
        },
    );
    assert_eq!(
        full.exchange.submit(now, 0, &[b"x"], 0),
        Err(SubmitError::Busy(Busy::Bytes))
    );
}

#[test]
fn a_retry_carries_only_what_is_not_done() {
    let mut rig = Rig::new([Manner::Silent; 4], 1, options());
    rig.exchange.submit(rig.now, 0, &[b"abc", b"def", b"ghi"], 0).unwrap();
    rig.send(|_| true);
    let client = rig.exchange.client(0);
    let entry = |number, payload: &[u8], outcome| ReplyEntry {
        number,
        request: request_digest(&client, number, payload),
        outcome,
    };
    let gone = |result: &'static [u8]| Outcome::Executed(Bytes::from_static(result));
    let entries = vec![
        entry(1, b"abc", gone(b"1")),
        entry(2, b"def", gone(b"2")),
        entry(3, b"ghi", Outcome::LeftOut),
    ];
    for member in 0..2 {
        let set = ReplySet::new(client, 9, 1, entries.clone());
        rig.exchange.on_replies(rig.now, member, set);
    }
    let again: Vec<Outgoing> = rig.exchange.drain_outgoing().collect();
    let bundle = BundleRef::parse(&again[0].body).unwrap();
    check_bundle(&bundle);
    let left: Vec<_> = bundle
        .requests()
        .map(|request| (request.number, request.payload))
        .collect();
    assert_eq!((bundle.done_below(), left), (3, vec![(3, b"ghi".as_slice())]));
}

#[test]
fn closing_ends_everything() {
    let mut rig = Rig::new([Manner::Silent; 4], 2, options());
    for identity in [0, 1, 0] {
        rig.exchange.submit(rig.now, identity, &[b"abc"], 0).unwrap();
    }
    rig.exchange.close(rig.now);
    rig.settle();
    assert!(rig.done.len() == 3 && rig.done.iter().all(|done| done.result == Err(SubmitError::Closed)));
    assert_eq!(rig.exchange.bundles.held_bytes(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Submit { identity: u32, requests: usize },
    Deliver(MemberId),
    Lose,
    Disconnect(MemberId),
    Connect(MemberId),
    Tick(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4u32, 1..6usize).prop_map(|(identity, requests)| Step::Submit { identity, requests }),
        16 => (0..4u16).prop_map(Step::Deliver),
        1 => Just(Step::Lose),
        1 => (0..4u16).prop_map(Step::Disconnect),
        2 => (0..4u16).prop_map(Step::Connect),
        4 => (100..20_000u64).prop_map(Step::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever one faulty replica and the network do: no result but the true one is ever accepted, every submission
    /// ends exactly once, nothing runs twice, and once the network is good again everything is accepted.
    #[test]
    fn every_request_ends_once_and_rightly(
        manner in prop::sample::select(vec![Manner::Honest, Manner::Silent, Manner::Lies,
            Manner::Refuses(Refusal::Overloaded), Manner::Refuses(Refusal::Malformed)]),
        faulty in 0..4usize,
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut manners = [Manner::Honest; 4];
        manners[faulty] = manner;
        let options = Options { give_up_us: 60_000_000, fail_when_overloaded: false, ..options() };
        let mut rig = Rig::new(manners, 4, options);
        let mut sent: BTreeMap<(u32, u64), Vec<u8>> = BTreeMap::new();
        let mut lossy = 0;
        for step in steps {
            match step {
                Step::Submit { identity, requests } => {
                    let payloads: Vec<Vec<u8>> = (0..requests).map(|k| format!("{identity} {} {k}", sent.len()).into()).collect();
                    if let Ok(first) = rig.exchange.submit(rig.now, identity, &payloads, 0) {
                        sent.extend((first..).zip(payloads).map(|(number, payload)| ((identity, number), payload)));
                    }
                }
                Step::Deliver(member) => { rig.deliver(member); }
                Step::Lose => lossy += 1,
                Step::Disconnect(member) if rig.up[usize::from(member)] => rig.disconnect(member),
                Step::Connect(member) if !rig.up[usize::from(member)] => rig.connect(member),
                Step::Tick(us) => rig.tick(us),
                Step::Disconnect(_) | Step::Connect(_) => {}
            }
            rig.send(|_| { let keep = lossy == 0; lossy -= i32::from(!keep); keep });
            rig.done.extend(rig.exchange.drain_completions());
        }
        for member in 0..4 {
            if !rig.up[usize::from(member)] {
                rig.connect(member);
            }
        }
        rig.run_for(4_000_000);
        let mut ended = BTreeSet::new();
        for done in &rig.done {
            prop_assert!(ended.insert((done.identity, done.number)), "ended twice");
            prop_assert_eq!(ok(done), &result_of(&sent[&(done.identity, done.number)]));
        }
        prop_assert_eq!(ended.len(), sent.len(), "all ended");
        prop_assert!(rig.model.runs.values().all(|&runs| runs == 1));
        prop_assert_eq!(rig.exchange.bundles.held_bytes(), 0);
        for identity in 0..4 {
            prop_assert_eq!(rig.exchange.room(identity), 64);
        }
    }
}
