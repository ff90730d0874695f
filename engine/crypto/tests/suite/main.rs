//! Tests of the crate from outside, one binary. The rule before published vectors with weak keys is in `src/speccheck.rs`.

mod agreement;
mod contexts;
mod forge;
mod golden;
mod keys;
mod merkle;
mod strict;
mod torsion;
