//! What a replicated application is.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use trireme_core::Slot;
use trireme_core::types::ClientId;
use trireme_crypto::Digest;

use crate::forest::Forest;
use crate::prefix::Prefix;

/// One request on its way into the application.
#[derive(Clone, Copy, Debug)]
pub struct Op<'a> {
    /// The slot that ordered it.
    pub slot: Slot,
    /// The slot's time in microseconds since the Unix epoch, equal at all members: the only clock there is.
    pub timestamp: u64,
    /// Who signed it.
    pub client: &'a ClientId,
    /// Digest of client, number and payload.
    pub request: &'a Digest,
    /// The application's bytes, as the client chose them.
    pub payload: &'a [u8],
}

/// A deterministic state machine.
///
/// The same requests in the same order give the same results and roots at every member: no clocks, no randomness, no
/// iteration over hash maps, no floating point that differs between machines. A request that makes no sense gets a
/// result that says so; execution never fails.
///
/// # Images
///
/// Its state has two parts: a *head* of a few bytes, and *leaves*, each at a place of an authenticated map
/// ([`Forest`]). The root is a function of the head and of the map's root ([`Scheme`]), so that head and leaves can be
/// checked by whoever knows the root, part by part, and an empty application can be filled with them.
pub trait Application: Send {
    /// Executes a request and appends its result to `result`, which is empty. At most
    /// [`MAX_RESULT_BYTES`](trireme_core::reply::MAX_RESULT_BYTES).
    fn execute(&mut self, op: &Op<'_>, result: &mut Vec<u8>);

    /// Root of the state as it is now. May cost time in proportion to what changed since the last call.
    fn root(&mut self) -> Digest;

    /// A short name for reports.
    fn name(&self) -> &'static str;

    /// How its images are read.
    fn scheme(&self) -> Scheme;

    /// The state as it is now, which stays when requests are executed: cheap, shared with the state until that changes.
    fn image(&mut self) -> Box<dyn Content>;

    /// An empty application with the same limits, to be filled.
    fn fresh(&self) -> Box<dyn Application>;

    /// Takes the head of an image; false if it is none.
    fn restore_head(&mut self, head: &[u8]) -> bool;

    /// Adds a leaf of an image; false if it is none.
    fn restore_leaf(&mut self, leaf: &[u8]) -> bool;
}

/// How images of one kind of state are read and checked: plain functions of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Scheme {
    /// Place and value digest of an encoded leaf.
    pub leaf: fn(&[u8]) -> Option<(Digest, Digest)>,
    /// The state's root, of its head and its map's root.
    pub root: fn(&[u8], &Digest) -> Option<Digest>,
}

/// The state at one moment.
pub trait Content: Send + Sync {
    /// What the root covers beside the map.
    fn head(&self) -> Vec<u8>;

    /// Digests of the map.
    fn digests(&self) -> &Forest;

    /// Gives the encoded leaves of a part, in the order of their places, until it is told to stop.
    fn leaves(&self, prefix: Prefix, each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>);
}

/// Content without leaves.
#[derive(Clone, Debug)]
pub struct HeadOnly(pub Vec<u8>);

static NO_LEAVES: LazyLock<Forest> = LazyLock::new(Forest::new);

impl Content for HeadOnly {
    fn head(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn digests(&self) -> &Forest {
        &NO_LEAVES
    }

    fn leaves(&self, _: Prefix, _: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) {}
}
