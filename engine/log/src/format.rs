//! The bytes of the log: pure encoding and decoding, no IO. LOG_FORMAT.md has the diagrams.
//!
//! All integers are little-endian. Every structure begins with its checksum, so that what it covers is one contiguous
//! run of bytes.

use crate::RecordKey;

/// Groups begin at multiples of this; the direct-IO alignment of every disk we know divides it.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Length of a group's header.
pub(crate) const GROUP_HEADER_BYTES: usize = 112;
/// Length of a record's header, without key and mark.
pub(crate) const RECORD_HEADER_BYTES: usize = 56;
/// Length of a record's key and mark.
pub(crate) const KEY_BYTES: usize = 40;
/// The version of everything in this file.
pub(crate) const FORMAT_VERSION: u32 = 2;
/// Where the first group of a segment begins: behind the segment's header page.
pub(crate) const FIRST_GROUP: u64 = PAGE_BYTES as u64;

const CHECKSUM_BYTES: usize = 16;
const LOG_MAGIC: u32 = u32::from_le_bytes(*b"TLOG");
const SEGMENT_MAGIC: u32 = u32::from_le_bytes(*b"TSEG");
const GROUP_MAGIC: u32 = u32::from_le_bytes(*b"TGRP");
const RECORD_MAGIC: u16 = u16::from_le_bytes(*b"TR");
const FLAG_KEY: u8 = 1;
const FLAG_REPLACEABLE: u8 = 2;

const _: () = assert!(GROUP_HEADER_BYTES < 512, "a group header never straddles two sectors");

/// A checksum as it stands on disk: 128 bits of keyed blake3.
pub(crate) type Checksum = [u8; CHECKSUM_BYTES];

/// The secret under which a log's checksums are made.
///
/// Records hold bytes that clients and other replicas chose, and recovery looks for group headers at every page. With
/// an unkeyed checksum such an author could write a valid header into a payload; with the key he cannot.
#[derive(Clone)]
pub(crate) struct ChecksumKey(pub(crate) [u8; 32]);

impl ChecksumKey {
    fn sum(&self, covered: &[u8]) -> Checksum {
        first_half(blake3::keyed_hash(&self.0, covered))
    }

    /// Writes the checksum of everything behind the first 16 bytes into those.
    pub(crate) fn seal(&self, bytes: &mut [u8]) -> Checksum {
        let sum = self.sum(&bytes[CHECKSUM_BYTES..]);
        bytes[..CHECKSUM_BYTES].copy_from_slice(&sum);
        sum
    }

    fn holds(&self, bytes: &[u8]) -> bool {
        self.sum(&bytes[CHECKSUM_BYTES..]) == bytes[..CHECKSUM_BYTES]
    }
}

fn first_half(hash: blake3::Hash) -> Checksum {
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&hash.as_bytes()[..CHECKSUM_BYTES]);
    sum
}

fn get<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(get(bytes, at))
}

fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(get(bytes, at))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Rounds up to whole pages.
pub(crate) fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(PAGE_BYTES)
}

/// Where a segment's first group stands in the chain of groups, known before that group is read: what proves that the
/// segments before it were released and not lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) segment: u64,
    /// Number of its first group.
    pub(crate) group: u64,
    /// Sequence of that group's first record.
    pub(crate) sequence: u64,
    /// Checksum of the header of the group before it.
    pub(crate) previous: Checksum,
    /// Irreplaceable records before it, over the whole life of the log.
    pub(crate) irreplaceable: u64,
}

impl Start {
    /// Of a new log.
    pub(crate) const FIRST: Start = Start {
        segment: 1,
        group: 1,
        sequence: 1,
        previous: [0; CHECKSUM_BYTES],
        irreplaceable: 0,
    };
}

/// The page that identifies a log directory; the header file holds it twice.
pub(crate) struct LogHeader {
    pub(crate) fingerprint: [u8; 32],
    pub(crate) key: ChecksumKey,
    /// Where the log begins: lower segments have been released.
    pub(crate) start: Start,
}

/// Why a header page was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Version(u32),
    Unreadable,
}

