//! Reading a segment in long stretches.

use crate::error::LogError;
use crate::format::padded;
use crate::medium::{ReadSegments, Segment};

/// Bytes read at once.
const WINDOW_BYTES: u64 = 1 << 20;

/// The stretch of a segment read last.
#[derive(Default)]
pub(crate) struct Window {
    segment: u64,
    start: u64,
    held: Vec<u8>,
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
            let most = segment.bytes - offset;
            let take = (padded(count) as u64).max(WINDOW_BYTES).min(most);
            self.held.resize(take as usize, 0);
            // Until the read succeeds the window holds nothing.
            self.segment = 0;
            source.read_at(segment.number, offset, &mut self.held)?;
            self.segment = segment.number;
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.held[from..from + count])
    }
}
