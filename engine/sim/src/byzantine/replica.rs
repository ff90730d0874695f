//! Lies of a voter: votes, locks, reports, states, and noise (FAULTS.md 6, 10 to 18).

use trireme_core::message::{Entry, Message, Qc, SignedStateVote, StateVote, Timeout, Vote};
use trireme_core::types::Keys;
use trireme_core::{MemberId, View};
use trireme_crypto::{Digest, context, hash};

use super::Habit;
use super::strategy::{Me, Said, Strategy};

/// What the shell around a faulty member does for it: silence, amnesia, spoilt frames, what it takes from clients.
pub(super) struct Quiet;

impl Strategy for Quiet {}

/// 11: two votes of one slot, and votes for whatever exists.
pub(super) struct DoubleVote;

impl Strategy for DoubleVote {
    fn bend(&mut self, me: &mut Me, to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        if let Message::Vote(signed) = &said.message
            && let Some((slot, digest)) = signed.vote.voted
            && me.second(&digest).is_none()
            && me.in_other_half(to)
        {
            let other = me.memory.at(signed.vote.view, slot).into_iter().find(|d| *d != digest);
            let invented = hash(context::SEED, &digest.0);
            let vote = Vote {
                voted: Some((slot, other.unwrap_or(invented))),
                ..signed.vote.clone()
            };
            me.fire(Habit::DoubleVote);
            said.message = me.sign_vote(vote);
        }
        out.push(said);
    }

    fn out_of_turn(&mut self, me: &mut Me, to: MemberId, out: &mut Vec<Message>) {
        if me.prng.percent(20) && to != me.keys.me() {
            out.extend(vote_for_anything(me));
        }
    }
}

/// A vote for some block of the view, accepted or not.
fn vote_for_anything(me: &mut Me) -> Option<Message> {
    let view = me.view;
    let of_view = (view, 0, Digest::ZERO)..=(view, u64::MAX, Digest([255; 32]));
    let blocks: Vec<_> = me.memory.blocks.range(of_view).map(|(key, _)| *key).collect();
    if blocks.is_empty() {
        return None;
    }
    let (_, slot, digest) = blocks[me.prng.index(blocks.len())];
    let locked = me.prng.percent(30).then_some((slot, digest));
    Some(me.sign_vote(Vote {
        view,
        voted: Some((slot, digest)),
        locked,
    }))
}

/// 6: votes go to some only.
pub(super) struct WithholdVotes;

impl Strategy for WithholdVotes {
    fn bend(&mut self, me: &mut Me, to: MemberId, said: Said, out: &mut Vec<Said>) {
        let vote = matches!(said.message, Message::Vote(_));
        if vote && (me.in_other_half(to) || me.prng.percent(20)) {
            me.fire(Habit::WithholdVotes);
        } else {
            out.push(said);
        }
    }
}

/// Locks on the newest block that was heard of.
pub(super) struct FalseLocks;

impl Strategy for FalseLocks {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        if let Message::Vote(signed) = &said.message
            && let Some(newest) = me.memory.newest_block(signed.vote.view)
            && signed.vote.locked != Some(newest)
        {
            let vote = Vote {
                locked: Some(newest),
                ..signed.vote.clone()
            };
            me.fire(Habit::FalseLocks);
            said.message = me.sign_vote(vote);
        }
        out.push(said);
    }
}

/// Rewrites own Timeouts; `None` leaves one as it is.
fn bend_timeout(
    me: &mut Me,
    said: &mut Said,
    change: impl FnOnce(&mut Me, Timeout, Qc) -> Option<(Timeout, Qc)>,
) -> bool {
    let Message::Timeout(signed) = &said.message else {
        return false;
    };
    if signed.member != me.keys.me() {
        return false;
    }
    let entry = signed.entry.clone();
    let Some((timeout, high_qc)) = change(me, signed.timeout.clone(), signed.high_qc.clone()) else {
        return false;
    };
    said.message = me.sign_timeout(timeout, high_qc, entry);
    true
}

/// 6, 12: reports genesis and no acceptance.
pub(super) struct ForgetTimeouts;

