//! Blocks, who supports them, and what is, or could be, committed (invariants 1, 4, 8).
//!
//! A block *could have committed* once votes that really left replicas would commit it at somebody who received them
//! all. That is stronger than "somebody committed it", and it is what a view change has to respect.

use std::collections::{BTreeMap, BTreeSet};

use trireme_core::message::{Block, Justify, Tc};
use trireme_core::types::Height;
use trireme_core::{MemberId, Slot, View};
use trireme_crypto::Digest;

use super::{Scene, Sizes, Verdict};

/// What the oracle keeps of a block.
pub(crate) struct Known {
    pub(crate) view: View,
    pub(crate) slot: Slot,
    pub(crate) parent: Digest,
    pub(crate) timestamp: u64,
    pub(crate) handoff: bool,
    pub(crate) cut: Vec<(Height, Digest)>,
    voted: u128,
    locked: u128,
    committable: bool,
}

/// Support for a block that nobody has shown yet: (view, voted, locked).
type Loose = (View, u128, u128);

/// The tree of all blocks that ever existed in a run.
pub(crate) struct Chain {
    sizes: Sizes,
    blocks: BTreeMap<Digest, Known>,
    loose: BTreeMap<Digest, Vec<Loose>>,
    /// Highest block of each view that could have committed.
    committable: BTreeMap<View, (Slot, Digest)>,
    /// What correct replicas accepted, by view.
    accepted: BTreeMap<View, BTreeSet<Digest>>,
    /// Safe tips of the certificates by which views were left.
    tips: BTreeMap<View, BTreeSet<Digest>>,
    /// Who voted for exactly this block.
    exact: BTreeMap<(View, Slot, Digest), u128>,
    /// Committed digests by slot.
    canonical: Vec<Digest>,
}

impl Chain {
    pub(crate) fn new(genesis: Digest, sizes: Sizes) -> Self {
        let root = Known {
            view: 0,
            slot: 0,
            parent: Digest::ZERO,
            timestamp: 0,
            handoff: false,
            cut: vec![(0, Digest::ZERO); sizes.n],
            voted: 0,
            locked: 0,
            committable: true,
        };
        Self {
            sizes,
            blocks: BTreeMap::from([(genesis, root)]),
            loose: BTreeMap::new(),
            committable: BTreeMap::new(),
            accepted: BTreeMap::new(),
            tips: BTreeMap::new(),
            exact: BTreeMap::new(),
            canonical: vec![genesis],
        }
    }

    /// A block, if anybody ever showed it.
    pub(crate) fn get(&self, digest: &Digest) -> Option<&Known> {
        self.blocks.get(digest)
    }

    /// The committed block of a slot.
    pub(crate) fn canonical(&self, slot: Slot) -> Option<Digest> {
        self.canonical.get(usize::try_from(slot).ok()?).copied()
    }

    /// The highest slot that anybody committed.
    pub(crate) fn height(&self) -> Slot {
        self.canonical.len() as Slot - 1
    }

    /// Members that voted for exactly this block.
    pub(crate) fn voters(&self, view: View, slot: Slot, digest: Digest) -> u128 {
        self.exact.get(&(view, slot, digest)).copied().unwrap_or(0)
    }

    /// The block at `slot` on the way down from `from`; none if it lies above, or the way is not known.
    pub(crate) fn ancestor(&self, from: Digest, slot: Slot) -> Option<Digest> {
        let mut digest = from;
        loop {
            let block = self.blocks.get(&digest)?;
            match block.slot.cmp(&slot) {
                core::cmp::Ordering::Less => return None,
                core::cmp::Ordering::Equal => return Some(digest),
                core::cmp::Ordering::Greater => digest = block.parent,
            }
        }
    }

