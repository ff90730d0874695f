//! Signatures of members that are checked together, by what they sign.

use alloc::vec::Vec;

use trireme_crypto::{Digest, Domain, Signature};

use crate::types::{Keys, MemberId, Signed};

/// Signatures to verify together, gathered while the shape is checked.
pub(crate) struct Gather {
    pub(crate) domain: Domain,
    entries: Vec<(MemberId, Digest, Signature)>,
    counts: [usize; Signed::ALL.len()],
}

impl Gather {
    pub(crate) fn new(domain: Domain) -> Self {
        Self {
            domain,
            entries: Vec::new(),
            counts: [0; Signed::ALL.len()],
        }
    }

    pub(crate) fn push(&mut self, what: Signed, entry: (MemberId, Digest, Signature)) {
        self.counts[what as usize] += 1;
        self.entries.push(entry);
    }

    pub(crate) fn extend(&mut self, what: Signed, entries: impl IntoIterator<Item = (MemberId, Digest, Signature)>) {
        entries.into_iter().for_each(|entry| self.push(what, entry));
    }

    /// Whether all of them hold.
    pub(crate) fn holds(&self, keys: &dyn Keys) -> bool {
        for (what, count) in Signed::ALL.into_iter().zip(self.counts) {
            if count > 0 {
                keys.count_checked(what, count);
            }
        }
        self.entries.is_empty() || keys.invalid(&self.entries).is_empty()
    }
}
