//! The stages, each alone.

mod codec;
mod execute;
mod hash;
mod link;
mod log;
mod ordering;
mod transport;
mod verify;

use std::path::Path;

use anyhow::Result;

use crate::meter::Meter;

/// Measures what the efficiency of the whole and the curve are made of: the figures of one size each.
///
/// # Errors
///
/// As [`all`].
pub fn some(meter: &mut Meter, dir: &Path) -> Result<()> {
    verify::some(meter);
    hash::measure(meter);
    ordering::some(meter);
    execute::some(meter);
    log::measure(meter, dir)?;
    transport::measure(meter)
}

/// Measures all stages that the meter wants. `dir` lies on the disk that the log is measured on.
///
/// # Errors
///
/// A log that cannot be written, sockets that cannot be opened.
pub fn all(meter: &mut Meter, dir: &Path) -> Result<()> {
    verify::measure(meter);
    hash::measure(meter);
    codec::measure(meter);
    ordering::measure(meter);
    link::measure(meter);
    execute::measure(meter);
    log::measure(meter, dir)?;
    transport::measure(meter)
}
