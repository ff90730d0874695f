//! Byzantine clients (FAULTS.md 29 to 35 and 37). They stand beside the correct ones: nobody owes them an answer, but
//! what they ask for is executed at most once, equally everywhere, and only if they signed it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use trireme_core::request::BundleBuilder;
use trireme_crypto::Signature;

use crate::keys::Ring;
use crate::machine::payload;
use crate::prng::Prng;

/// What a faulty client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Prank {
    /// 30: two payloads under one number, to different replicas.
    TwoPayloads,
    /// 31: numbers with gaps, far ahead, far behind; low marks that jump.
    Jumps,
    /// 32: one bundle to all replicas at once.
    AllAtOnce,
    /// 33: bundles that nobody signed, or another client did.
    BadSignatures,
    /// 34: frames that are no bundles.
    WrongType,
    /// 35: an identity for each bundle.
    Churn,
    /// 37: as much as goes into one replica.
    FillReplica,
    /// 29: signatures that a rule without the cofactor judges differently in a batch (real Ed25519 only).
    Torsion,
}

impl Prank {
    pub(crate) const ALL: [Self; 8] = [
        Self::TwoPayloads,
        Self::Jumps,
        Self::AllAtOnce,
        Self::BadSignatures,
        Self::WrongType,
        Self::Churn,
        Self::FillReplica,
        Self::Torsion,
    ];

    /// The entries of FAULTS.md that it stands for.
    pub(crate) fn faults(self) -> &'static [u8] {
        match self {
            Self::TwoPayloads => &[30],
            Self::Jumps => &[31],
            Self::AllAtOnce => &[32],
            Self::BadSignatures => &[33],
            Self::WrongType => &[34],
            Self::Churn => &[35],
            Self::FillReplica => &[37],
            Self::Torsion => &[29],
        }
    }

    /// The counter that says how often it was played.
    pub(crate) fn counter(self) -> &'static str {
        match self {
            Self::TwoPayloads => "client lie: two payloads of one number",
            Self::Jumps => "client lie: number out of order",
            Self::AllAtOnce => "client lie: to all replicas at once",
            Self::BadSignatures => "client lie: bad signature",
            Self::WrongType => "client lie: no bundle",
            Self::Churn => "client lie: a new identity",
            Self::FillReplica => "client lie: fills a replica",
            Self::Torsion => "client lie: torsioned signature",
        }
    }
}

/// Where a bundle of a faulty client goes.
pub(crate) enum Target {
    /// To every replica.
    All,
    /// To one, counted around all replicas.
    One(u64),
    /// To two different ones: faulty lane owners first, if there are any.
    Pair(usize),
    /// To the leader of the newest view.
    Leader,
}

/// A bundle that leaves a faulty client, and the requests that are signed in it.
pub(crate) struct Shot {
    pub(crate) target: Target,
    pub(crate) bytes: Bytes,
    pub(crate) signed: Vec<(usize, u64, Vec<u8>)>,
}

/// One faulty client.
pub(crate) struct Rogue {
    pranks: Vec<Prank>,
    /// Its identities, as clients of the ring.
    identities: Vec<usize>,
    next: u64,
    window: u64,
    /// The longest payload that it sends.
    most: usize,
    prng: Prng,
}

impl Rogue {
    pub(crate) fn new(pranks: Vec<Prank>, identities: Vec<usize>, window: u64, most: usize, prng: Prng) -> Self {
        Self {
            pranks,
            identities,
            next: 1,
            window,
            most,
            prng,
        }
    }

    /// What it does next; `settled`: every correct client has a session.
    pub(crate) fn play(&mut self, ring: &Ring, settled: bool) -> Option<(Prank, Vec<Shot>)> {
        let prank = self.prng.pick(&self.pranks);
        let shots = match prank {
            Prank::TwoPayloads => self.two_payloads(ring),
            Prank::Jumps => vec![self.jump(ring)],
            Prank::AllAtOnce => vec![self.plain(ring, Target::All)],
            Prank::BadSignatures => vec![self.bad_signature(ring)],
            Prank::WrongType => vec![self.wrong_type(ring)],
            Prank::Churn => vec![self.churn(ring).filter(|_| settled)?],
            Prank::FillReplica => (0..8).map(|_| self.plain(ring, Target::Leader)).collect(),
            Prank::Torsion => self.torsion(ring)?,
        };
        Some((prank, shots))
    }

    fn payload(&mut self) -> Vec<u8> {
        let mut bytes = payload(&mut self.prng, u64::MAX / 2);
        if self.prng.percent(20) {
            // Too long for the application's liking: an operation that it refuses, equally everywhere.
            bytes.resize(self.most, 7);
        }
        bytes
    }

