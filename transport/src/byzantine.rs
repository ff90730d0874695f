//! Connections with valid keys that break the framing: closed, counted, and nobody else is harmed.

use crate::hello::Hello;
use crate::quic::{self, Role, SERVER_NAME};
use crate::*;
use bytes::Bytes;
use quinn::Endpoint;
use std::net::SocketAddr;

/// Nothing here takes this long; it only keeps a broken build from hanging.
const HANG: std::time::Duration = std::time::Duration::from_secs(60);

fn identity(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32]).unwrap()
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A QUIC connection that speaks as `seed` and does what the test wants.
async fn raw(role: Role, seed: u8, addr: SocketAddr, server: &Identity) -> quinn::Connection {
    let config = TransportConfig::default();
    let identity = identity(seed);
    let udp = socket::open(loopback(), &config).unwrap();
    let quic = quic::endpoint_config(role, &identity, &config).unwrap();
    let endpoint: Endpoint = socket::start(udp, quic, None, &config).unwrap();
    let client = quic::client_config(role, &identity, &config, server.public()).unwrap();
    let connecting = endpoint.connect_with(client, addr, SERVER_NAME).unwrap();
    connecting.await.unwrap()
}

/// Why the other side closed it.
async fn verdict(connection: &quinn::Connection) -> CloseReason {
    let closed = tokio::time::timeout(HANG, connection.closed()).await;
    let end = Disconnect::from_quic(&closed.expect("it is closed"), None);
    assert_eq!(end.by, ClosedBy::Remote, "{end}");
    end.reason
}

fn framed(length: u32, payload: &[u8]) -> Bytes {
    [&length.to_le_bytes(), payload].concat().into()
}

fn small() -> TransportConfig {
    TransportConfig {
        max_control_frame_bytes: 1_000,
        max_bulk_frame_bytes: 2_000,
        max_client_frame_bytes: 1_000,
        ..TransportConfig::default()
    }
}

/// Replica 1 of two, where replica 0 (seed 10) is played by the test.
fn victim() -> PeerEndpoint {
    let peer = PeerAddress {
        index: 0,
        tls_public: identity(10).public(),
        addr: loopback(),
    };
    PeerEndpoint::bind(loopback(), identity(11), small(), vec![peer], 1).unwrap()
}

async fn connected(victim: &mut PeerEndpoint) {
    while victim.recv().await != Some(PeerEvent::Connected { peer: 0 }) {}
}

async fn play(hello: Bytes, control: Bytes, bulk: Option<Bytes>) -> (CloseReason, Counters) {
    let mut victim = victim();
    let link = raw(Role::Peer, 10, victim.local_addr(), &identity(11)).await;
    let mut first = link.open_uni().await.unwrap();
    first.write_chunk(hello).await.unwrap();
    if !control.is_empty() || bulk.is_some() {
        connected(&mut victim).await;
    }
    if !control.is_empty() {
        first.write_chunk(control).await.unwrap();
    }
    if let Some(bulk) = bulk {
        let mut second = link.open_uni().await.unwrap();
        second.write_chunk(bulk).await.unwrap();
        // A stream that is dropped is finished, which is a fault of its own.
        let reason = verdict(&link).await;
        drop(second);
        return (reason, victim.counters());
    }
    let reason = verdict(&link).await;
    // The victim still takes a well-behaved connection of the same peer.
    let again = raw(Role::Peer, 10, victim.local_addr(), &identity(11)).await;
    let mut stream = again.open_uni().await.unwrap();
    stream.write_chunk(good_hello()).await.unwrap();
    connected(&mut victim).await;
    (reason, victim.counters())
}

fn good_hello() -> Bytes {
    Hello::of_peer(&TransportConfig::default(), 0).encode()
}

#[tokio::test]
async fn oversized_and_empty_control_frames_close_the_link() {
    let (reason, counts) = play(good_hello(), framed(1_001, &[1]), None).await;
    assert_eq!(reason, CloseReason::Oversized);
    assert_eq!(counts.closed(ClosedBy::Local, CloseReason::Oversized), 1);
    let (reason, counts) = play(good_hello(), framed(0, &[]), None).await;
    assert_eq!(reason, CloseReason::Malformed);
    assert_eq!(counts.closed(ClosedBy::Local, CloseReason::Malformed), 1);
}

