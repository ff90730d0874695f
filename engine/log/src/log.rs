//! The log as its owner sees it.

use std::os::fd::BorrowedFd;

use bytes::Bytes;

use crate::config::{Durability, LogConfig};
use crate::error::{FullReason, LogError};
use crate::flushes::{Flushes, within};
use crate::format::{ChecksumKey, GROUP_HEADER_BYTES, KEY_BYTES, RecordHeader, padded, record_bytes};
use crate::group::Group;
use crate::index::{Index, Location};
use crate::medium::Medium;
use crate::opening::Opening;
use crate::release::Releases;
use crate::salvage::Gap;
use crate::space::{NoPlace, Space};
use crate::{Entry, Lsn, RecordKey};

/// An open write-ahead log. One thread owns it; nothing here blocks except [`wait`](Log::wait),
/// [`close`](Log::close) and [`read`](Log::read).
///
/// It may be opened on one thread and moved to another. From the first append on it should stay there: when a thread ends,
/// the kernel cancels the writes that it has in flight.
pub struct Log {
    config: LogConfig,
    key: ChecksumKey,
    gathering: Option<Group>,
    pub(crate) flushes: Flushes,
    pub(crate) space: Space,
    pub(crate) index: Index,
    pub(crate) releases: Releases,
    /// Stands in everything that is written from now on.
    opening: u64,
    pub(crate) next_sequence: u64,
    /// `submit` was called and the gathering group has not started since.
    wanted: bool,
    failed: Option<LogError>,
    counts: Counts,
    notes: Vec<String>,
    gaps: Vec<Gap>,
    /// Last, so that everything above is gone before the device stops.
    pub(crate) medium: Box<dyn Medium>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    bytes_appended: u64,
    records: u64,
    busy: u64,
    full: u64,
}

/// Counters and gauges; `_us` are microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Payload bytes accepted since opening.
    pub bytes_appended: u64,
    /// Bytes written, with headers and padding.
    pub bytes_written: u64,
    /// Flushes to stable storage that completed (none in mode `None`).
    pub flushes: u64,
    /// Groups whose write started.
    pub groups: u64,
    /// Records accepted since opening.
    pub records: u64,
    /// Sum over all flushes, from start to completion.
    pub flush_us_sum: u64,
    /// The latest flush.
    pub flush_us_last: u64,
    /// The slowest flush.
    pub flush_us_max: u64,
    /// Appends refused with `Busy`.
    pub busy: u64,
    /// Appends refused with `Full`.
    pub full: u64,
    /// `io_uring` or `plain`.
    pub device: &'static str,
    /// Whether the buffers are registered with the ring.
    pub registered_buffers: bool,
    /// Whether writes bypass the page cache.
    pub direct: bool,
    /// Bytes still to be written within `max_log_bytes` (without those segments the disk refused).
    pub free_bytes: u64,
    /// The part of `free_bytes` that is preallocated.
    pub prepared_bytes: u64,
    /// Why the log cannot grow: intake should stop while this is set and `prepared_bytes` runs low.
    pub growth_stopped: Option<FullReason>,
    /// Bytes of all segment files, preallocated ones included.
    pub disk_bytes: u64,
    /// Number of the segment with which the log begins: those before it have been released.
    pub first_segment: u64,
    /// Segments that hold records.
    pub segments: usize,
    /// Sequence of the first record that is still there, or will be.
    pub first_record: u64,
    /// Segments released since opening.
    pub released_segments: u64,
    /// Bytes of their files.
    pub released_bytes: u64,
    /// Entries of the key index.
    pub keys: usize,
    /// The mode, as named in configuration and reports.
    pub durability: &'static str,
}

/// What an opened log is made of.
pub(crate) struct Parts {
    pub(crate) config: LogConfig,
    pub(crate) key: ChecksumKey,
    pub(crate) flushes: Flushes,
    pub(crate) space: Space,
    pub(crate) index: Index,
    pub(crate) next_sequence: u64,
    pub(crate) opening: u64,
    pub(crate) first_segment: u64,
    pub(crate) notes: Vec<String>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) medium: Box<dyn Medium>,
}

