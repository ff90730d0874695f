//! Faults of the machinery, switched on one by one: each is found, by the invariant that it breaks.

use trireme_sim_stages::{Bug, Options, run_stage_seed};

/// Fault, a seed that shows it, and what it breaks there.
const FOUND: [(Bug, u64, &str); 4] = [
    (Bug::LostWake, 16, "no wake-up is lost"),
    (Bug::RoomNotAsked, 16, "no stage panics"),
    (Bug::LostResume, 19, "no wake-up is lost"),
    (Bug::BytesNotCounted, 14, "links keep their bounds"),
];

#[test]
fn each_fault_of_the_machinery_is_found() {
    for (bug, seed, invariant) in FOUND {
        let options = Options {
            bug: Some(bug),
            ..Options::default()
        };
        let report = run_stage_seed(seed, &options);
        let found = report
            .violations
            .iter()
            .any(|violation| violation.invariant == invariant);
        assert!(found, "{} on {report}", bug.name());
    }
    for bug in Bug::ALL {
        assert!(
            FOUND.iter().any(|(known, ..)| *known == bug),
            "{} is not tried",
            bug.name()
        );
    }
}
