//! What a correct replica may do: R-ACCEPT, R-LOCK, R-REPORT, rule by rule.

use crate::config::{Bug, Config, Order};
use crate::state::{BlockId, GENESIS, Members, State, bit, count, mark};
use crate::{certificates, lanes};

/// A parent under which a replica may accept, and the Qc that it takes over with it: the parent's own by rule 2(c), or
/// that of the Tc by which it enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Parent {
    pub(crate) id: BlockId,
    pub(crate) takes: Option<BlockId>,
}

/// Whether q votes for exactly this block can be shown: the liars vote for everything.
pub(crate) fn certifiable(state: &State, config: &Config, id: BlockId) -> bool {
    let block = state.block(id);
    let held = block.high_at.iter().fold(block.high, |all, one| all | one) != 0;
    id == GENESIS
        || held
        || block.marks & mark::CERTIFIED != 0
        || count(block.voted) + config.liars() >= config.q() && block.voted != 0
}

/// Rules 1 and 2 of R-ACCEPT: where this replica may accept its next block. Rules 4 and 5 only keep a replica from
/// accepting, so leaving them out explores more.
pub(crate) fn parents(state: &State, config: &Config, replica: usize, first: &[Parent]) -> Vec<Parent> {
    let view = state.views[replica];
    let last = state.last_of(replica);
    let mut found = Vec::new();
    let me = bit(replica);
    let accepted = |block: &crate::state::Block| block.slot > 0 && block.view == view;
    let accepted =
        |block: &&crate::state::Block| accepted(block) && (block.voted | block.pending) & !block.lost & me != 0;
    if state.blocks.iter().filter(accepted).count() >= usize::from(config.in_a_view) {
        return found;
    }
    match last {
        // (a) the next one of this view.
        Some(id) => found.push(Parent { id, takes: None }),
        // (b) the first one of this view.
        None => found.extend(first),
    }
    // (c) rejoining a view that runs.
    let high = state.high_of(replica);
    for id in state.ids().filter(|id| *id != GENESIS && Some(*id) != last) {
        let block = state.block(id);
        let own = id == high || config.order != Order::Free && block.rank() > state.block(high).rank();
        let above = last.is_none_or(|last| state.extends(id, last));
        if block.view == view && own && above && certifiable(state, config, id) {
            found.push(Parent { id, takes: Some(id) });
        }
    }
    found.retain(|parent| {
        let block = state.block(parent.id);
        let sealed = block.view == view && block.hands_off() && !config.has(Bug::HandoffChild);
        block.slot < config.slots && !sealed
    });
    found
}

/// Rule 3 of R-ACCEPT: the lane's entry is the parent's own, or a greater height that is certified or held.
pub(crate) fn entry_fits(state: &State, replica: usize, parent: BlockId, entry: u8) -> bool {
    lanes::entry_fits(&state.lanes, state.block(parent).entry(), entry, replica)
}

