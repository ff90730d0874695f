//! The members' keys, with the time that they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trireme_core::MemberId;
use trireme_core::types::Keys;
use trireme_crypto::{
    Digest, Domain, SecretKey, Signature, Signed, VerifyingKey, context, hash_parts, invalid_in_batch,
};

use crate::load::{DOMAIN, secret};
use crate::meter::thread_cpu;

/// Secrets of members come behind those of clients.
const FIRST_MEMBER: u64 = 1 << 32;

/// Keys of one member: Ed25519, or a keyed hash that costs next to nothing.
pub(super) struct Ring {
    me: MemberId,
    signed: bool,
    secret: SecretKey,
    members: Arc<[VerifyingKey]>,
    signing_ns: AtomicU64,
    checking_ns: AtomicU64,
}

impl Ring {
    pub(super) fn all(n: u16, signed: bool) -> Vec<Arc<Ring>> {
        let secrets: Vec<SecretKey> = (0..n).map(|member| secret(FIRST_MEMBER + u64::from(member))).collect();
        let members: Arc<[VerifyingKey]> = secrets.iter().map(SecretKey::verifying_key).collect();
        let ring = |(me, secret): (MemberId, SecretKey)| Ring {
            me,
            signed,
            secret,
            members: members.clone(),
            signing_ns: AtomicU64::new(0),
            checking_ns: AtomicU64::new(0),
        };
        (0..n).zip(secrets).map(ring).map(Arc::new).collect()
    }

    /// Nanoseconds spent on signing and on checking.
    pub(super) fn spent(&self) -> (u64, u64) {
        (
            self.signing_ns.load(Ordering::Relaxed),
            self.checking_ns.load(Ordering::Relaxed),
        )
    }

    pub(super) fn member(&self) -> MemberId {
        self.me
    }
}

fn fake(member: MemberId, statement: &Digest) -> Signature {
    let half = hash_parts(context::SEED, &[b"bench", &member.to_le_bytes(), &statement.0]).0;
    Signature(core::array::from_fn(|i| half[i % 32]))
}

/// Runs and adds what it took.
fn timed<T>(sum: &AtomicU64, work: impl FnOnce() -> T) -> T {
    let start = thread_cpu();
    let done = work();
    let took = thread_cpu().saturating_sub(start).as_nanos();
    sum.fetch_add(u64::try_from(took).unwrap_or(u64::MAX), Ordering::Relaxed);
    done
}

impl Keys for Ring {
    fn me(&self) -> MemberId {
        self.me
    }

    fn domain(&self) -> Domain {
        DOMAIN
    }

    fn sign(&self, statement: &Digest) -> Signature {
        timed(&self.signing_ns, || match self.signed {
            true => self.secret.sign(statement),
            false => fake(self.me, statement),
        })
    }

    fn invalid(&self, entries: &[(MemberId, Digest, Signature)]) -> Vec<usize> {
        timed(&self.checking_ns, || {
            if !self.signed {
                let good = |(member, statement, signature): &(MemberId, Digest, Signature)| {
                    fake(*member, statement) == *signature
                };
                return (0..entries.len()).filter(|i| !good(&entries[*i])).collect();
            }
            let signed = |(member, message, signature): &'_ (MemberId, Digest, Signature)| {
                (
                    self.members.get(usize::from(*member)).expect("the gate knows members"),
                    *message,
                    *signature,
                )
            };
            let owned: Vec<_> = entries.iter().map(signed).collect();
            let items: Vec<Signed<'_>> = owned
                .iter()
                .map(|(key, message, signature)| Signed {
                    key,
                    message,
                    signature,
                })
                .collect();
            invalid_in_batch(&items)
        })
    }
}
