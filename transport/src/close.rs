//! Why a connection ends: a closed set of codes, the same on both sides, each of them counted.

use std::fmt;

/// Why a connection ended. The discriminant is the QUIC application error code, or, from `TimedOut` on, a cause that
/// is only ever observed locally and never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum CloseReason {
    /// The side that closed is going away in order.
    Shutdown = 0,
    /// Bytes that are no frame, or a frame that its receiver could not decode.
    Malformed = 1,
    /// A frame longer than the limit of its class.
    Oversized = 2,
    /// A well-formed frame that this sender must not send, or a stream that must not exist.
    Unexpected = 3,
    /// The other side belongs to another cluster, or speaks another version of it.
    WrongCluster = 4,
    /// The key is not among the pinned ones.
    UnknownKey = 5,
    /// A bounded queue or quota of the closing side is full.
    Overloaded = 6,
    /// The other side did not read what was queued for it.
    SlowReader = 7,
    /// A newer connection of the same pair replaced this one.
    Duplicate = 8,
    /// The hello did not arrive in time.
    HandshakeTimeout = 9,
    /// This key has as many connections as its quota allows.
    TooManyConnections = 10,
    /// A code that this version does not know.
    Unknown = 11,
    /// Nothing was heard for the idle timeout.
    TimedOut = 12,
    /// The other side lost its state (a stateless reset: it restarted).
    Reset = 13,
    /// QUIC or TLS failed; the log has the details.
    Transport = 14,
}

impl CloseReason {
    /// How many reasons there are: the length of the counter arrays.
    pub const COUNT: usize = 15;

    /// Every reason, in the order of its code.
    pub const ALL: [CloseReason; Self::COUNT] = [
        CloseReason::Shutdown,
        CloseReason::Malformed,
        CloseReason::Oversized,
        CloseReason::Unexpected,
        CloseReason::WrongCluster,
        CloseReason::UnknownKey,
        CloseReason::Overloaded,
        CloseReason::SlowReader,
        CloseReason::Duplicate,
        CloseReason::HandshakeTimeout,
        CloseReason::TooManyConnections,
        CloseReason::Unknown,
        CloseReason::TimedOut,
        CloseReason::Reset,
        CloseReason::Transport,
    ];

    /// The application error code on the wire.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// The reason of a received code. Codes that are never sent read as `Unknown`.
    pub fn from_code(code: u64) -> Self {
        match usize::try_from(code) {
            Ok(index) if index < CloseReason::Unknown as usize => Self::ALL[index],
            _ => CloseReason::Unknown,
        }
    }

    /// A short name for logs and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            CloseReason::Shutdown => "shutdown",
            CloseReason::Malformed => "malformed",
            CloseReason::Oversized => "oversized",
            CloseReason::Unexpected => "unexpected",
            CloseReason::WrongCluster => "wrong_cluster",
            CloseReason::UnknownKey => "unknown_key",
            CloseReason::Overloaded => "overloaded",
            CloseReason::SlowReader => "slow_reader",
            CloseReason::Duplicate => "duplicate",
            CloseReason::HandshakeTimeout => "handshake_timeout",
            CloseReason::TooManyConnections => "too_many_connections",
            CloseReason::Unknown => "unknown",
            CloseReason::TimedOut => "timed_out",
            CloseReason::Reset => "reset",
            CloseReason::Transport => "transport",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which side ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClosedBy {
    /// This side closed it.
    Local = 0,
    /// The other side closed it.
    Remote = 1,
    /// Neither: the path failed, or the other side lost its state.
    Path = 2,
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("closed: {reason} ({by:?})")]
pub struct Disconnect {
    /// Why.
    pub reason: CloseReason,
    /// By whom.
    pub by: ClosedBy,
}

impl Disconnect {
    /// What quinn reports, in our words.
    pub(crate) fn from_quic(error: &quinn::ConnectionError, local: Option<CloseReason>) -> Self {
        use quinn::ConnectionError as E;
        let (reason, by) = match error {
            E::ApplicationClosed(close) => (CloseReason::from_code(close.error_code.into_inner()), ClosedBy::Remote),
            E::LocallyClosed => (local.unwrap_or(CloseReason::Shutdown), ClosedBy::Local),
            E::TimedOut => (CloseReason::TimedOut, ClosedBy::Path),
            E::Reset => (CloseReason::Reset, ClosedBy::Path),
            E::ConnectionClosed(close) => (tls_reason(close.error_code), ClosedBy::Remote),
            E::TransportError(error) => (tls_reason(error.code), ClosedBy::Local),
            E::VersionMismatch | E::CidsExhausted => (CloseReason::Transport, ClosedBy::Path),
        };
        Self { reason, by }
    }
}

/// TLS alerts about the key arrive as QUIC crypto errors (0x100 + alert): 42 bad, 46 unknown, 48 unknown authority,
/// 49 access denied, 116 required.
fn tls_reason(code: quinn::TransportErrorCode) -> CloseReason {
    match u64::from(code) {
        0x12a | 0x12e | 0x130 | 0x131 | 0x174 => CloseReason::UnknownKey,
        _ => CloseReason::Transport,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_reasons_agree() {
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            let sent = reason < CloseReason::Unknown;
            let read = CloseReason::from_code(u64::from(reason.code()));
            assert_eq!(read, if sent { reason } else { CloseReason::Unknown });
        }
        assert_eq!(CloseReason::from_code(u64::MAX), CloseReason::Unknown);
    }
}
