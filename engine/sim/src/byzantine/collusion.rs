//! What faulty members do together. All share one memory: which half of the correct members sees which version of
//! things, which digests are versions of each other, whose keys there are, and what was hidden from the rest. A member
//! on its own is a coalition of one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use trireme_core::MemberId;
use trireme_core::message::{Ac, AcEntry, Ack, Block, Message, Qc, Timeout, Vote};
use trireme_core::types::{Height, Keys};
use trireme_crypto::{Digest, Signature};

use super::Habit;
use super::lane::own_batch;
use super::memory::trim;
use super::strategy::{Act, Me, Said, Strategy};
use crate::keys::MemberKeys;

/// Who acked a batch: whether `verified`, and the signature.
type Signers = BTreeMap<MemberId, (bool, Signature)>;

/// What colluders share.
#[derive(Default)]
pub(crate) struct Shared {
    /// The members that get the second version of things.
    pub(super) other_half: u128,
    /// Second version of a block or batch, by the digest of the first.
    pub(super) second: BTreeMap<Digest, Digest>,
    /// Keys of all of them.
    pub(super) keys: Vec<MemberKeys>,
    /// Acks of correct members for batches of the coalition's lanes.
    acks: BTreeMap<(MemberId, Height, Digest), Signers>,
    /// Newest certificate of each of the coalition's lanes.
    certificates: BTreeMap<MemberId, Ac>,
}

/// One coalition.
pub(crate) type Coalition = Rc<RefCell<Shared>>;

/// A coalition of nobody yet.
pub(crate) fn coalition(other_half: u64) -> Coalition {
    Rc::new(RefCell::new(Shared {
        other_half: u128::from(other_half),
        ..Shared::default()
    }))
}

/// Joins a coalition.
pub(super) fn join(coalition: &Coalition, keys: &MemberKeys) {
    let shared = &mut *coalition.borrow_mut();
    if shared.keys.iter().all(|known| known.me() != keys.me()) {
        shared.keys.push(keys.clone());
    }
}

impl Shared {
    pub(super) fn includes(&self, member: MemberId) -> bool {
        self.keys.iter().any(|keys| keys.me() == member)
    }

    /// Notes a correct member's ack and makes a certificate of it with the colluders' own.
    fn certify(&mut self, from: MemberId, ack: &Ack, signature: Signature, enough: usize) {
        if !(ack.stored && ack.witnessed && self.includes(ack.lane)) {
            return;
        }
        let key = (ack.lane, ack.height, ack.digest);
        self.acks
            .entry(key)
            .or_default()
            .insert(from, (ack.verified, signature));
        trim(&mut self.acks);
        let Some(honest) = self.acks.get(&key) else { return };
        let mut all = honest.clone();
        for keys in &self.keys {
            let own = Ack {
                verified: true,
                ..ack.clone()
            };
            let signature = keys.sign(&own.statement(&keys.domain()));
            all.insert(keys.me(), (true, signature));
        }
        if all.len() < enough {
            return;
        }
        let entry = |(member, (verified, signature))| AcEntry {
            member,
            verified,
            signature,
        };
        let ac = Ac {
            lane: ack.lane,
            height: ack.height,
            digest: ack.digest,
            acks: all.into_iter().take(enough).map(entry).collect(),
        };
        let newest = self.certificates.entry(ac.lane).or_insert_with(|| ac.clone());
        if newest.height < ac.height {
            *newest = ac;
        }
    }
}

/// Before a view that a colluder leads: votes, certificates and the newest Qc reach colluders only, so that the next
/// faulty leader may know a Qc that nobody else has, and use it or not.
pub(super) struct WithholdQc;

