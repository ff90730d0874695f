//! The application that does nothing but notice what it was given, and in which order.

use trireme_crypto::{Digest, context, hash_parts};

use crate::application::{Application, Op};

/// Counts requests and folds their digests into one: for measuring everything else, and for tests, whose results
/// differ as soon as two replicas execute in different orders.
///
/// The result of a request is its position as 8 bytes, little-endian, from 1. The root covers count and fold, so it
/// depends on the whole history; that is its purpose.
#[derive(Clone, Debug, Default)]
pub struct Null {
    executed: u64,
    fold: Digest,
}

impl Null {
    /// Nothing executed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests executed.
    pub fn executed(&self) -> u64 {
        self.executed
    }
}

impl Application for Null {
    fn execute(&mut self, op: &Op<'_>, result: &mut Vec<u8>) {
        self.executed += 1;
        self.fold = hash_parts(context::ORDER, &[&self.fold.0, &op.request.0]);
        result.extend_from_slice(&self.executed.to_le_bytes());
    }

    fn root(&mut self) -> Digest {
        hash_parts(
            context::STATE,
            &[b"null    ", &self.executed.to_le_bytes(), &self.fold.0],
        )
    }

    fn name(&self) -> &'static str {
        "null"
    }
}
