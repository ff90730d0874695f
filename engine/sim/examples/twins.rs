//! Runs Twins scenarios: `twins [--bug CLAUSE]... [--n 4] [--views 2] [--groups 2] [--cuts 0] [--crashes] [--turns]
//! [--sample SEED] [--count N]` reports those that fail; `twins 'SCENARIO'` replays one.

#![allow(clippy::disallowed_methods, reason = "measures how fast it is")]

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Instant;

use trireme_core::bugs::Bugs;
use trireme_sim::twins::{Crashes, Scenario, Search, TwinsOptions, enumerate, replay, sample, size};

fn main() {
    let mut options = TwinsOptions {
        n: 4,
        views: 2,
        groups: 2,
        cuts: 0,
        busy: false,
        crashes: Crashes::None,
        scripted: true,
    };
    let (mut bugs, mut seed, mut count) = (Bugs::default(), None, usize::MAX);
    let mut words = std::env::args().skip(1);
    let (mut one, mut table) = (None, false);
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value");
        match word.as_str() {
            "--bug" => assert!(bugs.set(&value()), "no such clause"),
            "--n" => options.n = value().parse().expect("a number"),
            "--views" => options.views = value().parse().expect("a number"),
            "--groups" => options.groups = value().parse().expect("a number"),
            "--cuts" => options.cuts = value().parse().expect("a number"),
            "--crashes" => options.crashes = Crashes::Twins,
            "--all-crash" => options.crashes = Crashes::All,
            "--table" => table = true,
            "--busy" => options.busy = true,
            "--turns" => options.scripted = false,
            "--sample" => seed = Some(value().parse().expect("a number")),
            "--count" => count = value().parse().expect("a number"),
            _ => one = Some(word),
        }
    }
    if let Some(text) = one {
        let scenario: Scenario = text.parse().expect("a scenario");
        let outcome = replay(&scenario, &bugs, |line| println!("{line}"));
        println!("{outcome:#?}");
        return;
    }
    if table {
        return bug_table(&options, seed.unwrap_or(1), count);
    }
    println!("{:?}", size(&options));
    let scenarios: Box<dyn Iterator<Item = Scenario>> = match seed {
        Some(seed) => Box::new(sample(&options, seed)),
        None => Box::new(enumerate(&options)),
    };
    let mut search = Search::new(&bugs);
    let (start, mut ran, mut failed) = (Instant::now(), 0u64, 0);
    let (mut views, mut committed, mut steps, mut evidence) = (0, 0, 0, 0);
    let mut seen = HashSet::new();
    for scenario in scenarios.take(count) {
        let mut hasher = DefaultHasher::new();
        scenario.hash(&mut hasher);
        seen.insert(hasher.finish());
        let outcome = search.run(&scenario).expect("it can be run");
        ran += 1;
        views += outcome.views;
        committed += outcome.committed.0;
        steps += outcome.steps;
        evidence += u64::from(outcome.evidence > 0);
        if !outcome.violations.is_empty() {
            failed += 1;
            println!("{ran}: {scenario}\n  {}", outcome.violations[0]);
            if failed == 3 {
                break;
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{ran} scenarios, {} distinct, {:.0}/s",
        seen.len(),
        ran as f64 / seconds
    );
    println!("views {views} committed {committed} steps {steps} with evidence {evidence}");
}

/// How many random scenarios it takes to find each clause.
fn bug_table(options: &TwinsOptions, seed: u64, count: usize) {
    std::panic::set_hook(Box::new(|_| {}));
    let only = std::env::var("CLAUSES").unwrap_or_default();
    for clause in Bugs::NAMES.iter().filter(|c| only.is_empty() || only.contains(**c)) {
        let mut bugs = Bugs::default();
        bugs.set(clause);
        let mut search = Search::new(&bugs);
        let mut found = None;
        for (scenario, number) in sample(options, seed).take(count).zip(1..) {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| search.run(&scenario)));
            match outcome {
                Err(_) => found = Some((number, scenario, "a panic".to_string())),
                Ok(outcome) => {
                    let outcome = outcome.expect("it can be run");
                    let first = outcome.violations.first();
                    found = first.map(|violation| (number, scenario, violation.to_string()));
                }
            }
            if found.is_some() {
                break;
            }
        }
        match found {
            Some((number, scenario, text)) => println!("{clause}: {number}: {text}\n    {scenario}"),
            None => println!("{clause}: not in {count}"),
        }
    }
}
