//! The gate before the core: whatever needs no state to be judged is judged here, once, on any thread.
//!
//! Votes, acks and StateVotes pass unverified: they are counted by the channel they came on, and their signatures are
//! checked where a certificate is made of them (R-CHANNEL, R-COMMIT). Everything else is used as [`Checked`] only.

use alloc::{sync::Arc, vec::Vec};

use trireme_crypto::{Digest, Domain, Signature, context, hash};

use crate::api::Reject;
use crate::bugs::Bugs;
use crate::gather::Gather;
use crate::message::{
    Ac, Batch, Block, Entry, Envelope, Justify, Message, Qc, QcRef, Readmission, Recollection, Shown, SignedBlock,
    SignedTimeout, StateCertificate, Tc, Timeout, Tip,
};
use crate::quorum::{MemberSet, Quorums};
use crate::types::{Keys, MemberId, Params, Signed, View};
use crate::wire::{MAX_BLOCKS_PER_ANSWER, MAX_STATE_PART_BYTES};

/// What messages are judged by.
#[derive(Clone)]
pub struct CheckContext {
    /// Constants of the cluster.
    pub params: Params,
    /// Quorum sizes.
    pub quorums: Quorums,
    /// Digest of the genesis block.
    pub genesis: Digest,
    /// Signs and verifies.
    pub keys: Arc<dyn Keys>,
    /// Clauses switched off in simulator builds.
    pub bugs: Bugs,
}

/// A message that passed [`check`]. Only this module makes one.
#[derive(Clone, Debug)]
pub struct Checked {
    from: MemberId,
    view: View,
    message: Message,
    digests: Vec<Digest>,
}

impl Checked {
    /// The member on whose channel it came.
    pub fn from(&self) -> MemberId {
        self.from
    }

    /// The view that its sender announced.
    pub fn view(&self) -> View {
        self.view
    }

    /// What was said.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// What was said, for a host that routes it elsewhere than to the core ([`Message::FetchState`],
    /// [`Message::StatePart`]).
    pub fn into_message(self) -> Message {
        self.message
    }

    /// The sender's member, what was said, and the digests that the gate computed: a batch's, or those of blocks.
    pub fn into_parts(self) -> (MemberId, Message, Vec<Digest>) {
        (self.from, self.message, self.digests)
    }
}

/// The leader of a view: the members take turns in order.
pub fn leader(view: View, n: usize) -> MemberId {
    let n = u64::try_from(n).expect("members fit a word");
    MemberId::try_from(view % n).expect("smaller than n")
}

/// What the signers of an availability certificate signed.
pub(crate) fn ac_statements(
    ac: &Ac,
    keys: &dyn Keys,
    domain: &Domain,
    bugs: &Bugs,
) -> Vec<(MemberId, Digest, Signature)> {
    let mut statements: Vec<_> = ac.statements(domain).collect();
    if bugs.header_as_ack() {
        for entry in statements.iter_mut().filter(|entry| entry.0 == ac.lane) {
            let of_header = (entry.0, ac.digest, entry.2);
            if keys.invalid(&[of_header]).is_empty() {
                *entry = of_header;
            }
        }
    }
    statements
}

impl CheckContext {
    /// A context from a cluster's constants.
    pub fn new(params: Params, genesis: Digest, keys: Arc<dyn Keys>) -> Self {
        let quorums = Quorums::new(params.n, params.f).expect("the configuration was checked");
        Self {
            params,
            quorums,
            genesis,
            keys,
            bugs: Bugs::default(),
        }
    }

    fn member(&self, member: MemberId) -> Result<(), Reject> {
        if usize::from(member) < self.quorums.n() {
            Ok(())
        } else {
            Err(Reject::Members)
        }
    }

    fn ascending(&self, members: impl Iterator<Item = MemberId>) -> Result<(), Reject> {
        let mut previous = None;
        for member in members {
            self.member(member)?;
            let repeated = previous == Some(member) && !self.bugs.count_signer_twice();
            if repeated || previous.is_some_and(|p| p > member) {
                return Err(Reject::Members);
            }
            previous = Some(member);
        }
        Ok(())
    }

