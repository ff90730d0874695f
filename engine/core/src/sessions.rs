//! Sessions make execution exactly-once across lanes, retries and view changes (R-EXECUTE).
//!
//! For each client the table holds a low mark, moved up by the client's own `done_below`, and what was executed at or
//! above it: for each number the request's digest and, within a budget of bytes, the result. A number `m` with
//! `low <= m <= low + W` and nothing held is executed; one that is held is answered from here; one below the mark is
//! "executed, result no longer held"; one above is refused for now, in the same way everywhere.
//!
//! The table is part of the replicated state: [`SessionTable::drain_touched`] gives a digest for each session that
//! may have changed, and the state root covers them all (R-STATE). Everything that decides about a later request is
//! under those digests, and nothing else is: two tables with equal digests go on equally.
//!
//! Sessions are never evicted, or an old request could execute again. When the table is full, new clients are refused.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;
use trireme_crypto::{Digest, context, hash, hash_parts};

use crate::bugs::Bugs;
use crate::request::RequestNumber;
use crate::types::{ClientId, Params, Slot};

/// Bytes of results held for one session unless the limits say otherwise.
pub const SESSION_RESULT_BYTES: usize = 1 << 20;

/// Bounds of the table; equal at all members, since they decide about requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// W: numbers above the low mark that may execute.
    pub window: u64,
    /// Sessions held.
    pub max_sessions: usize,
    /// Bytes of results held for each session; beyond, the results of its lowest numbers go first.
    pub result_bytes: usize,
}

impl SessionLimits {
    /// The limits that `params` give.
    pub fn new(params: &Params) -> Self {
        let max_sessions = usize::try_from(params.max_sessions).expect("32 bits fit");
        Self {
            window: u64::from(params.session_window),
            max_sessions,
            result_bytes: SESSION_RESULT_BYTES,
        }
    }
}

/// What the table says about one number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not executed yet: execute it, then [`OpenSession::record`] it.
    Fresh,
    /// It was executed.
    Executed {
        /// Digest of the request that was.
        request: Digest,
        /// Its result, if that is still held.
        result: Option<Bytes>,
        /// Whether this slot has its reply already.
        answered: bool,
    },
    /// Below the low mark.
    Gone,
    /// More than W above the low mark.
    TooFarAhead {
        /// The low mark.
        low: RequestNumber,
    },
}

/// An executed request whose result is held.
#[derive(Clone, Debug)]
struct Held {
    request: Digest,
    result: Bytes,
    answered: Slot,
    /// Digest of request and result, once a root needed it.
    digest: Option<Digest>,
}

/// An executed request whose result was given up.
#[derive(Clone, Copy, Debug)]
struct Spent {
    request: Digest,
    answered: Slot,
}

/// One client's session. Memory grows with what was executed in the window, not with the window.
#[derive(Clone, Debug, Default)]
struct Session {
    low: RequestNumber,
    held: BTreeMap<RequestNumber, Held>,
    spent: BTreeMap<RequestNumber, Spent>,
    result_bytes: usize,
    touched: bool,
}

impl Session {
    /// R-EXECUTE: the mark moves before any number is checked, and never down.
    fn raise(&mut self, done_below: RequestNumber) {
        if done_below <= self.low {
            return;
        }
        self.low = done_below;
        while let Some(first) = self.held.first_entry().filter(|entry| *entry.key() < done_below) {
            self.result_bytes -= first.remove().result.len();
        }
        while let Some(first) = self.spent.first_entry().filter(|entry| *entry.key() < done_below) {
            first.remove();
        }
    }

    /// Gives up results of the lowest numbers until the budget holds.
    fn trim(&mut self, budget: usize) {
        while self.result_bytes > budget {
            let (number, held) = self.held.pop_first().expect("bytes are held by an entry");
            self.result_bytes -= held.result.len();
            self.spent.insert(
                number,
                Spent {
                    request: held.request,
                    answered: held.answered,
                },
            );
        }
    }

    /// The session as the state root sees it.
    fn digest(&mut self, client: &ClientId, scratch: &mut Vec<u8>) -> Digest {
        let count = |len: usize| u32::try_from(len).expect("a window is bounded").to_le_bytes();
        scratch.clear();
        scratch.extend_from_slice(b"session ");
        scratch.extend_from_slice(&client.0);
        scratch.extend_from_slice(&self.low.to_le_bytes());
        scratch.extend_from_slice(&count(self.held.len()));
        for (number, held) in &mut self.held {
            let digest = *held
                .digest
                .get_or_insert_with(|| hash_parts(context::STATE, &[b"outcome ", &held.request.0, &held.result]));
            scratch.extend_from_slice(&number.to_le_bytes());
            scratch.extend_from_slice(&digest.0);
        }
        scratch.extend_from_slice(&count(self.spent.len()));
        for (number, spent) in &self.spent {
            scratch.extend_from_slice(&number.to_le_bytes());
            scratch.extend_from_slice(&spent.request.0);
        }
        hash(context::STATE, scratch)
    }
}

