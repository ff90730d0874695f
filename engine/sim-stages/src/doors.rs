//! A replica's doors onto the simulated network.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use trireme_pipeline::simulation::{ClientDoor, PeerDoor};
use trireme_transport::{Class, ClientEvent, CloseReason, ConnId, Counters, LinkStats, PeerEvent, SendError};

use crate::wire::Net;

/// The door for members.
pub(crate) struct MemberDoor {
    pub(crate) net: Net,
    pub(crate) host: usize,
}

impl PeerDoor for MemberDoor {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<PeerEvent>> {
        self.net.borrow_mut().poll_member(self.host, cx)
    }

    fn send(&self, peer: u32, class: Class, frame: Bytes) -> Result<(), SendError> {
        self.net.borrow_mut().send(self.host, peer as usize, class, frame)
    }

    fn disconnect(&self, peer: u32, reason: CloseReason) {
        self.net.borrow_mut().disconnect(self.host, peer as usize, reason);
    }

    fn rtt(&self, peer: u32) -> Option<Duration> {
        let net = self.net.borrow();
        let connected = net.is_connected(self.host, peer as usize);
        connected.then(|| Duration::from_micros(net.rtt_us()))
    }

    fn stats(&self, peer: u32) -> Option<LinkStats> {
        let rtt = self.rtt(peer)?;
        Some(LinkStats {
            rtt,
            ..LinkStats::default()
        })
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    async fn shutdown(self) {}
}

/// The door for clients.
pub(crate) struct PublicDoor {
    pub(crate) net: Net,
    pub(crate) host: usize,
}

impl ClientDoor for PublicDoor {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<ClientEvent>> {
        self.net.borrow_mut().poll_door(self.host, cx)
    }

    fn send(&self, conn: ConnId, frame: Bytes) -> Result<(), SendError> {
        self.net.borrow_mut().answer(conn, frame)
    }

    fn pause(&self, conn: ConnId) {
        self.net.borrow_mut().pause(conn, true);
    }

    fn resume(&self, conn: ConnId) {
        self.net.borrow_mut().pause(conn, false);
    }

    fn close(&self, conn: ConnId, reason: CloseReason) {
        self.net.borrow_mut().close(conn, reason);
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    async fn shutdown(self) {}
}
