//! Sorting histories by view loses none, and forgetting at a view's end changes nothing later: explorations with and
//! without end in exactly the same states.

use std::collections::HashSet;

use stateright::Model as _;
use trireme_model::canonical::forget;
use trireme_model::config::{Config, Order};
use trireme_model::model::Protocol;
use trireme_model::state::State;

/// All states in which every replica has left the last view, each as `part` of it.
fn ends(config: &Config, part: impl Fn(&mut State)) -> HashSet<State> {
    let protocol = Protocol::new(config.clone());
    let mut pending = protocol.init_states();
    let mut seen: HashSet<State> = pending.iter().cloned().collect();
    let mut ends = HashSet::new();
    while let Some(state) = pending.pop() {
        let over = (0..config.correct()).all(|replica| state.views[replica] == config.views);
        if over {
            let mut plain = state.clone();
            part(&mut plain);
            ends.insert(protocol.canonical(&plain));
        }
        let mut actions = Vec::new();
        protocol.actions(&state, &mut actions);
        for action in actions {
            let next = protocol.next_state(&state, action).unwrap();
            if seen.insert(next.clone()) {
                pending.push(next);
            }
        }
    }
    ends
}

fn bounds(slots: u8, views: u8, values: u8, order: Order) -> Config {
    Config {
        slots,
        views,
        values,
        order,
        ..Config::named("free").unwrap()
    }
}

#[test]
fn both_orders_end_in_the_same_states() {
    // Marks are made by view only.
    let unmarked = |state: &mut State| state.blocks.iter_mut().for_each(|block| block.marks = 0);
    for (slots, views, values) in [(2, 1, 2), (1, 2, 3)] {
        let free = ends(&bounds(slots, views, values, Order::Free), unmarked);
        let sorted = ends(&bounds(slots, views, values, Order::ByViewKeeping), unmarked);
        assert!(free.len() > 100);
        assert_eq!(free.len(), sorted.len());
        assert!(free == sorted);
    }
}

#[test]
fn nothing_depends_on_what_is_forgotten() {
    for (slots, views, values) in [(1, 2, 3), (2, 2, 1), (1, 3, 2)] {
        let forgotten = |state: &mut State| forget(state, 3);
        let kept = ends(&bounds(slots, views, values, Order::ByViewKeeping), forgotten);
        let lean = ends(&bounds(slots, views, values, Order::ByView), forgotten);
        assert!(kept.len() > 20);
        assert_eq!(kept.len(), lean.len());
        assert!(kept == lean);
    }
}