impl Strategy for ForgetTimeouts {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        let bent = bend_timeout(me, &mut said, |me, timeout, _| {
            let something = timeout.high_qc.slot > 0 || !timeout.accepted.is_empty();
            let high_qc = Qc::genesis(me.genesis);
            let timeout = Timeout {
                view: timeout.view,
                high_qc: high_qc.at,
                accepted: Vec::new(),
            };
            something.then_some((timeout, high_qc))
        });
        if bent {
            me.fire(Habit::ForgetTimeouts);
        }
        out.push(said);
    }
}

/// 5, 10: reports acceptances of everything that exists.
pub(super) struct InventReports;

impl Strategy for InventReports {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        let bent = bend_timeout(me, &mut said, |me, timeout, high_qc| {
            let floor = timeout.high_qc.rank();
            let Me { memory, prng, .. } = me;
            let known = memory.blocks.keys().copied();
            let known = known.filter(|b| b.0 <= timeout.view && (b.0, b.1) > floor);
            let mut accepted: Vec<_> = known
                .filter(|b| prng.percent(80) || timeout.accepted.contains(b))
                .collect();
            accepted.truncate(me.params.list_max());
            (accepted != timeout.accepted).then_some((Timeout { accepted, ..timeout }, high_qc))
        });
        if bent {
            me.fire(Habit::InventReports);
        }
        out.push(said);
    }
}

/// 10: lists the acceptances of one view only: to one half those of the newest, to the other those of the oldest.
pub(super) struct SplitReports;

impl Strategy for SplitReports {
    fn bend(&mut self, me: &mut Me, to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        let newest = me.in_other_half(to);
        let bent = bend_timeout(me, &mut said, |_, mut timeout, high_qc| {
            let all = timeout.accepted.len();
            let (first, last) = (timeout.accepted.first()?.0, timeout.accepted.last()?.0);
            let keep = if newest { last } else { first };
            timeout
                .accepted
                .retain(|(view, slot, _)| *view == keep && slot % 3 != 0);
            (timeout.accepted.len() < all).then_some((timeout, high_qc))
        });
        if bent {
            me.fire(Habit::SplitReports);
        }
        out.push(said);
    }
}

/// History "future QC": a Timeout of an old view that carries the newest certificate.
pub(super) struct FutureQc;

impl Strategy for FutureQc {
    fn out_of_turn(&mut self, me: &mut Me, _to: MemberId, out: &mut Vec<Message>) {
        if me.prng.percent(10)
            && let Some(timeout) = timeout_from_the_future(me)
        {
            me.fire(Habit::FutureQc);
            out.push(timeout);
        }
    }
}

fn timeout_from_the_future(me: &mut Me) -> Option<Message> {
    let newest = me.memory.newest_qc.clone()?;
    let own: Vec<_> = me
        .memory
        .timeouts
        .iter()
        .filter(|((_, m), _)| *m == me.keys.me())
        .collect();
    let old = own.get(me.prng.index(own.len().max(1)))?.1;
    let timeout = Timeout {
        view: old.timeout.view,
        high_qc: newest.at,
        accepted: Vec::new(),
    };
    let entry = old.entry.clone();
    Some(me.sign_timeout(timeout, newest, entry))
}

/// 14: leaves each view as soon as it is entered.
pub(super) struct Storm;

impl Strategy for Storm {
    fn out_of_turn(&mut self, me: &mut Me, _to: MemberId, out: &mut Vec<Message>) {
        if !me.prng.percent(10) {
            return;
        }
        out.push(Message::Suspect {
            view: me.view,
            standing: true,
        });
        if let Some(tc) = me.memory.entry.clone() {
            let timeout = Timeout {
                view: tc.view + 1,
                high_qc: tc.high_qc.at,
                accepted: Vec::new(),
            };
            let high_qc = tc.high_qc.clone();
            me.fire(Habit::Storm);
            out.push(me.sign_timeout(timeout, high_qc, Entry::Tc(Box::new(tc))));
        }
    }
}

/// 18: another state root than the true one.
pub(super) struct FalseState;

