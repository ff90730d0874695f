//! The application trait, the executor, and the applications that ship.
//!
//! An [`Executor`] turns committed slots into replies: it walks the batches in the order of R-EXECUTE, lets the session
//! table decide what each request is (new, a copy, too old, too far ahead), gives new ones to the [`Application`], and
//! collects one [`ReplySet`](trireme_core::reply::ReplySet) for each client of the slot. When a state vote is due it
//! computes the roots.
//!
//! # What the state root covers (R-STATE)
//!
//! `state_root` = the application's root and the root of the session table. The session table belongs to the state:
//! two replicas that agree about the application but not about what was executed would part ways at the next copy of
//! a request. `receipts_root` = the Merkle root of the digests of one slot's reply sets, in the order of each client's
//! first request in the slot.
//!
//! Roots are functions of the state, not of the way to it: not of when earlier roots were asked for, and not of the
//! insertion order of keys. What an application makes part of its state is its own choice and documented there.
//!
//! Everything is deterministic and single-threaded; nothing here reads a clock, a file or a random source.
#![forbid(unsafe_code)]

mod application;
mod executor;
pub mod kv;
mod null;
mod registry;
mod tree;

pub use application::{Application, Op};
pub use executor::{Executed, ExecutedRequest, Executor, Sink};
pub use null::Null;
pub use registry::ClientRegistry;
pub use tree::{Change, Tree};
