//! Checkpoints become snapshots; a replica restarts from its own, a wiped one from those of the others, and a backup is
//! checked without a replica.

mod support;

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde_json::Value;
use support::{Bench, ask, block_on};
use trireme_client::Client;
use trireme_config::ClientAuth;
use trireme_pipeline::snapshots::{self, QUARANTINE_MARKER, SnapshotError};
use trireme_state::kv::Op;

/// Writes one after the other, so that each has slots of its own.
async fn write(client: &Client, from: usize, count: usize) {
    for i in from..from + count {
        let (key, value) = (format!("key-{i}"), vec![b'v'; 500]);
        let op = Op::Put {
            key: key.as_bytes(),
            value: &value,
        };
        client.identity(0).submit(op.encode()).await.expect("accepted");
    }
}

/// Waits until a member's status satisfies `reached`.
async fn wait(bench: &Bench, member: u16, reached: impl Fn(&Value) -> bool) -> Value {
    let mut link = bench.status_link(member).await;
    loop {
        let status = ask(&mut link).await;
        if reached(&status) {
            return status;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn newest(status: &Value) -> u64 {
    status["snapshots"]["newest_slot"].as_u64().unwrap_or(0)
}

fn files(bench: &Bench, member: usize) -> Vec<PathBuf> {
    let dir = bench.configs[member].data_dir.join("snapshots");
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn bench() -> Bench {
    let mut bench = Bench::new(&["1", "2", "4", "1"], ClientAuth::Signed);
    let params = &mut bench.cluster.params;
    (params.checkpoint_slots, params.log_window) = (8, 32);
    bench
}

#[test]
fn a_wiped_replica_fetches_the_state_and_restarts_go_on_from_snapshots() {
    let mut bench = bench();
    bench.start_all();
    let kept = block_on(async {
        let client = bench.client().await;
        write(&client, 0, 30).await;
        for member in 0..4 {
            wait(&bench, member, |status| newest(status) >= 16).await;
        }
        bench.common_root(&[0, 1, 2, 3], 1).await
    });
    assert!(
        files(&bench, 1).len() <= 3,
        "two snapshots and what is being written: {:?}",
        files(&bench, 1)
    );

    // One loses its disk while the others go far ahead.
    bench.stop(3);
    std::fs::remove_dir_all(&bench.configs[3].data_dir).unwrap();
    block_on(async {
        let client = bench.client().await;
        write(&client, 30, 60).await;
        wait(&bench, 0, |status| newest(status) > kept.0 + 40).await;
    });
    bench.start(3);
    let (slot, root) = block_on(async {
        let status = wait(&bench, 3, |status| status["execution"]["installed"] == 1).await;
        assert!(newest(&status) > kept.0, "{status}");
        assert_eq!(status["snapshots"]["peers_dropped"], serde_json::json!([]));
        bench.common_root(&[0, 1, 2, 3], kept.0 + 1).await
    });
    assert_ne!(root, kept.1);

    // A restart starts from the newest snapshot, or from the one before if that is damaged.
    bench.stop(1);
    let newest_file = files(&bench, 1).pop().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&newest_file).unwrap();
    file.write_all_at(&[0xff; 8], 200).unwrap();
    assert!(snapshots::verify(&newest_file, &bench.cluster).is_err());
    bench.start(1);
    bench.stop(3);
    bench.start(3);
    block_on(async {
        let client = bench.client().await;
        write(&client, 90, 3).await;
        let (later, _) = bench.common_root(&[0, 1, 2, 3], slot + 1).await;
        let status = wait(&bench, 3, |_| true).await;
        // Slots below the snapshot were not executed again.
        assert!(status["execution"]["slots"].as_u64().unwrap() < later - 20, "{status}");
    });
    (0..4).for_each(|member| bench.stop(member));
}

#[test]
fn a_backup_is_checked_and_restored_without_a_replica() {
    let mut bench = bench();
    bench.start_all();
    block_on(async {
        let client = bench.client().await;
        write(&client, 0, 12).await;
        wait(&bench, 2, |status| newest(status) >= 8).await;
    });
    let data_dir = bench.configs[2].data_dir.clone();
    let out = data_dir.with_extension("backup");
    // The replica runs on.
    let taken = snapshots::backup(&data_dir, &out, &bench.cluster).unwrap();
    (0..4).for_each(|member| bench.stop(member));
    assert_eq!(snapshots::verify(&out, &bench.cluster).unwrap(), taken);
    assert!(
        taken.slot >= 8 && taken.entries > 0 && taken.signers.len() >= 3,
        "{taken:?}"
    );
    assert!(matches!(
        snapshots::backup(&data_dir, &out, &bench.cluster),
        Err(SnapshotError::InTheWay { .. })
    ));

    // Not into a directory with data, but into an empty one, and never without the marker.
    let refused = snapshots::restore(&out, &data_dir, &bench.cluster);
    assert!(matches!(refused, Err(SnapshotError::InTheWay { .. })), "{refused:?}");
    let fresh = data_dir.with_extension("restored");
    assert_eq!(snapshots::restore(&out, &fresh, &bench.cluster).unwrap(), taken);
    let mark = std::fs::read_to_string(fresh.join(QUARANTINE_MARKER)).unwrap();
    assert!(mark.ends_with("\nrestored\n"), "{mark}");
    let again = fresh.with_extension("again");
    assert_eq!(snapshots::backup(&fresh, &again, &bench.cluster).unwrap(), taken);

    // Another cluster's, a changed byte anywhere, a cut.
    let mut other = bench.cluster.clone();
    other.salt.0[0] ^= 1;
    assert!(matches!(
        snapshots::verify(&out, &other),
        Err(SnapshotError::Foreign { .. })
    ));
    let bytes = std::fs::read(&out).unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 97 + 1) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        std::fs::write(&again, &changed).unwrap();
        assert!(
            snapshots::verify(&again, &bench.cluster).is_err(),
            "byte {at} of {}",
            bytes.len()
        );
    }
    std::fs::write(&again, &bytes[..bytes.len() / 2]).unwrap();
    assert!(snapshots::verify(&again, &bench.cluster).is_err());
}
