//! Every quick configuration is explored to the end and holds; every broken clause is found.

use trireme_model::config::{Bug, Config};
use trireme_model::explore::{Effort, explore};

/// Different states of each quick configuration. A change of the model that cuts histories off shows here.
const STATES: [(&str, usize); 9] = [
    ("narrow", 28_997),
    ("views", 4_565),
    ("handoff", 28_035),
    ("crash", 102_646),
    ("crash-views", 9_149),
    ("lanes", 115_604),
    ("free", 6_514),
    ("future", 12_641),
    ("six", 4_703),
];

#[test]
fn quick_configurations_hold_in_every_state() {
    let quick: Vec<Config> = Config::all().into_iter().filter(|config| !config.thorough).collect();
    assert_eq!(quick.len(), STATES.len());
    for (config, (name, states)) in quick.iter().zip(STATES) {
        let report = explore(config, Effort::default());
        assert_eq!(report.broken, None, "{name}: {:#?}", report.history);
        assert!(report.exhaustive, "{name}");
        assert_eq!((config.name, report.unique), (name, states));
    }
}

#[test]
fn every_broken_clause_is_found() {
    for (number, bug) in Bug::ALL {
        let config = Config::named(bug.config()).unwrap().with(bug);
        let report = explore(&config, Effort::default());
        let broken = report.broken.unwrap_or_else(|| panic!("bug {number} is not found"));
        let expected = match bug {
            Bug::AckBeforeStorage => "a certified batch is held by a correct replica",
            Bug::WitnessNotCumulative => "every executed request was signed by its client",
            _ => "what could have committed is in every later safe_tip",
        };
        assert_eq!(broken, expected, "bug {number}");
        // The history was replayed step by step and ends in the fault.
        assert_eq!(
            report.history.last(),
            Some(&format!("broken: {expected}")),
            "bug {number}"
        );
        assert!(report.history.len() > 3, "bug {number}: {:#?}", report.history);
    }
}

#[test]
fn broken_clauses_lead_to_disagreement() {
    // With the first invariant out of the way the checker goes on to two different blocks committed at one slot.
    for bug in [Bug::CommitAtOneHonest, Bug::TauTooLarge, Bug::ReleaseByCheckpoint] {
        let config = Config {
            tips_may_miss: true,
            ..Config::named(bug.config()).unwrap().with(bug)
        };
        let report = explore(&config, Effort::default());
        assert_eq!(
            report.broken.as_deref(),
            Some("no two correct replicas commit different blocks at one slot"),
            "{bug:?}"
        );
    }
}
