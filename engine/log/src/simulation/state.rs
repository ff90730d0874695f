//! The disk itself: cache, flushes under way, and the faults that strike them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use super::dice::Dice;
use super::fault::{Crash, Fault};
use super::ledger::{HEADER_BYTES, Ledger, Written};
use super::medium::SimulatedMedium;
use super::surface::{SECTOR_BYTES, Surface, overlay};
use super::{Pace, SimulatedDisk};
use crate::bugs::Bugs;
use crate::config::LogConfig;
use crate::error::LogError;
use crate::event::Event;
use crate::format::{ChecksumKey, PAGE_BYTES, SegmentHeader};
use crate::medium::{Done, Flush, PrepareFault, Segment, Source, Work};
use crate::opening::Found;

/// Sectors written and not on the surface.
struct Cached {
    ticket: u64,
    segment: u64,
    offset: u64,
    bytes: Box<[u8]>,
    /// The write has ended: a later flush of the file covers it.
    written: bool,
    /// No flush will ever bring it to the surface.
    lost: bool,
}

/// How a flush will end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    Fails,
    StopsShort,
    Lies,
}

/// A flush under way.
pub(super) struct Flight {
    flush: Flush,
    started_us: u64,
    due_us: u64,
    fate: Fate,
}

struct Preparing {
    segment: Segment,
    header: Vec<u8>,
    due_us: u64,
}

pub(super) struct State {
    key: ChecksumKey,
    pub(super) bugs: Bugs,
    dice: Dice,
    pace: Option<Pace>,
    pub(super) direct: bool,
    pub(super) surface: Surface,
    /// In order of writing.
    cache: Vec<Cached>,
    pub(super) flights: VecDeque<Flight>,
    ended: Vec<Done>,
    preparing: Option<Preparing>,
    pub(super) prepare_allowed: bool,
    pub(super) no_space_until_us: u64,
    /// Faults that wait for an operation.
    armed: Vec<Fault>,
    /// Pages that were read from somewhere else since the log was opened.
    misread: BTreeSet<(u64, u64)>,
    /// An operation failed since the log was opened that would not fail again.
    passing: bool,
    ledger: Ledger,
    pub(super) injuries: u64,
    pub(super) struck: BTreeMap<&'static str, u64>,
    now_us: u64,
    draws: u64,
}

impl State {
    pub(super) fn new(config: &LogConfig, pace: Option<Pace>, seed: u64) -> State {
        let mut dice = Dice::new(seed);
        let mut secret = [0; 32];
        secret.iter_mut().for_each(|byte| *byte = dice.roll() as u8);
        let key = ChecksumKey(secret);
        let segment = Segment {
            number: 1,
            bytes: config.segment_bytes,
        };
        let header = SegmentHeader {
            number: segment.number,
            segment_bytes: segment.bytes,
            fingerprint: config.fingerprint,
        };
        let mut surface = Surface::default();
        surface.create(segment, &header.encode(&key));
        State {
            key,
            bugs: Bugs::default(),
            dice,
            pace,
            direct: true,
            surface,
            cache: Vec::new(),
            flights: VecDeque::new(),
            ended: Vec::new(),
            preparing: None,
            prepare_allowed: true,
            no_space_until_us: 0,
            armed: Vec::new(),
            misread: BTreeSet::new(),
            passing: false,
            ledger: Ledger::default(),
            injuries: 0,
            struck: BTreeMap::new(),
            now_us: 0,
            draws: 0,
        }
    }

    pub(super) fn open(&mut self, disk: &SimulatedDisk) -> Result<Found, LogError> {
        self.misread.clear();
        self.passing = false;
        Ok(Found {
            segments: self.surface.segments().collect(),
            key: self.key.clone(),
            first_segment: 1,
            bugs: self.bugs.clone(),
            medium: Box::new(SimulatedMedium::new(disk.clone(), Event::new()?)),
        })
    }

    /// A number that was never drawn before.
    pub(super) fn draw(&mut self) -> u64 {
        self.draws += 1;
        self.draws
    }

