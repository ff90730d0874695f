//! Seeds on which everything has to hold, and what has to happen on at least one of them.

use std::collections::BTreeMap;

use trireme_sim_stages::{Options, never, run_stage_seed};

#[test]
fn seeds_break_nothing_and_every_link_fills() {
    let mut counters: BTreeMap<String, u64> = BTreeMap::new();
    let mut broken = Vec::new();
    for seed in 0..40 {
        let report = run_stage_seed(seed, &Options::default());
        if !report.violations.is_empty() {
            broken.push(report.to_string());
        }
        for (name, times) in report.counters {
            *counters.entry(name).or_default() += times;
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let never = never(&counters);
    assert!(never.is_empty(), "never happened: {never:?}");
}

#[test]
fn a_seed_is_one_run() {
    for seed in [3, 11] {
        let options = Options::default();
        assert_eq!(run_stage_seed(seed, &options), run_stage_seed(seed, &options));
    }
}
