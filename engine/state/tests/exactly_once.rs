//! Exactly-once execution (R-EXECUTE) under copies, reordering and bundles cut anew, against a naive model; and what
//! the roots cover (R-STATE).

mod common;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use common::{batch, bundle, client, slot};
use proptest::collection::vec;
use proptest::prelude::*;
use trireme_core::Slot;
use trireme_core::message::StateVote;
use trireme_core::reply::{MAX_REPLY_SET_BYTES, Outcome, ReplyEntry, ReplyFrame, ReplySet};
use trireme_core::request::request_digest;
use trireme_core::sessions::SessionLimits;
use trireme_crypto::{Digest, PublicKey, merkle};
use trireme_state::kv::{self, Kv, MAX_VALUE_BYTES};
use trireme_state::{Application, ClientRegistry, Content, ExecutedRequest, Executor, HeadOnly, Null, Op, Scheme};

const LIMITS: SessionLimits = SessionLimits {
    window: 6,
    max_sessions: 3,
    result_bytes: 12,
};
/// Clients 0 to 3 are registered, which is one more than sessions are held; 4 is not.
const REGISTERED: u8 = 4;

fn registry() -> ClientRegistry {
    ClientRegistry::Known((0..REGISTERED).map(client).collect())
}

/// These applications are not read from images.
const NO_SCHEME: Scheme = Scheme {
    leaf: |_| None,
    root: |_, _| None,
};

/// Results of differing lengths that depend on the position in the order.
fn result_of(position: u64, payload: &[u8]) -> Vec<u8> {
    let mut result = vec![payload.first().copied().unwrap_or(0); payload.len() % 7];
    result.insert(0, (position % 251) as u8);
    result
}

#[derive(Default)]
struct Positions {
    executed: u64,
}

impl Application for Positions {
    fn execute(&mut self, op: &Op<'_>, result: &mut Vec<u8>) {
        self.executed += 1;
        result.extend(result_of(self.executed, op.payload));
    }

    fn root(&mut self) -> Digest {
        Digest([self.executed as u8; 32])
    }

    fn name(&self) -> &'static str {
        "positions"
    }

    fn scheme(&self) -> Scheme {
        NO_SCHEME
    }

    fn image(&mut self) -> Box<dyn Content> {
        Box::new(HeadOnly(self.executed.to_le_bytes().to_vec()))
    }

    fn fresh(&self) -> Box<dyn Application> {
        Box::new(Self::default())
    }

    fn restore_head(&mut self, head: &[u8]) -> bool {
        self.executed = u64::from_le_bytes(head.try_into().unwrap());
        true
    }

    fn restore_leaf(&mut self, _: &[u8]) -> bool {
        false
    }
}

type Request = (u64, Vec<u8>);

#[derive(Clone, Debug)]
struct Bundle {
    client: u8,
    done_below: u64,
    requests: Vec<Request>,
}

/// A bundle out of a small range of numbers, so that copies are frequent; `done_below` creeps up.
fn any_bundle() -> impl Strategy<Value = Bundle> {
    let numbers = proptest::sample::subsequence((1..=16u64).collect::<Vec<_>>(), 1..5);
    let payloads = vec((0..2u8, 0..9usize), 16);
    (0..5u8, numbers, 0..12u64, payloads).prop_map(|(client, numbers, behind, payloads)| {
        let done_below = numbers[0].saturating_sub(behind);
        let payload = |number: u64| payloads[number as usize % 16];
        let request = |number: u64| (number, vec![payload(number).0; payload(number).1]);
        Bundle {
            client,
            done_below,
            requests: numbers.into_iter().map(request).collect(),
        }
    })
}

/// Slots of batches of bundles.
fn history() -> impl Strategy<Value = Vec<Vec<Vec<Bundle>>>> {
    vec(vec(vec(any_bundle(), 1..4), 0..3), 1..10)
}

fn bodies(batches: &[Vec<Bundle>]) -> Vec<Bytes> {
    let encode = |each: &Bundle| bundle(client(each.client), each.done_below, &each.requests);
    batches
        .iter()
        .map(|bundles| batch(&bundles.iter().map(encode).collect::<Vec<_>>()))
        .collect()
}

/// R-EXECUTE, word for word and without a thought for speed.
#[derive(Default)]
struct Model {
    executed: u64,
    sessions: BTreeMap<u8, ModelSession>,
    /// Everything that ever took effect.
    effects: Vec<(u8, u64)>,
}

#[derive(Default)]
struct ModelSession {
    low: u64,
    done: BTreeMap<u64, (Digest, Option<Vec<u8>>)>,
}

