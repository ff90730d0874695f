//! Why a replica did not start, or ended.

use std::net::SocketAddr;
use std::path::PathBuf;

use trireme_core::MemberId;
use trireme_log::LogError;
use trireme_transport::BindError;

use crate::topology::UnknownPlan;

/// Why a replica did not start, or ended. Each message says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// A setting that is not possible.
    #[error("replica configuration: {0}")]
    Config(String),
    /// The core plan does not exist.
    #[error(transparent)]
    Plan(#[from] UnknownPlan),
    /// The configured index is not a member's.
    #[error("member = {member} is not in the cluster file, which lists members 0 to {}", members.saturating_sub(1))]
    NoSuchMember {
        /// As configured.
        member: MemberId,
        /// How many there are.
        members: usize,
    },
    /// The key file is another member's, or of another cluster.
    #[error(
        "the {which} key of the key file is {found}, but cluster.toml lists {expected} for member {member}: \
         use the key file that was made for this member"
    )]
    WrongKey {
        /// "vote" or "tls".
        which: &'static str,
        /// As configured.
        member: MemberId,
        /// In the cluster file.
        expected: String,
        /// Of the key file.
        found: String,
    },
    /// A key of the cluster file cannot be used.
    #[error("cluster.toml: key of member {member}: {why}")]
    BadMemberKey {
        /// Whose.
        member: MemberId,
        /// What is wrong with it.
        why: String,
    },
    /// Another process has the port.
    #[error("{what} address {addr}: the port is in use by another process; stop it, or choose another address")]
    PortInUse {
        /// "peer" or "client".
        what: &'static str,
        /// The address.
        addr: SocketAddr,
    },
    /// An endpoint could not be opened for another reason.
    #[error("{what} endpoint: {source}")]
    Bind {
        /// "peer" or "client".
        what: &'static str,
        /// What the transport said.
        source: BindError,
    },
    /// The log could not be opened, read or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log is damaged, and records of votes are missing or may be.
    #[error(
        "log in {}: {what}; this replica may have forgotten what it signed, so it must not vote again. Nothing was changed on \
         disk", dir.display()
    )]
    VotesLost {
        /// The log's directory.
        dir: PathBuf,
        /// Where and how.
        what: String,
    },
    /// It would have to start in quarantine, and in a cluster that stands no fault nobody can let it out.
    #[error(
        "{} of replica {member}: {cause}. In a cluster with f = 0 there is no way out of quarantine, because no quorum of others \
         can say what this replica forgot, so it does not start. Put the directory back as it was \
         when the replica last ran, from its disk or a copy of that made since. If there is none: make a new cluster with \
         `trireme init` (with f of 1 or more it outlives the loss of a log) and write the data again; `trireme backup` \
         keeps the newest checkpoint of this one, certified", dir.display()
    )]
    NoWayOut {
        /// Whose.
        member: MemberId,
        /// The data directory.
        dir: PathBuf,
        /// What is lost.
        cause: String,
    },
    /// A record of the log has a good checksum but no meaning for this build.
    #[error("log in {}: record {sequence} (kind {kind}) cannot be read: {why}; was it written by another version?", dir.display())]
    Record {
        /// The log's directory.
        dir: PathBuf,
        /// Number of the record.
        sequence: u64,
        /// Its kind.
        kind: u8,
        /// What is wrong with it.
        why: String,
    },
    /// A single record does not fit the log.
    #[error("a record does not fit the log: {0}; raise log.max_record_bytes")]
    RecordTooLarge(LogError),
    /// The operating system refused something the run loop needs.
    #[error("{operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The directory of the snapshots cannot be used.
    #[error("snapshots: {0}")]
    Snapshots(#[from] crate::snapshots::SnapshotError),
    /// A thread of the replica panicked.
    #[error("a thread of the replica panicked: {0}")]
    Panicked(String),
}

impl ReplicaError {
    /// Whether what the log says of this replica's promises is damaged or unknown: a start in quarantine stands that.
    pub(crate) fn loses_votes(&self) -> bool {
        matches!(self, Self::Log(LogError::Damaged { .. }) | Self::VotesLost { .. })
    }

    pub(crate) fn bind(what: &'static str, error: BindError) -> Self {
        match error {
            BindError::AddressInUse { addr } => Self::PortInUse { what, addr },
            source => Self::Bind { what, source },
        }
    }

    pub(crate) fn system(operation: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { operation, source }
    }
}
