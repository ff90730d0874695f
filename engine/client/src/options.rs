//! Choices and limits of a client.

use trireme_core::types::MemberId;

/// Which replica a client sends its requests to, and asks for full replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// The one with the shortest round trip.
    #[default]
    Nearest,
    /// Identity i to replica i mod n: all lanes are filled when many identities share a process.
    Spread,
    /// This one.
    To(MemberId),
}

/// Choices and limits of a client. All times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where requests go first. A replica that does not answer is left for the next one for a while.
    pub route: Route,
    /// Number of each identity's first request. None: microseconds of the wall clock, so that a process that is
    /// started again under the same identity never meets the numbers of its former self.
    pub first_number: Option<u64>,
    /// Requests of one identity that may be outstanding; at most the cluster's `session_window`.
    pub window: u32,
    /// Bytes of bundles that are held for retries, all identities together.
    pub max_held_bytes: usize,
    /// A request without a result after this time is given up.
    pub give_up_us: u64,
    /// Bounds of the retry timeout, which follows the measured latency and doubles with each try.
    pub retry_floor_us: u64,
    /// See `retry_floor_us`.
    pub retry_ceiling_us: u64,
    /// When every replica is full: true gives [`SubmitError::Overloaded`](crate::SubmitError::Overloaded) at once,
    /// false tries again with the retry timeout until the request is given up.
    pub fail_when_overloaded: bool,
    /// How long connecting may take.
    pub connect_timeout_us: u64,
    /// Once f+1 replicas are connected, how long to wait for the others.
    pub connect_grace_us: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            route: Route::Nearest,
            first_number: None,
            window: 4_096,
            max_held_bytes: 256 << 20,
            give_up_us: 10_000_000,
            retry_floor_us: 300_000,
            retry_ceiling_us: 4_000_000,
            fail_when_overloaded: true,
            connect_timeout_us: 10_000_000,
            connect_grace_us: 1_000_000,
        }
    }
}
