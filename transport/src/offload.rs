//! What the kernel takes off QUIC's hands on this host.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use quinn::udp::{UdpSockRef, UdpSocketState};

/// Datagrams that one system call carries on this host, as QUIC will use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offload {
    /// Sent at once (GSO); 1: no offload.
    pub send: usize,
    /// Received at once (GRO); 1: no offload.
    pub receive: usize,
}

impl Offload {
    /// Asks the kernel, on a socket that is closed again.
    ///
    /// # Errors
    ///
    /// No UDP socket can be opened.
    pub fn probe() -> io::Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self {
            send: state.max_gso_segments(),
            receive: state.gro_segments(),
        })
    }
}