impl Log {
    /// Opens the directory (creating it if it is empty or absent) and begins recovery.
    pub fn open(config: LogConfig) -> Result<Opening, LogError> {
        Opening::open(config)
    }

    /// As [`open`](Log::open), on a simulated disk.
    #[cfg(any(test, feature = "simulation"))]
    pub fn open_simulated(config: LogConfig, disk: &crate::simulation::SimulatedDisk) -> Result<Opening, LogError> {
        config.check()?;
        Opening::on(config, disk.found()?)
    }

    pub(crate) fn from_parts(parts: Parts) -> Result<Log, LogError> {
        let mut log = Log {
            config: parts.config,
            key: parts.key,
            gathering: None,
            flushes: parts.flushes,
            space: parts.space,
            index: parts.index,
            releases: Releases::new(parts.first_segment),
            opening: parts.opening,
            next_sequence: parts.next_sequence,
            wanted: false,
            failed: None,
            counts: Counts::default(),
            notes: parts.notes,
            gaps: parts.gaps,
            medium: parts.medium,
        };
        log.space.grow(log.medium.as_mut(), &log.key)?;
        Ok(log)
    }

    /// Adds a record to the gathering group. The payload is the concatenation of `parts`. With a key it can be
    /// [`read`](Log::read) back, at once; a later record with the same key takes its place.
    ///
    /// Errors: [`Busy`](LogError::Busy), [`Full`](LogError::Full), [`TooLarge`](LogError::TooLarge) refuse this append
    /// and change nothing; any other is final.
    pub fn append(&mut self, kind: u8, key: Option<RecordKey>, parts: &[&[u8]]) -> Result<Lsn, LogError> {
        self.append_entry(&Entry {
            kind,
            key,
            mark: 0,
            replaceable: false,
            vital: false,
            parts,
        })
    }

    /// As [`append`](Log::append), for records that must go on while the log is full (votes): may use
    /// `reserve_bytes`.
    pub fn append_vital(&mut self, kind: u8, key: Option<RecordKey>, parts: &[&[u8]]) -> Result<Lsn, LogError> {
        self.append_entry(&Entry {
            kind,
            key,
            mark: 0,
            replaceable: false,
            vital: true,
            parts,
        })
    }

    /// Whether an [`append`](Log::append) of so many payload bytes, with a key, would be accepted now. For stages
    /// that look for room before they take input.
    pub fn has_room(&self, payload_bytes: usize) -> bool {
        self.failed.is_none()
            && payload_bytes <= self.config.max_record_bytes as usize
            && self.check(None, record_bytes(true, payload_bytes), false).is_ok()
    }

    /// As [`append`](Log::append), with all that can be said of a record.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn append_entry(&mut self, entry: &Entry<'_>) -> Result<Lsn, LogError> {
        self.check_alive()?;
        let payload = entry.parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let payload_bytes = u32::try_from(payload)
            .ok()
            .filter(|bytes| *bytes <= self.config.max_record_bytes)
            .ok_or(LogError::TooLarge {
                bytes: payload,
                limit: self.config.max_record_bytes,
            })?;
        let record = record_bytes(entry.key.is_some(), payload_bytes as usize);
        if let Err(refusal) = self.check(entry.key.as_ref(), record, entry.vital) {
            self.count_refusal(&refusal);
            return Err(refusal);
        }
        self.make_room(record)?;
        let group = self.gathering.as_mut().expect("make_room leaves a group");
        let address = group.push(&self.key, entry, payload_bytes);
        if let Some(key) = entry.key {
            let location = Location {
                address,
                bytes: u32::try_from(record).expect("a record is shorter than a segment"),
                kind: entry.kind,
                mark: entry.mark,
            };
            self.index.insert(key, location);
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.counts.records += 1;
        self.counts.bytes_appended += payload;
        Ok(Lsn(sequence))
    }

