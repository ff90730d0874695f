//! A run from outside: how it begins, is stopped, and what it gives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use tokio::sync::oneshot;
use trireme_client::{ClientKeys, Fleet, Options};
use trireme_config::Cluster;
use trireme_transport::wan::Live;

use crate::acknowledged::Acknowledged;
use crate::making::Load;
use crate::options::{LoadError, LoadOptions, Rate};
use crate::record::Record;
use crate::summary::Second;

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
    cluster: &Cluster,
    keys: &ClientKeys,
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
    runtime.block_on(run(cluster, keys, options, stop, start, each_second))
}

/// Makes the load. Give it a current-thread runtime of its own: what else runs there disturbs the arrivals.
///
/// # Errors
///
/// [`LoadError`]. Failed and unanswered requests are no errors; they are counted.
pub async fn run(
    cluster: &Cluster,
    keys: &ClientKeys,
    options: &LoadOptions,
    stop: &Stop,
    start: Option<Start>,
    mut each_second: impl FnMut(Second),
) -> Result<Report, LoadError> {
    options.check()?;
    let from = options.first_client as usize;
    let clients = keys.clients.get(from..from + options.clients as usize);
    let clients = clients.ok_or(LoadError::Clients {
        wanted: options.first_client.saturating_add(options.clients),
        have: keys.clients.len(),
    })?;
    let keys = ClientKeys {
        clients: clients.to_vec(),
        tls: keys.tls.clone(),
    };
    let give_up_us = u64::try_from(options.give_up.as_micros()).unwrap_or(u64::MAX);
    let client = Options {
        route: options.route,
        give_up_us,
        // A closed loop waits for room; an open loop has to see what was refused.
        fail_when_overloaded: options.rate != Rate::Max,
        ..Options::default()
    };
    let network = options.network.as_deref().map(Live::follow).transpose()?;
    let driver = Fleet::connect(cluster, &keys, client, network.as_ref()).await?;
    let mut load = Load::new(driver, options)?;
    if options.workload.fill {
        load.fill_store(stop).await?;
    }
    load.begin(start).await?;
    load.make(stop, &mut each_second).await?;
    load.drain(&mut each_second).await?;
    load.report()
}
