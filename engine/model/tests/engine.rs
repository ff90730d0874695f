//! The model's reading of R-SAFETIP against the engine's: two programs written from one page.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use trireme_core::bugs::Bugs;
use trireme_core::message::{Qc, QcRef, Tc, TcEntry};
use trireme_core::quorum::Quorums;
use trireme_core::safe_tip::safe_tip;
use trireme_crypto::{Digest, Signature};
use trireme_model::config::Config;
use trireme_model::safe_tip::{Ref, Report, Rule};

fn safe_tips(reports: &[&Report], rule: Rule) -> Vec<Ref> {
    let mut tips = Vec::new();
    trireme_model::safe_tip::safe_tips(reports, rule, &mut tips);
    tips
}

/// The engine's name of a block. Digests ascend with the model's names.
fn digest(block: u8) -> Digest {
    let mut bytes = [7; 32];
    bytes[0] = block;
    Digest(bytes)
}

fn reference(at: Ref) -> QcRef {
    QcRef {
        view: at.view.into(),
        slot: at.slot.into(),
        digest: digest(at.block),
    }
}

fn certificate(reports: &[Report]) -> Tc {
    let greatest = reports.iter().map(|report| report.high).max().unwrap();
    let timeouts = (0..).zip(reports).map(|(member, report)| TcEntry {
        member,
        high_qc: reference(report.high),
        accepted: report
            .accepted
            .iter()
            .map(|entry| (entry.view.into(), entry.slot.into(), digest(entry.block)))
            .collect(),
        signature: Signature([0; 64]),
    });
    Tc {
        view: 3,
        timeouts: timeouts.collect(),
        high_qc: Qc {
            at: reference(greatest),
            votes: Vec::new(),
        },
    }
}

/// A block of a small world: views 0 to 2, slots 0 to 2, two digests.
fn some_block() -> impl Strategy<Value = Ref> {
    (0..3u8, 0..3u8, 0..2u8).prop_map(|(view, slot, block)| Ref { view, slot, block })
}

/// A Timeout's content that passes R-TIMEOUT-VALID: entries above the Qc, ascending, none twice. Of one (view, slot) there
/// is one certified block.
fn some_report() -> impl Strategy<Value = Report> {
    (0..2u8, 0..2u8, prop::collection::btree_set(some_block(), 1..8)).prop_map(|(view, slot, listed)| {
        let high = Ref { view, slot, block: 0 };
        let above = |entry: &Ref| (entry.view, entry.slot) > (high.view, high.slot);
        Report {
            high,
            accepted: listed.into_iter().filter(above).collect(),
        }
    })
}

fn agree(reports: &[Report], n: u8, f: u8) -> Result<(), TestCaseError> {
    let config = Config {
        n,
        f,
        ..Config::named("narrow").unwrap()
    };
    let rule = Rule {
        tau: config.tau(),
        lowest: false,
        any_branch: false,
    };
    let all: Vec<&Report> = reports.iter().collect();
    let tips = safe_tips(&all, rule);
    let engine = safe_tip(&certificate(reports), n.into(), f.into(), &Bugs::default());
    // Where several blocks stand equally high the rule takes the lowest digest; the model follows each of them.
    prop_assert_eq!(tips.iter().min().map(|tip| reference(*tip)), Some(engine));
    prop_assert!(
        tips.iter()
            .all(|tip| (tip.view, tip.slot) == (tips[0].view, tips[0].slot))
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn four_members(reports in prop::collection::vec(some_report(), 3..=4)) {
        agree(&reports, 4, 1)?;
    }

    #[test]
    fn six_members(reports in prop::collection::vec(some_report(), 5..=6)) {
        agree(&reports, 6, 1)?;
    }
}

/// The strategy reaches what the rule is about.
#[test]
fn random_certificates_lift_blocks_above_the_greatest_certificate() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = prop::collection::vec(some_report(), 3..=4);
    let (mut lifted, mut branch, mut ties) = (0, 0, 0);
    for _ in 0..2_000 {
        let reports = strategy.new_tree(&mut runner).unwrap().current();
        let all: Vec<&Report> = reports.iter().collect();
        let greatest = reports.iter().map(|report| report.high).max().unwrap();
        let rule = |any_branch| Rule {
            tau: 2,
            lowest: false,
            any_branch,
        };
        let tips = safe_tips(&all, rule(false));
        lifted += usize::from(tips != [greatest]);
        branch += usize::from(tips != safe_tips(&all, rule(true)));
        ties += usize::from(tips.len() > 1);
    }
    assert!(lifted > 200 && branch > 50 && ties > 50, "{lifted} {branch} {ties}");
}

#[test]
fn quorums_are_the_engines() {
    for n in 4..=31u8 {
        for f in 1..=(n - 1) / 3 {
            let config = Config {
                n,
                f,
                ..Config::named("narrow").unwrap()
            };
            let engine = Quorums::new(n.into(), f.into()).unwrap();
            let ours = [config.p(), config.q(), config.t(), config.fast(), config.tau()].map(usize::from);
            let theirs = [
                engine.p(),
                engine.quorum(),
                engine.timeout(),
                engine.fast(),
                engine.reports(),
            ];
            assert_eq!(ours, theirs, "n={n} f={f}");
        }
    }
}