impl Model {
    fn execute(&mut self, number: Slot, batches: &[Vec<Bundle>]) -> Vec<ReplySet> {
        let mut sets: Vec<(u8, Vec<ReplyEntry>)> = Vec::new();
        let mut answered = BTreeSet::new();
        for bundle in batches.iter().flatten() {
            if !sets.iter().any(|(client, _)| *client == bundle.client) {
                sets.push((bundle.client, Vec::new()));
            }
            for request in &bundle.requests {
                let (repeated, entry) = self.request(bundle, request, &mut answered);
                let set = sets.iter_mut().find(|(client, _)| *client == bundle.client);
                if !repeated {
                    set.expect("made above").1.push(entry);
                }
            }
        }
        sets.into_iter()
            .map(|(index, entries)| ReplySet::new(client(index), number, 1, entries))
            .collect()
    }

    /// The reply, and whether the slot has it already.
    fn request(
        &mut self,
        bundle: &Bundle,
        request: &Request,
        answered: &mut BTreeSet<(u8, u64)>,
    ) -> (bool, ReplyEntry) {
        let (number, payload) = request;
        let digest = request_digest(&client(bundle.client), *number, payload);
        let entry = |request, outcome| ReplyEntry {
            number: *number,
            request,
            outcome,
        };
        if bundle.client >= REGISTERED {
            return (false, entry(digest, Outcome::NotRegistered));
        }
        if !self.sessions.contains_key(&bundle.client) && self.sessions.len() == LIMITS.max_sessions {
            return (false, entry(digest, Outcome::NoSession));
        }
        let session = self.sessions.entry(bundle.client).or_default();
        session.low = session.low.max(bundle.done_below);
        session.done.retain(|number, _| *number >= session.low);
        if *number < session.low {
            return (false, entry(digest, Outcome::ResultGone));
        }
        if *number > session.low + LIMITS.window {
            return (false, entry(digest, Outcome::TooFarAhead { low: session.low }));
        }
        let repeated = !answered.insert((bundle.client, *number));
        if let Some((request, result)) = session.done.get(number) {
            let outcome = result
                .clone()
                .map_or(Outcome::ResultGone, |result| Outcome::Executed(result.into()));
            return (repeated, entry(*request, outcome));
        }
        self.executed += 1;
        self.effects.push((bundle.client, *number));
        let result = result_of(self.executed, payload);
        session.done.insert(*number, (digest, Some(result.clone())));
        let held = |session: &ModelSession| {
            session
                .done
                .values()
                .flat_map(|(_, result)| result)
                .map(Vec::len)
                .sum::<usize>()
        };
        while held(session) > LIMITS.result_bytes {
            let lowest = session.done.values_mut().find(|(_, result)| result.is_some());
            lowest.expect("something is held").1 = None;
        }
        (false, entry(digest, Outcome::Executed(result.into())))
    }
}

fn positions() -> Executor {
    Executor::with_limits(Box::<Positions>::default(), registry(), LIMITS)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn equals_the_model(history in history()) {
        let (mut executor, mut model) = (positions(), Model::default());
        let effects = Rc::new(RefCell::new(Vec::new()));
        for (batches, number) in history.iter().zip(1..) {
            let mut sink = |item: &ExecutedRequest<'_>| {
                if !item.duplicate {
                    effects.borrow_mut().push((item.client.0[0], item.number));
                }
            };
            let done = executor.execute(&slot(number, bodies(batches), true), Some(&mut sink));
            let replies = model.execute(number, batches);
            let sets: Vec<ReplySet> = done.replies.iter().map(ReplyFrame::set).collect();
            prop_assert_eq!(&sets, &replies);
            let receipts: Vec<Digest> = replies.iter().map(|set| set.digest).collect();
            prop_assert_eq!(done.state.expect("asked for").receipts_root, merkle::root(&receipts));
            prop_assert_eq!(done.ops, done.fresh + done.duplicates + done.refused);
        }
        prop_assert_eq!(&*effects.borrow(), &model.effects);
        let distinct: BTreeSet<_> = model.effects.iter().collect();
        prop_assert_eq!(distinct.len(), model.effects.len(), "nothing takes effect twice");
    }

    /// When roots are asked for, and whether a slot is a replay, changes nothing about later roots.
    #[test]
    fn roots_do_not_depend_on_when_they_are_asked_for(history in history(), asked in vec(any::<bool>(), 10)) {
        let (mut often, mut seldom) = (positions(), positions());
        for (batches, number) in history.iter().zip(1..) {
            let root = asked[number as usize % 10];
            let loud = often.execute(&slot(number, bodies(batches), true), None);
            let mut execution = slot(number, bodies(batches), root);
            execution.replay = !root;
            let quiet = seldom.execute(&execution, None);
            prop_assert!(root || quiet.replies.is_empty());
            prop_assert_eq!(quiet.state, loud.state.filter(|_| root));
        }
        let last = often.executed();
        prop_assert_eq!(often.state_root(last), seldom.state_root(last));
    }

    /// Bundles cut anew, and copies of what was executed, leave the state as it is.
    #[test]
    fn copies_leave_the_state_alone(history in history(), cut in 1..3usize) {
        let (mut plain, mut noisy) = (positions(), positions());
        for (batches, number) in history.iter().zip(1..) {
            plain.execute(&slot(number, bodies(batches), false), None);
            let again: Vec<Vec<Bundle>> = batches.iter().map(|bundles| recut(bundles, cut)).collect();
            noisy.execute(&slot(number, bodies(&again), false), None);
        }
        let last = plain.executed();
        let root = |vote: StateVote| (vote.slot, vote.state_root, vote.timestamp);
        prop_assert_eq!(root(plain.state_root(last)), root(noisy.state_root(last)));
    }
}

