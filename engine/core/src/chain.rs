//! The tree of known blocks, and the committed chain through it.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec,
    vec::Vec,
};

use trireme_crypto::Digest;

use crate::message::{Block, CutEntry, Justify, SignedBlock};
use crate::types::{Height, MemberId, Slot, Tick, View};

/// Committed blocks that are kept in memory to serve replicas that lag; older ones are read from the log.
const RETAINED_SLOTS: u64 = 8_192;
/// Blocks of one (view, slot) that are kept: two are evidence, more teach nothing (unless asked for by digest).
const FORKS_PER_SLOT: usize = 2;

/// A known block.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) signed: SignedBlock,
    /// When it came.
    pub(crate) received: Tick,
}

/// Known blocks by digest.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    nodes: BTreeMap<Digest, Node>,
    slots: BTreeMap<Slot, Vec<Digest>>,
    /// Blocks with a justification, of the views that may still be entered: what a view may begin with.
    firsts: BTreeMap<View, Vec<Digest>>,
    firsts_from: View,
    /// The lowest slot of which the committed block is known: 0, a checkpoint that was installed, or one that was released.
    base: Slot,
    /// Digest of the committed block of each slot from `base` on.
    committed: VecDeque<Digest>,
    /// The newest committed block's cut.
    cut: Vec<(Height, Digest)>,
}

impl Chain {
    pub(crate) fn new(genesis: Digest, n: usize) -> Self {
        let empty = CutEntry {
            height: 0,
            digest: Digest::ZERO,
            certificate: None,
        };
        let block = Block {
            view: 0,
            slot: 0,
            parent: Digest::ZERO,
            cut: vec![empty; n],
            timestamp: 0,
            handoff: None,
            justify: Justify::None,
        };
        let signature = trireme_crypto::Signature([0; 64]);
        let node = Node {
            signed: SignedBlock { block, signature },
            received: Tick::default(),
        };
        Self {
            nodes: BTreeMap::from([(genesis, node)]),
            slots: BTreeMap::from([(0, vec![genesis])]),
            firsts: BTreeMap::new(),
            firsts_from: 0,
            base: 0,
            committed: VecDeque::from([genesis]),
            cut: vec![(0, Digest::ZERO); n],
        }
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<&Block> {
        self.nodes.get(digest).map(|n| &n.signed.block)
    }

    /// Blocks in the tree.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn node(&self, digest: &Digest) -> Option<&Node> {
        self.nodes.get(digest)
    }