impl Strategy for FalseState {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        if let Message::StateVote(signed) = &said.message {
            let vote = StateVote {
                state_root: hash(context::SEED, &signed.vote.state_root.0),
                ..signed.vote.clone()
            };
            let signature = me.keys.sign(&vote.statement(&me.keys.domain()));
            said.message = Message::StateVote(SignedStateVote { vote, signature });
            me.fire(Habit::FalseState);
        }
        out.push(said);
    }
}

/// 13: votes and acks that count on their channel, and spoil the certificate that they go into.
pub(super) struct BadSignatures;

impl Strategy for BadSignatures {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        let bad = me.no_signature();
        let signature = match &mut said.message {
            Message::Vote(signed) => Some(&mut signed.signature),
            Message::Ack(signed) => Some(&mut signed.signature),
            Message::StateVote(signed) => Some(&mut signed.signature),
            _ => None,
        };
        if let Some(signature) = signature
            && me.prng.percent(50)
        {
            *signature = bad;
            me.fire(Habit::BadSignatures);
        }
        out.push(said);
    }
}

/// 29 at a member: signatures whose `R` has a component of small order.
pub(super) struct Torsion;

impl Strategy for Torsion {
    fn bend(&mut self, me: &mut Me, _to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        let domain = me.keys.domain();
        let (statement, signature) = match &mut said.message {
            Message::Vote(signed) => (signed.vote.statement(&domain), &mut signed.signature),
            Message::Ack(signed) => (signed.ack.statement(&domain), &mut signed.signature),
            Message::Timeout(signed) => (signed.timeout.statement(&domain), &mut signed.signature),
            Message::StateVote(signed) => (signed.vote.statement(&domain), &mut signed.signature),
            _ => return out.push(said),
        };
        if let Some(torsioned) = me.keys.sign_torsioned(&statement, me.prng.pick(&[1, 2, 3, 4, 5, 6, 7])) {
            *signature = torsioned;
            me.fire(Habit::Torsion);
        }
        out.push(said);
    }
}

/// 16: anything that it said or heard before.
pub(super) struct Replay;

impl Strategy for Replay {
    fn out_of_turn(&mut self, me: &mut Me, _to: MemberId, out: &mut Vec<Message>) {
        if me.prng.percent(5)
            && let Some(old) = me.memory.recall(&mut me.prng)
        {
            me.fire(Habit::Replay);
            out.push(old);
        }
    }
}

/// 15: locks on blocks far above everything, in the view at hand.
pub(super) struct FarLocks;

impl Strategy for FarLocks {
    fn out_of_turn(&mut self, me: &mut Me, _to: MemberId, out: &mut Vec<Message>) {
        if me.prng.percent(5) {
            let named = (me.prng.pick(&[1_000, 1 << 20]), me.no_digest());
            me.fire(Habit::FarLocks);
            out.push(me.sign_vote(Vote {
                view: me.view,
                voted: Some(named),
                locked: Some(named),
            }));
        }
    }
}

/// 15: views, slots and heights that no replica may reserve memory for.
pub(super) struct FarFuture;

impl Strategy for FarFuture {
    fn out_of_turn(&mut self, me: &mut Me, _to: MemberId, out: &mut Vec<Message>) {
        if !me.prng.percent(5) {
            return;
        }
        let far = me
            .prng
            .pick(&[5 * me.params.window, 1_000, 1 << 20, 1 << 40, u64::MAX - 1]);
        let (view, digest) = (me.view, me.no_digest());
        let (slot, later): (u64, View) = (far, view.saturating_add(far));
        let message = match me.prng.below(6) {
            0 => me.sign_vote(Vote {
                view: later,
                voted: Some((slot, digest)),
                locked: None,
            }),
            1 => me.sign_vote(Vote {
                view: later,
                voted: None,
                locked: Some((slot, digest)),
            }),
            2 => Message::Suspect {
                view: later,
                standing: true,
            },
            3 => Message::FetchBlocks { slot, digest, floor: 0 },
            4 => Message::FetchBatches {
                lane: me.keys.me(),
                height: far,
                digest,
                floor: 0,
            },
            _ => Message::Lanes(vec![
                trireme_core::message::LaneMark {
                    stored: far,
                    acked: far
                };
                me.sizes.n
            ]),
        };
        me.fire(Habit::FarFuture);
        out.push(message);
    }
}
