//! The log's format and recovery for fuzzing: compiled with the feature `fuzzing` only.

use std::path::PathBuf;

use crate::Entry;
use crate::buffer::AlignedBuffer;
use crate::bugs::Bugs;
use crate::error::LogError;
use crate::format::{
    Address, Checksum, ChecksumKey, FIRST_GROUP, GROUP_HEADER_BYTES, GroupHeader, LogHeader, PAGE_BYTES, RecordHeader,
    SegmentHeader, Start, padded, record_bytes,
};
use crate::group::{Group, Seal};
use crate::medium::{ReadSegments, Segment};
use crate::recovery::Scan;
use crate::salvage::Gap;

/// Everything here is sealed under this key, which an attacker does not have and a fuzzer may use.
const KEY: ChecksumKey = ChecksumKey([0x4b; 32]);
const FINGERPRINT: [u8; 32] = [0x46; 32];

/// Reads `bytes` as each kind of header, a record among them. Whatever is accepted has to be written as it was read.
/// Returns whether any was.
///
/// # Panics
///
/// If an accepted header encodes to other bytes.
pub fn headers(bytes: &[u8]) -> bool {
    let mut accepted = false;
    if let Ok(header) = LogHeader::decode(bytes) {
        same_fields(&header.encode(), bytes, 136);
        accepted = true;
    }
    if let Ok(header) = SegmentHeader::decode(bytes, &KEY) {
        same_fields(&header.encode(&KEY), bytes, 72);
        accepted = true;
    }
    let address = Address {
        segment: 1,
        offset: FIRST_GROUP,
    };
    if let Some((header, checksum)) = GroupHeader::decode(bytes, &KEY, address) {
        let mut again = vec![0; GROUP_HEADER_BYTES];
        let sealed = header.encode(&KEY, &mut again);
        assert_eq!((&again[..], sealed), (&bytes[..GROUP_HEADER_BYTES], checksum));
        accepted = true;
    }
    if let Some(header) = RecordHeader::decode(bytes, &KEY) {
        let total = header.total_bytes();
        let mut again = vec![0; total];
        let payload = &bytes[total - header.payload_bytes as usize..total];
        header.encode(&KEY, &[payload], &mut again);
        assert_eq!(again, bytes[..total], "a record is written as it was read");
        accepted = true;
    }
    accepted
}

/// The padding of a header page is under its checksum and read as nothing: only the fields have to come back.
fn same_fields(again: &[u8], bytes: &[u8], fields: usize) {
    assert_eq!(
        again[16..fields],
        bytes[16..fields],
        "a header is written as it was read"
    );
}

/// One header of each kind, and a record: what [`headers`] accepts.
pub fn sample_headers() -> Vec<(&'static str, Vec<u8>)> {
    let mut image = Image::new(4, 1);
    image.append(0, &[(7, b"payload"), (1, b"")]);
    let log = LogHeader {
        fingerprint: FINGERPRINT,
        key: KEY,
        start: Start {
            segment: 3,
            ..Start::FIRST
        },
    };
    let file = &image.segments[0];
    let group = PAGE_BYTES..PAGE_BYTES + GROUP_HEADER_BYTES;
    let record = group.end..group.end + record_bytes(false, 7);
    vec![
        ("log", log.encode()),
        ("segment", file[..PAGE_BYTES].to_vec()),
        ("group", file[group].to_vec()),
        ("record", file[record].to_vec()),
    ]
}

/// Makes the checksum hold of whatever header or record begins `bytes`.
pub fn reseal(bytes: &mut [u8]) {
    let length = match bytes.get(16..20) {
        Some(b"TGRP") => GROUP_HEADER_BYTES,
        Some([b'T', b'R', ..]) if bytes.len() >= 24 => {
            let payload = u32::from_le_bytes([bytes[20], bytes[21], bytes[22], bytes[23]]);
            record_bytes(bytes[19] & 1 == 1, payload as usize)
        }
        Some(b"TSEG") => PAGE_BYTES,
        _ => return,
    };
    if let Some(covered) = bytes.get_mut(..length) {
        KEY.seal(covered);
    }
}

/// A group as it was written.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Index of its segment.
    pub segment: usize,
    /// Where it begins in the file.
    pub offset: usize,
    /// Bytes on disk, padding included.
    pub bytes: usize,
    /// Its number, from 1.
    pub number: u64,
    /// The number up to which it says that groups were durable.
    pub durable: u64,
    /// Sequence of its first record.
    pub first_sequence: u64,
    /// Records in it.
    pub records: u64,
}

/// How a recovery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is behind the last group.
    Whole,
    /// A torn tail was left out.
    Torn,
    /// Refused: something durable is gone, and nothing tells where the log would go on.
    Refused,
}

/// What recovery gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Back {
    /// Records in order.
    pub records: Vec<Found>,
    /// What is missing, as far as the log knows.
    pub gaps: Vec<Gap>,
    /// How it ended.
    pub end: End,
}

/// A record as it came back: its sequence, kind and payload.
pub type Found = (u64, u8, Vec<u8>);

/// Which records the images hold as replaceable, by their kind.
pub fn is_replaceable(kind: u8) -> bool {
    kind.is_multiple_of(3)
}

/// The segment files of a log in memory.
pub struct Image {
    /// The bytes of each file; the first is number 1.
    pub segments: Vec<Vec<u8>>,
    groups: Vec<Placed>,
    checksum: Checksum,
    irreplaceable: u64,
    start: Start,
    /// Where the groups of each segment begin.
    starts: Vec<Start>,
}

