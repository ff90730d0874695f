//! What must hold at every step (FAULTS.md, invariants), judged from outside.
//!
//! The oracle sees what replicas send, write, commit and execute. It decides with arithmetic and code of its own: a
//! predicate of the core that is wrong must not vouch for itself.

mod budgets;
mod certificates;
mod chain;
mod facts;
mod history;
mod model;
mod statements;
mod timer;

pub(crate) use budgets::judge_budgets;
pub(crate) use chain::{Chain, safe_tip};
pub(crate) use facts::Facts;
pub(crate) use history::{Applied, History, payload_digest};
pub(crate) use timer::{Shown, TimerWatch};

use std::collections::{BTreeMap, BTreeSet};

use trireme_core::message::{Message, SignedBlock};
use trireme_core::record::{Record, VoteRecord};
use trireme_core::types::Height;
use trireme_core::{MemberId, Params, Slot, View};
use trireme_crypto::{Digest, Domain};

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one: a number of FAULTS.md's list, or a word.
    pub invariant: &'static str,
    /// Simulated time.
    pub time_us: u64,
    /// At which member it showed; none for the cluster as a whole.
    pub member: Option<MemberId>,
    /// What was seen.
    pub text: String,
}

/// The sizes of section 1, computed here anew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) n: usize,
    pub(crate) f: usize,
    pub(crate) quorum: usize,
    pub(crate) timeout: usize,
    pub(crate) fast: usize,
    pub(crate) tau: usize,
}

impl Sizes {
    pub(crate) fn new(n: usize, f: usize) -> Self {
        let p = (n - 3 * f - 1) / 2;
        Self {
            n,
            f,
            quorum: (n + f + 2) / 2,
            timeout: n - f,
            fast: n - p,
            tau: n - 2 * f - p,
        }
    }
}

/// Who speaks, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub(crate) time_us: u64,
    pub(crate) member: MemberId,
}

/// Cuts digests in a text to their first characters.
fn shorten(text: &str) -> String {
    let mut short = String::new();
    let mut run = 0;
    for c in text.chars() {
        run = if c.is_ascii_hexdigit() { run + 1 } else { 0 };
        if run <= 8 {
            short.push(c);
        }
    }
    short
}

/// Collects violations and how often things happened that should sometimes happen.
#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<Violation>,
    pub(crate) counters: BTreeMap<&'static str, u64>,
    /// The invariants that are judged; all if none.
    pub(crate) only: Option<&'static [&'static str]>,
}

impl Verdict {
    /// Keeps the first violations: one bug breaks many things after it.
    const KEPT: usize = 20;

    fn judges(&self, invariant: &str) -> bool {
        self.only.is_none_or(|only| only.contains(&invariant))
    }

    pub(crate) fn fail(&mut self, scene: Scene, invariant: &'static str, text: String) {
        if self.judges(invariant) && self.violations.len() < Self::KEPT {
            self.violations.push(Violation {
                invariant,
                time_us: scene.time_us,
                member: Some(scene.member),
                text: shorten(&text),
            });
        }
    }

    pub(crate) fn fail_cluster(&mut self, time_us: u64, invariant: &'static str, text: String) {
        if self.judges(invariant) && self.violations.len() < Self::KEPT {
            self.violations.push(Violation {
                invariant,
                time_us,
                member: None,
                text,
            });
        }
    }

    pub(crate) fn check(&mut self, holds: bool, scene: Scene, invariant: &'static str, text: impl FnOnce() -> String) {
        if !holds {
            self.fail(scene, invariant, text());
        }
    }

    pub(crate) fn count(&mut self, name: &'static str) {
        self.add(name, 1);
    }

    pub(crate) fn add(&mut self, name: &'static str, by: u64) {
        *self.counters.entry(name).or_default() += by;
    }
}

/// All oracles of a run.
pub(crate) struct Oracle {
    pub(crate) domain: Domain,
    pub(crate) sizes: Sizes,
    /// Members that follow the protocol.
    pub(crate) correct: Vec<bool>,
    /// Members that came back through quarantine, one bit each: their earlier acks stand in certificates.
    pub(super) returned: u128,
    /// Views that a quarantined member asked to leave.
    pub(crate) asked_to_leave: BTreeSet<View>,
    pub(crate) verdict: Verdict,
    pub(crate) chain: Chain,
    pub(crate) history: History,
    /// Batches that certificates in accepted blocks name.
    pub(crate) certified: BTreeSet<(MemberId, Height, Digest)>,
    /// By lane: batches up to here were made needless by a stable checkpoint.
    released: Vec<Height>,
    statements: statements::Statements,
}

