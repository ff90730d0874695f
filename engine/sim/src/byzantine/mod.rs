//! Byzantine members and clients: a library of strategies (FAULTS.md 1 to 37, 66).
//!
//! A faulty member runs a real replica and holds its own keys; between the replica and the network stand the strategies
//! of its habits, one small piece each, in the order of the catalogue (`habit.rs`). A member that keeps to the protocol
//! most of the time reaches deeper than one that sends noise: its lies arrive when they are relevant. Twins (two
//! instances of one identity) lie without a mutation: see the plan.

mod certificates;
mod client;
mod collusion;
mod fetching;
mod fields;
mod habit;
mod lane;
mod leader;
mod memory;
mod mutator;
mod openings;
mod past;
mod replica;
mod states;
mod strategy;
mod timing;
mod told;

use trireme_core::message::Message;
use trireme_core::types::{Keys, Params};
use trireme_core::{MemberId, View};
use trireme_crypto::Digest;

use crate::keys::MemberKeys;
use crate::oracle::Sizes;
use crate::prng::Prng;
use memory::Memory;
use strategy::{Me, Strategy};
use told::Told;

pub(crate) use client::{Prank, Rogue, Shot, Target};
pub(crate) use collusion::{Coalition, coalition};
pub(crate) use habit::Habit;
pub(crate) use mutator::{KINDS, kind};
pub(crate) use strategy::{Act, Said};

/// Every strategy of faulty members and clients: the counter that says how often it showed on the wire, and the entries
/// of FAULTS.md that it stands for.
pub fn strategies() -> Vec<(&'static str, &'static [u8])> {
    let drawn = Habit::ALL.iter();
    let habits = drawn.map(|habit| (habit.counter(), habit.faults()));
    let pranks = Prank::ALL.iter().map(|prank| (prank.counter(), prank.faults()));
    habits.chain(pranks).collect()
}

/// What stands between a faulty member's replica and the network.
pub(crate) struct Liar {
    habits: Vec<Habit>,
    strategies: Vec<Box<dyn Strategy>>,
    me: Me,
    told: Told,
}

impl Liar {
    pub(crate) fn new(
        keys: MemberKeys,
        params: Params,
        genesis: Digest,
        habits: Vec<Habit>,
        coalition: &Coalition,
        prng: &mut Prng,
    ) -> Self {
        let mut prng = prng.fork();
        collusion::join(coalition, &keys);
        Self {
            strategies: habits.iter().map(|habit| habit.play(&mut prng)).collect(),
            habits,
            told: Told::default(),
            me: Me {
                sizes: Sizes::new(usize::from(params.n), usize::from(params.f)),
                keys,
                params,
                genesis,
                prng,
                memory: Memory::default(),
                coalition: Coalition::clone(coalition),
                view: 0,
                fired: vec![0; Habit::ALL.len()],
            },
        }
    }

    /// Whether it has a habit.
    pub(crate) fn is(&self, habit: Habit) -> bool {
        self.habits.contains(&habit)
    }

    /// A habit that the shell around it plays showed.
    pub(crate) fn fire(&mut self, habit: Habit) {
        self.me.fire(habit);
    }

    /// How often each of its habits showed.
    pub(crate) fn fired(&self) -> impl Iterator<Item = (Habit, u64)> + '_ {
        let all = Habit::ALL.iter().copied().zip(self.me.fired.iter().copied());
        all.filter(|(_, times)| *times > 0)
    }

    /// Whether its replica hears anything.
    pub(crate) fn is_deaf(&self) -> bool {
        self.strategies.iter().any(|strategy| strategy.deaf())
    }

    /// A message of somebody's came by. Returns what it does about it.
    pub(crate) fn heard(&mut self, from: MemberId, message: &Message) -> Vec<Act> {
        let Self { strategies, me, .. } = self;
        me.memory.hear(&me.keys, from, message);
        let mut acts = Vec::new();
        strategies
            .iter_mut()
            .for_each(|strategy| strategy.hear(me, from, message, &mut acts));
        acts
    }

    /// Its replica is about to say something, in a view, to one member or more.
    pub(crate) fn about_to_say(&mut self, message: &Message, view: View) {
        let Self { me, .. } = self;
        me.view = view;
        let from = me.keys.me();
        me.memory.hear(&me.keys, from, message);
    }

    /// What one receiver gets instead of what the replica says.
    pub(crate) fn outgoing(&mut self, to: MemberId, message: &Message) -> Vec<Said> {
        let Self {
            strategies, me, told, ..
        } = self;
        if me.prng.percent(2) {
            me.coalition.borrow_mut().other_half = u128::from(me.prng.next());
        }
        let mut said = told.tell(me, strategies, to, message);
        for strategy in strategies.iter_mut() {
            let mut bent = Vec::with_capacity(said.len());
            said.into_iter().for_each(|said| strategy.bend(me, to, said, &mut bent));
            said = bent;
        }
        let mut more = Vec::new();
        strategies
            .iter_mut()
            .for_each(|strategy| strategy.out_of_turn(me, to, &mut more));
        said.extend(more.into_iter().map(Said::from));
        said
    }

    /// True in `percent` of 100 cases, for decisions of the shell around it.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.me.prng.percent(percent)
    }

    /// Flips some bit.
    pub(crate) fn spoil(&mut self, bytes: &mut [u8]) {
        let at = self.me.prng.index(bytes.len());
        bytes[at] ^= 1 << self.me.prng.below(8);
    }
}