/// The sessions of all clients.
#[derive(Clone, Debug)]
pub struct SessionTable {
    limits: SessionLimits,
    bugs: Bugs,
    sessions: BTreeMap<ClientId, Session>,
    touched: Vec<ClientId>,
    scratch: Vec<u8>,
}

impl SessionTable {
    /// An empty table.
    pub fn new(limits: SessionLimits) -> Self {
        Self::with_bugs(limits, Bugs::default())
    }

    /// The same with clauses broken on purpose; [`Bugs`] has no switch in a release build.
    pub fn with_bugs(limits: SessionLimits, bugs: Bugs) -> Self {
        Self {
            limits,
            bugs,
            sessions: BTreeMap::new(),
            touched: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether no client has a session.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The client's low mark; `None` without a session.
    pub fn low(&self, client: &ClientId) -> Option<RequestNumber> {
        self.sessions.get(client).map(|session| session.low)
    }

    /// The client's session, made if there is room, with its low mark raised to `done_below`. `None`: the table is
    /// full.
    pub fn open(&mut self, client: &ClientId, done_below: RequestNumber) -> Option<OpenSession<'_>> {
        let full = self.sessions.len() >= self.limits.max_sessions;
        let session = match self.sessions.entry(*client) {
            alloc::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            alloc::collections::btree_map::Entry::Vacant(_) if full => return None,
            alloc::collections::btree_map::Entry::Vacant(entry) => entry.insert(Session::default()),
        };
        if !session.touched {
            session.touched = true;
            self.touched.push(*client);
        }
        session.raise(done_below);
        Some(OpenSession {
            session,
            limits: self.limits,
            bugs: &self.bugs,
        })
    }

    /// Sessions opened since the last [`SessionTable::drain_touched`].
    pub fn touched(&self) -> usize {
        self.touched.len()
    }

    /// Gives the digest of each session that was opened since the last call, in the order of first opening.
    pub fn drain_touched(&mut self, mut each: impl FnMut(&ClientId, Digest)) {
        for client in self.touched.drain(..) {
            let session = self.sessions.get_mut(&client).expect("sessions are never dropped");
            session.touched = false;
            each(&client, session.digest(&client, &mut self.scratch));
        }
    }
}

/// One client's session while a bundle of it is executed.
#[derive(Debug)]
pub struct OpenSession<'a> {
    session: &'a mut Session,
    limits: SessionLimits,
    bugs: &'a Bugs,
}

impl OpenSession<'_> {
    /// What to do about `number` in `slot`. An executed number counts as answered in that slot from here on.
    pub fn judge(&mut self, number: RequestNumber, slot: Slot) -> Verdict {
        let low = self.session.low;
        if number < low {
            return Verdict::Gone;
        }
        if number - low > self.limits.window {
            return Verdict::TooFarAhead { low };
        }
        if let Some(held) = self.session.held.get_mut(&number) {
            let answered = core::mem::replace(&mut held.answered, slot) == slot;
            return Verdict::Executed {
                request: held.request,
                result: Some(held.result.clone()),
                answered,
            };
        }
        if let Some(spent) = self.session.spent.get_mut(&number) {
            let answered = core::mem::replace(&mut spent.answered, slot) == slot;
            return Verdict::Executed {
                request: spent.request,
                result: None,
                answered,
            };
        }
        Verdict::Fresh
    }

    /// Holds the result of a number that was [`Verdict::Fresh`], as answered in `slot`.
    pub fn record(&mut self, number: RequestNumber, request: Digest, result: Bytes, slot: Slot) {
        assert!(number >= self.session.low && number - self.session.low <= self.limits.window);
        debug_assert!(!self.session.spent.contains_key(&number), "a number executes once");
        self.session.result_bytes += result.len();
        let before = self.session.held.insert(
            number,
            Held {
                request,
                result,
                answered: slot,
                digest: None,
            },
        );
        assert!(before.is_none(), "a number executes once");
        self.session.trim(self.limits.result_bytes);
        while self.bugs.forget_replies() && self.session.held.len() > 1 {
            let (_, held) = self.session.held.pop_first().expect("more than one");
            self.session.result_bytes -= held.result.len();
        }
    }
}
