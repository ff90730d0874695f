//! Lies about states: false parts of images, checkpoints that are none, stale certificates (FAULTS.md 16, 18, 20).

use trireme_core::MemberId;
use trireme_core::message::{Message, SignedStateVote, StateCertificate, StateVote};
use trireme_core::types::Keys;
use trireme_crypto::{context, hash};

use super::Habit;
use super::strategy::{Me, Said, Strategy};

/// A part that is wrong in one byte, cut off, one of another place, or none.
pub(super) struct FalseParts;

impl Strategy for FalseParts {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        if let Message::StatePart { part, bytes, .. } = &mut said.message
            && !bytes.is_empty()
            && me.prng.percent(60)
        {
            let mut wrong = bytes.to_vec();
            match me.prng.below(4) {
                0 => wrong.truncate(wrong.len() / 2),
                1 => wrong.clear(),
                2 => *part += 1,
                _ => {
                    let at = me.prng.index(wrong.len());
                    wrong[at] ^= 1 << me.prng.below(8);
                }
            }
            *bytes = wrong.into();
            me.fire(Habit::FalseParts);
        }
        out.push(said);
    }
}

/// Says of ordinary slots that they are checkpoints, of checkpoints that they are none, and shows certificates with as many
/// signatures as liars have.
pub(super) struct FalseCheckpoints;

impl Strategy for FalseCheckpoints {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        if let Message::StateVote(signed) = &said.message {
            let vote = StateVote {
                checkpoint: !signed.vote.checkpoint,
                ..signed.vote.clone()
            };
            if me.prng.percent(10) {
                out.push(few_signers(me, &vote).into());
            }
            let signature = me.keys.sign(&vote.statement(&me.keys.domain()));
            said.message = Message::StateVote(SignedStateVote { vote, signature });
            me.fire(Habit::FalseCheckpoints);
        }
        out.push(said);
    }
}

/// A checkpoint far ahead, of a state that is not, with the signature of one member.
fn few_signers(me: &Me, vote: &StateVote) -> Message {
    let vote = StateVote {
        slot: vote.slot + 40,
        state_root: hash(context::SEED, &vote.state_root.0),
        checkpoint: true,
        ..vote.clone()
    };
    let signature = me.keys.sign(&vote.statement(&me.keys.domain()));
    let votes = vec![(me.keys.me(), signature)];
    Message::StateCertificate(Box::new(StateCertificate { vote, votes }))
}

/// The first certificate that it ever heard of, again and again.
#[derive(Default)]
pub(super) struct StaleCertificates {
    first: Option<Box<StateCertificate>>,
}

impl Strategy for StaleCertificates {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        if let Message::StateCertificate(certificate) = &said.message {
            let first = self.first.get_or_insert_with(|| certificate.clone());
            if first != certificate {
                said.message = Message::StateCertificate(first.clone());
                me.fire(Habit::StaleCertificates);
            }
        }
        out.push(said);
    }
}
