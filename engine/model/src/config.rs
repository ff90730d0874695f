//! What is explored: sizes, bounds, features, and which clause of the protocol is broken on purpose.

use std::fmt;

/// A clause of PROTOCOL.md that a run leaves out, by its number in the bug bank of the fault catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// 1: slow commit at f+1 locks.
    CommitAtOneHonest,
    /// 2: the liars' votes count twice.
    SignerTwice,
    /// 3: a Timeout reports genesis and an empty list.
    ForgetLock,
    /// 4: a vote leaves before its record is durable.
    SendBeforeWrite,
    /// 5: recovery drops acceptances and the highest Qc.
    DropVoteState,
    /// 6: the safe tip takes the lowest Qc of a Tc.
    LowestQc,
    /// 7: a Tc of t-1 Timeouts.
    ShortTc,
    /// 8: the safe tip counts reporters of other branches.
    NoBranchCondition,
    /// 9: the accepted list keeps only the newest view.
    LastViewOnly,
    /// 20: an ack leaves before the batch is stored.
    AckBeforeStorage,
    /// 25: fast commit at q.
    FastAtQuorum,
    /// 26: tau is one too large.
    TauTooLarge,
    /// 27: locks of an older view count in a newer one.
    OldLocks,
    /// 28: a child of a handoff block is accepted in its own view.
    HandoffChild,
    /// 29: a Tc of view v-2 justifies a first block of v.
    StaleTc,
    /// 30: a Timeout may carry a Qc of a later view.
    FutureQc,
    /// 31: a checkpoint releases acceptance records.
    ReleaseByCheckpoint,
    /// 33: `witnessed` looks at the batch alone, not at its ancestors.
    WitnessNotCumulative,
}

impl Bug {
    /// All of them with their numbers, ascending.
    pub const ALL: [(u8, Bug); 18] = [
        (1, Bug::CommitAtOneHonest),
        (2, Bug::SignerTwice),
        (3, Bug::ForgetLock),
        (4, Bug::SendBeforeWrite),
        (5, Bug::DropVoteState),
        (6, Bug::LowestQc),
        (7, Bug::ShortTc),
        (8, Bug::NoBranchCondition),
        (9, Bug::LastViewOnly),
        (20, Bug::AckBeforeStorage),
        (25, Bug::FastAtQuorum),
        (26, Bug::TauTooLarge),
        (27, Bug::OldLocks),
        (28, Bug::HandoffChild),
        (29, Bug::StaleTc),
        (30, Bug::FutureQc),
        (31, Bug::ReleaseByCheckpoint),
        (33, Bug::WitnessNotCumulative),
    ];

    /// The bug of this number, if the model has it.
    pub fn numbered(number: u8) -> Option<Bug> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == number)
            .map(|(_, bug)| *bug)
    }

    /// Its number in the bug bank.
    pub fn number(self) -> u8 {
        Self::ALL
            .iter()
            .find(|(_, bug)| *bug == self)
            .map_or(0, |(number, _)| *number)
    }

    /// The configuration in which it is looked for.
    pub fn config(self) -> &'static str {
        match self {
            Bug::HandoffChild => "handoff",
            Bug::SendBeforeWrite | Bug::DropVoteState => "crash",
            Bug::AckBeforeStorage | Bug::WitnessNotCumulative => "lanes",
            Bug::FutureQc => "future",
            _ => "narrow",
        }
    }
}

/// In which order actions of different replicas are explored (README.md, "Sorting by view").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// All actions of view v before those of v+1. At a view's end everything that can no longer matter is forgotten.
    ByView,
    /// The same, and nothing is forgotten: for comparing.
    ByViewKeeping,
    /// Every interleaving.
    Free,
}

/// Bounds and features of one exhaustive exploration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// As given on the command line.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Members.
    pub n: u8,
    /// Byzantine members, and the `f` of the protocol.
    pub f: u8,
    /// Blocks stand at slots 1 to this.
    pub slots: u8,
    /// Replicas accept in views `first_view` to below this; the certificate of the last of them is checked, too.
    pub views: u8,
    /// Views below this pass with nothing but empty Timeouts.
    pub first_view: u8,
    /// Most blocks with the same view, parent and content.
    pub values: u8,
    /// Most blocks that a replica accepts in one view.
    pub in_a_view: u8,
    /// Exploration order.
    pub order: Order,
    /// Who enters by a Tc takes over its Qc (R-LOCK); otherwise it may or may not, which is more histories. Free
    /// interleaving only.
    pub takes_on_entry: bool,
    /// Blocks may name a successor (R-HANDOFF).
    pub handoff: bool,
    /// Acceptances and their writes are two actions, with crashes between.
    pub crashes: bool,
    /// Blocks order batches of a Byzantine owner's lane.
    pub lanes: bool,
    /// Go on after a safe tip that misses a committed block, up to two different blocks at one slot.
    pub tips_may_miss: bool,
    /// Explored only on demand: takes minutes.
    pub thorough: bool,
    /// The broken clause.
    pub bug: Option<Bug>,
}

/// The most views that a state has room for.
pub const MAX_VIEWS: usize = 3;
/// The most correct replicas that a state has room for.
pub const MAX_CORRECT: usize = 6;

impl Config {
    /// Whether this clause is broken.
    pub fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// The same bounds with a clause broken.
    #[must_use]
    pub fn with(&self, bug: Bug) -> Config {
        Config {
            bug: Some(bug),
            ..self.clone()
        }
    }

    /// The configuration of this name.
    pub fn named(name: &str) -> Option<Config> {
        Self::all().into_iter().find(|config| config.name == name)
    }

    /// Correct replicas; the others are Byzantine.
    pub fn correct(&self) -> usize {
        usize::from(self.n - self.f)
    }

    /// p of PROTOCOL.md section 1.
    pub fn p(&self) -> u8 {
        (self.n - 3 * self.f - 1) / 2
    }

    /// q: votes of a certificate, locks of a slow commit.
    pub fn q(&self) -> u8 {
        (self.n + self.f + 1).div_ceil(2)
    }

    /// t: Timeouts of a Tc.
    pub fn t(&self) -> u8 {
        self.n - self.f - u8::from(self.has(Bug::ShortTc))
    }

    /// F: votes of a fast commit.
    pub fn fast(&self) -> u8 {
        if self.has(Bug::FastAtQuorum) {
            self.q()
        } else {
            self.n - self.p()
        }
    }

    /// Locks of a slow commit.
    pub fn slow(&self) -> u8 {
        if self.has(Bug::CommitAtOneHonest) {
            self.f + 1
        } else {
            self.q()
        }
    }

    /// tau: reports that mark a block as possibly committed.
    pub fn tau(&self) -> u8 {
        self.n - 2 * self.f - self.p() + u8::from(self.has(Bug::TauTooLarge))
    }

    /// How much the liars weigh in a count of votes.
    pub fn liars(&self) -> u8 {
        self.f * if self.has(Bug::SignerTwice) { 2 } else { 1 }
    }
}

impl fmt::Display for Config {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "n={} f={} slots={} views={}..{} values={} in_a_view={} order={:?}",
            self.n, self.f, self.slots, self.first_view, self.views, self.values, self.in_a_view, self.order
        )?;
        for (set, word) in [
            (self.handoff, " handoff"),
            (self.crashes, " crashes"),
            (self.lanes, " lanes"),
        ] {
            if set {
                out.write_str(word)?;
            }
        }
        Ok(())
    }
}