impl Strategy for WithholdQc {
    fn bend(&mut self, me: &mut Me, to: MemberId, mut said: Said, out: &mut Vec<Said>) {
        let next = MemberId::try_from((me.view + 1) % me.sizes.n as u64).expect("a member");
        let (friend, ours) = {
            let shared = me.coalition.borrow();
            (shared.includes(to), shared.includes(next))
        };
        if friend || !ours {
            return out.push(said);
        }
        match &said.message {
            Message::Vote(_) | Message::HighQc(_) => me.fire(Habit::WithholdQc),
            Message::Timeout(signed) if signed.member == me.keys.me() && signed.high_qc.at.slot > 0 => {
                let older = me.memory.older_qc.clone();
                let older = older.filter(|qc| qc.at < signed.high_qc.at);
                let high_qc = older.unwrap_or_else(|| Qc::genesis(me.genesis));
                let timeout = Timeout {
                    high_qc: high_qc.at,
                    ..signed.timeout.clone()
                };
                said.message = me.sign_timeout(timeout, high_qc, signed.entry.clone());
                me.fire(Habit::WithholdQc);
                out.push(said);
            }
            _ => out.push(said),
        }
    }
}

/// Batches go to colluders and one correct member; its ack and the colluders' own make a certificate, and a colluding
/// leader proposes the tip with it. The rest has to fetch from those who acked.
pub(super) struct PrivateBatch;

impl Strategy for PrivateBatch {
    fn bend(&mut self, me: &mut Me, to: MemberId, said: Said, out: &mut Vec<Said>) {
        if own_batch(me, &said).is_none() {
            return out.push(said);
        }
        let shared = me.coalition.borrow();
        let n = me.params.n;
        // As many correct ones as it takes, counted from the lane on.
        let wanted = (me.sizes.f + 1).saturating_sub(shared.keys.len());
        let after = (1..n).map(|step| (me.keys.me() + step) % n);
        let mut chosen = after.filter(|member| !shared.includes(*member)).take(wanted.max(1));
        let shown = shared.includes(to) || chosen.any(|member| member == to);
        drop(shared);
        if shown {
            out.push(said);
        } else {
            me.fire(Habit::PrivateBatch);
        }
    }

    fn hear(&mut self, me: &mut Me, from: MemberId, message: &Message, _acts: &mut Vec<Act>) {
        if let Message::Ack(signed) = message {
            let enough = me.sizes.f + 1;
            me.coalition
                .borrow_mut()
                .certify(from, &signed.ack, signed.signature, enough);
        }
    }

    fn redraft(&mut self, me: &mut Me, block: &mut Block) {
        let certificates: Vec<Ac> = me.coalition.borrow().certificates.values().cloned().collect();
        for ac in certificates {
            let entry = &mut block.cut[usize::from(ac.lane)];
            if entry.height < ac.height || (entry.digest == ac.digest && entry.certificate.is_none()) {
                (entry.height, entry.digest) = (ac.height, ac.digest);
                entry.certificate = Some(ac);
                me.fire(Habit::CertifiedHidden);
            }
        }
    }
}

/// Two worlds: a colluder's block gets a vote at once, each half a vote for its own version of it.
pub(super) struct SharedVotes;

impl Strategy for SharedVotes {
    fn hear(&mut self, me: &mut Me, from: MemberId, message: &Message, acts: &mut Vec<Act>) {
        let Message::Block(signed) = message else { return };
        if from == me.keys.me() || !me.coalition.borrow().includes(from) {
            return;
        }
        let block = &signed.block;
        let heard = block.digest(&me.keys.domain());
        let (first, second) = {
            let shared = me.coalition.borrow();
            let first = shared.second.iter().find(|(_, second)| **second == heard);
            let first = first.map_or(heard, |(first, _)| *first);
            (first, shared.second.get(&first).copied().unwrap_or(first))
        };
        for member in (0..me.params.n).filter(|member| *member != me.keys.me()) {
            let digest = if me.in_other_half(member) { second } else { first };
            let vote = Vote {
                view: block.view,
                voted: Some((block.slot, digest)),
                locked: None,
            };
            acts.push(Act::Say(Some(member), me.sign_vote(vote)));
        }
        me.fire(Habit::SharedVotes);
    }
}
