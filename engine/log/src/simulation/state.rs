//! The disk itself: what it holds and what is under way. The files beside this one say what happens to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use super::dice::Dice;
use super::fault::Fault;
use super::ledger::Ledger;
use super::medium::SimulatedMedium;
use super::surface::Surface;
use super::{Pace, SimulatedDisk};
use crate::bugs::Bugs;
use crate::config::LogConfig;
use crate::error::LogError;
use crate::event::Event;
use crate::format::{ChecksumKey, SegmentHeader, Start};
use crate::medium::{Done, Flush, Segment};
use crate::opening::Found;

/// Sectors written and not on the surface.
pub(super) struct Cached {
    pub(super) ticket: u64,
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) bytes: Box<[u8]>,
    /// The write has ended: a later flush of the file covers it.
    pub(super) written: bool,
    /// No flush will ever bring it to the surface.
    pub(super) lost: bool,
}

/// How a flush will end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Good,
    Fails,
    StopsShort,
    Lies,
}

/// A flush under way.
pub(super) struct Flight {
    pub(super) flush: Flush,
    pub(super) started_us: u64,
    pub(super) due_us: u64,
    pub(super) fate: Fate,
}

pub(super) struct Preparing {
    pub(super) segment: Segment,
    pub(super) header: Vec<u8>,
    pub(super) due_us: u64,
}

/// A release under way.
pub(super) struct Releasing {
    pub(super) start: Start,
    pub(super) due_us: u64,
}

pub(super) struct State {
    /// Where the log begins: what the header file says.
    pub(super) start: Start,
    pub(super) key: ChecksumKey,
    pub(super) bugs: Bugs,
    pub(super) dice: Dice,
    pub(super) pace: Option<Pace>,
    pub(super) direct: bool,
    pub(super) surface: Surface,
    /// In order of writing.
    pub(super) cache: Vec<Cached>,
    pub(super) flights: VecDeque<Flight>,
    pub(super) ended: Vec<Done>,
    pub(super) preparing: Option<Preparing>,
    pub(super) releasing: Option<Releasing>,
    pub(super) prepare_allowed: bool,
    pub(super) no_space_until_us: u64,
    /// Faults that wait for an operation.
    pub(super) armed: Vec<Fault>,
    /// Pages that were read from somewhere else since the log was opened.
    pub(super) misread: BTreeSet<(u64, u64)>,
    /// An operation failed since the log was opened that would not fail again.
    pub(super) passing: bool,
    pub(super) ledger: Ledger,
    pub(super) injuries: u64,
    pub(super) struck: BTreeMap<&'static str, u64>,
    pub(super) now_us: u64,
    pub(super) draws: u64,
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
            start: Start::FIRST,
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
            releasing: None,
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
        self.remove_released();
        Ok(Found {
            segments: self.surface.segments().collect(),
            key: self.key.clone(),
            start: self.start,
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
        let releasing = self.releasing.iter().map(|releasing| releasing.due_us);
        flights
            .chain(preparing)
            .chain(releasing)
            .filter(|due| *due != u64::MAX)
            .min()
    }

    pub(super) fn skewed(&mut self, most: u64) -> u64 {
        let part = self.dice.below(7);
        self.dice.below((most >> part) + 1)
    }
}

/// The name of a segment's file.
pub(super) fn path(segment: u64) -> PathBuf {
    Path::new("simulated").join(segment.to_string())
}

pub(super) fn fault(operation: &'static str, segment: u64, offset: u64, error: io::Error) -> LogError {
    LogError::io(operation, &path(segment), offset, &error)
}
