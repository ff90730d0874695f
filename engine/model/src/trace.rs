//! A counterexample as a history that a person can read: the checker's path, replayed with names that stay.

use stateright::Model as _;

use crate::certificates;
use crate::config::{Config, MAX_CORRECT, Order};
use crate::lanes::Deed;
use crate::model::{Action, Protocol, invariant, stable};
use crate::oracle;
use crate::rules;
use crate::safe_tip::Ref;
use crate::state::{BlockId, GENESIS, Members, State, Verdict, bit, mark};

/// The history of a path of the checker, a line a step, and what is wrong at its end.
///
/// States of the path are representatives, in which names change from step to step; here every step is done again from
/// the state before it, with an action that leads to the same representative.
pub fn history(protocol: &Protocol, path: &[State]) -> Vec<String> {
    let config = &protocol.config;
    let mut state = State::start(config.correct(), config.first_view, config.lanes);
    let mut lines = Vec::new();
    for target in path.iter().skip(1) {
        let mut actions = Vec::new();
        protocol.actions(&state, &mut actions);
        let step = actions
            .into_iter()
            .map(|action| (action, protocol.apply(&state, action)))
            .find(|(_, next)| protocol.canonical(next) == *target);
        let Some((action, next)) = step else {
            lines.push("the path cannot be replayed: canonical forms are not canonical".to_owned());
            return lines;
        };
        describe(config, &state, action, &next, &mut lines);
        state = next;
    }
    lines.push(format!("broken: {}", invariant(state.verdict)));
    lines
}

fn describe(config: &Config, before: &State, action: Action, after: &State, lines: &mut Vec<String>) {
    match action {
        Action::Accept { replica, block, takes } => lines.push(accepts(config, replica, block, takes, "")),
        Action::Propose { replica, takes, .. } => {
            let block = u8::try_from(before.blocks.len()).expect("a state has few blocks");
            lines.push(accepts(config, replica, block, takes, &origin(after, block)));
        }
        Action::Flush(replica) => lines.push(format!("{} is durable: its votes leave", who(replica))),
        Action::Crash(replica) => lines.push(format!("{} crashes and restarts", who(replica))),
        Action::Adopt { replica, block } => {
            lines.push(format!("{} takes over the Qc of {}", who(replica), named(block)));
        }
        Action::Leave(replica) => {
            let view = before.views[replica];
            lines.push(timeout(after, view, replica));
            if after.verdict != Verdict::Holds {
                end_of_free(config, after, lines);
            }
        }
        Action::Close(adopted) => close(config, before, adopted, after, lines),
        Action::Lane(replica, deed, batch) => {
            let what = match deed {
                Deed::Store => "stores",
                Deed::Verify => "verifies",
                Deed::Ack => "acks",
            };
            lines.push(format!("{} {what} batch x{batch}", who(replica)));
        }
        Action::CloseLanes => lines.push(format!(
            "dissemination ends: batches with an AC {:#05b}, held by a correct replica {:#05b} (bit i for x(i+1))",
            after.lanes.certified, after.lanes.held
        )),
    }
    let ended = !matches!(action, Action::Close(_) | Action::Leave(_));
    if config.order == Order::Free && ended && after.verdict != Verdict::Holds {
        end_of_free(config, after, lines);
    }
}

fn accepts(config: &Config, replica: usize, block: BlockId, takes: Option<BlockId>, origin: &str) -> String {
    let how = takes
        .filter(|qc| *qc != GENESIS)
        .map_or_else(String::new, |qc| format!(" with the Qc of {}", named(qc)));
    let votes = if config.crashes { " in memory" } else { " and votes" };
    format!("{} accepts {}{origin}{how}{votes}", who(replica), named(block))
}

fn origin(state: &State, id: BlockId) -> String {
    let block = state.block(id);
    let handoff = if block.hands_off() { ", hands off" } else { "" };
    let entry = match block.entry() {
        0 => String::new(),
        entry => format!(", orders x{entry}"),
    };
    format!(
        " (view {}, slot {}, on {}{handoff}{entry})",
        block.view,
        block.slot,
        named(block.parent)
    )
}

