//! Merkle trees over digests, shaped as in RFC 6962: of `n` leaves the left subtree takes the largest power of two
//! below `n`. So no leaf is ever doubled, and a tree has one shape.
//!
//! Leaves, inner places and the root are hashed under three contexts. The root covers the number of leaves: two lists
//! with equal roots are equal, and a path proves an index, not only membership.

use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::bytes::Digest;
use crate::context;
use crate::digest::hash_parts;

/// The longest path has this many digests: that of a tree with almost 2^32 leaves.
pub const MAX_DEPTH: usize = 32;

/// A tree with all its inner digests, for when many paths are wanted. Takes 64 bytes a leaf.
///
/// Level by level from the leaves: neighbours are joined, and a last one without a neighbour rises as it is. That gives
/// the shape of RFC 6962.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The digests of each level, leaves first; the last level has one, or none in the empty tree.
    levels: Vec<Vec<Digest>>,
    leaves: u32,
}

/// A proof that a leaf stands at `index` in a tree of `leaves` leaves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Path {
    /// Where the leaf stands, from 0.
    pub index: u32,
    /// How many leaves the tree has.
    pub leaves: u32,
    /// The digests beside the way to the root, the leaf's neighbour first; at most [`MAX_DEPTH`] in a path that proves.
    pub siblings: Vec<Digest>,
}

/// The root of the tree over `leaves`. No leaves have a root, too, unlike that of any other tree.
///
/// # Panics
///
/// With 2^32 leaves or more; the limits on batches and receipts stay far below.
pub fn root(leaves: &[Digest]) -> Digest {
    let mut level: Vec<_> = leaves.iter().map(leaf_digest).collect();
    while level.len() > 1 {
        level = join(&level);
    }
    seal(count(leaves), level.first())
}

/// The path of the leaf at `index`; nothing if there is none. For more than one path of a tree build a [`Tree`].
///
/// # Panics
///
/// As [`root`].
pub fn path(leaves: &[Digest], index: usize) -> Option<Path> {
    Tree::new(leaves).path(index)
}

impl Tree {
    /// The tree over `leaves`.
    ///
    /// # Panics
    ///
    /// As [`root`].
    pub fn new(leaves: &[Digest]) -> Tree {
        let mut levels = Vec::new();
        let mut level: Vec<_> = leaves.iter().map(leaf_digest).collect();
        while level.len() > 1 {
            let above = join(&level);
            levels.push(level);
            level = above;
        }
        levels.push(level);
        Tree {
            levels,
            leaves: count(leaves),
        }
    }

    /// The root: the same as [`root`] of the leaves.
    pub fn root(&self) -> Digest {
        seal(self.leaves, self.levels.last().and_then(|top| top.first()))
    }

    /// The path of the leaf at `index`; nothing if there is none.
    pub fn path(&self, index: usize) -> Option<Path> {
        let index = u32::try_from(index).ok().filter(|index| *index < self.leaves)?;
        let beside = self
            .levels
            .iter()
            .enumerate()
            .map(|(height, level)| level.get((index as usize >> height) ^ 1));
        Some(Path {
            index,
            leaves: self.leaves,
            siblings: beside.flatten().copied().collect(),
        })
    }
}

impl Path {
    /// Whether `leaf` stands at this path's index in the tree with this `root`.
    ///
    /// Takes paths from outside as they come: a path of the wrong length or with an index out of range proves nothing.
    pub fn verify(&self, root: &Digest, leaf: &Digest) -> bool {
        self.index < self.leaves
            && self
                .climb(leaf)
                .is_some_and(|top| seal(self.leaves, Some(&top)) == *root)
    }

    /// The digest at the top, if there are just as many siblings as the way up needs.
    fn climb(&self, leaf: &Digest) -> Option<Digest> {
        let mut siblings = self.siblings.iter();
        let mut digest = leaf_digest(leaf);
        let (mut place, mut last) = (self.index, self.leaves - 1);
        // Place and last place of the level; one step up halves both, so this ends after at most MAX_DEPTH levels.
        while last > 0 {
            if place % 2 == 1 {
                digest = inner(siblings.next()?, &digest);
            } else if place < last {
                digest = inner(&digest, siblings.next()?);
            }
            place /= 2;
            last /= 2;
        }
        siblings.next().is_none().then_some(digest)
    }
}

/// The level above: pairs joined, a last one without a neighbour as it is.
fn join(level: &[Digest]) -> Vec<Digest> {
    let join_pair = |pair: &[Digest]| match pair {
        [left, right] => inner(left, right),
        [alone] => *alone,
        _ => unreachable!("chunks of one or two"),
    };
    level.chunks(2).map(join_pair).collect()
}

fn leaf_digest(leaf: &Digest) -> Digest {
    hash_parts(context::MERKLE_LEAF, &[&leaf.0])
}

fn inner(left: &Digest, right: &Digest) -> Digest {
    hash_parts(context::MERKLE_INNER, &[&left.0, &right.0])
}

fn seal(leaves: u32, top: Option<&Digest>) -> Digest {
    hash_parts(
        context::MERKLE_ROOT,
        &[&leaves.to_le_bytes(), &top.unwrap_or(&Digest::ZERO).0],
    )
}

fn count(leaves: &[Digest]) -> u32 {
    u32::try_from(leaves.len()).expect("a tree has less than 2^32 leaves")
}
