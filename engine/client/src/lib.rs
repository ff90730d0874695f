//! The client of a Trireme cluster.
//!
//! Requests of one or many identities go over one set of connections, to the nearest replica or spread over all; a
//! result counts when f+1 replicas gave equal replies (R-REPLY); what is not answered in time goes to another replica
//! under its old number, which the cluster executes once (R-EXECUTE).
//!
//! * [`Client`]: futures, for programs that submit a request and wait for it. Needs a [`tokio::task::LocalSet`].
//! * [`Driver`]: tags and completions, polled by its owner, for gateways and load generators: no task, timer or
//!   channel for a request.
//! * [`Fleet`]: drivers for the regions of an emulated network.
//! * [`status`]: asks one replica how it is.
//! * [`floor`]: what a request must take, by the distances alone.
//!
//! Both stand on one sans-io core (`exchange`, `session`, `matching`, `bundles`, `routing`), which knows neither clock
//! nor socket.
//!
//! Reads go through the log like writes ([`Client::read_ordered`]) and are as fresh as can be.
#![forbid(unsafe_code)]

mod bundles;
mod client;
mod clock;
mod driver;
mod error;
mod exchange;
mod fleet;
pub mod floor;
mod latency;
mod link;
mod matching;
mod options;
mod routing;
mod session;
mod signer;
pub mod status;

pub use client::{BundleSubmission, Client, Submission};
pub use driver::Driver;
pub use error::{Busy, ConnectError, Limit, SubmitError};
pub use exchange::{Accepted, Completion, Counters};
pub use fleet::Fleet;
pub use options::{Options, Route};
pub use trireme_config::ClientKeys;
pub use trireme_core::reply::Refusal;
