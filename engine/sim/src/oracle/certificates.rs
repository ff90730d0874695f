//! Certificates against what members really signed (invariants 4, 8, 9, 16).

use std::collections::BTreeSet;

use trireme_core::MemberId;
use trireme_core::message::{Ac, Block, Justify, Qc, Tc};
use trireme_crypto::Digest;

use super::chain::tip_of;
use super::{Oracle, Scene};

impl Oracle {
    /// A correct replica holds this certificate for good and keeps it.
    pub(super) fn judge_qc(&mut self, scene: Scene, qc: &Qc) {
        if qc.at.slot == 0 {
            return;
        }
        let members: BTreeSet<MemberId> = qc.votes.iter().map(|vote| vote.member).collect();
        let full = members.len() >= self.sizes.quorum && members.iter().all(|m| usize::from(*m) < self.sizes.n);
        self.verdict.check(full, scene, "4", || {
            format!("a Qc of slot {} with the voters {members:?}", qc.at.slot)
        });
        let voters = self.chain.voters(qc.at.view, qc.at.slot, qc.at.digest);
        let invented: Vec<_> = members
            .iter()
            .filter(|m| self.is_correct(**m) && voters & (1 << **m) == 0)
            .collect();
        self.verdict.check(invented.is_empty(), scene, "4", || {
            format!(
                "a Qc of slot {} {} counts {invented:?}, who never voted for it",
                qc.at.slot, qc.at.digest
            )
        });
    }

    /// A correct replica enters a view by this certificate.
    pub(super) fn judge_tc(&mut self, scene: Scene, tc: &Tc) {
        let members: BTreeSet<MemberId> = tc.timeouts.iter().map(|entry| entry.member).collect();
        self.verdict.check(members.len() >= self.sizes.timeout, scene, "9", || {
            format!("a Tc of view {} with {} members", tc.view, members.len())
        });
        for entry in &tc.timeouts {
            if self.is_correct(entry.member) {
                let said = self.statements.timeout(entry.member, tc.view);
                let same = said.is_some_and(|t| t.high_qc == entry.high_qc && t.accepted == entry.accepted);
                self.verdict.check(same, scene, "9", || {
                    format!(
                        "a Tc of view {} with a Timeout that {} never sent",
                        tc.view, entry.member
                    )
                });
            }
        }
        // R-TIMEOUT-VALID: nobody reports what lies in the future of the view that it left.
        let early = |entry: &&trireme_core::message::TcEntry| {
            entry.high_qc.view > tc.view || entry.accepted.iter().any(|listed| listed.0 > tc.view)
        };
        let future = tc.timeouts.iter().find(early).map(|entry| entry.member);
        self.verdict.check(future.is_none(), scene, "9", || {
            format!("a Tc of view {} where {future:?} reports a later view", tc.view)
        });
        let top = tc.timeouts.iter().map(|t| t.high_qc).max();
        self.verdict.check(top == Some(tc.high_qc.at), scene, "9", || {
            format!("a Tc of view {} whose Qc is not the greatest", tc.view)
        });
        if let Some(tip) = tip_of(self.sizes, tc) {
            self.chain.judge_tip(scene, &mut self.verdict, tc.view, tip.2);
        }
    }

    /// A correct replica's acceptance is durable.
    pub(super) fn judge_acceptance(&mut self, scene: Scene, digest: Digest, block: &Block) {
        self.chain.accepted(scene, &mut self.verdict, digest);
        self.judge_justify(scene, digest, block);
        let parent_cut = self.chain.get(&block.parent).map(|parent| parent.cut.clone());
        let Some(parent_cut) = parent_cut else { return };
        for (lane, (entry, (height, tip))) in block.cut.iter().zip(parent_cut).enumerate() {
            let unchanged = entry.height == height && entry.digest == tip;
            self.verdict.check(unchanged || entry.height > height, scene, "1", || {
                format!(
                    "accepts slot {} where lane {lane} goes back from {height} to {}",
                    block.slot, entry.height
                )
            });
            if let Some(certificate) = &entry.certificate {
                self.judge_ac(scene, certificate);
            }
        }
        if let Some(parent) = self.chain.get(&block.parent) {
            // R-ACCEPT 2: what a handoff's Qc opens the next view with may not be followed in its own view as well.
            let handed_off = parent.view == block.view && parent.handoff;
            self.verdict.check(!handed_off, scene, "8", || {
                format!("accepts {digest} under a handoff of its own view {}", block.view)
            });
            self.verdict.check(block.timestamp > parent.timestamp, scene, "1", || {
                format!("accepts slot {} with a timestamp not above its parent's", block.slot)
            });
        }
    }

    /// A first block stands on the safe tip of its justification, recomputed here (invariant 9).
    fn judge_justify(&mut self, scene: Scene, digest: Digest, block: &Block) {
        let Justify::Tc(tc) = &block.justify else {
            let same_view = self
                .chain
                .get(&block.parent)
                .is_some_and(|parent| parent.view == block.view);
            self.verdict.check(same_view, scene, "9", || {
                format!(
                    "accepts {digest}, a first block of view {} without a justification",
                    block.view
                )
            });
            return;
        };
        self.judge_tc(scene, tc);
        self.verdict.check(tc.view + 1 == block.view, scene, "9", || {
            format!("accepts {digest} of view {} on a Tc of view {}", block.view, tc.view)
        });
        let Some(tip) = tip_of(self.sizes, tc) else {
            return;
        };
        self.verdict.check(tip.2 == block.parent, scene, "9", || {
            format!(
                "accepts {digest} of view {} on {}, the safe tip is {}",
                block.view, block.parent, tip.2
            )
        });
        if (tip.0, tip.1) > tc.high_qc.at.rank() {
            self.verdict.count("safe tip above the Qc");
        }
    }

    /// An availability certificate: f+1 members, the correct ones hold what they acked (invariant 16).
    fn judge_ac(&mut self, scene: Scene, ac: &Ac) {
        self.verdict.count("certified tip accepted");
        let members: BTreeSet<MemberId> = ac.acks.iter().map(|entry| entry.member).collect();
        self.verdict.check(members.len() > self.sizes.f, scene, "16", || {
            format!("an availability certificate of lane {} with {members:?}", ac.lane)
        });
        self.certified.insert((ac.lane, ac.height, ac.digest));
        let correct: Vec<MemberId> = members
            .into_iter()
            .filter(|m| self.is_correct(*m) && self.returned >> m & 1 == 0)
            .collect();
        for member in correct {
            let acked = self.statements.acked(member, ac.lane, ac.height) == Some(ac.digest);
            self.verdict.check(acked, scene, "16", || {
                format!(
                    "a certificate of lane {} height {} counts {member}, who did not ack it",
                    ac.lane, ac.height
                )
            });
        }
    }
}
