//! What survives a power loss: sectors, each whole.

use std::collections::BTreeMap;

use crate::medium::Segment;

/// What a disk writes whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;

/// A sector that could not be read.
pub(crate) struct Unreadable {
    /// Offset of the sector in its segment.
    pub(crate) offset: u64,
}

struct Sector {
    bytes: Box<[u8; SECTOR_BYTES]>,
    unreadable: bool,
}

/// A segment file. Sectors that were never written are zero and take no memory.
struct File {
    bytes: u64,
    sectors: BTreeMap<u64, Sector>,
}

/// All segment files.
#[derive(Default)]
pub(crate) struct Surface {
    files: BTreeMap<u64, File>,
}

impl Surface {
    /// A new file, zero but for its header.
    pub(crate) fn create(&mut self, segment: Segment, header: &[u8]) {
        let file = File {
            bytes: segment.bytes,
            sectors: BTreeMap::new(),
        };
        let before = self.files.insert(segment.number, file);
        assert!(before.is_none(), "a segment is never made twice");
        self.write(segment.number, 0, header);
    }

    /// The file is removed, if it is there.
    pub(crate) fn remove(&mut self, segment: u64) {
        self.files.remove(&segment);
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        let segment = |(number, file): (&u64, &File)| Segment {
            number: *number,
            bytes: file.bytes,
        };
        self.files.iter().map(segment)
    }

    /// Stores whole sectors from a sector's offset on.
    pub(crate) fn write(&mut self, segment: u64, offset: u64, bytes: &[u8]) {
        let file = self.files.get_mut(&segment).expect("the segment exists");
        assert!(
            offset + bytes.len() as u64 <= file.bytes,
            "a write stays within its file"
        );
        let (first, rest) = (offset / SECTOR_BYTES as u64, offset % SECTOR_BYTES as u64);
        assert_eq!(rest, 0, "writes begin at a sector");
        for (index, piece) in (first..).zip(bytes.chunks_exact(SECTOR_BYTES)) {
            if piece.iter().all(|byte| *byte == 0) {
                file.sectors.remove(&index);
                continue;
            }
            let bytes = Box::new(<[u8; SECTOR_BYTES]>::try_from(piece).expect("a whole sector"));
            let sector = Sector {
                bytes,
                unreadable: false,
            };
            file.sectors.insert(index, sector);
        }
    }

    /// Fills `into`; all of it, or the first sector that cannot be read.
    pub(crate) fn read(&self, segment: u64, offset: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        into.fill(0);
        let end = offset + into.len() as u64;
        let sectors = offset / SECTOR_BYTES as u64..end.div_ceil(SECTOR_BYTES as u64);
        for (index, sector) in self.files[&segment].sectors.range(sectors) {
            let start = index * SECTOR_BYTES as u64;
            if sector.unreadable {
                return Err(Unreadable { offset: start });
            }
            overlay(offset, into, start, &sector.bytes[..]);
        }
        Ok(())
    }

    /// Flips a bit of a sector that holds something. False if it holds nothing.
    pub(crate) fn flip(&mut self, segment: u64, offset: u64, bit: u8) -> bool {
        let sector = self.sector(segment, offset);
        let within = (offset % SECTOR_BYTES as u64) as usize;
        sector.is_some_and(|sector| {
            sector.bytes[within] ^= 1 << (bit % 8);
            true
        })
    }

    /// From now on a sector that holds something cannot be read until it is written. False if it holds nothing.
    pub(crate) fn spoil(&mut self, segment: u64, offset: u64) -> bool {
        let sector = self.sector(segment, offset);
        sector.is_some_and(|sector| {
            sector.unreadable = true;
            true
        })
    }

    fn sector(&mut self, segment: u64, offset: u64) -> Option<&mut Sector> {
        let file = self.files.get_mut(&segment)?;
        file.sectors.get_mut(&(offset / SECTOR_BYTES as u64))
    }
}

/// Copies what of `bytes`, standing at `start`, falls into the range that begins at `offset`.
pub(crate) fn overlay(offset: u64, into: &mut [u8], start: u64, bytes: &[u8]) {
    let end = (offset + into.len() as u64).min(start + bytes.len() as u64);
    let from = start.max(offset);
    if from < end {
        let source = &bytes[(from - start) as usize..(end - start) as usize];
        into[(from - offset) as usize..(end - offset) as usize].copy_from_slice(source);
    }
}
