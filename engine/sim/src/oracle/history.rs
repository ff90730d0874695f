//! What was executed, and what clients were told (invariants 2, 3, 10, 12, 13, 14, 15).

use std::collections::{BTreeMap, BTreeSet};

use trireme_core::api::Execution;
use trireme_core::message::{BatchHeader, StateVote};
use trireme_core::types::{ClientId, Height};
use trireme_core::{MemberId, Slot};
use trireme_crypto::{Digest, Domain, Signature, context, hash};

use super::chain::Chain;
use super::model::Model;
use super::{Scene, Verdict};

/// A request that reached an application: client, number, payload, and what the application said.
pub(crate) type Applied = (ClientId, u64, Digest, Digest);

/// A bundle as an oracle reads it.
struct Bundle<'a> {
    client: ClientId,
    done_below: u64,
    requests: Vec<(u64, &'a [u8])>,
    signed: &'a [u8],
    signature: Signature,
}

/// What one slot did, the same everywhere.
struct Done {
    block: Digest,
    batches: Vec<Digest>,
    /// Replies by client; known once somebody executed it and answered.
    replies: Option<Vec<(ClientId, Digest)>>,
    applied: bool,
    /// What takes effect by the naive model.
    expected: Vec<Applied>,
}

/// The one history of a cluster, and how far each replica is in it.
pub(crate) struct History {
    slots: Vec<Done>,
    ordered: Vec<Slot>,
    roots: BTreeMap<Slot, StateVote>,
    /// Height and digest of the batch below each batch.
    headers: BTreeMap<Digest, (Height, Digest)>,
    /// What clients asked for.
    submitted: BTreeSet<(ClientId, u64, Digest)>,
    effects: BTreeMap<(ClientId, u64), Slot>,
    model: Model,
    times: Times,
}

impl History {
    pub(super) fn new(n: usize, model: Model) -> Self {
        Self {
            slots: Vec::new(),
            ordered: vec![0; n],
            roots: BTreeMap::new(),
            headers: BTreeMap::new(),
            submitted: BTreeSet::new(),
            effects: BTreeMap::new(),
            model,
            times: Times::default(),
        }
    }

    /// A client is about to send a request.
    pub(crate) fn submitted(&mut self, client: ClientId, number: u64, payload: &[u8]) {
        self.submitted.insert((client, number, payload_digest(payload)));
        self.times.asked(client, number);
    }

    /// The slot at which a request took effect.
    pub(crate) fn effect(&self, client: ClientId, number: u64) -> Option<Slot> {
        self.effects.get(&(client, number)).copied()
    }

    /// Whether a request of the client took effect: it has a session.
    pub(crate) fn has_session(&self, client: ClientId) -> bool {
        let all = (client, 0)..=(client, u64::MAX);
        self.effects.range(all).next().is_some()
    }

    pub(super) fn saw_header(&mut self, domain: &Domain, header: &BatchHeader) {
        let digest = header.digest(domain);
        self.headers
            .entry(digest)
            .or_insert((header.parent_height, header.parent));
    }

    /// A replica starts from nothing, again.
    pub(crate) fn forget(&mut self, member: MemberId) {
        self.ordered[usize::from(member)] = 0;
    }

    /// A replica took over the state after a slot.
    pub(crate) fn installed(&mut self, member: MemberId, slot: Slot) {
        // Slots above may have been handed over already.
        let at = &mut self.ordered[usize::from(member)];
        *at = slot.max(*at);
    }

    /// A correct replica hands a slot to execution. Returns whether it is the first one.
    pub(crate) fn ordered(
        &mut self,
        scene: Scene,
        verdict: &mut Verdict,
        chain: &Chain,
        execution: &Execution,
    ) -> bool {
        let at = &mut self.ordered[usize::from(scene.member)];
        verdict.check(execution.slot == *at + 1, scene, "3", || {
            format!("executes slot {} after {at}", execution.slot)
        });
        *at = execution.slot;
        let batches: Vec<Digest> = execution.batches.iter().map(|batch| batch.digest).collect();
        let index = usize::try_from(execution.slot).expect("a slot") - 1;
        if let Some(done) = self.slots.get(index) {
            let same = done.block == execution.block && done.batches == batches;
            verdict.check(same, scene, "2", || {
                format!("slot {}: other batches than elsewhere", execution.slot)
            });
            return false;
        }
        let expanded = self.expand(chain, execution.block);
        verdict.check(expanded.as_ref() == Some(&batches), scene, "3", || {
            format!(
                "slot {}: batches {batches:?}, R-EXECUTE says {expanded:?}",
                execution.slot
            )
        });
        if index == self.slots.len() {
            self.slots.push(Done {
                block: execution.block,
                batches,
                replies: None,
                applied: false,
                expected: Vec::new(),
            });
        }
        true
    }

