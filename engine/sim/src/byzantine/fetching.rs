//! Lies in answers to fetches (FAULTS.md 20).

use trireme_core::MemberId;
use trireme_core::message::{Message, SignedBlock};
use trireme_core::types::Keys;

use super::Habit;
use super::strategy::{Me, Said, Strategy};

/// Says that it does not hold what it holds, or nothing.
pub(super) struct NotHeld;

impl Strategy for NotHeld {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        let digest = match &said.message {
            Message::Batch(batch) if batch.head.header.lane != me.keys.me() && me.prng.percent(50) => {
                batch.head.header.digest(&me.keys.domain())
            }
            Message::Blocks { digest, .. } => *digest,
            _ => return out.push(said),
        };
        me.fire(Habit::NotHeld);
        if me.prng.percent(50) {
            said.message = Message::NotHeld { digest };
            out.push(said);
        }
    }
}

/// Answers with other blocks than those that were asked for, in another order, or with another batch.
pub(super) struct WrongAnswers;

impl Strategy for WrongAnswers {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        let wrong = match &said.message {
            Message::Blocks { digest, blocks } => {
                let mut blocks = blocks.clone();
                match me.prng.below(4) {
                    0 => blocks.clear(),
                    1 => blocks.reverse(),
                    2 => drop(blocks.drain(..1)),
                    _ => {
                        let other = me.memory.recent(|m| matches!(m, Message::Block(_))).next();
                        if let Some(Message::Block(other)) = other {
                            blocks = vec![SignedBlock::clone(other)];
                        }
                    }
                }
                Some(Message::Blocks {
                    digest: *digest,
                    blocks,
                })
            }
            Message::Batch(batch) if batch.head.header.lane != me.keys.me() => {
                let other = me.memory.batches.iter().find(|other| **other != *batch);
                let mut wrong = other.cloned();
                if me.prng.percent(30) {
                    // The right head with the body of another batch.
                    wrong = wrong.map(|other| trireme_core::message::Batch {
                        head: batch.head.clone(),
                        body: other.body,
                    });
                }
                wrong.map(Message::Batch)
            }
            _ => None,
        };
        if let Some(wrong) = wrong.filter(|wrong| *wrong != said.message) {
            said.message = wrong;
            me.fire(Habit::WrongAnswers);
        }
        out.push(said);
    }
}
