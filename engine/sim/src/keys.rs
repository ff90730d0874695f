//! Signatures in the simulator: a fast keyed fake, and real Ed25519 on a share of the seeds.
//!
//! The fake is a keyed mixing function. Its secrets stay inside [`Ring`]; whoever acts in a simulation, Byzantine
//! members too, gets a [`Keys`] that signs as one member. So nobody forges, as nobody would with the real scheme.

use std::sync::Arc;

use trireme_core::MemberId;
use trireme_core::bugs::Bugs;
use trireme_core::types::Keys;
use trireme_crypto::{
    Digest, Domain, PublicKey, SecretKey, Signature, Signed, VerifyingKey, context, forge, hash_parts,
};

use crate::prng::{Prng, split_mix};

/// One signing identity.
#[derive(Clone)]
enum Secret {
    Fake([u64; 4]),
    Real(Box<SecretKey>, Box<VerifyingKey>),
}

/// All secrets of one simulated cluster.
pub(crate) struct Ring {
    domain: Domain,
    /// There was an epoch before, number 0.
    has_past: bool,
    bugs: Bugs,
    members: Vec<Secret>,
    clients: Vec<(PublicKey, Secret)>,
}

impl Ring {
    /// Draws the secrets of `members` replicas and `clients` clients.
    ///
    /// One cluster in eight is in its second epoch: an earlier one had the same members with the same keys.
    pub(crate) fn new(prng: &mut Prng, members: usize, clients: usize, real: bool, bugs: &Bugs) -> Arc<Self> {
        let cluster_id = hash_parts(context::CLUSTER, &[&prng.next().to_le_bytes()]);
        let epoch = u64::from(cluster_id.0[0] < 32);
        let members = (0..members).map(|_| Secret::draw(prng, real)).collect();
        let clients = (0..clients)
            .map(|_| {
                let secret = Secret::draw(prng, real);
                (secret.public(), secret)
            })
            .collect();
        Arc::new(Self {
            domain: bugs.domain(Domain { cluster_id, epoch }),
            has_past: epoch > 0,
            bugs: bugs.clone(),
            members,
            clients,
        })
    }

    /// Adds identities behind those of the clients.
    pub(crate) fn add_clients(self: &mut Arc<Self>, prng: &mut Prng, count: usize) {
        let ring = Arc::get_mut(self).expect("nobody holds the ring yet");
        let real = ring.is_real();
        for _ in 0..count {
            let secret = Secret::draw(prng, real);
            ring.clients.push((secret.public(), secret));
        }
    }

    fn is_real(&self) -> bool {
        matches!(self.members[..], [Secret::Real(..), ..])
    }

    /// The cluster and its epoch.
    pub(crate) fn domain(&self) -> Domain {
        self.domain
    }

    /// The domain of the epoch before, if there was one.
    pub(crate) fn past(&self) -> Option<Domain> {
        self.has_past.then_some(Domain {
            epoch: 0,
            ..self.domain
        })
    }

    /// What a member signed in the epoch before: whatever the attacker finds worth keeping.
    pub(crate) fn signed_in_the_past(&self, member: MemberId, statement: &Digest) -> Signature {
        assert!(self.has_past, "there was an epoch before");
        self.members[usize::from(member)].sign(statement)
    }

    /// What one member may do with the ring.
    pub(crate) fn member(self: &Arc<Self>, me: MemberId) -> MemberKeys {
        MemberKeys {
            me,
            ring: Arc::clone(self),
            bends: false,
            bugs: Bugs::default(),
        }
    }

    /// Identity of a client.
    pub(crate) fn client_id(&self, client: usize) -> PublicKey {
        self.clients[client].0
    }

    /// Signs as a client.
    pub(crate) fn sign_as_client(&self, client: usize, statement: &Digest) -> Signature {
        self.clients[client].1.sign(statement)
    }

