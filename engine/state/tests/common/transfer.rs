//! A cluster of four whose members hold an image, and a fifth party to fetch it.

use std::sync::Arc;

use bytes::Bytes;
use trireme_core::bugs::Bugs;
use trireme_core::check::CheckContext;
use trireme_core::message::{Block, CutEntry, Justify, SignedBlock, StateCertificate};
use trireme_core::types::Keys;
use trireme_core::{MemberId, Params};
use trireme_crypto::{Digest, Domain, Signature, encode, hash, hash_parts};
use trireme_state::kv::{Kv, Op};
use trireme_state::{ClientRegistry, Executor, Image, Manifest, Outline, Part};

/// Who fetches.
pub(crate) const ME: MemberId = 3;
const N: u16 = 4;

/// Signatures that are digests of who signed what.
struct FakeKeys(MemberId);

fn fake_signature(member: MemberId, statement: &Digest) -> Signature {
    let digest = hash_parts("fake signature", &[&member.to_le_bytes(), &statement.0]);
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&digest.0);
    Signature(bytes)
}

impl Keys for FakeKeys {
    fn me(&self) -> MemberId {
        self.0
    }

    fn domain(&self) -> Domain {
        super::DOMAIN
    }

    fn sign(&self, statement: &Digest) -> Signature {
        fake_signature(self.0, statement)
    }

    fn invalid(&self, entries: &[(MemberId, Digest, Signature)]) -> Vec<usize> {
        let bad = |(m, s, g): &(MemberId, Digest, Signature)| *m >= N || fake_signature(*m, s) != *g;
        (0..entries.len()).filter(|at| bad(&entries[*at])).collect()
    }
}

/// How `me` judges messages, with bugs to be set.
pub(crate) fn cluster(me: MemberId) -> (CheckContext, Params) {
    let params = Params::new(N, 1);
    let genesis = hash("genesis", &[]);
    (
        CheckContext::new(params.clone(), genesis, Arc::new(FakeKeys(me))),
        params,
    )
}

/// The same with a clause broken, in builds that can.
#[allow(dead_code, reason = "for builds with the feature `bugs`")]
pub(crate) fn with_bug(mut context: CheckContext, name: &str) -> CheckContext {
    let mut bugs = Bugs::default();
    assert!(bugs.set(name), "{name}");
    context.bugs = bugs;
    context
}

/// What an honest peer holds.
pub(crate) struct Source {
    pub(crate) image: Image,
    pub(crate) outline: Outline,
    pub(crate) anchor: SignedBlock,
    pub(crate) part_bytes: usize,
}

impl Source {
    /// The honest answer.
    pub(crate) fn answer(&self, id: u64) -> Bytes {
        match Part::from_id(id) {
            None => {
                let (anchor, outline) = (self.anchor.clone(), self.outline.clone());
                encode(&Manifest { anchor, outline }).into()
            }
            Some(part) => self.image.part(part, self.part_bytes).into(),
        }
    }

    /// A certificate with these signers.
    pub(crate) fn certificate(&self, signers: &[MemberId]) -> StateCertificate {
        let vote = self.image.vote().clone();
        let statement = vote.statement(&super::DOMAIN);
        let votes = signers.iter().map(|m| (*m, fake_signature(*m, &statement))).collect();
        StateCertificate { vote, votes }
    }
}

pub(crate) fn executor() -> Executor {
    let (_, params) = cluster(ME);
    Executor::new(Box::new(Kv::new()), ClientRegistry::Open, &params)
}

/// A state of `keys` keys at slot 1, with its block.
pub(crate) fn source(context: &CheckContext, keys: u64, part_bytes: usize) -> Source {
    let block = Block {
        view: 0,
        slot: 1,
        parent: context.genesis,
        cut: vec![
            CutEntry {
                height: 0,
                digest: Digest::ZERO,
                certificate: None
            };
            usize::from(N)
        ],
        timestamp: 1_001,
        handoff: None,
        justify: Justify::None,
    };
    let digest = block.digest(&super::DOMAIN);
    let anchor = SignedBlock {
        signature: fake_signature(0, &digest),
        block,
    };
    let mut executor = executor();
    let bundles: Vec<_> = (0..keys)
        .map(|at| {
            let (key, value) = (at.to_be_bytes(), vec![at as u8; 20 + at as usize % 50]);
            let op = Op::Put {
                key: &key,
                value: &value,
            };
            super::bundle(super::client(at as u8 % 20), 0, &[(1 + at / 20, op.encode())])
        })
        .collect();
    let mut execution = super::slot(1, vec![super::batch(&bundles)], false);
    (execution.block, execution.checkpoint) = (digest, true);
    executor.execute(&execution, None);
    let image = executor.image();
    let outline = image.outline(part_bytes);
    Source {
        image,
        outline,
        anchor,
        part_bytes,
    }
}
