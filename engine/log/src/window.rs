//! Reading a segment in long stretches, around pages that cannot be read.

use std::collections::BTreeMap;

use crate::error::LogError;
use crate::format::{PAGE_BYTES, padded};
use crate::medium::{ReadSegments, Segment};

/// Bytes read at once. A group that begins in one stretch and ends in the next is read again with that one: several times a
/// group buffer keeps this rare.
pub(crate) const WINDOW_BYTES: u64 = 4 << 20;
/// So many pages may be unreadable. With more the disk is not damaged in places but gone, and what is read of it says
/// nothing about the log.
const MAX_UNREADABLE: usize = 4096;

/// A page is read so often before it counts as unreadable.
const READS: usize = 3;

/// The stretch of a segment read last.
#[derive(Default)]
pub(crate) struct Window {
    segment: u64,
    start: u64,
    held: Vec<u8>,
    /// Pages that could not be read, by segment and offset; they count as zeroes.
    unreadable: BTreeMap<(u64, u64), LogError>,
}

impl Window {
    pub(crate) fn bytes(
        &mut self,
        source: &mut dyn ReadSegments,
        segment: Segment,
        offset: u64,
        count: usize,
    ) -> Result<&[u8], LogError> {
        let held_to = self.start + self.held.len() as u64;
        let inside = self.segment == segment.number && offset >= self.start && offset + count as u64 <= held_to;
        if !inside {
            let start = offset - offset % PAGE_BYTES as u64;
            let most = segment.bytes - start;
            let take = (padded((offset - start) as usize + count) as u64)
                .max(WINDOW_BYTES)
                .min(most);
            self.held.resize(take as usize, 0);
            // Until the read succeeds the window holds nothing.
            self.segment = 0;
            if source.read_at(segment.number, start, &mut self.held).is_err() {
                self.read_pages(source, segment.number, start)?;
            }
            self.segment = segment.number;
            self.start = start;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.held[from..from + count])
    }

    /// A stretch that cannot be read as a whole, page by page.
    fn read_pages(&mut self, source: &mut dyn ReadSegments, segment: u64, start: u64) -> Result<(), LogError> {
        for (offset, page) in (start..).step_by(PAGE_BYTES).zip(self.held.chunks_mut(PAGE_BYTES)) {
            let mut read = source.read_at(segment, offset, page);
            for _ in 1..READS {
                if read.is_ok() {
                    break;
                }
                read = source.read_at(segment, offset, page);
            }
            if let Err(error) = read {
                page.fill(0);
                self.unreadable.insert((segment, offset), error.clone());
                if self.unreadable.len() > MAX_UNREADABLE {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The first page at or behind this place that could not be read.
    pub(crate) fn unreadable_from(&self, segment: u64, offset: u64) -> Option<&LogError> {
        let page = offset - offset % PAGE_BYTES as u64;
        self.unreadable.range((segment, page)..).next().map(|(_, error)| error)
    }

    /// How many pages could not be read.
    pub(crate) fn unreadable(&self) -> usize {
        self.unreadable.len()
    }
}