#[tokio::test]
async fn an_oversized_bulk_frame_closes_the_link() {
    let (reason, _) = play(good_hello(), Bytes::new(), Some(framed(2_001, &[1]))).await;
    assert_eq!(reason, CloseReason::Oversized);
}

#[tokio::test]
async fn a_hello_that_is_none_closes_the_link() {
    let (reason, _) = play(framed(5, b"hello"), Bytes::new(), None).await;
    assert_eq!(reason, CloseReason::Malformed);
    let other_index = Hello::of_peer(&TransportConfig::default(), 3).encode();
    let (reason, _) = play(other_index, Bytes::new(), None).await;
    assert_eq!(reason, CloseReason::Unexpected);
}

#[tokio::test]
async fn a_finished_stream_closes_the_link() {
    let mut victim = victim();
    let link = raw(Role::Peer, 10, victim.local_addr(), &identity(11)).await;
    let mut first = link.open_uni().await.unwrap();
    first.write_chunk(good_hello()).await.unwrap();
    connected(&mut victim).await;
    first.finish().unwrap();
    assert_eq!(verdict(&link).await, CloseReason::Unexpected);
}

/// Of a pair only the lower index dials.
#[tokio::test]
async fn the_higher_index_must_not_dial() {
    let peer = PeerAddress {
        index: 2,
        tls_public: identity(10).public(),
        addr: loopback(),
    };
    let me = PeerEndpoint::bind(loopback(), identity(11), small(), vec![peer], 1).unwrap();
    let link = raw(Role::Peer, 10, me.local_addr(), &identity(11)).await;
    assert_eq!(verdict(&link).await, CloseReason::Unexpected);
}

#[tokio::test]
async fn a_client_that_breaks_the_framing_is_closed_and_others_go_on() {
    let mut listener = ClientListener::bind(loopback(), identity(11), small(), Trust::Open).unwrap();
    let addr = listener.local_addr();
    let good = Connection::connect(addr, identity(12), identity(11).public(), small()).await;
    let (send, _receive) = good.unwrap().split();
    let hello = Hello::of_client_link(&TransportConfig::default()).encode();
    for (bad, reason) in [
        (framed(1_001, &[1]), CloseReason::Oversized),
        (framed(0, &[]), CloseReason::Malformed),
    ] {
        let link = raw(Role::Client, 13, addr, &identity(11)).await;
        let (mut stream, _replies) = link.open_bi().await.unwrap();
        stream.write_chunk(hello.clone()).await.unwrap();
        stream.write_chunk(bad).await.unwrap();
        assert_eq!(verdict(&link).await, reason);
        assert_eq!(listener.counters().closed(ClosedBy::Local, reason), 1);
    }
    send.send(vec![5]).unwrap();
    loop {
        if let Some(ClientEvent::Frame { bytes, .. }) = listener.recv().await {
            assert_eq!(bytes, vec![5]);
            break;
        }
    }
}

#[tokio::test]
async fn a_peer_does_not_pass_for_a_client() {
    let listener = ClientListener::bind(loopback(), identity(11), small(), Trust::Open).unwrap();
    let config = TransportConfig::default();
    let udp = socket::open(loopback(), &config).unwrap();
    let quic = quic::endpoint_config(Role::Peer, &identity(10), &config).unwrap();
    let endpoint = socket::start(udp, quic, None, &config).unwrap();
    let key = identity(11).public();
    let client = quic::client_config(Role::Peer, &identity(10), &config, key).unwrap();
    let connecting = endpoint.connect_with(client, listener.local_addr(), SERVER_NAME);
    assert!(connecting.unwrap().await.is_err(), "the protocols must differ");
}

#[tokio::test]
async fn silence_after_the_handshake_times_out() {
    let impatient = TransportConfig {
        handshake_timeout_ms: 100,
        ..small()
    };
    let listener = ClientListener::bind(loopback(), identity(11), impatient, Trust::Open).unwrap();
    let link = raw(Role::Client, 13, listener.local_addr(), &identity(11)).await;
    assert_eq!(verdict(&link).await, CloseReason::HandshakeTimeout);
}
