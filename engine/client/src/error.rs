//! What can go wrong, as far as a client can know it.

use trireme_core::reply::Refusal;
use trireme_core::types::MemberId;

/// Why a request has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The replicas asked are full and did not take the request. It was not executed, unless a replica lied.
    #[error("overloaded: no replica took the request")]
    Overloaded,
    /// The request was sent and the time given to it has passed. It may have been executed, or, until `done_below`
    /// passes its number, may still be.
    #[error("timed out, outcome unknown")]
    TimedOut,
    /// No replica could be reached; the request was never sent.
    #[error("cluster unreachable, the request was never sent")]
    Unreachable,
    /// The cluster does not want the request: f+1 replicas gave a final reason, or all gave a passing one.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// A request or bundle above a limit; nothing was sent.
    #[error("{what} too large: {size}, allowed {limit}")]
    TooLarge {
        /// Which limit.
        what: Limit,
        /// What was asked for.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// This identity has as many requests outstanding as its window allows, or all identities together hold as many
    /// bytes as the options allow; nothing was sent. Take a completion, then try again.
    #[error("{0} full")]
    Busy(Busy),
    /// The cluster has passed this number: it was executed earlier and its result is no longer held, or another
    /// process uses the same identity.
    #[error("result no longer held by the cluster")]
    ResultGone,
    /// The cluster executed another request under this number: another process uses the same identity.
    #[error("another request was executed under this number")]
    NumberTaken,
    /// The client library was shut down while the request was outstanding; outcome unknown.
    #[error("the client was closed, outcome unknown")]
    Closed,
}

impl SubmitError {
    /// Whether the request may have been executed all the same.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::TimedOut | Self::Closed | Self::ResultGone)
    }

    /// A short name for counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Refused(_) => "refused",
            Self::TooLarge { .. } => "too_large",
            Self::Busy(_) => "busy",
            Self::ResultGone => "result_gone",
            Self::NumberTaken => "number_taken",
            Self::Closed => "closed",
        }
    }
}

/// A limit of what one submission may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of one request.
    RequestBytes,
    /// Bytes of a bundle, its head and signature included.
    BundleBytes,
    /// Requests in a bundle.
    BundleRequests,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::RequestBytes => "request (bytes)",
            Self::BundleBytes => "bundle (bytes)",
            Self::BundleRequests => "bundle (requests)",
        })
    }
}

/// What is full on the client's own side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// The window of the identity's session.
    Window,
    /// The bytes held for retries.
    Bytes,
}

impl std::fmt::Display for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Window => "session window",
            Self::Bytes => "retry buffer",
        })
    }
}

/// Why a client could not connect.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The client's own side is unusable: its socket, its TLS key, its options.
    #[error("client setup: {0}")]
    Setup(String),
    /// Fewer than f+1 replicas answered within the connect timeout.
    #[error("cluster unreachable: {connected} of at least {needed} replicas connected; {}", reasons(.failures))]
    Unreachable {
        /// Connected replicas.
        connected: usize,
        /// f+1.
        needed: usize,
        /// What each other replica's connection failed with, last time.
        failures: Vec<(MemberId, String)>,
    },
    /// f+1 replicas refused this client: unknown key, wrong cluster, too many connections.
    #[error("refused by the cluster: {reason}")]
    Refused {
        /// What most said.
        reason: trireme_transport::CloseReason,
    },
}

fn reasons(failures: &[(MemberId, String)]) -> String {
    let texts: Vec<String> = failures
        .iter()
        .map(|(member, text)| format!("replica {member}: {text}"))
        .collect();
    texts.join("; ")
}
