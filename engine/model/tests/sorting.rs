//! Sorting histories by view loses none: both orders of exploration end in exactly the same states.

use std::collections::HashSet;

use stateright::Model as _;
use trireme_model::config::{Config, Order};
use trireme_model::model::Protocol;
use trireme_model::state::State;

/// All states in which every replica has left the last view, without the marks of either order.
fn ends(config: &Config) -> HashSet<State> {
    let protocol = Protocol::new(config.clone());
    let mut pending = protocol.init_states();
    let mut seen: HashSet<State> = pending.iter().cloned().collect();
    let mut ends = HashSet::new();
    while let Some(state) = pending.pop() {
        let over = (0..config.correct()).all(|replica| state.views[replica] == config.views);
        if over {
            let mut plain = state.clone();
            plain.blocks.iter_mut().for_each(|block| block.marks = 0);
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

fn same_ends(slots: u8, views: u8, values: u8) -> usize {
    let bounds = |order| Config {
        slots,
        views,
        values,
        order,
        ..Config::named("free").unwrap()
    };
    let free = ends(&bounds(Order::Free));
    let sorted = ends(&bounds(Order::ByViewKeeping));
    assert_eq!(free.len(), sorted.len());
    assert!(free == sorted);
    free.len()
}

#[test]
fn both_orders_end_in_the_same_states() {
    assert!(same_ends(2, 1, 2) > 100);
    assert!(same_ends(1, 2, 3) > 100);
}
