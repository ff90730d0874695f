//! A group while it gathers records.

use crate::Entry;
use crate::buffer::AlignedBuffer;
use crate::format::{
    Address, Checksum, ChecksumKey, GROUP_HEADER_BYTES, GroupHeader, RecordHeader, padded, record_bytes,
};

/// Records that will be written at once. Its place on disk is settled when it begins, since every record's checksum
/// covers its address.
pub(crate) struct Group {
    buffer: AlignedBuffer,
    address: Address,
    /// What the buffer and the rest of the segment allow.
    capacity: usize,
    used: usize,
    record_count: u32,
    irreplaceable: u32,
    first_sequence: u64,
    opening: u64,
}

/// What is known only when a group's write starts.
pub(crate) struct Seal {
    pub(crate) number: u64,
    pub(crate) durable: u64,
    pub(crate) previous: Checksum,
    pub(crate) irreplaceable_before: u64,
    pub(crate) opened_at: u64,
}

impl Group {
    pub(crate) fn new(
        buffer: AlignedBuffer,
        address: Address,
        segment_left: u64,
        first_sequence: u64,
        opening: u64,
    ) -> Group {
        let left = usize::try_from(segment_left).unwrap_or(usize::MAX);
        let capacity = buffer.len().min(left);
        assert!(capacity >= GROUP_HEADER_BYTES);
        Group {
            buffer,
            address,
            capacity,
            used: GROUP_HEADER_BYTES,
            record_count: 0,
            irreplaceable: 0,
            first_sequence,
            opening,
        }
    }

    pub(crate) fn fits(&self, record: usize) -> bool {
        self.used + record <= self.capacity
    }

    /// Adds a record; returns its address.
    pub(crate) fn push(&mut self, key: &ChecksumKey, entry: &Entry<'_>, payload_bytes: u32) -> Address {
        let total = record_bytes(entry.key.is_some(), payload_bytes as usize);
        assert!(self.fits(total));
        let address = Address {
            segment: self.address.segment,
            offset: self.address.offset + self.used as u64,
        };
        let header = RecordHeader {
            kind: entry.kind,
            key: entry.key,
            mark: entry.mark,
            replaceable: entry.replaceable,
            payload_bytes,
            sequence: self.first_sequence + u64::from(self.record_count),
            address,
            opening: self.opening,
        };
        header.encode(key, entry.parts, &mut self.buffer[self.used..self.used + total]);
        self.used += total;
        self.record_count += 1;
        self.irreplaceable += u32::from(!entry.replaceable);
        address
    }

    /// Completes the bytes for the disk: header in front, zeroes behind.
    pub(crate) fn seal(mut self, key: &ChecksumKey, seal: &Seal) -> (AlignedBuffer, Checksum) {
        let end = self.padded_bytes();
        self.buffer[self.used..end].fill(0);
        let header = GroupHeader {
            number: seal.number,
            address: self.address,
            first_sequence: self.first_sequence,
            record_count: self.record_count,
            bytes: u32::try_from(self.used).expect("a group is shorter than a segment"),
            durable: seal.durable,
            irreplaceable: self.irreplaceable,
            opening: self.opening,
            previous: seal.previous,
            irreplaceable_before: seal.irreplaceable_before,
            opened_at: seal.opened_at,
        };
        let checksum = header.encode(key, &mut self.buffer);
        (self.buffer, checksum)
    }

    /// The sequence of its first record.
    pub(crate) fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// How many of its records cannot be had from another replica.
    pub(crate) fn irreplaceable(&self) -> u32 {
        self.irreplaceable
    }

    pub(crate) fn address(&self) -> Address {
        self.address
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.used]
    }

    /// Bytes it takes on disk.
    pub(crate) fn padded_bytes(&self) -> usize {
        padded(self.used)
    }

    /// The sequence of its last record; of the record before it if it has none.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.first_sequence + u64::from(self.record_count) - 1
    }
}