impl Image {
    /// Empty files of `pages` pages.
    pub fn new(pages: usize, files: usize) -> Image {
        let file = |number| {
            let mut bytes = vec![0; pages * PAGE_BYTES];
            let header = SegmentHeader {
                number,
                segment_bytes: bytes.len() as u64,
                fingerprint: FINGERPRINT,
            };
            bytes[..PAGE_BYTES].copy_from_slice(&header.encode(&KEY));
            bytes
        };
        Image {
            segments: (1..).take(files).map(file).collect(),
            groups: Vec::new(),
            checksum: [0; 16],
            irreplaceable: 0,
            start: Start::FIRST,
            starts: Vec::new(),
        }
    }

    /// Releases the segments before the one with this index, if a group begins that; their bytes go. Returns the sequence
    /// of the first record that is left.
    pub fn release(&mut self, index: usize) -> Option<u64> {
        let start = *self.starts.iter().find(|start| start.segment == index as u64 + 1)?;
        self.start = start;
        self.segments[..index].iter_mut().for_each(|file| file.fill(0));
        Some(start.sequence)
    }

    /// What was written.
    pub fn groups(&self) -> &[Placed] {
        &self.groups
    }

    /// Writes a group by the log's own code, where the log would; false if there is no room.
    pub fn append(&mut self, durable: u64, records: &[(u8, &[u8])]) -> bool {
        let size: usize = records.iter().map(|r| record_bytes(false, r.1.len())).sum();
        let size = padded(GROUP_HEADER_BYTES + size);
        let (mut segment, mut offset, mut sequence) = (0, PAGE_BYTES, 1);
        if let Some(last) = self.groups.last() {
            (segment, offset) = (last.segment, last.offset + last.bytes);
            sequence = last.first_sequence + last.records;
        }
        if self.segments.get(segment).is_none_or(|file| offset + size > file.len()) {
            (segment, offset) = (segment + 1, PAGE_BYTES);
        }
        let fits = self
            .segments
            .get(segment)
            .is_some_and(|file| offset + size <= file.len());
        if !fits || records.is_empty() {
            return false;
        }
        let address = Address {
            segment: segment as u64 + 1,
            offset: offset as u64,
        };
        let mut group = Group::new(AlignedBuffer::new(size), address, size as u64, sequence, 1);
        for (kind, payload) in records {
            let length = u32::try_from(payload.len()).expect("a small record");
            let entry = Entry {
                kind: *kind,
                key: None,
                mark: 0,
                replaceable: is_replaceable(*kind),
                vital: false,
                parts: &[payload],
            };
            group.push(&KEY, &entry, length);
        }
        let number = self.groups.len() as u64 + 1;
        if offset == PAGE_BYTES {
            self.starts.push(Start {
                segment: address.segment,
                group: number,
                sequence,
                previous: self.checksum,
                irreplaceable: self.irreplaceable,
            });
        }
        let seal = Seal {
            number,
            durable: durable.min(number - 1),
            previous: self.checksum,
            irreplaceable_before: self.irreplaceable,
            opened_at: 1,
        };
        self.irreplaceable += u64::from(group.irreplaceable());
        let (buffer, checksum) = group.seal(&KEY, &seal);
        self.segments[segment][offset..offset + size].copy_from_slice(&buffer[..size]);
        self.checksum = checksum;
        self.groups.push(Placed {
            segment,
            offset,
            bytes: size,
            number,
            durable: seal.durable,
            first_sequence: sequence,
            records: records.len() as u64,
        });
        true
    }

    /// Recovers by the log's own code.
    ///
    /// # Panics
    ///
    /// If recovery fails by anything but damage.
    pub fn recover(&self) -> Back {
        let mut back = Back {
            records: Vec::new(),
            gaps: Vec::new(),
            end: End::Refused,
        };
        let mut source = Files(&self.segments);
        let segments = (1..).zip(&self.segments).map(|(number, file)| Segment {
            number,
            bytes: file.len() as u64,
        });
        let segments = segments
            .filter(|segment| segment.number >= self.start.segment)
            .collect();
        let scan = Scan::new(&mut source, KEY, &FINGERPRINT, &self.start, segments, &Bugs::default());
        let mut scan = match scan {
            Ok(scan) => scan,
            Err(error) => {
                expect_refusal(&error);
                return back;
            }
        };
        loop {
            match scan.next_group(&mut source) {
                Ok(Some(group)) => back.records.extend(group.records.iter().map(|(at, header)| {
                    let end = at + header.total_bytes();
                    let payload = group.bytes[end - header.payload_bytes as usize..end].to_vec();
                    (header.sequence, header.kind, payload)
                })),
                Ok(None) => {
                    back.end = if scan.torn().is_some() { End::Torn } else { End::Whole };
                    break;
                }
                Err(error) => {
                    expect_refusal(&error);
                    break;
                }
            }
        }
        back.gaps = scan.gaps().to_vec();
        back
    }
}

fn expect_refusal(error: &LogError) {
    let refused = matches!(
        error,
        LogError::Damaged { .. } | LogError::WrongVersion { .. } | LogError::WrongFingerprint { .. }
    );
    assert!(refused, "recovery fails by damage alone: {error}");
}

struct Files<'a>(&'a [Vec<u8>]);

impl ReadSegments for Files<'_> {
    fn read_at(&mut self, segment: u64, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        let file = &self.0[usize::try_from(segment).expect("an index") - 1];
        let from = usize::try_from(offset).expect("an offset");
        into.copy_from_slice(&file[from..from + into.len()]);
        Ok(())
    }

    fn path(&self, segment: u64) -> PathBuf {
        format!("segment-{segment}").into()
    }
}
