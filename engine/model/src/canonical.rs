//! One representative for all states that differ in names of replicas or of blocks only, without what no longer matters.
//!
//! Correct replicas follow the same rules and any leader may say anything to anyone, so every permutation of correct
//! replicas is an automorphism of the model, and so is every renaming of blocks that keeps the tree (digests are
//! arbitrary: where a rule looks at their order, both orders are explored).

use crate::config::MAX_CORRECT;
use crate::state::{BlockId, GENESIS, Members, State, bit, count, mark};

/// Makes representatives for a number of correct replicas.
#[derive(Clone, Debug)]
pub struct Canonical {
    correct: usize,
    /// All orders: position k of the new names goes to old replica `order[k]`.
    orders: Vec<Vec<usize>>,
}

impl Canonical {
    /// For so many correct replicas.
    pub fn new(correct: usize) -> Self {
        let mut orders = vec![Vec::new()];
        for _ in 0..correct {
            orders = orders
                .iter()
                .flat_map(|order| {
                    (0..correct)
                        .filter(|next| !order.contains(next))
                        .map(|next| order.iter().copied().chain([next]).collect())
                })
                .collect();
        }
        Self { correct, orders }
    }

    /// The representative of a state.
    pub fn of(&self, state: &State) -> State {
        let state = without_useless(state);
        let profiles: Vec<u64> = (0..self.correct).map(|replica| profile(&state, replica)).collect();
        let sorted = |order: &&Vec<usize>| order.windows(2).all(|pair| profiles[pair[0]] <= profiles[pair[1]]);
        self.orders
            .iter()
            .filter(sorted)
            .map(|order| renamed(&state, order))
            .min()
            .expect("some order is sorted")
    }
}

/// Drops blocks that carry nothing and that nothing stands on.
fn without_useless(state: &State) -> State {
    let mut used = vec![false; state.blocks.len()];
    used[0] = true;
    for id in state.ids().rev() {
        let block = state.block(id);
        let bears = block.voted | block.pending | block.list | block.high | block.last | block.marks;
        let told = block.list_at.iter().chain(&block.high_at).fold(0, |all, one| all | one);
        if bears | told != 0 {
            used[usize::from(id)] = true;
        }
        if used[usize::from(id)] {
            used[usize::from(block.parent)] = true;
        }
    }
    if used.iter().all(|one| *one) {
        return state.clone();
    }
    let mut index = vec![0; used.len()];
    let mut kept = State {
        blocks: Vec::new(),
        ..state.clone()
    };
    for id in state.ids().filter(|id| used[usize::from(*id)]) {
        let mut block = *state.block(id);
        block.parent = index[usize::from(block.parent)];
        index[usize::from(id)] = u8::try_from(kept.blocks.len()).expect("no more than before");
        kept.blocks.push(block);
    }
    kept
}

/// A number that renaming does not change: only replicas with equal numbers have to be tried in each other's place.
fn profile(state: &State, replica: usize) -> u64 {
    let has = |mask: Members| u64::from(mask & bit(replica) != 0);
    let of_block = |block: &crate::state::Block| {
        let masks = [
            block.voted,
            block.pending,
            block.lost,
            block.list,
            block.high,
            block.last,
        ];
        let told = block.list_at.iter().chain(&block.high_at);
        let own = masks.iter().chain(told).fold(0, |all, mask| all << 1 | has(*mask));
        let place = u64::from(block.slot) << 24 | u64::from(block.view) << 16 | u64::from(block.label) << 8;
        let seen = masks
            .iter()
            .fold(u64::from(block.marks), |all, mask| all * 9 + u64::from(count(*mask)));
        mix(own.wrapping_mul(0x1_0001) ^ mix(place ^ seen << 32))
    };
    let blocks = state.blocks.iter().map(of_block).fold(0, u64::wrapping_add);
    let lanes = state
        .lanes
        .masks()
        .iter()
        .fold(u64::from(state.views[replica]), |all, mask| all << 1 | has(*mask));
    mix(blocks ^ mix(lanes))
}

fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (value ^ value >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ value >> 32
}

/// The state with replicas renamed and siblings sorted.
fn renamed(state: &State, order: &[usize]) -> State {
    let rename = |mask: Members| {
        order.iter().enumerate().fold(
            0,
            |all, (new, old)| {
                if mask & bit(*old) != 0 { all | bit(new) } else { all }
            },
        )
    };
    let mut blocks = state.blocks.clone();
    for block in &mut blocks {
        for mask in [
            &mut block.voted,
            &mut block.pending,
            &mut block.lost,
            &mut block.list,
            &mut block.high,
            &mut block.last,
        ] {
            *mask = rename(*mask);
        }
        for mask in block.list_at.iter_mut().chain(&mut block.high_at) {
            *mask = rename(*mask);
        }
    }
    let mut views = [0; MAX_CORRECT];
    for (new, old) in order.iter().enumerate() {
        views[new] = state.views[*old];
    }
    let mut lanes = state.lanes.clone();
    for mask in lanes.masks_mut() {
        *mask = rename(*mask);
    }
    State {
        blocks: sorted(&blocks),
        views,
        lanes,
        verdict: state.verdict,
    }
}

/// The tree in preorder with each block's children sorted by the whole tree under them. Slots are depths, so the
/// sequence alone says who is whose parent.
fn sorted(blocks: &[crate::state::Block]) -> Vec<crate::state::Block> {
    let mut under: Vec<Vec<Vec<crate::state::Block>>> = vec![Vec::new(); blocks.len()];
    for at in (0..blocks.len()).rev() {
        let mut children = std::mem::take(&mut under[at]);
        children.sort_unstable();
        let mut block = blocks[at];
        let parent = usize::from(block.parent);
        block.parent = GENESIS;
        let mut tree = vec![block];
        tree.extend(children.into_iter().flatten());
        if at == 0 {
            return with_parents(tree);
        }
        under[parent].push(tree);
    }
    Vec::new()
}

fn with_parents(mut blocks: Vec<crate::state::Block>) -> Vec<crate::state::Block> {
    // The newest block seen at each slot.
    let mut newest: Vec<BlockId> = Vec::new();
    for (id, block) in (0..).zip(&mut blocks) {
        newest.truncate(usize::from(block.slot));
        block.parent = newest.last().copied().unwrap_or(GENESIS);
        newest.push(id);
    }
    blocks
}

/// At the end of a view: takes away what nothing later depends on (README.md, "What is forgotten").
pub fn forget(state: &mut State, correct: usize) {
    let lowest = (0..correct)
        .map(|replica| state.block(state.high_of(replica)).rank())
        .min();
    let newest = state
        .ids()
        .filter(|id| state.block(*id).marks & mark::COMMITTED != 0)
        .max_by_key(|id| state.block(*id).slot);
    for id in state.ids() {
        let block = state.block_mut(id);
        block.voted = 0;
        block.pending = 0;
        block.lost = 0;
        block.last = 0;
        block.label &= !crate::state::HANDOFF;
        block.list_at = Default::default();
        block.high_at = Default::default();
        if Some(block.rank()) <= lowest {
            block.marks &= !mark::CERTIFIED;
        }
        if Some(id) != newest {
            block.marks &= !mark::COMMITTED;
        }
    }
}
