//! Votes on states: what vouches for an image, and how a difference is found out. The only statements that are signed here.

use trireme_core::api::{Alarm, Effect, To};
use trireme_core::message::{Message, SignedStateVote, StateCertificate, StateVote};
use trireme_core::{MemberId, Outbox};

use crate::replica::RaftReplica;

impl RaftReplica {
    /// Execution computed a root: says so to all.
    pub(crate) fn vote_state(&mut self, vote: StateVote, out: &mut Outbox) {
        if self.halted || self.states.own(self.me, vote.slot).is_some() {
            return;
        }
        if self.states.contradicts(&vote) {
            self.diverged(&vote, out);
            return;
        }
        let signed = self.sign_state(vote);
        self.send(To::All, Message::StateVote(signed.clone()), out);
        self.on_state_vote(self.me, signed, out);
    }

    pub(crate) fn sign_state(&mut self, vote: StateVote) -> SignedStateVote {
        self.counters.signatures_made += 1;
        let signature = self.keys.sign(&vote.statement(&self.domain));
        let signed = SignedStateVote { vote, signature };
        self.states.remember(self.me, &signed);
        signed
    }

    pub(crate) fn on_state_vote(&mut self, from: MemberId, signed: SignedStateVote, out: &mut Outbox) {
        let vote = signed.vote.clone();
        let stable = !vote.checkpoint || self.states.is_stable(vote.slot);
        if stable && self.states.is_certified(vote.slot) {
            return;
        }
        self.states.keep(from, signed);
        // A majority is told of, not any one member: two that differ are found out.
        let votes = self.states.equal(&vote);
        if votes.len() >= self.quorums.quorum() {
            let certificate = StateCertificate { vote, votes };
            if !stable {
                self.send(To::All, Message::StateCertificate(Box::new(certificate.clone())), out);
            }
            self.on_state_certificate(certificate, out);
        }
    }

    pub(crate) fn on_state_certificate(&mut self, certificate: StateCertificate, out: &mut Outbox) {
        let vote = &certificate.vote;
        if certificate.votes.len() < self.quorums.quorum() {
            return;
        }
        if self.states.own(self.me, vote.slot).is_some_and(|own| own != vote) && !self.halted {
            self.diverged(&certificate.vote, out);
        }
        self.states.certify(&certificate);
        if vote.checkpoint && !self.states.is_stable(vote.slot) {
            self.states.set_stable(certificate);
            self.settle_checkpoint(out);
        }
    }

    fn diverged(&mut self, vote: &StateVote, out: &mut Outbox) {
        self.counters.alarms += 1;
        self.halted = true;
        out.push(Effect::Alarm(Alarm::StateDiverged { slot: vote.slot }));
    }

    /// Execution has been idle for long enough: asks for the root, once.
    pub(crate) fn tend_state(&mut self, out: &mut Outbox) {
        if let Some(slot) = self.states.take_idle(self.now.tick)
            && slot > 0
            && (self.executed, self.tip.slot) == (slot, slot)
            && !self.halted
        {
            out.push(Effect::StateRoot { slot });
        }
    }
}
