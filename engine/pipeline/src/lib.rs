//! A replica as a process: stages, links between them, and the threads that run them.
//!
//! [`topology`] declares the machine: every stage, every link with its depth and whether it may shed, and which thread
//! runs what. A stage does what there is to do and asks for room downstream before it takes input; `run_loop` polls
//! the stages of a thread until none has anything to do, and sleeps. [`run_replica`] is the whole: doors open, recovery
//! from the log, ordering, replies, and an orderly stop on SIGTERM.
//!
//! The core (`trireme_core`) is a function that the `order` stage calls; everything around it that has to do with
//! sockets, files, clocks and threads is here or below.
#![warn(missing_docs)]

mod admin;
pub mod audit;
mod board;
mod bugs;
mod clock;
mod doors;
mod endpoints;
mod error;
mod events;
mod execute;
mod gate;
mod histogram;
mod identity;
mod ingress;
mod items;
mod key_cache;
mod keys;
mod link;
mod log;
mod log_event;
#[cfg(feature = "simulation")]
pub mod measure;
pub mod metrics;
mod notify;
mod order;
mod orderer;
mod passage;
mod peers;
mod recovery;
mod replica;
mod run_loop;
mod signal;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod snapshots;
mod stage;
mod thread;
pub mod topology;
mod verify;
mod views;
mod wiring;

pub use error::ReplicaError;
pub use execute::{ExecutedItem, NoObserver, Observer};
pub use identity::mark_restored;
pub use keys::MemberKeys;
pub use replica::{RunningReplica, STATUS_SCHEMA, run_replica};
