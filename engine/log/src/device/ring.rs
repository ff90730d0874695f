//! `io_uring`.
#![allow(unsafe_code)] // The kernel reads buffers and descriptors that the queue entries only point to.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Arc;

use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};

use super::progress::{Next, Progress};
use super::{Device, Job};
use crate::buffer::AlignedBuffer;
use crate::config::FlushMethod;
use crate::error::LogError;
use crate::event::Event;
use crate::medium::{Done, Source, Work};

/// `RWF_DSYNC`: the write is done when it is on stable storage.
const RWF_DSYNC: i32 = 2;
/// Lowest bit of `user_data`; the rest is the slot.
const SYNC_BIT: u64 = 1;

struct Running {
    job: Job,
    progress: Progress,
    /// Completions still to come.
    outstanding: u32,
}

/// A ring and the jobs in it.
pub(crate) struct RingDevice {
    ring: IoUring,
    slots: Vec<Option<Running>>,
    flush: FlushMethod,
    /// Keeps the registered descriptor open.
    _event: Arc<Event>,
}

impl RingDevice {
    pub(crate) fn new(jobs: usize, flush: FlushMethod, event: &Arc<Event>) -> io::Result<RingDevice> {
        // Two entries for each job, and as many again so that a continuation finds room.
        let entries = u32::try_from(jobs * 4)
            .expect("in_flight is at most 64")
            .next_power_of_two();
        let ring = build(entries)?;
        ring.submitter().register_eventfd(event.as_fd().as_raw_fd())?;
        Ok(RingDevice {
            ring,
            slots: (0..jobs).map(|_| None).collect(),
            flush,
            _event: Arc::clone(event),
        })
    }

    /// Puts the operations of a job into the queue, writing from byte `from` of its source.
    fn queue(&mut self, slot: usize, from: usize) -> Result<(), LogError> {
        let running = self.slots[slot].as_mut().expect("the slot is in use");
        let fd = types::Fd(running.job.file.file.as_raw_fd());
        let write_id = (slot as u64) << 1;
        let sync = || {
            opcode::Fsync::new(fd)
                .flags(types::FsyncFlags::DATASYNC)
                .build()
                .user_data(write_id | SYNC_BIT)
        };
        let separate = self.flush == FlushMethod::Linked;
        let entries: [Option<Entry>; 2] = match &running.job.work {
            Work::Sync => [Some(sync()), None],
            Work::WriteSync(source) if from == source.bytes => [Some(sync()), None],
            Work::Write(source) => [Some(write(fd, source, from, 0).user_data(write_id)), None],
            Work::WriteSync(source) if separate => {
                let write = write(fd, source, from, 0).user_data(write_id);
                [Some(write.flags(Flags::IO_LINK)), Some(sync())]
            }
            Work::WriteSync(source) => [Some(write(fd, source, from, RWF_DSYNC).user_data(write_id)), None],
        };
        let entries: Vec<Entry> = entries.into_iter().flatten().collect();
        running.outstanding = u32::try_from(entries.len()).expect("two at most");
        // SAFETY: descriptor and buffer belong to the job, which stays in its slot until every completion has been
        // reaped (`complete`), or for ever (`drop`). The buffer is behind an `Arc` and not written while it is shared.
        let pushed = unsafe { self.ring.submission().push_multiple(&entries) };
        assert!(pushed.is_ok(), "the queue has room for every job");
        self.submit()
    }

