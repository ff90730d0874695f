//! Client links, over real sockets on loopback.

mod common;

use bytes::Bytes;
use common::*;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;
use trireme_transport::*;

fn trust(seeds: &[u8]) -> Trust {
    let keys = seeds.iter().map(|&seed| (identity(seed).public(), u32::from(seed)));
    Trust::Pinned(keys.collect::<BTreeMap<_, _>>())
}

fn listener(config: TransportConfig, trust: Trust) -> ClientListener {
    ClientListener::bind(LOOPBACK, identity(1), config, trust).unwrap()
}

async fn dial(listener: &ClientListener, seed: u8) -> Result<Connection, ConnectError> {
    let server = identity(1).public();
    Connection::connect(listener.local_addr(), identity(seed), server, config()).await
}

async fn arrived(listener: &mut ClientListener) -> (ConnId, [u8; 32]) {
    client_event(listener, |event| match event {
        ClientEvent::Connected { conn, key } => Some((*conn, *key)),
        _ => None,
    })
    .await
}

async fn closed(listener: &mut ClientListener, of: ConnId) -> Disconnect {
    client_event(listener, |event| match event {
        ClientEvent::Closed { conn, reason } if *conn == of => Some(*reason),
        _ => None,
    })
    .await
}

async fn frame(listener: &mut ClientListener) -> (ConnId, Bytes) {
    client_event(listener, |event| match event {
        ClientEvent::Frame { conn, bytes } => Some((*conn, bytes.clone())),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn requests_and_replies_pass_under_the_proven_key() {
    let mut listener = listener(config(), trust(&[20]));
    let (send, mut receive) = dial(&listener, 20).await.unwrap().split();
    let (conn, key) = arrived(&mut listener).await;
    assert_eq!(key, identity(20).public());
    for length in [1, 100, 5_000, 200_000] {
        send.send(vec![length as u8; length]).unwrap();
        let (from, bytes) = frame(&mut listener).await;
        assert_eq!((from, bytes.len()), (conn, length));
        listener.send(conn, bytes).unwrap();
        assert_eq!(receive.recv().await.unwrap(), vec![length as u8; length]);
    }
    assert!(send.rtt() > std::time::Duration::ZERO);
    drop((send, receive));
    let end = closed(&mut listener, conn).await;
    assert_eq!((end.reason, end.by), (CloseReason::Shutdown, ClosedBy::Remote));
    assert_eq!(listener.client_count(), 0);
}

#[tokio::test]
async fn an_unknown_key_is_refused_and_an_open_door_takes_any() {
    let closed_door = listener(config(), trust(&[20]));
    match dial(&closed_door, 21).await.err() {
        Some(ConnectError::Refused { end, .. }) => {
            assert_eq!((end.reason, end.by), (CloseReason::UnknownKey, ClosedBy::Remote));
        }
        other => panic!("{other:?}"),
    }
    let counts = closed_door.counters();
    assert_eq!(counts.closed(ClosedBy::Local, CloseReason::UnknownKey), 1);
    let open_door = listener(config(), Trust::Open);
    dial(&open_door, 21).await.unwrap();
}

#[tokio::test]
async fn a_server_with_another_key_is_refused() {
    let listener = listener(config(), trust(&[20]));
    let wrong = identity(2).public();
    let made = Connection::connect(listener.local_addr(), identity(20), wrong, config()).await;
    assert!(matches!(made.err(), Some(ConnectError::WrongServerKey { .. })));
}

#[tokio::test]
async fn another_cluster_is_refused() {
    let mut other = config();
    other.cluster = [1; 32];
    let listener = listener(other, trust(&[20]));
    match dial(&listener, 20).await.err() {
        Some(ConnectError::Refused { end, .. }) => {
            assert_eq!(end.reason, CloseReason::WrongCluster);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_and_others_are_not() {
    let small = TransportConfig {
        client_stream_window_bytes: 64 << 10,
        client_outbound_bytes: 1 << 20,
        ..config()
    };
    let mut listener = listener(small, trust(&[20, 21]));
    let (good, mut good_replies) = dial(&listener, 20).await.unwrap().split();
    let (good_conn, _) = arrived(&mut listener).await;
    let (_send, _never_read) = dial(&listener, 21).await.unwrap().split();
    let (slow, _) = arrived(&mut listener).await;
    let reply = Bytes::from(vec![3; 100_000]);
    let mut sent = 0;
    loop {
        match listener.send(slow, reply.clone()) {
            Ok(()) => sent += reply.len(),
            Err(SendError::Full) => break,
            Err(other) => panic!("{other}"),
        }
        // What the client has granted and never read stays bounded.
        assert!(
            sent < 16 << 20,
            "the queue of a client that never reads grew without bound"
        );
        tokio::task::yield_now().await;
    }
    let end = closed(&mut listener, slow).await;
    assert_eq!((end.reason, end.by), (CloseReason::SlowReader, ClosedBy::Local));
    good.send(vec![1]).unwrap();
    assert_eq!(frame(&mut listener).await.0, good_conn);
    listener.send(good_conn, vec![2]).unwrap();
    assert_eq!(good_replies.recv().await.unwrap(), vec![2]);
}

#[tokio::test]
async fn a_paused_client_is_pushed_back_and_goes_on_after_resume() {
    let small = TransportConfig {
        client_stream_window_bytes: 64 << 10,
        client_inbound_bytes: 64 << 10,
        ..config()
    };
    let mut listener = listener(small, trust(&[20]));
    let (send, _receive) = dial(&listener, 20).await.unwrap().split();
    let (conn, _) = arrived(&mut listener).await;
    listener.pause(conn);
    let mut sent = 0;
    while send.send(vec![7; 50_000]).is_ok() {
        sent += 1;
        tokio::task::yield_now().await;
    }
    // The client's own queue is full: nothing moves, and what arrived here is bounded by window and queue.
    let mut got = 0;
    while let Some(event) = listener.try_recv() {
        got += usize::from(matches!(event, ClientEvent::Frame { .. }));
    }
    assert!(got < 10, "{got} frames were read of a paused client");
    listener.resume(conn);
    while got < sent {
        frame(&mut listener).await;
        got += 1;
    }
}

#[tokio::test]
async fn a_sender_may_wait_for_room() {
    let mut listener = listener(config(), trust(&[20]));
    let (send, _receive) = dial(&listener, 20).await.unwrap().split();
    let sender = tokio::spawn(async move {
        for count in 0..100u8 {
            send.send_wait(vec![count; 500_000]).await.unwrap();
        }
        send
    });
    for count in 0..100u8 {
        let (_, bytes) = frame(&mut listener).await;
        assert_eq!((bytes.len(), bytes[0]), (500_000, count));
    }
    sender.await.unwrap();
}

#[tokio::test]
async fn quotas_hold_for_each_key_and_for_all() {
    let few = TransportConfig {
        max_connections_per_key: 2,
        max_clients: 3,
        ..config()
    };
    let mut listener = listener(few, trust(&[20, 21, 22]));
    let mut held = Vec::new();
    for seed in [20, 20, 21] {
        held.push(dial(&listener, seed).await.unwrap());
        arrived(&mut listener).await;
    }
    let refusal = |made: Result<Connection, ConnectError>| match made.err() {
        Some(ConnectError::Refused { end, .. }) => end.reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(dial(&listener, 22).await), CloseReason::Overloaded);
    let last = held.pop();
    drop(last);
    client_event(&mut listener, |event| {
        matches!(event, ClientEvent::Closed { .. }).then_some(())
    })
    .await;
    let third = refusal(dial(&listener, 20).await);
    assert_eq!(third, CloseReason::TooManyConnections);
    dial(&listener, 22).await.unwrap();
}

#[tokio::test]
async fn a_closed_client_learns_why() {
    let mut listener = listener(config(), trust(&[20]));
    let (send, mut receive) = dial(&listener, 20).await.unwrap().split();
    let (conn, _) = arrived(&mut listener).await;
    listener.close(conn, CloseReason::Unexpected);
    let end = receive.recv().await.unwrap_err();
    assert_eq!((end.reason, end.by), (CloseReason::Unexpected, ClosedBy::Remote));
    assert_eq!(receive.recv().await.unwrap_err(), end);
    assert_eq!(send.send(vec![1]), Err(SendError::NotConnected));
    assert_eq!(listener.send(conn, vec![1]), Err(SendError::NotConnected));
}

#[tokio::test]
async fn one_socket_serves_many_connections() {
    let mut listener = listener(config(), trust(&[20]));
    let dialer = Dialer::bind(LOOPBACK, identity(20), config()).unwrap();
    let server = identity(1).public();
    let mut links = Vec::new();
    for _ in 0..5 {
        let made = dialer.connect(listener.local_addr(), server).await.unwrap();
        links.push((arrived(&mut listener).await.0, made.split()));
    }
    for (conn, (send, receive)) in &mut links {
        send.send(vec![4]).unwrap();
        assert_eq!(frame(&mut listener).await.0, *conn);
        listener.send(*conn, vec![5]).unwrap();
        let got = poll_fn(|cx| match receive.poll_recv(cx) {
            Poll::Ready(got) => Poll::Ready(got),
            Poll::Pending => Poll::Pending,
        })
        .await;
        assert_eq!(got.unwrap(), vec![5]);
    }
}
