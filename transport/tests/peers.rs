//! Links between replicas, over real sockets on loopback.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use common::*;
use trireme_transport::*;

#[tokio::test]
async fn four_replicas_connect_and_exchange_frames() {
    let peers = peer_list(4);
    let mut ends: Vec<_> = (0..4).map(|me| bind(&peers, me, config())).collect();
    for end in &mut ends {
        let mut missing = 3;
        peer_event(end, |event| {
            missing -= usize::from(matches!(event, PeerEvent::Connected { .. }));
            (missing == 0).then_some(())
        })
        .await;
    }
    let body = Bytes::from(vec![5; 300_000]);
    for (me, end) in ends.iter().enumerate() {
        for other in (0..4).filter(|&other| other != me as u32) {
            let vote = Bytes::from(vec![me as u8; 10]);
            end.send(other, Class::Control, vote).unwrap();
            let head = Bytes::from(vec![me as u8; 10]);
            end.send(other, Class::Bulk, (head, body.clone())).unwrap();
        }
    }
    for end in &mut ends {
        let mut missing = 6;
        peer_event(end, |event| {
            if let PeerEvent::Frame { peer, class, bytes } = event {
                let length = if *class == Class::Bulk { 300_010 } else { 10 };
                assert_eq!(bytes.len(), length);
                assert_eq!(bytes[..10], [*peer as u8; 10], "attributed by channel");
                missing -= 1;
            }
            (missing == 0).then_some(())
        })
        .await;
        assert_eq!(end.counters().frames_received, 6);
        assert_eq!(end.counters().frames_sent, 6);
    }
    assert!(ends[0].rtt(3).is_some() && ends[0].rtt(0).is_none());
}