/// The same requests in smaller bundles, and a copy of each bundle right behind it: what it asks for was executed, is
/// gone, or is refused again. (A copy further behind may execute what was too far ahead before.)
fn recut(bundles: &[Bundle], size: usize) -> Vec<Bundle> {
    let cut = |bundle: &Bundle| {
        let part = |requests: &[Request]| Bundle {
            requests: requests.to_vec(),
            ..bundle.clone()
        };
        bundle
            .requests
            .chunks(size)
            .map(part)
            .chain([bundle.clone()])
            .collect::<Vec<_>>()
    };
    bundles.iter().flat_map(cut).collect()
}

fn null(registry: ClientRegistry) -> Executor {
    Executor::with_limits(Box::new(Null::new()), registry, LIMITS)
}

fn one(executor: &mut Executor, client: PublicKey, done_below: u64, requests: &[Request]) -> StateVote {
    let next = executor.executed() + 1;
    let done = executor.execute(
        &slot(next, vec![batch(&[bundle(client, done_below, requests)])], true),
        None,
    );
    done.state.expect("asked for")
}

/// More clients than wait for the session tree: the root is that of the sessions, whenever they went there.
#[test]
fn many_sessions_go_to_the_tree_unasked() {
    let limits = SessionLimits {
        window: 6,
        max_sessions: 5_000,
        result_bytes: 64,
    };
    let key = |index: u32| PublicKey([index.to_le_bytes(); 8].concat().try_into().expect("32 bytes"));
    let run = |slots: u32| {
        let mut executor = Executor::with_limits(Box::new(Stateless), ClientRegistry::Open, limits);
        let mut bundles = (0..3_000).map(|index| bundle(key(index), 0, &[(1, vec![])]));
        for number in 1..=u64::from(slots) {
            let bundles: Vec<_> = bundles.by_ref().take(3_000 / slots as usize).collect();
            executor.execute(&slot(number, vec![batch(&bundles)], false), None);
        }
        executor.state_root(u64::from(slots)).state_root
    };
    assert_eq!(run(1), run(300));
}

/// An application without state of its own, to see what the sessions alone do to the root.
struct Stateless;

impl Application for Stateless {
    fn execute(&mut self, _: &Op<'_>, result: &mut Vec<u8>) {
        result.push(1);
    }

    fn root(&mut self) -> Digest {
        Digest::ZERO
    }

    fn name(&self) -> &'static str {
        "stateless"
    }

    fn scheme(&self) -> Scheme {
        NO_SCHEME
    }

    fn image(&mut self) -> Box<dyn Content> {
        Box::new(HeadOnly(Vec::new()))
    }

    fn fresh(&self) -> Box<dyn Application> {
        Box::new(Self)
    }

    fn restore_head(&mut self, head: &[u8]) -> bool {
        head.is_empty()
    }

    fn restore_leaf(&mut self, _: &[u8]) -> bool {
        false
    }
}

#[test]
fn the_state_root_covers_the_session_table() {
    let root = |done_below: u64, requests: &[Request]| {
        let mut executor = Executor::with_limits(Box::new(Stateless), ClientRegistry::Open, LIMITS);
        one(&mut executor, client(1), done_below, requests).state_root
    };
    let base = root(1, &[(1, b"p".to_vec())]);
    assert_eq!(base, root(1, &[(1, b"p".to_vec())]));
    assert_ne!(base, root(1, &[(2, b"p".to_vec())]), "which number was executed");
    assert_ne!(base, root(1, &[(1, b"q".to_vec())]), "with which payload");
    assert_ne!(base, root(0, &[(1, b"p".to_vec())]), "the low mark");
}

