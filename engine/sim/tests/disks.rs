//! Every seed here runs the real log on simulated disks; the share of them in the suite's thousand is in `seeds.rs`.

use trireme_sim::{Options, Report, run_guarded, run_seed};

fn run_all(seeds: std::ops::Range<u64>, options: &Options) -> Vec<Report> {
    seeds.map(|seed| run_guarded(seed, options)).collect()
}

fn total(reports: &[Report], name: &str) -> u64 {
    let counts = reports.iter().filter_map(|report| report.counters.get(name));
    counts.sum()
}

/// With more damage than the protocol stands, each log still keeps its own promises.
#[test]
fn beyond_what_is_promised_logs_keep_their_word() {
    let options = Options {
        beyond: true,
        ..Options::default()
    };
    let reports = run_all(0..40, &options);
    for report in &reports {
        assert!(report.violations.is_empty(), "{report}");
    }
    for name in [
        "vote records lost",
        "started without damaged batches",
        "disk: rolled back",
        "disk: misdirected write",
    ] {
        assert!(total(&reports, name) > 0, "never: {name}");
    }
}

/// A replica whose stored batches rot starts without them, and has them again from the others.
#[test]
fn damaged_batches_are_repaired() {
    let options = Options {
        real_log: Some(true),
        byzantine: false,
        ..Options::default()
    };
    let reports = run_all(100..125, &options);
    for report in &reports {
        assert!(report.violations.is_empty(), "{report}");
    }
    for name in ["stored batch damaged", "started without damaged batches"] {
        assert!(total(&reports, name) > 0, "never: {name}");
    }
}

/// Beyond the atlas a broken clause of the log shows in a few seeds.
#[test]
fn beyond_what_is_promised_a_broken_log_is_found() {
    let mut options = Options {
        beyond: true,
        ..Options::default()
    };
    assert!(options.log_bugs.set("damage_is_torn_tail"));
    let reports = run_all(0..10, &options);
    let found = |report: &Report| report.violations.iter().any(|broken| broken.invariant == "R-DURABLE");
    assert!(reports.iter().any(found), "the clause is not missed");
}

/// The real log changes no verdict, and a seed is one run.
#[test]
fn the_real_log_serves_as_well_as_the_abstract_one() {
    let options = Options {
        real_log: Some(true),
        ..Options::default()
    };
    let reports = run_all(0..20, &options);
    for report in &reports {
        assert!(report.violations.is_empty(), "{report}");
        assert!(report.counters.contains_key("real log"), "{report}");
    }
    assert_eq!(run_seed(6, &options), reports[6]);
}
