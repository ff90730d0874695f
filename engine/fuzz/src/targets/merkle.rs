//! Merkle paths: for one root, index and leaf there is one path, and nothing else is accepted.

use trireme_crypto::merkle::{self, Path, Tree};
use trireme_crypto::{Digest, decode, encode};

use super::Samples;
use crate::Source;

pub(super) fn run(bytes: &[u8]) -> bool {
    if let Ok(path) = decode::<Path>(bytes) {
        assert_eq!(encode(&path), bytes, "a path is written as it was read");
        let _ = path.verify(&Digest::ZERO, &Digest::ZERO);
    }
    let mut source = Source::new(bytes);
    let leaves: Vec<Digest> = (0..source.below(40)).map(|_| Digest([source.byte() % 8; 32])).collect();
    let tree = Tree::new(&leaves);
    let root = merkle::root(&leaves);
    assert_eq!(tree.root(), root);
    if leaves.is_empty() {
        assert_eq!(tree.path(0), None);
        return false;
    }
    let index = source.below(leaves.len());
    let genuine = tree.path(index).expect("there is a leaf");
    assert_eq!(merkle::path(&leaves, index), Some(genuine.clone()));
    assert!(genuine.verify(&root, &leaves[index]), "a genuine path proves");
    assert!(genuine.siblings.len() <= merkle::MAX_DEPTH);
    let (mut path, mut leaf, mut claimed) = (genuine.clone(), leaves[index], root);
    for _ in 0..source.below(4) {
        bend(&mut path, &mut leaf, &mut claimed, &mut source);
    }
    // Another leaf of the tree may be claimed, with its own path.
    let there = leaves.get(path.index as usize) == Some(&leaf);
    let own = tree.path(path.index as usize).as_ref() == Some(&path);
    let true_claim = there && own && claimed == root;
    assert_eq!(path.verify(&claimed, &leaf), true_claim, "exactly the one path proves");
    true
}

fn bend(path: &mut Path, leaf: &mut Digest, root: &mut Digest, source: &mut Source<'_>) {
    match source.below(9) {
        0 => path.index = source.number() as u32,
        1 => path.leaves = source.number() as u32,
        2 => drop(path.siblings.pop()),
        3 => path.siblings.push(Digest([source.byte(); 32])),
        4 if !path.siblings.is_empty() => {
            let at = source.below(path.siblings.len());
            path.siblings[at].0[usize::from(source.byte() % 32)] ^= source.byte();
        }
        5 if path.siblings.len() > 1 => path.siblings.reverse(),
        6 => leaf.0[0] = source.byte() % 8,
        7 => root.0[usize::from(source.byte() % 32)] ^= source.byte(),
        // Up to 64 more siblings: longer than any path that proves.
        _ => path.siblings.extend((0..source.below(64)).map(|_| Digest::ZERO)),
    }
}

pub(super) fn samples() -> Samples {
    vec![
        ("genuine".into(), vec![5, 1, 2, 3, 4, 5, 2, 0]),
        ("one-leaf".into(), vec![1, 1, 0, 0]),
        ("bent".into(), vec![9, 1, 2, 3, 4, 5, 6, 7, 0, 1, 3, 2, 2, 0, 5, 6, 1]),
    ]
}
