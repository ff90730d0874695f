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
//! Modules: `format`, `recovery` and `salvage` are pure; `group`, `flushes`, `space`, `index`, `release` make up [`Log`];
//! `medium` is what they need of storage; `disk`, `header_file`, `segment_file`, `prepare`, `remover` and `device` are
//! storage; `simulation` is storage that
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
mod header_file;
mod index;
mod log;
mod medium;
#[cfg(test)]
mod model_tests;
mod opening;
mod prepare;
mod recovery;
mod release;
mod remover;
mod salvage;
mod segment_file;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod space;
mod window;

pub use config::{DeviceChoice, Durability, FlushMethod, LogConfig};
pub use error::{FullReason, LogError};
pub use flushes::Observation;
pub use log::{Log, LogStats};
pub use opening::{Opening, Recovered};
pub use release::{OldSegment, worth_releasing};
pub use salvage::Gap;

/// The name under which a record can be read back, such as the digest of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey(pub [u8; 32]);

/// A record to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The caller's.
    pub kind: u8,
    /// Under which it can be read back.
    pub key: Option<RecordKey>,
    /// With a key: what tells its owner later whether it is still wanted ([`Log::old_segment`]).
    pub mark: u64,
    /// Another replica has it, too, or nobody needs it: losing it is no loss of this replica's word.
    pub replaceable: bool,
    /// May use `reserve_bytes` when the log cannot grow.
    pub vital: bool,
    /// The payload is their concatenation.
    pub parts: &'a [&'a [u8]],
}

/// A record's position: its sequence number, from 1 on, over all restarts. `Lsn(0)` is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);
