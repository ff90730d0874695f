//! Small-scope mutation of messages, after ByzzFuzz (Winter et al., OOPSLA 2023): most implementation faults show when
//! one field of a few messages of one kind differs slightly in one view for some receivers. So a mutator is a handful
//! of rules (view, kind of message, receivers, field, change), and the changes are small: one more or less, the value
//! that another recent message has there, an entry left out, twice, or at another's place. What is signed is signed
//! again, so that the message passes as its sender's.

use trireme_core::MemberId;
use trireme_core::View;
use trireme_core::message::{Message, SignedAck, SignedStateVote};
use trireme_core::types::Keys;

use super::Habit;
use super::fields::{self, Change, Edit};
use super::strategy::{Me, Said, Strategy};
use crate::prng::Prng;

/// Kinds of messages of the ordinary run: those that the network's scopes and most rules pick from.
pub(crate) const KINDS: u64 = 17;
/// And after those, what is said to a member that comes back, and of it.
const MEMORIES: std::ops::Range<u64> = KINDS..KINDS + 4;
/// What no rule picks: an image's parts are covered by a habit of their own.
const OTHER_KIND: u64 = MEMORIES.end;

/// The kind of a message.
pub(crate) fn kind(message: &Message) -> u64 {
    match message {
        Message::Batch(_) => 0,
        Message::Ack(_) => 1,
        Message::Certificate(_) => 2,
        Message::Block(_) => 3,
        Message::Vote(_) => 4,
        Message::Suspect { .. } => 5,
        Message::Timeout(_) => 6,
        Message::Entry(_) => 7,
        Message::HighQc(_) => 8,
        Message::StateVote(_) => 9,
        Message::StateCertificate(_) => 10,
        Message::Lanes(_) => 11,
        Message::FetchBlocks { .. } => 12,
        Message::Blocks { .. } => 13,
        Message::FetchBatches { .. } => 14,
        Message::NotHeld { .. } => 15,
        Message::Committed { .. } => 16,
        Message::Shown(_) => MEMORIES.start,
        Message::Recollection(_) => MEMORIES.start + 1,
        Message::LeaveView(_) => MEMORIES.start + 2,
        Message::Readmitted(_) => MEMORIES.start + 3,
        Message::FetchState { .. } | Message::StatePart { .. } | Message::Inquire | Message::Ordering(_) => OTHER_KIND,
    }
}

/// Which messages, and what becomes of them.
struct Rule {
    /// None: any.
    view: Option<View>,
    kind: u64,
    receivers: u64,
    field: u64,
    change: Change,
    /// Messages that it still changes.
    left: u64,
}

/// A handful of rules.
pub(super) struct Mutator {
    rules: Vec<Rule>,
    /// What it is called.
    habit: Habit,
}

impl Mutator {
    pub(super) fn draw(prng: &mut Prng) -> Self {
        let rule = |prng: &mut Prng| Rule {
            view: Some(prng.skewed(8)),
            // Half of the rules change what decides: blocks, votes, Timeouts, batches, acks.
            kind: if prng.percent(50) {
                prng.pick(&[0, 1, 3, 4, 6])
            } else {
                prng.below(KINDS)
            },
            receivers: prng.next(),
            field: prng.below(16),
            change: prng.pick(&Change::ALL),
            left: prng.range(1, 12),
        };
        Self {
            rules: (0..prng.range(2, 8)).map(|_| rule(prng)).collect(),
            habit: Habit::Mutate,
        }
    }

    /// One that changes what is said to members in quarantine and what they said (R-QUARANTINE), in any view.
    pub(super) fn of_memories(prng: &mut Prng) -> Self {
        let rule = |kind| Rule {
            view: None,
            kind,
            receivers: prng.next(),
            field: prng.below(16),
            change: prng.pick(&Change::ALL),
            left: prng.range(1, 40),
        };
        Self {
            rules: MEMORIES.chain(MEMORIES).map(rule).collect(),
            habit: Habit::FalseMemory,
        }
    }
}

impl Strategy for Mutator {
    fn bend(&mut self, me: &mut Me, to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        let (view, kind) = (me.view, kind(&said.message));
        let rules = self.rules.iter_mut();
        let mut fits = rules.filter(|rule| {
            let place = rule.kind == kind && rule.view.is_none_or(|at| at == view);
            rule.left > 0 && place && rule.receivers >> to & 1 == 1
        });
        if let Some(rule) = fits.next()
            && let Some(mutated) = mutate(me, &said.message, rule.field, rule.change)
        {
            rule.left -= 1;
            me.fire(self.habit);
            said.message = mutated;
        }
        out.push(said);
    }
}

/// The message with one field changed, signed again; none if that leaves it as it is.
fn mutate(me: &mut Me, message: &Message, field: u64, change: Change) -> Option<Message> {
    let like = kind(message);
    let nth = me.prng.index(4);
    let others = me.memory.recent(|other| kind(other) == like && other != message);
    let other = others.take(nth + 1).last().cloned();
    let edit = Edit {
        field,
        change,
        roll: me.prng.next(),
    };
    let mut mutated = message.clone();
    edit.message(&mut mutated, other.as_ref());
    sign_again(me, &mut mutated);
    (mutated != *message).then_some(mutated)
}

/// Signs what this member signs. Other members' statements keep the signatures that no longer fit.
fn sign_again(me: &Me, message: &mut Message) {
    let domain = me.keys.domain();
    match message {
        Message::Batch(batch) if batch.head.header.lane == me.keys.me() => {
            batch.head = me.sign_header(batch.head.header.clone());
        }
        Message::Ack(SignedAck { ack, signature }) => *signature = me.keys.sign(&ack.statement(&domain)),
        Message::Block(signed) if me.leads(signed.block.view) => {
            **signed = me.signed_block(signed.block.clone());
        }
        Message::Vote(signed) => *message = me.sign_vote(signed.vote.clone()),
        Message::Timeout(signed) if signed.member == me.keys.me() => {
            fields::fit_timeout(signed);
            signed.signature = me.keys.sign(&signed.timeout.statement(&domain));
        }
        Message::StateVote(SignedStateVote { vote, signature }) => *signature = me.keys.sign(&vote.statement(&domain)),
        _ => {}
    }
}
