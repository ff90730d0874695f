//! The few operations that already have no order, out of a key's many.
//!
//! Every step weakens the question, so what is left has no order for the same reason: the beginning is forgotten (the
//! first state is unknown), operations lose their result (they may have happened or not), operations that change
//! nothing are left out.

use crate::register::State;
use crate::search::{Budget, Found, Op, search};

/// So many operations are tried one by one.
const MOST_TRIED: usize = 400;
/// And with so much work for each.
const BUDGET: Budget = Budget {
    worlds: 4_096,
    work: 100_000,
};

/// A smaller set of operations without an order, given that `ops[at]` could not come back. Ascending rows.
pub(crate) fn window(ops: &[Op], at: usize, first: State) -> Vec<Op> {
    let end = ops[at].back;
    let involved: Vec<Op> = ops.iter().filter(|op| op.invoke <= end).copied().collect();
    let mut small = latest_suffix(&involved).map_or((involved, first), |suffix| (suffix, State::UNKNOWN));
    drop_needless(&mut small.0, small.1);
    small.0.sort_by_key(|op| (op.invoke, op.back));
    small.0
}

fn has_no_order(ops: &[Op], first: State) -> bool {
    matches!(search(ops, first, BUDGET), Found::NoOrder(_))
}

/// The operations from a time on, whatever was before; the latest time at which they still have no order.
fn latest_suffix(ops: &[Op]) -> Option<Vec<Op>> {
    let mut times: Vec<u64> = ops.iter().map(|op| op.invoke).collect();
    times.sort_unstable();
    times.dedup();
    let from = |time: u64| -> Vec<Op> { ops.iter().filter_map(|op| since(*op, time)).collect() };
    // Later beginnings are weaker questions: the answer changes once.
    let (mut bad, mut good) = (0, times.len());
    if !has_no_order(&from(*times.first()?), State::UNKNOWN) {
        return None;
    }
    while good - bad > 1 {
        let middle = usize::midpoint(bad, good);
        if has_no_order(&from(times[middle]), State::UNKNOWN) {
            bad = middle;
        } else {
            good = middle;
        }
    }
    Some(from(times[bad]))
}

/// The operation as one who looks from `time` on sees it: what ended before is part of the unknown beginning, and what
/// was under way may have happened before.
fn since(op: Op, time: u64) -> Option<Op> {
    if op.invoke >= time {
        return Some(op);
    }
    if op.back < time {
        return None;
    }
    let action = op.action.without_result()?;
    Some(Op {
        action,
        back: u64::MAX,
        ..op
    })
}

/// Leaves out what is not needed: what changes nothing, and what may have happened or not just as well.
fn drop_needless(ops: &mut Vec<Op>, first: State) {
    if ops.len() > MOST_TRIED {
        return;
    }
    // The last ones are the likeliest reason: try the others first.
    ops.sort_by_key(|op| (op.back, op.invoke));
    let mut at = 0;
    while at < ops.len() {
        let mut fewer = ops.clone();
        let weaker = ops[at].action.without_result();
        match weaker {
            None => drop(fewer.remove(at)),
            Some(action) => {
                fewer[at].action = action;
                fewer[at].back = u64::MAX;
            }
        }
        let needless = has_no_order(&fewer, first);
        match weaker {
            None if needless => *ops = fewer,
            Some(_) if needless => {
                *ops = fewer;
                at += 1;
            }
            _ => at += 1,
        }
    }
}
