//! The configuration files: what all members of a cluster must share (`cluster.toml`), what each replica may choose
//! (`replica.toml`), what a client needs (`client.toml`), and the key files beside them.
//!
//! This crate parses and writes texts. It opens no file: the callers in `tools` do, and put the file's name into the
//! error with [`ConfigError::in_file`]. Unknown keys are errors, and the name of a quantity ends with its unit.

#![forbid(unsafe_code)]

mod budgets;
mod client;
mod cluster;
mod error;
mod genesis;
mod keys;
mod replica;
mod source;

pub use budgets::{ClientBudget, Congestion, LogBudget, PeerBudget, SnapshotBudget};
pub use client::ClientConfig;
pub use cluster::{AppKind, ClientAuth, ClientEntry, Clients, Cluster, MAX_CLIENTS, MemberEntry, OrderingKind};
pub use error::{ConfigError, Fault};
pub use keys::{ClientKeys, KeyFile, KeyOwner, MAX_IDENTITIES, ReplicaKeys};
pub use replica::{AdminConfig, DeviceKind, Durability, FlushKind, ReplicaConfig};
