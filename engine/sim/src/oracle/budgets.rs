//! What a replica may hold at most (invariant 20), by the rules that bound it, not by the constants of the code.

use trireme_core::{Held, Params};

use super::{Scene, Verdict};

/// What is asked for at once (PROTOCOL.md, section 11).
const MOST_WANTED: usize = 256;
/// Bodies under check: as many as one member may bring up, for each member.
const FOR_EACH_MEMBER: usize = 256;

/// Votes on states of one member: those of a few slots, and those for checkpoints that are not stable.
const STATE_VOTES: usize = 8 + 64;

/// Judges what a correct replica holds. `settled`: it has executed what it committed.
pub(crate) fn judge_budgets(scene: Scene, verdict: &mut Verdict, params: &Params, held: &Held, settled: bool) {
    let n = usize::from(params.n);
    let window = usize::try_from(params.window).expect("a window fits in memory");
    let blocks = window + usize::try_from(params.w0).expect("small");
    let batch = u64::from(params.max_batch_bytes);
    // R-COMMIT: a ring of a window's slots for each member and view.
    let rings = [
        ("slots of votes of a member", held.vote_slots, blocks.max(8)),
        ("views of votes", held.vote_views, 64 + 8),
        ("votes of a member for a view ahead", held.future_votes, 2 * window),
        // R-FETCH: one table for what blocks, certificates and commits name, and for eight words of each member.
        ("digests asked for", held.wanted, MOST_WANTED),
        ("bodies under check", held.jobs, FOR_EACH_MEMBER * n),
        ("votes on states of a member", held.state_votes, STATE_VOTES),
    ];
    for (name, have, may) in rings {
        verdict.check(have <= may, scene, "20", || {
            format!("holds {have} {name}, may hold {may}")
        });
    }
    // R-LANE: a window of bytes above the committed cut, and what was fetched because a block or certificate names it.
    let may = 2 * (params.lane_window_bytes + batch);
    verdict.check(!settled || held.lane_bytes <= may, scene, "20", || {
        format!("holds {} bytes of a lane, may hold {may}", held.lane_bytes)
    });
    let intake = held.intake_bytes as u64;
    verdict.check(intake <= params.lane_window_bytes + batch, scene, "20", || {
        format!("holds {intake} bytes of bundles")
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_budget_can_be_broken() {
        let params = Params::new(4, 1);
        let scene = Scene { time_us: 0, member: 0 };
        let judged = |held: Held, settled| {
            let mut verdict = Verdict::default();
            judge_budgets(scene, &mut verdict, &params, &held, settled);
            verdict.violations.len()
        };
        let none = Held::default();
        let much = u64::MAX / 2;
        assert_eq!(judged(none, true), 0);
        for held in [
            Held {
                vote_views: 1_000,
                ..none
            },
            Held { vote_slots: 67, ..none },
            Held {
                future_votes: 129,
                ..none
            },
            Held { wanted: 257, ..none },
            Held { jobs: 1_025, ..none },
            Held {
                state_votes: 73,
                ..none
            },
            Held {
                lane_bytes: much,
                ..none
            },
            Held {
                intake_bytes: usize::MAX / 2,
                ..none
            },
        ] {
            assert_eq!(judged(held, true), 1, "{held:?}");
        }
        assert_eq!(
            judged(
                Held {
                    lane_bytes: much,
                    ..none
                },
                false
            ),
            0,
            "what is committed may wait for execution"
        );
    }
}
