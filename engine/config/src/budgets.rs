//! The limits that a replica chooses for its log, its peers and its clients. Each table of `replica.toml` may leave
//! out what it does not change.

use serde::{Deserialize, Serialize};

const MIB: u64 = 1 << 20;

/// Congestion control of the connections between replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Congestion {
    /// Loss-based; the default.
    #[default]
    Cubic,
    /// Model-based: keeps its rate on long paths that lose packets.
    Bbr,
    /// Loss-based, the classic one.
    Newreno,
}

/// Table `[log]`. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogBudget {
    /// Size of one segment file.
    pub segment_bytes: u64,
    /// Sum of all segment files; beyond it requests are refused.
    pub max_log_bytes: u64,
    /// The longest record.
    pub max_record_bytes: u32,
    /// Size of a group buffer.
    pub buffer_bytes: u32,
    /// Flushes in flight at once.
    pub flushes_in_flight: u32,
}

impl LogBudget {
    const DEFAULT: LogBudget = LogBudget {
        segment_bytes: 64 * MIB,
        max_log_bytes: 4096 * MIB,
        max_record_bytes: 16 << 20,
        buffer_bytes: 1 << 20,
        flushes_in_flight: 2,
    };
}

/// Table `[snapshots]`: what snapshots may cost beside the running state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnapshotBudget {
    /// Bytes of a snapshot written each second, so that the log's flushes find the disk free.
    pub write_bytes_per_second: u64,
    /// Bytes of a state fetched from the others each second, so that votes find the network free.
    pub transfer_bytes_per_second: u64,
}

impl SnapshotBudget {
    const DEFAULT: SnapshotBudget = SnapshotBudget {
        write_bytes_per_second: 32 * MIB,
        transfer_bytes_per_second: 64 * MIB,
    };
}

impl Default for SnapshotBudget {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Table `[peers]`: the connections to other members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeerBudget {
    /// Congestion control.
    pub congestion: Congestion,
    /// Bytes waiting for one peer; beyond it the peer is disconnected.
    pub queue_bytes: u64,
    /// Frames waiting for one peer; beyond it the peer is disconnected.
    pub queue_frames: u32,
    /// Bytes in flight from one peer, over all its streams.
    pub receive_window_bytes: u32,
    /// Bytes in flight from one peer on one stream.
    pub stream_receive_window_bytes: u32,
    /// A silent connection ends after this.
    pub idle_timeout_ms: u64,
    /// A quiet connection is kept alive at this interval.
    pub keep_alive_ms: u64,
    /// A handshake has to be done in this.
    pub handshake_timeout_ms: u64,
}

impl PeerBudget {
    const DEFAULT: PeerBudget = PeerBudget {
        congestion: Congestion::Cubic,
        queue_bytes: 64 * MIB,
        queue_frames: 65_536,
        receive_window_bytes: 32 << 20,
        stream_receive_window_bytes: 2 << 20,
        idle_timeout_ms: 5_000,
        keep_alive_ms: 1_000,
        handshake_timeout_ms: 3_000,
    };
}

/// Table `[clients]`: the connections of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientBudget {
    /// Connections in all.
    pub max_connections: u32,
    /// Connections under one TLS key.
    pub connections_per_key: u32,
    /// Handshakes under way at once.
    pub max_incoming: u32,
    /// Bytes of requests that all clients together may have in this replica before it refuses more.
    pub intake_bytes: u64,
    /// Bytes of requests that one client may have in this replica before reading from it pauses.
    pub intake_bytes_per_client: u64,
    /// Bytes of replies waiting for one connection; beyond it the connection is closed.
    pub reply_queue_bytes: u64,
    /// Frames waiting for one connection; beyond it the connection is closed.
    pub reply_queue_frames: u32,
    /// Bytes in flight from one connection.
    pub receive_window_bytes: u32,
    /// A silent connection ends after this.
    pub idle_timeout_ms: u64,
}

impl ClientBudget {
    const DEFAULT: ClientBudget = ClientBudget {
        max_connections: 4_096,
        connections_per_key: 64,
        max_incoming: 256,
        intake_bytes: 64 * MIB,
        intake_bytes_per_client: 4 * MIB,
        reply_queue_bytes: 16 * MIB,
        reply_queue_frames: 65_536,
        receive_window_bytes: 4 << 20,
        idle_timeout_ms: 30_000,
    };
}

