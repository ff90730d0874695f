//! The members' keys: what a replica signs and checks member signatures with.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::signature::Ed25519KeyPair;
use trireme_config::{Cluster, ReplicaKeys};
use trireme_core::MemberId;
use trireme_core::types::{Keys, Signed as Kind};
use trireme_crypto::{Digest, Domain, Signature, Signed, VerifyingKey, invalid_in_batch};

use crate::error::ReplicaError;

/// Ed25519 keys of a cluster's members, decompressed once, and the own secret. Counts what it does.
#[derive(Debug)]
pub struct MemberKeys {
    me: MemberId,
    domain: Domain,
    /// The own secret where signing is fastest: 5.7 us a signature against 12.4, and the same bytes (RFC 8032 leaves nothing
    /// open). Verification keeps to the engine's own rule (R-SIG).
    secret: Ed25519KeyPair,
    members: Vec<VerifyingKey>,
    made: AtomicU64,
    verified: AtomicU64,
    equations: AtomicU64,
    made_of: [AtomicU64; Kind::ALL.len()],
    verified_of: [AtomicU64; Kind::ALL.len()],
}

impl MemberKeys {
    /// The keys of member `me`.
    ///
    /// # Errors
    ///
    /// [`ReplicaError`]: no such member, a key file that is not this member's, an unusable key in the cluster file.
    pub fn new(cluster: &Cluster, me: MemberId, keys: &ReplicaKeys) -> Result<Self, ReplicaError> {
        let members = cluster.members.len();
        let entry = cluster
            .members
            .get(usize::from(me))
            .ok_or(ReplicaError::NoSuchMember { member: me, members })?;
        same_key("vote", me, &entry.vote_key.0, &keys.vote.public().0)?;
        same_key("tls", me, &entry.tls_key, &keys.tls.public().0)?;
        Ok(Self {
            me,
            domain: cluster.domain(),
            secret: Ed25519KeyPair::from_seed_and_public_key(&keys.vote.seed(), &keys.vote.public().0)
                .expect("the public half was made from this seed"),
            members: members_of(cluster)?,
            made: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            equations: AtomicU64::new(0),
            made_of: Default::default(),
            verified_of: Default::default(),
        })
    }

    /// Signatures made, signatures verified, equations they were verified in.
    pub fn counts(&self) -> [u64; 3] {
        [&self.made, &self.verified, &self.equations].map(|count| count.load(Ordering::Relaxed))
    }

    /// Signatures made and verified of each kind of statement.
    pub fn counts_by_kind(&self) -> impl Iterator<Item = (Kind, u64, u64)> {
        let load = |counts: &[AtomicU64], kind: Kind| counts[kind as usize].load(Ordering::Relaxed);
        let all = Kind::ALL.into_iter();
        all.map(move |kind| (kind, load(&self.made_of, kind), load(&self.verified_of, kind)))
    }
}

fn same_key(which: &'static str, member: MemberId, expected: &[u8; 32], found: &[u8; 32]) -> Result<(), ReplicaError> {
    if expected == found {
        return Ok(());
    }
    let hex = |key: &[u8; 32]| Digest(*key).to_string();
    Err(ReplicaError::WrongKey {
        which,
        member,
        expected: hex(expected),
        found: hex(found),
    })
}

impl Keys for MemberKeys {
    fn me(&self) -> MemberId {
        self.me
    }

    fn domain(&self) -> Domain {
        self.domain
    }

    fn sign(&self, statement: &Digest) -> Signature {
        self.made.fetch_add(1, Ordering::Relaxed);
        let signature = self.secret.sign(&statement.0);
        Signature(
            signature
                .as_ref()
                .try_into()
                .expect("an Ed25519 signature has 64 bytes"),
        )
    }

    fn invalid(&self, entries: &[(MemberId, Digest, Signature)]) -> Vec<usize> {
        self.verified.fetch_add(entries.len() as u64, Ordering::Relaxed);
        self.equations.fetch_add(1, Ordering::Relaxed);
        invalid_among(&self.members, entries)
    }

    fn count_made(&self, what: Kind) {
        self.made_of[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn count_checked(&self, what: Kind, count: usize) {
        self.verified_of[what as usize].fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// The members' keys, decompressed.
pub(crate) fn members_of(cluster: &Cluster) -> Result<Vec<VerifyingKey>, ReplicaError> {
    let decompress = |(member, entry): (MemberId, &trireme_config::MemberEntry)| {
        VerifyingKey::from_public(&entry.vote_key).map_err(|error| ReplicaError::BadMemberKey {
            member,
            why: error.to_string(),
        })
    };
    (0..).zip(&cluster.members).map(decompress).collect()
}

/// Positions of the entries whose signature does not verify; an unknown member's never does.
pub(crate) fn invalid_among(members: &[VerifyingKey], entries: &[(MemberId, Digest, Signature)]) -> Vec<usize> {
    let mut unknown = Vec::new();
    let mut known = Vec::with_capacity(entries.len());
    let mut items = Vec::with_capacity(entries.len());
    for (index, (member, message, signature)) in entries.iter().enumerate() {
        match members.get(usize::from(*member)) {
            Some(key) => {
                known.push(index);
                items.push(Signed {
                    key,
                    message,
                    signature,
                });
            }
            None => unknown.push(index),
        }
    }
    let mut invalid: Vec<usize> = invalid_in_batch(&items).into_iter().map(|item| known[item]).collect();
    if !unknown.is_empty() {
        invalid.append(&mut unknown);
        invalid.sort_unstable();
    }
    invalid
}
