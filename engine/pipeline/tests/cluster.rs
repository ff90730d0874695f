//! Four replicas in one process: requests are ordered, executed equally everywhere, answered, and survive restarts.

mod support;

use std::collections::BTreeSet;

use support::{Bench, IDENTITIES, ask, block_on};
use trireme_client::Client;
use trireme_config::ClientAuth;
use trireme_state::kv::Op;

/// Submits `count` writes of each identity, alone or in bundles, and waits for all results.
async fn write(client: &Client, count: usize, bundle: usize) {
    let mut submissions = Vec::new();
    for identity in 0..IDENTITIES {
        let client = client.identity(identity);
        for first in (0..count).step_by(bundle) {
            let payloads: Vec<_> = (first..(first + bundle).min(count))
                .map(|i| {
                    Op::Put {
                        key: format!("{identity}/{i}").as_bytes(),
                        value: b"value",
                    }
                    .encode()
                })
                .collect();
            submissions.push(client.submit_bundle(&payloads));
        }
    }
    for submission in submissions {
        for result in submission.await.expect("taken in") {
            result.expect("accepted");
        }
    }
}

fn fresh(bench: &Bench, member: usize) -> Vec<(u64, [u8; 32], u64)> {
    let items = bench.seen[member].items();
    items
        .iter()
        .filter(|item| !item.duplicate)
        .map(|item| (item.slot, item.client.0, item.number))
        .collect()
}

/// Every request was executed once, and in the same order everywhere.
fn compare_streams(bench: &Bench, members: &[usize], requests: usize) {
    let first = fresh(bench, members[0]);
    let distinct: BTreeSet<_> = first.iter().map(|(_, client, number)| (client, number)).collect();
    assert_eq!(distinct.len(), first.len(), "a request was executed twice");
    assert_eq!(first.len(), requests);
    for member in members {
        assert_eq!(fresh(bench, *member), first, "member {member} executed something else");
    }
}

#[test]
fn four_replicas_agree_and_one_that_restarts_catches_up() {
    let mut bench = Bench::new(&["1", "2", "4", "1"], ClientAuth::Signed);
    bench.start_all();
    let per_identity = IDENTITIES as usize;
    let (slot, root) = block_on(async {
        let client = bench.client().await;
        write(&client, 20, 1).await;
        write(&client, 100, 8).await;
        bench.common_root(&[0, 1, 2, 3], 1).await
    });
    compare_streams(&bench, &[0, 1, 2, 3], 120 * per_identity);

    // One is away while the others go on, and comes back from its log.
    bench.stop(3);
    block_on(async {
        let client = bench.client().await;
        write(&client, 30, 1).await;
    });
    bench.start(3);
    let (later, other) = block_on(async {
        let client = bench.client().await;
        write(&client, 10, 1).await;
        bench.common_root(&[0, 1, 2, 3], slot + 1).await
    });
    assert!(later > slot && other != root, "the state went on");
    compare_streams(&bench, &[0, 1, 2, 3], 160 * per_identity);

    // All are away at once; what was committed is still there.
    (0..4).for_each(|member| bench.stop(member));
    bench.start_all();
    block_on(async {
        let client = bench.client().await;
        write(&client, 5, 1).await;
        bench.common_root(&[0, 1, 2, 3], later + 1).await
    });
    compare_streams(&bench, &[0, 1, 2, 3], 165 * per_identity);
    (0..4).for_each(|member| bench.stop(member));
}

#[test]
fn without_client_signatures_requests_are_ordered_all_the_same() {
    let mut bench = Bench::new(&["1", "1", "1", "1"], ClientAuth::None);
    bench.start_all();
    block_on(async {
        let client = bench.client().await;
        write(&client, 50, 4).await;
        bench.common_root(&[0, 1, 2, 3], 1).await;
        let status = ask(&mut bench.status_link(0).await).await;
        assert_eq!(status["client_signatures"]["verified"], 0);
        assert_eq!(status["ready"], true);
        assert_eq!(status["alarms"], 0);
        assert_eq!(status["evidence"], 0);
    });
}
