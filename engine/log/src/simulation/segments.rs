//! Segment files: made, and released.

use std::io;

use super::fault::Fault;
use super::state::{Preparing, Releasing, State, fault};
use crate::error::LogError;
use crate::format::Start;
use crate::medium::{PrepareFault, Removed, Segment};

impl State {
    pub(super) fn prepare(&mut self, segment: Segment, header: Vec<u8>) {
        assert!(self.preparing.is_none(), "one segment is prepared at a time");
        let due_us = match self.pace {
            None => self.now_us,
            Some(pace) => self.now_us + self.dice.below(pace.prepare_us + 1),
        };
        self.preparing = Some(Preparing {
            segment,
            header,
            due_us,
        });
    }

    pub(super) fn prepared(&mut self) -> Option<Result<Segment, PrepareFault>> {
        let due = self.preparing.as_ref()?.due_us <= self.now_us;
        if !due || !self.prepare_allowed {
            return None;
        }
        let made = self.preparing.take()?;
        if self.now_us < self.no_space_until_us {
            return Some(Err(PrepareFault::NoSpace));
        }
        self.surface.create(made.segment, &made.header);
        Some(Ok(made.segment))
    }

    /// The header file changes, then the files go.
    pub(super) fn release(&mut self, start: Start) {
        assert!(self.releasing.is_none(), "one release at a time");
        let due_us = match self.pace {
            None => self.now_us,
            Some(pace) => self.now_us + self.dice.below(pace.prepare_us + 1),
        };
        self.releasing = Some(Releasing { start, due_us });
    }

    pub(super) fn released(&mut self) -> Option<Result<Removed, LogError>> {
        if self.releasing.as_ref()?.due_us > self.now_us {
            return None;
        }
        let releasing = self.releasing.take()?;
        if self.armed(&[Fault::FailFlush]).is_some() {
            self.passing = true;
            // What was written of it may be there all the same.
            if self.dice.chance(50) {
                self.start = releasing.start;
            }
            let error = io::Error::from_raw_os_error(libc::EIO);
            return Some(Err(fault("fsync", 0, 0, error)));
        }
        self.start = releasing.start;
        Some(Ok(self.remove_released()))
    }

    /// What is below the log's beginning goes.
    pub(super) fn remove_released(&mut self) -> Removed {
        let first = self.start.segment;
        let mut removed = Removed::default();
        let gone: Vec<Segment> = self.surface.segments().filter(|file| file.number < first).collect();
        for segment in gone {
            self.surface.remove(segment.number);
            removed.segments += 1;
            removed.bytes += segment.bytes;
        }
        self.cache.retain(|cached| cached.segment >= first);
        self.ledger.forget_before(self.start.group);
        removed
    }

    /// The power went during a release: nothing of it was done, the header was changed, or some files are gone, too.
    pub(super) fn cut_release(&mut self) {
        let Some(releasing) = self.releasing.take() else {
            return;
        };
        match self.dice.below(3) {
            0 => {}
            1 => self.start = releasing.start,
            _ => {
                let from = self.start.segment;
                self.start = releasing.start;
                let to = from + self.dice.below(self.start.segment - from) + 1;
                (from..to).for_each(|number| self.surface.remove(number));
                self.cache.retain(|cached| cached.segment >= to);
            }
        }
    }
}
