//! One connection to one replica: dialled, used, and dialled again when it ends.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use trireme_core::types::{MemberId, Tick};
use trireme_transport::{ClientReceiver, ClientSender, CloseReason, Connection, Dialer, Frame, SendError};

/// Pause before the second dial; doubles up to the longest.
const FIRST_PAUSE_US: u64 = 50_000;
const LONGEST_PAUSE_US: u64 = 1_000_000;

type Dial = Pin<Box<dyn Future<Output = Result<Connection, trireme_transport::ConnectError>>>>;

enum State {
    Down {
        until: Tick,
    },
    Dialling(Dial),
    Up {
        sender: ClientSender,
        receiver: Box<ClientReceiver>,
    },
}

/// What happened on a link.
pub(crate) enum LinkEvent {
    Connected { rtt_us: u64 },
    Frame(Bytes),
    Disconnected,
}

pub(crate) struct Link {
    pub(crate) member: MemberId,
    addr: SocketAddr,
    key: [u8; 32],
    state: State,
    pauses: u32,
    /// Why the last dial failed or the last connection ended.
    pub(crate) last_error: Option<String>,
    /// The same as a code, if the replica gave one.
    pub(crate) last_reason: Option<CloseReason>,
}

impl Link {
    pub(crate) fn new(member: MemberId, addr: SocketAddr, key: [u8; 32]) -> Self {
        let state = State::Down { until: Tick(0) };
        Self {
            member,
            addr,
            key,
            state,
            pauses: 0,
            last_error: None,
            last_reason: None,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// When the link wants to be polled by the clock.
    pub(crate) fn next_dial(&self) -> Option<Tick> {
        match self.state {
            State::Down { until } => Some(until),
            _ => None,
        }
    }

    pub(crate) fn rtt_us(&self) -> Option<u64> {
        match &self.state {
            State::Up { sender, .. } => u64::try_from(sender.rtt().as_micros()).ok(),
            _ => None,
        }
    }

    pub(crate) fn send(&self, head: Bytes, body: Bytes) -> Result<(), SendError> {
        match &self.state {
            State::Up { sender, .. } => sender.send(Frame { head, body }),
            _ => Err(SendError::NotConnected),
        }
    }

    /// Closes the connection because of what the replica sent.
    pub(crate) fn refuse(&mut self, now: Tick, reason: CloseReason) {
        if let State::Up { sender, .. } = &self.state {
            sender.close(reason);
        }
        self.went_down(now, format!("closed by this side: {reason}"), None);
    }

    pub(crate) fn close(&self) {
        if let State::Up { sender, .. } = &self.state {
            sender.close(CloseReason::Shutdown);
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, now: Tick, dialer: &Dialer) -> Poll<LinkEvent> {
        loop {
            match &mut self.state {
                State::Down { until } if now < *until => return Poll::Pending,
                State::Down { .. } => {
                    let (dialer, addr, key) = (dialer.clone(), self.addr, self.key);
                    self.state = State::Dialling(Box::pin(async move { dialer.connect(addr, key).await }));
                }
                State::Dialling(dial) => match std::task::ready!(dial.as_mut().poll(cx)) {
                    Ok(connection) => {
                        let (sender, receiver) = connection.split();
                        let rtt_us = u64::try_from(sender.rtt().as_micros()).unwrap_or(u64::MAX);
                        self.state = State::Up {
                            sender,
                            receiver: Box::new(receiver),
                        };
                        self.pauses = 0;
                        return Poll::Ready(LinkEvent::Connected { rtt_us });
                    }
                    Err(error) => {
                        let reason = match &error {
                            trireme_transport::ConnectError::Refused { end, .. } => Some(end.reason),
                            _ => None,
                        };
                        self.went_down(now, error.to_string(), reason);
                    }
                },
                State::Up { receiver, .. } => match std::task::ready!(receiver.poll_recv(cx)) {
                    Ok(frame) => return Poll::Ready(LinkEvent::Frame(frame)),
                    Err(end) => {
                        self.went_down(now, end.to_string(), Some(end.reason));
                        return Poll::Ready(LinkEvent::Disconnected);
                    }
                },
            }
        }
    }

    fn went_down(&mut self, now: Tick, error: String, reason: Option<CloseReason>) {
        tracing::debug!(member = self.member, %error, "link down");
        let pause = (FIRST_PAUSE_US << self.pauses.min(16)).min(LONGEST_PAUSE_US);
        // Links of one process do not dial in step.
        let jitter = (u64::from(self.member) * 7_919 + u64::from(self.pauses) * 104_729) % (pause / 4);
        self.pauses += 1;
        self.state = State::Down {
            until: now.plus(pause + jitter),
        };
        self.last_error = Some(error);
        self.last_reason = reason;
    }
}
