//! The bug bank: with a clause switched off, a pinned seed shows it. If one does not any more, the simulator (or a
//! shift in what seeds draw) lost its grip. The clauses of single rules have their tests in `core/tests/clauses.rs` and
//! `core/tests/histories.rs`. Search with `cargo run -p trireme-sim --example seeds -- CLAUSE 0 1000`.

use trireme_sim::{Options, Report, run_seed};

fn run(clause: &str, seed: u64) -> Report {
    let mut options = Options {
        max_events: 250_000,
        ..Options::default()
    };
    assert!(
        clause.is_empty() || options.bugs.set(clause) || options.log_bugs.set(clause),
        "no such clause: {clause}"
    );
    run_seed(seed, &options)
}

/// The seed is good as things are, and bad without the clause.
fn found_by(clause: &str, seed: u64) {
    let sound = run("", seed);
    assert!(sound.violations.is_empty(), "with every clause in force: {sound}");
    // An assertion of the core or of the executor finds it as well as an oracle does.
    let broken = std::panic::catch_unwind(|| run(clause, seed));
    let found = broken.as_ref().map_or(true, |report| !report.violations.is_empty());
    assert!(
        found,
        "{clause} is not found: {}",
        broken.map_or_else(|_| String::new(), |report| report.to_string())
    );
}

macro_rules! bank {
    ($($clause:ident by $seed:literal,)*) => {
        $(#[test] fn $clause() { found_by(stringify!($clause), $seed); })*
    };
}

bank! {
    commit_at_one_honest by 0,
    forget_lock_at_view_change by 0,
    send_before_write by 0,
    drop_vote_state_on_restart by 0,
    lowest_qc by 0,
    short_tc by 0,
    report_last_view_only by 0,
    ack_before_storage by 0,
    join_at_one by 0,
    fast_at_quorum by 0,
    tau_off_by_one by 0,
    old_locks_count by 1,
    release_by_commit by 10,
    witness_not_cumulative by 60,
    window_on_first_blocks by 0,
    execute_out_of_order by 0,
    damage_is_torn_tail by 9,
    retry_failed_flush by 12,
    epoch_unsigned by 7,
    old_epoch_quorum by 7,
    sync_delivers_too by 0,
    forget_replies by 0,
    header_as_ack by 5,
    uncofactored_batch by 537,
}