impl Oracle {
    pub(crate) fn new(domain: Domain, genesis: Digest, sizes: Sizes, correct: Vec<bool>, params: &Params) -> Self {
        let sessions = usize::try_from(params.max_sessions).expect("32 bits fit");
        let model = model::Model::new(u64::from(params.session_window), sessions);
        Self {
            domain,
            sizes,
            correct,
            returned: 0,
            asked_to_leave: BTreeSet::new(),
            verdict: Verdict::default(),
            chain: Chain::new(genesis, sizes),
            history: History::new(sizes.n, model),
            certified: BTreeSet::new(),
            released: vec![0; sizes.n],
            statements: statements::Statements::default(),
        }
    }

    /// A member that had forgotten came back through quarantine: it may ack any height again, and from here on what it
    /// says is judged.
    pub(crate) fn came_back(&mut self, member: MemberId) {
        self.correct[usize::from(member)] = true;
        self.returned |= 1 << member;
        self.statements.forget_acks(member);
    }

    /// Whether a member follows the protocol, and has not forgotten anything.
    pub(crate) fn is_correct(&self, member: MemberId) -> bool {
        self.correct.get(usize::from(member)).copied().unwrap_or(false)
    }

    /// A block exists: somebody sent or wrote it. Returns its digest.
    pub(crate) fn saw_block(&mut self, scene: Scene, block: &SignedBlock) -> Digest {
        let digest = block.block.digest(&self.domain);
        self.chain.add(scene, &mut self.verdict, digest, &block.block);
        digest
    }

    /// A message leaves a replica.
    pub(crate) fn sent(&mut self, scene: Scene, message: &Message, facts: &Facts) {
        match message {
            Message::Block(block) => {
                self.saw_block(scene, block);
            }
            Message::Batch(batch) => self.history.saw_header(&self.domain, &batch.head.header),
            _ => {}
        }
        self.note_opposition(scene, message);
        if self.is_correct(scene.member) {
            self.judge_statement(scene, message, facts);
        } else {
            self.note_faulty(scene, message);
        }
        if let Message::Vote(vote) = message {
            let (v, verdict) = (&vote.vote, &mut self.verdict);
            self.chain.supported(scene, verdict, v.view, v.voted, v.locked);
        }
    }

    /// A correct replica's record is durable; `facts` are those of the log before it.
    pub(crate) fn durable(&mut self, scene: Scene, record: &Record, facts: &Facts) {
        match record {
            Record::Vote(VoteRecord::Accept(block)) => {
                let digest = self.saw_block(scene, block);
                self.judge_acceptance(scene, digest, &block.block);
                self.judge_order(scene, block.block.view, facts);
            }
            Record::Vote(VoteRecord::Block(block)) => {
                self.saw_block(scene, block);
            }
            Record::Vote(VoteRecord::HighQc(qc)) => self.judge_qc(scene, qc),
            Record::Vote(VoteRecord::Enter(tc)) => self.judge_tc(scene, tc),
            Record::Vote(VoteRecord::Committed(slot, digest)) => self.committed(scene, *slot, *digest),
            Record::Batch(batch) => self.history.saw_header(&self.domain, &batch.head.header),
            Record::Vote(
                VoteRecord::Timeout(_)
                | VoteRecord::Reserve(_)
                | VoteRecord::Standing(_)
                | VoteRecord::Quarantined(_)
                | VoteRecord::Readmitted(_),
            )
            | Record::Ordering(_) => {}
        }
    }

    /// A correct replica's log may drop batches up to these heights (invariant 11 judges that).
    pub(crate) fn released(&mut self, heights: &[Height]) {
        for (known, height) in self.released.iter_mut().zip(heights) {
            *known = (*known).max(*height);
        }
    }

    /// Certified batches that somebody has to hold (invariant 16): all that no checkpoint made needless.
    pub(crate) fn take_owed(&mut self) -> Vec<Digest> {
        let certified = std::mem::take(&mut self.certified).into_iter();
        let held = certified.filter(|(lane, height, _)| self.released[usize::from(*lane)] < *height);
        held.map(|(_, _, digest)| digest).collect()
    }

    /// A correct replica holds a block for committed.
    pub(crate) fn committed(&mut self, scene: Scene, slot: Slot, digest: Digest) {
        self.chain.committed(scene, &mut self.verdict, slot, digest);
    }

    /// A correct replica went down and came up again (invariant 7): nothing that it relied on or told went back.
    pub(crate) fn restarted(&mut self, scene: Scene, facts: &Facts, view: View, high_qc: (View, Slot)) {
        let (entered, high) = (facts.entered_view(), facts.high_qc());
        self.verdict.check(view >= entered, scene, "7", || {
            format!("restarts in view {view}, had entered {entered}")
        });
        self.verdict.check(high_qc >= high, scene, "7", || {
            format!("restarts with Qc {high_qc:?}, had {high:?}")
        });
        if let Some(told) = self.statements.newest_view(scene.member) {
            self.verdict.check(view >= told, scene, "7", || {
                format!("restarts in view {view}, had spoken in {told}")
            });
        }
    }
}
