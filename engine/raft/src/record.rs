//! What the ordering writes to the replica's log.

use borsh::{BorshDeserialize, BorshSerialize};
use raft::eraftpb::HardState;
use trireme_core::record::Record;
use trireme_core::types::Height;
use trireme_crypto::encode;

use crate::words::EntryBytes;

/// Entries in one record of those that carry a release: a record stays small.
pub(crate) const ENTRIES_PER_RECORD: usize = 1_024;

/// Raft's own promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Hard {
    pub(crate) term: u64,
    pub(crate) vote: u64,
    pub(crate) commit: u64,
}

impl From<&HardState> for Hard {
    fn from(state: &HardState) -> Self {
        Self {
            term: state.term,
            vote: state.vote,
            commit: state.commit,
        }
    }
}

impl From<Hard> for HardState {
    fn from(hard: Hard) -> Self {
        let mut state = Self::default();
        (state.term, state.vote, state.commit) = (hard.term, hard.vote, hard.commit);
        state
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum RaftRecord {
    /// Promises, and entries that take the place of all from the first one's index on.
    Entries(Hard, Vec<EntryBytes>),
    /// The log begins above this index, which is of this term; own headers up to this height may have left. What was written
    /// before may be released; the entries above follow in records of the same append.
    Standing(Hard, (u64, u64), Height),
    /// Own headers up to this height may have left (R-RESERVE).
    Reserve(Height),
}

impl RaftRecord {
    pub(crate) fn record(&self) -> Record {
        Record::Ordering(encode(self).into())
    }
}
