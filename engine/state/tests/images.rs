//! Images: shared with the running state, checked part by part, made into the same state again.

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::transfer::{ME, cluster, source};
use common::{batch, bundle, client, slot};
use proptest::collection::vec;
use proptest::prelude::*;
use trireme_core::sessions::SessionLimits;
use trireme_crypto::Digest;
use trireme_state::kv::{Kv, Op};
use trireme_state::{
    BadImage, Change, ClientRegistry, Executor, Forest, Image, Map, Null, Part, Prefix, Restorer, Sub, narrow_part,
};

const LIMITS: SessionLimits = SessionLimits {
    window: 16,
    max_sessions: 1_000,
    result_bytes: 64,
};

fn executor() -> Executor {
    Executor::with_limits(Box::new(Kv::new()), ClientRegistry::Open, LIMITS)
}

/// Requests of several clients: puts and deletes over few keys, with values of all lengths.
fn load(seed: u64, number: u64) -> Bytes {
    let bundles: Vec<_> = (0..8u64)
        .map(|at| {
            let mixed = (seed ^ (number * 8 + at)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let key = [(mixed >> 16) as u8 % 64];
            let value = vec![at as u8; (mixed >> 32) as usize % 40];
            let op = match mixed >> 60 {
                0..3 => Op::Delete { key: &key },
                _ => Op::Put {
                    key: &key,
                    value: &value,
                },
            };
            bundle(
                client(mixed as u8 % 40),
                number.saturating_sub(3),
                &[(number, op.encode())],
            )
        })
        .collect();
    batch(&bundles)
}

fn run(executor: &mut Executor, seed: u64, slots: std::ops::RangeInclusive<u64>) {
    for number in slots {
        executor.execute(&slot(number, vec![load(seed, number)], false), None);
    }
}

/// All that an image says, as its parts have it.
fn parts(image: &Image, part_bytes: usize) -> (trireme_state::Outline, BTreeMap<u64, Vec<u8>>) {
    let outline = image.outline(part_bytes);
    let scheme = executor().blank().scheme();
    let parts = outline
        .check(&scheme, &image.vote().state_root)
        .expect("an outline of its own root");
    let parts = parts
        .into_iter()
        .map(|(part, _)| (part.id(), image.part(part, part_bytes)));
    let parts = parts.collect();
    (outline, parts)
}

fn restore(image: &Image, part_bytes: usize) -> Result<Executor, BadImage> {
    let mut executor = executor();
    let (outline, parts) = parts(image, part_bytes);
    let mut restorer = Restorer::new(&executor.blank(), image.vote().clone(), &outline)?;
    for (id, bytes) in &parts {
        restorer.part(Part::from_id(*id).unwrap(), bytes)?;
    }
    assert!(executor.install(restorer.finish()?));
    Ok(executor)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_restored_state_goes_on_as_the_first(seed in any::<u64>(), before in 1..30u64, part_bytes in 1..600usize) {
        let mut first = executor();
        run(&mut first, seed, 1..=before);
        let image = first.image();
        prop_assert_eq!(image.vote(), &first.state_root(before));
        // The image stays what it is while the state goes on.
        let untouched = parts(&image, part_bytes);
        run(&mut first, seed, before + 1..=before + 10);
        prop_assert_eq!(parts(&image, part_bytes), untouched);

        let mut second = restore(&image, part_bytes).unwrap();
        prop_assert_eq!(&second.state_root(before), image.vote());
        run(&mut second, seed, before + 1..=before + 10);
        prop_assert_eq!(second.state_root(before + 10), first.state_root(before + 10));
    }

    #[test]
    fn parts_are_subtrees(places in vec((any::<u64>(), 0..3u8), 0..200), at in vec(any::<bool>(), 0..20)) {
        // Places that crowd, so that there are deep ones.
        let places: BTreeMap<Digest, u8> = places.into_iter().map(|(bits, crowd)| {
            let mut place = [0; 32];
            place[..8].copy_from_slice(&(bits >> (u32::from(crowd) * 12)).to_be_bytes());
            (Digest(place), crowd)
        }).collect();
        let mut forest = Forest::new();
        let mut changes: Vec<Change> = places.iter().map(|(place, value)| Change {
            place: *place,
            value: Some(Digest([*value; 32])),
        }).collect();
        forest.apply(&mut changes);
        let mut prefix = Prefix::WHOLE;
        for right in at {
            let halves = prefix.halves().unwrap();
            let [left, other] = halves.map(|half| forest.part(half));
            prop_assert_eq!(forest.part(prefix), Sub::join(left, other));
            prefix = halves[usize::from(right)];
        }
        let count = places.keys().filter(|place| prefix.holds(place)).count();
        match forest.part(prefix) {
            Sub::Empty => prop_assert_eq!(count, 0),
            Sub::Leaf(_) => prop_assert_eq!(count, 1),
            Sub::Inner(_) => prop_assert!(count > 1),
        }
    }
}

#[test]
fn parts_keep_to_the_limit() {
    let mut executor = executor();
    run(&mut executor, 7, 1..=60);
    let image = executor.image();
    let (_, parts) = parts(&image, 300);
    assert!(parts.len() > 10, "{}", parts.len());
    let apps = parts
        .keys()
        .filter(|id| Part::from_id(**id).unwrap().map == Map::App)
        .count();
    assert!(apps > 3 && apps < parts.len(), "both maps are cut");
    // A single session may be larger; all parts of the application fit.
    for (id, bytes) in &parts {
        assert!(Part::from_id(*id).unwrap().map == Map::Sessions || bytes.len() <= 301);
    }
}

#[test]
fn a_changed_part_gives_no_state() {
    let mut executor = executor();
    run(&mut executor, 3, 1..=20);
    let image = executor.image();
    let (outline, parts) = parts(&image, 400);
    for changed in parts.keys() {
        let mut restorer = Restorer::new(&executor.blank(), image.vote().clone(), &outline).unwrap();
        let mut good = true;
        for (id, bytes) in &parts {
            let mut bytes = bytes.clone();
            if id == changed {
                *bytes.last_mut().unwrap() ^= 1;
            }
            good &= restorer.part(Part::from_id(*id).unwrap(), &bytes).is_ok();
        }
        assert!(!good || restorer.finish().is_err());
    }
    let mut head = outline.clone();
    head.head[0] ^= 1;
    assert_eq!(head.check(&executor.blank().scheme(), &image.vote().state_root), None);
    let mut count = outline;
    count.app.count += 1;
    assert_eq!(count.check(&executor.blank().scheme(), &image.vote().state_root), None);
}

#[test]
fn smaller_and_larger_parts_are_answered() {
    let (context, _) = cluster(ME);
    let source = source(&context, 50, 500);
    let scheme = executor().blank().scheme();
    for (part, sub) in source.outline.check(&scheme, &source.image.vote().state_root).unwrap() {
        let stored = source.image.part(part, 500);
        for half in part.prefix.halves().unwrap() {
            let half = Part {
                map: part.map,
                prefix: half,
            };
            assert_eq!(
                narrow_part(&scheme, half, &stored).unwrap(),
                source.image.part(half, 500)
            );
        }
        assert_eq!(source.outline.split(part), None);
        let above = Part {
            map: part.map,
            prefix: part.prefix.parent().unwrap(),
        };
        assert_eq!(
            source.outline.split(above).unwrap(),
            source.image.part(above, 500),
            "{sub:?}"
        );
    }
}

#[test]
fn a_state_never_goes_back() {
    let mut first = executor();
    run(&mut first, 1, 1..=5);
    let image = first.image();
    run(&mut first, 1, 6..=6);
    let root = first.state_root(6);
    let (outline, parts) = parts(&image, 1 << 20);
    let mut restorer = Restorer::new(&first.blank(), image.vote().clone(), &outline).unwrap();
    for (id, bytes) in &parts {
        restorer.part(Part::from_id(*id).unwrap(), bytes).unwrap();
    }
    assert!(!first.install(restorer.finish().unwrap()));
    assert_eq!(first.state_root(6), root);
}

#[test]
fn null_is_restored_from_its_head() {
    let null = || Executor::with_limits(Box::new(Null::new()), ClientRegistry::Open, LIMITS);
    let mut first = null();
    run(&mut first, 5, 1..=9);
    let image = first.image();
    let outline = image.outline(1 << 20);
    let mut second = null();
    let mut restorer = Restorer::new(&second.blank(), image.vote().clone(), &outline).unwrap();
    for (part, _) in outline
        .check(&second.blank().scheme(), &image.vote().state_root)
        .unwrap()
    {
        assert_eq!(part.map, Map::Sessions);
        restorer.part(part, &image.part(part, 1 << 20)).unwrap();
    }
    assert!(second.install(restorer.finish().unwrap()));
    run(&mut first, 5, 10..=12);
    run(&mut second, 5, 10..=12);
    assert_eq!(first.state_root(12), second.state_root(12));
}
