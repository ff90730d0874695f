//! Fuzz targets: functions from bytes to nothing that panic when something does not hold (`README.md`).
//!
//! A target takes any bytes. Decoders get them as they are; what needs structure draws it from them ([`Source`]), so
//! that any input means something and a small change of the input is a small change of the run. The same targets run
//! under the mutator of this crate, on any toolchain, and under libFuzzer with coverage (`guided/`).
#![forbid(unsafe_code)]

mod mutate;
mod party;
pub mod smoke;
mod source;
mod targets;

pub use mutate::{Chance, mutate};
pub use source::Source;
pub use targets::{Samples, TARGETS, Target, named};
