//! What this replica has promised: the only constructor of votes, locks and Timeouts.
//!
//! State changes here when the record of the change is handed to the log; what follows from it leaves in the
//! `release` of that append or of a later one. The log becomes durable in order, so nothing leaves before the record
//! that it implies (R-DURABLE).

use alloc::{sync::Arc, vec::Vec};

use trireme_crypto::{Digest, Domain, Signature};

use crate::bugs::Bugs;
use crate::chain::Chain;
use crate::message::{Accepted, Block, Entry, Justify, Qc, QcRef, SignedTimeout, SignedVote, Tc, Timeout, Vote};
use crate::record::Standing;
use crate::safe_tip::safe_tip;
use crate::types::{Height, Keys, Params, Signed, Slot, View};

/// Why a block cannot be accepted (now).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Not of the current view, or the view was left.
    View,
    /// Never: it breaks rule 1, 2 or 3 whatever happens.
    Never,
    /// Its parent is not what rule 2 asks for; may change.
    Parent,
    /// Outside a bound of rule 5.
    Window,
    /// Its timestamp lies ahead (rule 4).
    Early,
    /// Data of a tip is missing or lacks witnessing (rule 3).
    Data,
}

/// Promises of one replica.
#[derive(Clone)]
pub(crate) struct Safety {
    keys: Arc<dyn Keys>,
    domain: Domain,
    params: Params,
    bugs: Bugs,
    genesis: Digest,
    view: View,
    entry: Entry,
    /// R-REPORT's list, ascending by (view, slot).
    accepted: Vec<Accepted>,
    /// Slot of the block that the current view starts from; may lie far above what is committed or certified.
    base: Slot,
    /// The last block accepted in the current view.
    last: Option<(Slot, Digest)>,
    accepted_in_view: u64,
    high_qc: Qc,
    /// The highest Qc of the current view whose record precedes any Timeout.
    locked: Option<(Slot, Digest)>,
    timeout: Option<SignedTimeout>,
    /// R-QUARANTINE: it may have forgotten what it signed.
    quarantined: bool,
    /// The certificate with which it left quarantine: below and beside its block nothing is accepted.
    floor: Option<QcRef>,
    /// Signatures made here.
    pub(crate) signatures: u64,
}

impl Safety {
    pub(crate) fn new(keys: Arc<dyn Keys>, params: Params, genesis: Digest, bugs: Bugs) -> Self {
        let domain = bugs.domain(keys.domain());
        Self {
            keys,
            domain,
            params,
            bugs,
            genesis,
            view: 0,
            entry: Entry::Genesis,
            accepted: Vec::new(),
            base: 0,
            last: None,
            accepted_in_view: 0,
            high_qc: Qc::genesis(genesis),
            locked: None,
            timeout: None,
            quarantined: false,
            floor: None,
            signatures: 0,
        }
    }

    pub(crate) fn view(&self) -> View {
        self.view
    }

    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    pub(crate) fn high_qc(&self) -> &Qc {
        &self.high_qc
    }

    /// The slot from which bounds on what is kept are measured: blocks and votes far above it are not.
    pub(crate) fn horizon(&self) -> Slot {
        self.base.max(self.high_qc.at.slot)
    }

    pub(crate) fn last(&self) -> Option<(Slot, Digest)> {
        self.last
    }

    pub(crate) fn locked(&self) -> Option<(Slot, Digest)> {
        self.locked
    }

    pub(crate) fn sent_timeout(&self) -> Option<&SignedTimeout> {
        self.timeout.as_ref()
    }

    /// Whether a Timeout for this view or a later one exists: then no vote of it ever leaves (R-REPORT).
    pub(crate) fn timed_out(&self, view: View) -> bool {
        self.timeout.as_ref().is_some_and(|t| t.timeout.view >= view)
    }