    /// R-EXECUTE: for k = 1, 2, ..., for each lane in order, the k-th batch above the parent's cut.
    fn expand(&self, chain: &Chain, block: Digest) -> Option<Vec<Digest>> {
        let block = chain.get(&block)?;
        let parent = chain.get(&block.parent)?;
        let mut lanes = Vec::new();
        for ((height, tip), (floor, _)) in block.cut.iter().zip(&parent.cut) {
            let mut lane = Vec::new();
            let (mut height, mut digest) = (*height, *tip);
            while height > *floor {
                lane.push(digest);
                (height, digest) = *self.headers.get(&digest)?;
            }
            lane.reverse();
            lanes.push(lane);
        }
        let longest = lanes.iter().map(Vec::len).max().unwrap_or(0);
        let order = (0..longest).flat_map(|k| lanes.iter().filter_map(move |lane| lane.get(k)));
        Some(order.copied().collect())
    }

    /// Every executed request was signed by its client (invariant 15). `signed` judges one signature.
    pub(crate) fn judge_bodies(
        &mut self,
        scene: Scene,
        verdict: &mut Verdict,
        domain: &Domain,
        execution: &Execution,
        signed: impl Fn(&ClientId, &Digest, &Signature) -> bool,
    ) {
        let mut expected = Vec::new();
        for batch in &execution.batches {
            let Some(bundles) = parse_body(&batch.body) else {
                verdict.fail(scene, "15", format!("slot {}: a body that is no body", execution.slot));
                continue;
            };
            for bundle in bundles {
                let statement = domain.statement(context::BUNDLE, bundle.signed);
                let good = signed(&bundle.client, &statement, &bundle.signature);
                let known = bundle.requests.iter().all(|(number, payload)| {
                    self.submitted
                        .contains(&(bundle.client, *number, payload_digest(payload)))
                });
                verdict.check(good && known, scene, "15", || {
                    format!(
                        "slot {}: executes a bundle that its client did not sign",
                        execution.slot
                    )
                });
                self.model
                    .run(bundle.client, bundle.done_below, &bundle.requests, &mut expected);
            }
        }
        for (client, number, ..) in &expected {
            let position = self.model.effect(*client, *number).map_or(0, |effect| effect.position);
            let early = self.times.must_follow(*client, *number);
            verdict.check(position > early, scene, "14", || {
                format!("request {number} of {client} is ordered as number {position}, but was asked for when number {early} had been acknowledged")
            });
        }
        if let Some(done) = usize::try_from(execution.slot)
            .ok()
            .and_then(|slot| self.slots.get_mut(slot - 1))
        {
            done.expected = expected;
        }
    }

    /// A correct replica executed a slot: replies and effects are those of the others (invariants 10 and 12).
    pub(crate) fn executed(
        &mut self,
        scene: Scene,
        verdict: &mut Verdict,
        slot: Slot,
        replies: Option<Vec<(ClientId, Digest)>>,
        applied: Vec<Applied>,
    ) {
        let Some(done) = usize::try_from(slot).ok().and_then(|slot| self.slots.get_mut(slot - 1)) else {
            return;
        };
        if let (Some(known), Some(replies)) = (&done.replies, &replies) {
            verdict.check(known == replies, scene, "10", || {
                format!("slot {slot}: other replies than elsewhere")
            });
        }
        // A replay gives no replies.
        done.replies = done.replies.take().or(replies);
        let fresh = !std::mem::replace(&mut done.applied, true);
        let expected = &done.expected;
        verdict.check(*expected == applied, scene, "10", || {
            format!(
                "slot {slot}: applies {}, the naive model {}",
                list(&applied),
                list(expected)
            )
        });
        if !fresh {
            return;
        }
        for (client, number, ..) in &applied {
            let before = self.effects.insert((*client, *number), slot);
            verdict.check(before.is_none(), scene, "12", || {
                format!("request {number} of {client} takes effect in slot {slot} and in {before:?}")
            });
        }
    }

    /// A correct replica states its state (invariant 10).
    pub(crate) fn state_vote(&mut self, scene: Scene, verdict: &mut Verdict, vote: &StateVote) {
        let known = self.roots.entry(vote.slot).or_insert_with(|| vote.clone());
        verdict.check(known == vote, scene, "10", || {
            format!("slot {}: another state than elsewhere", vote.slot)
        });
    }

