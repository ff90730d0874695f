//! Recovery as the owner of the log sees it: records in order, then the open log.

use bytes::Bytes;

use crate::RecordKey;
use crate::buffer::AlignedBuffer;
use crate::bugs::Bugs;
use crate::config::{Durability, LogConfig};
use crate::disk;
use crate::error::LogError;
use crate::flushes::{Flushes, Point, Standing};
use crate::format::{ChecksumKey, RecordHeader, Start, opening_after};
use crate::index::{Index, Location};
use crate::log::{Log, Parts};
use crate::medium::{Medium, Segment};
use crate::recovery::{Group, LogEnd, Scan};
use crate::salvage::Gap;
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
    /// As appended.
    pub mark: u64,
    /// As appended.
    pub replaceable: bool,
    /// The payload, a slice of its group's bytes: it keeps the whole group in memory (at most `buffer_bytes`).
    pub payload: Bytes,
}

/// A log being recovered.
pub struct Opening {
    config: LogConfig,
    key: ChecksumKey,
    start: Start,
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
    /// Where the log begins.
    pub(crate) start: Start,
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
            &found.start,
            found.segments,
            &found.bugs,
        )?;
        let notes = medium.notes();
        Ok(Opening {
            index: Index::new(config.max_keys),
            config,
            key: found.key,
            start: found.start,
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
            self.index.insert(key, Location::of(&header));
        }
        Some(Recovered {
            sequence: header.sequence,
            kind: header.kind,
            key: header.key,
            mark: header.mark,
            replaceable: header.replaceable,
            payload,
        })
    }

    /// Bytes from the beginning of the log to the last record found, padding included.
    pub fn found_bytes(&self) -> u64 {
        self.scan.found_bytes()
    }

    /// Bytes read so far, and bytes there are (preallocated ones included).
    pub fn progress(&self) -> (u64, u64) {
        self.scan.progress()
    }

    /// What there is to say so far: which device, which filesystem, damage, a torn tail.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        notes.extend(self.scan.notes());
        notes
    }

    /// Whether a torn tail was left out.
    pub fn torn(&self) -> bool {
        self.scan.torn().is_some()
    }

    /// What had been durable and is missing, so far. The log goes on behind it; whether its owner may is his to judge
    /// ([`Gap::loses_irreplaceable`]).
    pub fn gaps(&self) -> &[Gap] {
        self.scan.gaps()
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
        let LogEnd {
            chain,
            segments,
            at,
            starts,
            newest_opening,
            gaps,
        } = self.scan.finish();
        if segments[at].number != chain.end.segment {
            return Err(crate::recovery::missing(self.medium.as_ref(), chain.end.segment));
        }
        let mut pool: Vec<AlignedBuffer> = (0..self.config.in_flight + 2)
            .map(|_| AlignedBuffer::new(self.config.buffer_bytes))
            .collect();
        self.medium.adopt(&mut pool);
        let mut notes_now = self.medium.notes();
        notes_now.extend(notes.into_iter().skip(self.notes.len()));
        let standing = Standing {
            point: Point {
                group: chain.number,
                sequence: chain.next_sequence - 1,
            },
            checksum: chain.checksum,
            irreplaceable: chain.irreplaceable,
            starts,
            bugs: self.bugs,
        };
        let flushes = Flushes::new(
            self.config.durability,
            self.config.in_flight,
            self.config.buffer_bytes,
            pool,
            standing,
        );
        Log::from_parts(Parts {
            space: Space::new(&self.config, &segments, at, chain.end),
            opening: opening_after(newest_opening, self.medium.draw()),
            first_segment: self.start.segment,
            gaps,
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
