//! What the durable part of one replica's log says.

use std::collections::{BTreeMap, BTreeSet};

use trireme_core::message::{QcRef, Timeout};
use trireme_core::record::{Record, Standing, VoteRecord};
use trireme_core::types::Height;
use trireme_core::{Slot, View};
use trireme_crypto::{Digest, Domain};

/// Facts of a durable log, for "nothing leaves before the record that it implies" (invariant 6).
#[derive(Clone, Default)]
pub(crate) struct Facts {
    /// Accepted blocks.
    pub(crate) accepted: BTreeMap<Digest, (View, Slot)>,
    /// Certificates that were high_qc once.
    pub(crate) certificates: BTreeSet<QcRef>,
    /// Timeout of each view that was left.
    pub(crate) timeouts: BTreeMap<View, Timeout>,
    /// Stored batches.
    pub(crate) batches: BTreeSet<Digest>,
    /// Own headers up to here are reserved.
    pub(crate) reserved: Height,
    entered: View,
    high: (View, Slot),
    /// What was known was forgotten with the disk: a standing record is the only source of what was released before.
    begins_late: bool,
}

impl Facts {
    /// Those of a member whose disk forgot.
    pub(crate) fn after_loss() -> Self {
        Self {
            begins_late: true,
            ..Self::default()
        }
    }

    /// One more record is durable.
    pub(crate) fn add(&mut self, domain: &Domain, record: &Record) {
        match record {
            Record::Batch(batch) => {
                self.batches.insert(batch.head.header.digest(domain));
            }
            Record::Vote(VoteRecord::Accept(block)) => {
                self.accepted
                    .insert(block.block.digest(domain), (block.block.view, block.block.slot));
            }
            Record::Vote(VoteRecord::HighQc(qc)) => {
                self.certificates.insert(qc.at);
                self.high = self.high.max((qc.at.view, qc.at.slot));
            }
            Record::Vote(VoteRecord::Timeout(timeout)) => {
                self.timeouts.insert(timeout.timeout.view, timeout.timeout.clone());
            }
            Record::Vote(VoteRecord::Enter(tc)) => self.entered = self.entered.max(tc.view + 1),
            Record::Vote(VoteRecord::Reserve(height)) => self.reserved = self.reserved.max(*height),
            Record::Vote(VoteRecord::Standing(standing)) if self.begins_late => self.add_standing(standing),
            // What stands was said by other records before.
            Record::Vote(
                VoteRecord::Block(_)
                | VoteRecord::Committed(..)
                | VoteRecord::Standing(_)
                | VoteRecord::Quarantined(_)
                | VoteRecord::Readmitted(_),
            )
            | Record::Ordering(_) => {}
        }
    }

    fn add_standing(&mut self, standing: &Standing) {
        if let Some(timeout) = &standing.timeout {
            self.timeouts.insert(timeout.timeout.view, timeout.timeout.clone());
        }
        let known = standing
            .accepted
            .iter()
            .map(|(view, slot, digest)| (*digest, (*view, *slot)));
        self.accepted.extend(known);
        self.certificates.insert(standing.high_qc.at);
        self.high = self.high.max((standing.high_qc.at.view, standing.high_qc.at.slot));
        self.entered = self.entered.max(standing.entry.view());
        self.reserved = self.reserved.max(standing.reserved);
    }

    /// The view entered last.
    pub(crate) fn entered_view(&self) -> View {
        self.entered
    }

    /// The highest certificate.
    pub(crate) fn high_qc(&self) -> (View, Slot) {
        self.high
    }
}
