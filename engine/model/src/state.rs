//! One state: the tree of blocks that correct replicas accepted, with what each replica promised written on the blocks.
//!
//! Replicas stand in masks, bit i for correct replica i. So renaming replicas permutes bits, and the names of blocks do
//! not matter at all: two states that differ only in names have the same canonical form (`canonical.rs`).

use crate::config::{MAX_CORRECT, MAX_VIEWS};
use crate::lanes::Lanes;

/// Correct replicas, one bit each.
pub type Members = u8;

/// Index of a block in [`State::blocks`]; 0 is genesis.
pub type BlockId = u8;

/// Genesis.
pub const GENESIS: BlockId = 0;

/// What is marked on a block.
pub mod mark {
    /// A first block of the current view may have this parent.
    pub const TIP: u8 = 1;
    /// The same for the view before (kept for bug 29 only).
    pub const OLD_TIP: u8 = 2;
    /// A Qc of this block can be formed, of a view that is over.
    pub const CERTIFIED: u8 = 4;
    /// Committed in a view that is over.
    pub const COMMITTED: u8 = 8;
}

/// A block that at least one correct replica accepted, or genesis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// Height in the tree: a parent's plus one.
    pub slot: u8,
    /// View of its leader.
    pub view: u8,
    /// Content: bit 7 says that it names a successor (R-HANDOFF), the rest is the lane's entry after it.
    pub label: u8,
    /// Who voted for exactly this block.
    pub voted: Members,
    /// Who accepted it in memory, its record not yet durable.
    pub pending: Members,
    /// Who voted for it and has lost the record.
    pub lost: Members,
    /// Who lists it (R-REPORT).
    pub list: Members,
    /// Whose high_qc certifies it.
    pub high: Members,
    /// Who accepted it last in its current view.
    pub last: Members,
    /// See [`mark`].
    pub marks: u8,
    /// Who lists it in its Timeout of each view.
    pub list_at: [Members; MAX_VIEWS],
    /// Whose Timeout of each view carries its Qc.
    pub high_at: [Members; MAX_VIEWS],
    /// Its parent; genesis is its own.
    pub parent: BlockId,
}

/// Bit of [`Block::label`]: the block names a successor.
pub const HANDOFF: u8 = 0x80;

impl Block {
    /// Position in the order of certificates.
    pub fn rank(&self) -> (u8, u8) {
        (self.view, self.slot)
    }

    /// Whether it names a successor.
    pub fn hands_off(&self) -> bool {
        self.label & HANDOFF != 0
    }

    /// The lane's entry after this block.
    pub fn entry(&self) -> u8 {
        self.label & !HANDOFF
    }
}

/// What was found wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Nothing.
    #[default]
    Holds,
    /// A first parent of a later view does not extend a committed block.
    TipMisses,
    /// Two committed blocks, neither of which extends the other.
    Disagreement,
    /// A committed or certified chain orders a batch whose client signature nobody correct checked.
    Forged,
    /// A committed or certified chain orders a batch that no correct replica holds.
    Unavailable,
}

/// Everything that correct replicas did, and what of it still matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// Genesis, then the others; a parent stands before its children.
    pub blocks: Vec<Block>,
    /// Current view of each correct replica; in an exploration by view they are equal.
    pub views: [u8; MAX_CORRECT],
    /// The lane of a Byzantine owner.
    pub lanes: Lanes,
    /// The first fault found.
    pub verdict: Verdict,
}

impl State {
    /// Before anything happened.
    pub fn start(correct: usize, first_view: u8, lanes: bool) -> Self {
        let all = members(correct);
        let mut genesis = Block {
            high: all,
            marks: mark::TIP | mark::CERTIFIED | mark::COMMITTED,
            ..Block::default()
        };
        for view in 0..usize::from(first_view) {
            genesis.high_at[view] = all;
        }
        let mut views = [0; MAX_CORRECT];
        views[..correct].fill(first_view);
        Self {
            blocks: vec![genesis],
            views,
            lanes: Lanes::start(lanes),
            verdict: Verdict::Holds,
        }
    }

    /// The block of this index.
    pub fn block(&self, id: BlockId) -> &Block {
        &self.blocks[usize::from(id)]
    }

    /// The same, to change.
    pub fn block_mut(&mut self, id: BlockId) -> &mut Block {
        &mut self.blocks[usize::from(id)]
    }

    /// All blocks with their indices.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = BlockId> + use<> {
        0..u8::try_from(self.blocks.len()).expect("bounded by slots, views and replicas")
    }

    /// Whether `above` is `below` or extends it.
    pub fn extends(&self, above: BlockId, below: BlockId) -> bool {
        let slot = self.block(below).slot;
        let mut at = above;
        while self.block(at).slot > slot {
            at = self.block(at).parent;
        }
        at == below
    }

    /// The block for which `holds` is true; there is at most one.
    pub fn find(&self, holds: impl Fn(&Block) -> bool) -> Option<BlockId> {
        self.ids().find(|id| holds(self.block(*id)))
    }

    /// The block that this replica's high_qc certifies.
    pub fn high_of(&self, replica: usize) -> BlockId {
        self.find(|b| b.high & bit(replica) != 0)
            .expect("everybody has a high_qc")
    }

    /// What this replica accepted last in its view.
    pub fn last_of(&self, replica: usize) -> Option<BlockId> {
        self.find(|b| b.last & bit(replica) != 0)
    }
}

/// The mask with one replica.
pub fn bit(replica: usize) -> Members {
    1 << replica
}

/// The mask of the first `count` replicas.
pub fn members(count: usize) -> Members {
    (1u8 << count) - 1
}

/// How many replicas a mask holds.
pub fn count(mask: Members) -> u8 {
    u8::try_from(mask.count_ones()).expect("at most eight")
}
