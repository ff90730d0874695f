//! Writes and flushes: from the log to the cache, and from there to the surface.

use std::collections::BTreeSet;
use std::io;

use super::fault::Fault;
use super::state::{Cached, Fate, Flight, State, fault};
use super::surface::SECTOR_BYTES;
use crate::error::LogError;
use crate::format::PAGE_BYTES;
use crate::medium::{Done, Flush, Segment, Source, Work};

impl State {
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

    pub(super) fn start_write(&mut self, flush: &Flush, source: &Source, synced: bool) -> Fate {
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

    pub(super) fn write(&mut self, ticket: u64, segment: u64, offset: u64, bytes: &[u8]) {
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
    pub(super) fn wrong_place(&mut self, bytes: u64) -> (u64, u64) {
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
    pub(super) fn land(&mut self, index: usize) {
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
    pub(super) fn lose(&mut self, ticket: u64) {
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
}
