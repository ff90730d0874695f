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
//! A clone of the table is cheap: it shares the sessions until one of the two changes them. [`SessionTable::encode`] and
//! [`SessionTable::restore`] carry sessions into images of the state and back.
//!
//! Sessions are never evicted, or an old request could execute again. When the table is full, new clients are refused.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use trireme_crypto::{Digest, PublicKey, context, hash};

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

/// The longest result that stands in its entry, and under the session's digest itself; a longer one has a place and a
/// digest of its own.
const SHORT_RESULT_BYTES: usize = 22;

/// A result. Most are a few bytes: they need no memory of their own.
#[derive(Clone, Debug)]
enum HeldResult {
    Short { len: u8, bytes: [u8; SHORT_RESULT_BYTES] },
    Long(Box<LongResult>),
}

#[derive(Clone, Debug)]
struct LongResult {
    bytes: Box<[u8]>,
    /// Its digest, once a root needed it.
    digest: Option<Digest>,
}

impl HeldResult {
    fn new(result: &[u8]) -> Self {
        if result.len() > SHORT_RESULT_BYTES {
            let (bytes, digest) = (result.into(), None);
            return Self::Long(Box::new(LongResult { bytes, digest }));
        }
        let mut bytes = [0; SHORT_RESULT_BYTES];
        bytes[..result.len()].copy_from_slice(result);
        let len = u8::try_from(result.len()).expect("it is short");
        Self::Short { len, bytes }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(long) => &long.bytes,
        }
    }

    fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Writes what the session's digest covers of it: its length, and itself if it is short, else its digest.
    fn cover(&mut self, out: &mut Vec<u8>) {
        let len = u32::try_from(self.len()).expect("results are bounded");
        out.extend_from_slice(&len.to_le_bytes());
        match self {
            Self::Short { .. } => out.extend_from_slice(self.bytes()),
            Self::Long(long) => {
                let bytes = &long.bytes;
                let digest = long.digest.get_or_insert_with(|| hash(context::RESULT, bytes));
                out.extend_from_slice(&digest.0);
            }
        }
    }
}

/// An executed request whose result is held.
#[derive(Clone, Debug)]
struct Held {
    request: Digest,
    result: HeldResult,
    answered: Slot,
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
        scratch.extend_from_slice(b"session2");
        scratch.extend_from_slice(&client.0);
        scratch.extend_from_slice(&self.low.to_le_bytes());
        scratch.extend_from_slice(&count(self.held.len()));
        for (number, held) in &mut self.held {
            scratch.extend_from_slice(&number.to_le_bytes());
            scratch.extend_from_slice(&held.request.0);
            held.result.cover(scratch);
        }
        scratch.extend_from_slice(&count(self.spent.len()));
        for (number, spent) in &self.spent {
            scratch.extend_from_slice(&number.to_le_bytes());
            scratch.extend_from_slice(&spent.request.0);
        }
        hash(context::STATE, scratch)
    }
}

/// Shards of the table, by the first byte of the key: what is copied at the first change after a clone.
const SHARDS: usize = 256;

type Shard = BTreeMap<ClientId, Arc<Session>>;

/// The sessions of all clients.
#[derive(Clone, Debug)]
pub struct SessionTable {
    limits: SessionLimits,
    bugs: Bugs,
    shards: Vec<Arc<Shard>>,
    count: usize,
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
            shards: alloc::vec![Arc::default(); SHARDS],
            count: 0,
            touched: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no client has a session.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The client's low mark; `None` without a session.
    pub fn low(&self, client: &ClientId) -> Option<RequestNumber> {
        self.get(client).map(|session| session.low)
    }

    /// Who has a session, in no order that means anything.
    pub fn clients(&self) -> impl Iterator<Item = &ClientId> {
        self.shards.iter().flat_map(|shard| shard.keys())
    }

    fn get(&self, client: &ClientId) -> Option<&Session> {
        self.shards[usize::from(client.0[0])]
            .get(client)
            .map(|session| &**session)
    }

