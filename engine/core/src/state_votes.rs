//! State votes and certificates (R-STATE): how equal roots are checked, and when a checkpoint is stable.

use alloc::{boxed::Box, collections::BTreeMap, vec, vec::Vec};

use trireme_crypto::{Digest, Signature};

use crate::api::{Alarm, Effect, Outbox, Reject, To};
use crate::message::{Message, SignedStateVote, StateCertificate, StateVote};
use crate::replica::Replica;
use crate::types::{MemberId, Signed, Slot, Tick};

/// Own roots that are remembered to compare certificates with.
const OWN_ROOTS: usize = 256;
/// Ordinary state votes kept for a member.
const VOTES_PER_MEMBER: usize = 8;
/// Votes for checkpoints kept for a member: only those above the stable one, so that newer ordinary votes never push them
/// out. Of more than so many the lowest go: whoever is behind them gets to the newer ones, too.
const CHECKPOINTS_PER_MEMBER: usize = 64;
/// Own votes for checkpoints that are told on connect, the newest.
const CHECKPOINTS_TOLD: usize = 16;

/// Votes about the state.
#[derive(Clone, Debug)]
pub struct StateVotes {
    own: BTreeMap<Slot, StateVote>,
    votes: Vec<BTreeMap<Slot, SignedStateVote>>,
    /// By member: votes for checkpoints above the stable one.
    checkpoints: Vec<BTreeMap<Slot, SignedStateVote>>,
    newest: Option<SignedStateVote>,
    certificate: Option<StateCertificate>,
    /// Of the newest checkpoint with q votes, whether it was executed here or not.
    stable: Option<StateCertificate>,
    idle: Option<(Tick, Slot)>,
}

impl StateVotes {
    pub fn new(n: usize) -> Self {
        Self {
            own: BTreeMap::new(),
            votes: vec![BTreeMap::new(); n],
            checkpoints: vec![BTreeMap::new(); n],
            newest: None,
            certificate: None,
            stable: None,
            idle: None,
        }
    }

    /// Execution is idle after this slot; its root is voted at `due` if nothing comes.
    pub fn idle_from(&mut self, due: Tick, slot: Slot) {
        self.idle = (!self.own.contains_key(&slot)).then_some((due, slot));
    }

    pub fn idle_due(&self) -> Option<Tick> {
        self.idle.map(|i| i.0)
    }

    /// What a member is told on connect; `me` are the own votes.
    pub fn tell(&self, me: MemberId, mut send: impl FnMut(Message)) {
        let waiting = &self.checkpoints[usize::from(me)];
        let untold = waiting.len().saturating_sub(CHECKPOINTS_TOLD);
        for vote in waiting.values().skip(untold) {
            send(Message::StateVote(vote.clone()));
        }
        if let Some(vote) = self
            .newest
            .as_ref()
            .filter(|vote| !waiting.contains_key(&vote.vote.slot))
        {
            send(Message::StateVote(vote.clone()));
        }
        let certificates = [&self.stable, &self.certificate].into_iter().flatten();
        for certificate in certificates.filter(|c| !self.is_outdone(c)) {
            send(Message::StateCertificate(Box::new(certificate.clone())));
        }
    }

    /// Whether the stable certificate says all that this one says.
    fn is_outdone(&self, certificate: &StateCertificate) -> bool {
        let stable = self.stable.as_ref().filter(|stable| *stable != certificate);
        stable.is_some_and(|stable| stable.vote.slot >= certificate.vote.slot)
    }

    pub fn certified(&self) -> Option<&StateVote> {
        self.certificate.as_ref().map(|c| &c.vote)
    }

    /// Certificate of the newest stable checkpoint.
    pub fn stable(&self) -> Option<&StateCertificate> {
        self.stable.as_ref()
    }

    pub fn newest(&self) -> Option<&StateVote> {
        self.newest.as_ref().map(|v| &v.vote)
    }