#[test]
fn the_first_of_two_payloads_wins() {
    let mut executor = null(ClientRegistry::Open);
    one(&mut executor, client(1), 0, &[(1, b"first".to_vec())]);
    let body = batch(&[bundle(client(1), 0, &[(1, b"second".to_vec())])]);
    let done = executor.execute(&slot(2, vec![body], false), None);
    let set = done.replies[0].set();
    let entry = &set.entries.as_ref().expect("entries")[0];
    assert_eq!(entry.request, request_digest(&client(1), 1, b"first"));
    assert_eq!(entry.outcome, Outcome::Executed(1u64.to_le_bytes().to_vec().into()));
    assert_eq!((done.fresh, done.duplicates), (0, 1));
}

#[test]
fn a_refused_number_may_execute_later() {
    let mut executor = null(ClientRegistry::Open);
    let mut outcome = |done_below, number| {
        let next = executor.executed() + 1;
        let body = batch(&[bundle(client(1), done_below, &[(number, vec![])])]);
        let done = executor.execute(&slot(next, vec![body], false), None);
        done.replies[0].set().entries.as_ref().expect("entries")[0]
            .outcome
            .clone()
    };
    let executed = |position: u64| Outcome::Executed(position.to_le_bytes().to_vec().into());
    assert_eq!(outcome(0, 7), Outcome::TooFarAhead { low: 0 });
    assert_eq!(outcome(0, 6), executed(1), "the window's last");
    assert_eq!(outcome(1, 7), executed(2), "another copy, after the mark has moved");
    assert_eq!(outcome(7, 7), executed(2), "still held at the mark");
    assert_eq!(outcome(1, 6), Outcome::ResultGone, "the mark never moves down");
    assert_eq!(outcome(1 << 40, 1 << 40), executed(3));
    assert_eq!(outcome(u64::MAX, u64::MAX), executed(4));
}

/// The store's longest values, read over and over: more than a reply set may carry.
#[test]
fn results_beyond_a_reply_set_are_left_out_and_can_be_asked_for() {
    let limits = SessionLimits {
        window: 1_000,
        max_sessions: 1,
        result_bytes: 64 << 20,
    };
    let mut executor = Executor::with_limits(Box::new(Kv::new()), ClientRegistry::Open, limits);
    let value = vec![1; MAX_VALUE_BYTES];
    one(
        &mut executor,
        client(1),
        0,
        &[(
            1,
            kv::Op::Put {
                key: b"k",
                value: &value,
            }
            .encode(),
        )],
    );
    let reads: Vec<Request> = (2..70)
        .map(|number| (number, kv::Op::Get { key: b"k" }.encode()))
        .collect();
    let mut entries = |requests: &[Request]| {
        let next = executor.executed() + 1;
        let done = executor.execute(&slot(next, vec![batch(&[bundle(client(1), 0, requests)])], false), None);
        done.replies[0].set().entries.expect("entries")
    };
    let first = entries(&reads);
    let in_full = |entries: &[ReplyEntry]| {
        entries
            .iter()
            .filter(|entry| entry.outcome.name() == "executed")
            .count()
    };
    assert_eq!(
        (first.len(), in_full(&first)),
        (68, MAX_REPLY_SET_BYTES / (MAX_VALUE_BYTES + 9))
    );
    assert_eq!(first[67].outcome, Outcome::LeftOut);
    let again = entries(&reads[60..]);
    assert_eq!((again.len(), in_full(&again)), (8, 8));
}

#[test]
fn malformed_bodies_execute_nothing_and_the_rest_goes_on() {
    let mut executor = null(ClientRegistry::Open);
    let good = batch(&[bundle(client(1), 0, &[(1, vec![])])]);
    let cut = good.slice(..good.len() - 1);
    let done = executor.execute(&slot(1, vec![cut, good], false), None);
    assert_eq!((done.malformed, done.fresh, done.ops), (1, 1, 1));
}

#[test]
#[should_panic(expected = "slots execute in order, once")]
fn a_slot_executes_once() {
    let mut executor = null(ClientRegistry::Open);
    executor.execute(&slot(1, vec![], false), None);
    executor.execute(&slot(1, vec![], false), None);
}

#[test]
fn roots_are_pinned() {
    let mut executor = null(ClientRegistry::Open);
    let vote = one(&mut executor, client(1), 1, &[(1, b"p".to_vec()), (3, b"q".to_vec())]);
    assert_eq!(
        vote.state_root.to_string(),
        "c81b7f369d0af8bf60351e4bf71ec41216b2c1ea80cf93216c5f6712ff114e5b"
    );
    assert_eq!(
        vote.receipts_root.to_string(),
        "f9f0ce821514f9692a59ba70999cd94c73ed029ad0b3d50ec65f11180802bac5"
    );
}
