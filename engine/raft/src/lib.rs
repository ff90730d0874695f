//! Ordering by Raft in the same engine (PROTOCOL.md section 9): for clusters whose members crash and do not lie.
//!
//! [`RaftReplica`] takes the inputs of [`trireme_core::Replica`] and answers with the same effects, so one host drives
//! either. Lanes, batches, fetching, checkpoints, images, sessions and execution are the core's; what differs is who says
//! in which order tips of lanes come: the leader of the `raft` crate proposes them as entries of its log.
//!
//! - **Nothing is signed** but state votes at checkpoints and when the cluster falls idle: an image is vouched for in the
//!   same way under either ordering. Headers, entries and answers are attributed by their channel.
//! - **There are no acks of their own.** A follower takes an entry only when it holds every batch that the entry's tips
//!   name; its records precede the entry's in one log, so one flush and one answer speak for both. A majority that stored
//!   an entry has stored the data.
//! - **Slots are Raft's indices**, views are its leaders' reigns. A new leader's first entry is an empty slot.
//! - **A replica that lost its log must not come back** under its identity: unlike the default ordering there is no
//!   quarantine, the host refuses to start it.
#![forbid(unsafe_code)]

mod commit;
mod data;
mod flow;
mod log;
mod record;
mod replica;
mod states;
mod status;
mod words;

pub use replica::RaftReplica;

/// The most members of `n` that may have crashed: the others are a majority.
pub fn crash_faults(n: u16) -> u16 {
    n.saturating_sub(1) / 2
}
