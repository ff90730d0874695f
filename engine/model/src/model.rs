//! The transition system that the checker explores.

use stateright::{Model, Property};

use crate::canonical::{Canonical, forget};
use crate::config::{Bug, Config, MAX_CORRECT, Order};
use crate::lanes::{self, Deed};
use crate::rules::{self, Parent, first_parents};
use crate::state::{BlockId, GENESIS, HANDOFF, State, Verdict, bit, mark};
use crate::{certificates, oracle};

/// What one replica does, or what all do at a view's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Accepts a block that another correct replica accepted before.
    Accept {
        /// Who.
        replica: usize,
        /// Which block.
        block: BlockId,
        /// The Qc that it takes over with it, if that is higher than its own.
        takes: Option<BlockId>,
    },
    /// Accepts a block that no correct replica accepted before.
    Propose {
        /// Who.
        replica: usize,
        /// Its parent.
        parent: BlockId,
        /// Its content.
        label: u8,
        /// The Qc that it takes over with it, if that is higher than its own.
        takes: Option<BlockId>,
    },
    /// The acceptances in memory become durable and their votes leave.
    Flush(usize),
    /// Stops and comes back with what is durable.
    Crash(usize),
    /// Takes over a Qc (free interleaving only).
    Adopt {
        /// Who.
        replica: usize,
        /// The certified block.
        block: BlockId,
    },
    /// Sends its Timeout and waits for the next view (free interleaving only).
    Leave(usize),
    /// The view ends: each replica takes over the Qc of this block, or none ([`GENESIS`]), and sends its Timeout.
    Close([BlockId; MAX_CORRECT]),
    /// Does something with a batch.
    Lane(usize, Deed, u8),
    /// Dissemination ends, ordering begins.
    CloseLanes,
}

/// The protocol within the bounds of a configuration.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// The bounds.
    pub config: Config,
    canonical: Canonical,
}

impl Protocol {
    /// For these bounds.
    pub fn new(config: Config) -> Self {
        let canonical = Canonical::new(config.correct());
        Self { config, canonical }
    }

    /// The representative of a state.
    pub fn canonical(&self, state: &State) -> State {
        self.canonical.of(state)
    }

    /// The state after an action; blocks keep their names, new ones are added at the end.
    pub fn apply(&self, state: &State, action: Action) -> State {
        let config = &self.config;
        let mut next = state.clone();
        match action {
            Action::Accept { replica, block, takes } => rules::accept(&mut next, config, replica, block, takes),
            Action::Propose {
                replica,
                parent,
                label,
                takes,
            } => {
                let block = propose(&mut next, replica, parent, label);
                rules::accept(&mut next, config, replica, block, takes);
            }
            Action::Flush(replica) => {
                for id in state.ids().filter(|id| state.block(*id).pending & bit(replica) != 0) {
                    rules::make_durable(&mut next, config, replica, id);
                }
            }
            Action::Crash(replica) => rules::crash(&mut next, config, replica),
            Action::Adopt { replica, block } => rules::adopt(&mut next, replica, block),
            Action::Leave(replica) => {
                let released = stable(state, config);
                rules::time_out(&mut next, config, replica, released);
            }
            Action::Close(adopted) => self.close(&mut next, adopted),
            Action::Lane(replica, deed, batch) => lanes::perform(&mut next.lanes, replica, deed, batch),
            Action::CloseLanes => lanes::close(&mut next, config),
        }
        if config.order == Order::Free && next.verdict == Verdict::Holds {
            next.verdict = oracle::judge_free(&next, config);
        }
        next
    }

    /// The end of a view: locks, Timeouts, then everything that follows from what was said.
    fn close(&self, state: &mut State, adopted: [BlockId; MAX_CORRECT]) {
        let config = &self.config;
        let view = state.views[0];
        for (replica, qc) in adopted.iter().enumerate().filter(|(_, qc)| **qc != GENESIS) {
            rules::adopt(state, replica, *qc);
        }
        for id in oracle::committed_at_end(state, config, view, &adopted) {
            state.block_mut(id).marks |= mark::COMMITTED;
        }
        let released = stable(state, config);
        for replica in 0..config.correct() {
            rules::time_out(state, config, replica, released);
        }
        self.mark_tips(state, view);
        state.verdict = oracle::judge_marked(state, config);
        if config.order == Order::ByView {
            forget(state, config.correct());
        }
    }

    fn mark_tips(&self, state: &mut State, view: u8) {
        let parents = certificates::first_parents(state, &self.config, view);
        let tips: Vec<BlockId> = parents.into_iter().map(|parent| parent.id).collect();
        for id in state.ids() {
            if rules::certifiable(state, &self.config, id) {
                state.block_mut(id).marks |= mark::CERTIFIED;
            }
            let block = state.block_mut(id);
            let was_tip = block.marks & mark::TIP != 0;
            block.marks &= !(mark::TIP | mark::OLD_TIP);
            if was_tip && view > 0 && self.config.has(Bug::StaleTc) {
                block.marks |= mark::OLD_TIP;
            }
            if tips.contains(&id) {
                block.marks |= mark::TIP;
            }
        }
    }