    /// A client holds a request for executed (invariant 13), with a result if it was told one (invariant 14).
    pub(crate) fn acknowledged(
        &mut self,
        verdict: &mut Verdict,
        time_us: u64,
        request: (ClientId, u64, Slot),
        result: Option<&[u8]>,
    ) {
        let (client, number, slot) = request;
        let effect = self.effect(client, number);
        if effect.is_none_or(|at| at > slot) {
            let text = format!("request {number} of {client} acknowledged at slot {slot}, its effect is at {effect:?}");
            verdict.fail_cluster(time_us, "13", text);
        }
        let Some(effect) = self.model.effect(client, number) else {
            return;
        };
        self.times.answered(effect.position);
        if result.is_some_and(|result| payload_digest(result) != effect.result) {
            let text = format!(
                "request {number} of {client}: the client is told {result:?}, which is not what the order says"
            );
            verdict.fail_cluster(time_us, "14", text);
        }
        verdict.count(if result.is_some() {
            "result checked"
        } else {
            "answer without a result"
        });
    }
}

/// Requests in a few words.
fn list(applied: &[Applied]) -> String {
    let words = applied
        .iter()
        .map(|(client, number, _, result)| format!("{client}/{number}={result}"));
    words.collect::<Vec<_>>().join(" ")
}

/// The real-time order of requests (invariant 14). The certified order is one line, so it is enough to know, when a
/// request is made, the last place in the line that any client had been told of.
#[derive(Default)]
struct Times {
    told: u64,
    asked: BTreeMap<(ClientId, u64), u64>,
}

impl Times {
    fn asked(&mut self, client: ClientId, number: u64) {
        self.asked.entry((client, number)).or_insert(self.told);
    }

    fn answered(&mut self, position: u64) {
        self.told = self.told.max(position);
    }

    /// The place that a request has to come after.
    fn must_follow(&self, client: ClientId, number: u64) -> u64 {
        self.asked.get(&(client, number)).copied().unwrap_or(0)
    }
}

/// What the oracle compares payloads by.
pub(crate) fn payload_digest(payload: &[u8]) -> Digest {
    hash(context::SEED, payload)
}

/// Reads a batch's body by the layout on the page of `trireme_core::request`.
fn parse_body(body: &[u8]) -> Option<Vec<Bundle<'_>>> {
    let mut rest = body;
    let count = word(&mut rest)?;
    let mut bundles = Vec::new();
    for _ in 0..count {
        let length = word(&mut rest)?;
        let bytes = take(&mut rest, length)?;
        bundles.push(parse_bundle(bytes)?);
    }
    rest.is_empty().then_some(bundles)
}

fn parse_bundle(bytes: &[u8]) -> Option<Bundle<'_>> {
    let (signed, signature) = bytes.split_at_checked(bytes.len().checked_sub(64)?)?;
    let mut rest = signed;
    let client = trireme_crypto::PublicKey(take(&mut rest, 32)?.try_into().ok()?);
    let done_below = u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
    let count = word(&mut rest)?;
    let mut requests = Vec::new();
    for _ in 0..count {
        let number = u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
        let length = word(&mut rest)?;
        requests.push((number, take(&mut rest, length)?));
    }
    rest.is_empty().then_some(Bundle {
        client,
        done_below,
        requests,
        signed,
        signature: Signature(signature.try_into().ok()?),
    })
}

fn word(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(take(rest, 4)?.try_into().ok()?)).ok()
}