#[tokio::test]
async fn control_frames_keep_their_order_and_their_bytes() {
    let peers = peer_list(2);
    let (mut zero, mut one) = (bind(&peers, 0, config()), bind(&peers, 1, config()));
    connected(&mut zero, 1).await;
    connected(&mut one, 0).await;
    let length = |count: u32| 4 + (count as usize * 37) % 9_000;
    const FRAMES: u32 = 2_000;
    for count in 0..FRAMES {
        let mut frame = vec![count as u8; length(count)];
        frame[..4].copy_from_slice(&count.to_le_bytes());
        zero.send(1, Class::Control, frame).unwrap();
    }
    let mut next = 0u32;
    peer_event(&mut one, |event| {
        let PeerEvent::Frame { bytes, .. } = event else {
            return None;
        };
        assert_eq!(bytes[..4], next.to_le_bytes());
        assert_eq!(bytes.len(), length(next));
        assert!(bytes[4..].iter().all(|&byte| byte == next as u8));
        next += 1;
        (next == FRAMES).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_unknown_key_is_refused() {
    let peers = peer_list(2);
    let mut one = bind(&peers, 1, config());
    let addr = peers[0].addr;
    let mut stranger = PeerEndpoint::bind(addr, identity(77), config(), peers.clone(), 0).unwrap();
    let refused = |event: &PeerEvent| match event {
        PeerEvent::Refused { reason, .. } => Some(*reason),
        PeerEvent::Connected { .. } => panic!("a stranger was let in"),
        _ => None,
    };
    let here = peer_event(&mut one, refused).await;
    assert_eq!((here.reason, here.by), (CloseReason::UnknownKey, ClosedBy::Local));
    let there = peer_event(&mut stranger, refused).await;
    assert_eq!((there.reason, there.by), (CloseReason::UnknownKey, ClosedBy::Remote));
    assert!(one.counters().closed(ClosedBy::Local, CloseReason::UnknownKey) > 0);
    let refused = stranger.send(1, Class::Control, vec![1]);
    assert_eq!(refused, Err(SendError::NotConnected));
}

#[tokio::test]
async fn a_server_with_the_wrong_key_is_refused() {
    let peers = peer_list(2);
    let mut zero = bind(&peers, 0, config());
    let _impostor = PeerEndpoint::bind(peers[1].addr, identity(77), config(), peers.clone(), 1).unwrap();
    let end = peer_event(&mut zero, |event| match event {
        PeerEvent::Refused { reason, .. } => Some(*reason),
        PeerEvent::Connected { .. } => panic!("an impostor was believed"),
        _ => None,
    })
    .await;
    assert_eq!((end.reason, end.by), (CloseReason::UnknownKey, ClosedBy::Local));
}

#[tokio::test]
async fn another_cluster_is_refused() {
    let peers = peer_list(2);
    let mut zero = bind(&peers, 0, config());
    let other = TransportConfig {
        cluster: [8; 32],
        ..config()
    };
    let mut one = bind(&peers, 1, other);
    for end in [&mut zero, &mut one] {
        let reason = peer_event(end, |event| match event {
            PeerEvent::Refused { reason, .. } => Some(reason.reason),
            PeerEvent::Connected { .. } => panic!("clusters were mixed"),
            _ => None,
        })
        .await;
        assert_eq!(reason, CloseReason::WrongCluster);
    }
}

#[tokio::test]
async fn a_restarted_acceptor_is_redialled_at_once() {
    let patient = TransportConfig {
        // So long that only the reset of the restarted side can explain a quick return.
        idle_timeout_ms: 600_000,
        keep_alive_ms: 50,
        ..config()
    };
    let peers = peer_list(2);
    let mut zero = bind(&peers, 0, patient.clone());
    restart_one(&peers, &mut zero, patient).await;
}

/// Ends the runtime of replica 1 without a word, as a kill would, and starts it again.
async fn restart_one(peers: &[PeerAddress], zero: &mut PeerEndpoint, config: TransportConfig) {
    let first = run_until_connected(peers.to_vec(), 1, config.clone());
    connected(zero, 1).await;
    first.join().unwrap();
    let mut one = bind(peers, 1, config);
    let end = peer_event(zero, |event| match event {
        PeerEvent::Disconnected { peer: 1, reason } => Some(*reason),
        _ => None,
    })
    .await;
    assert_eq!((end.reason, end.by), (CloseReason::Reset, ClosedBy::Path));
    connected(zero, 1).await;
    connected(&mut one, 0).await;
    zero.send(1, Class::Control, vec![1, 2, 3]).unwrap();
    let got = peer_event(&mut one, |event| match event {
        PeerEvent::Frame { bytes, .. } => Some(bytes.clone()),
        _ => None,
    })
    .await;
    assert_eq!(got, vec![1, 2, 3]);
}

fn run_until_connected(peers: Vec<PeerAddress>, me: u32, config: TransportConfig) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let end = runtime.block_on(async {
            let mut end = bind(&peers, me, config);
            connected(&mut end, 1 - me).await;
            end
        });
        // The runtime goes first: no close can be sent any more.
        drop(runtime);
        drop(end);
    })
}

#[tokio::test]
async fn a_restarted_dialler_replaces_its_old_connection() {
    let patient = TransportConfig {
        idle_timeout_ms: 600_000,
        ..config()
    };
    let peers = peer_list(2);
    let mut one = bind(&peers, 1, patient.clone());
    let first = run_until_connected(peers.clone(), 0, patient.clone());
    connected(&mut one, 0).await;
    first.join().unwrap();
    let mut zero = bind(&peers, 0, patient);
    let end = peer_event(&mut one, |event| match event {
        PeerEvent::Disconnected { reason, .. } => Some(*reason),
        _ => None,
    })
    .await;
    // Either the new connection replaced the old one, or the restarted side reset it before.
    assert!(matches!(end.reason, CloseReason::Duplicate | CloseReason::Reset));
    connected(&mut one, 0).await;
    connected(&mut zero, 1).await;
}

