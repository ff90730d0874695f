//! The simulated disk as the log sees it.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use super::{SimulatedDisk, state};
use crate::buffer::AlignedBuffer;
use crate::error::LogError;
use crate::event::Event;
use crate::format::Start;
use crate::medium::{Done, Flush, Medium, PrepareFault, ReadSegments, Removed, Segment};

/// What the log is given. Its event is never signalled: the disk's owner knows when something ends.
pub(super) struct SimulatedMedium {
    disk: SimulatedDisk,
    event: Event,
}

impl SimulatedMedium {
    pub(super) fn new(disk: SimulatedDisk, event: Event) -> SimulatedMedium {
        SimulatedMedium { disk, event }
    }
}

impl ReadSegments for SimulatedMedium {
    fn read_at(&mut self, segment: u64, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        self.disk.state().read(segment, offset, into)
    }

    fn path(&self, segment: u64) -> PathBuf {
        state::path(segment)
    }
}

impl Medium for SimulatedMedium {
    fn rewrite(&mut self, segment: u64, offset: u64, bytes: &[u8]) -> Result<(), LogError> {
        self.disk.state().rewrite(segment, offset, bytes);
        Ok(())
    }

    fn sync_all(&mut self) -> Result<(), LogError> {
        self.disk.state().sync_all()
    }

    fn adopt(&mut self, _pool: &mut [AlignedBuffer]) {}

    fn prepare(&mut self, segment: Segment, header: Vec<u8>) {
        self.disk.state().prepare(segment, header);
    }

    fn grant(&mut self, _bytes: u64) {}

    fn prepared(&mut self) -> Option<Result<Segment, PrepareFault>> {
        self.disk.state().prepared()
    }

    fn release(&mut self, start: Start) -> Result<(), LogError> {
        self.disk.state().release(start);
        Ok(())
    }

    fn released(&mut self) -> Option<Result<Removed, LogError>> {
        self.disk.state().released()
    }

    fn segment_bytes(&self, segment: u64) -> u64 {
        let state = self.disk.state();
        let file = state.surface.segments().find(|file| file.number == segment);
        file.map_or(0, |file| file.bytes)
    }

    fn start(&mut self, flush: Flush) -> Result<(), LogError> {
        self.disk.state().start(flush);
        Ok(())
    }

    fn reap(&mut self, wait: bool, done: &mut Vec<Done>) -> Result<(), LogError> {
        self.disk.state().reap(wait, done);
        Ok(())
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    fn device(&self) -> &'static str {
        "simulated"
    }

    fn registered(&self) -> bool {
        false
    }

    fn direct(&self) -> bool {
        self.disk.state().direct
    }

    fn now_us(&self) -> u64 {
        self.disk.state().now_us()
    }

    fn draw(&mut self) -> u64 {
        self.disk.state().draw()
    }
}