/// The end of a view: the same steps as the model takes, told one by one.
fn close(config: &Config, before: &State, adopted: [BlockId; MAX_CORRECT], after: &State, lines: &mut Vec<String>) {
    let view = before.views[0];
    let mut told = before.clone();
    for (replica, qc) in adopted.iter().enumerate().filter(|(_, qc)| **qc != GENESIS) {
        rules::adopt(&mut told, replica, *qc);
        let locks = if before.block(*qc).view == view {
            " and locks it"
        } else {
            ""
        };
        lines.push(format!("{} takes over the Qc of {}{locks}", who(replica), named(*qc)));
    }
    for id in oracle::committed_at_end(&told, config, view, &adopted) {
        told.block_mut(id).marks |= mark::COMMITTED;
    }
    let released = stable(&told, config);
    for replica in 0..config.correct() {
        rules::time_out(&mut told, config, replica, released);
        lines.push(timeout(&told, view, replica));
    }
    if after.verdict == Verdict::Holds {
        lines.push(format!("view {view} ends"));
        return;
    }
    let committed = |id: &BlockId| *id != GENESIS && told.block(*id).marks & mark::COMMITTED != 0;
    let every: Vec<BlockId> = told.ids().filter(committed).collect();
    lines.push(format!("committed, counting the liars: {}", list(&every)));
    blame(config, &told, view, &every, lines);
    let stale = |id: &BlockId| after.block(*id).marks & mark::OLD_TIP != 0;
    let stale: Vec<BlockId> = after.ids().filter(stale).collect();
    if !stale.is_empty() {
        lines.push(format!(
            "parents of view {} by the certificate of view {}: {}",
            view + 1,
            view - 1,
            list(&stale)
        ));
    }
}

fn end_of_free(config: &Config, state: &State, lines: &mut Vec<String>) {
    for view in config.first_view..config.views {
        let every = oracle::committed_up_to(state, config, view);
        lines.push(format!(
            "committed in views up to {view}, counting the liars: {}",
            list(&every)
        ));
        blame(config, state, view, &every, lines);
    }
}

/// A certificate of `view` whose tip leaves a committed block out.
fn blame(config: &Config, state: &State, view: u8, committed: &[BlockId], lines: &mut Vec<String>) {
    let mut told = false;
    certificates::each(state, config, view, &mut |certificate| {
        let misses = |tip: &Ref| committed.iter().any(|block| !state.extends(tip.block, *block));
        if told || !certificate.tips.iter().any(misses) {
            return;
        }
        told = true;
        let names = |refs: &[Ref]| list(&refs.iter().map(|one| one.block).collect::<Vec<_>>());
        let lie = certificate.liars.map_or_else(String::new, |report| {
            let high = named(report.high.block);
            format!(" and the liar's (high_qc {high}, lists {})", names(&report.accepted))
        });
        lines.push(format!(
            "Tc({view}) of the Timeouts of {}{lie}: safe tip {}",
            members_of(certificate.correct),
            names(certificate.tips)
        ));
    });
}

fn timeout(state: &State, view: u8, replica: usize) -> String {
    let at = usize::from(view);
    let high = state.find(|block| block.high_at[at] & bit(replica) != 0);
    let listed = |id: &BlockId| state.block(*id).list_at[at] & bit(replica) != 0;
    let listed: Vec<BlockId> = state.ids().filter(listed).collect();
    format!(
        "{} sends Timeout({view}): high_qc {}, lists {}",
        who(replica),
        named(high.unwrap_or(GENESIS)),
        list(&listed)
    )
}

fn who(replica: usize) -> String {
    format!("H{}", replica + 1)
}

fn members_of(mask: Members) -> String {
    let names: Vec<String> = (0..MAX_CORRECT).filter(|r| mask & bit(*r) != 0).map(who).collect();
    names.join(", ")
}

fn named(id: BlockId) -> String {
    if id == GENESIS {
        "genesis".to_owned()
    } else {
        format!("b{id}")
    }
}

fn list(ids: &[BlockId]) -> String {
    if ids.is_empty() {
        return "nothing".to_owned();
    }
    ids.iter().map(|id| named(*id)).collect::<Vec<_>>().join(", ")
}
