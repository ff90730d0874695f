//! Reading a log from its beginning to its end, and telling a torn tail from a damaged middle. Pure: bytes come
//! through [`ReadSegments`], nothing is written.
//!
//! The rule. Groups are numbered and chained. Where the chain breaks, every later page is searched for group headers.
//! Each header carries the number up to which groups were durable when it was written. If any header claims the group
//! that is missing here, that group was acknowledged and has been lost since: **damage**. If none does, nobody was
//! told of the group: a **torn tail**, and the log ends here. Several flushes are in flight at once, so whole groups
//! behind a torn one are normal; they are not read, and the chain keeps them from ever being read later.
//!
//! Damage is not the end: the log goes on with the next sound group, and what lies between is a [`Gap`]. Sound records in
//! it are given, and how many of the others were irreplaceable is told by the count in that group's header.

mod damage;

use std::collections::VecDeque;

use bytes::Bytes;

use crate::bugs::Bugs;
use crate::error::LogError;
use crate::format::{
    Address, Checksum, ChecksumKey, FIRST_GROUP, GROUP_HEADER_BYTES, GroupHeader, HeaderFault, PAGE_BYTES,
    RecordHeader, SegmentHeader, Start, padded,
};
use crate::medium::{Medium, ReadSegments, Segment};
use crate::salvage::{Gap, Salvage};
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
    /// The last group's number, 0 before the first.
    pub(crate) number: u64,
    /// The checksum of that group's header.
    pub(crate) checksum: Checksum,
    /// The sequence of the next record.
    pub(crate) next_sequence: u64,
    /// Irreplaceable records up to here.
    pub(crate) irreplaceable: u64,
    /// Which opening wrote the last sound group; 0 before the first.
    opening: u64,
    /// Where the next group begins, unless it begins a later segment.
    pub(crate) end: Address,
}

impl Chain {
    fn before(start: &Start) -> Chain {
        Chain {
            number: start.group - 1,
            checksum: start.previous,
            next_sequence: start.sequence,
            irreplaceable: start.irreplaceable,
            opening: 0,
            end: Address {
                segment: start.segment,
                offset: FIRST_GROUP,
            },
        }
    }

    /// Whether the header is the next group's.
    fn leads_to(&self, header: &GroupHeader) -> bool {
        header.number == self.number + 1
            && header.previous == self.checksum
            && header.first_sequence == self.next_sequence
    }
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

/// What the search is at.
enum Stage {
    Following,
    Salvaging(Salvage),
    Ended,
}

/// The search for groups.
pub(crate) struct Scan {
    key: ChecksumKey,
    segments: Vec<Segment>,
    /// Index in `segments` of the chain's end.
    at: usize,
    chain: Chain,
    starts: VecDeque<Start>,
    unproven: VecDeque<Unproven>,
    window: Window,
    stage: Stage,
    torn: Option<String>,
    gaps: Vec<Gap>,
    notes: Vec<String>,
    /// The last opening that wrote any header seen.
    newest_opening: u64,
    read_bytes: u64,
    bugs: Bugs,
}

/// Where a log ends.
pub(crate) struct LogEnd {
    pub(crate) chain: Chain,
    pub(crate) segments: Vec<Segment>,
    /// Index of the segment in which the chain ends.
    pub(crate) at: usize,
    pub(crate) starts: VecDeque<Start>,
    pub(crate) newest_opening: u64,
    pub(crate) gaps: Vec<Gap>,
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
    /// Looks at the segments' headers, and stands before the first group. A file that is missing or has a bad header is
    /// told in the notes: what is missing with it shows when the groups are followed.
    pub(crate) fn new(
        source: &mut dyn ReadSegments,
        key: ChecksumKey,
        fingerprint: &[u8; 32],
        start: &Start,
        segments: Vec<Segment>,
        bugs: &Bugs,
    ) -> Result<Scan, LogError> {
        let chain = Chain::before(start);
        let mut scan = Scan {
            key,
            segments,
            at: 0,
            chain,
            starts: VecDeque::new(),
            unproven: VecDeque::new(),
            window: Window::default(),
            stage: Stage::Following,
            torn: None,
            gaps: Vec::new(),
            notes: Vec::new(),
            newest_opening: 0,
            read_bytes: 0,
            bugs: bugs.clone(),
        };
        scan.segments.retain(|segment| segment.number >= start.segment);
        if scan.segments.is_empty() {
            return Err(missing(source, start.segment));
        }
        for number in start.segment..scan.segments[0].number {
            scan.note_missing(source, number);
        }
        for index in 0..scan.segments.len() {
            if index > 0 {
                for number in scan.segments[index - 1].number + 1..scan.segments[index].number {
                    scan.note_missing(source, number);
                }
            }
            scan.check_header(source, fingerprint, scan.segments[index])?;
        }
        Ok(scan)
    }

    fn note_missing(&mut self, source: &dyn ReadSegments, number: u64) {
        let path = source.path(number);
        self.notes.push(format!("{} is missing", path.display()));
    }

    /// The next group, or a sound record out of a damaged one; `None` at the end of the log.
    pub(crate) fn next_group(&mut self, source: &mut dyn ReadSegments) -> Result<Option<Group>, LogError> {
        loop {
            match &mut self.stage {
                Stage::Ended => return Ok(None),
                Stage::Salvaging(salvage) => {
                    match salvage.next(source, &mut self.window, &self.key, &self.segments)? {
                        Some((bytes, header)) => {
                            let records = vec![(0, header)];
                            return Ok(Some(Group { bytes, records }));
                        }
                        None => self.resume(),
                    }
                }
                Stage::Following => match self.follow(source)? {
                    Ok(group) => return Ok(Some(group)),
                    Err(broken) => self.end(source, &broken)?,
                },
            }
        }
    }

