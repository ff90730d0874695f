//! The client over real connections.

mod support;

use std::time::Duration;

use support::{Doors, Manner, keys};
use trireme_client::{Client, ConnectError, Options, Route, SubmitError, status};
use trireme_config::{AppKind, ClientAuth, Cluster};

fn options() -> Options {
    Options {
        retry_floor_us: 50_000,
        give_up_us: 20_000_000,
        route: Route::Spread,
        ..Options::default()
    }
}

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn requests_bundles_and_identities() {
    let doors = Doors::open(AppKind::Null, ClientAuth::Signed);
    run(async {
        let client = Client::connect(&doors.cluster, &keys(3), options()).await.unwrap();
        let accepted = client.submit(b"hello").await.unwrap();
        assert_eq!(&accepted.result[..], b"ok");
        let other = client.identity(2);
        let payloads: Vec<Vec<u8>> = (0..64u8).map(|index| vec![index; 512]).collect();
        let results = other.submit_bundle(&payloads).await.unwrap();
        assert!(results.len() == 64 && results.iter().all(Result::is_ok));
        assert_ne!(client.id(), other.id());
        // Many at once, some of which nobody waits for.
        let waiting: Vec<_> = (0..500).map(|index: u32| client.submit(index.to_le_bytes())).collect();
        for (index, submission) in waiting.into_iter().enumerate() {
            if index % 3 > 0 {
                submission.await.unwrap();
            }
        }
        assert!(client.submit_bundle(&vec![b"x"; 2_000]).await.is_err());
        assert_eq!(&client.read_ordered(b"question").await.unwrap().result[..], b"ok");
        client.close();
        assert_eq!(client.submit(b"late").await, Err(SubmitError::Closed));
    });
}

#[test]
fn mute_full_and_closed_doors_are_left_for_others() {
    for manner in [Manner::Mute, Manner::Full, Manner::Closed] {
        let doors = Doors::open(AppKind::Null, ClientAuth::Signed);
        run(async {
            let client = Client::connect(&doors.cluster, &keys(1), options()).await.unwrap();
            client.submit(b"before").await.unwrap();
            doors.set(usize::from(client.home()), manner);
            for _ in 0..20 {
                client.submit(b"after").await.unwrap();
            }
        });
    }
}

#[test]
fn overloaded_is_told_apart_from_silence() {
    let doors = Doors::open(AppKind::Null, ClientAuth::None);
    run(async {
        let options = Options {
            give_up_us: 500_000,
            ..options()
        };
        let client = Client::connect(&doors.cluster, &keys(1), options).await.unwrap();
        (0..4).for_each(|door| doors.set(door, Manner::Full));
        assert_eq!(client.submit(b"full").await, Err(SubmitError::Overloaded));
        (0..4).for_each(|door| doors.set(door, Manner::Mute));
        assert_eq!(client.submit(b"mute").await, Err(SubmitError::TimedOut));
    });
}

#[test]
fn a_status_is_asked_and_answered() {
    let doors = Doors::open(AppKind::Null, ClientAuth::Signed);
    run(async {
        let json = status::query(&doors.cluster, &keys(1), 2, Duration::from_secs(10))
            .await
            .unwrap();
        assert_eq!(json, "{\"member\":2}");
        let none = status::query(&doors.cluster, &keys(1), 4, Duration::from_secs(10)).await;
        assert!(matches!(none, Err(status::StatusError::NoSuchReplica { member: 4 })));
    });
}

#[test]
fn the_wrong_cluster_and_no_cluster_are_told_apart() {
    let doors = Doors::open(AppKind::Null, ClientAuth::Signed);
    run(async {
        let other = Cluster {
            name: "other".to_owned(),
            ..doors.cluster.clone()
        };
        let refused = Client::connect(&other, &keys(1), options()).await.err();
        assert!(matches!(refused, Some(ConnectError::Refused { .. })), "{refused:?}");
        let mut gone = doors.cluster.clone();
        for member in &mut gone.members {
            // Bound and closed again: nobody listens there.
            member.client_address = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        }
        let options = Options {
            connect_timeout_us: 300_000,
            ..options()
        };
        let unreachable = Client::connect(&gone, &keys(1), options).await.err();
        assert!(matches!(
            unreachable,
            Some(ConnectError::Unreachable {
                connected: 0,
                needed: 2,
                ..
            })
        ));
    });
}