    fn gather(&self) -> Gather {
        Gather::new(self.bugs.domain(self.keys.domain()))
    }

    fn settle(&self, gather: &Gather) -> Result<(), Reject> {
        match gather.holds(&*self.keys) {
            true => Ok(()),
            false => Err(Reject::Signature),
        }
    }

    /// Whether a quorum certificate is valid.
    pub fn qc(&self, qc: &Qc) -> Result<(), Reject> {
        let mut gather = self.gather();
        self.shape_qc(qc, &mut gather)?;
        self.settle(&gather)
    }

    /// Whether a timeout certificate is valid.
    pub fn tc(&self, tc: &Tc) -> Result<(), Reject> {
        let mut gather = self.gather();
        self.shape_tc(tc, &mut gather)?;
        self.settle(&gather)
    }

    /// Whether an availability certificate is valid.
    pub fn ac(&self, ac: &Ac) -> Result<(), Reject> {
        let mut gather = self.gather();
        self.shape_ac(ac, &mut gather)?;
        self.settle(&gather)
    }

    fn shape_qc(&self, qc: &Qc, gather: &mut Gather) -> Result<(), Reject> {
        if qc.at.slot == 0 {
            let genesis = QcRef {
                view: 0,
                slot: 0,
                digest: self.genesis,
            };
            return if qc.at == genesis && qc.votes.is_empty() {
                Ok(())
            } else {
                Err(Reject::Inconsistent)
            };
        }
        if qc.votes.len() != self.quorums.quorum() {
            return Err(Reject::Count);
        }
        self.ascending(qc.votes.iter().map(|v| v.member))?;
        if self.bugs.old_epoch_quorum() && self.was_valid(qc, gather.domain) {
            return Ok(());
        }
        let domain = gather.domain;
        gather.extend(Signed::Vote, qc.statements(&domain));
        Ok(())
    }

    /// Whether the votes were signed in the epoch before: only a seeded bug asks for it.
    fn was_valid(&self, qc: &Qc, now: Domain) -> bool {
        now.epoch.checked_sub(1).is_some_and(|epoch| {
            let entries: Vec<_> = qc.statements(&Domain { epoch, ..now }).collect();
            self.keys.invalid(&entries).is_empty()
        })
    }

    fn shape_ac(&self, ac: &Ac, gather: &mut Gather) -> Result<(), Reject> {
        self.member(ac.lane)?;
        if ac.acks.len() != self.quorums.one_honest() {
            return Err(Reject::Count);
        }
        self.ascending(ac.acks.iter().map(|a| a.member))?;
        let statements = ac_statements(ac, &*self.keys, &gather.domain, &self.bugs);
        gather.extend(Signed::Ack, statements);
        Ok(())
    }

    /// R-TIMEOUT-VALID without the Qc's own signatures.
    fn shape_timeout(&self, timeout: &Timeout) -> Result<(), Reject> {
        if timeout.high_qc.view > timeout.view && !self.bugs.future_qc() {
            return Err(Reject::Inconsistent);
        }
        if timeout.accepted.len() > self.params.list_max() {
            return Err(Reject::TooLarge);
        }
        let floor = timeout.high_qc.rank();
        let mut previous = None;
        for entry in &timeout.accepted {
            if entry.0 > timeout.view || (entry.0, entry.1) <= floor || previous.is_some_and(|p| p >= entry) {
                return Err(Reject::Inconsistent);
            }
            previous = Some(entry);
        }
        Ok(())
    }

