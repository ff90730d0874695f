//! The replica's two doors, opened with the limits of its configuration.

use std::net::SocketAddr;

use trireme_config::{Clients, Cluster, Congestion, PeerBudget, ReplicaConfig, ReplicaKeys};
use trireme_core::Params;
use trireme_core::reply::MAX_FROM_REPLICA_BYTES;
use trireme_core::wire::MAX_FRAME_BYTES;
use trireme_transport::wan::{Live, Place, Spot, WanError};
use trireme_transport::{BindError, ClientListener, Identity, PeerAddress, PeerEndpoint, TransportConfig, Trust};

use crate::error::ReplicaError;
use crate::log::MAX_SERVED_BYTES;

/// Loopback carries datagrams of any length; with long ones, packets cost a fraction.
const LOOPBACK_MTU: u16 = 8_952;
/// Batches of a lane are of use in their order only, so they take one stream, which keeps it: a batch that overtakes
/// its parent would have to be fetched again.
const BULK_STREAMS: usize = 1;
/// Votes, blocks, acks: far shorter than batches.
const MAX_CONTROL_FRAME_BYTES: usize = 4 << 20;
/// A batch's frame without its body is shorter.
const HEADER_ROOM_BYTES: usize = 1_024;
/// Votes, certificates, marks that a member is told when it connects are fewer.
const STANDING_FRAMES: usize = 1_024;

/// Opens the door for members. Inside the runtime of its thread.
pub(crate) fn peer_endpoint(
    cluster: &Cluster,
    config: &ReplicaConfig,
    keys: &ReplicaKeys,
) -> Result<PeerEndpoint, ReplicaError> {
    let peers = (0..).zip(&cluster.members).map(|(index, member)| PeerAddress {
        index,
        tls_public: member.tls_key,
        addr: member.peer_address,
    });
    let mut transport = peer_transport(cluster, config);
    transport.place_in_network(place(cluster, config)?);
    identity(keys)
        .and_then(|identity| {
            PeerEndpoint::bind(
                config.peer_listen,
                identity,
                transport,
                peers.collect(),
                u32::from(config.member),
            )
        })
        .map_err(|error| ReplicaError::bind("peer", error))
}

/// Opens the door for clients. Inside the runtime of its thread.
pub(crate) fn client_listener(
    cluster: &Cluster,
    config: &ReplicaConfig,
    keys: &ReplicaKeys,
) -> Result<ClientListener, ReplicaError> {
    let trust = match &cluster.clients {
        Clients::Open => Trust::Open,
        Clients::Known(clients) => Trust::Pinned((0..).zip(clients).map(|(index, c)| (c.tls_key, index)).collect()),
    };
    identity(keys)
        .and_then(|identity| {
            ClientListener::bind(config.client_listen, identity, client_transport(cluster, config), trust)
        })
        .map_err(|error| ReplicaError::bind("client", error))
}

/// This replica's place in the emulated network, if its configuration names one.
fn place(cluster: &Cluster, config: &ReplicaConfig) -> Result<Option<Spot>, ReplicaError> {
    let spot = |path| {
        let addresses = cluster.members.iter().map(|member| member.peer_address).collect();
        Spot::new(Live::follow(path)?, Place::Replica(config.member), addresses)
    };
    let wrong = |error: WanError| ReplicaError::Config(format!("wan: {error}"));
    config.wan.as_deref().map(spot).transpose().map_err(wrong)
}

fn identity(keys: &ReplicaKeys) -> Result<Identity, BindError> {
    Ok(Identity::from_seed(&keys.tls.seed())?)
}

/// What waits for one member at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "simulation"), allow(unreachable_pub))]
pub struct PeerQueue {
    /// Bytes of bulk frames.
    pub bulk_bytes: usize,
    /// Frames of either class.
    pub frames: usize,
}

