//! QUIC with this crate's keys, windows and congestion control, and without its streams, queues and tasks: the measure
//! of what those cost. For benches; nothing else has a use for it.

use std::io;
use std::net::SocketAddr;

use quinn::{Connecting, Endpoint, Runtime as _, TokioRuntime};

use crate::quic::{self, Role, SERVER_NAME};
use crate::{BindError, ConnectError, Identity, TransportConfig, Trust, socket};

/// An endpoint of plain quinn. Must be called inside a tokio runtime.
///
/// # Errors
///
/// [`BindError`]: limits that contradict each other, an address that cannot be used.
pub fn bind(
    local: SocketAddr,
    identity: &Identity,
    config: &TransportConfig,
    trust: Trust,
) -> Result<Endpoint, BindError> {
    config.validate()?;
    let server = quic::server_config(Role::Peer, identity, config, trust)?;
    let endpoint = quic::endpoint_config(Role::Peer, identity, config)?;
    let udp = socket::open(local, config)?;
    let failed = |source: io::Error| BindError::Socket { addr: local, source };
    let wrapped = TokioRuntime.wrap_udp_socket(udp).map_err(failed)?;
    socket::endpoint(wrapped, endpoint, Some(server)).map_err(failed)
}

/// Dials the endpoint at `addr` that proves the key `server`.
///
/// # Errors
///
/// [`ConnectError`]: nothing can be dialled from here.
pub fn dial(
    endpoint: &Endpoint,
    addr: SocketAddr,
    identity: &Identity,
    config: &TransportConfig,
    server: [u8; 32],
) -> Result<Connecting, ConnectError> {
    let client = quic::client_config(Role::Peer, identity, config, server)?;
    endpoint
        .connect_with(client, addr, SERVER_NAME)
        .map_err(|error| ConnectError::Dial {
            addr,
            detail: error.to_string(),
        })
}