#[tokio::test]
async fn a_disconnected_peer_comes_back() {
    let peers = peer_list(2);
    let (mut zero, mut one) = (bind(&peers, 0, config()), bind(&peers, 1, config()));
    connected(&mut zero, 1).await;
    connected(&mut one, 0).await;
    zero.disconnect(1, CloseReason::Malformed);
    assert!(!zero.is_connected(1));
    let end = peer_event(&mut one, |event| match event {
        PeerEvent::Disconnected { reason, .. } => Some(*reason),
        _ => None,
    })
    .await;
    assert_eq!((end.reason, end.by), (CloseReason::Malformed, ClosedBy::Remote));
    connected(&mut zero, 1).await;
    connected(&mut one, 0).await;
    let counts = zero.counters();
    assert_eq!(counts.closed(ClosedBy::Local, CloseReason::Malformed), 1);
}

#[tokio::test]
async fn a_full_queue_disconnects_and_says_so() {
    let tight = TransportConfig {
        outbound_frames: 8,
        ..config()
    };
    let peers = peer_list(2);
    let (mut zero, mut one) = (bind(&peers, 0, tight.clone()), bind(&peers, 1, tight));
    connected(&mut zero, 1).await;
    connected(&mut one, 0).await;
    // No await between the sends: the writer cannot take any of them.
    for _ in 0..8 {
        zero.send(1, Class::Control, vec![1]).unwrap();
    }
    assert_eq!(zero.send(1, Class::Control, vec![1]), Err(SendError::Full));
    assert_eq!(zero.send(1, Class::Control, vec![1]), Err(SendError::NotConnected));
    assert_eq!(zero.counters().queue_full, 1);
    let end = peer_event(&mut one, |event| match event {
        PeerEvent::Disconnected { reason, .. } => Some(reason.reason),
        _ => None,
    })
    .await;
    assert_eq!(end, CloseReason::Overloaded);
    connected(&mut zero, 1).await;
}

#[tokio::test]
async fn frames_beyond_the_limit_are_not_taken() {
    let peers = peer_list(2);
    let limits = TransportConfig {
        max_control_frame_bytes: 1_000,
        ..config()
    };
    let (mut zero, mut one) = (bind(&peers, 0, config()), bind(&peers, 1, limits));
    connected(&mut zero, 1).await;
    connected(&mut one, 0).await;
    let wrong = |bytes| Err(SendError::FrameLength { bytes, limit: 1_000 });
    assert_eq!(zero.send(1, Class::Control, vec![0; 1_001]), wrong(1_001));
    assert_eq!(zero.send(1, Class::Control, vec![]), wrong(0));
    assert_eq!(zero.send(1, Class::Control, vec![0; 1_000]), Ok(()));
}

/// FAULTS 45: the receiver takes no bulk at all, all windows of bulk are full, and control goes on.
#[tokio::test]
async fn bulk_that_nobody_takes_does_not_stop_control() {
    let small = TransportConfig {
        peer_stream_window_bytes: 64 << 10,
        peer_inbound_bulk_bytes: 256 << 10,
        ..config()
    };
    let streams = small.bulk_streams as u64;
    let peers = peer_list(2);
    let (mut zero, mut one) = (bind(&peers, 0, small.clone()), bind(&peers, 1, small));
    connected(&mut zero, 1).await;
    connected(&mut one, 0).await;
    let flood = Bytes::from(vec![1; 1 << 20]);
    for _ in 0..32 {
        zero.send(1, Class::Bulk, flood.clone()).unwrap();
    }
    // From here on `one` takes nothing. One frame of each stream is more than may wait for it, so each stream stops.
    let received = async |count: u64| {
        while one.counters().frames_received < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HANG, received(streams))
        .await
        .expect("each bulk stream hands over a frame");
    // Control, more of it than a window that bulk had left nothing of would let pass.
    for _ in 0..200 {
        zero.send(1, Class::Control, vec![7; 1_000]).unwrap();
    }
    tokio::time::timeout(HANG, received(streams + 200))
        .await
        .expect("control passes");
    assert!(
        zero.queued_bytes(1, Class::Bulk) > 0,
        "bulk must be waiting, or this shows nothing"
    );
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let peers = peer_list(2);
    let _holder = bind(&peers, 0, config());
    let again = PeerEndpoint::bind(peers[0].addr, identity(1), config(), peers.clone(), 0);
    match again {
        Err(BindError::AddressInUse { addr }) => assert_eq!(addr, peers[0].addr),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two sockets on one port"),
    }
}