    /// A bundle of requests, signed as it should be.
    fn bundle(&self, ring: &Ring, identity: usize, done_below: u64, requests: &[(u64, Vec<u8>)]) -> Option<Bytes> {
        let mut bundle = BundleBuilder::new(ring.client_id(identity), done_below);
        for (number, payload) in requests {
            bundle.push(*number, payload).ok()?;
        }
        let bytes = bundle.finish(|statement| ring.sign_as_client(identity, statement), &ring.domain());
        Some(bytes.into())
    }

    fn shot(&self, ring: &Ring, target: Target, done_below: u64, number: u64, payload: Vec<u8>) -> Shot {
        let identity = self.identities[0];
        let requests = [(number, payload)];
        let bytes = self.bundle(ring, identity, done_below, &requests);
        let bytes = bytes.expect("the number is not below the mark");
        let [(_, payload)] = requests;
        Shot {
            target,
            bytes,
            signed: vec![(identity, number, payload)],
        }
    }

    fn plain(&mut self, ring: &Ring, target: Target) -> Shot {
        let (number, payload) = (self.next, self.payload());
        self.next += 1;
        self.shot(
            ring,
            target,
            number.saturating_sub(self.window / 2).max(1),
            number,
            payload,
        )
    }

    fn two_payloads(&mut self, ring: &Ring) -> Vec<Shot> {
        let number = self.next;
        self.next += 1;
        let version = |rogue: &mut Self, which| {
            let mut payload = rogue.payload();
            payload.push(u8::try_from(which).expect("two"));
            rogue.shot(ring, Target::Pair(which), number.min(1), number, payload)
        };
        vec![version(self, 0), version(self, 1)]
    }

    fn jump(&mut self, ring: &Ring) -> Shot {
        let far = self
            .prng
            .pick(&[self.window, self.window + 1, 10 * self.window, u64::MAX - 1]);
        let number = match self.prng.below(4) {
            0 => 1,
            1 => self.next.saturating_add(1 + self.prng.below(5)),
            _ => self.next.saturating_add(far),
        };
        let mark = match self.prng.below(6) {
            // The low mark goes with it: from then on everything before is gone.
            0 if number < 1 << 60 => {
                self.next = number + 1;
                number
            }
            1 => 0,
            _ => 1,
        };
        let (target, payload) = (Target::One(self.prng.next()), self.payload());
        self.shot(ring, target, mark, number, payload)
    }

    fn bad_signature(&mut self, ring: &Ring) -> Shot {
        let mut shot = self.plain(ring, Target::One(0));
        shot.target = if self.prng.percent(50) {
            Target::All
        } else {
            Target::One(self.prng.next())
        };
        let mut bytes = shot.bytes.to_vec();
        let at = bytes.len() - 1 - self.prng.index(60);
        bytes[at] ^= 0x40;
        shot.bytes = bytes.into();
        shot.signed.clear();
        shot
    }

    /// The end of a bundle, a bundle cut short, or one that claims to hold more than it does.
    fn wrong_type(&mut self, ring: &Ring) -> Shot {
        let mut shot = self.plain(ring, Target::One(self.next));
        let mut bytes = shot.bytes.to_vec();
        match self.prng.below(4) {
            0 => bytes.drain(..bytes.len() / 2).for_each(drop),
            1 => bytes.truncate(self.prng.index(bytes.len())),
            2 => bytes.push(0),
            _ => bytes[40..44].copy_from_slice(&u32::MAX.to_le_bytes()),
        }
        shot.bytes = bytes.into();
        shot.signed.clear();
        shot
    }

    fn churn(&mut self, ring: &Ring) -> Option<Shot> {
        let identity = *self.identities.get(1 + self.prng.index(self.identities.len() - 1))?;
        let payload = self.payload();
        let bytes = self.bundle(ring, identity, 1, &[(1, payload.clone())])?;
        Some(Shot {
            target: Target::One(self.prng.next()),
            bytes,
            signed: vec![(identity, 1, payload)],
        })
    }

    /// Some bundles at once, so that they meet in batches with others.
    fn torsion(&mut self, ring: &Ring) -> Option<Vec<Shot>> {
        let target = self.prng.next();
        let mut shots = Vec::new();
        for _ in 0..4 {
            let mut shot = self.plain(ring, Target::One(target));
            let mut bytes = shot.bytes.to_vec();
            let signed = bytes.len() - 64;
            let statement = ring
                .domain()
                .statement(trireme_crypto::context::BUNDLE, &bytes[..signed]);
            let torsion = self.prng.pick(&[1, 2, 3, 4, 5, 6, 7]);
            let Signature(signature) = ring.sign_torsioned(self.identities[0], &statement, torsion)?;
            bytes[signed..].copy_from_slice(&signature);
            shot.bytes = bytes.into();
            shots.push(shot);
        }
        Some(shots)
    }
}
