//! Where the next group goes, and how the log grows: one segment ahead, never past `max_log_bytes`.

use std::collections::VecDeque;

use crate::config::LogConfig;
use crate::error::{FullReason, LogError};
use crate::format::{Address, ChecksumKey, FIRST_GROUP, PAGE_BYTES, SegmentHeader};
use crate::medium::{Medium, PrepareFault, Segment};

/// A full disk is asked again after this long.
const RETRY_US: u64 = 250_000;

/// Why there is no place for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// The next segment is being prepared.
    Preparing,
    /// There will be none.
    Full(FullReason),
}

/// The segments from the one being filled on.
pub(crate) struct Space {
    current: Segment,
    /// Where the next group begins.
    offset: u64,
    spares: VecDeque<Segment>,
    preparing: Option<Segment>,
    total_bytes: u64,
    segment_bytes: u64,
    max_log_bytes: u64,
    reserve_bytes: u64,
    header: SegmentHeader,
    /// How many bytes of the next segment are prepared for each byte appended.
    pace: u64,
    disk_full: bool,
    retry_at_us: u64,
}

impl Space {
    /// `segments` are all there are; the log ends at `end` in the one with index `at`.
    pub(crate) fn new(config: &LogConfig, segments: &[Segment], at: usize, end: Address) -> Space {
        let current = segments[at];
        assert_eq!(current.number, end.segment);
        Space {
            current,
            offset: end.offset,
            spares: segments[at + 1..].iter().copied().collect(),
            preparing: None,
            total_bytes: segments.iter().map(|segment| segment.bytes).sum(),
            segment_bytes: config.segment_bytes,
            max_log_bytes: config.max_log_bytes,
            reserve_bytes: config.reserve_bytes,
            header: SegmentHeader {
                number: 0,
                segment_bytes: config.segment_bytes,
                fingerprint: config.fingerprint,
            },
            pace: 2,
            disk_full: false,
            retry_at_us: 0,
        }
    }

    /// Bytes of all segment files.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Segment files of so many bytes are gone.
    pub(crate) fn released(&mut self, bytes: u64) {
        self.total_bytes -= bytes;
        // There is room now: no need to wait for the next look.
        self.retry_at_us = 0;
    }

    fn left(&self) -> u64 {
        self.current.bytes - self.offset
    }

    /// Bytes in segments that exist.
    pub(crate) fn prepared_bytes(&self) -> u64 {
        let spare = |segment: &Segment| segment.bytes - PAGE_BYTES as u64;
        self.left() + self.spares.iter().map(spare).sum::<u64>()
    }

    /// Bytes that segments still to be made may add.
    fn growable_bytes(&self) -> u64 {
        if self.disk_full {
            return 0;
        }
        let room = self.max_log_bytes.saturating_sub(self.total_bytes);
        room / self.segment_bytes * (self.segment_bytes - PAGE_BYTES as u64)
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.prepared_bytes() + self.growable_bytes()
    }

    /// Why the log cannot grow at present.
    pub(crate) fn stopped(&self) -> Option<FullReason> {
        if self.total_bytes + self.segment_bytes > self.max_log_bytes {
            Some(FullReason::Limit)
        } else if self.disk_full {
            Some(FullReason::Disk)
        } else {
            None
        }
    }

    /// Whether an append of `bytes` would eat the reserve. `open` bytes belong to a group that is still gathering.
    pub(crate) fn check_reserve(&self, open: u64, bytes: u64) -> Result<(), LogError> {
        let Some(reason) = self.stopped() else {
            return Ok(());
        };
        let free = self.prepared_bytes().saturating_sub(open + self.reserve_bytes);
        if free >= bytes {
            return Ok(());
        }
        Err(LogError::Full {
            reason,
            needed: bytes,
            free,
            remedy: reason.remedy(),
        })
    }

    /// Whether a group of `bytes` (padded) has a place behind the open group of `open` bytes.
    pub(crate) fn check_place(&self, open: u64, bytes: u64) -> Result<(), NoPlace> {
        if self.left() >= open + bytes {
            return Ok(());
        }
        let holds = |spare: &Segment| spare.bytes - PAGE_BYTES as u64 >= bytes;
        if self.spares.iter().any(holds) {
            return Ok(());
        }
        match self.stopped() {
            Some(reason) if self.preparing.is_none() => Err(NoPlace::Full(reason)),
            _ => Err(NoPlace::Preparing),
        }
    }

    /// The place of a new group of at least `bytes` (padded), and what is left of its segment. After `check_place`.
    pub(crate) fn place(&mut self, bytes: u64) -> (Address, u64) {
        while self.left() < bytes {
            self.current = self.spares.pop_front().expect("check_place found a spare");
            self.offset = FIRST_GROUP;
        }
        let address = Address {
            segment: self.current.number,
            offset: self.offset,
        };
        (address, self.left())
    }

    /// A group of `bytes` (padded) has been closed at the current place.
    pub(crate) fn consume(&mut self, bytes: u64, medium: &mut dyn Medium) {
        assert!(bytes <= self.left());
        self.offset += bytes;
        if self.preparing.is_some() {
            medium.grant(bytes.saturating_mul(self.pace));
        }
    }

    /// The log waits for the segment: no more pacing.
    pub(crate) fn hurry(&self, medium: &mut dyn Medium) {
        if self.preparing.is_some() {
            medium.grant(u64::MAX);
        }
    }

    /// Takes a finished preparation and starts the next one if there is no spare.
    pub(crate) fn grow(&mut self, medium: &mut dyn Medium, key: &ChecksumKey) -> Result<(), LogError> {
        if self.preparing.is_some() {
            match medium.prepared() {
                None => return Ok(()),
                Some(Ok(segment)) => {
                    assert_eq!(Some(segment), self.preparing);
                    self.total_bytes += segment.bytes;
                    self.spares.push_back(segment);
                    self.disk_full = false;
                }
                Some(Err(PrepareFault::NoSpace)) => {
                    self.disk_full = true;
                    self.retry_at_us = medium.now_us() + RETRY_US;
                }
                Some(Err(PrepareFault::Failed(error))) => return Err(error),
            }
            self.preparing = None;
        }
        let limited = self.stopped() == Some(FullReason::Limit);
        let waiting = self.disk_full && medium.now_us() < self.retry_at_us;
        // A spare made under an earlier, smaller configuration may not hold the longest record.
        let spare = self.spares.iter().any(|spare| spare.bytes >= self.segment_bytes);
        if !spare && !limited && !waiting {
            self.prepare(medium, key);
        }
        Ok(())
    }

    fn prepare(&mut self, medium: &mut dyn Medium, key: &ChecksumKey) {
        let segment = Segment {
            number: self.spares.back().unwrap_or(&self.current).number + 1,
            bytes: self.segment_bytes,
        };
        self.header.number = segment.number;
        medium.prepare(segment, self.header.encode(key));
        self.preparing = Some(segment);
        // Ready when half of what is left of the current segment has been filled.
        let half_left = (self.left() / 2).max(1);
        self.pace = self.segment_bytes.div_ceil(half_left).max(2);
    }
}