    /// Rules 1, 2 and 5 of R-ACCEPT. `committed` is this replica's, and `log_end` the last slot of the log's window; 3 and 4
    /// are judged by the caller.
    pub(crate) fn may_accept(&self, block: &Block, chain: &Chain, committed: Slot, log_end: Slot) -> Result<(), Hold> {
        if block.view != self.view || self.timed_out(block.view) {
            return Err(Hold::View);
        }
        let parent = chain.get(&block.parent).ok_or(Hold::Parent)?;
        if block.slot.checked_sub(1) != Some(parent.slot) {
            return Err(Hold::Never);
        }
        if parent.view == block.view && parent.handoff.is_some() && parent.slot > 0 && !self.bugs.handoff_child() {
            return Err(Hold::Never);
        }
        self.above_floor(block, chain)?;
        self.rule_two(block, chain)?;
        self.rule_five(block, chain, committed, log_end)
    }

    /// R-QUARANTINE: after the way out, only descendants of its block or blocks of later views.
    fn above_floor(&self, block: &Block, chain: &Chain) -> Result<(), Hold> {
        match &self.floor {
            Some(at) if block.view < at.view => Err(Hold::Never),
            Some(at) if block.view == at.view && !chain.extends(&block.parent, &at.digest, at.slot) => Err(Hold::Never),
            _ => Ok(()),
        }
    }

    /// Signs a Vote, Timeout, Ack, Block or BatchHeader: the one place that does. In quarantine there is none.
    pub(crate) fn sign(&mut self, what: Signed, statement: &Digest) -> Signature {
        assert!(!self.quarantined, "a quarantined replica signs nothing");
        self.signatures += 1;
        self.keys.count_made(what);
        self.keys.sign(statement)
    }

    /// Signs nothing from here on (R-QUARANTINE).
    pub(crate) fn silence(&mut self) {
        self.quarantined = true;
    }

    /// The way out of quarantine.
    pub(crate) fn readmit(&mut self, at: QcRef) {
        self.quarantined = false;
        self.floor = Some(at);
    }

    fn rule_two(&self, block: &Block, chain: &Chain) -> Result<(), Hold> {
        // (a) the next one of this view.
        if let Some((slot, digest)) = self.last
            && block.parent == digest
        {
            assert_eq!(slot + 1, block.slot);
            return if block.justify == Justify::None {
                Ok(())
            } else {
                Err(Hold::Never)
            };
        }
        // (b) the first one of this view.
        if self.last.is_none() && self.justified(block) {
            return Ok(());
        }
        // (c) rejoining a view that runs.
        let at = self.high_qc.at;
        let rejoins = at.slot > 0 && at.view == self.view && block.parent == at.digest;
        let above = self
            .last
            .is_none_or(|(slot, digest)| chain.extends(&at.digest, &digest, slot));
        if rejoins && above && block.justify == Justify::None {
            Ok(())
        } else {
            Err(Hold::Parent)
        }
    }

    /// R-ACCEPT 2(b): `justify` is valid for this view and the parent is its safe tip.
    fn justified(&self, block: &Block) -> bool {
        match &block.justify {
            Justify::None => block.view == 0 && block.slot == 1,
            Justify::Tc(tc) => {
                let right_view = tc.view.checked_add(1) == Some(block.view)
                    || (self.bugs.stale_tc() && tc.view.checked_add(2) == Some(block.view));
                right_view && {
                    let tip = safe_tip(tc, self.params.n, self.params.f, &self.bugs);
                    (tip.slot + 1, tip.digest) == (block.slot, block.parent)
                }
            }
        }
    }

    fn rule_five(&self, block: &Block, chain: &Chain, committed: Slot, log_end: Slot) -> Result<(), Hold> {
        if self.accepted.len() >= self.params.list_max() {
            return Err(Hold::Window);
        }
        let before_first_qc = self.high_qc.at.view < self.view || self.high_qc.at.slot == 0;
        if before_first_qc {
            if self.accepted_in_view >= self.params.w0 {
                return Err(Hold::Window);
            }
            if !self.bugs.window_on_first_blocks() {
                return Ok(());
            }
        }
        let on_branch = chain.extends(&block.parent, &self.high_qc.at.digest, self.high_qc.at.slot);
        let certified = if on_branch { self.high_qc.at.slot } else { committed };
        let fits = block.slot <= committed + self.params.window && block.slot <= certified + 2 * self.params.window;
        if fits && block.slot <= log_end {
            Ok(())
        } else {
            Err(Hold::Window)
        }
    }

