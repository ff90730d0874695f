//! Reading a log from its beginning to its end, and telling a torn tail from a damaged middle. Pure: bytes come
//! through [`ReadSegments`], nothing is written.
//!
//! The rule. Groups are numbered and chained. Where the chain breaks, every later page is searched for group headers.
//! Each header carries the number up to which groups were durable when it was written. If any header claims the group
//! that is missing here, that group was acknowledged and has been lost since: **damage**. If none does, nobody was
//! told of the group: a **torn tail**, and the log ends here. Several flushes are in flight at once, so whole groups
//! behind a torn one are normal; they are not read, and the chain keeps them from ever being read later.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::bugs::Bugs;
use crate::error::LogError;
use crate::format::{
    Address, Checksum, ChecksumKey, FIRST_GROUP, GROUP_HEADER_BYTES, GroupHeader, HeaderFault, PAGE_BYTES,
    RecordHeader, SegmentHeader, padded,
};
use crate::medium::{Medium, ReadSegments, Segment};
use crate::window::Window;

const REMEDY: &str = "nothing was changed; keep the directory for examination and let this replica rejoin \
                      through quarantine with an empty one (R-QUARANTINE)";

/// A sound group: its bytes, and each record's header with the place of the record in `bytes`.
pub(crate) struct Group {
    pub(crate) bytes: Bytes,
    pub(crate) records: Vec<(usize, RecordHeader)>,
}

/// How far the chain of groups has been followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The last sound group's number, 0 before the first.
    pub(crate) number: u64,
    /// The checksum of that group's header.
    pub(crate) checksum: Checksum,
    /// The sequence of the next record.
    pub(crate) next_sequence: u64,
    /// Where the next group begins, unless it begins the next segment.
    pub(crate) end: Address,
}

/// A sound group that no later one claims to be durable.
struct Unproven {
    number: u64,
    /// Index of its segment.
    at: usize,
    address: Address,
    bytes: usize,
    checksum: Checksum,
}

/// The search for groups.
pub(crate) struct Scan {
    key: ChecksumKey,
    segments: Vec<Segment>,
    /// Index in `segments` of the chain's end.
    at: usize,
    chain: Chain,
    unproven: VecDeque<Unproven>,
    window: Window,
    ended: bool,
    torn: Option<String>,
    read_bytes: u64,
    bugs: Bugs,
}

/// Why no group of the chain stands at an address.
enum NoGroup {
    /// Nothing was ever written there: zeroes, or the segment ends.
    Empty,
    /// The sound header of another group, of this number.
    Unlinked(u64),
    Fault(String),
}

/// A place where the next group of the chain should stand, and what is wrong there.
struct Break {
    address: Address,
    fault: NoGroup,
}

impl Scan {
    /// Checks that the segments are complete and theirs are the headers expected, and stands before the first group.
    pub(crate) fn new(
        source: &mut dyn ReadSegments,
        key: ChecksumKey,
        fingerprint: &[u8; 32],
        first_segment: u64,
        segments: Vec<Segment>,
        bugs: &Bugs,
    ) -> Result<Scan, LogError> {
        for (expected, segment) in (first_segment..).zip(&segments) {
            if segment.number != expected {
                return Err(missing(source, expected));
            }
            check_header(source, &key, fingerprint, *segment)?;
        }
        if segments.is_empty() {
            return Err(missing(source, first_segment));
        }
        Ok(Scan {
            key,
            segments,
            at: 0,
            chain: Chain {
                number: 0,
                checksum: [0; 16],
                next_sequence: 1,
                end: Address {
                    segment: first_segment,
                    offset: FIRST_GROUP,
                },
            },
            unproven: VecDeque::new(),
            window: Window::default(),
            ended: false,
            torn: None,
            read_bytes: 0,
            bugs: bugs.clone(),
        })
    }

    /// The next group; `None` at the end of the log.
    pub(crate) fn next_group(&mut self, source: &mut dyn ReadSegments) -> Result<Option<Group>, LogError> {
        if self.ended {
            return Ok(None);
        }
        let mut broken = None;
        // A group that did not fit into the rest of its segment begins the next one that can hold it.
        for at in self.at..self.segments.len() {
            let address = if at == self.at {
                self.chain.end
            } else {
                Address {
                    segment: self.segments[at].number,
                    offset: FIRST_GROUP,
                }
            };
            match self.group_at(source, at, address.offset)? {
                Ok(group) => return Ok(Some(group)),
                // A segment begun later in the log tells nothing here.
                Err(NoGroup::Unlinked(_)) if at != self.at => {}
                Err(fault) => note_break(&mut broken, Break { address, fault }),
            }
        }
        let broken = broken.expect("the segment of the chain's end was looked at");
        self.end(source, &broken)?;
        Ok(None)
    }

