//! Section 3 for one lane with a Byzantine owner, who forks it and hides a forged request under a later batch.
//!
//! Storing, verifying and acking depend on nothing that ordering does, so all of it is explored first; then only what
//! ordering can see of it is kept.

use crate::config::{Bug, Config};
use crate::state::{BlockId, GENESIS, Members, State, Verdict, bit, members};

/// A batch that the owner signed.
struct Batch {
    height: u8,
    /// Name of its parent; 0 is the lane's base.
    parent: u8,
    /// Holds a request whose client signature is bad: no correct replica ever says `verified`.
    forged: bool,
}

/// How many batches there are; their names are 1 to this.
pub const BATCHES: usize = 3;

/// Two at height 1, the second of them forged, and a good one on the forged one.
const LANE: [Batch; BATCHES] = [
    Batch {
        height: 1,
        parent: 0,
        forged: false,
    },
    Batch {
        height: 1,
        parent: 0,
        forged: true,
    },
    Batch {
        height: 2,
        parent: 2,
        forged: false,
    },
];

/// What correct replicas did in the lane, then what follows from it for ordering.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lanes {
    /// Dissemination goes on; nothing is ordered yet.
    pub open: bool,
    /// Who stores each batch durably.
    pub stored: [Members; BATCHES],
    /// Who acked it as stored.
    pub acked: [Members; BATCHES],
    /// Who said `verified` of it.
    pub verified: [Members; BATCHES],
    /// Who may accept a block that names it by its own data, over an entry of height 0 and of height 1.
    pub by_data: [[Members; BATCHES]; 2],
    /// An AC of it can be formed; one bit a batch.
    pub certified: u8,
    /// A correct replica stores it; one bit a batch.
    pub held: u8,
}

impl Lanes {
    /// Nothing stored; closed at once where lanes are not explored.
    pub fn start(open: bool) -> Self {
        Self {
            open,
            ..Self::default()
        }
    }

    /// All masks of replicas.
    pub fn masks(&self) -> Vec<Members> {
        let by_data = self.by_data.iter().flatten();
        let told = self.stored.iter().chain(&self.acked).chain(&self.verified);
        told.chain(by_data).copied().collect()
    }

    /// The same, to change.
    pub fn masks_mut(&mut self) -> impl Iterator<Item = &mut Members> {
        let by_data = self.by_data.iter_mut().flatten();
        self.stored
            .iter_mut()
            .chain(&mut self.acked)
            .chain(&mut self.verified)
            .chain(by_data)
    }
}

/// One thing that a replica does with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Stores it durably.
    Store,
    /// Checks its client signatures and says so.
    Verify,
    /// Acks it as stored.
    Ack,
}

/// What each replica may do next: (replica, deed, batch).
pub(crate) fn deeds(state: &State, config: &Config) -> Vec<(usize, Deed, u8)> {
    let lanes = &state.lanes;
    let mut found = Vec::new();
    for replica in 0..config.correct() {
        let has = |masks: &[Members; BATCHES], batch: usize| masks[batch] & bit(replica) != 0;
        for (batch, name) in (0..BATCHES).zip(1..) {
            if !has(&lanes.stored, batch) {
                found.push((replica, Deed::Store, name));
            }
            if !has(&lanes.verified, batch) && !LANE[batch].forged {
                found.push((replica, Deed::Verify, name));
            }
            // R-LANE: one digest a height, only when it is stored and its parent is held.
            let parent = LANE[batch].parent;
            let rival = (0..BATCHES).any(|other| LANE[other].height == LANE[batch].height && has(&lanes.acked, other));
            let holds = |batch: usize| has(&lanes.stored, batch) || config.has(Bug::AckBeforeStorage);
            let grounded = parent == 0 || holds(usize::from(parent) - 1);
            if !rival && holds(batch) && grounded {
                found.push((replica, Deed::Ack, name));
            }
        }
    }
    found
}

/// Does it.
pub(crate) fn perform(lanes: &mut Lanes, replica: usize, deed: Deed, batch: u8) {
    let at = usize::from(batch) - 1;
    let masks = match deed {
        Deed::Store => &mut lanes.stored,
        Deed::Verify => &mut lanes.verified,
        Deed::Ack => &mut lanes.acked,
    };
    masks[at] |= bit(replica);
}

