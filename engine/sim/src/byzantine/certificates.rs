//! Certificates that are none (FAULTS.md 13): made of real votes as far as they go, so that only the broken rule
//! stands between them and the receiver.

use std::collections::BTreeMap;

use trireme_core::MemberId;
use trireme_core::message::{Ac, AcEntry, Ack, Message, Qc, QcRef, QcVote, Vote};
use trireme_core::types::Keys;
use trireme_crypto::{Domain, context, encode};

use super::Habit;
use super::strategy::{Me, Said, Strategy};

/// Chance in a hundred of such a certificate with each message that leaves.
const OFTEN: u64 = 4;

/// What is known of the newest block: its name, and real votes for it, those of all colluders made up now.
fn votes_for_newest(me: &mut Me) -> Option<(QcRef, BTreeMap<MemberId, QcVote>)> {
    let (slot, digest) = me.memory.newest_block(me.view)?;
    let view = me.view;
    let mut votes = me.memory.votes.get(&(view, slot, digest)).cloned().unwrap_or_default();
    for keys in &me.coalition.borrow().keys {
        let vote = Vote {
            view,
            voted: Some((slot, digest)),
            locked: None,
        };
        let signature = keys.sign(&vote.statement(&keys.domain()));
        let entry = QcVote {
            member: keys.me(),
            locked: None,
            signature,
        };
        votes.insert(keys.me(), entry);
    }
    Some((QcRef { view, slot, digest }, votes))
}

/// A quorum of which one signer is counted as often as it takes.
pub(super) struct DuplicateSigner;

impl Strategy for DuplicateSigner {
    fn out_of_turn(&mut self, me: &mut Me, _to: MemberId, out: &mut Vec<Message>) {
        if !me.prng.percent(OFTEN) {
            return;
        }
        let Some((at, votes)) = votes_for_newest(me) else {
            return;
        };
        let mut votes: Vec<QcVote> = votes.into_values().take(me.sizes.quorum - 1).collect();
        let own = votes.iter().position(|vote| vote.member == me.keys.me());
        while votes.len() < me.sizes.quorum {
            let again = votes[own.unwrap_or(0)].clone();
            votes.insert(own.unwrap_or(0), again);
        }
        me.fire(Habit::DuplicateSigner);
        out.push(Message::HighQc(Box::new(Qc { at, votes })));
    }
}

/// As many signers as one honest member needs, not as many as a quorum.
pub(super) struct FewSigners;

impl Strategy for FewSigners {
    fn out_of_turn(&mut self, me: &mut Me, _to: MemberId, out: &mut Vec<Message>) {
        if !me.prng.percent(OFTEN) {
            return;
        }
        if me.prng.percent(30)
            && let Some(mut tc) = me.memory.entry.clone()
        {
            tc.timeouts.truncate(me.sizes.f + 1);
            me.fire(Habit::FewSigners);
            return out.push(Message::Entry(Box::new(tc)));
        }
        let Some((at, votes)) = votes_for_newest(me) else {
            return;
        };
        let votes: Vec<QcVote> = votes.into_values().take(me.sizes.f + 1).collect();
        me.fire(Habit::FewSigners);
        out.push(Message::HighQc(Box::new(Qc { at, votes })));
    }
}

/// A true certificate in which one signer has the number of nobody.
pub(super) struct BadIndex;

impl Strategy for BadIndex {
    fn out_of_turn(&mut self, me: &mut Me, _to: MemberId, out: &mut Vec<Message>) {
        if !me.prng.percent(OFTEN) {
            return;
        }
        let nobody = me.prng.pick(&[me.params.n, me.params.n + 1, MemberId::MAX]);
        let message = match me.prng.below(4) {
            0 => Message::FetchBatches {
                lane: nobody,
                height: 1,
                digest: me.no_digest(),
                floor: 0,
            },
            1 => {
                let ack = Ack {
                    lane: nobody,
                    height: 1,
                    digest: me.no_digest(),
                    stored: true,
                    verified: true,
                    witnessed: true,
                };
                me.sign_ack(ack)
            }
            _ => {
                let Some(mut qc) = me.memory.newest_qc.clone().filter(|qc| !qc.votes.is_empty()) else {
                    return;
                };
                qc.votes.last_mut().expect("just checked").member = nobody;
                Message::HighQc(Box::new(qc))
            }
        };
        me.fire(Habit::BadIndex);
        out.push(message);
    }
}

/// Frames that announce another epoch, and certificates whose signers signed in another epoch.
pub(super) struct WrongEpoch;

impl Strategy for WrongEpoch {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        if me.prng.percent(1) {
            let epoch = me.keys.domain().epoch;
            said.epoch = Some(me.prng.pick(&[epoch + 1, epoch + 2, u64::MAX]));
            me.fire(Habit::WrongEpoch);
        }
        out.push(said);
    }

    fn out_of_turn(&mut self, me: &mut Me, _to: MemberId, out: &mut Vec<Message>) {
        if !me.prng.percent(OFTEN) || me.memory.batches.is_empty() {
            return;
        }
        // The members who collude can sign in any epoch; so an Ac that names as many of them as there are, the rest
        // with signatures of this epoch, shows whether the epoch is under the signature.
        let header = me.memory.batches[me.prng.index(me.memory.batches.len())]
            .head
            .header
            .clone();
        let domain = me.keys.domain();
        let other = Domain {
            epoch: domain.epoch + 1,
            ..domain
        };
        let ack = Ack {
            lane: header.lane,
            height: header.height,
            digest: header.digest(&domain),
            stored: true,
            verified: true,
            witnessed: true,
        };
        let statement = other.statement(context::ACK, &encode(&ack));
        let mut acks: Vec<AcEntry> = Vec::new();
        for keys in &me.coalition.borrow().keys {
            acks.push(AcEntry {
                member: keys.me(),
                verified: true,
                signature: keys.sign(&statement),
            });
        }
        let own = acks[0].signature;
        for member in 0..me.params.n {
            if acks.len() <= me.sizes.f && acks.iter().all(|entry| entry.member != member) {
                acks.push(AcEntry {
                    member,
                    verified: true,
                    signature: own,
                });
            }
        }
        acks.truncate(me.sizes.f + 1);
        acks.sort_by_key(|entry| entry.member);
        me.fire(Habit::WrongEpoch);
        out.push(Message::Certificate(Ac {
            lane: header.lane,
            height: header.height,
            digest: header.digest(&domain),
            acks,
        }));
    }
}

/// R-TELL: what f+1 members say they committed is. So it says of blocks that exist, of any branch and slot, and of some
/// that do not, that they are.
pub(super) struct FalseClaims;

impl Strategy for FalseClaims {
    fn out_of_turn(&mut self, me: &mut Me, _to: MemberId, out: &mut Vec<Message>) {
        if !me.prng.percent(OFTEN) {
            return;
        }
        let known = me.memory.blocks.len();
        let real = (known > 0).then(|| me.prng.index(known));
        let real = real.and_then(|at| me.memory.blocks.keys().nth(at));
        let (slot, digest) = match real {
            Some((_, slot, digest)) if me.prng.percent(70) => (*slot, *digest),
            _ => (me.prng.skewed(1 << 40), me.no_digest()),
        };
        me.fire(Habit::FalseClaims);
        out.push(Message::Committed { slot, digest });
    }
}
