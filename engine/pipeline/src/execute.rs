//! The execute stage: committed slots into replies, roots and the executed stream.

use serde_json::{Map, Value, json};
use trireme_core::Slot;
use trireme_core::api::Execution;
use trireme_core::message::StateVote;
use trireme_core::reply::ReplyFrame;
use trireme_core::types::ClientId;
use trireme_crypto::Digest;
use trireme_state::{Blank, Executor, Image, Restored};

use crate::clock::Clock;
use crate::error::ReplicaError;
use crate::items::{ExecuteJob, ExecuteNews, ExecutedSlot, SlotReplies};
use crate::link::{Receiver, Sender};
use crate::snapshots::Installation;
use crate::stage::{Finish, Turn, Work, entries, nothing_to_finish};
use crate::topology::Stage;

/// A request that is executed, now or by an earlier copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutedItem {
    /// Whose.
    pub client: ClientId,
    /// Its number.
    pub number: u64,
    /// Digest of the request that was executed under this number.
    pub request: Digest,
    /// The slot that ordered this copy.
    pub slot: Slot,
    /// Digest of the result; `None` if the result is no longer held.
    pub result: Option<Digest>,
    /// True: a copy; nothing was executed.
    pub duplicate: bool,
}

/// Sees everything that a replica executes, on the thread that executes.
pub trait Observer {
    /// The requests of one slot, in the order of execution; called before their replies leave. Requests that were
    /// refused at execution are not among them.
    fn executed(&mut self, items: &[ExecutedItem]);

    /// The replica has restarted and executes again from behind `slot`, which is 0 or a checkpoint; what was seen above
    /// it before is about to be repeated.
    fn replayed_from(&mut self, slot: Slot);

    /// What was seen so far has to last: a restart may go on behind `slot`.
    fn checkpoint(&mut self, slot: Slot) {
        let _ = slot;
    }

    /// The state after `slot` was fetched from other members: what was executed up to there since the last call is not
    /// seen here.
    fn installed(&mut self, slot: Slot) {
        let _ = slot;
    }

    /// Whether [`Observer::executed`] is wanted at all: the digests of the results have a price.
    fn wants_items(&self) -> bool {
        true
    }
}

/// An observer that does not look.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn executed(&mut self, _: &[ExecutedItem]) {}

    fn replayed_from(&mut self, _: Slot) {}

    fn wants_items(&self) -> bool {
        false
    }
}

/// The application's state with its observer; made and fed during recovery, then handed to the stage.
pub(crate) struct Machine {
    executor: Executor,
    observer: Box<dyn Observer + Send>,
    observed: bool,
    items: Vec<ExecutedItem>,
    state: Option<StateVote>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    slots: u64,
    ops: u64,
    fresh: u64,
    duplicates: u64,
    refused: u64,
    malformed_batches: u64,
    images: u64,
    installed: u64,
}

impl Machine {
    pub(crate) fn new(executor: Executor, observer: Box<dyn Observer + Send>) -> Self {
        let observed = observer.wants_items();
        Self {
            executor,
            observer,
            observed,
            items: Vec::new(),
            state: None,
            counts: Counts::default(),
        }
    }

    /// Slot executed last.
    pub(crate) fn executed(&self) -> Slot {
        self.executor.executed()
    }

    /// Gives the observer back: another machine takes its place.
    pub(crate) fn into_observer(self) -> Box<dyn Observer + Send> {
        self.observer
    }

    /// Tells the observer that slots are about to be executed again.
    pub(crate) fn replay(&mut self) {
        self.observer.replayed_from(self.executed());
    }

    /// What snapshots are made into states with.
    pub(crate) fn blank(&self) -> Blank {
        self.executor.blank()
    }

    /// Takes over a state at the start.
    pub(crate) fn restore(&mut self, restored: Restored) {
        self.state = Some(restored.vote().clone());
        assert!(self.executor.install(restored), "nothing was executed yet");
    }

    /// Takes over a state that was fetched, unless execution is past it.
    fn install(&mut self, restored: Restored) {
        let (slot, vote) = (restored.slot(), restored.vote().clone());
        if self.executor.install(restored) {
            self.state = Some(vote);
            self.counts.installed += 1;
            self.observer.installed(slot);
        }
    }

    fn image(&mut self) -> Image {
        let image = self.executor.image();
        self.observer.checkpoint(image.slot());
        self.counts.images += 1;
        image
    }