/// A batch and its ancestors above a height.
fn chain(batch: u8, above: u8) -> impl Iterator<Item = usize> {
    let at = |name: u8| (name != 0).then(|| usize::from(name) - 1);
    std::iter::successors(at(batch), move |batch| at(LANE[*batch].parent))
        .take_while(move |batch| LANE[*batch].height > above)
}

/// Whether two batches stand on one another, or are one.
fn stands_on(upper: usize, lower: usize) -> bool {
    (1..)
        .zip(0..BATCHES)
        .any(|(name, at)| at == upper && chain(name, 0).any(|batch| batch == lower))
}

/// R-WITNESS as a least fixpoint: who may say `witnessed` of each batch. The liars say everything.
fn witnessed(lanes: &Lanes, config: &Config) -> [Members; BATCHES] {
    let mut known = [0; BATCHES];
    loop {
        let before = known;
        // Members that vouch for one batch: `verified` on it, or `witnessed` on it or on a descendant.
        let vouched = |batch: usize| {
            (0..BATCHES)
                .filter(|upper| stands_on(*upper, batch))
                .fold(lanes.verified[batch], |all, upper| all | before[upper])
        };
        for (batch, name) in (0..BATCHES).zip(1..) {
            // Bug 33 stops after the batch itself.
            let below = if config.has(Bug::WitnessNotCumulative) {
                LANE[batch].height - 1
            } else {
                0
            };
            // f+1 distinct members: the liars and one correct replica, which everybody can hear.
            if chain(name, below).all(|at| vouched(at) != 0) {
                known[batch] = members(config.correct());
            }
        }
        if known == before {
            return known;
        }
    }
}

/// Ends dissemination: keeps which ACs exist, who can accept by its own data, and which batches are held.
pub(crate) fn close(state: &mut State, config: &Config) {
    let lanes = &state.lanes;
    let witnessed = witnessed(lanes, config);
    let mut closed = Lanes::default();
    for (batch, name) in (0..BATCHES).zip(1..) {
        // f+1 entries: the liars' and one of a correct replica.
        if lanes.acked[batch] & witnessed[batch] != 0 {
            closed.certified |= 1 << batch;
        }
        if lanes.stored[batch] != 0 {
            closed.held |= 1 << batch;
        }
        for (height, masks) in (0..).zip(&mut closed.by_data) {
            let fits = |at: usize| lanes.stored[at] & witnessed[at];
            if LANE[batch].height > height {
                masks[batch] = chain(name, height).fold(members(config.correct()), |all, at| all & fits(at));
            }
        }
    }
    state.lanes = closed;
}

fn height(entry: u8) -> u8 {
    chain(entry, 0).next().map_or(0, |batch| LANE[batch].height)
}

/// Whether a replica may accept a block whose lane entry is `entry`, over a parent with entry `below`.
pub(crate) fn entry_fits(lanes: &Lanes, below: u8, entry: u8, replica: usize) -> bool {
    if entry == below {
        return true;
    }
    if height(entry) <= height(below) {
        return false;
    }
    let at = usize::from(entry) - 1;
    let held = lanes.by_data[usize::from(height(below))][at] & bit(replica) != 0;
    lanes.certified & (1 << at) != 0 || held
}

/// Entries that a new block may carry over a parent with entry `below`.
pub(crate) fn entries(config: &Config, below: u8) -> Vec<u8> {
    let higher = (1..=3).filter(|entry| config.lanes && height(*entry) > height(below));
    std::iter::once(below).chain(higher).collect()
}

/// Everything that execution of this chain would run: held by a correct replica, and checked by one.
pub(crate) fn judge_chain(state: &State, id: BlockId) -> Verdict {
    let mut at = id;
    while at != GENESIS {
        let block = state.block(at);
        let below = state.block(block.parent).entry();
        if block.entry() != below {
            for batch in chain(block.entry(), height(below)) {
                if LANE[batch].forged {
                    return Verdict::Forged;
                }
                if state.lanes.held & (1 << batch) == 0 {
                    return Verdict::Unavailable;
                }
            }
        }
        at = block.parent;
    }
    Verdict::Holds
}
