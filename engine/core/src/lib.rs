//! The replication protocol of Trireme as a function (`engine/PROTOCOL.md`).
//!
//! A [`Replica`] takes an [`Input`] and the time, and answers with [`Effect`]s. It owns no clock, thread, file, socket
//! or source of randomness: the same inputs give the same effects, which is what the simulator, the replay of a crash
//! and every test in this repository rest on.
//!
//! Reading order: [`types`] (the words), [`quorum`] (all arithmetic on n, f, p), [`message`] (what replicas say),
//! [`api`] (inputs and effects), then `replica`, `ordering`, `lanes`, `safety`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod api;
pub mod bugs;
pub mod check;
pub mod message;
pub mod quorum;
pub mod record;
pub mod reply;
pub mod request;
pub mod safe_tip;
pub mod sessions;
pub mod types;
pub mod wire;

mod chain;
pub mod checkpoint;
mod commit;
mod dissemination;
pub mod execution;
pub mod fetch;
mod gather;
mod generation;
pub mod lanes;
mod ordering;
pub mod own_lane;
pub mod quarantine;
mod recovery;
mod replica;
mod safety;
pub mod state_votes;
mod status;
mod sync;
mod tend;
pub mod timing;
mod view_change;
mod view_state;
mod votes;
mod witness;

pub use api::{Effect, Input, Outbound, Outbox, To};
pub use message::Message;
pub use replica::{Counters, Replica};
pub use status::{Held, LaneStatus, Status};
pub use types::{Epoch, Height, MemberId, Now, Params, Slot, Tick, View};
