//! Failures of the log, each with the operation, the file and the offset it concerns.

use std::io;
use std::path::{Path, PathBuf};

/// Why an operation of the log failed.
///
/// [`Busy`](LogError::Busy), [`Full`](LogError::Full) and [`TooLarge`](LogError::TooLarge) refuse one append and leave
/// the log usable; everything else is final: after a failed write or flush the process must end (R-DURABLE), because
/// what the disk holds is then unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The configuration contradicts itself.
    #[error("log configuration: {why}")]
    Config {
        /// Which relation is violated.
        why: &'static str,
    },
    /// Every buffer is being written, or the next segment is still being prepared. Poll, then append again.
    #[error("log is busy: every buffer is in flight or the next segment is being prepared; poll and append again")]
    Busy,
    /// No room: the log's limit, the disk, or the key index is exhausted.
    #[error("log is full ({reason}): {needed} bytes needed, {free} free; {remedy}")]
    Full {
        /// What is exhausted.
        reason: FullReason,
        /// Bytes the append needs (headers included).
        needed: u64,
        /// Bytes still free to this kind of append.
        free: u64,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// The payload exceeds `max_record_bytes`.
    #[error("record of {bytes} bytes exceeds max_record_bytes = {limit}")]
    TooLarge {
        /// Length of the payload.
        bytes: u64,
        /// The limit.
        limit: u32,
    },
    /// Another process has this directory open.
    #[error("log directory {} is in use by another process ({holder}); two processes must never share one", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// What the lock file says about its holder.
        holder: String,
    },
    /// The directory belongs to another cluster or member.
    #[error("{}: fingerprint is {found}, expected {expected}: this log belongs to another cluster or member; give each replica its own directory", file.display())]
    WrongFingerprint {
        /// The file that holds the fingerprint.
        file: PathBuf,
        /// Ours, in hex.
        expected: String,
        /// The file's, in hex.
        found: String,
    },
    /// The format version is not one this build reads.
    #[error("{}: log format version {found}, this build reads {expected}; use the build that wrote it", file.display())]
    WrongVersion {
        /// The file.
        file: PathBuf,
        /// Version in the file.
        found: u32,
        /// Version of this build.
        expected: u32,
    },
    /// `sync` was asked for on a filesystem that lives in memory.
    #[error("{}: {filesystem} lives in memory, durability = \"sync\" is impossible there; use a directory on a disk, or say durability = \"none\"", dir.display())]
    NotDurable {
        /// The directory.
        dir: PathBuf,
        /// Name of the filesystem.
        filesystem: &'static str,
    },
    /// Something that was once durable is no longer readable. Nothing was changed on disk.
    #[error("{} is damaged at offset {offset}: {what}; {remedy}", file.display())]
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// What was found.
        what: String,
        /// What the operator can do.
        remedy: &'static str,
    },
    /// The operating system refused an operation.
    #[error("{operation} {} at offset {offset}: {}", path.display(), describe(*code, *kind))]
    Io {
        /// Which operation.
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// At which offset (0 where it has none).
        offset: u64,
        /// The operating system's code, if it gave one.
        code: Option<i32>,
        /// Its kind.
        kind: io::ErrorKind,
    },
    /// The kernel does not permit `io_uring` and it was asked for by name.
    #[error("io_uring is not available ({why}); set device = \"auto\" or \"plain\"")]
    NoIoUring {
        /// What the kernel said.
        why: String,
    },
}

/// What ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullReason {
    /// `max_log_bytes`.
    Limit,
    /// Room on the disk.
    Disk,
    /// `max_keys`.
    Keys,
}

impl std::fmt::Display for FullReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            FullReason::Limit => "max_log_bytes reached",
            FullReason::Disk => "no space left on the disk",
            FullReason::Keys => "max_keys reached",
        })
    }
}

impl FullReason {
    /// What the operator can do about it.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            FullReason::Limit => "raise max_log_bytes, or let a checkpoint release segments",
            FullReason::Disk => "free space on the disk of the log directory; the log goes on by itself",
            FullReason::Keys => "raise max_keys",
        }
    }
}

impl LogError {
    /// Whether only one append was refused and the log is still usable.
    pub fn is_refusal(&self) -> bool {
        matches!(self, LogError::Busy | LogError::Full { .. } | LogError::TooLarge { .. })
    }

    pub(crate) fn io(operation: &'static str, path: &Path, offset: u64, error: &io::Error) -> LogError {
        LogError::Io {
            operation,
            path: path.to_path_buf(),
            offset,
            code: error.raw_os_error(),
            kind: error.kind(),
        }
    }
}

fn describe(code: Option<i32>, kind: io::ErrorKind) -> String {
    match code {
        Some(code) => io::Error::from_raw_os_error(code).to_string(),
        None => kind.to_string(),
    }
}