    /// Executes a slot; its replies, and its roots if they were asked for.
    pub(crate) fn execute(&mut self, execution: &Execution) -> (Vec<ReplyFrame>, Option<StateVote>) {
        let items = &mut self.items;
        items.clear();
        let mut sink = |request: &trireme_state::ExecutedRequest<'_>| {
            items.push(ExecutedItem {
                client: *request.client,
                number: request.number,
                request: request.request,
                slot: request.slot,
                result: request.result,
                duplicate: request.duplicate,
            });
        };
        let done = self.executor.execute(execution, self.observed.then_some(&mut sink));
        if !self.items.is_empty() {
            self.observer.executed(&self.items);
        }
        self.counts.slots += 1;
        self.counts.ops += u64::from(done.ops);
        self.counts.fresh += u64::from(done.fresh);
        self.counts.duplicates += u64::from(done.duplicates);
        self.counts.refused += u64::from(done.refused);
        self.counts.malformed_batches += u64::from(done.malformed);
        if let Some(state) = &done.state {
            self.state = Some(state.clone());
        }
        (done.replies, done.state)
    }

    fn root(&mut self, slot: Slot) -> StateVote {
        let state = self.executor.state_root(slot);
        self.state = Some(state.clone());
        state
    }
}

/// The links of the stage.
pub(crate) struct ExecuteLinks {
    pub(crate) jobs: Receiver<ExecuteJob>,
    pub(crate) executed: Sender<ExecuteNews>,
    pub(crate) replies: Sender<SlotReplies>,
    pub(crate) images: Sender<Image>,
    pub(crate) installs: Receiver<Box<Installation>>,
}

/// See the module's text.
pub(crate) struct Execute {
    machine: Machine,
    links: ExecuteLinks,
    clock: Clock,
}

impl Execute {
    pub(crate) fn new(machine: Machine, links: ExecuteLinks, clock: Clock) -> Self {
        Self { machine, links, clock }
    }

    fn run(&mut self, job: ExecuteJob) {
        let executed = match job {
            // The state was fetched meanwhile.
            ExecuteJob::Slot(execution) if execution.slot <= self.machine.executed() => ExecutedSlot {
                slot: execution.slot,
                state: None,
            },
            ExecuteJob::Root(slot) if slot != self.machine.executed() => return,
            ExecuteJob::Slot(execution) => {
                let (replies, state) = self.machine.execute(&execution);
                if execution.checkpoint {
                    let image = self.machine.image();
                    self.links.images.push(0, image);
                }
                if !replies.is_empty() {
                    let executed = self.clock.tick();
                    let replies = SlotReplies {
                        executed,
                        sets: replies,
                    };
                    self.links.replies.push(reply_bytes(&replies.sets), replies);
                }
                ExecutedSlot {
                    slot: execution.slot,
                    state,
                }
            }
            ExecuteJob::Root(slot) => ExecutedSlot {
                slot,
                state: Some(self.machine.root(slot)),
            },
        };
        self.links.executed.push(0, ExecuteNews::Slot(executed));
    }
}

/// What the replies of a slot weigh on their link.
fn reply_bytes(replies: &[ReplyFrame]) -> usize {
    size_of_val(replies) + replies.iter().map(ReplyFrame::bytes).sum::<usize>()
}

impl Work for Execute {
    fn stage(&self) -> Stage {
        Stage::Execute
    }

    fn poll(&mut self, turn: &mut Turn<'_, '_>) -> Result<bool, ReplicaError> {
        let mut progress = false;
        if self.links.executed.room()
            && let Some(installation) = self.links.installs.pop()
        {
            let Installation {
                restored,
                certificate,
                anchor,
            } = *installation;
            self.machine.install(restored);
            let news = ExecuteNews::Installed(certificate.into(), anchor.into());
            self.links.executed.push(0, news);
            progress = true;
        }
        // A slot is a batch of work; a few of them are a turn.
        for _ in 0..(turn.budget / 32).max(1) {
            if !self.links.executed.room() || !self.links.replies.room() || !self.links.images.room() {
                break;
            }
            let Some(job) = self.links.jobs.pop() else { break };
            self.run(job);
            progress = true;
        }
        Ok(progress)
    }

    fn status(&mut self) -> Map<String, Value> {
        let machine = &self.machine;
        let counts = &machine.counts;
        entries(json!({
            "execution": {
                "slot": machine.executed(),
                "slots": counts.slots,
                "ops": counts.ops,
                "fresh": counts.fresh,
                "duplicates": counts.duplicates,
                "refused": counts.refused,
                "malformed_batches": counts.malformed_batches,
                "images": counts.images,
                "installed": counts.installed,
                "sessions": machine.executor.sessions(),
            },
            "state": machine.state.as_ref().map(|state| json!({
                "slot": state.slot,
                "root": state.state_root.to_string(),
                "receipts_root": state.receipts_root.to_string(),
                "timestamp_us": state.timestamp,
            })),
        }))
    }

    fn finish(self: Box<Self>) -> Finish {
        nothing_to_finish()
    }
}
