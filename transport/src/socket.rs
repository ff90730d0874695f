//! The only place where a UDP socket is opened and handed to quinn. The one that delays, drops and reorders for WAN
//! emulation ([`Shim`]) goes in here.

use crate::datagrams::Datagrams;
use crate::wan::Shim;
use crate::{BindError, TransportConfig};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, UdpPoller};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Opens and binds the socket of an endpoint.
pub(crate) fn open(addr: SocketAddr, config: &TransportConfig) -> Result<UdpSocket, BindError> {
    open_raw(addr, config).map_err(|error| match error {
        rustix::io::Errno::ADDRINUSE => BindError::AddressInUse { addr },
        other => BindError::Socket {
            addr,
            source: other.into(),
        },
    })
}

fn open_raw(addr: SocketAddr, config: &TransportConfig) -> rustix::io::Result<UdpSocket> {
    let family = match addr {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    if config.reuse_port {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    // The system caps what it grants (net.core.rmem_max); a smaller buffer works, it only drops earlier.
    let _ = sockopt::set_socket_recv_buffer_size(&socket, config.socket_buffer_bytes);
    let _ = sockopt::set_socket_send_buffer_size(&socket, config.socket_buffer_bytes);
    if let Ok(granted) = sockopt::socket_recv_buffer_size(&socket)
        && granted < config.socket_buffer_bytes
    {
        tracing::debug!(%addr, granted, "socket receive buffer is smaller than wanted");
    }
    bind(&socket, &addr)?;
    Ok(UdpSocket::from(socket))
}

/// Runs QUIC over a bound socket.
pub(crate) fn start(
    socket: UdpSocket,
    quic: EndpointConfig,
    server: Option<ServerConfig>,
    config: &TransportConfig,
) -> io::Result<Endpoint> {
    let inner = wrap(socket)?;
    let segments = MAX_TRAIN_BYTES / usize::from(config.mtu_upper_bound);
    let trains = Arc::new(ShortTrains { inner, segments });
    match &config.wan {
        None => endpoint(trains, quic, server),
        Some(spot) => endpoint(Arc::new(Shim::new(trains, spot.clone())?), quic, server),
    }
}

/// A socket for this thread's runtime.
pub(crate) fn wrap(socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    Ok(Datagrams::new(socket)?)
}

/// Runs QUIC over anything that carries datagrams.
pub(crate) fn endpoint(
    socket: Arc<dyn AsyncUdpSocket>,
    quic: EndpointConfig,
    server: Option<ServerConfig>,
) -> io::Result<Endpoint> {
    Endpoint::new_with_abstract_socket(quic, server, socket, Arc::new(TokioRuntime))
}

/// What one send call may carry, all segments together.
const MAX_TRAIN_BYTES: usize = 65_507;

/// Quinn sends up to ten datagrams in one call (GSO). With jumbo datagrams that is more than the kernel takes: it
/// answers EMSGSIZE, and quinn treats all of them as lost. So the number is limited by what fits.
#[derive(Debug)]
struct ShortTrains {
    inner: Arc<dyn AsyncUdpSocket>,
    segments: usize,
}

impl AsyncUdpSocket for ShortTrains {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments().min(self.segments).max(1)
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
