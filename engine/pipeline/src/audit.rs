//! What the logs of a stopped replica say of its promises: whether it ever promised two things that exclude each other.
//!
//! A log holds what this replica signed or was about to sign (R-DURABLE). Over all its restarts, and over logs that were
//! lost and put aside, it may have accepted one block in a slot of a view, have timed out a view once, and have cut one
//! batch at a height of its lane (invariant 5 of the fault catalogue). What a checkpoint released is not there any more.

use std::collections::BTreeMap;
use std::path::PathBuf;

use trireme_config::{Cluster, ReplicaConfig};
use trireme_core::record::{Record, VoteRecord};
use trireme_core::wire::decode_record;
use trireme_crypto::{Digest, Domain, encode, hash_parts};
use trireme_log::Log;

use crate::error::ReplicaError;
use crate::recovery::log_config;

/// One thing that may be promised once: what kind, and the numbers that it stands for.
type Subject = (&'static str, u64, u64);

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Records read.
    pub records: u64,
    /// Different promises among them.
    pub promises: u64,
    /// Pairs of promises that exclude each other, in words.
    pub conflicts: Vec<String>,
    /// Where a log could not be read on: everything before was.
    pub notes: Vec<String>,
}

/// Reads the logs in `dirs`, which belong to the member of `config`, in their order. Nobody may have them open. Nothing in
/// them is changed.
///
/// # Errors
///
/// A log that cannot be opened. Damage inside one is a note.
pub fn audit(cluster: &Cluster, config: &ReplicaConfig, dirs: &[PathBuf]) -> Result<Audit, ReplicaError> {
    let mut ledger = Ledger::new(cluster.domain(), config.member);
    for dir in dirs {
        let mut own = config.clone();
        own.data_dir.clone_from(dir);
        let mut opening = Log::open(log_config(cluster, &own))?;
        while let Some(found) = opening.next() {
            match found {
                Ok(found) => match decode_record(found.kind, found.payload) {
                    Ok(record) => ledger.note(&record),
                    Err(reject) => {
                        let (dir, sequence) = (dir.display(), found.sequence);
                        ledger
                            .audit
                            .notes
                            .push(format!("{dir}: record {sequence}: {}", reject.name()));
                    }
                },
                Err(error) => {
                    ledger.audit.notes.push(format!("{}: {error}", dir.display()));
                    break;
                }
            }
        }
    }
    ledger.audit.promises = ledger.promises.len() as u64;
    Ok(ledger.audit)
}

struct Ledger {
    domain: Domain,
    member: u16,
    promises: BTreeMap<Subject, Digest>,
    audit: Audit,
}

impl Ledger {
    fn new(domain: Domain, member: u16) -> Self {
        Self {
            domain,
            member,
            promises: BTreeMap::new(),
            audit: Audit::default(),
        }
    }

    fn note(&mut self, record: &Record) {
        self.audit.records += 1;
        match record {
            Record::Batch(batch) if batch.head.header.lane == self.member => {
                let header = &batch.head.header;
                self.promise(("batch at height", header.height, 0), header.digest(&self.domain));
            }
            Record::Vote(VoteRecord::Accept(signed)) => {
                let block = &signed.block;
                self.promise(
                    ("block accepted in view and slot", block.view, block.slot),
                    block.digest(&self.domain),
                );
            }
            Record::Vote(VoteRecord::Timeout(timeout)) => {
                let bytes = encode(&timeout.timeout);
                self.promise(
                    ("timeout of view", timeout.timeout.view, 0),
                    hash_parts(trireme_crypto::context::STATE, &[b"audit", &bytes]),
                );
            }
            _ => {}
        }
    }

    fn promise(&mut self, subject: Subject, digest: Digest) {
        let first = *self.promises.entry(subject).or_insert(digest);
        if first != digest {
            let (what, a, b) = subject;
            self.audit
                .conflicts
                .push(format!("{what} {a} {b}: {first} and {digest}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_promise_twice_is_no_conflict_and_two_are() {
        let domain = Domain {
            cluster_id: Digest([7; 32]),
            epoch: 0,
        };
        let mut ledger = Ledger::new(domain, 1);
        let subject = ("block accepted in view and slot", 3, 9);
        ledger.promise(subject, Digest([1; 32]));
        ledger.promise(subject, Digest([1; 32]));
        ledger.promise(("block accepted in view and slot", 3, 10), Digest([2; 32]));
        assert!(ledger.audit.conflicts.is_empty());
        ledger.promise(subject, Digest([2; 32]));
        assert_eq!(ledger.audit.conflicts.len(), 1);
        assert!(
            ledger.audit.conflicts[0].contains("3 9"),
            "{:?}",
            ledger.audit.conflicts
        );
    }
}
