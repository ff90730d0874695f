//! Failed operations of this crate, each with what it was about.

use crate::{ConfigError, Disconnect, IdentityError};
use std::net::SocketAddr;

/// An endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another socket has the port.
    #[error("address {addr} is in use by another process")]
    AddressInUse {
        /// The wanted address.
        addr: SocketAddr,
    },
    /// The socket could not be opened, configured or bound.
    #[error("cannot open a UDP socket on {addr}: {source}")]
    Socket {
        /// The wanted address.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The own key is unusable.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The list of peers contradicts itself.
    #[error("peer list: {0}")]
    Peers(&'static str),
    /// TLS could not be set up.
    #[error("tls: {0}")]
    Tls(String),
}

/// A client connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The local endpoint could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No answer within the handshake timeout.
    #[error("no handshake with {addr} within {timeout_ms} ms")]
    Timeout {
        /// The server.
        addr: SocketAddr,
        /// The timeout that passed.
        timeout_ms: u64,
    },
    /// The server's key is not the pinned one.
    #[error("{addr} does not hold the pinned key")]
    WrongServerKey {
        /// The server.
        addr: SocketAddr,
    },
    /// The server, or the path, ended the connection before it was ready.
    #[error("{addr}: {end}")]
    Refused {
        /// The server.
        addr: SocketAddr,
        /// Why and by whom.
        end: Disconnect,
    },
    /// The address cannot be dialled at all.
    #[error("cannot dial {addr}: {detail}")]
    Dial {
        /// The server.
        addr: SocketAddr,
        /// What the QUIC layer said.
        detail: String,
    },
}

/// A frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no connection to that peer or client (any more).
    #[error("not connected")]
    NotConnected,
    /// The bounded queue is full. A peer or client that is this far behind is being disconnected by the endpoint; the
    /// client side of a connection is not, and may wait.
    #[error("outgoing queue full")]
    Full,
    /// The frame is empty or longer than the limit of its class; nothing was sent.
    #[error("frame of {bytes} bytes, allowed are 1 to {limit}")]
    FrameLength {
        /// Length of the frame.
        bytes: usize,
        /// The limit of its class.
        limit: usize,
    },
}
