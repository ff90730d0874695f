//! The generation check: whoever connects is shown the newest of its own signed statements that the other side holds. A
//! replica that does not know one of them has an older log than it had (R-QUARANTINE). Only its own signature proves
//! that; nobody's word does.

use alloc::{boxed::Box, vec::Vec};

use crate::api::{Outbox, To};
use crate::message::{Entry, Message, Shown, SignedHeader, SignedVote, Timeout, Vote};
use crate::quarantine::Cause;
use crate::quorum::MemberSet;
use crate::replica::Replica;
use crate::types::MemberId;

/// The newest that a member said here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// Its vote with the highest (view, slot), and that with the highest lock.
    votes: [Option<SignedVote>; 2],
    header: Option<SignedHeader>,
}

/// Where a vote stands in the order in which a correct replica signs.
fn rank(vote: &Vote, locked: bool) -> Option<(u64, u64)> {
    let named = if locked { vote.locked } else { vote.voted };
    named.map(|(slot, _)| (vote.view, slot))
}

impl Heard {
    pub(crate) fn vote(&mut self, signed: &SignedVote) {
        for (known, locked) in self.votes.iter_mut().zip([false, true]) {
            let before = known.as_ref().and_then(|known| rank(&known.vote, locked));
            if rank(&signed.vote, locked) > before {
                *known = Some(signed.clone());
            }
        }
    }

    pub(crate) fn header(&mut self, signed: &SignedHeader) {
        let before = self.header.as_ref().map_or(0, |known| known.header.height);
        if signed.header.height > before {
            self.header = Some(signed.clone());
        }
    }
}

impl Replica {
    /// Shows a member what it said: what was heard of it, and what stands in certificates that survive a restart.
    pub(crate) fn show(&self, to: MemberId, out: &mut Outbox) {
        let heard = &self.peers[usize::from(to)].heard;
        let mut votes: Vec<SignedVote> = heard.votes.iter().flatten().cloned().collect();
        let qc = self.safety.high_qc();
        let certified = qc.votes.iter().find(|entry| entry.member == to);
        votes.extend(certified.map(|entry| SignedVote {
            vote: Vote {
                view: qc.at.view,
                voted: Some((qc.at.slot, qc.at.digest)),
                locked: entry.locked,
            },
            signature: entry.signature,
        }));
        votes.dedup();
        let heard_timeout = self.change.timeout_of(to).map(|t| (t.timeout.clone(), t.signature));
        let timeout = heard_timeout.or_else(|| match self.safety.entry() {
            Entry::Genesis => None,
            Entry::Tc(tc) => tc.timeouts.iter().find(|entry| entry.member == to).map(|entry| {
                let timeout = Timeout {
                    view: tc.view,
                    high_qc: entry.high_qc,
                    accepted: entry.accepted.clone(),
                };
                (timeout, entry.signature)
            }),
        });
        let header = heard.header.clone();
        let shown = Shown {
            member: to,
            votes,
            timeout,
            header,
        };
        self.send(To::One(to), Message::Shown(Box::new(shown)), out);
    }

    /// A member shows what this replica said, under its own signature.
    pub(crate) fn on_shown(&mut self, from: MemberId, shown: &Shown, out: &mut Outbox) {
        if shown.member != self.me {
            self.counters.dropped += 1;
            return;
        }
        if self.quarantine.is_none() && self.forgot(shown) {
            self.enter_quarantine(Cause::Shown(from), out);
        }
        let needed = self.quorums.one_honest();
        if let Some(set) = &mut self.unproven {
            set.insert(from);
            if set.count() >= needed {
                self.unproven = None;
                if self.quarantine.is_none() {
                    self.begin_signing(out);
                }
            }
        }
    }

    /// Whether one of them is newer than all that this replica knows to have signed. What it signs in this life is known
    /// before it leaves; what left in an earlier one was durable, or lies within a durable reservation.
    fn forgot(&self, shown: &Shown) -> bool {
        let view = self.safety.view();
        let last = self.safety.last().map(|(slot, _)| (view, slot));
        let voted = |vote: &Vote| rank(vote, false).is_some_and(|at| at > last.unwrap_or((view, 0)));
        let locked = |vote: &Vote| rank(vote, true).is_some_and(|at| at > self.safety.high_ref().rank());
        let votes = shown
            .votes
            .iter()
            .any(|signed| voted(&signed.vote) || locked(&signed.vote));
        let left = |timeout: &Timeout| timeout.view >= view && !self.safety.timed_out(timeout.view);
        let timeout = shown.timeout.as_ref().is_some_and(|(timeout, _)| left(timeout));
        let header = shown
            .header
            .as_ref()
            .is_some_and(|signed| signed.header.height > self.own.known());
        votes || timeout || header
    }

    /// After a restart it signs nothing until f+1 members have shown what they hold of it, one of them correct: a log
    /// that was brought back to an earlier state is found out before it does harm. For the host to ask, after the last
    /// record and before [`Replica::start`]; without records there is nothing to prove.
    pub fn await_proof(&mut self) {
        assert!(self.replaying, "before the start");
        if self.quorums.n() > 1 && self.restart_view.is_some() {
            self.unproven = Some(MemberSet::default());
        }
    }
}
