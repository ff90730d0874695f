//! Every timeout certificate that can be shown, with every Timeout that the liars could sign.

use crate::config::{Bug, Config};
use crate::rules::{Parent, certifiable, timed_out};
use crate::safe_tip::{Ref, Report, Rule, safe_tips};
use crate::state::{BlockId, GENESIS, Members, State, bit, count};

/// A Tc and what follows from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Certificate<'a> {
    /// The correct reporters.
    pub(crate) correct: Members,
    /// What all liars report, if they take part.
    pub(crate) liars: Option<&'a Report>,
    /// Its greatest Qc.
    pub(crate) greatest: BlockId,
    /// The safe tips; several where the digest decides.
    pub(crate) tips: &'a [Ref],
}

/// Parents of first blocks of `view + 1`: safe tips, and certified handoff blocks of `view`; each with the Qc that comes
/// with it.
pub(crate) fn first_parents(state: &State, config: &Config, view: u8) -> Vec<Parent> {
    let mut found = Vec::new();
    each(state, config, view, &mut |certificate| {
        for tip in certificate.tips {
            let parent = Parent {
                id: tip.block,
                takes: Some(certificate.greatest),
            };
            if !found.contains(&parent) {
                found.push(parent);
            }
        }
    });
    let hands_off = |id: &BlockId| {
        let block = state.block(*id);
        block.view == view && block.hands_off() && certifiable(state, config, *id)
    };
    let handed = state.ids().filter(hands_off);
    found.extend(handed.map(|id| Parent { id, takes: Some(id) }));
    found
}

/// Shows every certificate of `view` to `visit`, up to what does not change the tip: the liars agree (several of them
/// do no more than one of them does `f` times), and list at most the greatest Qc's block and the block to be lifted.
pub(crate) fn each(state: &State, config: &Config, view: u8, visit: &mut impl FnMut(Certificate<'_>)) {
    let sent = timed_out(state, view);
    let liars = liars(state, config, view);
    let told: Vec<Report> = (0..config.correct())
        .map(|replica| report(state, view, replica))
        .collect();
    let rule = Rule {
        tau: config.tau(),
        lowest: config.has(Bug::LowestQc),
        any_branch: config.has(Bug::NoBranchCondition),
    };
    let (mut reports, mut tips) = (Vec::new(), Vec::new());
    for correct in (0..=sent).filter(|correct| correct & !sent == 0) {
        reports.clear();
        reports.extend(
            (0..)
                .zip(&told)
                .filter(|(at, _)| correct & bit(*at) != 0)
                .map(|(_, report)| report),
        );
        let own = reports.len();
        let mut show = |reports: &[&Report], liars: Option<&Report>| {
            tips.clear();
            safe_tips(reports, rule, &mut tips);
            visit(Certificate {
                correct,
                liars,
                greatest: reports
                    .iter()
                    .map(|report| report.high)
                    .max()
                    .map_or(GENESIS, |high| high.block),
                tips: &tips,
            });
        };
        if count(correct) >= config.t() {
            show(&reports, None);
        }
        if count(correct) + config.f < config.t() {
            continue;
        }
        let greatest = reports.iter().map(|report| rank(report.high)).max();
        for lie in &liars {
            // An entry that only the liars list stays below tau. A Qc below the others' greatest serves only where the
            // lowest counts: with the greatest itself a liar stands on its branch and lists whatever it likes.
            let seconded = lie
                .lifted
                .is_none_or(|id| state.block(id).list_at[usize::from(view)] & correct != 0);
            let serves = Some(rank(lie.report.high)) >= greatest || rule.lowest;
            if seconded && serves {
                reports.truncate(own);
                reports.extend((0..config.f).map(|_| &lie.report));
                show(&reports, Some(&lie.report));
            }
        }
    }
}

fn rank(name: Ref) -> (u8, u8) {
    (name.view, name.slot)
}

struct Lie {
    report: Report,
    lifted: Option<BlockId>,
}

/// The Timeouts of `view` that a liar can sign and that pass R-TIMEOUT-VALID.
fn liars(state: &State, config: &Config, view: u8) -> Vec<Lie> {
    let mut lies = Vec::new();
    let in_time = |id: &BlockId| state.block(*id).view <= view || config.has(Bug::FutureQc);
    for high in state.ids().filter(|id| certifiable(state, config, *id)).filter(in_time) {
        let high = name(state, high);
        let accepted = Vec::new();
        lies.push(Lie {
            report: Report { high, accepted },
            lifted: None,
        });
        for id in state.ids().filter(|id| state.block(*id).view <= view) {
            let entry = name(state, id);
            let listed = state.block(id).list_at[usize::from(view)] != 0;
            if listed && rank(entry) > rank(high) {
                lies.push(Lie {
                    report: Report {
                        high,
                        accepted: vec![entry],
                    },
                    lifted: Some(id),
                });
            }
        }
    }
    lies
}

/// What a correct replica reported.
fn report(state: &State, view: u8, replica: usize) -> Report {
    let view = usize::from(view);
    let high = state.find(|block| block.high_at[view] & bit(replica) != 0);
    let listed = state
        .ids()
        .filter(|id| state.block(*id).list_at[view] & bit(replica) != 0);
    Report {
        high: name(state, high.unwrap_or(GENESIS)),
        accepted: listed.map(|id| name(state, id)).collect(),
    }
}

fn name(state: &State, id: BlockId) -> Ref {
    let block = state.block(id);
    Ref {
        view: block.view,
        slot: block.slot,
        block: id,
    }
}
