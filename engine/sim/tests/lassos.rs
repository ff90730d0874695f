//! The lasso detector finds a cluster that goes in circles sooner than patience or the limit of events does.

use trireme_sim::{Options, Report, run_seed};

fn run(clause: &str, seed: u64, lassos: bool) -> Report {
    let mut options = Options {
        lassos,
        ..Options::default()
    };
    assert!(options.bugs.set(clause), "no such clause: {clause}");
    run_seed(seed, &options)
}

fn invariants(report: &Report) -> Vec<&str> {
    report.violations.iter().map(|violation| violation.invariant).collect()
}

#[test]
fn a_circle_is_found_sooner() {
    for (clause, seed) in PINNED {
        let (with, without) = (run(clause, seed, true), run(clause, seed, false));
        assert!(invariants(&with).contains(&"24"), "{clause}: {with}");
        assert!(invariants(&without).contains(&"22"), "{clause}: {without}");
        let sooner = with.simulated_us * 2 < without.simulated_us && with.events < without.events;
        assert!(sooner, "{clause}: {with}\n{without}");
    }
}

/// Clauses whose absence stops the cluster, and seeds in which it does.
const PINNED: [(&str, u64); 2] = [("window_on_first_blocks", 55), ("timestamp_no_escape", 158)];
