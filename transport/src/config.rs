//! Every limit of the transport, declared once.

use crate::wan::Spot;
use serde::{Deserialize, Serialize};

/// Congestion control of outgoing data. On a lossy WAN the choice decides the throughput: with 25 ms and 0.1 % loss
/// Cubic was measured at 3.4 MB/s and BBR at 17.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Congestion {
    /// The default of most stacks.
    #[default]
    Cubic,
    /// Model based, keeps its rate over random loss; marked experimental by quinn.
    Bbr,
    /// RFC 9002's own.
    NewReno,
}

/// Limits and choices of an endpoint. Memory that a peer can occupy is at most `peer_receive_window_bytes()` (inside
/// QUIC) + `peer_inbound_*_bytes` and one frame a stream (waiting for the owner, under assembly)
/// + `peer_outbound_*_bytes` + `peer_send_window_bytes()` (not yet acknowledged). A client has one stream each way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransportConfig {
    /// Fingerprint of the cluster, exchanged in the hello; a mismatch closes with `WrongCluster`.
    #[serde(skip)]
    pub cluster: [u8; 32],

    /// Longest control frame between replicas.
    pub max_control_frame_bytes: usize,
    /// Longest bulk frame between replicas.
    pub max_bulk_frame_bytes: usize,
    /// Longest frame between a client and a replica, in either direction.
    pub max_client_frame_bytes: usize,

    /// Client connections at one listener.
    pub max_clients: usize,
    /// Client connections at one listener with the same key.
    pub max_connections_per_key: usize,
    /// Handshakes under way at one endpoint; from half of it on, strangers must prove their address (QUIC retry).
    pub max_incoming: usize,
    /// A connection that is not ready (TLS and hello) after this time is dropped.
    pub handshake_timeout_ms: u64,
    /// A connection on which nothing was heard for this time is dead.
    pub idle_timeout_ms: u32,
    /// A quiet connection is pinged this often. Well below the idle timeout.
    pub keep_alive_ms: u64,
    /// First and longest pause before a peer is dialled again; doubles in between, with jitter.
    pub reconnect_min_ms: u64,
    /// See `reconnect_min_ms`.
    pub reconnect_max_ms: u64,

    /// Bulk streams of each peer connection in each direction; frames take them in turn, so that one lost packet
    /// delays one frame in so many.
    pub bulk_streams: usize,
    /// Flow control of one stream between replicas: what a sender may have under way on it. All bulk streams together
    /// should hold what the path holds (bandwidth times round trip: 40 MB/s over 100 ms need 1 MiB a stream) and
    /// little more, since what is under way before a saturated receiver delays control frames: on two busy cores the
    /// control round trip beside a flood was 0.5 ms with 256 KiB and 16 to 40 ms with 2 MiB.
    pub peer_stream_window_bytes: u32,
    /// Flow control of one client connection.
    pub client_stream_window_bytes: u32,
    /// Control frames of one peer that wait for the owner; then the endpoint stops reading from that peer.
    pub peer_inbound_control_bytes: usize,
    /// Bulk frames of one peer that wait for the owner; then the endpoint stops reading them from that peer.
    pub peer_inbound_bulk_bytes: usize,
    /// Frames of one client that wait for the owner; then the endpoint stops reading from that client.
    pub client_inbound_bytes: usize,
    /// Control frames queued for one peer, beyond that it is disconnected.
    pub peer_outbound_control_bytes: usize,
    /// Bulk frames queued for one peer, beyond that it is disconnected.
    pub peer_outbound_bulk_bytes: usize,
    /// Frames queued for one client (then it is closed as a slow reader), and by the client side of a connection
    /// (then `Full`).
    pub client_outbound_bytes: usize,
    /// Frames in any one outgoing queue.
    pub outbound_frames: usize,

    /// Congestion control.
    pub congestion: Congestion,
    /// UDP payload that every path carries for certain. Only where that is known (loopback, a network of one's own
    /// with jumbo frames) above 1200: it is used from the first packet on, and never doubted.
    pub mtu_lower_bound: u16,
    /// Largest UDP payload that path MTU discovery tries. Jumbo frames and loopback need far fewer packets.
    pub mtu_upper_bound: u16,
    /// Wanted size of the socket's buffers; the system may grant less.
    pub socket_buffer_bytes: usize,
    /// The endpoint's place in an emulated network; none: the socket is used as it is.
    #[serde(skip)]
    pub wan: Option<Spot>,
    /// Several sockets share the port, one for each ingress core (client listeners only).
    pub reuse_port: bool,
}