    pub(crate) fn add(&mut self, scene: Scene, verdict: &mut Verdict, digest: Digest, block: &Block) {
        if self.blocks.contains_key(&digest) {
            return;
        }
        let cut = block.cut.iter().map(|entry| (entry.height, entry.digest)).collect();
        let known = Known {
            view: block.view,
            slot: block.slot,
            parent: block.parent,
            timestamp: block.timestamp,
            handoff: block.handoff.is_some(),
            cut,
            voted: 0,
            locked: 0,
            committable: false,
        };
        self.blocks.insert(digest, known);
        for (view, voted, locked) in self.loose.remove(&digest).unwrap_or_default() {
            self.support(scene, verdict, digest, (view, voted, locked));
        }
    }

    /// A vote left its member.
    pub(crate) fn supported(
        &mut self,
        scene: Scene,
        verdict: &mut Verdict,
        view: View,
        voted: Option<(Slot, Digest)>,
        locked: Option<(Slot, Digest)>,
    ) {
        let bit = 1u128 << scene.member;
        if let Some((slot, digest)) = voted {
            *self.exact.entry((view, slot, digest)).or_default() |= bit;
            self.support(scene, verdict, digest, (view, bit, 0));
        }
        if let Some((_, digest)) = locked {
            self.support(scene, verdict, digest, (view, 0, bit));
        }
    }

    /// Support for a block is support for its ancestors of the same view.
    fn support(&mut self, scene: Scene, verdict: &mut Verdict, digest: Digest, support: Loose) {
        let (view, voted, locked) = support;
        let mut digest = digest;
        loop {
            let Some(block) = self.blocks.get_mut(&digest) else {
                let loose = self.loose.entry(digest).or_default();
                if loose.len() < 64 {
                    loose.push(support);
                }
                return;
            };
            if block.view != view
                || block.slot == 0
                || (block.voted & voted == voted && block.locked & locked == locked)
            {
                return;
            }
            block.voted |= voted;
            block.locked |= locked;
            let enough = block.voted.count_ones() as usize >= self.sizes.fast
                || block.locked.count_ones() as usize >= self.sizes.quorum;
            let parent = block.parent;
            if enough && !block.committable {
                self.could_commit(scene, verdict, digest);
            }
            digest = parent;
        }
    }

    /// Marks a block and its ancestors, and compares it with everything else that could have committed.
    fn could_commit(&mut self, scene: Scene, verdict: &mut Verdict, digest: Digest) {
        let (view, slot) = (self.blocks[&digest].view, self.blocks[&digest].slot);
        for (other_slot, other) in self.committable.values() {
            let (high, low, low_slot) = if slot > *other_slot {
                (digest, *other, *other_slot)
            } else {
                (*other, digest, slot)
            };
            let on_way = self.ancestor(high, low_slot);
            verdict.check(on_way == Some(low), scene, "1", || {
                format!("two branches could commit: slot {slot} {digest} and slot {other_slot} {other}")
            });
        }
        let later = self.accepted.range(view + 1..).flat_map(|(_, blocks)| blocks);
        for accepted in later {
            let extends = self.ancestor(*accepted, slot) == Some(digest);
            verdict.check(extends, scene, "8", || {
                format!("view {view} slot {slot} {digest} could commit, a later view accepted {accepted} beside it")
            });
        }
        for tip in self.tips.range(view..).flat_map(|(_, tips)| tips) {
            let extends = self.ancestor(*tip, slot) == Some(digest);
            verdict.check(extends, scene, "8", || {
                format!("view {view} slot {slot} {digest} could commit, a later safe tip is {tip}")
            });
        }
        let best = self.committable.entry(view).or_insert((slot, digest));
        if slot > best.0 {
            *best = (slot, digest);
        }
        let mut at = digest;
        while let Some(block) = self.blocks.get_mut(&at) {
            if block.committable {
                break;
            }
            block.committable = true;
            at = block.parent;
        }
    }

