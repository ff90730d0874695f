//! The write-ahead log of a replica (PROTOCOL.md, R-DURABLE): bytes only, nothing of consensus.
//!
//! One log is one directory of preallocated segment files. Records are appended to a gathering group; groups are written
//! several at a time, each with its flush; [`Log::poll`] tells up to which record everything is durable. LOG_FORMAT.md has
//! the bytes and the rule that tells a torn tail from a damaged middle.
//!
//! ```no_run
//! use trireme_log::{Log, LogConfig};
//!
//! let mut opening = Log::open(LogConfig::new("replica-0/log", [0; 32]))?;
//! while let Some(record) = opening.next() {
//!     let record = record?; // replay it
//! }
//! let mut log = opening.finish()?;
//! let lsn = log.append(1, None, &[b"a vote"])?;
//! log.submit()?;
//! while log.poll()? < lsn { /* sleep on log.event_fd() */ }
//! # Ok::<(), trireme_log::LogError>(())
//! ```
//!
//! Modules: `format` and `recovery` are pure; `group`, `flushes`, `space`, `index` make up [`Log`]; `medium` is what they
//! need of storage; `disk`, `segment_file`, `prepare` and `device` are storage; `simulation` is storage that
//! crashes and lies.
#![warn(missing_docs)]

mod buffer;
pub mod bugs;
mod config;
#[cfg(test)]
mod crash_tests;
mod device;
mod disk;
mod error;
mod event;
mod filesystem;
mod flushes;
mod format;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod group;
mod index;
mod log;
mod medium;
mod opening;
mod prepare;
mod recovery;
mod segment_file;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod space;
mod window;

pub use config::{DeviceChoice, Durability, FlushMethod, LogConfig};
pub use error::{FullReason, LogError};
pub use log::{Log, LogStats};
pub use opening::{Opening, Recovered};

/// The name under which a record can be read back, such as the digest of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey(pub [u8; 32]);

/// A record's position: its sequence number, from 1 on, over all restarts. `Lsn(0)` is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);
