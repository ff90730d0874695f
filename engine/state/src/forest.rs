//! The authenticated map: tries in shards, which copies share until one of them changes.

use std::sync::Arc;

use trireme_crypto::Digest;

use crate::prefix::Prefix;
use crate::shards::{FAN, LEVEL_BITS, SHARD_BITS, shard_of};
use crate::tree::{Change, Sub, Tree, map_root};

/// Two levels of shards are folded into one digest each: a heap whose leaves are the digests of what lies below.
#[derive(Clone, Debug)]
struct Fold(Box<[Sub]>);

impl Fold {
    fn new() -> Self {
        Self(vec![Sub::Empty; 2 * FAN].into())
    }

    fn top(&self) -> Sub {
        self.0[1]
    }

    /// Puts what changed, in ascending order, and hashes what lies above it, each place once.
    fn set(&mut self, changed: &[(usize, Sub)]) {
        let mut level: Vec<usize> = Vec::with_capacity(changed.len());
        for (at, sub) in changed {
            self.0[FAN + at] = *sub;
            level.push(FAN + at);
        }
        while level.first().is_some_and(|at| *at > 1) {
            level.iter_mut().for_each(|at| *at /= 2);
            level.dedup();
            for at in &level {
                self.0[*at] = Sub::join(self.0[2 * at], self.0[2 * at + 1]);
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Group {
    trees: Box<[Option<Arc<Tree>>]>,
    fold: Fold,
}

impl Group {
    fn new() -> Self {
        Self {
            trees: vec![None; FAN].into(),
            fold: Fold::new(),
        }
    }
}

/// The map. A clone costs a counter for each group of shards; whoever changes a shard that is shared copies that
/// shard only.
#[derive(Clone, Debug)]
pub struct Forest {
    groups: Box<[Option<Arc<Group>>]>,
    fold: Fold,
    len: usize,
}

impl Default for Forest {
    fn default() -> Self {
        Self::new()
    }
}

impl Forest {
    /// The empty map.
    pub fn new() -> Self {
        Self {
            groups: vec![None; FAN].into(),
            fold: Fold::new(),
            len: 0,
        }
    }

    /// Number of places with a value.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
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
        let mut tops = Vec::new();
        for run in changes.chunk_by(|a, b| shard_of(&a.place).0 == shard_of(&b.place).0) {
            let at = shard_of(&run[0].place).0;
            let group = self.groups[at].get_or_insert_with(|| Arc::new(Group::new()));
            tops.push((at, update(Arc::make_mut(group), run, &mut self.len)));
        }
        self.fold.set(&tops);
    }

    /// The root: of the content alone.
    pub fn root(&self) -> Digest {
        map_root(self.count(), self.fold.top())
    }

    /// Number of places, as the root has it.
    pub fn count(&self) -> u64 {
        u64::try_from(self.len).expect("a length fits")
    }

    /// A part from outside.
    pub fn part(&self, prefix: Prefix) -> Sub {
        let (depth, index) = (prefix.depth(), prefix.index());
        let heap = |index: u64| usize::try_from(index).expect("within a fold");
        if depth <= LEVEL_BITS {
            return self.fold.0[heap(index)];
        }
        let place = prefix.first();
        let (group, shard) = shard_of(&place);
        let Some(group) = &self.groups[group] else {
            return Sub::Empty;
        };
        if depth <= SHARD_BITS {
            // The number within the group: its leading one, and the bits below those of the group.
            let below = depth - LEVEL_BITS;
            return group.fold.0[heap((1 << below) | (index & ((1 << below) - 1)))];
        }
        let tree = group.trees[shard].as_ref();
        tree.map_or(Sub::Empty, |tree| tree.part(&place, depth))
    }
}

/// Applies the changes of one group; what its parent sees from now on.
fn update(group: &mut Group, changes: &[Change], len: &mut usize) -> Sub {
    let mut tops = Vec::new();
    for run in changes.chunk_by(|a, b| shard_of(&a.place).1 == shard_of(&b.place).1) {
        let at = shard_of(&run[0].place).1;
        let tree = group.trees[at].get_or_insert_with(|| Arc::new(Tree::below(SHARD_BITS)));
        let tree = Arc::make_mut(tree);
        *len -= tree.len();
        tree.apply(run);
        *len += tree.len();
        tops.push((at, tree.top()));
        if tree.len() == 0 {
            group.trees[at] = None;
        }
    }
    group.fold.set(&tops);
    group.fold.top()
}
