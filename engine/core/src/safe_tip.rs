//! R-SAFETIP: the block that a new view must extend, computed equally by everybody from the timeout certificate.

use alloc::collections::BTreeMap;
use core::cmp::Reverse;

use trireme_crypto::Digest;

use crate::bugs::Bugs;
use crate::message::{QcRef, Tc, TcEntry};
use crate::quorum::Quorums;
use crate::types::{Slot, View};

/// Whether a reporter stands on the branch of `qc`: its own high_qc is that, or it lists the certified block.
fn on_branch(entry: &TcEntry, qc: &QcRef) -> bool {
    entry.high_qc == *qc || entry.accepted.contains(&(qc.view, qc.slot, qc.digest))
}

/// The Qc that the tip is at or above: the greatest (the seeded bug takes the lowest).
fn base(tc: &Tc, bugs: &Bugs) -> QcRef {
    if bugs.lowest_qc() {
        tc.timeouts
            .iter()
            .map(|t| t.high_qc)
            .min_by_key(QcRef::rank)
            .unwrap_or(tc.high_qc.at)
    } else {
        tc.high_qc.at
    }
}

/// The safe tip of a valid timeout certificate.
pub fn safe_tip(tc: &Tc, n: u16, f: u16, bugs: &Bugs) -> QcRef {
    let quorums = Quorums::new(n, f).expect("the configuration was checked");
    let tau = quorums.reports() + usize::from(bugs.tau_off_by_one());
    let qc = base(tc, bugs);
    let mut reports: BTreeMap<(View, Slot, Reverse<Digest>), usize> = BTreeMap::new();
    for entry in &tc.timeouts {
        let listed = entry.accepted.iter().filter(|a| (a.0, a.1) > qc.rank());
        for (view, slot, digest) in listed {
            if *view == qc.view && !bugs.no_branch_condition() && !on_branch(entry, &qc) {
                continue;
            }
            *reports.entry((*view, *slot, Reverse(*digest))).or_default() += 1;
        }
    }
    // Highest view, then highest slot, then lowest digest.
    let found = reports.iter().rev().find(|(_, count)| **count >= tau);
    match found {
        Some(((view, slot, Reverse(digest)), _)) => QcRef {
            view: *view,
            slot: *slot,
            digest: *digest,
        },
        None => qc,
    }
}
