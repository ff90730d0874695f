//! The load over real connections, against a stand-in for a cluster.

#[path = "../../../engine/client/tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use support::{Doors, Manner, keys};
use trireme_config::{AppKind, ClientAuth};
use trireme_load::{Arrivals, LoadError, LoadOptions, Rate, Recording, Stop, run_blocking};

fn options() -> LoadOptions {
    LoadOptions {
        duration: Duration::from_millis(1_200),
        warm_up: Duration::from_millis(200),
        drain: Duration::from_secs(30),
        give_up: Duration::from_secs(30),
        clients: 4,
        keys: 100,
        ..LoadOptions::default()
    }
}

#[test]
fn a_closed_loop_keeps_its_depth_and_records_what_was_acknowledged() {
    let doors = Doors::open(AppKind::Kv, ClientAuth::Signed);
    let options = LoadOptions {
        in_flight: Some(64),
        bundle: 4,
        ..options()
    };
    let mut seconds = Vec::new();
    let report = run_blocking(&doors.cluster, &keys(4), &options, &Stop::default(), |second| {
        seconds.push(*second)
    })
    .unwrap();
    let summary = &report.summary;
    assert!(
        summary.acknowledged > 0 && summary.acknowledged == summary.submitted,
        "{summary:?}"
    );
    assert_eq!((summary.failed, summary.unknown, summary.without_effect), (0, 0, 0));
    assert!(summary.throughput_ops_s > 0.0 && summary.latency_us.p50 > 0.0 && summary.client_cpu_us_per_op > 0.0);
    assert!(
        !seconds.is_empty()
            && seconds
                .iter()
                .all(|second| second.in_flight <= 64 && second.connected == 4)
    );
    let rows = report.acknowledged.rows().unwrap();
    let numbers: BTreeSet<_> = rows.iter().map(|row| (row.client, row.number)).collect();
    assert_eq!((rows.len() as u64, numbers.len()), (summary.acknowledged, rows.len()));
    assert_eq!(
        numbers.iter().map(|(client, _)| client).collect::<BTreeSet<_>>().len(),
        4,
        "every client took part"
    );
}

#[test]
fn an_open_loop_offers_its_schedule_whatever_the_cluster_does() {
    let doors = Doors::open(AppKind::Null, ClientAuth::None);
    let directory = tempfile::tempdir().unwrap();
    let options = LoadOptions {
        rate: Rate::PerSecond(1_000.0),
        arrivals: Arrivals::Fixed,
        app: AppKind::Null,
        bundle: 8,
        recording: Recording::File(directory.path().join("acknowledged")),
        ..options()
    };
    let report = run_blocking(&doors.cluster, &keys(4), &options, &Stop::default(), |_| {}).unwrap();
    let summary = &report.summary;
    assert_eq!(summary.submitted, 1_400, "200 ms of warm-up and 1,200 ms measured");
    assert_eq!((summary.acknowledged, summary.failed, summary.unknown), (1_400, 0, 0));
    assert!((summary.offered_ops_s - 1_000.0).abs() < 1.0, "{summary:?}");
    // The first of eight waited for the eighth.
    assert!(summary.latency_us.max >= 7_000.0, "{summary:?}");
    assert_eq!(report.acknowledged.rows().unwrap().len(), 1_400);
}

#[test]
fn nothing_is_lost_when_a_door_closes_under_load() {
    let doors = Doors::open(AppKind::Kv, ClientAuth::Signed);
    let options = LoadOptions {
        in_flight: Some(256),
        ..options()
    };
    let mut first = true;
    let report = run_blocking(&doors.cluster, &keys(4), &options, &Stop::default(), |_| {
        if std::mem::take(&mut first) {
            doors.set(1, Manner::Closed);
            doors.set(2, Manner::Full);
        }
    })
    .unwrap();
    let summary = &report.summary;
    assert!(!first, "the door was closed");
    assert_eq!(
        (summary.acknowledged, summary.failed, summary.unknown),
        (summary.submitted, 0, 0)
    );
    assert!(summary.retries + summary.refusals > 0 && summary.longest_gap_ms > 0.0);
}

#[test]
fn what_stays_unanswered_is_unknown_and_what_is_refused_has_failed() {
    let doors = Doors::open(AppKind::Kv, ClientAuth::None);
    let options = LoadOptions {
        drain: Duration::from_millis(100),
        in_flight: Some(32),
        ..options()
    };
    let mute = run_blocking(&doors.cluster, &keys(4), &options, &Stop::default(), |_| {
        (0..4).for_each(|door| doors.set(door, Manner::Mute));
    })
    .unwrap();
    assert_eq!((mute.summary.unknown, mute.summary.failed), (32, 0));
    (0..4).for_each(|door| doors.set(door, Manner::Full));
    let options = LoadOptions {
        rate: Rate::PerSecond(500.0),
        ..options
    };
    let full = run_blocking(&doors.cluster, &keys(4), &options, &Stop::default(), |_| {}).unwrap();
    assert_eq!((full.summary.acknowledged, full.summary.unknown), (0, 0));
    assert_eq!(full.summary.failures.get("overloaded"), Some(&full.summary.failed));
    assert!(full.summary.failed > 500, "{:?}", full.summary);
}

#[test]
fn a_run_can_be_stopped_and_nonsense_is_refused() {
    let doors = Doors::open(AppKind::Kv, ClientAuth::Signed);
    let stop = Stop::default();
    let options = LoadOptions {
        duration: Duration::from_secs(600),
        warm_up: Duration::ZERO,
        ..options()
    };
    let report = run_blocking(&doors.cluster, &keys(4), &options, &stop, |_| stop.stop()).unwrap();
    assert!(report.summary.measured_s < 60.0 && report.summary.acknowledged > 0);
    let many = LoadOptions {
        clients: 5,
        ..options.clone()
    };
    let refused = run_blocking(&doors.cluster, &keys(4), &many, &stop, |_| {}).err();
    assert!(matches!(refused, Some(LoadError::Clients { wanted: 5, have: 4 })));
    let never = LoadOptions {
        rate: Rate::PerSecond(-1.0),
        ..options
    };
    assert!(matches!(
        run_blocking(&doors.cluster, &keys(4), &never, &stop, |_| {}),
        Err(LoadError::Options(_))
    ));
}