    fn shape_tc(&self, tc: &Tc, gather: &mut Gather) -> Result<(), Reject> {
        if tc.timeouts.len() + usize::from(self.bugs.short_tc()) < self.quorums.timeout() {
            return Err(Reject::Count);
        }
        self.ascending(tc.timeouts.iter().map(|t| t.member))?;
        let mut greatest = None;
        for entry in &tc.timeouts {
            let timeout = Timeout {
                view: tc.view,
                high_qc: entry.high_qc,
                accepted: entry.accepted.clone(),
            };
            self.shape_timeout(&timeout)?;
            greatest = greatest.max(Some(entry.high_qc.rank()));
            let statement = timeout.statement(&gather.domain);
            gather.push(Signed::Timeout, (entry.member, statement, entry.signature));
        }
        let named = tc.timeouts.iter().any(|t| t.high_qc == tc.high_qc.at);
        if !named || greatest != Some(tc.high_qc.at.rank()) {
            return Err(Reject::Inconsistent);
        }
        self.shape_qc(&tc.high_qc, gather)
    }

    fn shape_justify(&self, block: &Block, gather: &mut Gather) -> Result<(), Reject> {
        match &block.justify {
            Justify::None => Ok(()),
            // R-TIMEOUT-VALID: a Tc justifies a block of view v only if it is Tc(v-1). The accept rule repeats it.
            Justify::Tc(tc) => self.shape_tc(tc, gather),
        }
    }

    fn shape_block(&self, signed: &SignedBlock, gather: &mut Gather) -> Result<Digest, Reject> {
        let block = &signed.block;
        if block.slot == 0 || block.cut.len() != self.quorums.n() {
            return Err(Reject::Count);
        }
        if let Some(member) = block.handoff {
            self.member(member)?;
        }
        for (lane, entry) in self.quorums.members().zip(&block.cut) {
            if let Some(ac) = &entry.certificate {
                if (ac.lane, ac.height, ac.digest) != (lane, entry.height, entry.digest) {
                    return Err(Reject::Inconsistent);
                }
                self.shape_ac(ac, gather)?;
            }
        }
        self.shape_justify(block, gather)?;
        let digest = block.digest(&gather.domain);
        let leader = self.bugs.leader(block.view, self.quorums.n());
        gather.push(Signed::Block, (leader, digest, signed.signature));
        Ok(digest)
    }

    fn shape_batch(&self, batch: &Batch, gather: &mut Gather) -> Result<Digest, Reject> {
        let header = &batch.head.header;
        if header.witnesses.len() != self.quorums.f() {
            return Err(Reject::Members);
        }
        let digest = self.shape_unsigned_batch(batch, gather.domain)?;
        gather.push(Signed::Header, (header.lane, digest, batch.head.signature));
        Ok(digest)
    }

    /// All of a batch but its signature and how many witnesses it names.
    fn shape_unsigned_batch(&self, batch: &Batch, domain: Domain) -> Result<Digest, Reject> {
        let header = &batch.head.header;
        self.member(header.lane)?;
        if header.witnesses.contains(&header.lane) {
            return Err(Reject::Members);
        }
        self.ascending(header.witnesses.iter().copied())?;
        let first = header.parent == Digest::ZERO;
        if header.parent_height >= header.height || first != (header.parent_height == 0) {
            return Err(Reject::Inconsistent);
        }
        if header.height == 0 || header.ops == 0 || header.bytes as usize != batch.body.len() {
            return Err(Reject::Inconsistent);
        }
        if batch.body.len() > crate::wire::MAX_FRAME_BYTES - 1024 {
            return Err(Reject::TooLarge);
        }
        if hash(context::BATCH_BODY, &batch.body) != header.body_root {
            return Err(Reject::Body);
        }
        Ok(header.digest(&domain))
    }

    fn shape_signed_timeout(&self, from: MemberId, signed: &SignedTimeout, gather: &mut Gather) -> Result<(), Reject> {
        if signed.member != from {
            return Err(Reject::Author);
        }
        self.shape_timeout(&signed.timeout)?;
        if signed.high_qc.at != signed.timeout.high_qc || signed.entry.view() != signed.timeout.view {
            return Err(Reject::Inconsistent);
        }
        self.shape_qc(&signed.high_qc, gather)?;
        if let Entry::Tc(tc) = &signed.entry {
            self.shape_tc(tc, gather)?;
        }
        let statement = signed.timeout.statement(&gather.domain);
        gather.push(Signed::Timeout, (from, statement, signed.signature));
        Ok(())
    }

