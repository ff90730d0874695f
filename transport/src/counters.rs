//! What is counted, and what is reported of a link.

use crate::{CloseReason, ClosedBy, Disconnect};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counts since the endpoint was opened. A snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that ended, by who ended them (`ClosedBy as usize`) and why (`CloseReason as usize`). Connections
    /// that were refused before they were ready are included.
    pub closed: [[u64; CloseReason::COUNT]; 3],
    /// Frames handed to the owner.
    pub frames_received: u64,
    /// Payload bytes of these frames.
    pub bytes_received: u64,
    /// Frames taken from the owner.
    pub frames_sent: u64,
    /// Payload bytes of these frames.
    pub bytes_sent: u64,
    /// Frames that met a full queue (peers and clients: each of them also closed a connection).
    pub queue_full: u64,
    /// Handshakes that were told to prove their address first (QUIC retry).
    pub retries: u64,
    /// Handshakes that were refused without an answer of TLS, because too many were under way.
    pub refused_incoming: u64,
}

impl Counters {
    /// How many connections ended this way.
    pub fn closed(&self, by: ClosedBy, reason: CloseReason) -> u64 {
        self.closed[by as usize][reason as usize]
    }
}

/// The state of one link, from QUIC's own bookkeeping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// UDP payload bytes sent.
    pub sent_bytes: u64,
    /// UDP payload bytes received.
    pub received_bytes: u64,
    /// UDP datagrams sent.
    pub sent_datagrams: u64,
    /// UDP datagrams received.
    pub received_datagrams: u64,
    /// Packets declared lost.
    pub lost_packets: u64,
    /// Congestion window in bytes.
    pub congestion_window: u64,
    /// The current path MTU (UDP payload bytes).
    pub mtu: u16,
    /// Send system calls.
    pub sent_calls: u64,
}

impl LinkStats {
    pub(crate) fn of(connection: &quinn::Connection) -> Self {
        let stats = connection.stats();
        Self {
            rtt: stats.path.rtt,
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            sent_datagrams: stats.udp_tx.datagrams,
            received_datagrams: stats.udp_rx.datagrams,
            lost_packets: stats.path.lost_packets,
            congestion_window: stats.path.cwnd,
            mtu: stats.path.current_mtu,
            sent_calls: stats.udp_tx.ios,
        }
    }
}

/// The live counts behind [`Counters`]. Relaxed: each number stands for itself.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    closed: [[AtomicU64; CloseReason::COUNT]; 3],
    pub(crate) frames_received: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) frames_sent: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) queue_full: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) refused_incoming: AtomicU64,
}

impl Counts {
    pub(crate) fn closed(&self, end: Disconnect) {
        self.closed[end.by as usize][end.reason as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.frames_sent.fetch_add(1, Relaxed);
        self.bytes_sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Counters {
        let mut closed = [[0; CloseReason::COUNT]; 3];
        for (row, live) in closed.iter_mut().zip(&self.closed) {
            for (count, live) in row.iter_mut().zip(live) {
                *count = live.load(Relaxed);
            }
        }
        Counters {
            closed,
            frames_received: self.frames_received.load(Relaxed),
            bytes_received: self.bytes_received.load(Relaxed),
            frames_sent: self.frames_sent.load(Relaxed),
            bytes_sent: self.bytes_sent.load(Relaxed),
            queue_full: self.queue_full.load(Relaxed),
            retries: self.retries.load(Relaxed),
            refused_incoming: self.refused_incoming.load(Relaxed),
        }
    }
}
