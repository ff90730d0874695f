//! A process that ends with the one that started it.

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Asks the kernel to send `signal` to this process when its parent dies.
///
/// With `expected`, the parent's id as the parent itself gave it, a parent that died before the kernel was asked is
/// noticed too.
pub(crate) fn end_with_parent(signal: Signal, expected: Option<u32>) -> Result<()> {
    set_parent_process_death_signal(Some(signal)).context("cannot ask for a signal at the end of the parent")?;
    let Some(expected) = expected else { return Ok(()) };
    let parent = getppid().map(Pid::as_raw_pid);
    ensure!(
        parent.is_some_and(|pid| u32::try_from(pid).is_ok_and(|pid| pid == expected)),
        "the process that started this one is gone"
    );
    Ok(())
}
