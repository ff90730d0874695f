//! Authenticated, encrypted, bounded channels between replicas and from clients to replicas.
//!
//! The crate knows frames and identities and nothing of consensus. Links are QUIC with mutual TLS 1.3 on raw Ed25519
//! keys (RFC 7250), so a frame is attributed to a member by the channel that it came through (rule R-CHANNEL). The
//! wire is described in `WIRE.md`.
//!
//! * [`PeerEndpoint`]: one UDP socket, exactly one connection to each other replica, redialled for ever.
//! * [`ClientListener`]: the server side of client links, with quotas for each key and each connection.
//! * [`Dialer`] and [`Connection`]: the client side.
//!
//! Everything runs on the caller's tokio runtime, which may be a current-thread one; constructors must be called
//! inside it. Sends are synchronous pushes into bounded queues, which the endpoint's own tasks coalesce into few
//! writes; events are pulled by the owner with `poll_recv`, `try_recv` or `recv`.
#![forbid(unsafe_code)]

mod accept;
pub mod bare;
#[cfg(test)]
mod byzantine;
mod client;
mod close;
mod config;
mod congestion;
mod counters;
mod datagrams;
mod error;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod hello;
mod identity;
mod inbound;
mod link;
mod listener;
mod offload;
mod outbound;
mod pairing;
mod peers;
mod quic;
mod serving;
mod socket;
pub mod wan;

pub use client::{ClientReceiver, ClientSender, Connection, Dialer};
pub use close::{CloseReason, ClosedBy, Disconnect};
pub use config::{ConfigError, Congestion, TransportConfig};
pub use counters::{Counters, LinkStats};
pub use error::{BindError, ConnectError, SendError};
pub use frame::{Class, Frame};
pub use identity::{Identity, IdentityError, Trust};
pub use listener::{ClientEvent, ClientListener, ConnId};
pub use offload::Offload;
pub use peers::{PeerAddress, PeerEndpoint, PeerEvent};