    /// Whether a client made the signature; an unknown one never did.
    pub(crate) fn client_signed(&self, client: &PublicKey, statement: &Digest, signature: &Signature) -> bool {
        self.clients
            .iter()
            .any(|(id, secret)| id == client && secret.made(statement, signature))
    }

    /// Whether clients made all of these signatures. Real ones are judged in one equation, as replicas do.
    pub(crate) fn clients_signed(&self, signed: &[(PublicKey, Digest, Signature)]) -> bool {
        let find = |id: &PublicKey| self.clients.iter().find(|(known, _)| known == id);
        let secrets: Option<Vec<&Secret>> = signed.iter().map(|(id, ..)| find(id).map(|(_, s)| s)).collect();
        secrets.is_some_and(|secrets| {
            let entries = secrets
                .into_iter()
                .zip(signed)
                .map(|(secret, (_, m, s))| (secret, m, s));
            invalid(&entries.collect::<Vec<_>>(), &self.bugs).is_empty()
        })
    }

    /// Signs as a client who does not follow the scheme; nothing with fake signatures.
    pub(crate) fn sign_torsioned(&self, client: usize, statement: &Digest, torsion: u8) -> Option<Signature> {
        self.clients[client].1.sign_torsioned(statement, torsion)
    }
}

impl Secret {
    fn draw(prng: &mut Prng, real: bool) -> Self {
        let words: [u64; 4] = core::array::from_fn(|_| prng.next());
        if !real {
            return Self::Fake(words);
        }
        let mut seed = [0; 32];
        for (bytes, word) in seed.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let secret = SecretKey::from_seed(seed);
        let public = secret.verifying_key();
        Self::Real(Box::new(secret), Box::new(public))
    }

    fn public(&self) -> PublicKey {
        match self {
            Self::Fake(words) => PublicKey(
                hash_parts(
                    context::SEED,
                    &words.each_ref().map(|w| w.to_le_bytes()).each_ref().map(|b| &b[..]),
                )
                .0,
            ),
            Self::Real(secret, _) => secret.public(),
        }
    }

    fn sign(&self, statement: &Digest) -> Signature {
        match self {
            Self::Fake(words) => fake(words, statement),
            Self::Real(secret, _) => secret.sign(statement),
        }
    }

    fn sign_torsioned(&self, statement: &Digest, torsion: u8) -> Option<Signature> {
        match self {
            Self::Fake(_) => None,
            Self::Real(secret, _) => Some(forge::torsioned(secret, statement, torsion)),
        }
    }

    fn made(&self, statement: &Digest, signature: &Signature) -> bool {
        match self {
            Self::Fake(words) => fake(words, statement) == *signature,
            Self::Real(_, key) => trireme_crypto::verify(Signed {
                key,
                message: statement,
                signature,
            }),
        }
    }
}

/// The indices of signatures that their secrets did not make.
fn invalid(entries: &[(&Secret, &Digest, &Signature)], bugs: &Bugs) -> Vec<usize> {
    // One scheme in a simulation: all are real, or none.
    let items: Option<Vec<Signed<'_>>> = entries
        .iter()
        .map(|(secret, message, signature)| match secret {
            Secret::Real(_, key) => Some(Signed {
                key,
                message,
                signature,
            }),
            Secret::Fake(_) => None,
        })
        .collect();
    match items {
        Some(items) => bugs.invalid(&items),
        None => (0..entries.len())
            .filter(|i| !entries[*i].0.made(entries[*i].1, entries[*i].2))
            .collect(),
    }
}