/// First parents of a view that some certificate justifies (rule 2(b)). Taking over the
/// certificate's Qc with it is a matter of the configuration.
pub(crate) fn first_parents(state: &State, config: &Config, view: u8) -> Vec<Parent> {
    let alone = |id: BlockId| Parent { id, takes: None };
    if config.order != Order::Free {
        let tip = mark::TIP | mark::OLD_TIP;
        let tips = state.ids().filter(|id| state.block(*id).marks & tip != 0);
        return tips.map(alone).collect();
    }
    if view == 0 {
        return vec![alone(GENESIS)];
    }
    let mut found = certificates::first_parents(state, config, view - 1);
    if config.has(Bug::StaleTc) && view > 1 {
        found.extend(certificates::first_parents(state, config, view - 2));
    }
    if !config.takes_on_entry {
        found.iter_mut().for_each(|parent| parent.takes = None);
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Accepts: first in memory, then durable with its vote; in one step where crashes are not explored.
pub(crate) fn accept(state: &mut State, config: &Config, replica: usize, id: BlockId, takes: Option<BlockId>) {
    if let Some(qc) = takes {
        let rank = state.block(qc).rank();
        // R-LOCK: none of a view above the current one.
        if rank.0 <= state.views[replica] && rank > state.block(state.high_of(replica)).rank() {
            adopt(state, replica, qc);
        }
    }
    set_last(state, replica, Some(id));
    if config.crashes {
        state.block_mut(id).pending |= bit(replica);
        if config.has(Bug::SendBeforeWrite) {
            state.block_mut(id).voted |= bit(replica);
        }
    } else {
        make_durable(state, config, replica, id);
    }
}

/// The acceptance is durable: it is listed, and its vote leaves.
pub(crate) fn make_durable(state: &mut State, config: &Config, replica: usize, id: BlockId) {
    let view = state.block(id).view;
    if config.has(Bug::LastViewOnly) {
        let others = |block: &mut crate::state::Block| {
            if block.view != view {
                block.list &= !bit(replica);
            }
        };
        state.blocks.iter_mut().for_each(others);
    }
    let listed = reports(state, replica, id);
    let block = state.block_mut(id);
    block.pending &= !bit(replica);
    block.lost &= !bit(replica);
    block.voted |= bit(replica);
    if listed {
        block.list |= bit(replica);
    }
}

/// A restart: what is not durable is gone. The vote state itself goes only where bug 5 is looked for.
pub(crate) fn crash(state: &mut State, config: &Config, replica: usize) {
    let me = bit(replica);
    for block in &mut state.blocks {
        if block.pending & block.voted & me != 0 {
            block.lost |= me;
        }
        block.pending &= !me;
    }
    if config.has(Bug::DropVoteState) {
        for block in &mut state.blocks {
            block.lost |= block.voted & me;
            block.list &= !me;
            block.high &= !me;
        }
        state.block_mut(GENESIS).high |= me;
    }
    let view = state.views[replica];
    let kept = |id: &BlockId| {
        let block = state.block(*id);
        *id != GENESIS && block.view == view && block.voted & !block.lost & me != 0
    };
    let last = state.ids().filter(kept).max_by_key(|id| state.block(*id).slot);
    set_last(state, replica, last);
}

/// R-LOCK: takes over a Qc, which passes entries of the list.
pub(crate) fn adopt(state: &mut State, replica: usize, qc: BlockId) {
    for block in &mut state.blocks {
        block.high &= !bit(replica);
    }
    state.block_mut(qc).high |= bit(replica);
    for id in state.ids() {
        if state.block(id).list & bit(replica) != 0 && !reports(state, replica, id) {
            state.block_mut(id).list &= !bit(replica);
        }
    }
}

/// The Qcs that a replica may take over now.
pub(crate) fn adoptable(state: &State, config: &Config, replica: usize) -> Vec<BlockId> {
    let high = state.block(state.high_of(replica)).rank();
    let fits = |id: &BlockId| {
        let block = state.block(*id);
        block.view <= state.views[replica] && block.rank() > high && certifiable(state, config, *id)
    };
    state.ids().filter(fits).collect()
}

/// R-REPORT: above the high_qc and, in its own view, on its branch.
fn reports(state: &State, replica: usize, id: BlockId) -> bool {
    let high = state.high_of(replica);
    let (block, certified) = (state.block(id), state.block(high));
    block.rank() > certified.rank() && (block.view != certified.view || state.extends(id, high))
}

/// Writes this replica's Timeout of a view and leaves the view.
pub(crate) fn time_out(state: &mut State, config: &Config, replica: usize, released: u8) {
    let (me, view) = (bit(replica), usize::from(state.views[replica]));
    let empty = config.has(Bug::ForgetLock);
    for block in &mut state.blocks {
        let released = config.has(Bug::ReleaseByCheckpoint) && block.slot <= released;
        if released {
            block.list &= !me;
        }
        if !empty {
            block.list_at[view] |= block.list & me;
            block.high_at[view] |= block.high & me;
        }
    }
    if empty {
        state.block_mut(GENESIS).high_at[view] |= me;
    }
    set_last(state, replica, None);
    state.views[replica] += 1;
}

fn set_last(state: &mut State, replica: usize, last: Option<BlockId>) {
    for block in &mut state.blocks {
        block.last &= !bit(replica);
    }
    if let Some(id) = last {
        state.block_mut(id).last |= bit(replica);
    }
}

/// Who has sent a Timeout of this view.
pub(crate) fn timed_out(state: &State, view: u8) -> Members {
    state
        .blocks
        .iter()
        .fold(0, |all, block| all | block.high_at[usize::from(view)])
}