    /// Whether a record of so many bytes (headers included) can be taken; changes nothing.
    fn check(&self, key: Option<&RecordKey>, record: usize, vital: bool) -> Result<(), LogError> {
        if key.is_some_and(|key| !self.index.has_room(key)) {
            return Err(full(FullReason::Keys, KEY_BYTES as u64, 0));
        }
        let open = self.gathering.as_ref();
        let open_bytes = open.map_or(0, |group| group.padded_bytes() as u64);
        let needed = padded(GROUP_HEADER_BYTES + record) as u64;
        if !vital {
            self.space.check_reserve(open_bytes, needed)?;
        }
        if open.is_some_and(|group| group.fits(record)) {
            return Ok(());
        }
        match self.space.check_place(open_bytes, needed) {
            Ok(()) if open.is_some() && !self.flushes.has_room() => Err(LogError::Busy),
            Ok(()) => Ok(()),
            Err(NoPlace::Preparing) => Err(LogError::Busy),
            Err(NoPlace::Full(reason)) => Err(full(reason, needed, self.space.prepared_bytes())),
        }
    }

    fn count_refusal(&mut self, refusal: &LogError) {
        match refusal {
            LogError::Busy => {
                self.counts.busy += 1;
                self.space.hurry(self.medium.as_mut());
            }
            LogError::Full { .. } => self.counts.full += 1,
            _ => {}
        }
    }

    /// Leaves a gathering group that the record fits into. After `check`.
    fn make_room(&mut self, record: usize) -> Result<(), LogError> {
        if self.gathering.as_ref().is_some_and(|group| group.fits(record)) {
            return Ok(());
        }
        self.close_group()?;
        self.begin_group(GROUP_HEADER_BYTES + record);
        Ok(())
    }

    fn begin_group(&mut self, bytes: usize) {
        assert!(self.gathering.is_none());
        let (address, left) = self.space.place(padded(bytes) as u64);
        let buffer = self.flushes.take_buffer(bytes);
        self.gathering = Some(Group::new(buffer, address, left, self.next_sequence, self.opening));
    }

    /// Hands the gathering group over for writing.
    fn close_group(&mut self) -> Result<(), LogError> {
        let Some(group) = self.gathering.take() else {
            return Ok(());
        };
        self.wanted = false;
        self.space.consume(group.padded_bytes() as u64, self.medium.as_mut());
        let result = self.flushes.push(group, &self.key, self.medium.as_mut());
        self.keep(result)?;
        let result = self.space.grow(self.medium.as_mut(), &self.key);
        self.keep(result)
    }

    /// Starts to write the gathered group if a flush slot is free; otherwise the group goes on gathering and
    /// [`poll`](Log::poll) starts it as soon as a slot is.
    pub fn submit(&mut self) -> Result<(), LogError> {
        self.check_alive()?;
        self.wanted = self.gathering.is_some();
        if self.wanted && self.flushes.would_start() {
            self.close_group()?;
        }
        Ok(())
    }

    /// Collects completions; returns the last record up to which every record may be acted upon (rule R-DURABLE; what
    /// that means depends on [`Durability`]). Any failed write or flush is an error here and at every later call.
    pub fn poll(&mut self) -> Result<Lsn, LogError> {
        self.step(false)
    }

    fn step(&mut self, wait: bool) -> Result<Lsn, LogError> {
        self.check_alive()?;
        let result = self.flushes.poll(wait, &self.key, self.medium.as_mut());
        self.keep(result)?;
        let result = self.collect_released();
        self.keep(result)?;
        let result = self.space.grow(self.medium.as_mut(), &self.key);
        self.keep(result)?;
        if self.wanted && self.flushes.would_start() {
            self.close_group()?;
        }
        Ok(self.reported())
    }

    fn reported(&self) -> Lsn {
        Lsn(match self.config.durability {
            Durability::Sync => self.flushes.durable(),
            Durability::Async => self.flushes.written(),
            Durability::None => self.next_sequence - 1,
        })
    }

    /// Whether anything appended has not ended its way: gathering, being written, or (mode `Async`) not yet flushed.
    pub fn pending(&self) -> bool {
        self.gathering.is_some() || self.flushes.pending()
    }

