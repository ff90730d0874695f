//! Executes committed slots (R-EXECUTE, R-STATE, R-REPLY).

use std::collections::HashMap;

use trireme_core::api::Execution;
use trireme_core::bugs::Bugs;
use trireme_core::message::StateVote;
use trireme_core::reply::{MAX_RESULT_BYTES, OutcomeRef, ReplyFrame, ReplyWriter};
use trireme_core::request::{Body, BundleRef, RequestHasher, RequestNumber, RequestRef};
use trireme_core::sessions::{OpenSession, SessionLimits, SessionTable, Verdict};
use trireme_core::types::ClientId;
use trireme_core::{Params, Slot, View};
use trireme_crypto::{Digest, context, hash, merkle};

use crate::application::{Application, Op};
use crate::forest::Forest;
use crate::image::{Blank, Image, Restored, SessionImage, session_place, state_root};
use crate::registry::ClientRegistry;
use crate::tree::Change;

/// Sessions that may wait for the session tree; beyond, they go after the slot, so that a root does not stop execution
/// for long.
const MAX_TOUCHED: usize = 1_024;

/// The seeded bug that leaves sessions out of roots and images.
const UNCOVERED: &str = "image_without_sessions";

/// An item of the executed stream: a request that is executed, now or by an earlier copy. Requests that are refused
/// give none.
#[derive(Clone, Copy, Debug)]
pub struct ExecutedRequest<'a> {
    /// Whose.
    pub client: &'a ClientId,
    /// Its number.
    pub number: RequestNumber,
    /// Digest of the request that was executed under this number.
    pub request: Digest,
    /// The slot at hand.
    pub slot: Slot,
    /// Digest of the result (context `RESULT`); `None` if the result is no longer held.
    pub result: Option<Digest>,
    /// True: a copy; nothing was executed.
    pub duplicate: bool,
}

/// Where the executed stream goes.
pub type Sink<'a> = &'a mut dyn FnMut(&ExecutedRequest<'_>);

/// What the execution of a slot gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// The slot.
    pub slot: Slot,
    /// One set, with entries, for each client that had a request in the slot, in the order of their first ones. Empty
    /// on a replay.
    pub replies: Vec<ReplyFrame>,
    /// Roots, if the slot asked for them.
    pub state: Option<StateVote>,
    /// Requests in the slot's batches.
    pub ops: u32,
    /// Of these: executed for the first time.
    pub fresh: u32,
    /// Of these: copies of executed ones, below the low mark included.
    pub duplicates: u32,
    /// Of these: refused.
    pub refused: u32,
    /// Batches whose body is malformed, from which nothing was executed. More than f members lied about them.
    pub malformed: u32,
}

/// Where and when a request is executed.
#[derive(Clone, Copy)]
struct Place {
    slot: Slot,
    view: View,
    timestamp: u64,
}

/// The replicated state and what executes on it. One thread drives it, slot after slot.
pub struct Executor {
    app: Box<dyn Application>,
    registry: ClientRegistry,
    limits: SessionLimits,
    bugs: Bugs,
    sessions: SessionTable,
    session_tree: Forest,
    session_changes: Vec<Change>,
    executed: Slot,
    timestamp: u64,
    /// Digest of the block of the slot executed last: a root covers it, so that a certificate names the chain, too.
    block: Digest,
    /// Whether that slot is a checkpoint.
    checkpoint: bool,
    /// Digests of the last slot's reply sets: the leaves of its receipts root.
    receipts: Vec<Digest>,
    /// That root itself, if the last slot was not executed here but installed.
    installed_receipts: Option<Digest>,
    /// Digests of the requests of the slot at hand, in their order.
    requests: Vec<Digest>,
    hasher: RequestHasher,
    /// Replies of the slot at hand, client by client.
    groups: Vec<ReplyWriter>,
    group_of: HashMap<ClientId, usize>,
    result: Vec<u8>,
}

impl Executor {
    /// The state before slot 1.
    pub fn new(app: Box<dyn Application>, registry: ClientRegistry, params: &Params) -> Self {
        Self::with_limits(app, registry, SessionLimits::new(params))
    }

    /// [`Executor::new`] with clauses broken on purpose; [`Bugs`] has no switch in a release build.
    pub fn with_bugs(app: Box<dyn Application>, registry: ClientRegistry, params: &Params, bugs: Bugs) -> Self {
        Self {
            sessions: SessionTable::with_bugs(SessionLimits::new(params), bugs.clone()),
            bugs,
            ..Self::new(app, registry, params)
        }
    }

    /// [`Executor::new`] with session limits of the caller's; equal at all members.
    pub fn with_limits(app: Box<dyn Application>, registry: ClientRegistry, limits: SessionLimits) -> Self {
        Self {
            app,
            registry,
            limits,
            bugs: Bugs::default(),
            sessions: SessionTable::new(limits),
            session_tree: Forest::new(),
            session_changes: Vec::new(),
            executed: 0,
            timestamp: 0,
            block: Digest::ZERO,
            checkpoint: false,
            receipts: Vec::new(),
            installed_receipts: None,
            requests: Vec::new(),
            hasher: RequestHasher::default(),
            groups: Vec::new(),
            group_of: HashMap::new(),
            result: Vec::new(),
        }
    }

