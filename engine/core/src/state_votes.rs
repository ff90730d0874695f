//! State votes and certificates (R-STATE): how equal roots are checked.

use alloc::{boxed::Box, collections::BTreeMap, vec, vec::Vec};

use trireme_crypto::{Digest, Signature};

use crate::api::{Alarm, Effect, Outbox, Reject, To};
use crate::message::{Message, SignedStateVote, StateCertificate, StateVote};
use crate::replica::Replica;
use crate::types::{MemberId, Slot, Tick};

/// Own roots that are remembered to compare certificates with.
const OWN_ROOTS: usize = 256;
/// State votes kept for a member.
const VOTES_PER_MEMBER: usize = 8;

/// Votes about the state.
#[derive(Clone, Debug)]
pub(crate) struct StateVotes {
    own: BTreeMap<Slot, StateVote>,
    votes: Vec<BTreeMap<Slot, SignedStateVote>>,
    newest: Option<SignedStateVote>,
    certificate: Option<StateCertificate>,
    idle: Option<(Tick, Slot)>,
}

impl StateVotes {
    pub(crate) fn new(n: usize) -> Self {
        Self {
            own: BTreeMap::new(),
            votes: vec![BTreeMap::new(); n],
            newest: None,
            certificate: None,
            idle: None,
        }
    }

    /// Execution is idle after this slot; its root is voted at `due` if nothing comes.
    pub(crate) fn idle_from(&mut self, due: Tick, slot: Slot) {
        self.idle = (!self.own.contains_key(&slot)).then_some((due, slot));
    }

    pub(crate) fn idle_due(&self) -> Option<Tick> {
        self.idle.map(|i| i.0)
    }

    pub(crate) fn tell(&self, mut send: impl FnMut(Message)) {
        if let Some(vote) = &self.newest {
            send(Message::StateVote(vote.clone()));
        }
        if let Some(certificate) = &self.certificate {
            send(Message::StateCertificate(Box::new(certificate.clone())));
        }
    }

    pub(crate) fn certified(&self) -> Option<&StateVote> {
        self.certificate.as_ref().map(|c| &c.vote)
    }

    pub(crate) fn newest(&self) -> Option<&StateVote> {
        self.newest.as_ref().map(|v| &v.vote)
    }

    fn equal(&self, vote: &StateVote) -> Vec<(MemberId, Signature)> {
        let members = (0..).zip(&self.votes);
        members
            .filter_map(|(m, v)| v.get(&vote.slot).filter(|s| s.vote == *vote).map(|s| (m, s.signature)))
            .collect()
    }
}

impl Replica {
    /// Execution computed a root: says so to all.
    pub(crate) fn vote_state(&mut self, vote: StateVote, out: &mut Outbox) {
        if self.halted || self.state.own.contains_key(&vote.slot) {
            return;
        }
        let signed = self.remember_state(vote);
        self.send(To::All, Message::StateVote(signed.clone()), out);
        self.on_state_vote(self.me, signed, out);
    }

    /// Signs an own vote and keeps it, to be told to whoever connects.
    pub(crate) fn remember_state(&mut self, vote: StateVote) -> SignedStateVote {
        self.counters.signatures_made += 1;
        let signature = self.keys.sign(&vote.statement(&self.domain));
        self.state.own.insert(vote.slot, vote.clone());
        while self.state.own.len() > OWN_ROOTS {
            self.state.own.pop_first();
        }
        let signed = SignedStateVote { vote, signature };
        self.state.newest = Some(signed.clone());
        signed
    }

    pub(crate) fn on_state_vote(&mut self, from: MemberId, signed: SignedStateVote, out: &mut Outbox) {
        let vote = signed.vote.clone();
        if self.state.certified().is_some_and(|c| c.slot >= vote.slot) {
            return;
        }
        let kept = &mut self.state.votes[usize::from(from)];
        kept.entry(vote.slot).or_insert(signed);
        while kept.len() > VOTES_PER_MEMBER {
            kept.pop_first();
        }
        let votes = self.state.equal(&vote);
        if votes.len() >= self.quorums.one_honest() {
            self.certify_state(vote, votes, out);
        }
    }

    fn certify_state(&mut self, vote: StateVote, votes: Vec<(MemberId, Signature)>, out: &mut Outbox) {
        let statement = vote.statement(&self.domain);
        let entries: Vec<(MemberId, Digest, Signature)> = votes.iter().map(|(m, s)| (*m, statement, *s)).collect();
        self.counters.signatures_verified += entries.len() as u64;
        let bad = self.keys.invalid(&entries);
        if bad.is_empty() {
            self.on_state_certificate(StateCertificate { vote, votes }, out);
            return;
        }
        for index in bad {
            let member = votes[index].0;
            self.state.votes[usize::from(member)].remove(&vote.slot);
            out.push(Effect::Disconnect {
                member,
                reason: Reject::Signature,
            });
        }
    }

    /// A verified certificate: this replica's own root at that slot must be the same.
    pub(crate) fn on_state_certificate(&mut self, certificate: StateCertificate, out: &mut Outbox) {
        let vote = &certificate.vote;
        if self.state.own.get(&vote.slot).is_some_and(|own| own != vote) && !self.halted {
            self.alarm(Alarm::StateDiverged { slot: vote.slot }, out);
        }
        if self.state.certified().is_none_or(|c| c.slot < vote.slot) {
            self.state.certificate = Some(certificate);
        }
    }

    /// Execution has been idle for long enough: asks for the root, once.
    pub(crate) fn tend_state(&mut self, out: &mut Outbox) {
        if let Some((due, slot)) = self.state.idle
            && due <= self.now.tick
        {
            self.state.idle = None;
            let idle = self.executed() == slot && self.execution.is_idle(self.committed());
            if idle && !self.halted && slot > 0 {
                out.push(Effect::StateRoot { slot });
            }
        }
    }
}
