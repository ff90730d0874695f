//! What a replicated application is.

use trireme_core::Slot;
use trireme_core::types::ClientId;
use trireme_crypto::Digest;

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
pub trait Application: Send {
    /// Executes a request and appends its result to `result`, which is empty. At most
    /// [`MAX_RESULT_BYTES`](trireme_core::reply::MAX_RESULT_BYTES).
    fn execute(&mut self, op: &Op<'_>, result: &mut Vec<u8>);

    /// Root of the state as it is now. May cost time in proportion to what changed since the last call.
    fn root(&mut self) -> Digest;

    /// A short name for reports.
    fn name(&self) -> &'static str;
}
