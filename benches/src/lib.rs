//! The stages of the engine measured alone, through their own code, and a cluster of cores under simulated time with
//! measured costs. `cargo bench -p trireme-benches` prints the stages; `trireme bench` builds on both.
//!
//! Costs are CPU time of the measuring thread, the least of several passes: what else runs on the machine shows in the
//! caches only. (Harnesses that measure wall time, such as criterion's, cannot say that on a shared machine.) Latencies
//! are wall time.

#![forbid(unsafe_code)]

pub mod cluster;
pub mod curve;
pub mod load;
pub mod meter;
pub mod stages;