    /// Writes those groups again that no later one claims durable; a flush must follow. If an earlier process ended
    /// because their flush failed, their pages may be clean in a cache and nowhere else: a flush alone would not write
    /// them.
    pub(crate) fn rewrite_unproven(&mut self, medium: &mut dyn Medium) -> Result<(), LogError> {
        let mut again = Vec::new();
        for group in &self.unproven {
            let segment = self.segments[group.at];
            let source: &mut dyn ReadSegments = medium;
            let read = self.window.bytes(source, segment, group.address.offset, group.bytes)?;
            let sound = GroupHeader::decode(read, &self.key, group.address)
                .is_some_and(|(header, sum)| sum == group.checksum && records(&self.key, &header, read).is_ok());
            if !sound {
                return Err(LogError::Damaged {
                    file: source.path(segment.number),
                    offset: group.address.offset,
                    what: format!("group {} was sound a moment ago and is not", group.number),
                    remedy: REMEDY,
                });
            }
            again.clear();
            again.extend_from_slice(read);
            again.resize(padded(group.bytes), 0);
            medium.rewrite(segment.number, group.address.offset, &again)?;
        }
        Ok(())
    }

    /// Where the log ends. Only after `next_group` returned `None`.
    pub(crate) fn finish(self) -> (Chain, Vec<Segment>, usize) {
        assert!(self.ended, "the log is read to its end before it is written");
        (self.chain, self.segments, self.at)
    }

    /// What was cut off, if the tail was torn.
    pub(crate) fn torn(&self) -> Option<&str> {
        self.torn.as_deref()
    }

    /// Bytes looked at, and bytes there are.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let total = self.segments.iter().map(|segment| segment.bytes).sum();
        (if self.ended { total } else { self.read_bytes }, total)
    }

    fn group_at(
        &mut self,
        source: &mut dyn ReadSegments,
        at: usize,
        offset: u64,
    ) -> Result<Result<Group, NoGroup>, LogError> {
        let segment = self.segments[at];
        if offset + PAGE_BYTES as u64 > segment.bytes {
            return Ok(Err(NoGroup::Empty));
        }
        let address = Address {
            segment: segment.number,
            offset,
        };
        let page = self.window.bytes(source, segment, offset, PAGE_BYTES)?;
        let Some((header, checksum)) = GroupHeader::decode(page, &self.key, address) else {
            return Ok(Err(if page.iter().all(|byte| *byte == 0) {
                NoGroup::Empty
            } else {
                NoGroup::Fault("no sound group header stands there".to_owned())
            }));
        };
        let chain = self.chain;
        let linked = header.number == chain.number + 1
            && header.previous == chain.checksum
            && header.first_sequence == chain.next_sequence;
        let bytes = header.bytes as usize;
        if !linked {
            return Ok(Err(NoGroup::Unlinked(header.number)));
        }
        assert!(
            bytes >= GROUP_HEADER_BYTES && offset + padded(bytes) as u64 <= segment.bytes,
            "a header whose checksum holds was written by this code"
        );
        let group = self.window.bytes(source, segment, offset, bytes)?;
        let records = match records(&self.key, &header, group) {
            Ok(records) => records,
            Err(fault) => return Ok(Err(NoGroup::Fault(fault))),
        };
        let group = Group {
            bytes: Bytes::copy_from_slice(group),
            records,
        };
        self.accept(at, &header, checksum);
        Ok(Ok(group))
    }

    fn accept(&mut self, at: usize, header: &GroupHeader, checksum: Checksum) {
        let end = header.address.offset + padded(header.bytes as usize) as u64;
        while self
            .unproven
            .front()
            .is_some_and(|group| group.number <= header.durable)
        {
            self.unproven.pop_front();
        }
        self.unproven.push_back(Unproven {
            number: header.number,
            at,
            address: header.address,
            bytes: header.bytes as usize,
            checksum,
        });
        self.at = at;
        self.chain = Chain {
            number: header.number,
            checksum,
            next_sequence: header.first_sequence + u64::from(header.record_count),
            end: Address {
                segment: header.address.segment,
                offset: end,
            },
        };
        let before: u64 = self.segments[..at].iter().map(|segment| segment.bytes).sum();
        self.read_bytes = before + end;
    }

    /// Decides between tail and damage by what stands behind the break.
    fn end(&mut self, source: &mut dyn ReadSegments, broken: &Break) -> Result<(), LogError> {
        let here = self.chain.end;
        let lost = self.chain.number + 1;
        let mut later = 0u64;
        for index in self.at..self.segments.len() {
            let segment = self.segments[index];
            let start = if index == self.at { here.offset } else { FIRST_GROUP };
            let mut offset = start;
            while offset + PAGE_BYTES as u64 <= segment.bytes {
                let address = Address {
                    segment: segment.number,
                    offset,
                };
                let page = self.window.bytes(source, segment, offset, PAGE_BYTES)?;
                if let Some((header, _)) = GroupHeader::decode(page, &self.key, address) {
                    later += u64::from(address != broken.address);
                    if header.durable >= lost && !self.bugs.damage_is_torn_tail() {
                        return Err(self.damage(source, broken, address));
                    }
                }
                offset += PAGE_BYTES as u64;
                self.read_bytes += PAGE_BYTES as u64;
            }
        }
        self.ended = true;
        if later > 0 || !matches!(broken.fault, NoGroup::Empty) {
            self.torn = Some(format!(
                "the tail was torn and has been cut at {} offset {} ({}; {later} unacknowledged groups behind it)",
                source.path(broken.address.segment).display(),
                broken.address.offset,
                broken.fault.describe(),
            ));
        }
        Ok(())
    }

    fn damage(&self, source: &dyn ReadSegments, broken: &Break, witness: Address) -> LogError {
        LogError::Damaged {
            file: source.path(broken.address.segment),
            offset: broken.address.offset,
            what: format!(
                "group {} (from record {}) had been durable, as {} offset {} says, but {}",
                self.chain.number + 1,
                self.chain.next_sequence,
                source.path(witness.segment).display(),
                witness.offset,
                broken.fault.describe(),
            ),
            remedy: REMEDY,
        }
    }
}