    fn accepts(&self, state: &State, replica: usize, first: &[Parent], out: &mut Vec<Action>) {
        for Parent { id: parent, takes } in rules::parents(state, &self.config, replica, first) {
            let view = state.views[replica];
            let children: Vec<BlockId> = state
                .ids()
                .filter(|id| *id != GENESIS && state.block(*id).parent == parent && state.block(*id).view == view)
                .collect();
            for block in &children {
                if rules::entry_fits(state, replica, parent, state.block(*block).entry()) {
                    out.push(Action::Accept {
                        replica,
                        block: *block,
                        takes,
                    });
                }
            }
            for label in self.labels(state, parent) {
                let alike = children.iter().filter(|id| state.block(**id).label == label).count();
                let fits = rules::entry_fits(state, replica, parent, label & !HANDOFF);
                if alike < usize::from(self.config.values) && fits {
                    out.push(Action::Propose {
                        replica,
                        parent,
                        label,
                        takes,
                    });
                }
            }
        }
    }

    fn labels(&self, state: &State, parent: BlockId) -> Vec<u8> {
        let mut labels = lanes::entries(&self.config, state.block(parent).entry());
        if self.config.handoff {
            let sealed: Vec<u8> = labels.iter().map(|label| label | HANDOFF).collect();
            labels.extend(sealed);
        }
        labels
    }

    fn by_view(&self, state: &State, out: &mut Vec<Action>) {
        let first = first_parents(state, &self.config, state.views[0]);
        for replica in 0..self.config.correct() {
            self.accepts(state, replica, &first, out);
            self.writes(state, replica, out);
        }
        if state.blocks.iter().any(|block| block.pending != 0) {
            return;
        }
        let mut choices = vec![[GENESIS; MAX_CORRECT]];
        for replica in 0..self.config.correct() {
            let adoptable = rules::adoptable(state, &self.config, replica);
            let with = |choice: &[BlockId; MAX_CORRECT], qc: BlockId| {
                let mut choice = *choice;
                choice[replica] = qc;
                choice
            };
            let more: Vec<_> = choices
                .iter()
                .flat_map(|choice| adoptable.iter().map(move |qc| with(choice, *qc)))
                .collect();
            choices.extend(more);
        }
        out.extend(choices.into_iter().map(Action::Close));
    }

    fn writes(&self, state: &State, replica: usize, out: &mut Vec<Action>) {
        if !self.config.crashes {
            return;
        }
        let pending = state.blocks.iter().any(|block| block.pending & bit(replica) != 0);
        if pending {
            out.push(Action::Flush(replica));
        }
        // With everything durable a restart changes nothing, unless the clause that says so is broken.
        if pending || self.config.has(Bug::DropVoteState) {
            out.push(Action::Crash(replica));
        }
    }

    fn free(&self, state: &State, out: &mut Vec<Action>) {
        for replica in 0..self.config.correct() {
            let view = state.views[replica];
            if view >= self.config.views {
                continue;
            }
            let first = first_parents(state, &self.config, view);
            if first.is_empty() {
                continue;
            }
            self.accepts(state, replica, &first, out);
            for block in rules::adoptable(state, &self.config, replica) {
                out.push(Action::Adopt { replica, block });
            }
            out.push(Action::Leave(replica));
        }
    }
}

/// The highest slot that a checkpoint can cover: everything committed so far by anybody's count.
pub(crate) fn stable(state: &State, config: &Config) -> u8 {
    if !config.has(Bug::ReleaseByCheckpoint) {
        return 0;
    }
    let marked = state.ids().filter(|id| state.block(*id).marks & mark::COMMITTED != 0);
    marked.map(|id| state.block(id).slot).max().unwrap_or(0)
}

fn propose(state: &mut State, replica: usize, parent: BlockId, label: u8) -> BlockId {
    let id = u8::try_from(state.blocks.len()).expect("bounded by slots, views and replicas");
    let block = crate::state::Block {
        slot: state.block(parent).slot + 1,
        view: state.views[replica],
        label,
        parent,
        ..Default::default()
    };
    state.blocks.push(block);
    id
}

/// Name of the invariant that a fault breaks.
pub fn invariant(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "",
        Verdict::TipMisses => "what could have committed is in every later safe_tip",
        Verdict::Disagreement => "no two correct replicas commit different blocks at one slot",
        Verdict::Forged => "every executed request was signed by its client",
        Verdict::Unavailable => "a certified batch is held by a correct replica",
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let start = State::start(self.config.correct(), self.config.first_view, self.config.lanes);
        vec![self.canonical(&start)]
    }

    fn actions(&self, state: &State, out: &mut Vec<Action>) {
        if state.verdict != Verdict::Holds {
            return;
        }
        if state.lanes.open {
            let deeds = lanes::deeds(state, &self.config);
            out.extend(
                deeds
                    .into_iter()
                    .map(|(who, deed, batch)| Action::Lane(who, deed, batch)),
            );
            out.push(Action::CloseLanes);
        } else if self.config.order == Order::Free {
            self.free(state, out);
        } else if state.views[0] < self.config.views {
            self.by_view(state, out);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(self.canonical(&self.apply(state, action)))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn free_of<const FAULT: usize>(_: &Protocol, state: &State) -> bool {
            state.verdict != FAULTS[FAULT]
        }
        vec![
            Property::always(invariant(FAULTS[0]), free_of::<0>),
            Property::always(invariant(FAULTS[1]), free_of::<1>),
            Property::always(invariant(FAULTS[2]), free_of::<2>),
            Property::always(invariant(FAULTS[3]), free_of::<3>),
        ]
    }
}

/// All faults, in the order of the properties.
const FAULTS: [Verdict; 4] = [
    Verdict::Disagreement,
    Verdict::TipMisses,
    Verdict::Forged,
    Verdict::Unavailable,
];