    fn shape_state_certificate(&self, certificate: &StateCertificate, gather: &mut Gather) -> Result<(), Reject> {
        let short = usize::from(self.bugs.stable_with_f() && certificate.vote.checkpoint);
        if certificate.votes.len() + short < self.quorums.one_honest() {
            return Err(Reject::Count);
        }
        if certificate.vote.slot == 0 {
            return Err(Reject::Inconsistent);
        }
        self.ascending(certificate.votes.iter().map(|v| v.0))?;
        let statement = certificate.vote.statement(&gather.domain);
        gather.extend(
            Signed::State,
            certificate.votes.iter().map(|(m, s)| (*m, statement, *s)),
        );
        Ok(())
    }

    /// What one member shows of another: nothing but the other's signature proves it.
    fn shape_shown(&self, shown: &Shown, gather: &mut Gather) -> Result<(), Reject> {
        let me = shown.member;
        self.member(me)?;
        if shown.votes.len() > Shown::MAX_VOTES {
            return Err(Reject::TooLarge);
        }
        for signed in &shown.votes {
            if signed.vote.voted.is_none() && signed.vote.locked.is_none() {
                return Err(Reject::Malformed);
            }
            let statement = signed.vote.statement(&gather.domain);
            gather.push(Signed::Vote, (me, statement, signed.signature));
        }
        if let Some((timeout, signature)) = &shown.timeout {
            self.shape_timeout(timeout)?;
            let statement = timeout.statement(&gather.domain);
            gather.push(Signed::Timeout, (me, statement, *signature));
        }
        if let Some(signed) = &shown.header {
            if signed.header.lane != me {
                return Err(Reject::Author);
            }
            let digest = signed.header.digest(&gather.domain);
            gather.push(Signed::Header, (me, digest, signed.signature));
        }
        Ok(())
    }

    /// A lane is at most so long above its committed cut: its window, and once more one from the base of an owner that
    /// came back, and one that the committed cut may lag behind that base.
    fn shape_recollection(&self, recollection: &Recollection, gather: &mut Gather) -> Result<(), Reject> {
        if let Entry::Tc(tc) = &recollection.entry {
            self.shape_tc(tc, gather)?;
        }
        let most = 3 * self.params.lane_window_heights;
        let mut previous: Option<&Tip> = None;
        let mut of_lane = 0;
        for tip in &recollection.tips {
            self.member(tip.lane)?;
            of_lane = if previous.is_some_and(|p| p.lane == tip.lane) {
                of_lane + 1
            } else {
                1
            };
            if of_lane > most {
                return Err(Reject::TooLarge);
            }
            if tip.height == 0 || previous.is_some_and(|p| p >= tip) {
                return Err(Reject::Inconsistent);
            }
            previous = Some(tip);
        }
        Ok(())
    }

    fn shape_readmission(&self, readmission: &Readmission, gather: &mut Gather) -> Result<(), Reject> {
        let block = &readmission.block.block;
        let digest = self.shape_block(&readmission.block, gather)?;
        let at = QcRef {
            view: block.view,
            slot: block.slot,
            digest,
        };
        if readmission.qc.at != at {
            return Err(Reject::Inconsistent);
        }
        self.shape_qc(&readmission.qc, gather)
    }

    /// Votes that make up a certificate are distinct members of this set.
    pub fn members_of(&self, qc: &Qc) -> MemberSet {
        let mut set = MemberSet::default();
        for vote in &qc.votes {
            set.insert(vote.member);
        }
        set
    }
}