/// A keyed mix of the statement. 16 bytes depend on all of it; the rest is filled so that no byte is constant.
fn fake(words: &[u64; 4], statement: &Digest) -> Signature {
    let (mut a, mut b) = (words[0] ^ 0x5452_4952_454D_4521, words[1]);
    for (i, chunk) in statement.0.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(chunk.try_into().expect("chunks of 8 bytes"));
        a = (a ^ word).wrapping_mul(0xBF58_476D_1CE4_E5B9).rotate_left(29) ^ words[i];
        b = (b.rotate_left(17) ^ a)
            .wrapping_mul(0x94D0_49BB_1331_11EB)
            .wrapping_add(words[3 - i]);
    }
    let (mut x, mut y) = (a ^ words[2], b ^ words[3]);
    let mut signature = [0; 64];
    for pair in signature.chunks_exact_mut(16) {
        pair[..8].copy_from_slice(&split_mix(&mut x).to_le_bytes());
        pair[8..].copy_from_slice(&split_mix(&mut y).to_le_bytes());
    }
    Signature(signature)
}

/// One member's keys: signs as that member, checks everybody's signatures.
#[derive(Clone)]
pub(crate) struct MemberKeys {
    me: MemberId,
    ring: Arc<Ring>,
    /// Its signatures have components of small order (real Ed25519 only).
    bends: bool,
    /// Broken clauses of its signature rule.
    bugs: Bugs,
}

impl MemberKeys {
    /// The keys of one who signs as RFC 8032 does not: valid by R-SIG, and by no rule without the factor 8.
    pub(crate) fn bent(self) -> Self {
        Self { bends: true, ..self }
    }

    /// The keys of one whose rule has the run's broken clauses.
    pub(crate) fn broken(self) -> Self {
        let bugs = self.ring.bugs.clone();
        Self { bugs, ..self }
    }
}

impl Keys for MemberKeys {
    fn me(&self) -> MemberId {
        self.me
    }

    fn domain(&self) -> Domain {
        self.ring.domain
    }

    fn sign(&self, statement: &Digest) -> Signature {
        match &self.ring.members[usize::from(self.me)] {
            // Components of every order come up, and none.
            Secret::Real(secret, _) if self.bends => forge::torsioned(secret, statement, statement.0[0]),
            secret => secret.sign(statement),
        }
    }

    fn invalid(&self, entries: &[(MemberId, Digest, Signature)]) -> Vec<usize> {
        let mut invalid = Vec::new();
        let (mut items, mut places) = (Vec::new(), Vec::new());
        for (place, (member, message, signature)) in entries.iter().enumerate() {
            match self.ring.members.get(usize::from(*member)) {
                Some(Secret::Real(_, key)) => {
                    places.push(place);
                    items.push(Signed {
                        key,
                        message,
                        signature,
                    });
                }
                Some(secret) if secret.made(message, signature) => {}
                _ => invalid.push(place),
            }
        }
        if !items.is_empty() {
            invalid.extend(self.bugs.invalid(&items).into_iter().map(|item| places[item]));
            invalid.sort_unstable();
        }
        invalid
    }
}

impl MemberKeys {
    /// Signs as a member who does not follow the scheme; nothing with fake signatures.
    pub(crate) fn sign_torsioned(&self, statement: &Digest, torsion: u8) -> Option<Signature> {
        self.ring.members[usize::from(self.me)].sign_torsioned(statement, torsion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_signs_for_another() {
        for real in [false, true] {
            let ring = Ring::new(&mut Prng::new(1), 3, 1, real, &Bugs::default());
            let statement = hash_parts(context::VOTE, &[b"x"]);
            let other = hash_parts(context::VOTE, &[b"y"]);
            let signature = ring.member(1).sign(&statement);
            let entries = [
                (1, statement, signature),
                (0, statement, signature),
                (1, other, signature),
                (9, statement, signature),
            ];
            assert_eq!(ring.member(2).invalid(&entries), [1, 2, 3], "real: {real}");
            let id = ring.client_id(0);
            let signed = ring.sign_as_client(0, &statement);
            assert!(ring.client_signed(&id, &statement, &signed) && !ring.client_signed(&id, &other, &signed));
            assert!(!ring.client_signed(&PublicKey([7; 32]), &statement, &signed));
        }
    }
}
