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

/// A full window left by a view change stops the cluster for ever (FAULTS.md, bug 37). What seeds mean shifts with what
/// they draw, so the first that shows it is looked for.
#[test]
fn a_circle_is_found_sooner_than_patience_ends() {
    let clause = "window_on_first_blocks";
    let mut seeds = (55..130).map(|seed| run(clause, seed, true));
    let with = seeds
        .find(|report| invariants(report).contains(&"24"))
        .expect("one of these goes in circles");
    let without = run(clause, with.seed, false);
    assert!(invariants(&without).contains(&"22"), "{without}");
    assert!(
        with.simulated_us * 2 < without.simulated_us && with.events < without.events,
        "{with}\n{without}"
    );
    assert!(
        run_seed(with.seed, &Options::default()).violations.is_empty(),
        "it is the clause"
    );
}
