//! Merkle trees: the shape, and what a path proves.

use proptest::prelude::*;
use trireme_crypto::merkle::{MAX_DEPTH, Path, Tree, path, root};
use trireme_crypto::{Digest, context, decode, encode, hash_parts};

use crate::forge::message;

fn leaves(count: usize) -> Vec<Digest> {
    (0..count as u64).map(message).collect()
}

fn inner(left: Digest, right: Digest) -> Digest {
    hash_parts(context::MERKLE_INNER, &[&left.0, &right.0])
}

/// The definition of RFC 6962, section 2.1, word for word: split at the largest power of two below `n`.
fn top(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::ZERO,
        [leaf] => hash_parts(context::MERKLE_LEAF, &[&leaf.0]),
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            inner(top(left), top(right))
        }
    }
}

fn defined_root(leaves: &[Digest]) -> Digest {
    hash_parts(
        context::MERKLE_ROOT,
        &[&(leaves.len() as u32).to_le_bytes(), &top(leaves).0],
    )
}

#[test]
fn the_shape_is_that_of_the_definition() {
    for count in (0..70).chain([127, 128, 129, 1000]) {
        let leaves = leaves(count);
        assert_eq!(root(&leaves), defined_root(&leaves), "{count} leaves");
        assert_eq!(Tree::new(&leaves).root(), defined_root(&leaves), "{count} leaves");
    }
}

#[test]
fn every_path_proves_its_leaf_and_no_other() {
    for count in 1..=33 {
        let leaves = leaves(count);
        let (tree, root) = (Tree::new(&leaves), root(&leaves));
        for index in 0..count {
            let proof = tree.path(index).unwrap();
            assert_eq!(path(&leaves, index).as_ref(), Some(&proof));
            for (other, leaf) in leaves.iter().enumerate() {
                assert_eq!(proof.verify(&root, leaf), other == index);
            }
        }
        assert_eq!(tree.path(count), None);
    }
    assert_eq!(path(&[], 0), None);
}

/// The index and the number of leaves are proven, too: with any other the path fails.
#[test]
fn a_path_with_anything_changed_proves_nothing() {
    let leaves = leaves(13);
    let root = root(&leaves);
    for (index, leaf) in leaves.iter().enumerate() {
        let good = path(&leaves, index).unwrap();
        let mut bad: Vec<Path> = Vec::new();
        bad.extend(
            (0..40)
                .filter(|i| *i != good.index)
                .map(|index| Path { index, ..good.clone() }),
        );
        bad.extend(
            (0..40)
                .filter(|i| *i != good.leaves)
                .map(|leaves| Path { leaves, ..good.clone() }),
        );
        for place in 0..good.siblings.len() {
            let mut changed = good.clone();
            changed.siblings[place].0[7] ^= 1;
            let mut shorter = good.clone();
            shorter.siblings.remove(place);
            bad.extend([changed, shorter]);
        }
        let mut longer = good.clone();
        longer.siblings.push(Digest::ZERO);
        bad.push(longer);
        for path in bad {
            assert!(!path.verify(&root, leaf), "{path:?}");
        }
    }
}

/// An inner digest does not pass for a leaf of a smaller tree, nor the last leaf for one that is doubled.
#[test]
fn other_lists_have_other_roots() {
    let four = leaves(4);
    let pairs = [
        inner(top(&four[..1]), top(&four[1..2])),
        inner(top(&four[2..3]), top(&four[3..])),
    ];
    assert_ne!(root(&pairs), root(&four));
    let three = leaves(3);
    let doubled = [three[0], three[1], three[2], three[2]];
    assert_ne!(root(&three), root(&doubled));
    assert_ne!(root(&[]), root(&[Digest::ZERO]));
}

proptest! {
    /// Paths from outside: no panic, nothing proven, and never more work than the deepest tree needs.
    #[test]
    fn foreign_paths_prove_nothing(index: u32, leaves: u32, siblings in prop::collection::vec(any::<[u8; 32]>(), 0..MAX_DEPTH + 2)) {
        let path = Path { index, leaves, siblings: siblings.into_iter().map(Digest).collect() };
        prop_assert!(!path.verify(&root(&[message(0)]), &message(0)));
        prop_assert_eq!(decode::<Path>(&encode(&path)), Ok(path));
    }
}

/// The deepest trees that a path can claim.
#[test]
fn the_deepest_paths_are_taken_apart() {
    for (index, leaves, depth) in [
        (0, u32::MAX, 32),
        (u32::MAX - 1, u32::MAX, 31),
        (1 << 31, (1 << 31) + 1, 1),
    ] {
        let siblings = vec![Digest::ZERO; depth];
        let start = hash_parts(context::MERKLE_LEAF, &[&Digest::ZERO.0]);
        let left_edge = siblings.iter().fold(start, |below, sibling| inner(below, *sibling));
        let right_edge = siblings.iter().fold(start, |below, sibling| inner(*sibling, below));
        let top = if index == 0 { left_edge } else { right_edge };
        let root = hash_parts(context::MERKLE_ROOT, &[&u32::to_le_bytes(leaves), &top.0]);
        assert!(
            Path {
                index,
                leaves,
                siblings
            }
            .verify(&root, &Digest::ZERO),
            "{index} of {leaves}"
        );
    }
}
