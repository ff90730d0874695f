//! The bug bank: with a clause switched off, a pinned seed shows it. If one does not any more, the simulator (or a
//! shift in what seeds draw) lost its grip: search with `cargo run -p trireme-sim --example seeds -- CLAUSE 0 1000`.

use trireme_sim::{Options, Report, run_seed};

fn run(clause: &str, seed: u64) -> Report {
    let mut options = Options { max_events: 250_000, ..Options::default() };
    assert!(clause.is_empty() || options.bugs.set(clause), "no such clause: {clause}");
    run_seed(seed, &options)
}

/// The seed is good as things are, and bad without the clause.
fn found_by(clause: &str, seed: u64) {
    let sound = run("", seed);
    assert!(sound.violations.is_empty(), "with every clause in force: {sound}");
    let broken = run(clause, seed);
    assert!(!broken.violations.is_empty(), "{clause} is not found: {broken}");
}

macro_rules! bank {
    ($($clause:ident by $seed:literal,)*) => {
        $(#[test] fn $clause() { found_by(stringify!($clause), $seed); })*
    };
}

bank! {
BANK
}
