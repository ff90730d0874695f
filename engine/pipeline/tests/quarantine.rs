//! R-QUARANTINE at real replicas: a log that is gone, damaged or older than it was, and the way back.

mod support;

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use support::{Bench, ask, block_on};
use trireme_config::ClientAuth;
use trireme_state::kv::Op;

const PLANS: [&str; 4] = ["1"; 4];
const LOSER: usize = 3;

fn submit(bench: &Bench, count: u32) {
    block_on(async {
        let client = bench.client().await;
        for i in 0..count {
            let key = i.to_le_bytes();
            let payload = Op::Put { key: &key, value: b"v" }.encode();
            client.submit(payload).await.unwrap();
        }
    });
}

/// Files of a member's log.
fn log_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let of_log = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("log.") || name.starts_with("segment-")
    };
    entries.filter(of_log).collect()
}

/// Runs a cluster, stops it, does something to a member's log, and starts that member before the others: it is
/// quarantined, and only the others can let it out.
fn comes_back(harm: impl FnOnce(&Path), cause: &str, put_aside: bool) {
    let mut bench = Bench::new(&PLANS, ClientAuth::Signed);
    bench.start_all();
    submit(&bench, 40);
    (0..4).for_each(|member| bench.stop(member));
    harm(&bench.configs[LOSER].data_dir);
    bench.start(LOSER);
    block_on(async {
        let status = ask(&mut bench.status_link(3).await).await;
        assert_eq!(status["quarantined"], true, "{status}");
        assert_eq!(status["ready"], false);
        assert_eq!(status["quarantine"]["cause"], cause);
        assert_eq!(status["quarantine"]["waits_for"], "answers of n-f members");
        assert_eq!(status["quarantine"]["answers_needed"], 3);
    });
    let aside = bench.configs[LOSER].data_dir.join("damaged-log-1");
    assert_eq!(aside.join("log.header").exists(), put_aside, "kept for examination");
    // A restart keeps it.
    bench.stop(LOSER);
    bench.start(LOSER);
    (0..LOSER).for_each(|member| bench.start(member));
    block_on(async {
        let mut link = bench.status_link(3).await;
        while ask(&mut link).await["quarantined"] == true {}
    });
    submit(&bench, 40);
    // It votes again: with one of the others gone its vote is the third of three.
    bench.stop(0);
    submit(&bench, 5);
    block_on(async {
        bench.common_root(&[1, 2, 3], 1).await;
        for member in 1..4 {
            let status = ask(&mut bench.status_link(member).await).await;
            assert_eq!((&status["alarms"], &status["evidence"]), (&0.into(), &0.into()));
        }
    });
    (1..4).for_each(|member| bench.stop(member));
}

#[test]
fn a_replica_that_lost_its_log_comes_back_through_quarantine() {
    let remove = |dir: &Path| {
        log_files(dir)
            .into_iter()
            .for_each(|file| fs::remove_file(file).unwrap())
    };
    comes_back(remove, "log missing", false);
}

#[test]
fn a_replica_with_damaged_votes_comes_back_through_quarantine_and_keeps_the_damaged_log() {
    let damage = |dir: &Path| {
        let segments = log_files(dir).into_iter();
        let first = segments.filter(|path| !path.ends_with("log.header")).min().unwrap();
        let mut file = fs::OpenOptions::new().write(true).open(first).unwrap();
        // From the first group on, which holds the reservation of the own lane: of batches alone a replica loses nothing.
        // 40 requests one after the other are 40 groups of a page at least, so that later ones say what was there.
        file.seek(SeekFrom::Start(4 << 10)).unwrap();
        file.write_all(&[0xA5; 64 << 10]).unwrap();
    };
    comes_back(damage, "log damaged", true);
}

#[test]
fn with_f_0_a_replica_without_its_log_does_not_start_and_says_what_can_be_done() {
    let mut bench = Bench::new(&PLANS[..1], ClientAuth::Signed);
    bench.start_all();
    submit(&bench, 5);
    bench.stop(0);
    let dir = bench.configs[0].data_dir.clone();
    let kept = dir.with_extension("kept");
    fs::create_dir(&kept).unwrap();
    let files = log_files(&dir);
    let to = |file: &PathBuf| kept.join(file.file_name().unwrap());
    files.iter().for_each(|file| fs::rename(file, to(file)).unwrap());
    for _ in 0..2 {
        let said = bench.refusal(0);
        assert!(
            said.contains("f = 0") && said.contains("log missing") && said.contains("Put the directory back"),
            "{said}"
        );
    }
    // It can be done.
    log_files(&dir)
        .into_iter()
        .for_each(|file| fs::remove_file(file).unwrap());
    files.iter().for_each(|file| fs::rename(to(file), file).unwrap());
    bench.start(0);
    submit(&bench, 5);
    bench.stop(0);
}
