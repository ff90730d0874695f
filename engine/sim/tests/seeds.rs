//! A thousand seeds: safety at every step, liveness once the network has healed, and the rare things do happen.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use trireme_sim::{ALWAYS, ENOUGH_SEEDS, Options, Report, SOMETIMES, run_guarded, run_seed, strategies};

/// Runs seeds on all processors; a panic in one is a violation as others.
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
                    let report = run_guarded(seed, options);
                    reports.lock().expect("no panic holds it").push(report);
                }
            });
        }
    });
    reports.into_inner().expect("all are done")
}

#[test]
fn a_thousand_seeds() {
    let reports = run_all(0..ENOUGH_SEEDS, &Options::default());
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
        "{} of {ENOUGH_SEEDS} seeds failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
    let never: Vec<&&str> = SOMETIMES.iter().filter(|name| !totals.contains_key(**name)).collect();
    assert!(never.is_empty(), "never happened: {never:?}\n{totals:#?}");
    let quiet: Vec<&str> = strategies().into_iter().map(|(name, _)| name).collect();
    let quiet: Vec<&&str> = quiet.iter().filter(|name| !totals.contains_key(**name)).collect();
    assert!(quiet.is_empty(), "strategies that never showed: {quiet:?}\n{totals:#?}");
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
    let reports = run_all(0..20, &options);
    for name in ALWAYS {
        assert!(
            reports.iter().any(|report| report.counters.contains_key(name)),
            "{name} does not happen"
        );
    }
    for report in reports {
        assert!(report.violations.is_empty(), "{report}");
        assert!(
            !report.counters.contains_key("channel closed for misbehaviour"),
            "{report}"
        );
    }
}
