//! An authenticated map in memory: from a place (a digest) to a value's digest. Here is the part of it below one shard
//! of [`Forest`](crate::Forest), and what parts are made of.
//!
//! A binary trie over the bits of the place, most significant first, in which a part with a single leaf is that leaf.
//! So its shape, and with it the root, is a function of the map's content alone. Changes come in batches: a batch is
//! sorted, walks the trie once, and each inner place on its ways is hashed once, however many changes pass it.
//!
//! Hashes: a leaf is `MERKLE_LEAF(place || value)`, an inner place `MERKLE_INNER(left || right)`, an empty part is
//! [`Digest::ZERO`], and the root binds the number of leaves.

use borsh::{BorshDeserialize, BorshSerialize};
use trireme_crypto::{Digest, context, hash_parts};

/// A change of the map at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where. A digest of the key: its bits are spread evenly, and nobody chooses them freely.
    pub place: Digest,
    /// What stands there from now on; `None` removes it.
    pub value: Option<Digest>,
}

/// A link to a part of the trie: nothing, a leaf, or an inner place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link(u32);

const EMPTY: Link = Link(u32::MAX);
const LEAF: u32 = 1 << 31;

impl Link {
    fn leaf(index: usize) -> Self {
        let index = u32::try_from(index).ok().filter(|index| *index < LEAF - 1);
        Self(index.expect("less than 2^31 - 1 leaves") | LEAF)
    }

    fn inner(index: usize) -> Self {
        let index = u32::try_from(index).ok().filter(|index| *index < LEAF);
        Self(index.expect("less than 2^31 inner places"))
    }

    fn is_leaf(self) -> bool {
        self != EMPTY && self.0 & LEAF != 0
    }

    fn is_inner(self) -> bool {
        self.0 & LEAF == 0
    }

    fn index(self) -> usize {
        (self.0 & !LEAF) as usize
    }
}

/// A part of the trie from outside: what its parent hashes, and whether it is a single leaf, which moves up beside an
/// empty part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Sub {
    /// Nothing in it.
    Empty,
    /// One leaf: `MERKLE_LEAF(place || value)`.
    Leaf(Digest),
    /// Two leaves or more: `MERKLE_INNER(left || right)`.
    Inner(Digest),
}

impl Sub {
    /// The part made of two.
    pub fn join(left: Self, right: Self) -> Self {
        match (left, right) {
            (Self::Empty, Self::Empty | Self::Leaf(_)) => right,
            (Self::Leaf(_), Self::Empty) => left,
            _ => Self::Inner(inner_digest(&left.digest(), &right.digest())),
        }
    }

    /// What stands for it in its parent.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Empty => Digest::ZERO,
            Self::Leaf(digest) | Self::Inner(digest) => *digest,
        }
    }
}

/// The root of a map of `count` places whose trie is `top`.
pub fn map_root(count: u64, top: Sub) -> Digest {
    hash_parts(context::STATE, &[b"map     ", &count.to_le_bytes(), &top.digest().0])
}

/// A part of the trie with its digest. Digests stand beside the links to what they cover, so that hashing an inner
/// place reads that place only, and not its neighbours: memory that is not in a cache is what a change waits for.
#[derive(Clone, Copy, Debug)]
struct Part {
    link: Link,
    digest: Digest,
}

const NOTHING: Part = Part {
    link: EMPTY,
    digest: Digest::ZERO,
};

/// The trie below `depth` bits that all its places share.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    depth: usize,
    top: Part,
    /// Places of the leaves.
    leaves: Vec<Digest>,
    free_leaves: Vec<u32>,
    /// What is left and right of the inner places.
    inners: Vec<[Part; 2]>,
    free_inners: Vec<u32>,
}

impl Tree {
    /// An empty one.
    pub(crate) fn below(depth: usize) -> Self {
        Self {
            depth,
            top: NOTHING,
            leaves: Vec::new(),
            free_leaves: Vec::new(),
            inners: Vec::new(),
            free_inners: Vec::new(),
        }
    }

    /// Number of places with a value.
    pub(crate) fn len(&self) -> usize {
        self.leaves.len() - self.free_leaves.len()
    }

    /// Applies changes in ascending order of their places, each place once.
    pub(crate) fn apply(&mut self, changes: &[Change]) {
        self.top = self.update(self.top, self.depth, changes);
    }

    /// The whole from outside.
    pub(crate) fn top(&self) -> Sub {
        sub(self.top)
    }

    /// The part whose places share their first `depth` bits with `place`.
    pub(crate) fn part(&self, place: &Digest, depth: usize) -> Sub {
        let mut part = self.top;
        for at in self.depth..depth {
            if !part.link.is_inner() {
                break;
            }
            part = self.inners[part.link.index()][usize::from(bit(place, at))];
        }
        let elsewhere = part.link.is_leaf() && !shares(&self.leaves[part.link.index()], place, depth);
        if elsewhere { Sub::Empty } else { sub(part) }
    }