impl Default for TransportConfig {
    fn default() -> Self {
        const KIB: usize = 1 << 10;
        const MIB: usize = 1 << 20;
        Self {
            cluster: [0; 32],
            max_control_frame_bytes: MIB,
            max_bulk_frame_bytes: 16 * MIB,
            max_client_frame_bytes: MIB,
            max_clients: 256,
            max_connections_per_key: 8,
            max_incoming: 64,
            handshake_timeout_ms: 5_000,
            idle_timeout_ms: 5_000,
            keep_alive_ms: 1_000,
            reconnect_min_ms: 20,
            reconnect_max_ms: 1_000,
            bulk_streams: 4,
            peer_stream_window_bytes: 256 << 10,
            client_stream_window_bytes: 1 << 20,
            peer_inbound_control_bytes: 4 * MIB,
            peer_inbound_bulk_bytes: 32 * MIB,
            client_inbound_bytes: MIB,
            peer_outbound_control_bytes: 16 * MIB,
            peer_outbound_bulk_bytes: 64 * MIB,
            client_outbound_bytes: 2 * MIB,
            outbound_frames: 64 * KIB,
            congestion: Congestion::Cubic,
            mtu_lower_bound: 1_200,
            mtu_upper_bound: 8_952,
            socket_buffer_bytes: 4 * MIB,
            wan: None,
            reuse_port: false,
        }
    }
}

/// Two settings contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("transport configuration: {0}")]
pub struct ConfigError(pub &'static str);

impl TransportConfig {
    /// What a peer may send before the owner reads: all bulk streams full and one control stream besides, and a
    /// quarter more, because QUIC announces new credit only in steps of an eighth. So bulk data never uses up the
    /// credit of control frames.
    pub fn peer_receive_window_bytes(&self) -> u64 {
        (self.bulk_streams as u64 + 1) * u64::from(self.peer_stream_window_bytes) * 5 / 4
    }

    /// What may be sent to a peer and not yet acknowledged. Twice what flow control grants to bulk, since credit may
    /// come back before the acknowledgement, and a stream for control besides.
    pub fn peer_send_window_bytes(&self) -> u64 {
        (2 * self.bulk_streams as u64 + 1) * u64::from(self.peer_stream_window_bytes)
    }

    /// Puts the endpoint into an emulated network, whose paths carry what those of the internet do: nothing longer is
    /// known of them beforehand, and nothing much longer is found. Without a place nothing changes.
    pub fn place_in_network(&mut self, place: Option<Spot>) {
        if place.is_some() {
            self.mtu_lower_bound = 1_200;
            self.mtu_upper_bound = 1_452;
        }
        self.wan = place;
    }

    /// Checks the relations between the limits.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let rules = [
            (
                self.max_control_frame_bytes >= 256,
                "max_control_frame_bytes must be at least 256",
            ),
            (
                self.max_bulk_frame_bytes >= 256,
                "max_bulk_frame_bytes must be at least 256",
            ),
            (
                self.max_client_frame_bytes >= 256,
                "max_client_frame_bytes must be at least 256",
            ),
            (
                self.max_bulk_frame_bytes.max(self.max_control_frame_bytes) <= 1 << 30,
                "frames are limited to 1 GiB",
            ),
            (self.max_client_frame_bytes <= 1 << 30, "frames are limited to 1 GiB"),
            ((1..=64).contains(&self.bulk_streams), "bulk_streams must be 1 to 64"),
            (
                self.peer_stream_window_bytes >= 16 << 10,
                "peer_stream_window_bytes must be at least 16384",
            ),
            (
                self.client_stream_window_bytes >= 16 << 10,
                "client_stream_window_bytes must be at least 16384",
            ),
            (self.max_incoming >= 2, "max_incoming must be at least 2"),
            (
                self.keep_alive_ms > 0 && 2 * self.keep_alive_ms < u64::from(self.idle_timeout_ms),
                "keep_alive_ms must be below half of idle_timeout_ms",
            ),
            (self.handshake_timeout_ms > 0, "handshake_timeout_ms must not be 0"),
            (
                (1..=self.reconnect_max_ms).contains(&self.reconnect_min_ms),
                "reconnect_min_ms must be 1 to reconnect_max_ms",
            ),
            (
                self.max_control_frame_bytes <= self.peer_outbound_control_bytes
                    && self.max_bulk_frame_bytes <= self.peer_outbound_bulk_bytes
                    && self.max_client_frame_bytes <= self.client_outbound_bytes,
                "an outgoing queue must hold the longest frame",
            ),
            (self.mtu_upper_bound >= 1_200, "mtu_upper_bound must be at least 1200"),
            (self.outbound_frames > 0, "outbound_frames must not be 0"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, why)) => Err(ConfigError(why)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_consistent_and_contradictions_are_found() {
        TransportConfig::default().validate().unwrap();
        let dead = TransportConfig {
            keep_alive_ms: 5_000,
            ..TransportConfig::default()
        };
        assert!(dead.validate().is_err());
        let tight = TransportConfig {
            peer_outbound_bulk_bytes: 1 << 20,
            ..TransportConfig::default()
        };
        assert!(tight.validate().is_err());
    }
}
