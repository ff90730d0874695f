//! The catalogue: every way to break the protocol, with its number in FAULTS.md.

use serde::{Deserialize, Serialize};

use super::strategy::Strategy;
use super::{certificates, collusion, fetching, lane, leader, mutator, openings, replica, states, timing};
use crate::prng::Prng;

macro_rules! habits {
    ($($(#[$doc:meta])* $habit:ident = $counter:literal, [$($fault:literal),*], $make:expr;)*) => {
        /// A way to break the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub(crate) enum Habit {
            $($(#[$doc])* $habit,)*
        }

        impl Habit {
            /// All of them, in the order of the table.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$habit),*];

            /// The counter that says how often it showed on the wire.
            pub(crate) fn counter(self) -> &'static str {
                match self { $(Self::$habit => $counter,)* }
            }

            /// The entries of FAULTS.md that it stands for.
            pub(crate) fn faults(self) -> &'static [u8] {
                match self { $(Self::$habit => &[$($fault),*],)* }
            }

            /// What plays it; `prng` draws its constants.
            pub(super) fn play(self, prng: &mut Prng) -> Box<dyn Strategy> {
                #[allow(clippy::redundant_closure_call, reason = "most strategies draw nothing")]
                match self { $(Self::$habit => Box::new(($make)(prng)),)* }
            }
        }
    };
}

habits! {
    /// Says nothing from some time on.
    Silent = "lie: falls silent", [9], |_: &mut Prng| replica::Quiet;
    /// Two chains of blocks, one for each half of the others.
    EquivocateBlocks = "lie: two blocks of one slot", [1], |_: &mut Prng| leader::TwoChains;
    /// Two chains of batches.
    EquivocateLane = "lie: two batches of one height", [22], |_: &mut Prng| lane::TwoLanes;
    /// Votes for whatever exists, for two blocks of one slot too.
    DoubleVote = "lie: two votes of one slot", [11], |_: &mut Prng| replica::DoubleVote;
    /// Keeps votes from some members.
    WithholdVotes = "lie: vote withheld", [6], |_: &mut Prng| replica::WithholdVotes;
    /// Says that it is locked on blocks that have no certificate.
    FalseLocks = "lie: lock without a certificate", [11], |_: &mut Prng| replica::FalseLocks;
    /// Reports nothing in its Timeouts.
    ForgetTimeouts = "lie: Timeout reports nothing", [6, 12], |_: &mut Prng| replica::ForgetTimeouts;
    /// Reports everything that it ever heard of.
    InventReports = "lie: Timeout reports what was not accepted", [5, 10], |_: &mut Prng| replica::InventReports;
    /// Old Timeouts, signed anew with a certificate from their future.
    FutureQc = "lie: Timeout with a later Qc", [5], |_: &mut Prng| replica::FutureQc;
    /// Suspects every leader, and leaves every view at once.
    Storm = "lie: leaves the view at once", [14], |_: &mut Prng| replica::Storm;
    /// Builds first blocks on those Timeouts that suit it.
    CherryPick = "lie: Timeouts chosen to suit", [5], |_: &mut Prng| leader::CherryPick;
    /// Does not answer fetches, or says that it holds nothing.
    NotHeld = "lie: denies what it holds", [20], |_: &mut Prng| fetching::NotHeld;
    /// Puts requests into its lane that no client signed.
    ForgeClients = "lie: request that no client signed", [25], |_: &mut Prng| replica::Quiet;
    /// Shows its batches to few.
    HideBatches = "lie: batch shown to some", [23], |_: &mut Prng| lane::HideBatches;
    /// States a state that is not.
    FalseState = "lie: false state root", [18], |_: &mut Prng| replica::FalseState;
    /// Votes and acks with bad signatures.
    BadSignatures = "lie: bad signature", [13], |_: &mut Prng| replica::BadSignatures;
    /// Acks what it does not hold and vouches for what it did not check.
    EmptyAcks = "lie: vouches for what it did not check", [24, 25], |_: &mut Prng| lane::EmptyAcks;
    /// Comes back from a crash without the end of its log.
    Amnesia = "lie: forgets the end of its log", [12], |_: &mut Prng| replica::Quiet;
    /// Says old things again.
    Replay = "lie: old message again", [16], |_: &mut Prng| replica::Replay;
    /// Flips bits in frames.
    Garbage = "lie: spoilt frame", [13], |_: &mut Prng| replica::Quiet;

    /// Blocks come as late as the others just stand.
    SlowLeader = "lie: block just under the timeout", [2], timing::SlowLeader::draw;
    /// Blocks go to as few as can certify them.
    BlockToFew = "lie: block to few", [3], |_: &mut Prng| leader::BlockToFew;
    /// Orders nothing of one lane.
    LeaveOutLane = "lie: lane left out", [4], leader::LeaveOutLane::draw;
    /// Takes requests of clients and drops them.
    DropBundles = "lie: bundle dropped", [4], |_: &mut Prng| replica::Quiet;
    /// First blocks on certificates with forged or missing Timeouts.
    ForgedTc = "lie: forged Tc", [5], |_: &mut Prng| leader::ForgedTc;
    /// Blocks that leave slots out.
    SlotGap = "lie: slots left out", [7], |_: &mut Prng| leader::SlotGap;
    /// Names tips that nobody has.
    UnavailableTip = "lie: tip that nobody has", [8], |_: &mut Prng| leader::UnavailableTip;
    /// Empty blocks without end.
    EmptySpam = "lie: empty block out of rule", [9], |_: &mut Prng| leader::EmptySpam;
    /// Timestamps that stand still, or run ahead.
    BadTimestamps = "lie: timestamp out of bounds", [66], |_: &mut Prng| leader::BadTimestamps;

    /// Lists one view's acceptances only, so that evidence of a fast commit is split.
    SplitReports = "lie: Timeout reports one view only", [10], |_: &mut Prng| replica::SplitReports;
    /// A Qc whose signers are counted twice.
    DuplicateSigner = "lie: certificate counts a signer twice", [13], |_: &mut Prng| certificates::DuplicateSigner;
    /// A certificate of f+1 where a quorum is due.
    FewSigners = "lie: certificate of f+1", [13], |_: &mut Prng| certificates::FewSigners;
    /// Frames, and certificates, of another epoch.
    WrongEpoch = "lie: another epoch", [13, 67], |_: &mut Prng| certificates::WrongEpoch;
    /// Members that do not exist.
    BadIndex = "lie: member that does not exist", [13], |_: &mut Prng| certificates::BadIndex;
    /// Says of blocks of its choice, and of some that do not exist, that they are committed.
    FalseClaims = "lie: false claim of a commit", [13, 15], |_: &mut Prng| certificates::FalseClaims;
    /// Views, slots and heights far in the future.
    FarFuture = "lie: far future", [15], |_: &mut Prng| replica::FarFuture;
    /// Locks far above everything, in the view at hand.
    FarLocks = "lie: lock far above everything", [15], |_: &mut Prng| replica::FarLocks;
    /// Hears nothing, and asks for views for ever.
    Deaf = "lie: deaf, suspects", [17], |_: &mut Prng| timing::Deaf;
    /// Its view-change messages reach some early, some late.
    Desynchronise = "lie: view change told late to some", [19], timing::Desynchronise::draw;
    /// Answers fetches with something else.
    WrongAnswers = "lie: wrong answer to a fetch", [20], |_: &mut Prng| fetching::WrongAnswers;
    /// Signatures that a rule without the cofactor judges differently in a batch (real Ed25519 only).
    Torsion = "lie: torsioned signature of a member", [29], |_: &mut Prng| replica::Torsion;

    /// Shows its batches to the leader only, or to f+1 only.
    LeaderOnly = "lie: batch to the leader or f+1 only", [23], |_: &mut Prng| lane::LeaderOnly;
    /// Acks batches as they come in, before anything is written.
    AckAtOnce = "lie: ack before storage", [24], |_: &mut Prng| lane::AckAtOnce;
    /// Carries requests of other lanes in its own.
    CarryCopies = "lie: request of another lane carried", [26], |_: &mut Prng| lane::CarryCopies;
    /// Batches without end, far above the window.
    FloodLane = "lie: lane flooded", [27], lane::FloodLane::draw;
    /// Batches whose parents do not exist.
    Orphans = "lie: batch without its parent", [28], |_: &mut Prng| lane::Orphans;

    /// One field of one message, in a small scope (ByzzFuzz).
    Mutate = "lie: field mutated", [13, 15, 20], mutator::Mutator::draw;

    /// A certificate is kept for the next faulty leader.
    WithholdQc = "lie: Qc kept for a colluder", [6], |_: &mut Prng| collusion::WithholdQc;
    /// A batch shown to colluders and one honest member is certified by them, and proposed.
    PrivateBatch = "lie: batch to colluders and one more", [8, 23], |_: &mut Prng| collusion::PrivateBatch;
    /// The same; counts blocks of a colluding leader that name such a batch with its certificate.
    CertifiedHidden = "lie: hidden batch certified by colluders", [8, 23], |_: &mut Prng| collusion::PrivateBatch;
    /// Acks and votes of all colluders for what one of them heard.
    SharedVotes = "lie: vote for a colluder's block", [11], |_: &mut Prng| collusion::SharedVotes;

    /// Sends parts of images that are wrong.
    FalseParts = "lie: false part of an image", [20], |_: &mut Prng| states::FalseParts;
    /// Votes for checkpoints that are none, and shows certificates of f signatures for them.
    FalseCheckpoints = "lie: checkpoint that is none", [18], |_: &mut Prng| states::FalseCheckpoints;
    /// Shows the oldest certificate of a state instead of newer ones.
    StaleCertificates = "lie: stale certificate of a state", [16, 18], |_: &mut Prng| states::StaleCertificates::default();

    /// A view begins by the Tc of the view before the last one.
    StaleTc = "lie: first block on an older Tc", [5], |_: &mut Prng| openings::StaleTc;
    /// A second beginning, on a certificate of the view that begins.
    LateFirst = "lie: first block on a Qc of its own view", [5], |_: &mut Prng| openings::LateFirst::new();
    /// Hands its view off and keeps it.
    HandoffChild = "lie: block under an own handoff", [7], |_: &mut Prng| openings::HandoffChild;

    /// Changes what is said to a member in quarantine, and what was said to itself.
    FalseMemory = "lie: word of a quarantine changed", [12, 57, 58], mutator::Mutator::of_memories;
}

impl Habit {
    /// Those that a seed's own generator draws from; the others come from a fork of it.
    const OLD: usize = 20;
    /// Those that come where checkpoints are frequent; the last of all.
    pub(crate) const STATES: [Self; 3] = [Self::FalseParts, Self::FalseCheckpoints, Self::StaleCertificates];
    /// How a view may begin and end; in a stream of their own each time, too.
    const OPENINGS: [Self; 3] = [Self::StaleTc, Self::LateFirst, Self::HandoffChild];
    const LIBRARY: usize = Self::ALL.len() - Self::STATES.len() - Self::OPENINGS.len() - 1;

    /// One to four habits.
    pub(crate) fn draw(prng: &mut Prng) -> Vec<Self> {
        let mut habits: Vec<Self> = (0..prng.range(1, 4))
            .map(|_| prng.pick(&Self::ALL[..Self::OLD]))
            .collect();
        habits.sort_unstable();
        habits.dedup();
        habits
    }

    /// What colluders do in the first place.
    const TOGETHER: [Self; 6] = [
        Self::EquivocateBlocks,
        Self::EquivocateLane,
        Self::DoubleVote,
        Self::WithholdQc,
        Self::PrivateBatch,
        Self::SharedVotes,
    ];

    /// In some seeds, one way to begin or to end a view.
    pub(crate) fn draw_openings(habits: &mut Vec<Self>, prng: &mut Prng) {
        if prng.percent(20) {
            habits.push(prng.pick(&Self::OPENINGS));
            habits.sort_unstable();
            habits.dedup();
        }
    }

    /// Puts up to three more of the whole catalogue beside those drawn, or instead of them.
    pub(crate) fn draw_more(habits: &mut Vec<Self>, collude: bool, prng: &mut Prng) {
        match prng.below(10) {
            0..=2 if !collude => return,
            3..=5 => habits.clear(),
            _ => {}
        }
        for _ in 0..prng.range(1, 3) {
            habits.push(prng.pick(&Self::ALL[Self::OLD..Self::LIBRARY]));
        }
        if collude {
            habits.push(prng.pick(&Self::TOGETHER));
            habits.push(prng.pick(&Self::TOGETHER));
        }
        habits.sort_unstable();
        habits.dedup();
    }
}
