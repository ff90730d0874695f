//! The verify stage: client signatures, of own bundles and of other lanes' bodies, in batch equations (R-SIG).
//!
//! Everything that waits goes into one equation, up to a bound that keeps a poll short: bodies that a block waits for,
//! then other bodies (long ones in parts), and beside them own bundles, so that neither starves the other.

use serde_json::{Map, Value, json};
use trireme_core::Tick;
use trireme_core::request::{Body, BundleRef};
use trireme_crypto::{Digest, Domain, Signature, Signed, VerifyingKey, invalid_in_batch};

use crate::error::ReplicaError;
use crate::histogram::Histogram;
use crate::items::{BadSignature, BodyJob, CheckedBundle, OwnBundle, Verdict};
use crate::key_cache::KeyCache;
use crate::link::{Receiver, Sender};
use crate::passage::Passed;
use crate::stage::{Finish, Turn, Work, entries, nothing_to_finish};
use crate::topology::Stage;

/// Signatures of one kind (bodies, own bundles) in one equation: beyond it a signature gets hardly cheaper, and a poll
/// of both kinds stays below 3 ms.
const PART: usize = 256;
/// Client keys held decompressed, twice over, 200 bytes each.
const KEYS: usize = 65_536;

/// The links of the stage.
pub(crate) struct VerifyLinks {
    pub(crate) own: Receiver<OwnBundle>,
    pub(crate) bodies: Receiver<BodyJob>,
    pub(crate) urgent: Receiver<BodyJob>,
    pub(crate) refusals: Sender<BadSignature>,
    pub(crate) checked: Sender<CheckedBundle>,
    pub(crate) verdicts: Sender<Verdict>,
}

/// See the module's text.
pub(crate) struct Verify {
    links: VerifyLinks,
    domain: Domain,
    /// Whether signatures are checked at all.
    signed: bool,
    keys: KeyCache,
    equation: Vec<Item>,
    own: Vec<OwnBundle>,
    bodies: Vec<Progress>,
    /// A body whose signatures did not all fit the last equation.
    unfinished: Option<Progress>,
    /// When the poll under way began.
    now: Tick,
    /// From the connection to here.
    ingress: Histogram,
    /// Signatures in one equation.
    sizes: Histogram,
    counts: Counts,
}

/// One signature of the equation.
struct Item {
    key: VerifyingKey,
    statement: Digest,
    signature: Signature,
    owner: Owner,
}

/// Whose signature it is: an index into `own` or `bodies`.
#[derive(Clone, Copy)]
enum Owner {
    Own(usize),
    Body(usize),
}

/// A body in work.
struct Progress {
    job: BodyJob,
    /// Bundles whose signature was looked at.
    done: usize,
    bundles: usize,
    good: bool,
}

#[derive(Default)]
struct Counts {
    signatures: u64,
    equations: u64,
    bad: u64,
    own: u64,
    bodies: u64,
    /// Signatures of other lanes' bodies.
    witnessed: u64,
}

impl Verify {
    pub(crate) fn new(links: VerifyLinks, domain: Domain, signed: bool) -> Self {
        Self {
            links,
            domain,
            signed,
            keys: KeyCache::new(KEYS),
            equation: Vec::with_capacity(2 * PART),
            own: Vec::with_capacity(PART),
            bodies: Vec::new(),
            unfinished: None,
            now: Tick::default(),
            ingress: Histogram::times(),
            sizes: Histogram::sizes(),
            counts: Counts::default(),
        }
    }

    /// Puts up to [`PART`] signatures of bodies into the equation.
    fn gather_bodies(&mut self) {
        while self.equation.len() < PART && self.bodies.len() < PART {
            let next = match self.unfinished.take() {
                Some(progress) => progress,
                None => match self.next_body() {
                    Some(job) => Progress::start(job),
                    None => return,
                },
            };
            self.gather_body(next);
        }
    }

    /// The next body to work on; none while its verdict would have no place.
    fn next_body(&mut self) -> Option<BodyJob> {
        if !self.links.verdicts.room_beside(self.bodies.len(), 0) {
            return None;
        }
        self.links.urgent.pop().or_else(|| self.links.bodies.pop())
    }

    fn gather_body(&mut self, mut progress: Progress) {
        let owner = Owner::Body(self.bodies.len());
        if progress.good && self.signed {
            let body = Body::parse(&progress.job.body).expect("parsed when it was started");
            let room = PART - self.equation.len();
            for bundle in body.bundles().skip(progress.done).take(room) {
                progress.done += 1;
                self.counts.witnessed += 1;
                if !gather(&mut self.equation, &mut self.keys, &self.domain, &bundle, owner) {
                    progress.good = false;
                    break;
                }
            }
        } else {
            progress.done = progress.bundles;
        }
        self.bodies.push(progress);
    }