impl NoGroup {
    fn describe(&self) -> String {
        match self {
            NoGroup::Empty => "nothing stands there or at the start of the next segment".to_owned(),
            NoGroup::Unlinked(number) => format!("group {number} stands there and does not follow"),
            NoGroup::Fault(fault) => fault.clone(),
        }
    }
}

/// Keeps the break that tells most: the first place where something stands, or else the first.
fn note_break(kept: &mut Option<Break>, next: Break) {
    let telling = |place: &Break| !matches!(place.fault, NoGroup::Empty);
    match kept {
        Some(first) if telling(first) || !telling(&next) => {}
        _ => *kept = Some(next),
    }
}

/// Checks every record of a group whose header is sound.
fn records(key: &ChecksumKey, header: &GroupHeader, group: &[u8]) -> Result<Vec<(usize, RecordHeader)>, String> {
    let mut records = Vec::new();
    let mut at = GROUP_HEADER_BYTES;
    for index in 0..u64::from(header.record_count) {
        let sequence = header.first_sequence + index;
        let address = Address {
            segment: header.address.segment,
            offset: header.address.offset + at as u64,
        };
        let record = RecordHeader::decode(&group[at..], key)
            .filter(|record| record.sequence == sequence && record.address == address)
            .ok_or_else(|| format!("record {sequence} at offset {} is not sound", address.offset))?;
        records.push((at, record));
        at += record.total_bytes();
    }
    assert_eq!(at, group.len(), "a sound header states its records' length");
    Ok(records)
}

fn missing(source: &dyn ReadSegments, number: u64) -> LogError {
    LogError::Damaged {
        file: source.path(number),
        offset: 0,
        what: "the segment file is missing".to_owned(),
        remedy: REMEDY,
    }
}

fn check_header(
    source: &mut dyn ReadSegments,
    key: &ChecksumKey,
    fingerprint: &[u8; 32],
    segment: Segment,
) -> Result<(), LogError> {
    let damaged = |source: &dyn ReadSegments, what: String| LogError::Damaged {
        file: source.path(segment.number),
        offset: 0,
        what,
        remedy: REMEDY,
    };
    let mut page = vec![0; PAGE_BYTES];
    if segment.bytes < 2 * PAGE_BYTES as u64 {
        return Err(damaged(source, format!("the file has only {} bytes", segment.bytes)));
    }
    source.read_at(segment.number, 0, &mut page)?;
    match SegmentHeader::decode(&page, key) {
        Err(HeaderFault::Unreadable) => Err(damaged(source, "the segment header is not sound".to_owned())),
        Err(HeaderFault::Version(found)) => Err(LogError::WrongVersion {
            file: source.path(segment.number),
            found,
            expected: crate::format::FORMAT_VERSION,
        }),
        Ok(header) if header.number != segment.number || header.fingerprint != *fingerprint => Err(damaged(
            source,
            format!("it holds the header of segment {}", header.number),
        )),
        Ok(header) if header.segment_bytes != segment.bytes => Err(damaged(
            source,
            format!(
                "the file has {} bytes, its header says {}",
                segment.bytes, header.segment_bytes
            ),
        )),
        Ok(_) => Ok(()),
    }
}
