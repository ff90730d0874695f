//! A run from outside: how it begins, is stopped, and what it gives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use crate::acknowledged::Acknowledged;
use crate::making::Load;
use crate::options::{LoadError, LoadOptions};
use crate::record::Record;
use crate::summary::Second;
use crate::target::{Aim, Target};
use tokio::sync::oneshot;

/// Ends a run early, from any thread; it then waits for what is outstanding, and reports.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// The run ends within a tenth of a second, plus the drain.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody wants the run to end.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes several parts of one load, each in a process of its own, begin at the same time.
pub struct Start {
    /// Called when this part is connected and has written its keys.
    pub ready: Box<dyn FnOnce() + Send>,
    /// When to begin. A sender that is dropped ends the run with [`LoadError::NoStart`].
    pub at: oneshot::Receiver<SystemTime>,
}

/// What a run gives.
#[derive(Debug)]
pub struct Report {
    /// Figures.
    pub record: Record,
    /// Every acknowledged request.
    pub acknowledged: Acknowledged,
}

/// Makes the load on a thread of its own runtime: for callers without one. The calling thread does it all, except for
/// `each_second`, which it calls: that should hand the second on to another thread if it does much with it.
///
/// # Errors
///
/// [`LoadError`].
pub fn run_blocking(
    aim: Aim<'_>,
    options: &LoadOptions,
    stop: &Stop,
    start: Option<Start>,
    each_second: impl FnMut(Second),
) -> Result<Report, LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| LoadError::Runtime {
        operation: "making a runtime",
        source,
    })?;
    runtime.block_on(run(aim, options, stop, start, each_second))
}

/// Makes the load. Give it a current-thread runtime of its own: what else runs there disturbs the arrivals.
///
/// # Errors
///
/// [`LoadError`]. Failed and unanswered requests are no errors; they are counted.
pub async fn run(
    aim: Aim<'_>,
    options: &LoadOptions,
    stop: &Stop,
    start: Option<Start>,
    mut each_second: impl FnMut(Second),
) -> Result<Report, LoadError> {
    options.check()?;
    let driver = Target::connect(aim, options).await?;
    let mut load = Load::new(driver, options)?;
    if options.workload.fill {
        load.fill_store(stop).await?;
    }
    load.begin(start).await?;
    load.make(stop, &mut each_second).await?;
    load.drain(&mut each_second).await?;
    load.report()
}