    /// The client's session, made if there is room, with its low mark raised to `done_below`. `None`: the table is
    /// full.
    pub fn open(&mut self, client: &ClientId, done_below: RequestNumber) -> Option<OpenSession<'_>> {
        let full = self.count >= self.limits.max_sessions;
        let shard = Arc::make_mut(&mut self.shards[usize::from(client.0[0])]);
        let session = match shard.entry(*client) {
            Entry::Occupied(entry) => Arc::make_mut(entry.into_mut()),
            Entry::Vacant(_) if full => return None,
            Entry::Vacant(entry) => {
                self.count += 1;
                Arc::make_mut(entry.insert(Arc::default()))
            }
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
            let shard = Arc::make_mut(&mut self.shards[usize::from(client.0[0])]);
            let session = Arc::make_mut(shard.get_mut(&client).expect("sessions are never dropped"));
            session.touched = false;
            each(&client, session.digest(&client, &mut self.scratch));
        }
    }

    /// Appends a session as images have it; nothing without one.
    pub fn encode(&self, client: &ClientId, out: &mut Vec<u8>) {
        if let Some(session) = self.get(client) {
            session.encode(client, out);
        }
    }

    /// Digest of an encoded session, as [`SessionTable::drain_touched`] gives it, and whose it is.
    pub fn encoded_digest(bytes: &[u8]) -> Option<(ClientId, Digest)> {
        let (client, mut session) = Session::decode(bytes)?;
        Some((client, session.digest(&client, &mut Vec::new())))
    }

    /// Adds an encoded session; `None` if it is none, or if there is one of this client. It counts as touched.
    pub fn restore(&mut self, bytes: &[u8]) -> Option<()> {
        let (client, session) = Session::decode(bytes)?;
        let shard = Arc::make_mut(&mut self.shards[usize::from(client.0[0])]);
        let Entry::Vacant(entry) = shard.entry(client) else {
            return None;
        };
        entry.insert(Arc::new(session));
        self.count += 1;
        self.touched.push(client);
        Some(())
    }
}

/// A session in an image: client, low mark, the numbers held with request and result, the numbers whose result is gone
/// with their request. Numbers ascend; counts and lengths are `u32`, little-endian. In which slot a number was last
/// answered is left out: it matters within that slot only.
impl Session {
    fn encode(&self, client: &ClientId, out: &mut Vec<u8>) {
        let count = |len: usize| u32::try_from(len).expect("a window is bounded").to_le_bytes();
        out.extend_from_slice(&client.0);
        out.extend_from_slice(&self.low.to_le_bytes());
        out.extend_from_slice(&count(self.held.len()));
        for (number, held) in &self.held {
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&held.request.0);
            out.extend_from_slice(&count(held.result.len()));
            out.extend_from_slice(held.result.bytes());
        }
        out.extend_from_slice(&count(self.spent.len()));
        for (number, spent) in &self.spent {
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&spent.request.0);
        }
    }

    fn decode(bytes: &[u8]) -> Option<(ClientId, Self)> {
        let mut fields = Fields(bytes);
        let client = PublicKey(fields.array()?);
        let mut session = Self {
            low: fields.u64()?,
            touched: true,
            ..Self::default()
        };
        let mut above = session.low;
        for _ in 0..fields.u32()? {
            let (number, request) = (fields.ascending(&mut above)?, Digest(fields.array()?));
            let len = usize::try_from(fields.u32()?).ok()?;
            let result = HeldResult::new(fields.take(len)?);
            session.result_bytes += len;
            let held = Held {
                request,
                result,
                answered: 0,
            };
            session.held.insert(number, held);
        }
        above = session.low;
        for _ in 0..fields.u32()? {
            let (number, request) = (fields.ascending(&mut above)?, Digest(fields.array()?));
            if session.held.contains_key(&number) {
                return None;
            }
            session.spent.insert(number, Spent { request, answered: 0 });
        }
        fields.0.is_empty().then_some((client, session))
    }
}

/// What is left of an encoded session.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number that is not below `next`, which goes to the one after it.
    fn ascending(&mut self, next: &mut RequestNumber) -> Option<RequestNumber> {
        let number = self.u64().filter(|number| number >= next)?;
        *next = number.checked_add(1)?;
        Some(number)
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
                result: Some(Bytes::copy_from_slice(held.result.bytes())),
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
    pub fn record(&mut self, number: RequestNumber, request: Digest, result: &[u8], slot: Slot) {
        assert!(number >= self.session.low && number - self.session.low <= self.limits.window);
        debug_assert!(!self.session.spent.contains_key(&number), "a number executes once");
        self.session.result_bytes += result.len();
        let before = self.session.held.insert(
            number,
            Held {
                request,
                result: HeldResult::new(result),
                answered: slot,
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