    /// Accepts a block for which every rule was found to hold. The caller appends the acceptance with the vote in
    /// its release.
    pub(crate) fn accept(&mut self, digest: Digest, block: &Block, chain: &Chain) -> SignedVote {
        assert_eq!(block.view, self.view);
        assert!(!self.timed_out(block.view), "no vote after a Timeout");
        self.note_accepted(digest, block, chain);
        self.vote(Some((block.slot, digest)))
    }

    fn note_accepted(&mut self, digest: Digest, block: &Block, chain: &Chain) {
        if self.bugs.report_last_view_only() {
            self.accepted.retain(|a| a.0 == block.view);
        }
        self.last = Some((block.slot, digest));
        self.accepted_in_view += 1;
        let entry = (block.view, block.slot, digest);
        // A Qc may have been made of others' votes before the data of its block came: then it passes this entry.
        if self.reports(&entry, chain) {
            assert!(
                self.accepted.last().is_none_or(|a| (a.0, a.1) < (entry.0, entry.1)),
                "acceptances ascend"
            );
            self.accepted.push(entry);
        }
    }

    /// R-REPORT: listed is what lies above the highest Qc and, in its own view, on its branch.
    fn reports(&self, (view, slot, digest): &Accepted, chain: &Chain) -> bool {
        let at = self.high_qc.at;
        (*view, *slot) > at.rank() && (*view != at.view || chain.extends(digest, &at.digest, at.slot))
    }

    fn vote(&mut self, voted: Option<(Slot, Digest)>) -> SignedVote {
        let vote = Vote {
            view: self.view,
            voted,
            locked: self.locked,
        };
        let signature = self.sign(Signed::Vote, &vote.statement(&self.domain));
        SignedVote { vote, signature }
    }

    /// A vote that carries the lock alone.
    pub(crate) fn lock_vote(&mut self) -> Option<SignedVote> {
        if self.timed_out(self.view) || self.locked.is_none() || self.quarantined {
            return None;
        }
        Some(self.vote(None))
    }

    /// Takes over a verified Qc if it is higher, not of a later view than the current one; true if it did. The caller
    /// appends its record before anything that follows. It becomes the lock, too, if it is of the current view and no
    /// Timeout was sent (R-LOCK).
    pub(crate) fn adopt(&mut self, qc: &Qc, chain: &Chain) -> bool {
        if qc.at.view > self.view || qc.at.rank() <= self.high_qc.at.rank() {
            return false;
        }
        self.high_qc = qc.clone();
        let current = qc.at.view == self.view || self.bugs.old_locks_count();
        if current && !self.timed_out(self.view) {
            self.locked = Some((qc.at.slot, qc.at.digest));
        }
        self.prune_list(chain);
        true
    }

    /// R-REPORT: what the Qc passes goes, and in its own view what is not on its branch.
    fn prune_list(&mut self, chain: &Chain) {
        let mut list = core::mem::take(&mut self.accepted);
        list.retain(|entry| self.reports(entry, chain));
        self.accepted = list;
    }

    /// What a seeded bug does at a commit; a correct replica releases acceptances by Qc only.
    pub(crate) fn committed(&mut self, slot: Slot) {
        if self.bugs.release_by_commit() {
            self.accepted.retain(|a| a.1 > slot);
        }
    }

    /// Leaves `view` (R-JOIN, R-SUSPECT): at most one Timeout a view, re-sent byte for byte.
    pub(crate) fn time_out(&mut self) -> SignedTimeout {
        assert!(!self.timed_out(self.view), "one Timeout a view");
        let (high_qc, accepted) = if self.bugs.forget_lock_at_view_change() {
            (Qc::genesis(self.genesis), Vec::new())
        } else {
            (self.high_qc.clone(), self.accepted.clone())
        };
        let timeout = Timeout {
            view: self.view,
            high_qc: high_qc.at,
            accepted,
        };
        let signature = self.sign(Signed::Timeout, &timeout.statement(&self.domain));
        let signed = SignedTimeout {
            member: self.keys.me(),
            timeout,
            signature,
            high_qc,
            entry: self.entry.clone(),
        };
        self.timeout = Some(signed.clone());
        signed
    }

