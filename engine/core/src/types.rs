//! The words of the protocol, the time, and the constants that all members share.

use borsh::{BorshDeserialize, BorshSerialize};
use trireme_crypto::{Digest, Domain, PublicKey, Signature};

/// Index of a replica in its epoch's membership, `0..n`.
pub type MemberId = u16;
/// Number of a membership.
pub type Epoch = u64;
/// Number of a leader's reign within an epoch.
pub type View = u64;
/// Height of a block in the ordered chain; genesis is slot 0.
pub type Slot = u64;
/// Height of a batch in its lane; a lane starts above height 0.
pub type Height = u64;

/// A monotonic instant in microseconds since an origin of the caller's choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

impl Tick {
    /// This instant plus `us` microseconds.
    #[must_use]
    pub fn plus(self, us: u64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// Microseconds since `earlier`, 0 if that lies ahead.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The time of one step: a monotonic tick for timers, and the wall clock for block timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic.
    pub tick: Tick,
    /// Microseconds since the Unix epoch by this machine's clock; may jump.
    pub wall_us: u64,
}

/// Constants that every member of a cluster shares (part of the genesis fingerprint).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Params {
    /// Members.
    pub n: u16,
    /// Byzantine members stood.
    pub f: u16,
    /// Slots in flight above the committed one.
    pub window: u64,
    /// Blocks of a view before its first Qc.
    pub w0: u64,
    /// Heights of one lane above the committed cut.
    pub lane_window_heights: u64,
    /// Bytes of one lane above the committed cut.
    pub lane_window_bytes: u64,
    /// A batch is cut at this many body bytes at the latest.
    pub max_batch_bytes: u32,
    /// How far ahead of the local clock a block's timestamp may lie.
    pub max_drift_us: u64,
    /// A StateVote is made at each multiple of this many slots.
    pub state_interval: u64,
    /// And when execution has been idle for this long.
    pub state_idle_us: u64,
    /// A slot is a checkpoint when it lies this many slots above the last one (section 8),
    pub checkpoint_slots: u64,
    /// or when this many body bytes were ordered since.
    pub checkpoint_bytes: u64,
    /// Slots above the stable checkpoint that may be accepted (R-ACCEPT 5).
    pub log_window: u64,
    /// R-TIMER's floor of the view timer.
    pub timer_floor_us: u64,
    /// R-TIMER's c.
    pub timer_factor: u64,
    /// R-TIMER's k.
    pub timer_decay_commits: u64,
    /// How long a lock for an already committed newest block may wait for a vote to ride on.
    pub idle_lock_us: u64,
    /// Requests above a client's low mark whose replies are held (R-EXECUTE's W).
    pub session_window: u32,
    /// Clients of which a session is held.
    pub max_sessions: u32,
}

impl Params {
    /// Starting values of PROTOCOL.md for `n` members.
    pub fn new(n: u16, f: u16) -> Self {
        Self {
            n,
            f,
            window: 64,
            w0: 2,
            lane_window_heights: 256,
            lane_window_bytes: 64 << 20,
            max_batch_bytes: 512 << 10,
            max_drift_us: 500_000,
            state_interval: 64,
            state_idle_us: 20_000,
            checkpoint_slots: 16_384,
            checkpoint_bytes: 256 << 20,
            log_window: 4 * 16_384,
            timer_floor_us: 50_000,
            timer_factor: 8,
            timer_decay_commits: 64,
            idle_lock_us: 20_000,
            session_window: 4_096,
            max_sessions: 65_536,
        }
    }

    /// The most entries in the list of R-REPORT.
    pub fn list_max(&self) -> usize {
        usize::try_from(2 * self.window + 64 * self.w0).expect("a window fits in memory")
    }
}

/// What members sign, told apart for the count of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// Headers of batches.
    Header,
    /// Acks of batches.
    Ack,
    /// Blocks.
    Block,
    /// Votes on blocks.
    Vote,
    /// Timeouts.
    Timeout,
    /// Votes on states.
    State,
}

impl Signed {
    /// All of them, in the order of their numbers.
    pub const ALL: [Signed; 6] = [
        Signed::Header,
        Signed::Ack,
        Signed::Block,
        Signed::Vote,
        Signed::Timeout,
        Signed::State,
    ];

    /// For status and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Signed::Header => "header",
            Signed::Ack => "ack",
            Signed::Block => "block",
            Signed::Vote => "vote",
            Signed::Timeout => "timeout",
            Signed::State => "state",
        }
    }
}

/// What a replica signs and checks member signatures with. The real one holds Ed25519 keys; the simulator has a fast
/// keyed fake that nobody else can forge.
pub trait Keys: Send + Sync {
    /// This replica's index.
    fn me(&self) -> MemberId;
    /// Cluster and epoch, part of every signed statement (R-STATEMENT).
    fn domain(&self) -> Domain;
    /// Signs as this replica.
    fn sign(&self, statement: &Digest) -> Signature;
    /// Positions of the entries whose signature does not verify under the member's key; an unknown member's never does.
    fn invalid(&self, entries: &[(MemberId, Digest, Signature)]) -> alloc::vec::Vec<usize>;
    /// A signature of this kind is made. For statistics only.
    fn count_made(&self, _what: Signed) {}
    /// So many signatures of this kind are checked. For statistics only.
    fn count_checked(&self, _what: Signed, _count: usize) {}
}

/// A client's identity is its public key.
pub type ClientId = PublicKey;
