//! A process that ends with the one that started it.

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Process id of the parent; none if it lives in another name space.
pub(crate) fn id() -> Option<u32> {
    getppid().and_then(|pid| u32::try_from(pid.as_raw_pid()).ok())
}

/// Asks the kernel to send `signal` to this process when its parent dies.
///
/// With `expected`, the parent's id as the parent itself gave it, a parent that died before the kernel was asked is
/// noticed too.
pub(crate) fn end_with_parent(signal: Signal, expected: Option<u32>) -> Result<()> {
    set_parent_process_death_signal(Some(signal)).context("cannot ask for a signal at the end of the parent")?;
    let Some(expected) = expected else { return Ok(()) };
    ensure!(id() == Some(expected), "the process that started this one is gone");
    Ok(())
}
