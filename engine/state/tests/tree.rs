//! The authenticated map against its definition.

mod common;

use std::collections::BTreeMap;

use common::naive_root;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use trireme_crypto::Digest;
use trireme_state::{Change, Forest};

/// Places that share long prefixes as well as short ones, and are few enough to meet again.
fn place() -> impl Strategy<Value = Digest> {
    (0..4u8, 0..32usize, 0..8u8).prop_map(|(first, at, bits)| {
        let mut place = [0; 32];
        place[0] = first << 6;
        place[at] ^= bits;
        Digest(place)
    })
}

fn batch() -> impl Strategy<Value = BTreeMap<Digest, Option<u8>>> {
    btree_map(place(), proptest::option::weighted(0.6, 0..3u8), 0..24)
}

fn value(value: u8) -> Digest {
    Digest([value + 1; 32])
}

fn apply(tree: &mut Forest, batch: &BTreeMap<Digest, Option<u8>>) {
    let change = |(place, new): (&Digest, &Option<u8>)| Change {
        place: *place,
        value: new.map(value),
    };
    let mut changes: Vec<Change> = batch.iter().map(change).rev().collect();
    tree.apply(&mut changes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn root_is_that_of_the_content(batches in vec(batch(), 1..8)) {
        let (mut tree, mut model) = (Forest::new(), BTreeMap::new());
        for batch in &batches {
            apply(&mut tree, batch);
            for (place, new) in batch {
                match new {
                    Some(new) => model.insert(*place, value(*new)),
                    None => model.remove(place),
                };
            }
            prop_assert_eq!(tree.len(), model.len());
            prop_assert_eq!(tree.is_empty(), model.is_empty());
            prop_assert_eq!(tree.root(), naive_root(model.clone().into_iter().collect()));
        }
    }

    #[test]
    fn one_by_one_or_at_once(batch in batch()) {
        let (mut at_once, mut one_by_one) = (Forest::new(), Forest::new());
        apply(&mut at_once, &batch);
        for (place, new) in &batch {
            apply(&mut one_by_one, &BTreeMap::from([(*place, *new)]));
        }
        prop_assert_eq!(at_once.root(), one_by_one.root());
    }
}

#[test]
fn places_that_differ_in_the_last_bit_only() {
    let (mut low, mut high) = ([0xab; 32], [0xab; 32]);
    low[31] = 0;
    high[31] = 1;
    let mut tree = Forest::new();
    apply(
        &mut tree,
        &BTreeMap::from([(Digest(low), Some(0)), (Digest(high), Some(1))]),
    );
    assert_eq!(
        tree.root(),
        naive_root(vec![(Digest(low), value(0)), (Digest(high), value(1))])
    );
    apply(&mut tree, &BTreeMap::from([(Digest(low), None)]));
    assert_eq!(tree.root(), naive_root(vec![(Digest(high), value(1))]));
}

#[test]
#[should_panic(expected = "one change for each place")]
fn two_changes_of_one_place_have_no_meaning() {
    let change = Change {
        place: Digest([1; 32]),
        value: None,
    };
    Forest::new().apply(&mut [change, change]);
}