    /// Where the next group may begin in the segment with this index.
    fn place(&self, index: usize) -> Address {
        let segment = self.segments[index].number;
        if segment == self.chain.end.segment {
            return self.chain.end;
        }
        Address {
            segment,
            offset: FIRST_GROUP,
        }
    }

    /// The group that follows the chain's last.
    fn follow(&mut self, source: &mut dyn ReadSegments) -> Result<Result<Group, Break>, LogError> {
        let mut broken = None;
        // A group that did not fit into the rest of its segment begins the next one that can hold it.
        for at in self.at..self.segments.len() {
            let address = self.place(at);
            match self.group_at(source, at, address.offset)? {
                Ok(group) => return Ok(Ok(group)),
                // A segment begun later in the log tells nothing here.
                Err(NoGroup::Unlinked(_)) if at != self.at => {}
                Err(fault) => note_break(&mut broken, Break { address, fault }),
            }
        }
        Ok(Err(broken.expect("the segment of the chain's end was looked at")))
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
    pub(crate) fn finish(self) -> LogEnd {
        assert!(
            matches!(self.stage, Stage::Ended),
            "the log is read to its end before it is written"
        );
        LogEnd {
            chain: self.chain,
            segments: self.segments,
            at: self.at,
            starts: self.starts,
            newest_opening: self.newest_opening,
            gaps: self.gaps,
        }
    }

    /// What was cut off, if the tail was torn.
    pub(crate) fn torn(&self) -> Option<&str> {
        self.torn.as_deref()
    }

    /// What is missing so far.
    pub(crate) fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Everything there is to tell so far.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        notes.extend(self.gaps.iter().map(Gap::to_string));
        if self.window.unreadable() > 0 {
            let pages = self.window.unreadable();
            notes.push(format!("{pages} pages cannot be read: examine the disk"));
        }
        notes.extend(self.torn.clone());
        notes
    }

    /// Bytes up to the end of the chain.
    pub(crate) fn found_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Bytes looked at, and bytes there are.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let total = self.segments.iter().map(|segment| segment.bytes).sum();
        let ended = matches!(self.stage, Stage::Ended);
        (if ended { total } else { self.read_bytes.min(total) }, total)
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
        let bytes = header.bytes as usize;
        if !self.chain.leads_to(&header) {
            return Ok(Err(NoGroup::Unlinked(header.number)));
        }
        assert!(
            bytes >= GROUP_HEADER_BYTES,
            "a header whose checksum holds was written by this code"
        );
        if offset + padded(bytes) as u64 > segment.bytes {
            return Ok(Err(NoGroup::Fault("the file ends within the group".to_owned())));
        }
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
        if header.address.offset == FIRST_GROUP {
            self.starts.push_back(Start {
                segment: header.address.segment,
                group: header.number,
                sequence: header.first_sequence,
                previous: header.previous,
                irreplaceable: header.irreplaceable_before,
            });
        }
        self.newest_opening = self.newest_opening.max(header.opening);
        self.at = at;
        self.chain = Chain {
            number: header.number,
            checksum,
            next_sequence: header.next_sequence(),
            irreplaceable: header.irreplaceable_before + u64::from(header.irreplaceable),
            opening: header.opening,
            end: Address {
                segment: header.address.segment,
                offset: end,
            },
        };
        let before: u64 = self.segments[..at].iter().map(|segment| segment.bytes).sum();
        self.read_bytes = before + end;
    }

    /// A bad segment header costs nothing: what it says can be told without it.
    fn check_header(
        &mut self,
        source: &mut dyn ReadSegments,
        fingerprint: &[u8; 32],
        segment: Segment,
    ) -> Result<(), LogError> {
        let path = source.path(segment.number);
        let mut note = |what: String| self.notes.push(format!("{}: {what}", path.display()));
        if segment.bytes < 2 * PAGE_BYTES as u64 {
            note(format!("the file has only {} bytes", segment.bytes));
            return Ok(());
        }
        let page = self.window.bytes(source, segment, 0, PAGE_BYTES)?;
        match SegmentHeader::decode(page, &self.key) {
            Err(HeaderFault::Version(found)) => {
                return Err(LogError::WrongVersion {
                    file: path,
                    found,
                    expected: crate::format::FORMAT_VERSION,
                });
            }
            Err(HeaderFault::Unreadable) => note("the segment header is not sound".to_owned()),
            Ok(header) if header.number != segment.number || header.fingerprint != *fingerprint => {
                note(format!("it holds the header of segment {}", header.number));
            }
            Ok(header) if header.segment_bytes != segment.bytes => note(format!(
                "the file has {} bytes, its header says {}",
                segment.bytes, header.segment_bytes
            )),
            Ok(_) => {}
        }
        Ok(())
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
            .filter(|record| {
                record.sequence == sequence && record.address == address && record.opening == header.opening
            })
            .ok_or_else(|| format!("record {sequence} at offset {} is not sound", address.offset))?;
        records.push((at, record));
        at += record.total_bytes();
    }
    assert_eq!(at, group.len(), "a sound header states its records' length");
    Ok(records)
}

pub(crate) fn missing(source: &dyn ReadSegments, number: u64) -> LogError {
    LogError::Damaged {
        file: source.path(number),
        offset: 0,
        what: "the segment file is missing".to_owned(),
        remedy: REMEDY,
    }
}
