//! What correct members may sign and let out (invariants 5, 6, 7 and R-REPORT).

use std::collections::BTreeMap;

use trireme_core::message::{Justify, Message, QcRef, SignedBlock, SignedTimeout, SignedVote, Timeout, Vote};
use trireme_core::types::Height;
use trireme_core::{MemberId, Slot, View};
use trireme_crypto::Digest;

use super::chain::tip_of;
use super::{Facts, Oracle, Scene};

/// Everything that correct members ever said, over all restarts.
#[derive(Default)]
pub(super) struct Statements {
    blocks: BTreeMap<(MemberId, View, Slot), Digest>,
    first_blocks: BTreeMap<(MemberId, View), Digest>,
    voted: BTreeMap<(MemberId, View, Slot), Digest>,
    timeouts: BTreeMap<(MemberId, View), Timeout>,
    headers: BTreeMap<(MemberId, Height), Digest>,
    acks: BTreeMap<(MemberId, MemberId, Height), Digest>,
    /// Acks that are stored and witnessed, of any member.
    certifying: BTreeMap<(MemberId, MemberId, Height), Digest>,
    states: BTreeMap<(MemberId, Slot), Digest>,
    newest: BTreeMap<MemberId, View>,
    /// Members that ever suspected a view, one bit each.
    suspects: BTreeMap<View, u128>,
    /// The highest view that each member left, faulty ones too.
    left: BTreeMap<MemberId, View>,
}

impl Statements {
    /// The Timeout that a correct member sent for a view.
    pub(super) fn timeout(&self, member: MemberId, view: View) -> Option<&Timeout> {
        self.timeouts.get(&(member, view))
    }

    /// What a correct member acked as stored and witnessed at a height.
    pub(super) fn acked(&self, member: MemberId, lane: MemberId, height: Height) -> Option<Digest> {
        self.certifying.get(&(member, lane, height)).copied()
    }

    /// A member may ack any height again.
    pub(super) fn forget_acks(&mut self, member: MemberId) {
        self.acks.retain(|key, _| key.0 != member);
        self.certifying.retain(|key, _| key.0 != member);
    }

    /// The newest view in which the member signed anything.
    pub(super) fn newest_view(&self, member: MemberId) -> Option<View> {
        self.newest.get(&member).copied()
    }
}

/// Enters a statement in a table of "one digest each"; false if there is another already.
fn single<K: Ord>(table: &mut BTreeMap<K, Digest>, key: K, digest: Digest) -> bool {
    *table.entry(key).or_insert(digest) == digest
}

impl Oracle {
    /// Any member speaks against a view.
    pub(super) fn note_opposition(&mut self, scene: Scene, message: &Message) {
        match message {
            Message::Suspect { view, standing: true } => {
                *self.statements.suspects.entry(*view).or_default() |= 1 << scene.member;
            }
            Message::Timeout(timeout) if timeout.member == scene.member => {
                let left = self.statements.left.entry(scene.member).or_default();
                *left = timeout.timeout.view.max(*left);
            }
            _ => {}
        }
    }

    /// Whether a member ever spoke against a view.
    pub(crate) fn has_suspected(&self, member: MemberId, view: View) -> bool {
        self.statements
            .suspects
            .get(&view)
            .is_some_and(|who| who >> member & 1 == 1)
    }

    /// R-SUSPECT, R-JOIN: a Timeout takes f+1 members that suspect the view or left it or a later one.
    fn judge_join(&mut self, scene: Scene, view: View) {
        let mut against = self.statements.suspects.get(&view).copied().unwrap_or(0);
        for (member, _) in self
            .statements
            .left
            .iter()
            .filter(|(m, left)| **left >= view && **m != scene.member)
        {
            against |= 1 << member;
        }
        self.verdict
            .check(against.count_ones() as usize > self.sizes.f, scene, "join", || {
                format!("leaves view {view} with {} members against it", against.count_ones())
            });
    }

