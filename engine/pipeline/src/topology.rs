//! The machine: every stage, every link with its depth and whether it may shed, and which thread runs what.
//!
//! ```text
//!   clients <-> Ingress --own bundles--> Verify --checked bundles--> Order --effects--> Log --released--> Peers <-> members
//!                  ^                       ^  \------verdicts------> ^ ^ |  \--frames-----------------------^
//!                  |                       +-------- bodies ---------|-|-+                                  |
//!                  |                                                 | +--------- checked messages ---------+
//!                  +------------- replies -------- Execute <--slots--+
//! ```
//!
//! Beside them stands `Snapshots`: images come from `Execute`, stable checkpoints from `Order`, members' questions and
//! answers about images from `Peers`; what is kept is told to `Order`, what was fetched goes to `Execute`.
//!
//! What keeps the rings of links from locking up: `Ingress`, `Peers` and `Snapshots` always take what comes towards the network,
//! whatever waits behind them; `Log` takes appends without asking `Order` for room; and `Order` holds jobs for `Verify`
//! and `Execute` that do not fit their links in lists of its own, which the protocol's windows bound.

use std::fmt;

/// One kind of work. Each runs on exactly one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Client connections: frames, registration, quotas, refusals, replies.
    Ingress,
    /// Client signatures, of own bundles and of other lanes' bodies.
    Verify,
    /// Connections to the members: decoding, checking, sending.
    Peers,
    /// The protocol.
    Order,
    /// The write-ahead log, and what waits for it.
    Log,
    /// The application.
    Execute,
    /// Images of the state: what goes to and comes from the thread that keeps them.
    Snapshots,
}

impl Stage {
    /// How many there are.
    pub const COUNT: usize = 7;
    /// All, in the order in which a thread polls and stops them.
    pub const ALL: [Stage; Self::COUNT] = [
        Stage::Ingress,
        Stage::Verify,
        Stage::Peers,
        Stage::Order,
        Stage::Log,
        Stage::Execute,
        Stage::Snapshots,
    ];

    /// Name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Ingress => "ingress",
            Stage::Verify => "verify",
            Stage::Peers => "peers",
            Stage::Order => "order",
            Stage::Log => "log",
            Stage::Execute => "execute",
            Stage::Snapshots => "snapshots",
        }
    }
}

/// A link between two stages.
#[derive(Debug, PartialEq, Eq)]
pub struct LinkSpec {
    /// Name in metrics.
    pub name: &'static str,
    /// Its producer.
    pub from: Stage,
    /// Its consumer.
    pub to: Stage,
    /// Items it holds.
    pub depth: usize,
    /// It takes no more items once it holds this many bytes of payload.
    pub bytes: usize,
    /// Whether its producer may turn items away, with a typed answer, instead of waiting.
    pub sheds: bool,
}

/// What a link holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Items.
    pub depth: usize,
    /// It takes no more items once it holds this many bytes of payload.
    pub bytes: usize,
}

impl LinkSpec {
    /// As declared.
    pub fn room(&self) -> Room {
        Room {
            depth: self.depth,
            bytes: self.bytes,
        }
    }
}

const MIB: usize = 1 << 20;

const fn link(name: &'static str, from: Stage, to: Stage, depth: usize, bytes: usize) -> LinkSpec {
    LinkSpec {
        name,
        from,
        to,
        depth,
        bytes,
        sheds: false,
    }
}

