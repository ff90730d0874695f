//! What goes wrong at the start, or on the way, has a message of its own, and a replica that can stay up does.

mod support;

use support::{Bench, ask, block_on};
use trireme_client::{Refusal, SubmitError};
use trireme_config::{ClientAuth, Durability};
use trireme_state::kv::Op;

const PLANS: [&str; 4] = ["1"; 4];

#[test]
fn what_prevents_a_start_says_so() {
    let mut bench = Bench::new(&PLANS, ClientAuth::Signed);
    bench.configs[1].core_plan = "5".to_owned();
    assert!(bench.refusal(1).contains("plans are"), "{}", bench.refusal(1));
    bench.configs[1].core_plan = "1".to_owned();

    bench.configs[1].member = 9;
    assert!(
        bench.refusal(1).contains("member = 9 is not in the cluster file"),
        "{}",
        bench.refusal(1)
    );
    bench.configs[1].member = 2;
    assert!(
        bench.refusal(1).contains("vote key of the key file"),
        "{}",
        bench.refusal(1)
    );
    bench.configs[1].member = 1;

    bench.start(0);
    let taken = bench.configs[0].clone();
    let mut own = std::mem::replace(&mut bench.configs[1], taken.clone());
    bench.configs[1].member = 1;
    assert!(
        bench.refusal(1).contains("in use by another process"),
        "{}",
        bench.refusal(1)
    );

    own.data_dir = taken.data_dir.clone();
    bench.configs[1] = own.clone();
    assert!(
        bench.refusal(1).contains("in use by another process"),
        "locked: {}",
        bench.refusal(1)
    );
    bench.stop(0);
    assert!(
        bench.refusal(1).contains("another cluster or member"),
        "{}",
        bench.refusal(1)
    );

    if std::path::Path::new("/dev/shm").is_dir() {
        bench.configs[1].data_dir = "/dev/shm/trireme-not-durable".into();
        bench.configs[1].durability = Durability::Sync;
        assert!(bench.refusal(1).contains("lives in memory"), "{}", bench.refusal(1));
    }
}

#[test]
fn a_replica_with_a_full_log_refuses_requests_and_stays_up() {
    let mut bench = Bench::new(&PLANS, ClientAuth::Signed);
    for config in &mut bench.configs {
        config.log.max_log_bytes = 2 * config.log.segment_bytes;
    }
    bench.start_all();
    block_on(async {
        let client = bench.client().await;
        let value = vec![7; 32 << 10];
        let refusal = loop {
            let payload = Op::Put {
                key: b"key",
                value: &value,
            }
            .encode();
            if let Err(error) = client.submit(payload).await {
                break error;
            }
        };
        // The logs do not fill up at the same request: one that two others have no room to acknowledge is not refused
        // by whom it was sent to, only left without an answer.
        assert!(
            matches!(refusal, SubmitError::Refused(Refusal::LogFull) | SubmitError::TimedOut),
            "{refusal}"
        );
        let mut full = 0;
        for member in 0..4 {
            let status = ask(&mut bench.status_link(member).await).await;
            assert_eq!(status["alarms"], 0);
            full += u32::from(status["clients"]["refused"]["log_full"].as_u64() > Some(0));
        }
        assert!(full >= 2, "{full} replicas refused for a full log");
        bench.common_root(&[0, 1, 2, 3], 1).await;
    });
    (0..4).for_each(|member| bench.stop(member));
}
