//! Recovery as the owner of the log sees it: records in order, then the open log.

use bytes::Bytes;

use crate::RecordKey;
use crate::buffer::AlignedBuffer;
use crate::bugs::Bugs;
use crate::config::{Durability, LogConfig};
use crate::disk;
use crate::error::LogError;
use crate::flushes::{Flushes, Point, Start};
use crate::format::{Address, ChecksumKey, RecordHeader};
use crate::index::{Index, Location};
use crate::log::{Log, Parts};
use crate::medium::{Medium, Segment};
use crate::recovery::{Group, Scan};
use crate::space::Space;

/// A record read back at opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Its position; the [`Lsn`](crate::Lsn) that `append` returned for it.
    pub sequence: u64,
    /// As appended.
    pub kind: u8,
    /// As appended.
    pub key: Option<RecordKey>,
    /// The payload, a slice of its group's bytes: it keeps the whole group in memory (at most `buffer_bytes`).
    pub payload: Bytes,
}

/// A log being recovered.
pub struct Opening {
    config: LogConfig,
    key: ChecksumKey,
    scan: Scan,
    index: Index,
    current: Option<(Bytes, std::vec::IntoIter<(usize, RecordHeader)>)>,
    failed: Option<LogError>,
    notes: Vec<String>,
    bugs: Bugs,
    medium: Box<dyn Medium>,
}

/// A medium with its identity, before recovery.
pub(crate) struct Found {
    pub(crate) medium: Box<dyn Medium>,
    pub(crate) key: ChecksumKey,
    pub(crate) first_segment: u64,
    pub(crate) segments: Vec<Segment>,
    /// None are on in a release.
    pub(crate) bugs: Bugs,
}

impl Opening {
    pub(crate) fn open(config: LogConfig) -> Result<Opening, LogError> {
        config.check()?;
        let found = disk::open(&config)?;
        Opening::on(config, found)
    }

    /// Recovery on any medium.
    pub(crate) fn on(config: LogConfig, found: Found) -> Result<Opening, LogError> {
        let mut medium = found.medium;
        let scan = Scan::new(
            medium.as_mut(),
            found.key.clone(),
            &config.fingerprint,
            found.first_segment,
            found.segments,
            &found.bugs,
        )?;
        let notes = medium.notes();
        Ok(Opening {
            index: Index::new(config.max_keys),
            config,
            key: found.key,
            scan,
            current: None,
            failed: None,
            notes,
            bugs: found.bugs,
            medium,
        })
    }

    /// The next record in order of appending; `None` at the end. After an error, only that error again.
    #[allow(clippy::should_implement_trait)] // Not a plain iterator: it ends by `finish`.
    pub fn next(&mut self) -> Option<Result<Recovered, LogError>> {
        loop {
            if let Some(error) = &self.failed {
                return Some(Err(error.clone()));
            }
            if let Some(record) = self.next_of_group() {
                return Some(Ok(record));
            }
            match self.scan.next_group(self.medium.as_mut()) {
                Ok(Some(Group { bytes, records })) => self.current = Some((bytes, records.into_iter())),
                Ok(None) => return None,
                Err(error) => self.failed = Some(error),
            }
        }
    }

    fn next_of_group(&mut self) -> Option<Recovered> {
        let (bytes, records) = self.current.as_mut()?;
        let Some((at, header)) = records.next() else {
            self.current = None;
            return None;
        };
        let total = header.total_bytes();
        let payload = bytes.slice(at + total - header.payload_bytes as usize..at + total);
        if let Some(key) = header.key {
            let location = Location {
                address: header.address,
                bytes: u32::try_from(total).expect("a record is shorter than a segment"),
            };
            self.index.insert(key, location);
        }
        Some(Recovered {
            sequence: header.sequence,
            kind: header.kind,
            key: header.key,
            payload,
        })
    }

    /// Bytes read so far, and bytes there are (preallocated ones included).
    pub fn progress(&self) -> (u64, u64) {
        self.scan.progress()
    }

    /// What there is to say so far: which device, which filesystem, a torn tail.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        notes.extend(self.scan.torn().map(str::to_owned));
        notes
    }

    /// Reads what is left and opens the log for writing. Fails if recovery does; then nothing was changed.
    pub fn finish(mut self) -> Result<Log, LogError> {
        while let Some(record) = self.next() {
            record?;
        }
        let notes = self.notes();
        if self.config.durability != Durability::None {
            // What was just read may have been in a cache only: a process that was killed between write and flush
            // leaves such groups, and from here on they count as durable.
            self.scan.rewrite_unproven(self.medium.as_mut())?;
            self.medium.sync_all()?;
        }
        let (chain, segments, at) = self.scan.finish();
        let end: Address = chain.end;
        let mut pool: Vec<AlignedBuffer> = (0..self.config.in_flight + 2)
            .map(|_| AlignedBuffer::new(self.config.buffer_bytes))
            .collect();
        self.medium.adopt(&mut pool);
        let mut notes_now = self.medium.notes();
        notes_now.extend(notes.into_iter().skip(self.notes.len()));
        let start = Start {
            point: Point {
                group: chain.number,
                sequence: chain.next_sequence - 1,
            },
            checksum: chain.checksum,
            opening: self.medium.draw(),
            bugs: self.bugs,
        };
        let flushes = Flushes::new(
            self.config.durability,
            self.config.in_flight,
            self.config.buffer_bytes,
            pool,
            &start,
        );
        Log::from_parts(Parts {
            space: Space::new(&self.config, &segments, at, end),
            config: self.config,
            key: self.key,
            flushes,
            index: self.index,
            next_sequence: chain.next_sequence,
            notes: notes_now,
            medium: self.medium,
        })
    }
}
