//! What a stage is to its run loop.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use serde_json::{Map, Value};
use trireme_core::Now;

use crate::error::ReplicaError;
use crate::topology::Stage;

/// What a stage is polled with.
pub(crate) struct Turn<'a, 'c> {
    /// When the poll began.
    pub(crate) now: Now,
    /// Items that it may take at most.
    pub(crate) budget: usize,
    /// No stage of this thread found anything to do since the endpoints' tasks ran: what was held back to be batched
    /// may go.
    pub(crate) quiet: bool,
    /// Wakes the run loop.
    pub(crate) cx: &'a mut Context<'c>,
}

/// How a stage winds up.
pub(crate) type Finish = Pin<Box<dyn Future<Output = Result<(), ReplicaError>>>>;

/// A stage. It does what there is to do, never blocks, and asks for room downstream before it takes input. What it
/// found nothing to do for has to wake the run loop: a link, a timer, an endpoint or the log's event descriptor.
pub(crate) trait Work {
    /// Which one it is.
    fn stage(&self) -> Stage;

    /// Does some work; whether there was any.
    ///
    /// # Errors
    ///
    /// What the replica cannot go on after.
    fn poll(&mut self, turn: &mut Turn<'_, '_>) -> Result<bool, ReplicaError>;

    /// Its part of the status; keys at the top level of the whole.
    fn status(&mut self) -> Map<String, Value>;

    /// Winds up: finishes what others may rely on and closes what it holds.
    fn finish(self: Box<Self>) -> Finish;
}

/// A stage that has nothing to wind up.
pub(crate) fn nothing_to_finish() -> Finish {
    Box::pin(std::future::ready(Ok(())))
}

/// A JSON object's entries.
pub(crate) fn entries(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => unreachable!("status parts are objects"),
    }
}
