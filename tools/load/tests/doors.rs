//! The load over real connections, against a stand-in for a cluster.

#[path = "../../../engine/client/tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use support::{Doors, Manner, keys};
use trireme_client::ClientKeys;
use trireme_config::{AppKind, ClientAuth};
use trireme_load::{
    Aim, Arrivals, LoadError, LoadOptions, Mix, Operation, Rate, Recording, Sizes, Start, Stop, Workload, run_blocking,
};

fn aim<'a>(doors: &'a Doors, keys: &'a ClientKeys) -> Aim<'a> {
    Aim::Trireme {
        cluster: &doors.cluster,
        keys,
    }
}

fn options() -> LoadOptions {
    LoadOptions {
        duration: Duration::from_millis(1_200),
        warm_up: Duration::from_millis(200),
        drain: Duration::from_secs(30),
        give_up: Duration::from_secs(30),
        clients: 4,
        workload: Workload {
            keys: 100,
            ..Workload::default()
        },
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
    let report = run_blocking(aim(&doors, &keys(4)), &options, &Stop::default(), None, |second| {
        seconds.push(second)
    })
    .unwrap();
    let summary = &report.record.summary;
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
        arrivals: Arrivals::Constant,
        app: AppKind::Null,
        bundle: 8,
        recording: Recording::File(directory.path().join("acknowledged")),
        ..options()
    };
    let report = run_blocking(aim(&doors, &keys(4)), &options, &Stop::default(), None, |_| {}).unwrap();
    let summary = &report.record.summary;
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
    let report = run_blocking(aim(&doors, &keys(4)), &options, &Stop::default(), None, |_| {
        if std::mem::take(&mut first) {
            doors.set(1, Manner::Closed);
            doors.set(2, Manner::Full);
        }
    })
    .unwrap();
    let summary = &report.record.summary;
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
    let mute = run_blocking(aim(&doors, &keys(4)), &options, &Stop::default(), None, |_| {
        (0..4).for_each(|door| doors.set(door, Manner::Mute));
    })
    .unwrap();
    assert_eq!((mute.record.summary.unknown, mute.record.summary.failed), (32, 0));
    (0..4).for_each(|door| doors.set(door, Manner::Full));
    let options = LoadOptions {
        rate: Rate::PerSecond(500.0),
        ..options
    };
    let full = run_blocking(aim(&doors, &keys(4)), &options, &Stop::default(), None, |_| {}).unwrap();
    assert_eq!((full.record.summary.acknowledged, full.record.summary.unknown), (0, 0));
    assert_eq!(
        full.record.summary.failures.get("overloaded"),
        Some(&full.record.summary.failed)
    );
    assert!(full.record.summary.failed > 500, "{:?}", full.record.summary);
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
    let report = run_blocking(aim(&doors, &keys(4)), &options, &stop, None, |_| stop.stop()).unwrap();
    assert!(report.record.summary.measured_s < 60.0 && report.record.summary.acknowledged > 0);
    let many = LoadOptions {
        clients: 5,
        ..options.clone()
    };
    let refused = run_blocking(aim(&doors, &keys(4)), &many, &stop, None, |_| {}).err();
    assert!(matches!(refused, Some(LoadError::Clients { wanted: 5, have: 4 })));
    let never = LoadOptions {
        rate: Rate::PerSecond(-1.0),
        ..options
    };
    assert!(matches!(
        run_blocking(aim(&doors, &keys(4)), &never, &stop, None, |_| {}),
        Err(LoadError::Options(_))
    ));
}

#[test]
fn a_mixed_load_fills_its_store_and_tells_its_operations_apart() {
    let doors = Doors::open(AppKind::Kv, ClientAuth::Signed);
    let workload = Workload {
        mix: Mix::of(&[
            (Operation::Read, 2.0),
            (Operation::Insert, 1.0),
            (Operation::ReadModifyWrite, 1.0),
        ]),
        keys: 300,
        distribution: "latest".parse().unwrap(),
        value: Sizes::Uniform { min: 10, max: 90 },
        fill: true,
        ..Workload::default()
    };
    let options = LoadOptions {
        rate: Rate::PerSecond(500.0),
        bundle: 4,
        workload,
        ..options()
    };
    let report = run_blocking(aim(&doors, &keys(4)), &options, &Stop::default(), None, |_| {}).unwrap();
    let (record, summary) = (&report.record, &report.record.summary);
    let counts: Vec<u64> = record.operations.values().map(|figures| figures.count).collect();
    assert_eq!(counts.iter().sum::<u64>(), record.latencies.0.len());
    assert!(
        counts.len() == 3 && counts.iter().all(|count| *count > 50),
        "{counts:?}"
    );
    let in_seconds: u64 = record.seconds.iter().map(|second| second.latencies.0.len()).sum();
    assert_eq!(
        in_seconds,
        record.latencies.0.len(),
        "every second's latencies are in the total"
    );
    // 300 keys, a request for each operation, and one more for each read-modify-write.
    assert!(
        summary.acknowledged > 300 + 500 && summary.failed + summary.unknown == 0,
        "{summary:?}"
    );
    assert_eq!(
        (summary.without_effect, summary.not_found),
        (0, 0),
        "every key was written before it was read"
    );
    let read_modify_write = &record.operations[&Operation::ReadModifyWrite];
    assert!(read_modify_write.latency_us.p50 > record.operations[&Operation::Read].latency_us.p50);
}

#[test]
fn parts_begin_when_they_are_told_to() {
    let doors = Doors::open(AppKind::Kv, ClientAuth::Signed);
    let (tell, at) = tokio::sync::oneshot::channel();
    let begin = std::time::SystemTime::now() + Duration::from_millis(1_500);
    let start = Start {
        ready: Box::new(move || tell.send(begin).unwrap()),
        at,
    };
    let options = LoadOptions {
        part: 1,
        parts: 2,
        first_client: 2,
        clients: 2,
        rate: Rate::PerSecond(100.0),
        ..options()
    };
    let report = run_blocking(aim(&doors, &keys(4)), &options, &Stop::default(), Some(start), |_| {}).unwrap();
    // The record counts in microseconds.
    let late = (begin + options.warm_up)
        .duration_since(report.record.started())
        .unwrap();
    assert!(late < Duration::from_micros(1), "{late:?}");
    let rows = report.acknowledged.rows().unwrap();
    let clients: BTreeSet<u32> = rows.iter().map(|row| row.client).collect();
    assert_eq!(clients, BTreeSet::from([2, 3]), "by their places in the keys");
    let (_, never) = tokio::sync::oneshot::channel();
    let called_off = Start {
        ready: Box::new(|| {}),
        at: never,
    };
    let end = run_blocking(
        aim(&doors, &keys(4)),
        &options,
        &Stop::default(),
        Some(called_off),
        |_| {},
    );
    assert!(matches!(end, Err(LoadError::NoStart)));
}
