//! What the log needs of storage. Implemented by a directory with a device ([`crate::disk`]) and by a
//! simulated disk ([`crate::simulation`]).

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

use crate::buffer::AlignedBuffer;
use crate::error::LogError;
use crate::format::Start;

/// A segment file's number and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
}

/// What a flush does.
#[derive(Clone)]
pub(crate) enum Work {
    /// Write, and be done when it is written.
    Write(Source),
    /// Write, and be done when it is on stable storage.
    WriteSync(Source),
    /// Bring what was written to the segment earlier to stable storage.
    Sync,
}

/// The bytes of a write: the first `bytes` of `buffer`, a multiple of a page.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) buffer: Arc<AlignedBuffer>,
    pub(crate) bytes: usize,
    /// Offset in the segment file.
    pub(crate) offset: u64,
}

/// One piece of work for a device.
#[derive(Clone)]
pub(crate) struct Flush {
    /// Comes back in [`Done`].
    pub(crate) ticket: u64,
    pub(crate) segment: u64,
    pub(crate) work: Work,
}

/// A flush that ended. It holds no buffer any more.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) ticket: u64,
    pub(crate) result: Result<(), LogError>,
    /// From its submission to its end.
    pub(crate) elapsed_us: u64,
}

/// How preparing a segment ended, if not well.
#[derive(Debug)]
pub(crate) enum PrepareFault {
    /// The disk is full: worth trying again later.
    NoSpace,
    /// Anything else: final.
    Failed(LogError),
}

/// Segments that are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
}

/// Reading, for recovery and for reading records back.
pub(crate) trait ReadSegments {
    /// Fills `into` from `offset` of the segment. The range must lie within the segment.
    fn read_at(&mut self, segment: u64, offset: u64, into: &mut [u8]) -> Result<(), LogError>;
    /// The file's name, for messages.
    fn path(&self, segment: u64) -> PathBuf;
}

/// Storage for one log. One thread owns it.
pub(crate) trait Medium: ReadSegments + Send {
    /// Writes whole pages that stand there already; `sync_all` makes them durable.
    fn rewrite(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> Result<(), LogError>;
    /// Brings all segments to stable storage: what recovery read may have come from a cache.
    fn sync_all(&mut self) -> Result<(), LogError>;
    /// Shows the pool of buffers before the first flush; the medium may register and number them.
    fn adopt(&mut self, pool: &mut [AlignedBuffer]);
    /// Starts to prepare a segment in the background; its header page is given.
    fn prepare(&mut self, segment: Segment, header: Vec<u8>);
    /// Lets the preparation write so many bytes more: it never runs faster than the log fills.
    fn grant(&mut self, bytes: u64);
    /// The preparation's end, once.
    fn prepared(&mut self) -> Option<Result<Segment, PrepareFault>>;
    /// Lets the log begin at a later segment, in the background: first that is made durable, then the segments before it
    /// are removed. One at a time.
    fn release(&mut self, start: Start) -> Result<(), LogError>;
    /// The end of [`release`](Medium::release), once: what was removed.
    fn released(&mut self) -> Option<Result<Removed, LogError>>;
    /// Size of a segment's file; 0 if there is none.
    fn segment_bytes(&self, segment: u64) -> u64;
    /// Starts a flush. The caller keeps within the configured number in flight (and one `Sync`).
    fn start(&mut self, flush: Flush) -> Result<(), LogError>;
    /// Collects what has ended; with `wait`, blocks until something has, if anything is in flight.
    fn reap(&mut self, wait: bool, done: &mut Vec<Done>) -> Result<(), LogError>;
    /// Readable when `reap`, `prepared` or `released` may have something.
    fn event_fd(&self) -> BorrowedFd<'_>;
    /// What to say at start.
    fn notes(&self) -> Vec<String>;
    /// Name of the device for reports.
    fn device(&self) -> &'static str;
    /// Whether the pool is registered with the ring.
    fn registered(&self) -> bool;
    /// Whether writes bypass the page cache.
    fn direct(&self) -> bool;
    /// Microseconds on a clock that never goes back.
    fn now_us(&self) -> u64;
    /// A number that no earlier opening drew.
    fn draw(&mut self) -> u64;
}
