//! What must hold in a Twins run, judged from outside with arithmetic and code of its own.

use std::rc::Rc;

use trireme_core::api::{Alarm, Evidence, Execution, Reject};
use trireme_core::{MemberId, Slot};
use trireme_crypto::Digest;

use super::scenario::Scenario;
use crate::oracle::Violation;

/// Violations kept: one bug breaks many things after it.
const KEPT: usize = 5;

/// What was committed at a slot.
#[derive(Clone, Copy)]
struct Committed {
    block: Digest,
    /// Digests of the batches executed there, folded; none until somebody executed it.
    executed: Option<u64>,
}

/// Sees what correct instances commit, execute and say of others. A copy goes its own way.
#[derive(Clone)]
pub(super) struct Judge {
    scenario: Rc<Scenario>,
    /// By slot, from 1.
    chain: Vec<Committed>,
    /// Slots committed, and executed, by instance.
    committed: Vec<Slot>,
    executed: Vec<Slot>,
    pub(super) time_us: u64,
    pub(super) violations: Vec<Violation>,
    pub(super) evidence: u32,
}

impl Judge {
    pub(super) fn new(scenario: Rc<Scenario>) -> Self {
        let instances = scenario.instances();
        Self {
            scenario,
            chain: Vec::new(),
            committed: vec![0; instances],
            executed: vec![0; instances],
            time_us: 0,
            violations: Vec::new(),
            evidence: 0,
        }
    }

    fn is_twin(&self, member: MemberId) -> bool {
        self.scenario.twins.contains(&member)
    }

    /// Whether the instance is of a correct member: only those are judged.
    pub(super) fn judges(&self, instance: usize) -> bool {
        !self.is_twin(self.scenario.member(instance))
    }

    /// The highest slot that a correct instance committed.
    pub(super) fn height(&self) -> Slot {
        self.chain.len() as Slot
    }

    /// The slot up to which an instance has executed.
    pub(super) fn executed_by(&self, instance: usize) -> Slot {
        self.executed[instance]
    }

    pub(super) fn fail(&mut self, invariant: &'static str, instance: Option<usize>, text: String) {
        if self.violations.len() < KEPT {
            self.violations.push(Violation {
                invariant,
                time_us: self.time_us,
                member: instance.map(|instance| self.scenario.member(instance)),
                text,
            });
        }
    }

    /// A correct instance holds slots up to `top` for committed; `digest` says what.
    pub(super) fn committed(&mut self, instance: usize, top: Slot, digest: impl Fn(Slot) -> Option<Digest>) {
        if top <= self.committed[instance] {
            return;
        }
        for slot in self.committed[instance] + 1..=top {
            let at = usize::try_from(slot - 1).expect("a short run");
            let Some(block) = digest(slot) else {
                self.fail("1", Some(instance), format!("commits slot {slot} without a block"));
                continue;
            };
            match self.chain.get(at) {
                None => self.chain.push(Committed { block, executed: None }),
                Some(known) if known.block != block => {
                    let text = format!("slot {slot}: commits {block}, another committed {}", known.block);
                    self.fail("1", Some(instance), text);
                }
                Some(_) => {}
            }
        }
        self.committed[instance] = top;
    }

    /// A correct instance starts from its log: it executes again.
    pub(super) fn restarted(&mut self, instance: usize) {
        self.executed[instance] = 0;
    }

    /// A correct instance executes a slot: in order, once, the same as everybody.
    pub(super) fn executed(&mut self, instance: usize, execution: &Execution) {
        let slot = execution.slot;
        if slot != self.executed[instance] + 1 {
            let text = format!("executes slot {slot} after {}", self.executed[instance]);
            self.fail("3", Some(instance), text);
        }
        self.executed[instance] = slot;
        let digests = execution.batches.iter().map(|batch| batch.digest);
        let batches = digests.fold(0, |sum, digest| fold(sum, &digest));
        let at = usize::try_from(slot.saturating_sub(1)).expect("a short run");
        let Some(known) = self.chain.get_mut(at) else {
            let text = format!("executes slot {slot}, which nobody committed");
            return self.fail("3", Some(instance), text);
        };
        let same = known.block == execution.block && *known.executed.get_or_insert(batches) == batches;
        if !same {
            let text = format!("executes {} at slot {slot}, others did not", execution.block);
            self.fail("2", Some(instance), text);
        }
    }

    /// A correct instance has proof against somebody: never a correct member.
    pub(super) fn evidence(&mut self, instance: usize, evidence: &Evidence) {
        self.evidence += 1;
        let accused = match evidence {
            Evidence::Blocks(block, _) => self.scenario.leader(block.block.view),
            Evidence::Votes(member, ..) | Evidence::FalseVerified(member, ..) => *member,
            Evidence::Headers(header, _) => header.header.lane,
        };
        if !self.is_twin(accused) {
            let text = format!("evidence ({}) against correct {accused}", evidence.kind());
            self.fail("19", Some(instance), text);
        }
    }

    /// A correct instance refuses what a member said. Twins follow the protocol, too: what they say is well-formed.
    pub(super) fn refused(&mut self, instance: usize, member: MemberId, reason: Reject) {
        let text = format!("refuses a message of {member}: {}", reason.name());
        self.fail("19", Some(instance), text);
    }

    pub(super) fn alarm(&mut self, instance: usize, alarm: &Alarm) {
        self.fail("alarm", Some(instance), format!("{alarm:?}"));
    }
}

fn fold(sum: u64, digest: &Digest) -> u64 {
    let word = digest.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (sum.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
