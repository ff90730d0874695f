//! Runs as one page: a self-contained HTML file with what `trireme local --json`, `trireme load --json` and HdrHistogram
//! interval logs say. It needs no network and no script; plots are inline SVG; it follows the reader's choice of light
//! or dark. [`comparison`] is the same for several systems.
#![forbid(unsafe_code)]

mod budgets;
pub mod comparison;
mod latency;
mod page;
mod plot;
mod read;
mod scale;
mod tables;

pub use page::page;
pub use read::{ReadError, Run};
