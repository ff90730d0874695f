//! Load on a cluster, and what it does to latency.
//!
//! * **Open loop** ([`Rate::PerSecond`]): requests arrive by a schedule ([`Arrivals`]) that does not wait for the
//!   cluster; latency runs from the *intended* time of each arrival, so that a stall counts for everybody who would
//!   have come during it (no coordinated omission).
//! * **Closed loop** ([`Rate::Max`]): a constant number of requests is outstanding; latency runs from the submission.
//!
//! One thread does it all: arrivals, signing, replies of all replicas, histograms. More threads are more processes, each
//! a part of one load ([`Start`], [`merge`]). Everything acknowledged is recorded ([`Acknowledged`]), so that it can be
//! compared with what the replicas say they executed. What was measured is a [`Record`]: with [`GeneratorCheck`], which
//! says whether the generator itself was the limit. Whom the load is made on is an [`Aim`].
#![forbid(unsafe_code)]

mod acknowledged;
mod alarm;
mod arrivals;
mod encoded;
mod ending;
mod filling;
mod generator;
mod history;
mod intervals;
mod keys;
mod making;
mod merge;
mod meter;
mod options;
mod payload;
mod random;
mod record;
mod run;
mod sending;
mod shape;
mod sizes;
mod summary;
mod sweep;
mod target;
mod words;
mod workload;

pub use acknowledged::{Acknowledged, AcknowledgedRow, ROW_BYTES};
pub use encoded::Encoded;
pub use generator::GeneratorCheck;
pub use history::HistoryFile;
pub use intervals::{CSV_HEADER, Interval, read_hlog, write_csv, write_hlog, write_intervals};
pub use keys::KeyDistribution;
pub use merge::{MergeError, merge, merge_intervals, merge_seconds};
pub use options::{LoadError, LoadOptions, Rate, Recording};
pub use record::{Record, SCHEMA, Setting};
pub use run::{Report, Start, Stop, run, run_blocking};
pub use shape::Arrivals;
pub use sizes::Sizes;
pub use summary::{LatencyUs, OperationFigures, Second, Summary};
pub use sweep::{Search, Slo, Step, SweepReport};
pub use target::{Aim, EtcdServer, EtcdState, etcd_hash, etcd_state};
pub use words::{BadWords, duration};
pub use workload::{Mix, Operation, Workload};
