//! What must hold. Commits are counted here over everything that was ever said, by whoever could hear all of it.

use crate::config::{Bug, Config, MAX_CORRECT};
use crate::lanes;
use crate::rules::first_parents;
use crate::state::{BlockId, GENESIS, Members, State, Verdict, bit, count, mark};

/// Blocks that votes of one view commit (R-COMMIT), given who said `locked` for each block in votes of that view.
fn committed(state: &State, config: &Config, view: u8, locked: &dyn Fn(BlockId) -> Members) -> Vec<BlockId> {
    let old_locks = config.has(Bug::OldLocks);
    let commits = |id: &BlockId| {
        let above = || state.ids().filter(|other| state.extends(*other, *id));
        let block = state.block(*id);
        let voters = above()
            .filter(|other| state.block(*other).view == block.view)
            .fold(0, |all, other| all | state.block(other).voted);
        let lockers = above()
            .filter(|other| state.block(*other).view == block.view || old_locks)
            .fold(0, |all, other| all | locked(other));
        let fast = voters != 0 && count(voters) + config.liars() >= config.fast();
        let slow = lockers != 0 && count(lockers) + config.liars() >= config.slow();
        block.view == view && fast || (block.view == view || old_locks) && slow
    };
    state.ids().filter(|id| *id != GENESIS).filter(commits).collect()
}

/// Agreement: of two committed blocks one extends the other.
fn agree(state: &State, committed: &[BlockId]) -> bool {
    committed.iter().all(|one| {
        committed
            .iter()
            .all(|other| state.extends(*one, *other) || state.extends(*other, *one))
    })
}

/// The invariants at the end of a view in an exploration by view: everything committed stands marked, and so do the
/// parents of the next view's first blocks.
pub(crate) fn judge_marked(state: &State, config: &Config) -> Verdict {
    let marked = |bits: u8| -> Vec<BlockId> {
        let has = |id: &BlockId| state.block(*id).marks & bits != 0;
        state.ids().filter(has).collect()
    };
    let (committed, tips) = (marked(mark::COMMITTED), marked(mark::TIP | mark::OLD_TIP));
    judge(state, config, &committed, &[(tips, committed.clone())])
}

/// What votes of a view commit at its end in an exploration by view, `adopted` being the Qcs taken over last.
pub(crate) fn committed_at_end(
    state: &State,
    config: &Config,
    view: u8,
    adopted: &[BlockId; MAX_CORRECT],
) -> Vec<BlockId> {
    let fresh = |id: BlockId| {
        let taken = |(replica, qc): (usize, &BlockId)| if *qc == id { bit(replica) } else { 0 };
        adopted.iter().enumerate().map(taken).fold(0, |all, one| all | one)
    };
    let locked = |id: BlockId| match state.block(id) {
        block if block.view == view => block.high,
        _ if config.has(Bug::OldLocks) && id != GENESIS => fresh(id),
        _ => 0,
    };
    committed(state, config, view, &locked)
}

/// What votes of views up to this one commit in a state of free interleaving.
pub(crate) fn committed_up_to(state: &State, config: &Config, view: u8) -> Vec<BlockId> {
    let mut all = Vec::new();
    for view in 0..=view {
        let present = (0..config.correct())
            .filter(|replica| state.views[*replica] == view)
            .fold(0, |all, replica| all | bit(replica));
        let locked = |id: BlockId| {
            let block = state.block(id);
            if block.view == view || config.has(Bug::OldLocks) {
                block.high_at[usize::from(view)] | block.high & present
            } else {
                0
            }
        };
        all.extend(committed(state, config, view, &locked));
    }
    all
}

/// The invariants in a state of free interleaving.
pub(crate) fn judge_free(state: &State, config: &Config) -> Verdict {
    let by_view = |view: u8| {
        let parents = first_parents(state, config, view + 1);
        let tips = parents.into_iter().map(|parent| parent.id).collect();
        (tips, committed_up_to(state, config, view))
    };
    let tips: Vec<_> = (config.first_view..config.views).map(by_view).collect();
    let all = tips.last().map_or_else(Vec::new, |(_, committed)| committed.clone());
    judge(state, config, &all, &tips)
}

fn judge(state: &State, config: &Config, committed: &[BlockId], tips: &[(Vec<BlockId>, Vec<BlockId>)]) -> Verdict {
    if !agree(state, committed) {
        return Verdict::Disagreement;
    }
    for (tips, committed) in tips {
        for tip in tips {
            if !config.tips_may_miss && committed.iter().any(|block| !state.extends(*tip, *block)) {
                return Verdict::TipMisses;
            }
        }
    }
    let tips = tips.iter().flat_map(|(tips, _)| tips);
    committed
        .iter()
        .chain(tips)
        .map(|id| lanes::judge_chain(state, *id))
        .find(|verdict| *verdict != Verdict::Holds)
        .unwrap_or_default()
}
