//! Runs a range of seeds: `seeds FROM COUNT [BUG]`; prints what failed and what never happened.

use std::collections::BTreeMap;

use trireme_sim_stages::{Bug, Options, run_stage_seed};

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |otherwise| args.next().map_or(otherwise, |arg| arg.parse().expect("a number"));
    let (from, count): (u64, u64) = (number(0), number(20));
    let bug = args.next().map(|name| {
        let known = Bug::ALL.into_iter().find(|bug| bug.name() == name);
        known.expect("a name of a fault")
    });
    let options = Options { n: None, bug };
    let mut counters: BTreeMap<String, u64> = BTreeMap::new();
    for seed in from..from + count {
        let report = run_stage_seed(seed, &options);
        println!("{report}");
        for (name, times) in report.counters {
            *counters.entry(name).or_default() += times;
        }
    }
    for (name, times) in counters {
        println!("{times:>10} {name}");
    }
}
