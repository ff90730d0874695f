//! What a replica writes to its log (R-DURABLE).

use alloc::boxed::Box;

use borsh::{BorshDeserialize, BorshSerialize};
use trireme_crypto::Digest;

use crate::message::{Batch, Qc, SignedBlock, SignedTimeout, Tc};
use crate::types::{Height, Slot};

/// A record of the write-ahead log. `encode`/`decode` are in [`crate::wire`]: the batch body stays borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A stored batch.
    Batch(Batch),
    /// Everything else.
    Vote(VoteRecord),
}

/// Records other than batches.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum VoteRecord {
    /// A block that was accepted; its vote may have left.
    Accept(Box<SignedBlock>),
    /// A block that was fetched and not accepted: part of a committed chain.
    Block(Box<SignedBlock>),
    /// A Qc that became high_qc (a lock, or adopted).
    HighQc(Box<Qc>),
    /// A Timeout that may have left.
    Timeout(Box<SignedTimeout>),
    /// A view was entered with this certificate.
    Enter(Box<Tc>),
    /// Own headers up to this height may have left (R-RESERVE).
    Reserve(Height),
    /// Committed up to here. Advisory: lets a restart execute without asking; a commit is final.
    Committed(Slot, Digest),
}
