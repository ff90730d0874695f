//! Runs seeds: `seeds FIRST COUNT` reports those that fail, `seeds SEED` replays one with its trace. A name in front
//! (`seeds lowest_qc 1 100`) switches that clause off; `beyond` goes beyond what the protocol promises, `logged` runs the
//! real log on every seed.

use std::io::Write as _;

use trireme_sim::{Options, replay, run_seed};

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let mut options = Options::default();
    for word in std::env::args().skip(1).filter(|word| word.parse::<u64>().is_err()) {
        match word.as_str() {
            "beyond" => options.beyond = true,
            "logged" => options.real_log = Some(true),
            clause => {
                let known = options.bugs.set(clause) || options.log_bugs.set(clause);
                assert!(known, "no such clause: {clause}");
            }
        }
    }
    match numbers[..] {
        [seed] => {
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            let report = replay(seed, &options, |line| drop(writeln!(out, "{line}")));
            drop(writeln!(out, "{report}\n{:#?}", report.counters));
        }
        [first, count] => {
            let mut totals = std::collections::BTreeMap::new();
            for seed in first..first + count {
                let report = run_seed(seed, &options);
                eprintln!("{seed}: {} events", report.events);
                for (name, times) in &report.counters {
                    *totals.entry(*name).or_insert(0u64) += times;
                }
                if !report.violations.is_empty() {
                    println!("{report}");
                }
            }
            println!("{totals:#?}");
        }
        _ => eprintln!("seeds SEED | seeds FIRST COUNT"),
    }
}
