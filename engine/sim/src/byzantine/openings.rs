//! Lies of a leader about how its view begins and ends: a certificate of the wrong view, one with a Timeout from the
//! future, a handoff that is followed by more.

use trireme_core::message::{Block, Justify, Message, Qc, QcRef, SignedTimeout, Tc, TcEntry, Timeout};
use trireme_core::types::Keys;
use trireme_core::{MemberId, View};
use trireme_crypto::Digest;

use super::Habit;
use super::strategy::{Me, Said, Strategy};
use crate::oracle::safe_tip;

/// The certificate of these Timeouts.
fn certify(mut timeouts: Vec<SignedTimeout>) -> Option<Tc> {
    timeouts.sort_by_key(|timeout| timeout.member);
    let view = timeouts.first()?.timeout.view;
    let high_qc = timeouts.iter().map(|t| &t.high_qc).max_by_key(|qc| qc.at)?.clone();
    let entry = |t: SignedTimeout| TcEntry {
        member: t.member,
        high_qc: t.timeout.high_qc,
        accepted: t.timeout.accepted,
        signature: t.signature,
    };
    let timeouts = timeouts.into_iter().map(entry).collect();
    Some(Tc {
        view,
        timeouts,
        high_qc,
    })
}

/// Others' Timeouts of a view.
fn heard(me: &Me, view: View) -> Vec<SignedTimeout> {
    let own = me.keys.me();
    let range = me.memory.timeouts.range((view, 0)..=(view, MemberId::MAX));
    range
        .filter(|((_, member), _)| *member != own)
        .map(|(_, t)| t.clone())
        .collect()
}

/// A first block of a view on what a certificate, any certificate, leads to.
fn first_block(me: &Me, view: View, tc: Tc, timestamp: u64) -> Option<Block> {
    let justify = Justify::Tc(Box::new(tc));
    let (at, slot, digest) = safe_tip(me.sizes, &justify)?;
    let parent = me.memory.blocks.get(&(at, slot, digest))?;
    let mut cut = parent.cut.clone();
    cut.iter_mut().for_each(|entry| entry.certificate = None);
    Some(Block {
        view,
        slot: slot + 1,
        parent: digest,
        cut,
        timestamp: timestamp.max(parent.timestamp.saturating_add(1)),
        handoff: None,
        justify,
    })
}

/// 5: the Tc of the view before the last one, with its own safe tip.
pub(super) struct StaleTc;

impl Strategy for StaleTc {
    fn redraft(&mut self, me: &mut Me, block: &mut Block) {
        let (Justify::Tc(tc), Some(older)) = (&block.justify, block.view.checked_sub(2)) else {
            return;
        };
        if tc.view != older + 1 || !me.prng.percent(50) {
            return;
        }
        let mut timeouts: Vec<SignedTimeout> = heard(me, older);
        timeouts.extend(me.memory.timeouts.get(&(older, me.keys.me())).cloned());
        timeouts.truncate(me.sizes.timeout);
        if timeouts.len() < me.sizes.timeout {
            return;
        }
        if let Some(other) = certify(timeouts).and_then(|tc| first_block(me, block.view, tc, block.timestamp)) {
            *block = other;
            me.fire(Habit::StaleTc);
        }
    }
}

/// 5, history "future QC": one member hears nothing of the view's blocks, until the others have certified one. Then it
/// gets a first block on that, by a certificate that holds an own Timeout from the future.
pub(super) struct LateFirst {
    done: View,
}

impl LateFirst {
    pub(super) fn new() -> Self {
        Self { done: 0 }
    }

    /// Who is left out in a view.
    fn victim(me: &Me, view: View) -> MemberId {
        let n = me.sizes.n as u64;
        let after = 1 + (view / n) % (n - 1);
        MemberId::try_from((u64::from(me.keys.me()) + after) % n).expect("a member")
    }
}

impl Strategy for LateFirst {
    fn bend(&mut self, me: &mut Me, to: MemberId, said: Said, out: &mut Vec<Said>) {
        let hidden = match &said.message {
            Message::Block(signed) => me.leads(signed.block.view) && to == Self::victim(me, signed.block.view),
            Message::Blocks { .. } => me.leads(me.view) && to == Self::victim(me, me.view),
            _ => false,
        };
        if !hidden {
            out.push(said);
        }
    }

    fn out_of_turn(&mut self, me: &mut Me, to: MemberId, out: &mut Vec<Message>) {
        let view = me.view;
        if view <= self.done || !me.leads(view) || to != Self::victim(me, view) {
            return;
        }
        if let Some(block) = on_the_future(me, view) {
            self.done = view;
            me.fire(Habit::LateFirst);
            out.push(me.sign_block(block));
        }
    }
}

fn on_the_future(me: &Me, view: View) -> Option<Block> {
    let (from, to) = ((view, 0, Digest::ZERO), (view, u64::MAX, Digest([255; 32])));
    let mut known = me.memory.votes.range(from..=to).rev();
    let ((_, slot, digest), votes) = known.find(|(_, votes)| votes.len() >= me.sizes.quorum)?;
    let (slot, digest) = (*slot, *digest);
    let qc = Qc {
        at: QcRef { view, slot, digest },
        votes: votes.values().take(me.sizes.quorum).cloned().collect(),
    };
    let mut timeouts = heard(me, view - 1);
    timeouts.truncate(me.sizes.timeout - 1);
    if timeouts.len() + 1 < me.sizes.timeout {
        return None;
    }
    let timeout = Timeout {
        view: view - 1,
        high_qc: qc.at,
        accepted: Vec::new(),
    };
    let signature = me.keys.sign(&timeout.statement(&me.keys.domain()));
    let entry = timeouts[0].entry.clone();
    timeouts.push(SignedTimeout {
        member: me.keys.me(),
        timeout,
        signature,
        high_qc: qc,
        entry,
    });
    first_block(me, view, certify(timeouts)?, 0)
}

/// History "handoff child": names a successor, and goes on in its own view.
pub(super) struct HandoffChild;

impl Strategy for HandoffChild {
    fn redraft(&mut self, me: &mut Me, block: &mut Block) {
        if me.prng.percent(30) {
            let next = (usize::from(me.keys.me()) + 1) % me.sizes.n;
            block.handoff = Some(MemberId::try_from(next).expect("a member"));
            me.fire(Habit::HandoffChild);
        }
    }
}