    /// Becomes readable when [`poll`](Log::poll) may have news. `poll` drains it. Level-triggered.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.medium.event_fd()
    }

    /// Writes everything appended and blocks until nothing is [`pending`](Log::pending).
    pub fn wait(&mut self) -> Result<Lsn, LogError> {
        self.submit()?;
        while self.pending() {
            self.step(true)?;
        }
        Ok(self.reported())
    }

    /// Waits, then writes a group without records that claims everything durable: after a clean stop, no later damage
    /// can pass for a torn tail. (After a crash, the last groups have no such witness.)
    pub fn close(mut self) -> Result<Lsn, LogError> {
        let last = self.wait()?;
        let (number, durable) = self.flushes.claims();
        let page = padded(GROUP_HEADER_BYTES) as u64;
        if number > 0 && durable == number && self.space.check_place(0, page).is_ok() {
            self.begin_group(GROUP_HEADER_BYTES);
            self.wait()?;
        }
        Ok(last)
    }

    /// The latest record with this key: kind and payload. From memory while it is on its way, from disk afterwards (one
    /// blocking read), its checksum checked either way.
    ///
    /// [`LogError::Damaged`] and a failed read concern this record only; the log goes on.
    pub fn read(&mut self, key: &RecordKey) -> Result<Option<(u8, Bytes)>, LogError> {
        let Some(location) = self.index.get(key) else {
            return Ok(None);
        };
        let bytes = match self.held(location) {
            Some(held) => held.to_vec(),
            None => {
                let mut read = vec![0; location.bytes as usize];
                let address = location.address;
                self.medium.read_at(address.segment, address.offset, &mut read)?;
                read
            }
        };
        let header = RecordHeader::decode(&bytes, &self.key)
            .filter(|header| header.key == Some(*key) && header.address == location.address)
            .ok_or_else(|| self.unreadable(location))?;
        let payload = Bytes::from(bytes).slice(header.total_bytes() - header.payload_bytes as usize..);
        Ok(Some((header.kind, payload)))
    }

    fn held(&self, location: Location) -> Option<&[u8]> {
        let bytes = location.bytes as usize;
        let open = self.gathering.as_ref();
        open.and_then(|group| within(group.address(), group.bytes(), location.address, bytes))
            .or_else(|| self.flushes.held(location.address, bytes))
    }

    fn unreadable(&self, location: Location) -> LogError {
        LogError::Damaged {
            file: self.medium.path(location.address.segment),
            offset: location.address.offset,
            what: "the record read back is not the one written there".to_owned(),
            remedy: "a batch can be fetched from another replica by its digest; examine the disk",
        }
    }

    /// Whether a record with this key is in the log.
    pub fn contains(&self, key: &RecordKey) -> bool {
        self.index.get(key).is_some()
    }

    /// Groups and flushes since the last call, at most a thousand of them.
    pub fn observed(&mut self) -> impl Iterator<Item = crate::Observation> {
        self.flushes.observed()
    }

    /// Counters and gauges.
    pub fn stats(&self) -> LogStats {
        let flushes = self.flushes.counts;
        LogStats {
            bytes_appended: self.counts.bytes_appended,
            bytes_written: flushes.bytes_written,
            flushes: flushes.flushes,
            groups: flushes.groups,
            records: self.counts.records,
            flush_us_sum: flushes.us_sum,
            flush_us_last: flushes.us_last,
            flush_us_max: flushes.us_max,
            busy: self.counts.busy,
            full: self.counts.full,
            device: self.medium.device(),
            registered_buffers: self.medium.registered(),
            direct: self.medium.direct(),
            free_bytes: self.space.free_bytes(),
            prepared_bytes: self.space.prepared_bytes(),
            growth_stopped: self.space.stopped(),
            disk_bytes: self.space.total_bytes(),
            first_segment: self.releases.first_segment,
            segments: self.flushes.starts().len(),
            first_record: self
                .flushes
                .starts()
                .front()
                .map_or(self.next_sequence, |start| start.sequence),
            released_segments: self.releases.segments,
            released_bytes: self.releases.bytes,
            keys: self.index.len(),
            durability: self.config.durability.name(),
        }
    }

    /// What there was to say at opening.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What had been durable and was missing when the log was opened.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    pub(crate) fn check_alive(&self) -> Result<(), LogError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Remembers a final failure: after it nothing may be reported durable any more.
    pub(crate) fn keep(&mut self, result: Result<(), LogError>) -> Result<(), LogError> {
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }
}

fn full(reason: FullReason, needed: u64, free: u64) -> LogError {
    LogError::Full {
        reason,
        needed,
        free,
        remedy: reason.remedy(),
    }
}
