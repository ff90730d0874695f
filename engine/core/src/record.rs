//! What a replica writes to its log (R-DURABLE).

use alloc::{boxed::Box, vec::Vec};

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use trireme_crypto::Digest;

use crate::message::{Accepted, Batch, Entry, Qc, Readmission, SignedBlock, SignedTimeout, Tc};
use crate::quarantine::Cause;
use crate::types::{Height, Slot};

/// A record of the write-ahead log. `encode`/`decode` are in [`crate::wire`]: the batch body stays borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A stored batch.
    Batch(Batch),
    /// Everything else.
    Vote(VoteRecord),
    /// What another ordering than this crate's promises (section 9); only that ordering reads it.
    Ordering(Bytes),
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
    /// All promises that stand, in one: what was written of them before may be released (R-RELEASE).
    Standing(Box<Standing>),
    /// From here on nothing is signed (R-QUARANTINE), until `Readmitted`.
    Quarantined(Cause),
    /// The way out of a quarantine: what it rests on was written before.
    Readmitted(Box<Readmission>),
}

/// The promises of a replica at one point of its log. Blocks that are still listed have their own records before it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Standing {
    /// What let it into its view.
    pub entry: Entry,
    /// Its highest Qc.
    pub high_qc: Qc,
    /// Its newest Timeout.
    pub timeout: Option<SignedTimeout>,
    /// R-REPORT's list, ascending.
    pub accepted: Vec<Accepted>,
    /// The last block that it accepted in its view. A Qc may have passed it, and no other of that slot may be accepted.
    pub last: Option<(Slot, Digest)>,
    /// How many it accepted in its view.
    pub accepted_in_view: u64,
    /// Its lock in its view.
    pub locked: Option<(Slot, Digest)>,
    /// Own headers up to this height may have left.
    pub reserved: Height,
    /// The newest slot that it committed, and its block.
    pub committed: (Slot, Digest),
}
