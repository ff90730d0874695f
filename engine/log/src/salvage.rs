//! What is left of the records between two sound groups.
//!
//! Every record has its own checksum, over its address, its sequence and the opening that wrote it, so a sound one can be
//! told from anything else that stands there, whatever happened to the group around it.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::error::LogError;
use crate::format::{Address, ChecksumKey, GroupHeader, RECORD_HEADER_BYTES, RecordHeader};
use crate::medium::{ReadSegments, Segment};
use crate::window::{WINDOW_BYTES, Window};

/// Records that had been durable and cannot be read any more. Nothing on disk was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Sequence of the first record that may be missing.
    pub from: u64,
    /// Sequence of the first one behind the gap.
    pub until: u64,
    /// How many of those between are missing; the others were sound and have been given.
    pub lost: u64,
    /// How many of the missing ones no other replica has; none if that cannot be told.
    pub irreplaceable: Option<u64>,
    /// Where, and what was found there.
    pub what: String,
}

impl Gap {
    /// Whether records are missing, as far as can be told, that no other replica has.
    pub fn loses_irreplaceable(&self) -> bool {
        self.irreplaceable != Some(0)
    }
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Gap {
            from,
            until,
            lost,
            what,
            ..
        } = self;
        let last = until - 1;
        write!(
            f,
            "damaged: {what}: of the records {from} to {last}, {lost} are missing, "
        )?;
        match self.irreplaceable {
            Some(0) => write!(f, "all of a kind that other replicas have"),
            Some(count) => write!(f, "{count} of them of a kind that no other replica has"),
            None => write!(f, "some of them perhaps of a kind that no other replica has"),
        }
    }
}

/// A sound header.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) header: GroupHeader,
    /// Index of its segment.
    pub(crate) at: usize,
}

/// Bytes to be searched: from one offset up to another in the segment with this index.
struct Region {
    at: usize,
    from: u64,
    to: u64,
}

/// The search for sound records.
pub(crate) struct Salvage {
    regions: VecDeque<Region>,
    /// The group where the log goes on.
    pub(crate) until: Header,
    /// Openings that may have written what lies before it.
    openings: Vec<u64>,
    next_sequence: u64,
    pub(crate) found: u64,
    pub(crate) irreplaceable_found: u64,
    pub(crate) what: String,
}

impl Salvage {
    /// From `offset` of the segment with index `at` up to `until`.
    pub(crate) fn new(
        segments: &[Segment],
        (at, offset): (usize, u64),
        until: Header,
        openings: Vec<u64>,
        next_sequence: u64,
        what: String,
    ) -> Salvage {
        let region = |index: usize| Region {
            at: index,
            from: if index == at { offset } else { 0 },
            to: if index == until.at {
                until.header.address.offset
            } else {
                segments[index].bytes
            },
        };
        Salvage {
            regions: (at..=until.at).map(region).collect(),
            until,
            openings,
            next_sequence,
            found: 0,
            irreplaceable_found: 0,
            what,
        }
    }

    /// The next sound record: its bytes and header.
    pub(crate) fn next(
        &mut self,
        source: &mut dyn ReadSegments,
        window: &mut Window,
        key: &ChecksumKey,
        segments: &[Segment],
    ) -> Result<Option<(Bytes, RecordHeader)>, LogError> {
        while let Some(region) = self.regions.front() {
            let segment = segments[region.at];
            let (from, to) = (region.from, region.to);
            if from + RECORD_HEADER_BYTES as u64 > to {
                self.regions.pop_front();
                continue;
            }
            let take = (to - from).min(WINDOW_BYTES / 2) as usize;
            let bytes = window.bytes(source, segment, from, take)?;
            let Some((skip, total)) = self.candidate(bytes, segment.number, from, to) else {
                // What begins in the last bytes of this stretch is seen whole in the next one.
                let whole = from + take as u64 == to;
                let next = if whole {
                    to
                } else {
                    from + (take - RECORD_HEADER_BYTES + 1) as u64
                };
                self.regions[0].from = next;
                continue;
            };
            let at = from + skip as u64;
            let bytes = window.bytes(source, segment, at, total)?;
            let Some(header) = RecordHeader::decode(bytes, key) else {
                self.regions[0].from = at + 1;
                continue;
            };
            let bytes = Bytes::copy_from_slice(bytes);
            self.regions[0].from = at + total as u64;
            self.next_sequence = header.sequence + 1;
            self.found += 1;
            self.irreplaceable_found += u64::from(!header.replaceable);
            return Ok(Some((bytes, header)));
        }
        Ok(None)
    }

    /// The first place in `bytes`, which stand at `from`, where a record may begin: how far in, and how long it is.
    fn candidate(&self, bytes: &[u8], segment: u64, from: u64, to: u64) -> Option<(usize, usize)> {
        let sequences = self.next_sequence..self.until.header.first_sequence;
        (0..=bytes.len().checked_sub(RECORD_HEADER_BYTES)?).find_map(|skip| {
            let offset = from + skip as u64;
            let peek = RecordHeader::peek(&bytes[skip..], Address { segment, offset })?;
            let possible = sequences.contains(&peek.sequence)
                && self.openings.contains(&peek.opening)
                && offset + peek.total as u64 <= to;
            possible.then_some((skip, peek.total))
        })
    }
}
