//! What load to make.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trireme_client::{ConnectError, Route, SubmitError};
use trireme_config::AppKind;

use crate::history::HistoryFile;
use crate::shape::Arrivals;
use crate::workload::Workload;

/// How much.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// Closed loop: as much as `in_flight` outstanding requests give.
    Max,
    /// Open loop: this many requests a second, all clients together.
    PerSecond(f64),
}

/// Where acknowledged requests are recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recording {
    /// Not at all.
    None,
    /// In memory: 52 bytes a request.
    #[default]
    Memory,
    /// In this file, which is made anew.
    File(PathBuf),
}

/// [`Route`], for an order to another process.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Route", rename_all = "snake_case")]
enum RouteForm {
    Nearest,
    Spread,
    To(u16),
}

/// What load to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoadOptions {
    /// Measured time.
    pub duration: Duration,
    /// Load before that, which is not measured (but recorded).
    pub warm_up: Duration,
    /// How long to wait at the end for what is outstanding; what has no answer then is `unknown`.
    pub drain: Duration,
    /// How much.
    pub rate: Rate,
    /// When, in an open loop.
    pub arrivals: Arrivals,
    /// Identities to use: so many of the keys, in turn.
    pub clients: u32,
    /// The first of them, by its place in the keys.
    pub first_client: u32,
    /// Which of several parts of one load this is, from 0. Parts have different clients and seeds, share the keys to
    /// fill, and insert different ones.
    pub part: u32,
    /// How many parts there are.
    pub parts: u32,
    /// Outstanding requests of a closed loop, all clients together. None: [`LoadOptions::default_in_flight`].
    pub in_flight: Option<u32>,
    /// Requests under one signature. In an open loop so many arrivals make a bundle, and each one's latency runs from
    /// its own intended time.
    pub bundle: u32,
    /// Operations, keys and sizes.
    pub workload: Workload,
    /// Where the history is written (`kv`).
    pub history: Option<HistoryFile>,
    /// What the cluster runs.
    pub app: AppKind,
    /// Arrivals, keys and values follow from it.
    pub seed: u64,
    /// Where acknowledged requests are recorded.
    pub recording: Recording,
    /// Which replicas the requests go to.
    #[serde(with = "RouteForm")]
    pub route: Route,
    /// File of the emulated network that the clients are in, spread over its regions with clients.
    pub network: Option<PathBuf>,
    /// A request without a result after this time is given up.
    pub give_up: Duration,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(10),
            warm_up: Duration::from_secs(1),
            drain: Duration::from_secs(10),
            rate: Rate::Max,
            arrivals: Arrivals::Poisson,
            clients: 16,
            first_client: 0,
            part: 0,
            parts: 1,
            in_flight: None,
            bundle: 1,
            workload: Workload::default(),
            history: None,
            app: AppKind::Kv,
            seed: 1,
            recording: Recording::Memory,
            route: Route::Spread,
            network: None,
            give_up: Duration::from_secs(10),
        }
    }
}

impl LoadOptions {
    /// The depth of a closed loop that nobody chose: 512 requests, or 32 bundles if that is more. Deeper loops raise
    /// the latency (depth = rate x latency) and the throughput little; shallower ones leave batches empty.
    pub fn default_in_flight(bundle: u32) -> u32 {
        bundle.saturating_mul(32).max(512)
    }

    /// The depth of the closed loop.
    pub fn depth(&self) -> u32 {
        self.in_flight
            .unwrap_or_else(|| Self::default_in_flight(self.bundle))
            .max(self.bundle)
    }

    /// Checks what does not depend on the cluster.
    ///
    /// # Errors
    ///
    /// [`LoadError::Options`] with the reason.
    pub fn check(&self) -> Result<(), LoadError> {
        let rules = [
            (self.bundle >= 1, "bundle: at least 1 request"),
            (self.clients >= 1, "clients: at least 1"),
            (self.part < self.parts, "part: below the number of parts"),
            (!self.duration.is_zero(), "duration: more than nothing"),
            (self.in_flight != Some(0), "in_flight: at least 1"),
            (
                self.app == AppKind::Kv || self.history.is_none() && self.workload.only_writes() && !self.workload.fill,
                "history, workload: of the key-value store only",
            ),
            (
                self.history.is_none() || !self.workload.mix.has(crate::workload::Operation::Scan),
                "history: it has no place for scans",
            ),
            (
                self.history.is_none() || self.parts == 1,
                "history: of one process only, whose clock orders it",
            ),
        ];
        if let Rate::PerSecond(rate) = self.rate
            && !(rate.is_finite() && rate > 0.0 && rate <= 1e8)
        {
            return Err(LoadError::Options("rate: above 0, at most 100,000,000 a second"));
        }
        self.workload.check().map_err(LoadError::Options)?;
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, why)) => Err(LoadError::Options(why)),
            None => Ok(()),
        }
    }
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Options that make no sense.
    #[error("{0}")]
    Options(&'static str),
    /// Fewer identities in the keys than clients wanted.
    #[error("{wanted} clients wanted, the keys have {have}")]
    Clients {
        /// Wanted.
        wanted: u32,
        /// In the keys.
        have: usize,
    },
    /// Whoever starts the parts of the load has gone.
    #[error("the start of the load was called off")]
    NoStart,
    /// The cluster cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A server of etcd cannot be reached.
    #[error("cannot connect to the etcd server at {server}")]
    Etcd {
        /// Where.
        server: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The cluster accepts nothing from these clients, or a request is above its limits.
    #[error("no request is accepted: {0}")]
    Refused(SubmitError),
    /// The record of acknowledged requests could not be written.
    #[error("{operation} {path}: {source}")]
    Record {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The emulated network cannot be followed.
    #[error(transparent)]
    Network(#[from] trireme_transport::wan::WanError),
    /// The runtime or its timer could not be made.
    #[error("{operation}: {source}")]
    Runtime {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}
