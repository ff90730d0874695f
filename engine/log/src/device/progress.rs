//! What the results of a write and its flush add up to. Pure, shared by the devices.

use std::io;

use crate::error::LogError;
use crate::medium::Work;
use crate::segment_file::SegmentFile;

/// Interrupted writes are repeated so many times.
const MAX_REPEATS: u32 = 16;
/// What is left after a short write must begin at a multiple of this, or direct IO refuses it.
const SECTOR_BYTES: usize = 512;

/// A job between its first submission and its end.
pub(crate) struct Progress {
    total: usize,
    written: usize,
    wants_sync: bool,
    synced: bool,
    repeats: u32,
    fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Write(i32),
    NoProgress,
    Sync(i32),
}

/// What to do once every submitted operation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Write from this byte of the source on (and flush again, if the job wants a separate flush).
    WriteFrom(usize),
    Finished,
    Failed,
}

impl Progress {
    /// `separate_sync`: the flush is an operation of its own and not part of the write.
    pub(crate) fn new(work: &Work, separate_sync: bool) -> Progress {
        let (total, wants_sync) = match work {
            Work::Write(source) => (source.bytes, false),
            Work::WriteSync(source) => (source.bytes, separate_sync),
            Work::Sync => (0, true),
        };
        Progress {
            total,
            written: 0,
            wants_sync,
            synced: false,
            repeats: 0,
            fault: None,
        }
    }

    /// The result of a write: bytes, or a negative error number.
    pub(crate) fn on_write(&mut self, result: i32) {
        match usize::try_from(result) {
            Ok(0) => self.fault = Some(Fault::NoProgress),
            Ok(bytes) => {
                self.written += bytes;
                assert!(self.written <= self.total, "nothing writes more than it was given");
                if self.written < self.total && !self.written.is_multiple_of(SECTOR_BYTES) {
                    self.fault = Some(Fault::NoProgress);
                }
            }
            Err(_) if is_interruption(-result) && self.repeats < MAX_REPEATS => self.repeats += 1,
            Err(_) => self.fault = Some(Fault::Write(-result)),
        }
    }

    /// The result of a flush. Cancelled means that the write before it was short or failed: that write's result says
    /// what follows. Any other failure is final; a flush is never repeated after one.
    pub(crate) fn on_sync(&mut self, result: i32) {
        if result >= 0 {
            self.synced = self.written == self.total;
        } else if result != -libc::ECANCELED || self.written == self.total {
            self.fault.get_or_insert(Fault::Sync(-result));
        }
    }

    /// After all submitted operations have ended.
    pub(crate) fn next(&self) -> Next {
        if self.fault.is_some() {
            Next::Failed
        } else if self.written < self.total || (self.wants_sync && !self.synced) {
            Next::WriteFrom(self.written)
        } else {
            Next::Finished
        }
    }

    pub(crate) fn error(&self, file: &SegmentFile, work: &Work) -> LogError {
        let offset = match work {
            Work::Write(source) | Work::WriteSync(source) => source.offset + self.written as u64,
            Work::Sync => 0,
        };
        let fault = self.fault.expect("asked only after a failure");
        let (operation, error) = match fault {
            Fault::Write(code) => ("write", io::Error::from_raw_os_error(code)),
            Fault::NoProgress => ("write", io::Error::from(io::ErrorKind::WriteZero)),
            Fault::Sync(code) => ("fdatasync", io::Error::from_raw_os_error(code)),
        };
        LogError::io(operation, &file.path, offset, &error)
    }
}

fn is_interruption(code: i32) -> bool {
    code == libc::EINTR || code == libc::EAGAIN
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::buffer::AlignedBuffer;
    use crate::medium::Source;

    fn linked(bytes: usize) -> Progress {
        let work = Work::WriteSync(Source {
            buffer: Arc::new(AlignedBuffer::new(bytes)),
            bytes,
            offset: 4096,
        });
        Progress::new(&work, true)
    }

    #[test]
    fn a_whole_write_and_its_flush_finish() {
        let mut progress = linked(8192);
        progress.on_write(8192);
        progress.on_sync(0);
        assert_eq!(progress.next(), Next::Finished);
    }

    #[test]
    fn a_short_write_is_continued_and_its_cancelled_flush_is_no_failure() {
        let mut progress = linked(8192);
        progress.on_write(4096);
        progress.on_sync(-libc::ECANCELED);
        assert_eq!(progress.next(), Next::WriteFrom(4096));
        progress.on_write(4096);
        progress.on_sync(0);
        assert_eq!(progress.next(), Next::Finished);
    }

    #[test]
    fn a_flush_that_ran_after_a_short_write_does_not_count() {
        let mut progress = linked(8192);
        progress.on_write(4096);
        progress.on_sync(0);
        assert_eq!(progress.next(), Next::WriteFrom(4096));
        progress.on_write(4096);
        assert_eq!(progress.next(), Next::WriteFrom(8192), "the flush is still missing");
    }

    #[test]
    fn a_failed_flush_is_final() {
        for code in [libc::EIO, libc::ENOSPC, libc::EINTR] {
            let mut progress = linked(4096);
            progress.on_write(4096);
            progress.on_sync(-code);
            assert_eq!(progress.next(), Next::Failed);
        }
        let mut progress = linked(4096);
        progress.on_write(4096);
        progress.on_sync(-libc::ECANCELED);
        assert_eq!(
            progress.next(),
            Next::Failed,
            "cancelled after a whole write: never flushed"
        );
    }

    #[test]
    fn writes_that_make_no_progress_fail() {
        for result in [0, 100, -libc::EIO] {
            let mut progress = linked(4096);
            progress.on_write(result);
            progress.on_sync(-libc::ECANCELED);
            assert_eq!(progress.next(), Next::Failed, "result {result}");
        }
        let mut progress = linked(4096);
        for _ in 0..MAX_REPEATS {
            progress.on_write(-libc::EINTR);
            assert_eq!(progress.next(), Next::WriteFrom(0));
        }
        progress.on_write(-libc::EINTR);
        assert_eq!(progress.next(), Next::Failed);
    }
}
