//! Load on a cluster, and what it does to latency.
//!
//! * **Open loop** ([`Rate::PerSecond`]): requests arrive by a schedule, fixed or Poisson, that does not wait for the
//!   cluster; latency runs from the *intended* time of each arrival, so that a stall counts for everybody who would
//!   have come during it (no coordinated omission).
//! * **Closed loop** ([`Rate::Max`]): a constant number of requests is outstanding; latency runs from the submission.
//!
//! One thread does it all: arrivals, signing, replies of all replicas, histograms. Everything acknowledged is recorded
//! ([`Acknowledged`]), so that it can be compared with what the replicas say they executed.
#![forbid(unsafe_code)]

mod acknowledged;
mod alarm;
mod arrivals;
mod history;
mod meter;
mod options;
mod payload;
mod random;
mod run;
mod summary;

pub use acknowledged::{Acknowledged, AcknowledgedRow, ROW_BYTES};
pub use history::HistoryFile;
pub use options::{Arrivals, LoadError, LoadOptions, Mix, Rate, Recording};
pub use run::{Report, Stop, run, run_blocking};
pub use summary::{LatencyUs, Progress, Summary};