    fn submit(&self) -> Result<(), LogError> {
        loop {
            match self.ring.submit() {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ring_error("submit", &error)),
            }
        }
    }

    /// With `wait`, blocks until there is at least one completion.
    fn enter(&mut self, wait: bool) -> Result<(), LogError> {
        let in_motion = self.slots.iter().any(Option::is_some);
        let wanted = usize::from(wait && in_motion && self.ring.completion().is_empty());
        // The completion queue holds every operation of every job, so it never overflows.
        if wanted == 0 {
            return Ok(());
        }
        match self.ring.submitter().submit_and_wait(wanted) {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted) => Ok(()),
            Err(error) => Err(ring_error("wait", &error)),
        }
    }

    fn complete(&mut self, user_data: u64, result: i32, done: &mut Vec<Done>) -> Result<(), LogError> {
        let slot = usize::try_from(user_data >> 1).expect("we made it from an index");
        let running = self.slots[slot].as_mut().expect("a completion belongs to a job");
        running.outstanding -= 1;
        if user_data & SYNC_BIT == 0 {
            running.progress.on_write(result);
        } else {
            running.progress.on_sync(result);
        }
        if running.outstanding > 0 {
            return Ok(());
        }
        match running.progress.next() {
            Next::WriteFrom(from) => self.queue(slot, from),
            next => {
                let Running { job, progress, .. } = self.slots[slot].take().expect("just seen");
                let result = match next {
                    Next::Finished => Ok(()),
                    _ => Err(progress.error(&job.file, &job.work)),
                };
                done.push(job.end(result));
                Ok(())
            }
        }
    }
}

/// Deliberately without cooperative or deferred task work. A linked flush is issued from the owner's task work, and with
/// either flag that waits until the owner next enters the kernel: with an owner that computes for 300 us between two
/// polls, p50 of a durable 4 KiB group was 946 us deferred, 642 us cooperative, 319 us with neither, and no different
/// (105-119 us) for an owner that sleeps on the event.
fn build(entries: u32) -> io::Result<IoUring> {
    IoUring::builder().dontfork().build(entries)
}

fn write(fd: types::Fd, source: &Source, from: usize, flags: i32) -> Entry {
    let bytes = &source.buffer[from..source.bytes];
    let length = u32::try_from(bytes.len()).expect("a group is shorter than 2 GiB");
    let offset = source.offset + from as u64;
    match source.buffer.registered() {
        Some(index) => opcode::WriteFixed::new(fd, bytes.as_ptr(), length, index)
            .offset(offset)
            .rw_flags(flags)
            .build(),
        None => opcode::Write::new(fd, bytes.as_ptr(), length)
            .offset(offset)
            .rw_flags(flags)
            .build(),
    }
}

fn ring_error(operation: &'static str, error: &io::Error) -> LogError {
    LogError::io(operation, Path::new("io_uring"), 0, error)
}

impl Device for RingDevice {
    fn start(&mut self, job: Job) -> Result<(), LogError> {
        let slot = self
            .slots
            .iter()
            .position(Option::is_none)
            .expect("never more jobs than announced");
        let progress = Progress::new(&job.work, self.flush == FlushMethod::Linked);
        self.slots[slot] = Some(Running {
            job,
            progress,
            outstanding: 0,
        });
        self.queue(slot, 0)
    }

    fn reap(&mut self, wait: bool, done: &mut Vec<Done>) -> Result<(), LogError> {
        self.enter(wait)?;
        loop {
            let next = self.ring.completion().next();
            let Some(entry) = next else {
                return Ok(());
            };
            self.complete(entry.user_data(), entry.result(), done)?;
        }
    }

    fn register(&mut self, pool: &mut [AlignedBuffer]) -> Result<(), String> {
        let vectors: Vec<libc::iovec> = pool
            .iter_mut()
            .map(|buffer| libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            })
            .collect();
        // SAFETY: the memory is valid now. The kernel pins its pages and only ever reads them, and only for a job whose
        // buffer is alive (see `queue`); should a buffer be freed before the ring, nothing refers to its index again.
        unsafe { self.ring.submitter().register_buffers(&vectors) }.map_err(|error| {
            format!("buffers are not registered with io_uring ({error}); raise the locked-memory limit (LimitMEMLOCK) to do so")
        })?;
        for (index, buffer) in pool.iter_mut().enumerate() {
            buffer.set_registered(u16::try_from(index).expect("in_flight is at most 64"));
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        "io_uring"
    }
}

impl Drop for RingDevice {
    fn drop(&mut self) {
        let mut ends = Vec::new();
        while self.slots.iter().flatten().any(|running| running.outstanding > 0) {
            if self.reap(true, &mut ends).is_err() {
                // The kernel may still read these buffers: they must outlive it.
                for running in self.slots.drain(..).flatten() {
                    std::mem::forget(running);
                }
            }
        }
    }
}