    pub(super) fn now_us(&self) -> u64 {
        self.now_us
    }

    pub(super) fn advance(&mut self, now_us: u64) {
        self.now_us = self.now_us.max(now_us);
        loop {
            let due = self.flights.iter().enumerate();
            let due = due.filter(|(_, flight)| flight.due_us <= self.now_us);
            let Some((index, _)) = due.min_by_key(|(_, flight)| flight.due_us) else {
                return;
            };
            self.land(index);
        }
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        let flights = self.flights.iter().map(|flight| flight.due_us);
        let preparing = self.preparing.iter().map(|preparing| preparing.due_us);
        flights.chain(preparing).filter(|due| *due != u64::MAX).min()
    }

    fn skewed(&mut self, most: u64) -> u64 {
        let part = self.dice.below(7);
        self.dice.below((most >> part) + 1)
    }

    // Faults.

    fn strike(&mut self, fault: Fault) {
        *self.struck.entry(fault.name()).or_default() += 1;
        self.injuries += u64::from(fault.harmful());
    }

    pub(super) fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::NoSpace { us } => {
                self.strike(fault);
                self.no_space_until_us = self.now_us + us;
            }
            Fault::Rot | Fault::Latent => self.damage(fault),
            _ => self.armed.push(fault),
        }
    }

    pub(super) fn mend(&mut self) {
        self.armed.clear();
        self.no_space_until_us = 0;
    }

    /// Takes an armed fault of these.
    fn armed(&mut self, kinds: &[Fault]) -> Option<Fault> {
        let at = self.armed.iter().position(|fault| kinds.contains(fault))?;
        let fault = self.armed.remove(at);
        self.strike(fault);
        Some(fault)
    }

    /// Hurts a random sector of a random group that the log was told of.
    fn damage(&mut self, fault: Fault) {
        let Some(number) = self.dice.pick(&self.ledger.acknowledged()) else {
            return;
        };
        let group = self.ledger.get(number).expect("just listed");
        let (segment, start, sectors) = (group.segment, group.offset, group.bytes / SECTOR_BYTES as u64);
        let first = self.dice.below(sectors);
        // The padding holds nothing: the next sector that does.
        for sector in (first..sectors).chain(0..first) {
            let offset = start + sector * SECTOR_BYTES as u64;
            let hurt = match fault {
                Fault::Rot => {
                    let (at, bit) = (self.dice.below(SECTOR_BYTES as u64), self.dice.roll() as u8);
                    self.surface.flip(segment, offset + at, bit)
                }
                _ => self.surface.spoil(segment, offset),
            };
            if hurt {
                return self.strike(fault);
            }
        }
    }

    pub(super) fn roll_back(&mut self) {
        let known = self.ledger.acknowledged();
        let kept = self.dice.below(known.len() as u64 + 1) as usize;
        let number = if kept == 0 { 0 } else { known[kept - 1] };
        self.cache.clear();
        for group in self.ledger.forget_after(number) {
            let zeroes = vec![0; group.bytes as usize];
            self.surface.write(group.segment, group.offset, &zeroes);
        }
        *self.struck.entry("disk: rolled back").or_default() += 1;
        self.injuries += 1;
    }

    // Writing.

    pub(super) fn start(&mut self, flush: Flush) {
        let fate = match &flush.work {
            Work::Sync => Fate::Good,
            Work::Write(source) => self.start_write(&flush, source, false),
            Work::WriteSync(source) => self.start_write(&flush, source, true),
        };
        let due_us = match self.pace {
            None => u64::MAX,
            Some(pace) => self.now_us + pace.flush_us + self.skewed(pace.spread_us),
        };
        self.flights.push_back(Flight {
            flush,
            started_us: self.now_us,
            due_us,
            fate,
        });
    }

    fn start_write(&mut self, flush: &Flush, source: &Source, synced: bool) -> Fate {
        self.ledger.written(flush.ticket, flush.segment, source, synced);
        let struck = self.armed(&[
            Fault::FailFlush,
            Fault::ShortWrite,
            Fault::LoseFlush,
            Fault::MisdirectWrite,
        ]);
        let (mut segment, mut offset, mut taken) = (flush.segment, source.offset, source.bytes);
        let fate = match struck {
            Some(Fault::FailFlush) => Fate::Fails,
            Some(Fault::ShortWrite) => {
                taken = self.dice.below((taken / SECTOR_BYTES) as u64) as usize * SECTOR_BYTES;
                Fate::StopsShort
            }
            Some(Fault::LoseFlush) => Fate::Lies,
            Some(_) => {
                (segment, offset) = self.wrong_place(source.bytes as u64);
                Fate::Good
            }
            None => Fate::Good,
        };
        self.write(flush.ticket, segment, offset, &source.buffer[..taken]);
        fate
    }

    fn write(&mut self, ticket: u64, segment: u64, offset: u64, bytes: &[u8]) {
        for (index, sector) in (0u64..).zip(bytes.chunks(SECTOR_BYTES)) {
            let at = offset + index * SECTOR_BYTES as u64;
            // A page that is written again is no longer clean.
            self.cache
                .retain(|old| !(old.lost && old.segment == segment && old.offset == at));
            self.cache.push(Cached {
                ticket,
                segment,
                offset: at,
                bytes: sector.into(),
                written: false,
                lost: false,
            });
        }
    }

    /// Outside of any flush.
    pub(super) fn rewrite(&mut self, segment: u64, offset: u64, bytes: &[u8]) {
        self.write(0, segment, offset, bytes);
    }

    /// A place where so many bytes can stand; mostly one where something does.
    fn wrong_place(&mut self, bytes: u64) -> (u64, u64) {
        let segments: Vec<Segment> = self.surface.segments().collect();
        let known = self.ledger.acknowledged();
        if let Some(victim) = self.dice.pick(&known).filter(|_| self.dice.chance(70)) {
            let victim = self.ledger.get(victim).expect("just listed");
            let file = segments.iter().find(|file| file.number == victim.segment);
            if file.is_some_and(|file| victim.offset + bytes <= file.bytes) {
                return (victim.segment, victim.offset);
            }
        }
        let segment = self.dice.pick(&segments).expect("there is a first segment");
        let pages = segment.bytes.saturating_sub(bytes) / PAGE_BYTES as u64;
        (segment.number, self.dice.below(pages + 1) * PAGE_BYTES as u64)
    }

    /// Brings to the surface what `which` selects and can still come there.
    pub(super) fn flush(&mut self, which: impl Fn(u64, u64, bool) -> bool) {
        let surface = &mut self.surface;
        self.cache.retain(|cached| {
            let now = !cached.lost && which(cached.ticket, cached.segment, cached.written);
            if now {
                surface.write(cached.segment, cached.offset, &cached.bytes);
            }
            !now
        });
    }

    /// All segments are flushed.
    pub(super) fn sync_all(&mut self) -> Result<(), LogError> {
        if self.armed(&[Fault::FailFlush]).is_some() {
            self.passing = true;
            let tickets: BTreeSet<u64> = self.cache.iter().map(|cached| cached.ticket).collect();
            tickets.into_iter().for_each(|ticket| self.lose(ticket));
            return Err(fault("fdatasync", 1, 0, io::Error::from_raw_os_error(libc::EIO)));
        }
        self.flush(|_, _, _| true);
        Ok(())
    }

    /// Ends the flush with this index as its fate will have it.
    fn land(&mut self, index: usize) {
        let flight = &self.flights[index];
        let offset = match &flight.flush.work {
            Work::Write(source) | Work::WriteSync(source) => source.offset,
            Work::Sync => 0,
        };
        let segment = flight.flush.segment;
        let result = match flight.fate {
            Fate::Good | Fate::Lies => Ok(()),
            Fate::Fails => Err(fault("fdatasync", segment, 0, io::Error::from_raw_os_error(libc::EIO))),
            Fate::StopsShort => Err(fault(
                "write",
                segment,
                offset,
                io::Error::from(io::ErrorKind::WriteZero),
            )),
        };
        self.end_flight(index, result);
    }

    pub(super) fn end_flight(&mut self, index: usize, result: Result<(), LogError>) {
        let flight = self.flights.remove(index).expect("the caller counts flights");
        let (own, segment) = (flight.flush.ticket, flight.flush.segment);
        let cached = |cache: &mut Vec<Cached>, change: fn(&mut Cached)| {
            cache.iter_mut().filter(|cached| cached.ticket == own).for_each(change);
        };
        match (&result, &flight.flush.work) {
            (Err(_), _) => self.lose(own),
            (Ok(()), _) if flight.fate == Fate::Lies => cached(&mut self.cache, |cached| cached.lost = true),
            // The least that a flush promises: what this one wrote.
            (Ok(()), Work::WriteSync(_)) => self.flush(|ticket, _, _| ticket == own),
            (Ok(()), Work::Write(_)) => cached(&mut self.cache, |cached| cached.written = true),
            (Ok(()), Work::Sync) => self.flush(|_, of, written| written && of == segment),
        }
        self.ended.push(Done {
            ticket: own,
            result,
            elapsed_us: self.now_us - flight.started_us,
        });
    }

    /// A flush failed: the disk has any of its sectors, and holds all of them for clean.
    fn lose(&mut self, ticket: u64) {
        let mut kept = Vec::new();
        for mut cached in std::mem::take(&mut self.cache) {
            if cached.ticket != ticket {
                kept.push(cached);
            } else if self.dice.chance(50) {
                self.surface.write(cached.segment, cached.offset, &cached.bytes);
            } else if !self.direct {
                cached.lost = true;
                kept.push(cached);
            }
        }
        self.cache = kept;
    }

    pub(super) fn reap(&mut self, wait: bool, done: &mut Vec<Done>) {
        if wait && self.ended.is_empty() && !self.flights.is_empty() {
            self.land(0);
        }
        for end in self.ended.drain(..) {
            if end.result.is_ok() {
                self.ledger.told(end.ticket);
            }
            done.push(end);
        }
    }

    // Segments.

    pub(super) fn prepare(&mut self, segment: Segment, header: Vec<u8>) {
        assert!(self.preparing.is_none(), "one segment is prepared at a time");
        let due_us = match self.pace {
            None => self.now_us,
            Some(pace) => self.now_us + self.dice.below(pace.prepare_us + 1),
        };
        self.preparing = Some(Preparing {
            segment,
            header,
            due_us,
        });
    }

    pub(super) fn prepared(&mut self) -> Option<Result<Segment, PrepareFault>> {
        let due = self.preparing.as_ref()?.due_us <= self.now_us;
        if !due || !self.prepare_allowed {
            return None;
        }
        let made = self.preparing.take()?;
        if self.now_us < self.no_space_until_us {
            return Some(Err(PrepareFault::NoSpace));
        }
        self.surface.create(made.segment, &made.header);
        Some(Ok(made.segment))
    }

    // Reading.

    /// What stands there, as a process sees it.
    fn view(&self, segment: u64, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        self.surface
            .read(segment, offset, into)
            .map_err(|bad| fault("read", segment, bad.offset, io::Error::from_raw_os_error(libc::EIO)))?;
        for cached in self.cache.iter().filter(|cached| cached.segment == segment) {
            overlay(offset, into, cached.offset, &cached.bytes);
        }
        Ok(())
    }

    pub(super) fn read(&mut self, segment: u64, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        if self.armed(&[Fault::FailRead]).is_some() {
            self.passing = true;
            let error = io::Error::from_raw_os_error(libc::EIO);
            return Err(fault("read", segment, offset, error));
        }
        self.view(segment, offset, into)?;
        if self.armed(&[Fault::MisdirectRead]).is_some() {
            self.misread(segment, offset, into)?;
        }
        Ok(())
    }

    /// One page of a read comes from another page of some segment.
    fn misread(&mut self, segment: u64, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        let page = PAGE_BYTES as u64;
        // Of a long read mostly a page that holds something.
        let full = into.chunks(PAGE_BYTES).enumerate();
        let full = full.filter(|(_, piece)| piece.iter().any(|byte| *byte != 0));
        let full: Vec<usize> = full.map(|(index, _)| index).collect();
        let index = self.dice.pick(&full).unwrap_or(0);
        let at = (offset + (index * PAGE_BYTES) as u64) / page * page;
        let segments: Vec<Segment> = self.surface.segments().collect();
        let other = self.dice.pick(&segments).expect("there is a first segment");
        let from = self.dice.below(other.bytes / page) * page;
        let mut wrong = vec![0; PAGE_BYTES];
        self.view(other.number, from, &mut wrong)?;
        overlay(offset, into, at, &wrong);
        self.misread.insert((segment, at));
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn whole(&self, segment: u64) -> Vec<u8> {
        let found = self.surface.segments().find(|found| found.number == segment);
        let mut bytes = vec![0; found.expect("the segment exists").bytes as usize];
        assert!(self.surface.read(segment, 0, &mut bytes).is_ok());
        bytes
    }

    // Crashing.

    pub(super) fn crash(&mut self, crash: Crash) {
        self.flights.clear();
        self.ended.clear();
        self.finish_segment();
        if crash == Crash::Kill {
            self.cache.iter_mut().for_each(|cached| cached.written = true);
            return;
        }
        let mut cut: BTreeMap<u64, bool> = BTreeMap::new();
        for cached in std::mem::take(&mut self.cache) {
            let keep = match crash {
                Crash::PowerNone | Crash::Kill => false,
                Crash::PowerAll => true,
                Crash::PowerSubset => self.dice.chance(50),
                Crash::PowerPrefix => {
                    let cut = cut.entry(cached.ticket).or_insert(false);
                    *cut |= self.dice.chance(10);
                    !*cut
                }
            };
            if keep && !cached.lost {
                self.surface.write(cached.segment, cached.offset, &cached.bytes);
            }
        }
    }

    /// A segment that was being made got its name, or did not.
    fn finish_segment(&mut self) {
        if let Some(made) = self.preparing.take()
            && self.now_us >= self.no_space_until_us
            && self.dice.chance(30)
        {
            self.surface.create(made.segment, &made.header);
        }
    }

    // Judging.

    pub(super) fn judge_opening(&mut self, recovered: u64) -> Result<u64, String> {
        let mut unseen = 0;
        if let Some(lost) = self.ledger.lost(recovered) {
            if self.injuries == 0 {
                return Err(format!(
                    "recovery gives {recovered} records: group {lost} was acknowledged, and the disk is sound"
                ));
            }
            if let Some(witness) = self.ledger.witnesses(lost).find(|group| self.stands(group)) {
                return Err(format!(
                    "recovery gives {recovered} records and takes damage for a torn tail: segment {} offset {} says \
                     that group {lost} was durable",
                    witness.segment, witness.offset
                ));
            }
            unseen = self
                .ledger
                .acknowledged()
                .iter()
                .filter(|number| **number >= lost)
                .count() as u64;
            *self.struck.entry("disk: acknowledged tail lost unseen").or_default() += 1;
        }
        self.ledger.opened(recovered);
        Ok(unseen)
    }

    pub(super) fn judge_refusal(&self, error: &LogError) -> Result<(), String> {
        if self.injuries > 0 || self.passing {
            return Ok(());
        }
        Err(format!("a sound log is refused: {error}"))
    }

    /// Whether a group's header can be read where it was written, and was when the log was opened.
    fn stands(&self, group: &Written) -> bool {
        let mut header = [0; HEADER_BYTES];
        let read = self.view(group.segment, group.offset, &mut header);
        read.is_ok() && header == group.header && !self.misread.contains(&(group.segment, group.offset))
    }
}

/// The name of a segment's file.
pub(super) fn path(segment: u64) -> PathBuf {
    Path::new("simulated").join(segment.to_string())
}

fn fault(operation: &'static str, segment: u64, offset: u64, error: io::Error) -> LogError {
    LogError::io(operation, &path(segment), offset, &error)
}