// How the limits hang together.
const _: () = {
    let (log, peers, clients) = (LogBudget::DEFAULT, PeerBudget::DEFAULT, ClientBudget::DEFAULT);
    assert!(
        log.segment_bytes > log.max_record_bytes as u64,
        "a record fits into a segment"
    );
    assert!(
        log.max_log_bytes >= 2 * log.segment_bytes,
        "a full segment and the next one"
    );
    assert!(
        peers.queue_bytes >= log.max_record_bytes as u64,
        "the largest batch can be sent"
    );
    assert!(
        peers.receive_window_bytes >= peers.stream_receive_window_bytes,
        "votes pass a full bulk stream"
    );
    assert!(
        peers.idle_timeout_ms >= 3 * peers.keep_alive_ms,
        "a lost keep-alive is not the end"
    );
    assert!(
        clients.intake_bytes_per_client <= clients.intake_bytes,
        "one client's share"
    );
    assert!(
        clients.connections_per_key <= clients.max_connections,
        "one key's share"
    );
};

impl Default for LogBudget {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Default for PeerBudget {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Default for ClientBudget {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The first limit that contradicts another one: its name and what it has to be.
pub(crate) fn contradiction(
    log: &LogBudget,
    peers: &PeerBudget,
    clients: &ClientBudget,
) -> Option<(&'static str, &'static str)> {
    let page = 4096;
    let rules = [
        (
            log.segment_bytes.is_multiple_of(page),
            "log.segment_bytes",
            "must be a multiple of 4096",
        ),
        (
            u64::from(log.buffer_bytes).is_multiple_of(page),
            "log.buffer_bytes",
            "must be a multiple of 4096",
        ),
        (
            log.segment_bytes > u64::from(log.max_record_bytes),
            "log.segment_bytes",
            "must exceed max_record_bytes",
        ),
        (
            log.max_log_bytes >= 2 * log.segment_bytes,
            "log.max_log_bytes",
            "must hold two segments",
        ),
        (log.buffer_bytes >= 8192, "log.buffer_bytes", "must be at least 8192"),
        (
            (1..=64).contains(&log.flushes_in_flight),
            "log.flushes_in_flight",
            "must be 1 to 64",
        ),
        (
            peers.queue_bytes >= u64::from(log.max_record_bytes),
            "peers.queue_bytes",
            "must hold one batch of log.max_record_bytes",
        ),
        (peers.queue_frames >= 64, "peers.queue_frames", "must be at least 64"),
        (
            peers.receive_window_bytes >= peers.stream_receive_window_bytes,
            "peers.receive_window_bytes",
            "must not be below stream_receive_window_bytes",
        ),
        (
            peers.stream_receive_window_bytes >= 65_536,
            "peers.stream_receive_window_bytes",
            "must be at least 65536",
        ),
        (peers.keep_alive_ms > 0, "peers.keep_alive_ms", "must be positive"),
        (
            peers.idle_timeout_ms >= peers.keep_alive_ms.saturating_mul(3),
            "peers.idle_timeout_ms",
            "must be three times keep_alive_ms or more",
        ),
        (
            peers.handshake_timeout_ms > 0,
            "peers.handshake_timeout_ms",
            "must be positive",
        ),
        (
            clients.max_connections > 0,
            "clients.max_connections",
            "must be positive",
        ),
        (
            (1..=clients.max_connections).contains(&clients.connections_per_key),
            "clients.connections_per_key",
            "must be 1 to max_connections",
        ),
        (clients.max_incoming > 0, "clients.max_incoming", "must be positive"),
        (
            (1..=clients.intake_bytes).contains(&clients.intake_bytes_per_client),
            "clients.intake_bytes_per_client",
            "must be 1 to intake_bytes",
        ),
        (
            clients.reply_queue_bytes >= 65_536,
            "clients.reply_queue_bytes",
            "must be at least 65536",
        ),
        (
            clients.reply_queue_frames >= 16,
            "clients.reply_queue_frames",
            "must be at least 16",
        ),
        (
            clients.receive_window_bytes >= 65_536,
            "clients.receive_window_bytes",
            "must be at least 65536",
        ),
        (
            clients.idle_timeout_ms >= 1_000,
            "clients.idle_timeout_ms",
            "must be at least 1000",
        ),
    ];
    rules
        .into_iter()
        .find(|(holds, ..)| !holds)
        .map(|(_, key, why)| (key, why))
}