    /// A correct member's message leaves.
    pub(super) fn judge_statement(&mut self, scene: Scene, message: &Message, facts: &Facts) {
        match message {
            Message::Block(block) => self.judge_block(scene, block, facts),
            Message::Vote(vote) => self.judge_vote(scene, vote, facts),
            Message::Timeout(timeout) if timeout.member == scene.member => self.judge_timeout(scene, timeout, facts),
            Message::Ack(signed) => {
                let ack = &signed.ack;
                if ack.stored {
                    let key = (scene.member, ack.lane, ack.height);
                    let fresh = single(&mut self.statements.acks, key, ack.digest);
                    self.verdict.check(fresh, scene, "5", || {
                        format!("two acks of lane {} height {}", ack.lane, ack.height)
                    });
                    let held = facts.batches.contains(&ack.digest);
                    self.verdict.check(held, scene, "6", || {
                        format!("acks lane {} height {} before it is stored", ack.lane, ack.height)
                    });
                    if ack.witnessed {
                        self.statements.certifying.insert(key, ack.digest);
                    }
                }
            }
            Message::Batch(batch) if batch.head.header.lane == scene.member => {
                let header = &batch.head.header;
                let digest = header.digest(&self.domain);
                let fresh = single(&mut self.statements.headers, (scene.member, header.height), digest);
                self.verdict
                    .check(fresh, scene, "5", || format!("two headers of height {}", header.height));
                let covered = header.height <= facts.reserved || facts.batches.contains(&digest);
                self.verdict.check(covered, scene, "6", || {
                    format!(
                        "header of height {} leaves, reserved is {}",
                        header.height, facts.reserved
                    )
                });
            }
            Message::StateVote(signed) => {
                let digest = signed.vote.statement(&self.domain);
                let fresh = single(&mut self.statements.states, (scene.member, signed.vote.slot), digest);
                self.verdict.check(fresh, scene, "10", || {
                    format!("two state votes of slot {}", signed.vote.slot)
                });
                self.history.state_vote(scene, &mut self.verdict, &signed.vote);
            }
            Message::HighQc(qc) => self.judge_qc(scene, qc),
            Message::Entry(tc) => self.judge_tc(scene, tc),
            _ => {}
        }
    }

    /// A faulty member's message leaves: only what certificates may count later is noted.
    pub(super) fn note_faulty(&mut self, scene: Scene, message: &Message) {
        if let Message::Vote(vote) = message
            && let (Some((slot, digest)), view) = (vote.vote.voted, vote.vote.view)
            && !single(&mut self.statements.voted, (scene.member, view, slot), digest)
        {
            self.verdict.count("a faulty member votes twice");
        }
        if let Message::Block(block) = message {
            let digest = block.block.digest(&self.domain);
            let key = (scene.member, block.block.view, block.block.slot);
            if !single(&mut self.statements.blocks, key, digest) {
                self.verdict.count("a faulty leader equivocates");
            }
        }
        if let Message::Batch(batch) = message {
            let header = &batch.head.header;
            if header.lane == scene.member {
                let digest = header.digest(&self.domain);
                if !single(&mut self.statements.headers, (scene.member, header.height), digest) {
                    self.verdict.count("a faulty lane owner equivocates");
                }
            }
        }
    }

    fn judge_block(&mut self, scene: Scene, signed: &SignedBlock, facts: &Facts) {
        let block = &signed.block;
        let digest = block.digest(&self.domain);
        let leads = usize::try_from(block.view).is_ok_and(|view| view % self.sizes.n == usize::from(scene.member));
        self.verdict.check(leads, scene, "5", || {
            format!("proposes in view {}, which it does not lead", block.view)
        });
        let fresh = single(
            &mut self.statements.blocks,
            (scene.member, block.view, block.slot),
            digest,
        );
        self.verdict.check(fresh, scene, "5", || {
            format!("two blocks of view {} slot {}", block.view, block.slot)
        });
        let first = self
            .chain
            .get(&block.parent)
            .is_none_or(|parent| parent.view != block.view || parent.slot == 0);
        if first {
            let fresh = single(&mut self.statements.first_blocks, (scene.member, block.view), digest);
            self.verdict
                .check(fresh, scene, "5", || format!("two first blocks of view {}", block.view));
        }
        let entered = block.view <= facts.entered_view();
        self.verdict.check(entered, scene, "6", || {
            format!(
                "proposes in view {} while {} is what its log entered",
                block.view,
                facts.entered_view()
            )
        });
        if let Justify::Tc(tc) = &block.justify {
            let tip = tip_of(self.sizes, tc);
            self.verdict
                .check(tip.is_some_and(|tip| tip.2 == block.parent), scene, "9", || {
                    format!("proposes on {}, the safe tip is {tip:?}", block.parent)
                });
        }
        self.spoke(scene, block.view);
    }

