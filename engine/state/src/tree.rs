//! An authenticated map in memory: from a place (a digest) to a value's digest.
//!
//! A binary trie over the bits of the place, most significant first, in which a part with a single leaf is that leaf.
//! So its shape, and with it the root, is a function of the map's content alone. Changes come in batches: a batch is
//! sorted, walks the trie once, and each inner place on its ways is hashed once, however many changes pass it.
//!
//! Hashes: a leaf is `MERKLE_LEAF(place || value)`, an inner place `MERKLE_INNER(left || right)`, an empty part is
//! [`Digest::ZERO`], and the root binds the number of leaves.

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

#[derive(Clone, Copy, Debug)]
struct Leaf {
    place: Digest,
    /// Of the leaf: place and value.
    digest: Digest,
}

#[derive(Clone, Copy, Debug)]
struct Inner {
    below: [Link; 2],
    digest: Digest,
}

/// The map.
#[derive(Clone, Debug)]
pub struct Tree {
    top: Link,
    leaves: Vec<Leaf>,
    free_leaves: Vec<u32>,
    inners: Vec<Inner>,
    free_inners: Vec<u32>,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// The empty map.
    pub fn new() -> Self {
        Self {
            top: EMPTY,
            leaves: Vec::new(),
            free_leaves: Vec::new(),
            inners: Vec::new(),
            free_inners: Vec::new(),
        }
    }

    /// Number of places with a value.
    pub fn len(&self) -> usize {
        self.leaves.len() - self.free_leaves.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.top == EMPTY
    }

    /// Applies a batch; `changes` comes back sorted by place.
    ///
    /// # Panics
    ///
    /// If a place occurs twice: then the batch has no meaning.
    pub fn apply(&mut self, changes: &mut [Change]) {
        changes.sort_unstable_by_key(|change| change.place);
        assert!(
            changes.is_sorted_by(|a, b| a.place < b.place),
            "one change for each place"
        );
        self.top = self.update(self.top, 0, changes);
    }

    /// The root: of the content alone.
    pub fn root(&self) -> Digest {
        let count = u64::try_from(self.len()).expect("a length fits");
        hash_parts(
            context::STATE,
            &[b"map     ", &count.to_le_bytes(), &self.digest(self.top).0],
        )
    }

    fn digest(&self, link: Link) -> Digest {
        match link {
            EMPTY => Digest::ZERO,
            link if link.is_leaf() => self.leaves[link.index()].digest,
            link => self.inners[link.index()].digest,
        }
    }

    /// Applies sorted changes to the part at `link`, whose places share their first `depth` bits with all of them.
    fn update(&mut self, link: Link, depth: usize, changes: &[Change]) -> Link {
        if changes.is_empty() {
            return link;
        }
        match link {
            EMPTY => self.build(depth, changes),
            link if link.is_leaf() => self.update_leaf(link, depth, changes),
            link => self.update_inner(link, depth, changes),
        }
    }

    fn update_inner(&mut self, link: Link, depth: usize, changes: &[Change]) -> Link {
        let [left, right] = self.inners[link.index()].below;
        let (left_changes, right_changes) = split(changes, depth);
        let left = self.update(left, depth + 1, left_changes);
        let right = self.update(right, depth + 1, right_changes);
        self.free_inners.push(link.0);
        self.join(left, right)
    }

    /// A leaf among changes is one more change, unless one of them is for its place.
    fn update_leaf(&mut self, link: Link, depth: usize, changes: &[Change]) -> Link {
        let leaf = self.leaves[link.index()];
        if let [change] = changes
            && change.place == leaf.place
        {
            let Some(value) = change.value else {
                self.free_leaves.push(link.0 & !LEAF);
                return EMPTY;
            };
            self.leaves[link.index()].digest = leaf_digest(&leaf.place, &value);
            return link;
        }
        if changes
            .iter()
            .all(|change| change.value.is_none() && change.place != leaf.place)
        {
            return link;
        }
        let (side, other) = split(changes, depth);
        let (mut below, leaf_right) = ([EMPTY; 2], bit(&leaf.place, depth));
        below[usize::from(leaf_right)] = link;
        let left = self.update(below[0], depth + 1, side);
        let right = self.update(below[1], depth + 1, other);
        self.join(left, right)
    }

    /// A part with what sorted changes put there.
    fn build(&mut self, depth: usize, changes: &[Change]) -> Link {
        match changes {
            [] => EMPTY,
            [change] => change.value.map_or(EMPTY, |value| self.new_leaf(&change.place, &value)),
            _ => {
                let (left, right) = split(changes, depth);
                let left = self.build(depth + 1, left);
                let right = self.build(depth + 1, right);
                self.join(left, right)
            }
        }
    }

    /// The part made of two: a single leaf moves up, so that the shape stays a function of the content.
    fn join(&mut self, left: Link, right: Link) -> Link {
        match (left, right) {
            (EMPTY, single) | (single, EMPTY) if !single.is_inner() => single,
            _ => self.new_inner(left, right),
        }
    }

    fn new_leaf(&mut self, place: &Digest, value: &Digest) -> Link {
        let leaf = Leaf {
            place: *place,
            digest: leaf_digest(place, value),
        };
        if let Some(index) = self.free_leaves.pop() {
            self.leaves[index as usize] = leaf;
            return Link(index | LEAF);
        }
        self.leaves.push(leaf);
        Link::leaf(self.leaves.len() - 1)
    }

    fn new_inner(&mut self, left: Link, right: Link) -> Link {
        let digest = hash_parts(context::MERKLE_INNER, &[&self.digest(left).0, &self.digest(right).0]);
        let inner = Inner {
            below: [left, right],
            digest,
        };
        if let Some(index) = self.free_inners.pop() {
            self.inners[index as usize] = inner;
            return Link(index);
        }
        self.inners.push(inner);
        Link::inner(self.inners.len() - 1)
    }
}

fn leaf_digest(place: &Digest, value: &Digest) -> Digest {
    hash_parts(context::MERKLE_LEAF, &[&place.0, &value.0])
}

/// The bit of a place that decides at `depth`: false is left.
fn bit(place: &Digest, depth: usize) -> bool {
    place.0[depth / 8] & (0x80 >> (depth % 8)) != 0
}

/// Cuts sorted changes into those that go left and those that go right at `depth`.
fn split(changes: &[Change], depth: usize) -> (&[Change], &[Change]) {
    changes.split_at(changes.partition_point(|change| !bit(&change.place, depth)))
}