pub(super) fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientId = trireme_crypto::PublicKey([7; 32]);

    /// A body of one bundle, by the layout on the page of `trireme_core::request`.
    fn body(requests: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bundle = [&CLIENT.0[..], &1u64.to_le_bytes(), &count(requests.len())].concat();
        for (number, payload) in requests {
            bundle.extend([&number.to_le_bytes()[..], &count(payload.len()), payload].concat());
        }
        bundle.extend([0; 64]);
        [&count(1)[..], &count(bundle.len()), &bundle].concat()
    }

    fn count(len: usize) -> [u8; 4] {
        u32::try_from(len).unwrap().to_le_bytes()
    }

    fn put(value: &[u8]) -> Vec<u8> {
        [&[1, 1, 0, b'k'][..], value].concat()
    }

    struct Bench {
        history: History,
        verdict: Verdict,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                history: History::new(4, Model::new(100, 10)),
                verdict: Verdict::default(),
            }
        }

        fn ask(&mut self, number: u64, value: &[u8]) {
            self.history.submitted(CLIENT, number, &put(value));
        }

        /// Slot `slot` orders these requests.
        fn order(&mut self, slot: Slot, requests: &[(u64, &[u8])]) {
            let requests: Vec<(u64, Vec<u8>)> = requests.iter().map(|(n, value)| (*n, put(value))).collect();
            let borrowed: Vec<(u64, &[u8])> = requests.iter().map(|(n, payload)| (*n, payload.as_slice())).collect();
            let execution = Execution {
                slot,
                block: Digest::ZERO,
                view: 0,
                timestamp: slot,
                batches: vec![trireme_core::api::OrderedBatch {
                    lane: 0,
                    height: slot,
                    digest: Digest::ZERO,
                    body: body(&borrowed).into(),
                }],
                root: false,
                checkpoint: false,
                fast: false,
                replay: false,
            };
            self.history.slots.push(Done {
                block: Digest::ZERO,
                batches: Vec::new(),
                replies: None,
                applied: false,
                expected: Vec::new(),
            });
            let (scene, domain) = (
                scene(),
                Domain {
                    cluster_id: Digest::ZERO,
                    epoch: 0,
                },
            );
            self.history
                .judge_bodies(scene, &mut self.verdict, &domain, &execution, |_, _, _| true);
        }

        fn execute(&mut self, slot: Slot, applied: Vec<Applied>) {
            self.history.executed(scene(), &mut self.verdict, slot, None, applied);
        }

        fn acknowledge(&mut self, number: u64, slot: Slot, result: &[u8]) {
            let request = (CLIENT, number, slot);
            self.history.acknowledged(&mut self.verdict, 0, request, Some(result));
        }

        fn expected(&self, slot: usize) -> Vec<Applied> {
            self.history.slots[slot - 1].expected.clone()
        }

        fn broken(&self) -> Vec<&str> {
            self.verdict
                .violations
                .iter()
                .map(|violation| violation.invariant)
                .collect()
        }
    }

    fn scene() -> Scene {
        Scene { time_us: 0, member: 0 }
    }

    /// A put's result: version `revision`.
    fn written(revision: u64) -> Vec<u8> {
        [&[1][..], &revision.to_le_bytes()].concat()
    }

    #[test]
    fn a_line_that_respects_time_is_good() {
        let mut bench = Bench::new();
        bench.ask(1, b"a");
        bench.order(1, &[(1, b"a")]);
        bench.execute(1, bench.expected(1));
        bench.acknowledge(1, 1, &written(1));
        bench.ask(2, b"b");
        bench.order(2, &[(1, b"a"), (2, b"b")]);
        assert_eq!(bench.expected(2).len(), 1, "a copy takes no effect");
        bench.execute(2, bench.expected(2));
        bench.acknowledge(2, 2, &written(2));
        assert_eq!(bench.broken(), Vec::<&str>::new());
    }

    #[test]
    fn an_order_against_time_is_found() {
        let mut bench = Bench::new();
        bench.ask(1, b"a");
        bench.ask(2, b"b");
        bench.order(1, &[(2, b"b"), (1, b"a")]);
        bench.execute(1, bench.expected(1));
        bench.acknowledge(1, 1, &written(2));
        assert_eq!(
            bench.broken(),
            Vec::<&str>::new(),
            "both were under way: any order is good"
        );
        // Somebody was told of place 2; what is asked for now cannot stand at place 2 or before.
        bench.ask(3, b"c");
        bench.history.times.asked.insert((CLIENT, 3), 3);
        bench.order(2, &[(3, b"c")]);
        assert_eq!(bench.broken(), ["14"]);
    }

    #[test]
    fn a_wrong_result_is_found_at_the_client_and_at_the_replica() {
        let mut bench = Bench::new();
        bench.ask(1, b"a");
        bench.order(1, &[(1, b"a")]);
        let mut wrong = bench.expected(1);
        wrong[0].3 = payload_digest(&written(9));
        bench.execute(1, wrong);
        bench.acknowledge(1, 1, &written(9));
        assert_eq!(bench.broken(), ["10", "14"]);
    }

    #[test]
    fn what_takes_effect_twice_or_never_is_found() {
        let mut bench = Bench::new();
        bench.ask(1, b"a");
        bench.order(1, &[(1, b"a")]);
        bench.execute(1, bench.expected(1));
        bench.order(2, &[(1, b"a")]);
        bench.execute(2, bench.expected(1));
        assert_eq!(bench.broken(), ["10", "12"]);
        bench.acknowledge(5, 2, &written(1));
        assert_eq!(bench.broken(), ["10", "12", "13"]);
    }
}
