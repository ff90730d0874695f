//! The client side of a connection to a replica.

use crate::hello::{FrameReader, Hello, ReadEnd, close, say};
use crate::outbound::{Outbound, write_stream};
use crate::quic::{self, Role, SERVER_NAME};
use crate::{
    BindError, CloseReason, ClosedBy, ConnectError, Disconnect, Frame, Identity, LinkStats, SendError, TransportConfig,
    socket,
};
use bytes::Bytes;
use quinn::Endpoint;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// One UDP socket for many client connections: cheaper than a socket each, since the system calls are shared.
#[derive(Clone, Debug)]
pub struct Dialer {
    endpoint: Endpoint,
    identity: Identity,
    config: TransportConfig,
}

impl Dialer {
    /// Opens a socket on `local` (port 0: any). Must be called inside a tokio runtime.
    pub fn bind(local: SocketAddr, identity: Identity, config: TransportConfig) -> Result<Self, BindError> {
        config.validate()?;
        let endpoint_config = quic::endpoint_config(Role::Client, &identity, &config)?;
        let udp = socket::open(local, &config)?;
        let endpoint = socket::start(udp, endpoint_config, None, &config).map_err(|source| {
            let addr = local;
            BindError::Socket { addr, source }
        })?;
        Ok(Self {
            endpoint,
            identity,
            config,
        })
    }

    /// Connects to the listener at `addr` that proves the key `server`; ready when both hellos were exchanged.
    pub async fn connect(&self, addr: SocketAddr, server: [u8; 32]) -> Result<Connection, ConnectError> {
        let timeout_ms = self.config.handshake_timeout_ms;
        let limit = Duration::from_millis(timeout_ms);
        tokio::time::timeout(limit, self.connect_in_time(addr, server))
            .await
            .unwrap_or(Err(ConnectError::Timeout { addr, timeout_ms }))
    }

    async fn connect_in_time(&self, addr: SocketAddr, server: [u8; 32]) -> Result<Connection, ConnectError> {
        let refused = |end: Disconnect| match (end.reason, end.by) {
            (CloseReason::UnknownKey, ClosedBy::Local) => ConnectError::WrongServerKey { addr },
            _ => ConnectError::Refused { addr, end },
        };
        let client = quic::client_config(Role::Client, &self.identity, &self.config, server)?;
        let connection = self
            .endpoint
            .connect_with(client, addr, SERVER_NAME)
            .map_err(|error| {
                let detail = error.to_string();
                ConnectError::Dial { addr, detail }
            })?
            .await
            .map_err(|error| refused(Disconnect::from_quic(&error, None)))?;
        greet(connection.clone(), &self.config)
            .await
            .map_err(|end| refused(end.conclude(&connection)))
    }
}

async fn greet(connection: quinn::Connection, config: &TransportConfig) -> Result<Connection, ReadEnd> {
    let (mut send, recv) = connection.open_bi().await.map_err(|_| ReadEnd::Lost)?;
    let own = Hello::of_client_link(config);
    say(&mut send, &own).await?;
    let limit = config.max_client_frame_bytes;
    let mut reader = FrameReader::new(recv, limit);
    let hello = reader.hello(&own, limit).await?;
    let outbound = Outbound::new(
        limit.min(hello.max_frame_bytes as usize),
        config.client_outbound_bytes,
        config.outbound_frames,
    );
    tokio::spawn(write_stream(outbound.clone(), send, Bytes::new()));
    Ok(Connection {
        shared: Arc::new(Shared {
            connection,
            outbound,
            local: OnceLock::new(),
        }),
        reader,
    })
}

/// A client's connection to one replica. It ends when both halves are dropped; what was queued is then lost.
pub struct Connection {
    shared: Arc<Shared>,
    reader: FrameReader,
}

impl Connection {
    /// Connects over a socket of its own. See [`Dialer::connect`].
    pub async fn connect(
        addr: SocketAddr,
        identity: Identity,
        server: [u8; 32],
        config: TransportConfig,
    ) -> Result<Self, ConnectError> {
        let local = match addr {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let dialer = Dialer::bind(local, identity, config)?;
        dialer.connect(addr, server).await
    }

    /// The two directions.
    pub fn split(self) -> (ClientSender, ClientReceiver) {
        let sender = ClientSender {
            shared: self.shared.clone(),
        };
        let receiver = ClientReceiver {
            shared: self.shared,
            frames: VecDeque::new(),
            reader: self.reader,
            end: None,
        };
        (sender, receiver)
    }
}

struct Shared {
    connection: quinn::Connection,
    outbound: Arc<Outbound>,
    local: OnceLock<CloseReason>,
}

impl Shared {
    fn close(&self, reason: CloseReason) {
        let _ = self.local.set(reason);
        close(&self.connection, reason);
        self.outbound.close();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close(CloseReason::Shutdown);
    }
}

/// The sending direction of a connection. Clones share its queue.
#[derive(Clone)]
pub struct ClientSender {
    shared: Arc<Shared>,
}

impl ClientSender {
    /// Queues a frame; `Full` leaves the connection as it is.
    pub fn send(&self, frame: impl Into<Frame>) -> Result<(), SendError> {
        self.shared.outbound.push(frame.into())
    }

    /// Queues a frame, after waiting for room if need be.
    pub async fn send_wait(&self, frame: impl Into<Frame>) -> Result<(), SendError> {
        self.shared.outbound.push_wait(frame.into()).await
    }

    /// Bytes that are queued and not yet handed to QUIC.
    pub fn queued_bytes(&self) -> usize {
        self.shared.outbound.queued_bytes()
    }

    /// Smoothed round-trip time.
    pub fn rtt(&self) -> Duration {
        self.shared.connection.rtt()
    }

    /// QUIC's figures of the link.
    pub fn stats(&self) -> LinkStats {
        LinkStats::of(&self.shared.connection)
    }

    /// How the connection ended, if it did.
    pub fn ended(&self) -> Option<Disconnect> {
        let error = self.shared.connection.close_reason()?;
        Some(Disconnect::from_quic(&error, self.shared.local.get().copied()))
    }

    /// Closes the connection.
    pub fn close(&self, reason: CloseReason) {
        self.shared.close(reason);
    }
}

/// The receiving direction of a connection. Nothing is read ahead of the caller beyond QUIC's own window.
pub struct ClientReceiver {
    shared: Arc<Shared>,
    frames: VecDeque<Bytes>,
    reader: FrameReader,
    end: Option<Disconnect>,
}

impl ClientReceiver {
    /// The next frame. After the end it is the same error for ever.
    pub async fn recv(&mut self) -> Result<Bytes, Disconnect> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// See [`ClientReceiver::recv`].
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Disconnect>> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Poll::Ready(Ok(frame));
            }
            if let Some(end) = self.end {
                return Poll::Ready(Err(end));
            }
            let read = ready!(self.reader.poll_read(cx));
            self.frames.extend(self.reader.frames.drain(..));
            if let Err(end) = read {
                self.end = Some(self.conclude(end));
            }
        }
    }

    /// A frame that was received already, if there is one, without waiting for more.
    pub fn try_recv(&mut self) -> Option<Bytes> {
        self.frames.pop_front()
    }

    fn conclude(&self, end: ReadEnd) -> Disconnect {
        if let ReadEnd::Bad(reason) = end {
            self.shared.close(reason);
        }
        self.shared.outbound.close();
        match self.shared.connection.close_reason() {
            Some(error) => Disconnect::from_quic(&error, self.shared.local.get().copied()),
            None => end.conclude(&self.shared.connection),
        }
    }
}
