//! The application that does nothing but notice what it was given, and in which order.

use trireme_crypto::{Digest, context, hash_parts};

use crate::application::{Application, Content, HeadOnly, Op, Scheme};

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

    fn head(&self) -> Vec<u8> {
        [self.executed.to_le_bytes().as_slice(), &self.fold.0].concat()
    }
}

impl Application for Null {
    fn execute(&mut self, op: &Op<'_>, result: &mut Vec<u8>) {
        self.executed += 1;
        self.fold = hash_parts(context::ORDER, &[&self.fold.0, &op.request.0]);
        result.extend_from_slice(&self.executed.to_le_bytes());
    }

    fn root(&mut self) -> Digest {
        root(&self.head())
    }

    fn name(&self) -> &'static str {
        "null"
    }

    fn scheme(&self) -> Scheme {
        Scheme {
            leaf: |_| None,
            root: |head, _| (head.len() == HEAD_BYTES).then(|| root(head)),
        }
    }

    fn image(&mut self) -> Box<dyn Content> {
        Box::new(HeadOnly(self.head()))
    }

    fn fresh(&self) -> Box<dyn Application> {
        Box::new(Self::new())
    }

    fn restore_head(&mut self, head: &[u8]) -> bool {
        let Some((executed, fold)) = head.split_first_chunk::<8>() else {
            return false;
        };
        let Ok(fold) = fold.try_into() else { return false };
        (self.executed, self.fold) = (u64::from_le_bytes(*executed), Digest(fold));
        true
    }

    fn restore_leaf(&mut self, _: &[u8]) -> bool {
        false
    }
}

/// Count and fold.
const HEAD_BYTES: usize = 8 + 32;

fn root(head: &[u8]) -> Digest {
    hash_parts(context::STATE, &[b"null    ", head])
}
