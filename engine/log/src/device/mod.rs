//! Devices: what brings bytes to an open segment file.

mod plain;
mod progress;
mod ring;

use std::sync::Arc;

use crate::buffer::AlignedBuffer;
use crate::config::{DeviceChoice, LogConfig};
use crate::error::LogError;
use crate::event::{Event, monotonic_us};
use crate::medium::{Done, Work};
use crate::segment_file::SegmentFile;

/// A flush with its file.
pub(crate) struct Job {
    pub(crate) ticket: u64,
    pub(crate) file: Arc<SegmentFile>,
    pub(crate) work: Work,
    pub(crate) started_us: u64,
}

impl Job {
    /// The job's end. It lets go of the buffer before anybody hears of it.
    fn end(self, result: Result<(), LogError>) -> Done {
        Done {
            ticket: self.ticket,
            result,
            elapsed_us: monotonic_us().saturating_sub(self.started_us),
        }
    }
}

/// Something that carries out jobs in the background and signals the event when one may have ended.
pub(crate) trait Device: Send {
    /// Starts a job. There are never more than were announced at creation.
    fn start(&mut self, job: Job) -> Result<(), LogError>;
    /// Collects ends; with `wait` blocks for at least one.
    fn reap(&mut self, wait: bool, done: &mut Vec<Done>) -> Result<(), LogError>;
    /// Registers the buffers and numbers them; says why if it cannot.
    fn register(&mut self, pool: &mut [AlignedBuffer]) -> Result<(), String>;
    fn name(&self) -> &'static str;
}

/// The device of choice, with a note if it is not the one that was hoped for.
pub(crate) fn open(config: &LogConfig, event: &Arc<Event>) -> Result<(Box<dyn Device>, Option<String>), LogError> {
    // One job more than flushes in flight: the background flush of mode `Async`.
    let jobs = config.in_flight as usize + 1;
    let mut note = None;
    if config.device != DeviceChoice::Plain {
        match ring::RingDevice::new(jobs, config.flush, event) {
            Ok(ring) => return Ok((Box::new(ring), None)),
            Err(error) if config.device == DeviceChoice::IoUring => {
                return Err(LogError::NoIoUring { why: error.to_string() });
            }
            Err(error) => {
                note = Some(format!(
                    "io_uring is not available ({error}): the log is written by a thread with pwrite and fdatasync"
                ));
            }
        }
    }
    let plain = plain::PlainDevice::new(jobs, config.flush, Arc::clone(event))?;
    Ok((Box::new(plain), note))
}