    /// Takes up to [`PART`] own bundles, while their ways on have room.
    fn gather_own(&mut self, budget: usize) {
        let mut bytes = 0;
        while self.own.len() < PART.min(budget)
            && self.links.checked.room_beside(self.own.len(), bytes)
            && self.links.refusals.room_beside(self.own.len(), bytes)
        {
            let Some(own) = self.links.own.pop() else { return };
            self.ingress.record(self.now.since(own.read), own.ops.into());
            if self.signed {
                let bundle = BundleRef::parse(&own.bytes).expect("the ingress stage has parsed it");
                let owner = Owner::Own(self.own.len());
                if !gather(&mut self.equation, &mut self.keys, &self.domain, &bundle, owner) {
                    self.refuse(own);
                    continue;
                }
            }
            bytes += own.bytes.len();
            self.own.push(own);
        }
    }

    fn refuse(&mut self, own: OwnBundle) {
        self.counts.bad += 1;
        self.links.refusals.push(
            own.bytes.len(),
            BadSignature {
                conn: own.conn,
                bytes: own.bytes,
            },
        );
    }

    /// Checks the equation; the own bundles whose signature is bad, ascending. Bad bodies are marked.
    fn solve(&mut self) -> Vec<usize> {
        if self.equation.is_empty() {
            return Vec::new();
        }
        let signed: Vec<Signed<'_>> = self
            .equation
            .iter()
            .map(|item| Signed {
                key: &item.key,
                message: &item.statement,
                signature: &item.signature,
            })
            .collect();
        let invalid = invalid_in_batch(&signed);
        self.counts.signatures += signed.len() as u64;
        self.counts.equations += 1;
        self.sizes.record(signed.len() as u64, 1);
        let mut bad_own = Vec::new();
        for index in invalid {
            match self.equation[index].owner {
                Owner::Own(own) => bad_own.push(own),
                Owner::Body(body) => self.bodies[body].good = false,
            }
        }
        self.equation.clear();
        bad_own
    }

    fn deliver_bodies(&mut self) {
        for progress in self.bodies.drain(..) {
            if progress.good && progress.done < progress.bundles {
                assert!(
                    self.unfinished.is_none(),
                    "only the last body of an equation can be cut"
                );
                self.unfinished = Some(progress);
            } else {
                self.counts.bodies += 1;
                self.counts.bad += u64::from(!progress.good);
                self.links.verdicts.push(
                    0,
                    Verdict {
                        job: progress.job.job,
                        good: progress.good,
                    },
                );
            }
        }
    }

    fn deliver_own(&mut self, bad: &[usize]) {
        let mut bad = bad.iter().peekable();
        let own: Vec<OwnBundle> = self.own.drain(..).collect();
        for (index, bundle) in own.into_iter().enumerate() {
            if bad.next_if(|bad| **bad == index).is_some() {
                self.refuse(bundle);
                continue;
            }
            self.counts.own += 1;
            let OwnBundle {
                bytes,
                ops,
                permit,
                read,
                ..
            } = bundle;
            let verifying = self.now;
            let passed = Passed { read, verifying };
            self.links.checked.push(
                bytes.len(),
                CheckedBundle {
                    bytes,
                    ops,
                    permit,
                    passed,
                },
            );
        }
    }
}

impl Progress {
    fn start(job: BodyJob) -> Self {
        match Body::parse(&job.body) {
            Ok(body) if body.ops() == job.ops => {
                let bundles = body.len() as usize;
                Self {
                    job,
                    done: 0,
                    bundles,
                    good: true,
                }
            }
            _ => Self {
                job,
                done: 0,
                bundles: 0,
                good: false,
            },
        }
    }
}

/// Adds a bundle's signature to the equation; false if its client's key is no key.
fn gather(
    equation: &mut Vec<Item>,
    keys: &mut KeyCache,
    domain: &Domain,
    bundle: &BundleRef<'_>,
    owner: Owner,
) -> bool {
    let Some(key) = keys.get(bundle.client()) else {
        return false;
    };
    equation.push(Item {
        key,
        statement: bundle.statement(domain),
        signature: bundle.signature(),
        owner,
    });
    true
}

impl Work for Verify {
    fn stage(&self) -> Stage {
        Stage::Verify
    }

    fn poll(&mut self, turn: &mut Turn<'_, '_>) -> Result<bool, ReplicaError> {
        self.now = turn.now.tick;
        self.gather_bodies();
        let before = self.counts.bad;
        self.gather_own(turn.budget);
        let progress = !self.bodies.is_empty() || !self.own.is_empty() || self.counts.bad != before;
        let bad_own = self.solve();
        self.deliver_bodies();
        self.deliver_own(&bad_own);
        Ok(progress)
    }

    fn status(&mut self) -> Map<String, Value> {
        entries(json!({ "client_signatures": {
            "verified": self.counts.signatures,
            "equations": self.counts.equations,
            "bad": self.counts.bad,
            "own_bundles": self.counts.own,
            "bodies": self.counts.bodies,
            "witnessed": self.counts.witnessed,
            "equation_sizes": self.sizes.status(),
        },
        "stages": { "ingress": self.ingress.status() },
        }))
    }

    fn finish(self: Box<Self>) -> Finish {
        nothing_to_finish()
    }
}

#[cfg(test)]
mod tests;