/// The queue for a member: as configured, and no shorter than what the protocol's windows let this replica say to a
/// member that has just connected, in one run: its lane, and a request for everything that it lacks of all lanes. A
/// shorter queue would be full at every connection, which would end by it, for ever.
#[cfg_attr(not(feature = "simulation"), allow(unreachable_pub))]
pub fn peer_queue(params: &Params, budget: &PeerBudget) -> PeerQueue {
    let lane_bytes = clamp_usize(params.lane_window_bytes) + MAX_SERVED_BYTES + MAX_FRAME_BYTES;
    let heights = clamp_usize(params.lane_window_heights);
    let slots = clamp_usize(params.window) + params.list_max();
    PeerQueue {
        bulk_bytes: clamp_usize(budget.queue_bytes).max(lane_bytes + heights * HEADER_ROOM_BYTES),
        // Each missing batch, and each missing block, is asked for once; the rest is standing votes and marks.
        frames: (budget.queue_frames as usize).max((usize::from(params.n) + 1) * heights + slots + STANDING_FRAMES),
    }
}

fn peer_transport(cluster: &Cluster, config: &ReplicaConfig) -> TransportConfig {
    let budget = &config.peers;
    let queue = peer_queue(&cluster.params, budget);
    let mut transport = TransportConfig {
        cluster: cluster.fingerprint().0,
        max_control_frame_bytes: MAX_CONTROL_FRAME_BYTES,
        max_bulk_frame_bytes: MAX_FRAME_BYTES,
        bulk_streams: BULK_STREAMS,
        handshake_timeout_ms: budget.handshake_timeout_ms,
        idle_timeout_ms: clamp_u32(budget.idle_timeout_ms),
        keep_alive_ms: budget.keep_alive_ms,
        peer_outbound_control_bytes: clamp_usize(budget.queue_bytes).max(MAX_CONTROL_FRAME_BYTES),
        peer_outbound_bulk_bytes: queue.bulk_bytes,
        outbound_frames: queue.frames,
        congestion: match budget.congestion {
            Congestion::Cubic => trireme_transport::Congestion::Cubic,
            Congestion::Bbr => trireme_transport::Congestion::Bbr,
            Congestion::Newreno => trireme_transport::Congestion::NewReno,
        },
        ..TransportConfig::default()
    };
    let streams = clamp_u32(transport.bulk_streams as u64 + 1);
    transport.peer_stream_window_bytes = budget
        .stream_receive_window_bytes
        .min(budget.receive_window_bytes / streams)
        .max(65_536);
    use_loopback(&mut transport, cluster.members.iter().map(|member| member.peer_address));
    transport
}

fn client_transport(cluster: &Cluster, config: &ReplicaConfig) -> TransportConfig {
    let budget = &config.clients;
    let idle_timeout_ms = clamp_u32(budget.idle_timeout_ms);
    let mut transport = TransportConfig {
        cluster: cluster.fingerprint().0,
        max_client_frame_bytes: MAX_FROM_REPLICA_BYTES,
        max_clients: budget.max_connections as usize,
        max_connections_per_key: budget.connections_per_key as usize,
        max_incoming: (budget.max_incoming as usize).max(2),
        idle_timeout_ms,
        keep_alive_ms: u64::from(idle_timeout_ms / 4).clamp(1, 5_000),
        client_stream_window_bytes: budget.receive_window_bytes,
        client_inbound_bytes: budget.receive_window_bytes as usize,
        client_outbound_bytes: clamp_usize(budget.reply_queue_bytes).max(MAX_FROM_REPLICA_BYTES),
        outbound_frames: budget.reply_queue_frames as usize,
        ..TransportConfig::default()
    };
    use_loopback(
        &mut transport,
        cluster.members.iter().map(|member| member.client_address),
    );
    transport
}

/// Where all addresses are this machine's own, nothing has to be found out about the path.
fn use_loopback(transport: &mut TransportConfig, mut addresses: impl Iterator<Item = SocketAddr>) {
    if addresses.all(|address| address.ip().is_loopback()) {
        transport.mtu_lower_bound = LOOPBACK_MTU;
        transport.mtu_upper_bound = LOOPBACK_MTU;
    }
}

fn clamp_u32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn clamp_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_queue_holds_a_lane_and_what_stands_beside_it() {
        let (params, budget) = (Params::new(4, 1), PeerBudget::default());
        let queue = peer_queue(&params, &budget);
        assert!(queue.bulk_bytes as u64 > params.lane_window_bytes + params.lane_window_heights * 200);
        assert_eq!(queue.frames, budget.queue_frames as usize);
        let tight = PeerBudget {
            queue_frames: 64,
            ..budget
        };
        assert!(peer_queue(&params, &tight).frames > 5 * 256);
    }
}
