//! A thousand seeds: safety at every step, liveness once the network has healed, and the rare things do happen.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use trireme_sim::{Options, Report, run_seed};

const SEEDS: u64 = 1_000;

/// What has to happen in some seed, or the simulator does not reach where bugs live.
const SOMETIMES: &[&str] = &[
    "a faulty lane owner equivocates",
    "a faulty leader equivocates",
    "a faulty member falls silent",
    "a faulty member votes twice",
    "amnesia",
    "availability certificate sent",
    "block with a certified tip",
    "bundle refused",
    "certified tip accepted",
    "channel closed for misbehaviour",
    "connection broken",
    "copy of a request",
    "crash",
    "evidence of two blocks",
    "evidence of two headers",
    "evidence of two votes",
    "fast commit",
    "fetch of batches",
    "fetch of blocks",
    "forged body refused",
    "message refused",
    "request acknowledged",
    "restart",
    "retry",
    "safe tip above the Qc",
    "slow commit",
    "spoilt frame",
    "state certificate sent",
    "unacknowledged records survive a crash",
    "view change with open pipeline",
    "view entered",
];

/// Runs seeds on all processors; a panic in one is reported with its number.
fn run_all(seeds: std::ops::Range<u64>, options: &Options) -> Vec<Report> {
    let next = AtomicU64::new(seeds.start);
    let reports = Mutex::new(Vec::new());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = std::panic::catch_unwind(|| run_seed(seed, options));
                    let report = report.unwrap_or_else(|_| panic!("seed {seed} panics"));
                    reports.lock().expect("no panic holds it").push(report);
                }
            });
        }
    });
    reports.into_inner().expect("all are done")
}

#[test]
fn a_thousand_seeds() {
    let reports = run_all(0..SEEDS, &Options::default());
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, times) in reports.iter().flat_map(|report| &report.counters) {
        *totals.entry(*name).or_default() += times;
    }
    let failed: Vec<String> = reports
        .iter()
        .filter(|r| !r.violations.is_empty())
        .map(Report::to_string)
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {SEEDS} seeds failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
    let never: Vec<&&str> = SOMETIMES.iter().filter(|name| !totals.contains_key(**name)).collect();
    assert!(never.is_empty(), "never happened: {never:?}\n{totals:#?}");
    for n in [4, 5, 6, 7, 10] {
        assert!(
            reports.iter().any(|report| report.n == n && report.byzantine > 0),
            "n = {n} with a Byzantine member"
        );
    }
}

#[test]
fn a_seed_is_one_run() {
    for seed in [1, 2, 3, 29, 77] {
        let first = run_seed(seed, &Options::default());
        let mut lines = 0;
        let second = trireme_sim::replay(seed, &Options::default(), |_| lines += 1);
        assert_eq!(first, second, "seed {seed}");
        assert!(lines > 100, "seed {seed} has a trace");
    }
    assert_ne!(
        run_seed(1, &Options::default()).trace_hash,
        run_seed(2, &Options::default()).trace_hash
    );
}

#[test]
fn without_faults_nothing_happens_but_progress() {
    let options = Options {
        byzantine: false,
        chaos: false,
        ..Options::default()
    };
    for report in run_all(0..20, &options) {
        assert!(report.violations.is_empty(), "{report}");
        assert!(
            !report.counters.contains_key("channel closed for misbehaviour"),
            "{report}"
        );
    }
}