    /// The slot executed last; 0: none.
    pub fn executed(&self) -> Slot {
        self.executed
    }

    /// Sessions held.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Name of the application.
    pub fn app_name(&self) -> &'static str {
        self.app.name()
    }

    /// Executes a slot.
    ///
    /// # Panics
    ///
    /// If it is not the one after the last: the core gives slots in order, once.
    pub fn execute(&mut self, execution: &Execution, mut sink: Option<Sink<'_>>) -> Executed {
        assert_eq!(execution.slot, self.executed + 1, "slots execute in order, once");
        let place = Place {
            slot: execution.slot,
            view: execution.view,
            timestamp: execution.timestamp,
        };
        let mut done = Executed {
            slot: place.slot,
            ..Executed::default()
        };
        // All members have these very bytes, so all skip the same.
        let parsed = execution.batches.iter().map(|batch| Body::parse(&batch.body));
        let bodies: Vec<Body<'_>> = parsed.filter_map(Result::ok).collect();
        done.malformed = u32::try_from(execution.batches.len() - bodies.len()).expect("a cut is bounded");
        self.hash_requests(&bodies);
        let mut at = 0;
        for bundle in bodies.iter().flat_map(Body::bundles) {
            self.execute_bundle(place, &bundle, &mut at, &mut done, &mut sink);
        }
        (self.executed, self.timestamp) = (place.slot, place.timestamp);
        (self.block, self.checkpoint) = (execution.block, execution.checkpoint);
        self.collect_replies(execution.replay, &mut done);
        if self.sessions.touched() >= MAX_TOUCHED {
            self.settle_sessions();
        }
        done.state = (execution.root || execution.checkpoint).then(|| self.state_root(place.slot));
        done
    }

    /// Roots after `slot`.
    ///
    /// # Panics
    ///
    /// If `slot` is not the one executed last: the state before it is gone.
    pub fn state_root(&mut self, slot: Slot) -> StateVote {
        assert_eq!(slot, self.executed, "the state is that after the last slot");
        self.settle_sessions();
        let app = self.app.root();
        let sessions = if self.bugs.is_on(UNCOVERED) {
            Forest::new().root()
        } else {
            self.session_tree.root()
        };
        let receipts_root = self.installed_receipts;
        StateVote {
            slot,
            state_root: state_root(&app, &sessions, &self.block),
            receipts_root: receipts_root.unwrap_or_else(|| merkle::root(&self.receipts)),
            timestamp: self.timestamp,
            checkpoint: self.checkpoint,
        }
    }

    /// The state after the slot executed last, for snapshots and peers: shared with the running state, which copies
    /// what it changes from now on, shard by shard.
    pub fn image(&mut self) -> Image {
        let vote = self.state_root(self.executed);
        let (table, tree) = self.covered_sessions();
        let sessions = SessionImage::new(table, tree);
        Image::new(vote, self.block, self.app.image(), sessions)
    }

    /// The sessions that roots and images cover: all of them, but for a seeded bug.
    fn covered_sessions(&self) -> (SessionTable, Forest) {
        if self.bugs.is_on(UNCOVERED) {
            return (SessionTable::with_bugs(self.limits, self.bugs.clone()), Forest::new());
        }
        (self.sessions.clone(), self.session_tree.clone())
    }

    /// What images of this state are made into states with.
    pub fn blank(&self) -> Blank {
        Blank {
            app: self.app.fresh(),
            limits: self.limits,
            bugs: self.bugs.clone(),
        }
    }

    /// Takes over the state of an image. False, and nothing happens, if it is not newer: a state never goes back.
    pub fn install(&mut self, restored: Restored) -> bool {
        if restored.vote.slot <= self.executed {
            return false;
        }
        (self.app, self.sessions, self.session_tree) = (restored.app, restored.sessions, restored.session_tree);
        let vote = restored.vote;
        (self.executed, self.timestamp) = (vote.slot, vote.timestamp);
        (self.block, self.checkpoint) = (restored.block, vote.checkpoint);
        self.installed_receipts = Some(vote.receipts_root);
        true
    }

    /// Brings the session tree up to date; costs time in proportion to the sessions opened since the last call.
    fn settle_sessions(&mut self) {
        let changes = &mut self.session_changes;
        changes.clear();
        self.sessions.drain_touched(|client, digest| {
            changes.push(Change {
                place: session_place(client),
                value: Some(digest),
            });
        });
        self.session_tree.apply(changes);
    }

    /// Computes the digests of all requests, many at once.
    fn hash_requests(&mut self, bodies: &[Body<'_>]) {
        self.requests.clear();
        for bundle in bodies.iter().flat_map(Body::bundles) {
            self.hasher.bundle(&bundle, &mut self.requests);
        }
        self.hasher.finish(&mut self.requests);
    }

    /// Executes a bundle whose requests have the digests from `at` on, which goes behind them.
    fn execute_bundle(
        &mut self,
        place: Place,
        bundle: &BundleRef<'_>,
        at: &mut usize,
        done: &mut Executed,
        sink: &mut Option<Sink<'_>>,
    ) {
        done.ops += bundle.ops();
        let client = bundle.client();
        let digests = &self.requests[*at..*at + bundle.ops() as usize];
        *at += digests.len();
        let group = group(&mut self.groups, &mut self.group_of, client, place, digests.len());
        let (session, refusal) = if self.registry.admits(client) {
            (self.sessions.open(client, bundle.done_below()), OutcomeRef::NoSession)
        } else {
            (None, OutcomeRef::NotRegistered)
        };
        let Some(session) = session else {
            done.refused += bundle.ops();
            for (request, digest) in bundle.requests().zip(digests) {
                group.push(request.number, digest, refusal);
            }
            return;
        };
        let (app, result) = (self.app.as_mut(), &mut self.result);
        Turn {
            app,
            result,
            place,
            client,
            session,
            group,
            done,
            sink,
        }
        .run(bundle, digests);
    }

    /// Makes the reply sets out of the groups, which are empty afterwards.
    fn collect_replies(&mut self, replay: bool, done: &mut Executed) {
        self.group_of.clear();
        let frames: Vec<ReplyFrame> = self.groups.drain(..).map(ReplyWriter::finish).collect();
        self.installed_receipts = None;
        self.receipts.clear();
        self.receipts.extend(frames.iter().map(|frame| *frame.digest()));
        if !replay {
            done.replies = frames;
        }
    }
}