    /// The most votes held of one member.
    pub fn most_votes(&self) -> usize {
        let both = self.votes.iter().zip(&self.checkpoints);
        both.map(|(votes, checkpoints)| votes.len() + checkpoints.len())
            .max()
            .unwrap_or(0)
    }

    /// The own vote of a slot, if it is remembered.
    pub fn own(&self, me: MemberId, slot: Slot) -> Option<&StateVote> {
        let checkpoint = self.checkpoints[usize::from(me)].get(&slot).map(|v| &v.vote);
        self.own.get(&slot).or(checkpoint)
    }

    /// Keeps a vote as long as it may count.
    pub fn keep(&mut self, from: MemberId, signed: SignedStateVote) {
        let (kept, most) = if signed.vote.checkpoint {
            (&mut self.checkpoints[usize::from(from)], CHECKPOINTS_PER_MEMBER)
        } else {
            (&mut self.votes[usize::from(from)], VOTES_PER_MEMBER)
        };
        kept.entry(signed.vote.slot).or_insert(signed);
        while kept.len() > most {
            kept.pop_first();
        }
    }

    fn table(&self, checkpoint: bool) -> &[BTreeMap<Slot, SignedStateVote>] {
        if checkpoint { &self.checkpoints } else { &self.votes }
    }

    pub fn equal(&self, vote: &StateVote) -> Vec<(MemberId, Signature)> {
        let members = (0..).zip(self.table(vote.checkpoint));
        members
            .filter_map(|(m, v)| v.get(&vote.slot).filter(|s| s.vote == *vote).map(|s| (m, s.signature)))
            .collect()
    }

    fn strike(&mut self, member: MemberId, vote: &StateVote) {
        let table = if vote.checkpoint {
            &mut self.checkpoints
        } else {
            &mut self.votes
        };
        table[usize::from(member)].remove(&vote.slot);
    }

    /// Whether a certificate says something else about that slot.
    pub fn contradicts(&self, own: &StateVote) -> bool {
        let mut certificates = [&self.stable, &self.certificate].into_iter().flatten();
        certificates.any(|c| c.vote.slot == own.slot && c.vote != *own)
    }

    /// The newest own vote for a checkpoint that is not stable yet.
    pub fn newest_checkpoint(&self, me: MemberId) -> Option<Slot> {
        self.checkpoints[usize::from(me)]
            .last_key_value()
            .map(|(slot, _)| *slot)
    }

    pub fn is_certified(&self, slot: Slot) -> bool {
        self.certified().is_some_and(|c| c.slot >= slot)
    }

    pub fn is_stable(&self, slot: Slot) -> bool {
        self.stable.as_ref().is_some_and(|c| c.vote.slot >= slot)
    }

    /// A newer checkpoint is stable: votes for it and for older ones have done their work.
    pub fn set_stable(&mut self, certificate: StateCertificate) {
        let slot = certificate.vote.slot;
        for votes in &mut self.checkpoints {
            *votes = votes.split_off(&(slot + 1));
        }
        self.stable = Some(certificate);
    }

    /// Keeps an own vote, to be told to whoever connects.
    pub fn remember(&mut self, me: MemberId, signed: &SignedStateVote) {
        self.own.insert(signed.vote.slot, signed.vote.clone());
        while self.own.len() > OWN_ROOTS {
            self.own.pop_first();
        }
        if signed.vote.checkpoint && !self.is_stable(signed.vote.slot) {
            self.keep(me, signed.clone());
        }
        self.newest = Some(signed.clone());
    }

    /// A verified certificate, if it is the newest.
    pub fn certify(&mut self, certificate: &StateCertificate) {
        if !self.is_certified(certificate.vote.slot) {
            self.certificate = Some(certificate.clone());
        }
    }

    /// The slot whose root is to be asked for: execution was idle after it until now.
    pub fn take_idle(&mut self, now: Tick) -> Option<Slot> {
        self.idle.take_if(|(due, _)| *due <= now).map(|(_, slot)| slot)
    }
}

