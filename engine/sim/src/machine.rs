//! The execution stage of one replica: the real executor over the real key-value store, watched.

use std::sync::{Arc, Mutex};

use trireme_core::api::Execution;
use trireme_core::bugs::Bugs;
use trireme_core::message::StateVote;
use trireme_core::reply::{ReplyFrame, ReplySet};
use trireme_core::types::ClientId;
use trireme_core::{Params, Slot};
use trireme_crypto::Digest;
use trireme_state::kv::{self, Kv};
use trireme_state::{Application, Blank, ClientRegistry, Content, Executor, Image, Op, Restored, Scheme};

use crate::oracle::{Applied, payload_digest};
use crate::prng::Prng;

/// What reached the application, and what it said: client, payload, result.
type Seen = Arc<Mutex<Vec<(ClientId, Digest, Digest)>>>;

/// The store, with a witness.
struct Watched {
    store: Kv,
    seen: Seen,
}

impl Application for Watched {
    fn execute(&mut self, op: &Op<'_>, result: &mut Vec<u8>) {
        let before = result.len();
        self.store.execute(op, result);
        let entry = (
            *op.client,
            payload_digest(op.payload),
            payload_digest(&result[before..]),
        );
        self.seen.lock().expect("one thread").push(entry);
    }

    fn root(&mut self) -> Digest {
        self.store.root()
    }

    fn name(&self) -> &'static str {
        "watched-kv"
    }

    fn scheme(&self) -> Scheme {
        self.store.scheme()
    }

    fn image(&mut self) -> Box<dyn Content> {
        self.store.image()
    }

    fn fresh(&self) -> Box<dyn Application> {
        Box::new(Self {
            store: Kv::new(),
            seen: Arc::clone(&self.seen),
        })
    }

    fn restore_head(&mut self, head: &[u8]) -> bool {
        self.store.restore_head(head)
    }

    fn restore_leaf(&mut self, leaf: &[u8]) -> bool {
        self.store.restore_leaf(leaf)
    }
}

/// One replica's state.
pub(crate) struct Machine {
    executor: Executor,
    seen: Seen,
}

/// What a slot did.
pub(crate) struct Done {
    pub(crate) replies: Vec<ReplySet>,
    pub(crate) applied: Vec<Applied>,
    pub(crate) duplicates: u32,
    pub(crate) state: Option<StateVote>,
}

impl Machine {
    pub(crate) fn new(params: &Params, bugs: &Bugs) -> Self {
        let seen = Seen::default();
        let app = Watched {
            store: Kv::new(),
            seen: Arc::clone(&seen),
        };
        Self {
            executor: Executor::with_bugs(Box::new(app), ClientRegistry::Open, params, bugs.clone()),
            seen,
        }
    }

    pub(crate) fn execute(&mut self, execution: &Execution) -> Done {
        let mut fresh: Vec<(ClientId, u64)> = Vec::new();
        let executed = self.executor.execute(
            execution,
            Some(&mut |request| {
                if !request.duplicate {
                    fresh.push((*request.client, request.number));
                }
            }),
        );
        let seen = std::mem::take(&mut *self.seen.lock().expect("one thread"));
        assert_eq!(seen.len(), fresh.len(), "the stream tells what the application saw");
        let applied = fresh
            .into_iter()
            .zip(seen)
            .map(|((client, number), (_, payload, result))| (client, number, payload, result));
        Done {
            applied: applied.collect(),
            replies: executed.replies.iter().map(ReplyFrame::set).collect(),
            duplicates: executed.duplicates,
            state: executed.state,
        }
    }

    pub(crate) fn executed(&self) -> Slot {
        self.executor.executed()
    }

    pub(crate) fn image(&mut self) -> Image {
        self.executor.image()
    }

    pub(crate) fn blank(&self) -> Blank {
        self.executor.blank()
    }

    /// Takes over the state of an image, if it is newer.
    pub(crate) fn install(&mut self, restored: Restored) -> bool {
        self.executor.install(restored)
    }

    pub(crate) fn state_root(&mut self, slot: Slot) -> StateVote {
        self.executor.state_root(slot)
    }
}

/// A random operation over few keys, so that requests meet.
pub(crate) fn payload(prng: &mut Prng, marker: u64) -> Vec<u8> {
    let key = [b'k', u8::try_from(prng.below(8)).expect("small")];
    let mut value = marker.to_le_bytes().to_vec();
    value.resize(8 + prng.index(40), b'v');
    match prng.below(8) {
        0 => kv::Op::Get { key: &key }.encode(),
        1 => kv::Op::Delete { key: &key }.encode(),
        2 => kv::Op::CompareAndSet {
            key: &key,
            expected: prng.below(20),
            value: &value,
        }
        .encode(),
        _ => kv::Op::Put {
            key: &key,
            value: &value,
        }
        .encode(),
    }
}