    /// Enters the view after `tc` (R-ENTER). The caller appends the entry and adopts the certificate's Qc.
    pub(crate) fn enter(&mut self, tc: Tc) {
        assert!(tc.view >= self.view, "views never go back");
        self.view = tc.view + 1;
        self.base = self.tip_slot(&tc);
        self.entry = Entry::Tc(alloc::boxed::Box::new(tc));
        self.last = None;
        self.locked = None;
        self.accepted_in_view = 0;
    }

    fn tip_slot(&self, tc: &Tc) -> Slot {
        safe_tip(tc, self.params.n, self.params.f, &self.bugs).slot
    }

    /// Another valid certificate for the current view: true if the view may start from a higher block by it. (tau
    /// members list that block, one of them correct: a liar cannot raise it at will.)
    pub(crate) fn raise_base(&mut self, tc: &Tc) -> bool {
        let tip = self.tip_slot(tc);
        let higher = tip > self.base;
        self.base = self.base.max(tip);
        higher
    }

    /// What a first block of the current view must have as parent, and its justification.
    pub(crate) fn first_parent(&self) -> (Slot, Digest, Justify) {
        match &self.entry {
            Entry::Genesis => (0, self.genesis, Justify::None),
            Entry::Tc(tc) => {
                let tip = safe_tip(tc, self.params.n, self.params.f, &self.bugs);
                (tip.slot, tip.digest, Justify::Tc(tc.clone()))
            }
        }
    }

    /// R-REPORT's list.
    pub(crate) fn accepted(&self) -> &[Accepted] {
        &self.accepted
    }

    /// All promises, as they stand now.
    pub(crate) fn standing(&self, reserved: Height, committed: (Slot, Digest)) -> Standing {
        Standing {
            entry: self.entry.clone(),
            high_qc: self.high_qc.clone(),
            timeout: self.timeout.clone(),
            accepted: self.accepted.clone(),
            last: self.last,
            accepted_in_view: self.accepted_in_view,
            locked: self.locked,
            reserved,
            committed,
        }
    }

    /// What a seeded bug does at a checkpoint; a correct replica releases acceptances by Qc only.
    pub(crate) fn checkpointed(&mut self, slot: Slot) {
        if self.bugs.release_by_checkpoint() {
            self.accepted.retain(|a| a.1 > slot);
        }
    }

    // Recovery: the same changes without signing.

    /// The promises as they stood; records before this one may be missing.
    pub(crate) fn restore(&mut self, standing: Standing) {
        self.view = standing.entry.view();
        if let Entry::Tc(tc) = &standing.entry {
            self.base = safe_tip(tc, self.params.n, self.params.f, &self.bugs).slot;
        }
        self.entry = standing.entry;
        self.high_qc = standing.high_qc;
        self.timeout = standing.timeout;
        self.accepted = standing.accepted;
        self.last = standing.last;
        self.accepted_in_view = standing.accepted_in_view;
        self.locked = standing.locked;
    }

    pub(crate) fn replay_accept(&mut self, digest: Digest, block: &Block, chain: &Chain) {
        // Of a later view: its entry was released, so what stood then follows. Of an earlier one, or not above the last:
        // a copy at the tail of a log whose head was released; what stood before it says all about it.
        let copied = block.view == self.view && self.last.is_some_and(|(slot, _)| slot >= block.slot);
        if block.view == self.view && !copied {
            self.note_accepted(digest, block, chain);
        }
    }

    pub(crate) fn replay_timeout(&mut self, timeout: SignedTimeout) {
        self.timeout = Some(timeout);
    }

    /// After recovery: the vote that peers may have missed, signed again with the same content.
    pub(crate) fn resign_vote(&mut self) -> Option<SignedVote> {
        let something = self.last.is_some() || self.locked.is_some();
        (something && !self.timed_out(self.view)).then(|| self.vote(self.last))
    }

    /// Highest certificate as a reference.
    pub(crate) fn high_ref(&self) -> QcRef {
        self.high_qc.at
    }
}