impl LogHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut page = vec![0; PAGE_BYTES];
        put(&mut page, 16, &LOG_MAGIC.to_le_bytes());
        put(&mut page, 20, &FORMAT_VERSION.to_le_bytes());
        put(&mut page, 24, &self.fingerprint);
        put(&mut page, 56, &self.key.0);
        put(&mut page, 88, &self.start.segment.to_le_bytes());
        put(&mut page, 96, &self.start.group.to_le_bytes());
        put(&mut page, 104, &self.start.sequence.to_le_bytes());
        put(&mut page, 112, &self.start.previous);
        put(&mut page, 128, &self.start.irreplaceable.to_le_bytes());
        // Not keyed: this page is where the key comes from.
        let sum = first_half(blake3::hash(&page[CHECKSUM_BYTES..]));
        put(&mut page, 0, &sum);
        page
    }

    pub(crate) fn decode(page: &[u8]) -> Result<LogHeader, HeaderFault> {
        if page.len() != PAGE_BYTES || get_u32(page, 16) != LOG_MAGIC {
            return Err(HeaderFault::Unreadable);
        }
        if first_half(blake3::hash(&page[CHECKSUM_BYTES..])) != page[..CHECKSUM_BYTES] {
            return Err(HeaderFault::Unreadable);
        }
        match get_u32(page, 20) {
            FORMAT_VERSION => Ok(LogHeader {
                fingerprint: get(page, 24),
                key: ChecksumKey(get(page, 56)),
                start: Start {
                    segment: get_u64(page, 88),
                    group: get_u64(page, 96),
                    sequence: get_u64(page, 104),
                    previous: get(page, 112),
                    irreplaceable: get_u64(page, 128),
                },
            }),
            other => Err(HeaderFault::Version(other)),
        }
    }
}

/// The first page of a segment file. It is durable before the file gets its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) fingerprint: [u8; 32],
}

impl SegmentHeader {
    pub(crate) fn encode(&self, key: &ChecksumKey) -> Vec<u8> {
        let mut page = vec![0; PAGE_BYTES];
        put(&mut page, 16, &SEGMENT_MAGIC.to_le_bytes());
        put(&mut page, 20, &FORMAT_VERSION.to_le_bytes());
        put(&mut page, 24, &self.number.to_le_bytes());
        put(&mut page, 32, &self.segment_bytes.to_le_bytes());
        put(&mut page, 40, &self.fingerprint);
        key.seal(&mut page);
        page
    }

    pub(crate) fn decode(page: &[u8], key: &ChecksumKey) -> Result<SegmentHeader, HeaderFault> {
        if page.len() != PAGE_BYTES || get_u32(page, 16) != SEGMENT_MAGIC || !key.holds(page) {
            return Err(HeaderFault::Unreadable);
        }
        match get_u32(page, 20) {
            FORMAT_VERSION => Ok(SegmentHeader {
                number: get_u64(page, 24),
                segment_bytes: get_u64(page, 32),
                fingerprint: get(page, 40),
            }),
            other => Err(HeaderFault::Version(other)),
        }
    }
}

/// Where something stands: segment number and byte offset in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// The header of a group: the records that were written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    pub(crate) number: u64,
    pub(crate) address: Address,
    pub(crate) first_sequence: u64,
    pub(crate) record_count: u32,
    /// Length of header and records, without the padding.
    pub(crate) bytes: u32,
    /// Every group up to this number was durable when this one was written; 0 claims nothing.
    pub(crate) durable: u64,
    /// Of its records, how many cannot be had from another replica.
    pub(crate) irreplaceable: u32,
    /// Which opening of the log wrote it ([`opening_after`]).
    pub(crate) opening: u64,
    /// Checksum of the header of the group before this one.
    pub(crate) previous: Checksum,
    /// Irreplaceable records in all groups before this one. Whatever lies between two sound headers, this tells whether
    /// records that matter are missing there.
    pub(crate) irreplaceable_before: u64,
    /// The first group that this opening wrote, or would have: groups of earlier openings from this number on were cut off
    /// with a torn tail.
    pub(crate) opened_at: u64,
}

/// The name of an opening that follows one called `last`: a later opening has a greater one, and two never have the same,
/// even if the earlier one's groups have all been lost.
pub(crate) fn opening_after(last: u64, random: u64) -> u64 {
    ((last >> 32) + 1) << 32 | random >> 32
}

