//! Twins: all scenarios of small spaces and random ones of large spaces hold; and with a clause switched off, a pinned
//! scenario shows it. When the core changes what a scenario leads to, search again:
//! `cargo run --release --features bugs --bin trireme -- simulate --twins --views 3 --scenarios 10000 --clause NAME`.

use std::cell::Cell;
use std::rc::Rc;

use trireme_core::bugs::Bugs;
use trireme_sim::twins::{Crashes, Scenario, Search, TwinsOptions, enumerate, replay, run, sample, size};

/// Two views of n = 4: groups, leaders, nothing else.
const SMALL: TwinsOptions = TwinsOptions {
    n: 4,
    views: 2,
    groups: 2,
    cuts: 0,
    busy: false,
    crashes: Crashes::None,
    scripted: true,
};

/// Runs scenarios; returns how many, and how often (a view was entered, evidence was found).
fn hold(scenarios: impl Iterator<Item = Scenario>) -> (usize, [usize; 2]) {
    let mut search = Search::new(&Bugs::default());
    let (mut count, mut seen) = (0, [0; 2]);
    for scenario in scenarios {
        let outcome = search.run(&scenario).expect("it can be run");
        assert!(outcome.violations.is_empty(), "{scenario}\n{:#?}", outcome.violations);
        assert!(
            outcome.committed.1 > outcome.committed.0,
            "{scenario}: nothing new commits"
        );
        count += 1;
        seen[0] += usize::from(outcome.views > 0);
        seen[1] += usize::from(outcome.evidence > 0);
    }
    (count, seen)
}

#[test]
fn all_of_two_views() {
    let (count, [views, evidence]) = hold(enumerate(&SMALL));
    assert_eq!(count as f64, size(&SMALL).distinct);
    assert!(views > count / 2, "only {views} of {count} enter a view");
    assert!(evidence > count / 10, "only {evidence} of {count} catch a twin");
}

#[test]
fn all_of_one_view_with_crashes_and_a_cut() {
    let space = TwinsOptions {
        views: 1,
        cuts: 1,
        crashes: Crashes::Twins,
        ..SMALL
    };
    let (count, _) = hold(enumerate(&space));
    assert_eq!(count as f64, size(&space).distinct);
}

#[test]
fn all_of_two_pairs_in_one_view() {
    let space = TwinsOptions {
        n: 7,
        views: 1,
        groups: 3,
        ..SMALL
    };
    let (count, _) = hold(enumerate(&space));
    assert_eq!(count as f64, size(&space).distinct);
}

#[test]
fn some_of_eight_views() {
    for (n, count) in [(4, 400), (7, 100)] {
        let space = TwinsOptions {
            n,
            views: 8,
            groups: 3,
            cuts: 1,
            busy: true,
            crashes: Crashes::All,
            scripted: true,
        };
        hold(sample(&space, 8).take(count));
    }
}

#[test]
fn a_shared_start_changes_nothing() {
    let space = TwinsOptions {
        views: 3,
        cuts: 1,
        busy: true,
        crashes: Crashes::All,
        ..SMALL
    };
    let mut search = Search::new(&Bugs::default());
    for scenario in sample(&space, 3).take(60) {
        let shared = search.run(&scenario).expect("it can be run");
        let text = scenario.to_string();
        let alone = run(&text.parse().expect("its own text"), &Bugs::default());
        assert_eq!(alone, Ok(shared.clone()), "{text}");
        let lines = Rc::new(Cell::new(0));
        let count = Rc::clone(&lines);
        let again = replay(&scenario, &Bugs::default(), move |_| count.set(count.get() + 1));
        assert_eq!(again, Ok(shared), "{text}");
        assert!(lines.get() > 20, "{text} has a trace");
    }
}

/// The scenario holds as things are, and does not without the clause.
fn found_by(clause: &str, text: &str) {
    let scenario: Scenario = text.parse().expect("a scenario");
    let sound = run(&scenario, &Bugs::default()).expect("it can be run");
    assert!(
        sound.violations.is_empty(),
        "with every clause in force: {:#?}",
        sound.violations
    );
    let mut bugs = Bugs::default();
    assert!(bugs.set(clause), "no such clause: {clause}");
    // An assertion of the core finds it as well as a judge does.
    let broken = std::panic::catch_unwind(|| run(&scenario, &bugs).expect("it can be run"));
    let found = broken.as_ref().map_or(true, |outcome| !outcome.violations.is_empty());
    assert!(found, "{clause} is not found: {broken:#?}");
}

macro_rules! bank {
    ($($clause:ident by $text:literal,)*) => {
        $(#[test] fn $clause() { found_by(stringify!($clause), $text); })*
    };
}

bank! {
    commit_at_one_honest by "4:0 lead 0,1,0 | 01-230' step restart 2 | 030'-12 expire | 01-230' step | 013-20' expire | 0230'-1 step busy amnesia 0' | 030'-12 expire busy",
    forget_lock_at_view_change by "4:0 lead 0,0,0 | 01230' expire | 01230' expire | 01230' expire",
    drop_vote_state_on_restart by "4:0 lead 1,0,2 | 01-230' step busy down 3 | 01230' expire busy | 00'-123 step down 3 | 01-230' expire | 0123-0' expire restart 2",
    lowest_qc by "4:0 lead 0,0,0 | 01230' expire | 01230' expire | 012-30' expire",
    short_tc by "4:0 lead 1,2,1,1,2 | 02-130' expire busy amnesia 0 | 0120'-3 expire busy down 0' | 023-10' expire down 3 | 013-20' expire busy restart 0 | 03-120' expire down 2",
    no_branch_condition by "4:0 lead 0,1,1 | 01-230' step busy restart 1 | 01230' expire busy | 0-1230' expire busy down 0' | 0-1230' expire down 0'",
    report_last_view_only by "4:0 lead 1,1,2 | 0120'-3 step busy down 2 | 0123-0' expire busy | 0120'-3 step busy down 2 | 0123-0' expire busy | 0120'-3 step restart 1 | 02-130' expire",
    fast_at_quorum by "4:0 lead 1,2,3 | 0120'-3 step busy down 0 | 023-10' expire busy | 01230' expire restart 3 | 010'-23 expire busy restart 1",
    tau_off_by_one by "4:0 lead 1,1,1 | 01230' step down 0 | 012-30' expire | 02-130' expire restart 0 | 0130'-2 step busy restart 2 | 030'-12 expire busy",
    old_locks_count by "4:0 lead 0,1,0 | 01-230' step restart 2 | 030'-12 expire | 01-230' step | 013-20' expire | 0230'-1 step busy amnesia 0' | 030'-12 expire busy",
    release_by_commit by "4:0 lead 0,0,0 | 01230' expire | 0123-0' expire | 01230' expire",
}
