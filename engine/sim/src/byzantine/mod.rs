//! Byzantine members: each runs a real replica, holds its own keys, and bends what that replica says.
//!
//! A faulty member that keeps to the protocol most of the time reaches deeper than one that sends noise: its lies
//! arrive when they are relevant. Twins (two instances of one identity) lie without a mutation: see the plan.

mod lies;
mod memory;
mod past;

use serde::{Deserialize, Serialize};
use trireme_core::message::Message;
use trireme_core::types::Params;
use trireme_core::{MemberId, View};
use trireme_crypto::Digest;

use crate::keys::MemberKeys;
use crate::oracle::Sizes;
use crate::prng::Prng;
use memory::Memory;

/// A way to break the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Habit {
    /// Says nothing from some time on.
    Silent,
    /// Two chains of blocks, one for each half of the others.
    EquivocateBlocks,
    /// Two chains of batches.
    EquivocateLane,
    /// Votes for whatever exists, for two blocks of one slot too.
    DoubleVote,
    /// Keeps votes from some members.
    WithholdVotes,
    /// Says that it is locked on blocks that have no certificate.
    FalseLocks,
    /// Reports nothing in its Timeouts.
    ForgetTimeouts,
    /// Reports everything that it ever heard of.
    InventReports,
    /// Old Timeouts, signed anew with a certificate from their future.
    FutureQc,
    /// Suspects every leader, and leaves every view at once.
    Storm,
    /// Builds first blocks on those Timeouts that suit it.
    CherryPick,
    /// Does not answer fetches, or says that it holds nothing.
    NotHeld,
    /// Puts requests into its lane that no client signed.
    ForgeClients,
    /// Shows its batches to few.
    HideBatches,
    /// States a state that is not.
    FalseState,
    /// Votes and acks with bad signatures.
    BadSignatures,
    /// Acks what it does not hold and vouches for what it did not check.
    EmptyAcks,
    /// Comes back from a crash without the end of its log.
    Amnesia,
    /// Says old things again.
    Replay,
    /// Flips bits in frames.
    Garbage,
}

impl Habit {
    const ALL: [Self; 20] = [
        Self::Silent,
        Self::EquivocateBlocks,
        Self::EquivocateLane,
        Self::DoubleVote,
        Self::WithholdVotes,
        Self::FalseLocks,
        Self::ForgetTimeouts,
        Self::InventReports,
        Self::FutureQc,
        Self::Storm,
        Self::CherryPick,
        Self::NotHeld,
        Self::ForgeClients,
        Self::HideBatches,
        Self::FalseState,
        Self::BadSignatures,
        Self::EmptyAcks,
        Self::Amnesia,
        Self::Replay,
        Self::Garbage,
    ];

    /// One to four habits.
    pub(crate) fn draw(prng: &mut Prng) -> Vec<Self> {
        let mut habits: Vec<Self> = (0..prng.range(1, 4)).map(|_| prng.pick(&Self::ALL)).collect();
        habits.sort_unstable();
        habits.dedup();
        habits
    }
}

/// What stands between a faulty member's replica and the network.
pub(crate) struct Liar {
    keys: MemberKeys,
    params: Params,
    sizes: Sizes,
    genesis: Digest,
    habits: Vec<Habit>,
    /// The half of the others that gets the second version.
    other_half: u128,
    prng: Prng,
    memory: Memory,
}

impl Liar {
    pub(crate) fn new(keys: MemberKeys, params: Params, genesis: Digest, habits: Vec<Habit>, prng: &mut Prng) -> Self {
        let mut prng = prng.fork();
        let sizes = Sizes::new(usize::from(params.n), usize::from(params.f));
        let other_half = u128::from(prng.next());
        Self {
            keys,
            params,
            sizes,
            genesis,
            habits,
            other_half,
            prng,
            memory: Memory::default(),
        }
    }

    /// Whether it has a habit.
    pub(crate) fn is(&self, habit: Habit) -> bool {
        self.habits.contains(&habit)
    }

    fn in_other_half(&self, member: MemberId) -> bool {
        self.other_half >> member & 1 == 1
    }

    /// A message of somebody's came by.
    pub(crate) fn heard(&mut self, message: &Message) {
        self.memory.hear(&self.keys, message);
    }

    /// What one receiver gets instead of what the replica says.
    pub(crate) fn outgoing(&mut self, to: MemberId, message: &Message) -> Vec<Message> {
        self.memory.hear(&self.keys, message);
        if self.prng.percent(2) {
            self.other_half = u128::from(self.prng.next());
        }
        let mut said = self.bend(to, message);
        if self.is(Habit::Replay) && self.prng.percent(5) {
            said.extend(self.memory.recall(&mut self.prng));
        }
        said
    }

    /// What it says to one member out of turn, in a view.
    pub(crate) fn out_of_turn(&mut self, to: MemberId, view: View) -> Vec<Message> {
        let mut said = Vec::new();
        if self.is(Habit::Storm) && self.prng.percent(10) {
            said.push(Message::Suspect { view, standing: true });
            said.extend(self.leave_at_once());
        }
        if self.is(Habit::DoubleVote) && self.prng.percent(20) {
            said.extend(self.vote_for_anything(to, view));
        }
        if self.is(Habit::FutureQc) && self.prng.percent(10) {
            said.extend(self.timeout_from_the_future());
        }
        said
    }

    /// A random number below `bound`, for decisions of the shell around it.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.prng.percent(percent)
    }

    /// Flips some bit.
    pub(crate) fn spoil(&mut self, bytes: &mut [u8]) {
        let at = self.prng.index(bytes.len());
        bytes[at] ^= 1 << self.prng.below(8);
    }
}