impl GroupHeader {
    /// The sequence of the record behind its last.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.first_sequence + u64::from(self.record_count)
    }

    /// Writes the header to the front of `group` and returns its checksum.
    pub(crate) fn encode(&self, key: &ChecksumKey, group: &mut [u8]) -> Checksum {
        let header = &mut group[..GROUP_HEADER_BYTES];
        put(header, 16, &GROUP_MAGIC.to_le_bytes());
        put(header, 20, &self.record_count.to_le_bytes());
        put(header, 24, &self.number.to_le_bytes());
        put(header, 32, &self.address.segment.to_le_bytes());
        put(header, 40, &self.address.offset.to_le_bytes());
        put(header, 48, &self.first_sequence.to_le_bytes());
        put(header, 56, &self.durable.to_le_bytes());
        put(header, 64, &self.bytes.to_le_bytes());
        put(header, 68, &self.irreplaceable.to_le_bytes());
        put(header, 72, &self.opening.to_le_bytes());
        put(header, 80, &self.previous);
        put(header, 96, &self.irreplaceable_before.to_le_bytes());
        put(header, 104, &self.opened_at.to_le_bytes());
        key.seal(header)
    }

    /// The header at `address` and its checksum, if a sound one stands there.
    pub(crate) fn decode(page: &[u8], key: &ChecksumKey, address: Address) -> Option<(GroupHeader, Checksum)> {
        let bytes = page.get(..GROUP_HEADER_BYTES)?;
        if get_u32(bytes, 16) != GROUP_MAGIC || !key.holds(bytes) {
            return None;
        }
        let header = GroupHeader {
            record_count: get_u32(bytes, 20),
            number: get_u64(bytes, 24),
            address: Address {
                segment: get_u64(bytes, 32),
                offset: get_u64(bytes, 40),
            },
            first_sequence: get_u64(bytes, 48),
            durable: get_u64(bytes, 56),
            bytes: get_u32(bytes, 64),
            irreplaceable: get_u32(bytes, 68),
            opening: get_u64(bytes, 72),
            previous: get(bytes, 80),
            irreplaceable_before: get_u64(bytes, 96),
            opened_at: get_u64(bytes, 104),
        };
        // A sound header at another address is a misdirected write: it says nothing about this place.
        (header.address == address).then(|| (header, get(bytes, 0)))
    }
}

/// A record's place and key, as its header states them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) kind: u8,
    pub(crate) key: Option<RecordKey>,
    /// The owner's, stored with a key; 0 without one.
    pub(crate) mark: u64,
    /// Another replica has it, too.
    pub(crate) replaceable: bool,
    pub(crate) payload_bytes: u32,
    pub(crate) sequence: u64,
    pub(crate) address: Address,
    /// As its group's: a record that was left behind by an earlier opening is not taken for one of this.
    pub(crate) opening: u64,
}

/// Bytes that a record takes in its group.
pub(crate) fn record_bytes(has_key: bool, payload_bytes: usize) -> usize {
    RECORD_HEADER_BYTES + if has_key { KEY_BYTES } else { 0 } + payload_bytes
}

impl RecordHeader {
    pub(crate) fn total_bytes(&self) -> usize {
        record_bytes(self.key.is_some(), self.payload_bytes as usize)
    }

    /// Writes the whole record to `into`, which must be [`total_bytes`](Self::total_bytes) long.
    pub(crate) fn encode(&self, key: &ChecksumKey, parts: &[&[u8]], into: &mut [u8]) {
        assert_eq!(into.len(), self.total_bytes());
        put(into, 16, &RECORD_MAGIC.to_le_bytes());
        into[18] = self.kind;
        into[19] = if self.key.is_some() { FLAG_KEY } else { 0 };
        into[19] |= if self.replaceable { FLAG_REPLACEABLE } else { 0 };
        put(into, 20, &self.payload_bytes.to_le_bytes());
        put(into, 24, &self.sequence.to_le_bytes());
        put(into, 32, &self.address.segment.to_le_bytes());
        put(into, 40, &self.address.offset.to_le_bytes());
        put(into, 48, &self.opening.to_le_bytes());
        let mut at = RECORD_HEADER_BYTES;
        if let Some(RecordKey(bytes)) = &self.key {
            put(into, at, bytes);
            put(into, at + 32, &self.mark.to_le_bytes());
            at += KEY_BYTES;
        }
        for part in parts {
            put(into, at, part);
            at += part.len();
        }
        assert_eq!(at, into.len());
        key.seal(into);
    }

    /// The record at the front of `bytes`, if its checksum holds. Address and sequence are the caller's to compare.
    pub(crate) fn decode(bytes: &[u8], key: &ChecksumKey) -> Option<RecordHeader> {
        let (has_key, total) = Self::claimed(bytes)?;
        let whole = bytes.get(..total)?;
        if !key.holds(whole) {
            return None;
        }
        Some(RecordHeader {
            kind: whole[18],
            key: has_key.then(|| RecordKey(get(whole, RECORD_HEADER_BYTES))),
            mark: if has_key {
                get_u64(whole, RECORD_HEADER_BYTES + 32)
            } else {
                0
            },
            replaceable: whole[19] & FLAG_REPLACEABLE != 0,
            payload_bytes: get_u32(whole, 20),
            sequence: get_u64(whole, 24),
            address: Address {
                segment: get_u64(whole, 32),
                offset: get_u64(whole, 40),
            },
            opening: get_u64(whole, 48),
        })
    }