/// Bundles of own clients whose signatures are to be checked. Clients are told `Overloaded` when it is full.
pub(crate) static OWN_BUNDLES: LinkSpec = LinkSpec {
    sheds: true,
    ..link("own_bundles", Stage::Ingress, Stage::Verify, 8_192, 64 * MIB)
};
/// Bundles with bad signatures, to be refused.
pub(crate) static REFUSALS: LinkSpec = link("refusals", Stage::Verify, Stage::Ingress, 1_024, 64 * MIB);
/// Bundles of own clients with good signatures. Full while the own lane's window is full.
pub(crate) static CHECKED_BUNDLES: LinkSpec = link("checked_bundles", Stage::Verify, Stage::Order, 2_048, 8 * MIB);
/// Batches of other lanes to be witnessed.
pub(crate) static BODIES: LinkSpec = link("bodies", Stage::Order, Stage::Verify, 256, 256 * MIB);
/// Batches that ought to be witnessed first: a block waits for them.
pub(crate) static URGENT_BODIES: LinkSpec = link("urgent_bodies", Stage::Order, Stage::Verify, 256, 256 * MIB);
/// Results for both kinds of bodies.
pub(crate) static VERDICTS: LinkSpec = link("verdicts", Stage::Verify, Stage::Order, 1_024, MIB);
/// Checked messages and changes of connections.
pub(crate) static MESSAGES: LinkSpec = link("messages", Stage::Peers, Stage::Order, 4_096, 64 * MIB);
/// Frames that need no record.
pub(crate) static FRAMES: LinkSpec = link("frames", Stage::Order, Stage::Peers, 4_096, 256 * MIB);
/// Records with the frames that ride on them, and requests to read records.
pub(crate) static APPENDS: LinkSpec = link("appends", Stage::Order, Stage::Log, 4_096, 64 * MIB);
/// How far the log is durable.
pub(crate) static DURABLE: LinkSpec = link("durable", Stage::Log, Stage::Order, 64, MIB);
/// Frames whose records are durable.
pub(crate) static RELEASED: LinkSpec = link("released", Stage::Log, Stage::Peers, 4_096, 256 * MIB);
/// Committed slots.
pub(crate) static SLOTS: LinkSpec = link("slots", Stage::Order, Stage::Execute, 64, 64 * MIB);
/// Executed slots.
pub(crate) static EXECUTED: LinkSpec = link("executed", Stage::Execute, Stage::Order, 256, MIB);
/// Replies of executed slots.
pub(crate) static REPLIES: LinkSpec = link("replies", Stage::Execute, Stage::Ingress, 256, 64 * MIB);

/// Images of checkpoints; the stage takes them at once.
pub(crate) static IMAGES: LinkSpec = link("images", Stage::Execute, Stage::Snapshots, 4, MIB);
/// Stable checkpoints, and those whose image is to be fetched.
pub(crate) static CHECKPOINTS: LinkSpec = link("checkpoints", Stage::Order, Stage::Snapshots, 16, MIB);
/// Checkpoints that are kept.
pub(crate) static KEPT: LinkSpec = link("kept", Stage::Snapshots, Stage::Order, 16, MIB);
/// What members ask for and send of images; the stage takes it at once.
pub(crate) static STATE_MESSAGES: LinkSpec = link("state_messages", Stage::Peers, Stage::Snapshots, 256, 64 * MIB);
/// The same to members.
pub(crate) static STATE_FRAMES: LinkSpec = link("state_frames", Stage::Snapshots, Stage::Peers, 256, 64 * MIB);
/// States that were fetched.
pub(crate) static INSTALLS: LinkSpec = link("installs", Stage::Snapshots, Stage::Execute, 2, MIB);

/// All links.
pub static LINKS: [&LinkSpec; 20] = [
    &OWN_BUNDLES,
    &REFUSALS,
    &CHECKED_BUNDLES,
    &BODIES,
    &URGENT_BODIES,
    &VERDICTS,
    &MESSAGES,
    &FRAMES,
    &APPENDS,
    &DURABLE,
    &RELEASED,
    &SLOTS,
    &EXECUTED,
    &REPLIES,
    &IMAGES,
    &CHECKPOINTS,
    &KEPT,
    &STATE_MESSAGES,
    &STATE_FRAMES,
    &INSTALLS,
];

/// Answers never outnumber the places of their link: every body in work has a place for its verdict.
const _: () = assert!(VERDICTS.depth >= BODIES.depth + URGENT_BODIES.depth);
const _: () = assert!(EXECUTED.depth >= SLOTS.depth);

/// Which thread runs which stages.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// Name in the configuration.
    pub name: &'static str,
    /// One entry a thread.
    pub threads: &'static [&'static [Stage]],
}

