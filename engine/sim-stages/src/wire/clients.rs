//! Connections of clients, and the doors that they come in by.

use std::task::{Context, Poll};

use bytes::Bytes;
use trireme_transport::{ClientEvent, CloseReason, ClosedBy, ConnId, Disconnect, SendError};

use super::{Arrival, ClientConn, Limits, Mail, Sink, Wire};

impl Wire {
    /// A client connects; nothing if the replica is down.
    pub(crate) fn connect(
        &mut self,
        client: usize,
        host: usize,
        key: [u8; 32],
        up: Limits,
        down: Limits,
    ) -> Option<ConnId> {
        if !self.up[host] {
            return None;
        }
        let conn = ConnId(self.number());
        let up = self.open_lane(Sink::Door { host, conn }, up);
        let down = self.open_lane(Sink::Client { client, host }, down);
        let made = ClientConn {
            client,
            host,
            alive_here: true,
            alive_there: true,
            up,
            down,
        };
        self.conns.insert(conn, made);
        self.doors[host].push(false, (ClientEvent::Connected { conn, key }, None));
        Some(conn)
    }

    /// A client says something; false if it has to wait, or the connection is gone.
    pub(crate) fn say(&mut self, conn: ConnId, frame: Bytes) -> bool {
        let Some(lane) = self.conns.get(&conn).filter(|c| c.alive_there).map(|c| c.up) else {
            return false;
        };
        self.push(lane, frame).is_ok()
    }

    /// A client reads.
    pub(crate) fn read(&mut self, client: usize) -> Option<Mail> {
        let (mail, credit) = self.mailboxes[client].pop_front()?;
        self.give_back(credit);
        Some(mail)
    }

    pub(crate) fn poll_door(&mut self, host: usize, cx: &Context<'_>) -> Poll<Option<ClientEvent>> {
        let Some((event, credit)) = self.doors[host].pop(cx) else {
            return Poll::Pending;
        };
        self.give_back(credit);
        Poll::Ready(Some(event))
    }

    /// A replica answers.
    pub(crate) fn answer(&mut self, conn: ConnId, frame: Bytes) -> Result<(), SendError> {
        let lane = self.conns.get(&conn).filter(|c| c.alive_here).map(|c| c.down);
        let sent = self.push(lane.ok_or(SendError::NotConnected)?, frame);
        if sent == Err(SendError::Full) {
            self.count("client closed as a slow reader");
            self.close(conn, CloseReason::SlowReader);
        }
        sent
    }

    pub(crate) fn pause(&mut self, conn: ConnId, paused: bool) {
        let Some(lane) = self.conns.get(&conn).filter(|c| c.alive_here).map(|c| c.up) else {
            return;
        };
        self.count(if paused {
            "connection paused"
        } else {
            "connection resumed"
        });
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.paused = paused;
            self.pump(lane);
        }
    }

    /// A replica closes a client's connection.
    pub(crate) fn close(&mut self, conn: ConnId, reason: CloseReason) {
        if !self.conns.get(&conn).is_some_and(|c| c.alive_here) {
            return;
        }
        let by = ClosedBy::Local;
        self.end_at_door(conn, Disconnect { reason, by });
        let time = self.now_us + self.delay();
        self.at(time, Arrival::ClientEnd { conn });
    }

    pub(super) fn end_at_door(&mut self, id: ConnId, end: Disconnect) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if !std::mem::replace(&mut conn.alive_here, false) {
            return;
        }
        let (host, up) = (conn.host, conn.up);
        self.lanes.remove(&up);
        if self.up[host] {
            self.doors[host].push(false, (ClientEvent::Closed { conn: id, reason: end }, None));
        }
        self.forget(id);
    }

    pub(super) fn end_at_client(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if !std::mem::replace(&mut conn.alive_there, false) {
            return;
        }
        let (client, host, down) = (conn.client, conn.host, conn.down);
        self.lanes.remove(&down);
        self.mailboxes[client].push_back((Mail::Closed(host), None));
        self.forget(id);
    }

    /// A client hangs up.
    pub(crate) fn hang_up(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.alive_there = false;
        let down = conn.down;
        self.lanes.remove(&down);
        let time = self.now_us + self.delay();
        let end = Disconnect {
            reason: CloseReason::Shutdown,
            by: ClosedBy::Remote,
        };
        self.at(time, Arrival::DoorEnd { conn: id, end });
    }

    pub(super) fn forget(&mut self, id: ConnId) {
        if self.conns.get(&id).is_some_and(|c| !c.alive_here && !c.alive_there) {
            self.conns.remove(&id);
        }
    }
}