    /// Whether a record with a key, and of how many bytes, begins here, if one does: unchecked.
    fn claimed(bytes: &[u8]) -> Option<(bool, usize)> {
        let header = bytes.get(..RECORD_HEADER_BYTES)?;
        if header[16..18] != RECORD_MAGIC.to_le_bytes() || header[19] & !(FLAG_KEY | FLAG_REPLACEABLE) != 0 {
            return None;
        }
        let has_key = header[19] & FLAG_KEY != 0;
        Some((has_key, record_bytes(has_key, get_u32(header, 20) as usize)))
    }

    /// What the bytes claim to be, if they look like a record that stands at `address`: worth a look at their checksum.
    pub(crate) fn peek(bytes: &[u8], address: Address) -> Option<Peek> {
        let (_, total) = Self::claimed(bytes)?;
        let here = get_u64(bytes, 32) == address.segment && get_u64(bytes, 40) == address.offset;
        here.then(|| Peek {
            total,
            sequence: get_u64(bytes, 24),
            opening: get_u64(bytes, 48),
        })
    }
}

/// What a record's first bytes say, unchecked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peek {
    /// Its length.
    pub(crate) total: usize,
    pub(crate) sequence: u64,
    pub(crate) opening: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ChecksumKey = ChecksumKey([7; 32]);

    fn group() -> GroupHeader {
        GroupHeader {
            number: 9,
            address: Address {
                segment: 2,
                offset: 8192,
            },
            first_sequence: 41,
            record_count: 3,
            bytes: 500,
            durable: 7,
            irreplaceable: 2,
            opening: 77,
            previous: [5; 16],
            irreplaceable_before: 30,
            opened_at: 8,
        }
    }

    #[test]
    fn headers_come_back() {
        let log = LogHeader {
            fingerprint: [3; 32],
            key: KEY,
            start: Start {
                segment: 4,
                group: 70,
                sequence: 900,
                previous: [8; 16],
                irreplaceable: 500,
            },
        };
        let back = LogHeader::decode(&log.encode()).unwrap();
        assert_eq!(
            (back.fingerprint, back.key.0, back.start),
            ([3; 32], [7; 32], log.start)
        );
        let segment = SegmentHeader {
            number: 4,
            segment_bytes: 1 << 20,
            fingerprint: [3; 32],
        };
        assert_eq!(SegmentHeader::decode(&segment.encode(&KEY), &KEY), Ok(segment));
        let mut page = vec![0; PAGE_BYTES];
        let sum = group().encode(&KEY, &mut page);
        assert_eq!(GroupHeader::decode(&page, &KEY, group().address), Some((group(), sum)));
    }

    #[test]
    fn another_version_is_named() {
        let mut page = LogHeader {
            fingerprint: [3; 32],
            key: KEY,
            start: Start::FIRST,
        }
        .encode();
        put(&mut page, 20, &9u32.to_le_bytes());
        let sum = first_half(blake3::hash(&page[CHECKSUM_BYTES..]));
        put(&mut page, 0, &sum);
        assert_eq!(LogHeader::decode(&page).err(), Some(HeaderFault::Version(9)));
    }

    #[test]
    fn a_group_elsewhere_or_under_another_key_is_none() {
        let mut page = vec![0; PAGE_BYTES];
        group().encode(&KEY, &mut page);
        let elsewhere = Address {
            segment: 2,
            offset: 4096,
        };
        assert_eq!(GroupHeader::decode(&page, &KEY, elsewhere), None);
        assert_eq!(GroupHeader::decode(&page, &ChecksumKey([8; 32]), group().address), None);
    }

    #[test]
    fn every_bit_of_a_record_is_covered() {
        let record = RecordHeader {
            kind: 5,
            key: Some(RecordKey([1; 32])),
            mark: 99,
            replaceable: true,
            payload_bytes: 6,
            sequence: 12,
            address: Address {
                segment: 1,
                offset: 4192,
            },
            opening: 1 << 32,
        };
        let mut bytes = vec![0; record.total_bytes()];
        record.encode(&KEY, &[b"abc", b"", b"def"], &mut bytes);
        assert_eq!(RecordHeader::decode(&bytes, &KEY), Some(record));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::decode(&bytes, &KEY), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for length in 0..bytes.len() {
            assert_eq!(RecordHeader::decode(&bytes[..length], &KEY), None);
        }
    }
}