#[tokio::test]
async fn shutdown_is_told() {
    let peers = peer_list(2);
    let (mut zero, mut one) = (bind(&peers, 0, config()), bind(&peers, 1, config()));
    connected(&mut zero, 1).await;
    connected(&mut one, 0).await;
    zero.shutdown().await;
    let end = peer_event(&mut one, |event| match event {
        PeerEvent::Disconnected { reason, .. } => Some(*reason),
        _ => None,
    })
    .await;
    assert_eq!((end.reason, end.by), (CloseReason::Shutdown, ClosedBy::Remote));
}

/// Carries datagrams between the dialler and the acceptor. Once cut, it never again carries those of connections that it
/// has seen: they are told by the connection ids in their short headers.
async fn relay(front: tokio::net::UdpSocket, to: std::net::SocketAddr, cut: Arc<AtomicBool>) {
    let back = tokio::net::UdpSocket::bind(LOOPBACK).await.unwrap();
    let (mut known, mut dialler) = (BTreeSet::new(), None);
    let (mut outward, mut inward) = (vec![0; 65_536], vec![0; 65_536]);
    let mut carried = |datagram: &[u8]| {
        let short = datagram[0] & 0x80 == 0;
        let id = datagram.get(1..9).unwrap_or_default().to_vec();
        match (short, cut.load(Ordering::SeqCst)) {
            (true, false) => {
                known.insert(id);
                true
            }
            (true, true) => !known.contains(&id),
            (false, _) => true,
        }
    };
    loop {
        tokio::select! {
            received = front.recv_from(&mut outward) => {
                let (length, from) = received.unwrap();
                dialler = Some(from);
                if carried(&outward[..length]) {
                    back.send_to(&outward[..length], to).await.unwrap();
                }
            }
            received = back.recv_from(&mut inward) => {
                let (length, _) = received.unwrap();
                if carried(&inward[..length]) {
                    front.send_to(&inward[..length], dialler.unwrap()).await.unwrap();
                }
            }
        }
    }
}

#[tokio::test]
async fn a_silent_link_is_replaced_long_before_it_times_out() {
    let config = TransportConfig {
        keep_alive_ms: 100,
        idle_timeout_ms: 10 * u32::try_from(HANG.as_millis()).unwrap(),
        ..config()
    };
    let peers = peer_list(2);
    let front = tokio::net::UdpSocket::bind(LOOPBACK).await.unwrap();
    let mut seen_by_zero = peers.clone();
    seen_by_zero[1].addr = front.local_addr().unwrap();
    let cut = Arc::new(AtomicBool::new(false));
    tokio::spawn(relay(front, peers[1].addr, cut.clone()));
    let mut one = bind(&peers, 1, config.clone());
    let mut zero = bind(&seen_by_zero, 0, config);
    connected(&mut zero, 1).await;
    connected(&mut one, 0).await;
    cut.store(true, Ordering::SeqCst);
    connected(&mut zero, 1).await;
    connected(&mut one, 0).await;
    zero.send(1, Class::Control, Bytes::from_static(b"again")).unwrap();
    let bytes = peer_event(&mut one, |event| match event {
        PeerEvent::Frame { bytes, .. } => Some(bytes.clone()),
        _ => None,
    });
    assert_eq!(bytes.await, "again");
}