    fn judge_vote(&mut self, scene: Scene, signed: &SignedVote, facts: &Facts) {
        let vote = &signed.vote;
        self.verdict
            .check(vote.voted.is_some() || vote.locked.is_some(), scene, "5", || {
                "an empty vote".into()
            });
        if let Some((slot, digest)) = vote.voted {
            let fresh = single(&mut self.statements.voted, (scene.member, vote.view, slot), digest);
            self.verdict.check(fresh, scene, "5", || {
                format!("two votes of view {} slot {slot}", vote.view)
            });
            let durable = facts.accepted.get(&digest) == Some(&(vote.view, slot));
            self.verdict.check(durable, scene, "6", || {
                format!(
                    "votes for slot {slot} {digest} of view {} before the acceptance is durable",
                    vote.view
                )
            });
        }
        if let Some((slot, digest)) = vote.locked {
            let durable = facts.certificates.contains(&QcRef {
                view: vote.view,
                slot,
                digest,
            });
            self.verdict.check(durable, scene, "6", || {
                format!(
                    "says locked slot {slot} {digest} of view {} before that is durable",
                    vote.view
                )
            });
        }
        self.judge_late_vote(scene, vote);
        self.spoke(scene, vote.view);
    }

    /// After a Timeout, a vote of its view or an older one says nothing that the Timeout did not count in.
    fn judge_late_vote(&mut self, scene: Scene, vote: &Vote) {
        let member = scene.member;
        let later = self
            .statements
            .timeouts
            .range((member, vote.view)..=(member, View::MAX))
            .next();
        if let (Some((_, timeout)), Some((slot, _))) = (later, vote.locked) {
            self.verdict
                .check((vote.view, slot) <= timeout.high_qc.rank(), scene, "7", || {
                    format!(
                        "says locked slot {slot} of view {} after a Timeout that did not know it",
                        vote.view
                    )
                });
        }
    }

    /// No acceptance follows a Timeout of its view or a later one in the log (R-REPORT).
    pub(super) fn judge_order(&mut self, scene: Scene, view: View, facts: &Facts) {
        let left = facts.timeouts.last_key_value().map(|(left, _)| *left);
        self.verdict.check(left.is_none_or(|left| view > left), scene, "7", || {
            format!("accepts a block of view {view} after its Timeout of view {left:?}")
        });
    }

    fn judge_timeout(&mut self, scene: Scene, signed: &SignedTimeout, facts: &Facts) {
        let timeout = &signed.timeout;
        let newer = !self.statements.timeouts.contains_key(&(scene.member, timeout.view));
        let known = self
            .statements
            .timeouts
            .entry((scene.member, timeout.view))
            .or_insert_with(|| timeout.clone());
        self.verdict.check(known == timeout, scene, "5", || {
            format!("two Timeouts of view {}", timeout.view)
        });
        self.verdict
            .check(facts.timeouts.get(&timeout.view) == Some(timeout), scene, "6", || {
                format!("a Timeout of view {} leaves before it is durable", timeout.view)
            });
        self.spoke(scene, timeout.view);
        if newer {
            self.judge_join(scene, timeout.view);
            // Older Timeouts are sent again as they were, when more had been accepted since.
            self.judge_list(scene, timeout, facts);
        }
    }

    /// R-REPORT: the list names what was accepted above the Qc and no more.
    fn judge_list(&mut self, scene: Scene, timeout: &Timeout, facts: &Facts) {
        let high = timeout.high_qc;
        for (digest, (view, slot)) in &facts.accepted {
            let wanted = (*view, *slot) > high.rank()
                && *view <= timeout.view
                && (*view != high.view || self.chain.ancestor(*digest, high.slot) == Some(high.digest));
            let listed = timeout.accepted.contains(&(*view, *slot, *digest));
            self.verdict.check(!wanted || listed, scene, "8", || {
                format!(
                    "the Timeout of view {} leaves out {digest} of view {view} slot {slot}",
                    timeout.view
                )
            });
        }
        for (view, slot, digest) in &timeout.accepted {
            let accepted = facts.accepted.get(digest) == Some(&(*view, *slot));
            self.verdict.check(accepted, scene, "6", || {
                format!(
                    "the Timeout of view {} lists {digest}, whose acceptance is not durable",
                    timeout.view
                )
            });
        }
        if !timeout.accepted.is_empty() {
            self.verdict.count("view change with open pipeline");
        }
    }

    fn spoke(&mut self, scene: Scene, view: View) {
        let newest = self.statements.newest.entry(scene.member).or_default();
        *newest = view.max(*newest);
    }
}