impl Replica {
    /// Execution computed a root: says so to all.
    pub(crate) fn vote_state(&mut self, vote: StateVote, out: &mut Outbox) {
        if self.halted || self.state.own.contains_key(&vote.slot) {
            return;
        }
        if self.state.contradicts(&vote) {
            self.alarm(Alarm::StateDiverged { slot: vote.slot }, out);
            return;
        }
        let signed = self.remember_state(vote);
        self.send(To::All, Message::StateVote(signed.clone()), out);
        self.on_state_vote(self.me, signed, out);
        self.release_by_clock(out);
    }

    /// Signs an own vote and keeps it, to be told to whoever connects.
    pub(crate) fn remember_state(&mut self, vote: StateVote) -> SignedStateVote {
        self.counters.signatures_made += 1;
        self.keys.count_made(Signed::State);
        let signature = self.keys.sign(&vote.statement(&self.domain));
        let signed = SignedStateVote { vote, signature };
        self.state.remember(self.me, &signed);
        signed
    }

    pub(crate) fn on_state_vote(&mut self, from: MemberId, signed: SignedStateVote, out: &mut Outbox) {
        let vote = signed.vote.clone();
        let stable = !vote.checkpoint || self.state.is_stable(vote.slot);
        if stable && self.state.is_certified(vote.slot) {
            return;
        }
        self.state.keep(from, signed);
        let votes = self.state.equal(&vote);
        let makes_stable = !stable && votes.len() >= self.quorums.quorum();
        let certifies = !self.state.is_certified(vote.slot) && votes.len() >= self.quorums.one_honest();
        if makes_stable || certifies {
            self.certify_state(vote, votes, out);
        }
    }

    fn certify_state(&mut self, vote: StateVote, votes: Vec<(MemberId, Signature)>, out: &mut Outbox) {
        let statement = vote.statement(&self.domain);
        let entries: Vec<(MemberId, Digest, Signature)> = votes.iter().map(|(m, s)| (*m, statement, *s)).collect();
        self.counters.signatures_verified += entries.len() as u64;
        self.keys.count_checked(Signed::State, entries.len());
        let bad = self.keys.invalid(&entries);
        if bad.is_empty() {
            let certificate = StateCertificate { vote, votes };
            if self.makes_stable(&certificate) {
                // Who lacks a vote that is here may be held up by the window of the log.
                self.send(To::All, Message::StateCertificate(Box::new(certificate.clone())), out);
            }
            self.on_state_certificate(certificate, out);
            return;
        }
        for index in bad {
            let member = votes[index].0;
            self.state.strike(member, &vote);
            out.push(Effect::Disconnect {
                member,
                reason: Reject::Signature,
            });
        }
    }

    /// Whether a verified certificate makes a newer checkpoint stable.
    fn makes_stable(&self, certificate: &StateCertificate) -> bool {
        let needed = if self.bugs.stable_with_f() {
            self.quorums.f()
        } else {
            self.quorums.quorum()
        };
        let vote = &certificate.vote;
        vote.checkpoint && certificate.votes.len() >= needed && !self.state.is_stable(vote.slot)
    }

    /// A verified certificate: this replica's own root at that slot must be the same.
    pub(crate) fn on_state_certificate(&mut self, certificate: StateCertificate, out: &mut Outbox) {
        let vote = &certificate.vote;
        if self.state.own(self.me, vote.slot).is_some_and(|own| own != vote) && !self.halted {
            self.alarm(Alarm::StateDiverged { slot: vote.slot }, out);
        }
        let makes_stable = self.makes_stable(&certificate);
        self.state.certify(&certificate);
        if makes_stable {
            self.state.set_stable(certificate);
            self.on_stable(out);
        }
    }

    /// Execution has been idle for long enough: asks for the root, once.
    pub(crate) fn tend_state(&mut self, out: &mut Outbox) {
        if let Some(slot) = self.state.take_idle(self.now.tick) {
            let idle = self.executed() == slot && self.execution.is_idle(self.committed());
            if idle && !self.halted && slot > 0 {
                out.push(Effect::StateRoot { slot });
            }
        }
    }
}