/// Everything on one thread: no hop ever wakes a thread. Best where several replicas share a machine, and at low load.
static ONE: Plan = Plan {
    name: "1",
    threads: &[&Stage::ALL],
};
/// What the clients cost on one thread, what the protocol costs on the other.
static TWO: Plan = Plan {
    name: "2",
    threads: &[
        &[Stage::Ingress, Stage::Verify, Stage::Execute, Stage::Snapshots],
        &[Stage::Peers, Stage::Order, Stage::Log],
    ],
};
/// Signatures and execution each have a thread.
static FOUR: Plan = Plan {
    name: "4",
    threads: &[
        &[Stage::Ingress],
        &[Stage::Peers, Stage::Order, Stage::Log],
        &[Stage::Verify],
        &[Stage::Execute, Stage::Snapshots],
    ],
};

/// Signatures have a thread, which on few cores is what costs most.
static THREE: Plan = Plan {
    name: "3",
    threads: &[
        &[Stage::Ingress, Stage::Execute, Stage::Snapshots],
        &[Stage::Peers, Stage::Order, Stage::Log],
        &[Stage::Verify],
    ],
};
/// Every stage apart but the two that share the state: what the network, the protocol and the disk cost is no longer added
/// up, at three hops more on an operation's way. For hosts with cores to spare.
static SIX: Plan = Plan {
    name: "6",
    threads: &[
        &[Stage::Ingress],
        &[Stage::Peers],
        &[Stage::Order],
        &[Stage::Log],
        &[Stage::Verify],
        &[Stage::Execute, Stage::Snapshots],
    ],
};

/// All plans.
pub static PLANS: [&Plan; 5] = [&ONE, &TWO, &THREE, &FOUR, &SIX];

/// A plan and where its threads run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorePlan {
    /// Which stages share a thread.
    pub plan: &'static Plan,
    /// The first thread is pinned to this core, the next to the next; `None`: wherever the kernel puts them.
    pub first_core: Option<usize>,
}

/// A core plan that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "core_plan = \"{0}\": plans are \"1\", \"2\", \"3\", \"4\" and \"6\"; \"2@6\" pins the threads of plan 2 to cores 6 and 7"
)]
pub struct UnknownPlan(pub String);

impl CorePlan {
    /// Reads `"2"` or, pinned, `"2@6"`.
    ///
    /// # Errors
    ///
    /// [`UnknownPlan`].
    pub fn parse(text: &str) -> Result<CorePlan, UnknownPlan> {
        let unknown = || UnknownPlan(text.to_owned());
        let (name, core) = match text.split_once('@') {
            Some((name, core)) => (name, Some(core.parse().map_err(|_| unknown())?)),
            None => (text, None),
        };
        let plan = PLANS.into_iter().find(|plan| plan.name == name).ok_or_else(unknown)?;
        Ok(CorePlan { plan, first_core: core })
    }
}

impl fmt::Display for CorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first_core {
            Some(core) => write!(f, "{}@{core}", self.plan.name),
            None => f.write_str(self.plan.name),
        }
    }
}

impl Plan {
    /// The thread that runs a stage.
    pub fn thread_of(&self, stage: Stage) -> usize {
        self.threads
            .iter()
            .position(|stages| stages.contains(&stage))
            .expect("a plan runs every stage")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_runs_every_stage_once() {
        for plan in PLANS {
            for stage in Stage::ALL {
                let times = plan
                    .threads
                    .iter()
                    .flat_map(|stages| stages.iter())
                    .filter(|s| **s == stage)
                    .count();
                assert_eq!(times, 1, "{} in plan {}", stage.name(), plan.name);
            }
            assert!(plan.threads.len() <= crate::signal::MAX_THREADS);
            assert!(plan.threads.iter().all(|stages| !stages.is_empty()));
            assert_eq!(plan.threads.len().to_string(), plan.name);
        }
    }

    #[test]
    fn only_the_way_in_from_clients_sheds() {
        for spec in LINKS {
            assert_eq!(spec.sheds, spec.from == Stage::Ingress, "{}", spec.name);
            assert!(spec.depth > 0 && spec.bytes > 0);
            assert!(spec.from != spec.to);
        }
        let mut names: Vec<_> = LINKS.iter().map(|spec| spec.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), LINKS.len());
    }

    #[test]
    fn plans_are_read_and_printed() {
        for text in ["1", "2", "3", "4", "6", "4@0", "2@6"] {
            assert_eq!(CorePlan::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "5", "2@", "2@x", "@1", "1 "] {
            assert_eq!(CorePlan::parse(text), Err(UnknownPlan(text.to_owned())));
        }
    }
}
