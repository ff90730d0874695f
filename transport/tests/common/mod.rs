//! What the tests share: keys, configurations, and waiting for an event.
#![allow(dead_code)]

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use trireme_transport::{ClientEvent, ClientListener, Identity, PeerAddress, PeerEndpoint, PeerEvent, TransportConfig};

/// Nothing here takes this long; it only keeps a broken build from hanging.
pub(crate) const HANG: Duration = Duration::from_secs(60);

pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub(crate) fn identity(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32]).unwrap()
}

pub(crate) fn config() -> TransportConfig {
    TransportConfig {
        cluster: [9; 32],
        ..TransportConfig::default()
    }
}

/// Addresses that were free a moment ago. All are held until the last is found, so they differ.
pub(crate) fn addresses(count: usize) -> Vec<SocketAddr> {
    let sockets: Vec<_> = (0..count).map(|_| UdpSocket::bind(LOOPBACK).unwrap()).collect();
    sockets.iter().map(|socket| socket.local_addr().unwrap()).collect()
}

/// A cluster's address list; replica i has the identity of seed i + 1.
pub(crate) fn peer_list(count: usize) -> Vec<PeerAddress> {
    addresses(count)
        .into_iter()
        .enumerate()
        .map(|(index, addr)| PeerAddress {
            index: index as u32,
            tls_public: identity(index as u8 + 1).public(),
            addr,
        })
        .collect()
}

pub(crate) fn bind(peers: &[PeerAddress], me: u32, config: TransportConfig) -> PeerEndpoint {
    let addr = peers[me as usize].addr;
    PeerEndpoint::bind(addr, identity(me as u8 + 1), config, peers.to_vec(), me).unwrap()
}

/// Skips events until one is wanted, and returns what `wanted` made of it.
pub(crate) async fn peer_event<T>(endpoint: &mut PeerEndpoint, mut wanted: impl FnMut(&PeerEvent) -> Option<T>) -> T {
    let search = async {
        loop {
            let event = endpoint.recv().await.expect("never ends");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    };
    tokio::time::timeout(HANG, search).await.expect("the event comes")
}

pub(crate) async fn connected(endpoint: &mut PeerEndpoint, other: u32) {
    peer_event(endpoint, |event| {
        (*event == PeerEvent::Connected { peer: other }).then_some(())
    })
    .await;
}

pub(crate) async fn client_event<T>(
    listener: &mut ClientListener,
    mut wanted: impl FnMut(&ClientEvent) -> Option<T>,
) -> T {
    let search = async {
        loop {
            let event = listener.recv().await.expect("never ends");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    };
    tokio::time::timeout(HANG, search).await.expect("the event comes")
}