    /// A correct replica left a view with this safe tip: what could have committed until then is below it (invariant 8).
    pub(crate) fn judge_tip(&mut self, scene: Scene, verdict: &mut Verdict, view: View, tip: Digest) {
        if !self.tips.entry(view).or_default().insert(tip) {
            return;
        }
        if let Some((old_view, (slot, old))) = self.committable.range(..=view).next_back() {
            verdict.check(self.ancestor(tip, *slot) == Some(*old), scene, "8", || {
                format!("leaves view {view} with the safe tip {tip}, {old} of view {old_view} slot {slot} could commit")
            });
        }
    }

    /// A correct replica accepted a block: it extends all that could have committed in earlier views (invariant 8).
    pub(crate) fn accepted(&mut self, scene: Scene, verdict: &mut Verdict, digest: Digest) {
        let Some(block) = self.blocks.get(&digest) else { return };
        let view = block.view;
        if let Some((old_view, (slot, old))) = self.committable.range(..view).next_back() {
            verdict.check(self.ancestor(digest, *slot) == Some(*old), scene, "8", || {
                format!(
                    "accepts {digest} of view {view} beside {old} of view {old_view} slot {slot}, which could commit"
                )
            });
        }
        let parent_slot = self.blocks.get(&block.parent).map(|p| p.slot);
        verdict.check(parent_slot == block.slot.checked_sub(1), scene, "1", || {
            format!(
                "accepts {digest} of slot {} on a parent of slot {parent_slot:?}",
                block.slot
            )
        });
        self.accepted.entry(view).or_default().insert(digest);
    }

    /// A correct replica committed a block (invariants 1 and 4).
    pub(crate) fn committed(&mut self, scene: Scene, verdict: &mut Verdict, slot: Slot, digest: Digest) {
        if let Some(known) = self.canonical(slot) {
            verdict.check(known == digest, scene, "1", || {
                format!("slot {slot}: commits {digest}, others {known}")
            });
            return;
        }
        let backed = self
            .blocks
            .get(&digest)
            .is_some_and(|block| block.committable && block.slot == slot);
        verdict.check(backed, scene, "4", || {
            format!("slot {slot}: commits {digest} without the votes for it")
        });
        let mut fresh = Vec::new();
        let mut at = digest;
        while let Some(block) = self.blocks.get(&at) {
            if block.slot <= self.height() {
                break;
            }
            fresh.push(at);
            at = block.parent;
        }
        let joins = self.canonical.last() == Some(&at);
        verdict.check(joins, scene, "1", || {
            format!("slot {slot}: {digest} does not extend the committed chain")
        });
        if joins {
            self.canonical.extend(fresh.into_iter().rev());
        }
    }
}

/// The safe tip of a timeout certificate by R-SAFETIP, computed from the text of the rule.
pub(crate) fn safe_tip(sizes: Sizes, justify: &Justify) -> Option<(View, Slot, Digest)> {
    match justify {
        Justify::Tc(tc) => tip_of(sizes, tc),
        _ => None,
    }
}

/// The same of the certificate itself.
pub(crate) fn tip_of(sizes: Sizes, tc: &Tc) -> Option<(View, Slot, Digest)> {
    let top = tc
        .timeouts
        .iter()
        .map(|t| (t.high_qc.view, t.high_qc.slot, t.high_qc.digest))
        .max()?;
    let mut reporters: BTreeMap<(View, Slot, Digest), BTreeSet<MemberId>> = BTreeMap::new();
    for entry in &tc.timeouts {
        let own = (entry.high_qc.view, entry.high_qc.slot, entry.high_qc.digest);
        let on_branch = own == top || entry.accepted.contains(&top);
        for block in &entry.accepted {
            let above = (block.0, block.1) > (top.0, top.1);
            if above && (block.0 != top.0 || on_branch) {
                reporters.entry(*block).or_default().insert(entry.member);
            }
        }
    }
    // Highest view, then highest slot, then lowest digest.
    let marked = reporters
        .into_iter()
        .filter(|(_, who)| who.len() >= sizes.tau)
        .map(|(block, _)| block);
    Some(
        marked
            .max_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(b.2.cmp(&a.2)))
            .unwrap_or(top),
    )
}