    /// Digests known at a slot.
    pub(crate) fn at_slot(&self, slot: Slot) -> &[Digest] {
        self.slots.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// First blocks of a view, at whatever slot: replicas enter a view by different certificates, whose safe tips may
    /// differ, and its leader's block stands on the tip of the leader's.
    pub(crate) fn firsts(&self, view: View) -> &[Digest] {
        self.firsts.get(&view).map_or(&[], Vec::as_slice)
    }

    /// Views below this one are left for good.
    pub(crate) fn forget_firsts_below(&mut self, view: View) {
        self.firsts_from = view;
        self.firsts = self.firsts.split_off(&view);
    }

    /// The other block of the same (view, slot), if one is known.
    pub(crate) fn twin(&self, block: &Block, digest: &Digest) -> Option<&SignedBlock> {
        self.at_slot(block.slot)
            .iter()
            .filter(|d| *d != digest)
            .filter_map(|d| self.nodes.get(d))
            .map(|n| &n.signed)
            .find(|s| s.block.view == block.view)
    }

    /// Adds a block; false if it is known, or one fork too many and not asked for.
    pub(crate) fn insert(&mut self, digest: Digest, signed: SignedBlock, now: Tick, wanted: bool) -> bool {
        if self.nodes.contains_key(&digest) {
            return false;
        }
        let view = signed.block.view;
        let slot = signed.block.slot;
        let forks = self
            .at_slot(slot)
            .iter()
            .filter(|d| self.get(d).is_some_and(|b| b.view == view))
            .count();
        if forks >= FORKS_PER_SLOT && !wanted {
            return false;
        }
        self.slots.entry(slot).or_default().push(digest);
        if view >= self.firsts_from && signed.block.justify != Justify::None {
            self.firsts.entry(view).or_default().push(digest);
        }
        self.nodes.insert(digest, Node { signed, received: now });
        true
    }

    pub(crate) fn committed_slot(&self) -> Slot {
        self.base + self.committed.len() as Slot - 1
    }

    pub(crate) fn committed_tip(&self) -> Digest {
        *self.committed.back().expect("genesis is committed")
    }

    pub(crate) fn committed_at(&self, slot: Slot) -> Option<Digest> {
        let index = usize::try_from(slot.checked_sub(self.base)?).ok()?;
        self.committed.get(index).copied()
    }

    /// Cut of the newest committed block.
    pub(crate) fn committed_cut(&self) -> &[(Height, Digest)] {
        &self.cut
    }

    pub(crate) fn committed_height(&self, lane: MemberId) -> Height {
        self.cut[usize::from(lane)].0
    }

    /// The ancestor of `digest` at `slot` (itself included), if the path to it is known; it need not be known itself.
    pub(crate) fn ancestor_at(&self, digest: &Digest, slot: Slot) -> Option<Digest> {
        let mut at = *digest;
        loop {
            let block = self.get(&at)?;
            if block.slot <= slot {
                return (block.slot == slot).then_some(at);
            }
            // A committed block's ancestors are the committed chain: no need to walk it.
            if (self.base..=self.committed_slot()).contains(&slot) && self.committed_at(block.slot) == Some(at) {
                return self.committed_at(slot);
            }
            if block.slot == slot + 1 && !self.nodes.contains_key(&block.parent) {
                // Released or not here yet: it has a name all the same.
                return Some(block.parent);
            }
            at = block.parent;
        }
    }

    /// A block and its known ancestors above `floor`, newest first.
    pub(crate) fn branch(&self, digest: &Digest, floor: Slot) -> impl Iterator<Item = (Slot, Digest)> {
        let mut at = *digest;
        core::iter::from_fn(move || {
            let block = self.get(&at).filter(|block| block.slot > floor)?;
            let here = (block.slot, at);
            at = block.parent;
            Some(here)
        })
    }

    /// Whether `ancestor` (at `slot`) is `digest` itself or below it on its chain.
    pub(crate) fn extends(&self, digest: &Digest, ancestor: &Digest, slot: Slot) -> bool {
        self.ancestor_at(digest, slot).as_ref() == Some(ancestor)
    }

    /// The lowest known ancestor's missing parent, as (slot, digest), or `None` if the path to the committed chain is
    /// whole. A digest that is not known itself is missing at an unknown slot: the caller gives it.
    pub(crate) fn gap(&self, digest: &Digest, slot: Slot) -> Option<(Slot, Digest)> {
        let (mut at, mut at_slot) = (*digest, slot);
        loop {
            if at_slot <= self.committed_slot() {
                return None;
            }
            match self.get(&at) {
                None => return Some((at_slot, at)),
                Some(block) => {
                    at = block.parent;
                    // Genesis under a block that lies about its slot: nothing is missing, and it will never be whole.
                    at_slot = block.slot.checked_sub(1)?;
                }
            }
        }
    }

    /// Commits the block one above the committed slot.
    pub(crate) fn commit_next(&mut self, digest: Digest) {
        let block = self.get(&digest).expect("a committed block is known");
        assert_eq!(block.slot, self.committed_slot() + 1, "slots commit in order");
        assert_eq!(
            block.parent,
            self.committed_tip(),
            "a committed block extends the committed chain"
        );
        let cut: Vec<_> = block.cut.iter().map(|c| (c.height, c.digest)).collect();
        self.cut = cut;
        self.committed.push_back(digest);
    }

    /// The committed chain starts at this block from now on; what was known of it is forgotten.
    pub(crate) fn anchor(&mut self, digest: Digest, signed: SignedBlock, now: Tick) {
        assert!(signed.block.slot > self.committed_slot(), "a chain never goes back");
        self.base = signed.block.slot;
        self.committed = VecDeque::from([digest]);
        self.cut = signed.block.cut.iter().map(|c| (c.height, c.digest)).collect();
        self.insert(digest, signed, now, true);
    }

    /// Forgets the committed slots below `slot`, which is committed.
    pub(crate) fn rebase(&mut self, slot: Slot) {
        assert!(slot <= self.committed_slot(), "only what is committed is released");
        while self.base < slot {
            self.committed.pop_front();
            self.base += 1;
        }
    }

    /// After recovery: what was replayed came now, as far as measured times are concerned.
    pub(crate) fn touch(&mut self, now: Tick) {
        self.nodes.values_mut().for_each(|node| node.received = now);
    }

    /// Drops blocks that serve nobody any more: below the base, or long committed and executed (`executed`). Those that are
    /// `listed` stay: whether a Qc passes them is read off their chain (R-REPORT).
    pub(crate) fn prune(&mut self, executed: Slot, listed: impl Fn(&Digest) -> bool) {
        let old = self.committed_slot().saturating_sub(RETAINED_SLOTS);
        let floor = old.min(executed).max(self.base);
        let mut kept = Vec::new();
        while let Some(entry) = self.slots.first_entry() {
            let slot = *entry.key();
            if slot >= floor {
                break;
            }
            for digest in entry.remove() {
                if listed(&digest) {
                    kept.push((slot, digest));
                } else {
                    self.nodes.remove(&digest);
                }
            }
        }
        for (slot, digest) in kept {
            self.slots.entry(slot).or_default().push(digest);
        }
    }
}
