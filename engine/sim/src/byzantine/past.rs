//! What an earlier epoch with the same keys left behind, brought back (FAULTS.md, attack 67).
//!
//! In one cluster of eight there was an epoch before. Its members could certify any void block above its last one, and
//! leave any view, so the attacker may choose the history of that epoch that hurts most; it is one in which each
//! (view, slot) has one block. None of it counts in the epoch at hand.

use trireme_core::message::{Message, Qc, QcRef, QcVote, Tc, TcEntry, Timeout, Vote};
use trireme_core::{MemberId, Slot, View};
use trireme_crypto::{Domain, context, hash_parts};

use super::{Habit, Liar};
use crate::keys::Ring;

/// The certificate of a block of the epoch before.
fn old_qc(ring: &Ring, past: &Domain, quorum: usize, view: View, slot: Slot) -> Qc {
    let place = [past.cluster_id.0, [0; 32]].concat();
    let digest = hash_parts(
        context::SEED,
        &[b"past", &place, &view.to_le_bytes(), &slot.to_le_bytes()],
    );
    let vote = Vote {
        view,
        voted: Some((slot, digest)),
        locked: None,
    };
    let statement = vote.statement(past);
    let members = (0..).take(quorum);
    let votes = members.map(|member: MemberId| QcVote {
        member,
        locked: None,
        signature: ring.signed_in_the_past(member, &statement),
    });
    Qc {
        at: QcRef { view, slot, digest },
        votes: votes.collect(),
    }
}

/// The certificate by which the members of the epoch before left a view.
fn old_tc(ring: &Ring, past: &Domain, timeouts: usize, high_qc: Qc) -> Tc {
    let timeout = Timeout {
        view: high_qc.at.view,
        high_qc: high_qc.at,
        accepted: Vec::new(),
    };
    let statement = timeout.statement(past);
    let members = (0..).take(timeouts);
    let entries = members.map(|member: MemberId| TcEntry {
        member,
        high_qc: high_qc.at,
        accepted: Vec::new(),
        signature: ring.signed_in_the_past(member, &statement),
    });
    Tc {
        view: timeout.view,
        timeouts: entries.collect(),
        high_qc,
    }
}

impl Liar {
    /// Now and then, a certificate of the epoch before that would pass for one of this view.
    pub(crate) fn bring_back(&mut self, ring: &Ring, view: View) -> Option<Message> {
        let past = ring.past()?;
        let me = &mut self.me;
        if !me.prng.percent(2) {
            return None;
        }
        let slot = 1 + me.prng.below(me.params.window + 2);
        let qc = old_qc(ring, &past, me.sizes.quorum, view, slot);
        me.fire(Habit::WrongEpoch);
        Some(if me.prng.percent(70) {
            Message::HighQc(Box::new(qc))
        } else {
            Message::Entry(Box::new(old_tc(ring, &past, me.sizes.timeout, qc)))
        })
    }
}
