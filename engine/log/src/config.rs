//! What a log is opened with.

use std::path::PathBuf;

use crate::error::LogError;
use crate::format::{GROUP_HEADER_BYTES, KEY_BYTES, PAGE_BYTES, RECORD_HEADER_BYTES};

/// When a record is reported by [`Log::poll`](crate::Log::poll) (rule R-DURABLE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Reported when its flush to stable storage has completed. The only mode that survives a power loss.
    Sync,
    /// Reported when it has been written; the flush follows in the background.
    Async,
    /// Reported at once; written to the page cache soon after and never flushed. Survives a restart of the process
    /// only as far as the write had come.
    None,
}

impl Durability {
    /// The name used in configuration files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Durability::Sync => "sync",
            Durability::Async => "async",
            Durability::None => "none",
        }
    }
}

/// Which device writes the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// `io_uring` where the kernel permits it, otherwise the plain device with a note.
    Auto,
    /// `io_uring` or an error.
    IoUring,
    /// A thread that calls `pwrite` and `fdatasync`.
    Plain,
}

/// How a group is made durable in [`Durability::Sync`]. `Linked` is the default: 83 to 143 us (p50, 4 KiB) whatever the
/// cores were doing, where `Dsync` on `io_uring` waited 3 to 15 ms for a kernel worker (LOG_FORMAT.md has the table).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMethod {
    /// A write with a linked `fdatasync` behind it.
    Linked,
    /// One write with `RWF_DSYNC`.
    Dsync,
}

/// Configuration of one log directory. Sizes are in bytes.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The directory; created if its parent exists.
    pub dir: PathBuf,
    /// Identity of cluster and member. It stands in the log's header; a directory with another one is refused.
    pub fingerprint: [u8; 32],
    /// Size of a new segment file, a multiple of 4096.
    pub segment_bytes: u64,
    /// The sum of all segment files never exceeds this; beyond it appends are refused with [`LogError::Full`].
    pub max_log_bytes: u64,
    /// The longest payload of one record.
    pub max_record_bytes: u32,
    /// When a record is reported.
    pub durability: Durability,
    /// Which device writes.
    pub device: DeviceChoice,
    /// How [`Durability::Sync`] is reached.
    pub flush: FlushMethod,
    /// Capacity of one group buffer, a multiple of 4096. A longer record gets a buffer of its own.
    pub buffer_bytes: usize,
    /// Flushes in flight at once. There are two buffers more than this: one gathers, one waits.
    pub in_flight: u32,
    /// Bytes that only [`Log::append_vital`](crate::Log::append_vital) may use once the log cannot grow.
    pub reserve_bytes: u64,
    /// The most keys the index holds (about 80 bytes of memory each); beyond it keyed appends are refused.
    pub max_keys: usize,
}

impl LogConfig {
    /// The defaults for a directory: 64 MiB segments, 4 GiB in all, 1 MiB groups, durable.
    pub fn new(dir: impl Into<PathBuf>, fingerprint: [u8; 32]) -> LogConfig {
        LogConfig {
            dir: dir.into(),
            fingerprint,
            segment_bytes: 64 << 20,
            max_log_bytes: 4 << 30,
            max_record_bytes: 16 << 20,
            durability: Durability::Sync,
            device: DeviceChoice::Auto,
            flush: FlushMethod::Linked,
            buffer_bytes: 1 << 20,
            in_flight: 2,
            reserve_bytes: 4 << 20,
            max_keys: 1 << 20,
        }
    }

    /// Checks the relations between the limits.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        let page = PAGE_BYTES as u64;
        let overhead = (GROUP_HEADER_BYTES + RECORD_HEADER_BYTES + KEY_BYTES) as u64;
        let longest = (overhead + u64::from(self.max_record_bytes)).next_multiple_of(page);
        let faults = [
            (
                !self.segment_bytes.is_multiple_of(page),
                "segment_bytes must be a multiple of 4096",
            ),
            (self.segment_bytes > 1 << 30, "segment_bytes must not exceed 1 GiB"),
            (
                self.segment_bytes < page + longest,
                "segment_bytes must hold a header and one record of max_record_bytes",
            ),
            (
                self.max_log_bytes < self.segment_bytes,
                "max_log_bytes must hold at least one segment",
            ),
            (
                !self.buffer_bytes.is_multiple_of(PAGE_BYTES),
                "buffer_bytes must be a multiple of 4096",
            ),
            (self.buffer_bytes < 2 * PAGE_BYTES, "buffer_bytes must be at least 8192"),
            (self.buffer_bytes > 64 << 20, "buffer_bytes must not exceed 64 MiB"),
            (self.in_flight == 0 || self.in_flight > 64, "in_flight must be 1 to 64"),
            (
                self.max_record_bytes > 256 << 20,
                "max_record_bytes must not exceed 256 MiB",
            ),
            (
                self.reserve_bytes > self.max_log_bytes / 2,
                "reserve_bytes must not exceed half of max_log_bytes",
            ),
        ];
        match faults.iter().find(|(bad, _)| *bad) {
            Some((_, why)) => Err(LogError::Config { why }),
            None => Ok(()),
        }
    }
}