    /// Applies sorted changes to a part whose places share their first `depth` bits with all of them.
    fn update(&mut self, part: Part, depth: usize, changes: &[Change]) -> Part {
        if changes.is_empty() {
            return part;
        }
        match part.link {
            EMPTY => self.build(depth, changes),
            link if link.is_leaf() => self.update_leaf(part, depth, changes),
            link => self.update_inner(link, depth, changes),
        }
    }

    fn update_inner(&mut self, link: Link, depth: usize, changes: &[Change]) -> Part {
        let [left, right] = self.inners[link.index()];
        let (left_changes, right_changes) = split(changes, depth);
        let left = self.update(left, depth + 1, left_changes);
        let right = self.update(right, depth + 1, right_changes);
        self.free_inners.push(link.0);
        self.join(left, right)
    }

    /// Changes either hit the leaf, or pass it by, or push it down.
    fn update_leaf(&mut self, part: Part, depth: usize, changes: &[Change]) -> Part {
        let place = self.leaves[part.link.index()];
        if let [change] = changes
            && change.place == place
        {
            let Some(value) = change.value else {
                self.free_leaves.push(part.link.0 & !LEAF);
                return NOTHING;
            };
            return Part {
                link: part.link,
                digest: leaf_digest(&place, &value),
            };
        }
        if changes
            .iter()
            .all(|change| change.value.is_none() && change.place != place)
        {
            return part;
        }
        let mut below = [NOTHING; 2];
        below[usize::from(bit(&place, depth))] = part;
        let (left_changes, right_changes) = split(changes, depth);
        let left = self.update(below[0], depth + 1, left_changes);
        let right = self.update(below[1], depth + 1, right_changes);
        self.join(left, right)
    }

    /// A part with what sorted changes put there.
    fn build(&mut self, depth: usize, changes: &[Change]) -> Part {
        match changes {
            [] => NOTHING,
            [change] => change
                .value
                .map_or(NOTHING, |value| self.new_leaf(&change.place, &value)),
            _ => {
                let (left, right) = split(changes, depth);
                let left = self.build(depth + 1, left);
                let right = self.build(depth + 1, right);
                self.join(left, right)
            }
        }
    }

    /// The part made of two: a single leaf moves up, so that the shape stays a function of the content.
    fn join(&mut self, left: Part, right: Part) -> Part {
        match (left.link, right.link) {
            (EMPTY, single) if !single.is_inner() => right,
            (single, EMPTY) if !single.is_inner() => left,
            _ => self.new_inner(left, right),
        }
    }

    fn new_leaf(&mut self, place: &Digest, value: &Digest) -> Part {
        let digest = leaf_digest(place, value);
        if let Some(index) = self.free_leaves.pop() {
            self.leaves[index as usize] = *place;
            return Part {
                link: Link(index | LEAF),
                digest,
            };
        }
        self.leaves.push(*place);
        Part {
            link: Link::leaf(self.leaves.len() - 1),
            digest,
        }
    }

    fn new_inner(&mut self, left: Part, right: Part) -> Part {
        let digest = inner_digest(&left.digest, &right.digest);
        if let Some(index) = self.free_inners.pop() {
            self.inners[index as usize] = [left, right];
            return Part {
                link: Link(index),
                digest,
            };
        }
        self.inners.push([left, right]);
        Part {
            link: Link::inner(self.inners.len() - 1),
            digest,
        }
    }
}

fn leaf_digest(place: &Digest, value: &Digest) -> Digest {
    hash_parts(context::MERKLE_LEAF, &[&place.0, &value.0])
}

fn inner_digest(left: &Digest, right: &Digest) -> Digest {
    hash_parts(context::MERKLE_INNER, &[&left.0, &right.0])
}

fn sub(part: Part) -> Sub {
    match part.link {
        EMPTY => Sub::Empty,
        link if link.is_leaf() => Sub::Leaf(part.digest),
        _ => Sub::Inner(part.digest),
    }
}

/// Whether two places have their first `depth` bits in common.
pub(crate) fn shares(a: &Digest, b: &Digest, depth: usize) -> bool {
    let (whole, rest) = (depth / 8, depth % 8);
    a.0[..whole] == b.0[..whole] && (rest == 0 || (a.0[whole] ^ b.0[whole]) >> (8 - rest) == 0)
}

/// The bit of a place that decides at `depth`: false is left.
fn bit(place: &Digest, depth: usize) -> bool {
    place.0[depth / 8] & (0x80 >> (depth % 8)) != 0
}

/// Cuts sorted changes into those that go left and those that go right at `depth`.
fn split(changes: &[Change], depth: usize) -> (&[Change], &[Change]) {
    changes.split_at(changes.partition_point(|change| !bit(&change.place, depth)))
}
