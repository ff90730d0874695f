//! WAN emulation: a shim between QUIC and the UDP socket that delays, drops, repeats and reorders datagrams, limits
//! their rate and cuts links, so that congestion control, loss recovery and pacing see a wide-area network.
//!
//! * [`Matrix`]: round-trip times between regions; three are shipped (`transport/rtt`), others are read from CSV.
//! * [`Network`]: who is where, and what was changed since: one TOML file that all processes of a cluster share.
//! * [`Live`]: that file as a process follows it; [`Spot`]: the same as one endpoint sees it
//!   ([`TransportConfig::wan`](crate::TransportConfig)).
//! * [`measure`]: the emulation's own error.
//!
//! A replica's endpoint for peers delays what it sends; a client's endpoint delays what it sends and what it receives,
//! because a replica's listener does not know where its clients are. What is under way when a process is killed is
//! lost with it, and what is under way when it is stopped (SIGSTOP) waits with it. Without a `Spot` nothing of this is
//! in the way of a datagram.

mod change;
mod error;
mod flow;
mod line;
mod live;
mod matrix;
mod measure;
mod network;
mod shim;

pub use change::{Change, Settings};
pub use error::WanError;
pub use live::{Live, Spot};
pub use matrix::Matrix;
pub use measure::{PairError, measure};
pub use network::{Network, Place, Rule};
pub(crate) use shim::Shim;