/// Judges an envelope of a cluster whose members crash and do not lie (section 9): the words of its own ordering pass,
/// headers of batches bear no signature, and what belongs to this crate's ordering is refused.
pub fn check_crash(context: &CheckContext, from: MemberId, envelope: Envelope) -> Result<Checked, Reject> {
    let digests = match &envelope.message {
        Message::Batch(batch) => Vec::from([context.shape_unsigned_batch(batch, context.keys.domain())?]),
        Message::Ordering(_) => Vec::new(),
        Message::Lanes(_)
        | Message::FetchBatches { .. }
        | Message::NotHeld { .. }
        | Message::StateVote(_)
        | Message::StateCertificate(_)
        | Message::FetchState { .. }
        | Message::StatePart { .. } => return check(context, from, envelope),
        _ => return Err(Reject::Unrequested),
    };
    context.member(from)?;
    if envelope.epoch != context.keys.domain().epoch {
        return Err(Reject::Epoch);
    }
    Ok(Checked {
        from,
        view: envelope.view,
        message: envelope.message,
        digests,
    })
}

/// Judges an envelope that came on `from`'s channel.
pub fn check(context: &CheckContext, from: MemberId, envelope: Envelope) -> Result<Checked, Reject> {
    context.member(from)?;
    if envelope.epoch != context.keys.domain().epoch {
        return Err(Reject::Epoch);
    }
    let mut gather = context.gather();
    let mut digests = Vec::new();
    match &envelope.message {
        Message::Batch(batch) => digests.push(context.shape_batch(batch, &mut gather)?),
        Message::Ack(signed) => {
            context.member(signed.ack.lane)?;
            if signed.ack.height == 0 || !(signed.ack.stored || signed.ack.verified) {
                return Err(Reject::Inconsistent);
            }
        }
        Message::Certificate(ac) => context.shape_ac(ac, &mut gather)?,
        Message::Block(signed) => digests.push(context.shape_block(signed, &mut gather)?),
        Message::Vote(signed) => {
            if signed.vote.voted.is_none() && signed.vote.locked.is_none() {
                return Err(Reject::Malformed);
            }
        }
        Message::Committed { slot, .. } => {
            if *slot == 0 {
                return Err(Reject::Inconsistent);
            }
        }
        Message::Timeout(signed) => context.shape_signed_timeout(from, signed, &mut gather)?,
        Message::Entry(tc) => context.shape_tc(tc, &mut gather)?,
        Message::HighQc(qc) => context.shape_qc(qc, &mut gather)?,
        Message::StateCertificate(certificate) => context.shape_state_certificate(certificate, &mut gather)?,
        Message::Lanes(marks) => {
            if marks.len() != context.quorums.n() {
                return Err(Reject::Count);
            }
        }
        Message::Blocks { blocks, .. } => {
            if blocks.len() > MAX_BLOCKS_PER_ANSWER {
                return Err(Reject::TooLarge);
            }
            for signed in blocks {
                digests.push(context.shape_block(signed, &mut gather)?);
            }
        }
        Message::FetchBatches { lane, .. } => context.member(*lane)?,
        Message::StateVote(signed) => {
            if signed.vote.slot == 0 {
                return Err(Reject::Inconsistent);
            }
        }
        Message::FetchState { slot, .. } => {
            if *slot == 0 {
                return Err(Reject::Inconsistent);
            }
        }
        Message::StatePart { slot, bytes, .. } => {
            if *slot == 0 {
                return Err(Reject::Inconsistent);
            }
            if bytes.len() > MAX_STATE_PART_BYTES {
                return Err(Reject::TooLarge);
            }
        }
        Message::Shown(shown) => context.shape_shown(shown, &mut gather)?,
        Message::Recollection(recollection) => context.shape_recollection(recollection, &mut gather)?,
        Message::Readmitted(readmission) => context.shape_readmission(readmission, &mut gather)?,
        // Of a cluster that orders otherwise ([`check_crash`]).
        Message::Ordering(_) => return Err(Reject::Unrequested),
        Message::Suspect { .. }
        | Message::FetchBlocks { .. }
        | Message::NotHeld { .. }
        | Message::Inquire
        | Message::LeaveView(_) => {}
    }
    context.settle(&gather)?;
    Ok(Checked {
        from,
        view: envelope.view,
        message: envelope.message,
        digests,
    })
}
