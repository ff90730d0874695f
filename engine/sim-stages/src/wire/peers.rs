//! Connections between members: dialled, broken, dialled again.

use std::task::{Context, Poll};

use bytes::Bytes;
use trireme_transport::{Class, CloseReason, ClosedBy, Disconnect, PeerEvent, SendError};

use super::{Arrival, PeerConn, REDIAL_US, Sink, Wire};

impl Wire {
    pub(crate) fn poll_member(&mut self, host: usize, cx: &Context<'_>) -> Poll<Option<PeerEvent>> {
        let Some((event, credit)) = self.members[host].pop(cx) else {
            return Poll::Pending;
        };
        self.give_back(credit);
        Poll::Ready(Some(event))
    }

    pub(super) fn conn_of(&self, me: usize, peer: usize) -> Option<(&PeerConn, usize)> {
        let conn = self.pairs.get(&(me.min(peer), me.max(peer)))?;
        let side = usize::from(me > peer);
        conn.alive[side].then_some((conn, side))
    }

    pub(crate) fn is_connected(&self, me: usize, peer: usize) -> bool {
        self.conn_of(me, peer).is_some()
    }

    pub(crate) fn rtt_us(&self) -> u64 {
        2 * self.delay_us
    }

    pub(crate) fn send(&mut self, me: usize, peer: usize, class: Class, frame: Bytes) -> Result<(), SendError> {
        let (conn, side) = self.conn_of(me, peer).ok_or(SendError::NotConnected)?;
        let lane = conn.lanes[side][usize::from(class == Class::Bulk)];
        let sent = self.push(lane, frame);
        if sent == Err(SendError::Full) {
            self.count("member's queue full");
            self.disconnect(me, peer, CloseReason::Overloaded);
        }
        sent
    }

    /// One side closes; the other hears of it later.
    pub(crate) fn disconnect(&mut self, me: usize, peer: usize, reason: CloseReason) {
        let Some((conn, side)) = self.conn_of(me, peer) else {
            return;
        };
        let (number, pair) = (conn.number, (me.min(peer), me.max(peer)));
        self.count("member disconnected");
        let by = ClosedBy::Local;
        self.end_side(pair, number, side, Disconnect { reason, by });
        let by = ClosedBy::Remote;
        self.end_later(pair, number, 1 - side, Disconnect { reason, by });
    }

    pub(super) fn end_later(&mut self, pair: (usize, usize), number: u64, side: usize, end: Disconnect) {
        let time = self.now_us + self.delay();
        self.at(
            time,
            Arrival::PeerEnd {
                pair,
                number,
                side,
                end,
            },
        );
    }

    pub(super) fn end_side(&mut self, pair: (usize, usize), number: u64, side: usize, end: Disconnect) {
        let Some(conn) = self.pairs.get_mut(&pair).filter(|conn| conn.number == number) else {
            return;
        };
        if !std::mem::replace(&mut conn.alive[side], false) {
            return;
        }
        // What it sent and what was sent to it goes no further.
        let lanes = conn.lanes;
        let over = conn.alive == [false; 2];
        lanes
            .as_flattened()
            .iter()
            .for_each(|lane| drop(self.lanes.remove(lane)));
        let (host, peer) = if side == 0 { pair } else { (pair.1, pair.0) };
        let peer = u32::try_from(peer).expect("few members");
        if self.up[host] {
            let inbox = &mut self.members[host];
            inbox
                .bulk
                .retain(|(event, _)| !matches!(event, PeerEvent::Frame { peer: from, .. } if *from == peer));
            inbox.push(false, (PeerEvent::Disconnected { peer, reason: end }, None));
        }
        if over {
            self.pairs.remove(&pair);
            self.redial(pair);
        }
    }

    pub(super) fn redial(&mut self, pair: (usize, usize)) {
        let pause = if self.calm { 0 } else { self.prng.skewed(300_000) };
        self.at(self.now_us + REDIAL_US + pause, Arrival::Dial { pair });
    }

    pub(super) fn dial(&mut self, pair: (usize, usize)) {
        let (a, b) = pair;
        if self.pairs.contains_key(&pair) || !self.up[a] || !self.up[b] {
            return; // Whoever starts dials.
        }
        if self.blocked.contains(&pair) {
            return self.redial(pair);
        }
        let mut lane = |host: usize, peer: usize, class| {
            let peer = u32::try_from(peer).expect("few members");
            self.open_lane(Sink::Member { host, peer, class }, self.peer_limits)
        };
        let mut both = |host, peer| [lane(host, peer, Class::Control), lane(host, peer, Class::Bulk)];
        let lanes = [both(b, a), both(a, b)];
        let number = self.number();
        self.pairs.insert(
            pair,
            PeerConn {
                number,
                alive: [true; 2],
                lanes,
            },
        );
        self.count("members connected");
        for (host, peer) in [(a, b), (b, a)] {
            let peer = u32::try_from(peer).expect("few members");
            self.members[host].push(false, (PeerEvent::Connected { peer }, None));
        }
    }

    /// The path between two members fails; each side finds out in its own time.
    pub(crate) fn break_path(&mut self, a: usize, b: usize) {
        let pair = (a.min(b), a.max(b));
        let Some(number) = self.pairs.get(&pair).map(|conn| conn.number) else {
            return;
        };
        self.count("path broken");
        let lost = Disconnect {
            reason: CloseReason::TimedOut,
            by: ClosedBy::Path,
        };
        for side in 0..2 {
            let time = self.now_us + self.prng.skewed(400_000);
            self.at(
                time,
                Arrival::PeerEnd {
                    pair,
                    number,
                    side,
                    end: lost,
                },
            );
        }
    }

    /// Members on different sides do not reach each other until [`Wire::heal`].
    pub(crate) fn partition(&mut self, side: u64) {
        for a in 0..self.up.len() {
            for b in a + 1..self.up.len() {
                if (side >> a) & 1 != (side >> b) & 1 {
                    self.blocked.insert((a, b));
                    self.break_path(a, b);
                }
            }
        }
    }

    pub(crate) fn heal(&mut self) {
        self.blocked.clear();
    }
}
