//! A thread that calls `pwrite` and `fdatasync`, for where `io_uring` is not permitted.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};

use rustix::io::{Errno, ReadWriteFlags};

use super::progress::{Next, Progress};
use super::{Device, Job};
use crate::buffer::AlignedBuffer;
use crate::config::FlushMethod;
use crate::error::LogError;
use crate::event::Event;
use crate::medium::{Done, Source, Work};

/// The owner's end of the thread.
pub(crate) struct PlainDevice {
    jobs: Option<SyncSender<Job>>,
    ends: Receiver<Done>,
    running: usize,
    thread: Option<JoinHandle<()>>,
}

impl PlainDevice {
    pub(crate) fn new(jobs: usize, flush: FlushMethod, event: Arc<Event>) -> Result<PlainDevice, LogError> {
        let (sender, inbox) = sync_channel::<Job>(jobs);
        let (outbox, ends) = sync_channel::<Done>(jobs);
        let thread = thread::Builder::new()
            .name("log-write".to_owned())
            .spawn(move || {
                while let Ok(job) = inbox.recv() {
                    let result = carry_out(&job, flush);
                    // Room for every job, so this does not block; an error means that the log is gone.
                    if outbox.send(job.end(result)).is_err() {
                        return;
                    }
                    event.signal();
                }
            })
            .map_err(|error| LogError::io("start the writing thread", "".as_ref(), 0, &error))?;
        Ok(PlainDevice {
            jobs: Some(sender),
            ends,
            running: 0,
            thread: Some(thread),
        })
    }

    fn take(&mut self, done: Done, into: &mut Vec<Done>) {
        self.running -= 1;
        into.push(done);
    }
}

fn carry_out(job: &Job, flush: FlushMethod) -> Result<(), LogError> {
    let separate = flush == FlushMethod::Linked;
    let mut progress = Progress::new(&job.work, separate);
    loop {
        match progress.next() {
            Next::Finished => return Ok(()),
            Next::Failed => return Err(progress.error(&job.file, &job.work)),
            Next::WriteFrom(from) => step(job, from, separate, &mut progress),
        }
    }
}

fn step(job: &Job, from: usize, separate: bool, progress: &mut Progress) {
    let (source, syncs) = match &job.work {
        Work::Write(source) => (Some(source), false),
        Work::WriteSync(source) => (Some(source), true),
        Work::Sync => (None, true),
    };
    if let Some(source) = source.filter(|source| from < source.bytes) {
        progress.on_write(write(job, source, from, syncs && !separate));
        // As in the ring: the flush of a write that was not whole does not happen.
        if syncs && separate && progress.next() != Next::WriteFrom(source.bytes) {
            return;
        }
    }
    if syncs && (separate || source.is_none()) {
        progress.on_sync(code(rustix::fs::fdatasync(&job.file.file).map(|()| 0).map_err(Some)));
    }
}

fn write(job: &Job, source: &Source, from: usize, dsync: bool) -> i32 {
    let bytes = &source.buffer[from..source.bytes];
    let offset = source.offset + from as u64;
    let result = if dsync {
        let slices = [std::io::IoSlice::new(bytes)];
        rustix::io::pwritev2(&job.file.file, &slices, offset, ReadWriteFlags::DSYNC)
    } else {
        rustix::io::pwrite(&job.file.file, bytes, offset)
    };
    code(result.map_err(Some))
}

/// As a completion states it: a count or a negative error number.
fn code(result: Result<usize, Option<Errno>>) -> i32 {
    match result {
        Ok(count) => i32::try_from(count).expect("a group is shorter than 2 GiB"),
        Err(errno) => -errno.map_or(libc::EIO, Errno::raw_os_error),
    }
}

impl Device for PlainDevice {
    fn start(&mut self, job: Job) -> Result<(), LogError> {
        self.running += 1;
        let path = job.file.path.clone();
        let jobs = self.jobs.as_ref().expect("taken only in drop");
        jobs.try_send(job).map_err(|_| gone(&path))
    }

    fn reap(&mut self, wait: bool, done: &mut Vec<Done>) -> Result<(), LogError> {
        if wait && self.running > 0 {
            let end = self.ends.recv().map_err(|_| gone("".as_ref()))?;
            self.take(end, done);
        }
        loop {
            match self.ends.try_recv() {
                Ok(end) => self.take(end, done),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(gone("".as_ref())),
            }
        }
    }

    fn register(&mut self, _pool: &mut [AlignedBuffer]) -> Result<(), String> {
        Ok(())
    }

    fn name(&self) -> &'static str {
        "plain"
    }
}

fn gone(path: &std::path::Path) -> LogError {
    LogError::io(
        "hand over to the writing thread",
        path,
        0,
        &std::io::Error::other("it has ended"),
    )
}

impl Drop for PlainDevice {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there ends a release process at once; in tests it has been printed.
            drop(thread.join());
        }
    }
}