/// The replies of a client, begun if there are none yet. Bundles of one client often follow each other, so the last
/// group is looked at first.
fn group<'a>(
    groups: &'a mut Vec<ReplyWriter>,
    group_of: &mut HashMap<ClientId, usize>,
    client: &ClientId,
    place: Place,
    ops: usize,
) -> &'a mut ReplyWriter {
    let index = match groups.last() {
        Some(last) if last.client() == client => groups.len() - 1,
        _ => *group_of.entry(*client).or_insert(groups.len()),
    };
    if index == groups.len() {
        groups.push(ReplyWriter::new(*client, place.slot, place.view, ops));
    }
    &mut groups[index]
}

/// The execution of one bundle whose client has a session.
struct Turn<'a, 's, 'k> {
    app: &'a mut dyn Application,
    result: &'a mut Vec<u8>,
    place: Place,
    client: &'a ClientId,
    session: OpenSession<'a>,
    group: &'a mut ReplyWriter,
    done: &'a mut Executed,
    sink: &'s mut Option<Sink<'k>>,
}

impl Turn<'_, '_, '_> {
    fn run(mut self, bundle: &BundleRef<'_>, digests: &[Digest]) {
        for (request, digest) in bundle.requests().zip(digests) {
            match self.session.judge(request.number, self.place.slot) {
                Verdict::Fresh => self.execute(&request, digest),
                Verdict::Executed {
                    request: executed,
                    result,
                    answered,
                } => {
                    self.repeat(request.number, &executed, result.as_deref(), answered);
                }
                Verdict::Gone => {
                    self.done.duplicates += 1;
                    self.group.push(request.number, digest, OutcomeRef::ResultGone);
                }
                Verdict::TooFarAhead { low } => {
                    self.done.refused += 1;
                    self.group.push(request.number, digest, OutcomeRef::TooFarAhead { low });
                }
            }
        }
    }

    fn execute(&mut self, request: &RequestRef<'_>, digest: &Digest) {
        let Place { slot, timestamp, .. } = self.place;
        self.result.clear();
        let op = Op {
            slot,
            timestamp,
            client: self.client,
            request: digest,
            payload: request.payload,
        };
        self.app.execute(&op, self.result);
        assert!(
            self.result.len() <= MAX_RESULT_BYTES,
            "an application keeps to the limit on results"
        );
        self.done.fresh += 1;
        self.session.record(request.number, *digest, self.result, slot);
        self.group
            .push(request.number, digest, OutcomeRef::Executed(self.result));
        if self.sink.is_some() {
            let result = hash(context::RESULT, self.result);
            self.emit(request.number, *digest, Some(result), false);
        }
    }

    /// A copy: one reply for each number in a slot is enough, however many copies it orders.
    fn repeat(&mut self, number: RequestNumber, request: &Digest, result: Option<&[u8]>, answered: bool) {
        self.done.duplicates += 1;
        if self.sink.is_some() {
            let digest = result.map(|result| hash(context::RESULT, result));
            self.emit(number, *request, digest, true);
        }
        if !answered {
            self.group.push(
                number,
                request,
                result.map_or(OutcomeRef::ResultGone, OutcomeRef::Executed),
            );
        }
    }

    fn emit(&mut self, number: RequestNumber, request: Digest, result: Option<Digest>, duplicate: bool) {
        let Some(sink) = self.sink else { return };
        sink(&ExecutedRequest {
            client: self.client,
            number,
            request,
            slot: self.place.slot,
            result,
            duplicate,
        });
    }
}
