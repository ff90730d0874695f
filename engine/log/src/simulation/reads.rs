//! What a process sees of the disk.

use std::io;

use super::fault::Fault;
use super::state::{State, fault};
use super::surface::overlay;
use crate::error::LogError;
use crate::format::PAGE_BYTES;
use crate::medium::Segment;

impl State {
    /// What stands there, as a process sees it.
    pub(super) fn view(&self, segment: u64, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        self.surface
            .read(segment, offset, into)
            .map_err(|bad| fault("read", segment, bad.offset, io::Error::from_raw_os_error(libc::EIO)))?;
        for cached in self.cache.iter().filter(|cached| cached.segment == segment) {
            overlay(offset, into, cached.offset, &cached.bytes);
        }
        Ok(())
    }

    pub(super) fn read(&mut self, segment: u64, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        if self.armed(&[Fault::FailRead]).is_some() {
            self.passing = true;
            let error = io::Error::from_raw_os_error(libc::EIO);
            return Err(fault("read", segment, offset, error));
        }
        self.view(segment, offset, into)?;
        if self.armed(&[Fault::MisdirectRead]).is_some() {
            self.misread(segment, offset, into)?;
        }
        Ok(())
    }

    /// One page of a read comes from another page of some segment.
    pub(super) fn misread(&mut self, segment: u64, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        let page = PAGE_BYTES as u64;
        // Of a long read mostly a page that holds something.
        let full = into.chunks(PAGE_BYTES).enumerate();
        let full = full.filter(|(_, piece)| piece.iter().any(|byte| *byte != 0));
        let full: Vec<usize> = full.map(|(index, _)| index).collect();
        let index = self.dice.pick(&full).unwrap_or(0);
        let at = (offset + (index * PAGE_BYTES) as u64) / page * page;
        let segments: Vec<Segment> = self.surface.segments().collect();
        let other = self.dice.pick(&segments).expect("there is a first segment");
        let from = self.dice.below(other.bytes / page) * page;
        let mut wrong = vec![0; PAGE_BYTES];
        self.view(other.number, from, &mut wrong)?;
        overlay(offset, into, at, &wrong);
        self.misread.insert((segment, at));
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn whole(&self, segment: u64) -> Vec<u8> {
        let found = self.surface.segments().find(|found| found.number == segment);
        let mut bytes = vec![0; found.expect("the segment exists").bytes as usize];
        assert!(self.surface.read(segment, 0, &mut bytes).is_ok());
        bytes
    }
}
