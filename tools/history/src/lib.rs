//! Client histories: what clients asked a cluster for, when, and what they were told; and whether one copy of the
//! store, executing one operation after the other, could have told them the same (linearizability).
//!
//! The check is black-box: it knows operations, results and times, and nothing of replicas. Keys are independent of
//! each other, so each key is checked alone ([`check`]). The file format is [`Row`]; `tools/trireme/README.md` has it
//! as a table.
//!
//! No crate does this well enough today: testers that come with model checkers take one operation in flight for each
//! thread, know no operations of unknown outcome, and search without memory.
#![forbid(unsafe_code)]

mod check;
mod file;
mod register;
mod search;
mod window;

pub use check::{Broken, KeyUndecided, Limits, Report, Verdict, check};
pub use file::{BadHistory, FORMAT, Header, History, Kind, Outcome, Row, Told, read};
