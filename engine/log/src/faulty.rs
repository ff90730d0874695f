//! A simulated disk for tests: completions come when the test says so, and a crash keeps what was flushed and any
//! subset of the sectors that were not.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::buffer::AlignedBuffer;
use crate::error::LogError;
use crate::event::Event;
use crate::format::{ChecksumKey, SegmentHeader};
use crate::medium::{Done, Flush, Medium, PrepareFault, ReadSegments, Segment, Source, Work};
use crate::opening::Found;

/// What a disk writes whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;
pub(crate) const FINGERPRINT: [u8; 32] = [6; 32];
pub(crate) const KEY: ChecksumKey = ChecksumKey([0x5c; 32]);

/// A small generator of pseudo-random numbers (xorshift64*), so that a failing case is one number.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A sector written and not yet on stable storage, with the ticket of its write.
struct Volatile {
    ticket: u64,
    segment: u64,
    offset: usize,
    bytes: Vec<u8>,
    completed: bool,
}

#[derive(Default)]
struct State {
    durable: BTreeMap<u64, Vec<u8>>,
    /// In order of writing.
    volatile: Vec<Volatile>,
    started: VecDeque<Flush>,
    ended: Vec<Done>,
    preparing: Option<(Segment, Vec<u8>)>,
    prepare_allowed: bool,
    no_space: bool,
    now_us: u64,
    draws: u64,
}

/// The test's hold on the disk; the medium has another.
#[derive(Clone)]
pub(crate) struct FaultyDisk(Arc<Mutex<State>>);

/// How a crash treats what was not flushed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Crash {
    /// The process ends, the machine goes on: caches survive.
    Kill,
    /// Power loss: nothing of it was written.
    PowerNone,
    /// Power loss: all of it happened to be written.
    PowerAll,
    /// Power loss: of each write a prefix of its sectors.
    PowerPrefix,
    /// Power loss: any sectors.
    PowerSubset,
}

pub(crate) const CRASHES: [Crash; 5] = [
    Crash::Kill,
    Crash::PowerNone,
    Crash::PowerAll,
    Crash::PowerPrefix,
    Crash::PowerSubset,
];

impl FaultyDisk {
    /// A disk with one empty segment.
    pub(crate) fn new(segment_bytes: u64) -> FaultyDisk {
        let header = SegmentHeader {
            number: 1,
            segment_bytes,
            fingerprint: FINGERPRINT,
        };
        let mut file = header.encode(&KEY);
        file.resize(usize::try_from(segment_bytes).unwrap(), 0);
        let state = State {
            durable: BTreeMap::from([(1, file)]),
            prepare_allowed: true,
            ..State::default()
        };
        FaultyDisk(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// For `Opening::on`.
    pub(crate) fn found(&self) -> Found {
        let state = self.state();
        let segments = state.durable.iter().map(|(number, file)| Segment {
            number: *number,
            bytes: file.len() as u64,
        });
        Found {
            segments: segments.collect(),
            key: KEY,
            first_segment: 1,
            medium: Box::new(FaultyMedium {
                disk: self.clone(),
                event: Event::new().unwrap(),
            }),
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.state().started.len()
    }

    /// Ends the flush with this index, well or with an error.
    pub(crate) fn complete(&self, index: usize, result: Result<(), LogError>) {
        self.state().complete(index, result);
    }

    pub(crate) fn set_no_space(&self, no_space: bool) {
        self.state().no_space = no_space;
    }

    pub(crate) fn set_prepare_allowed(&self, allowed: bool) {
        self.state().prepare_allowed = allowed;
    }

    /// The state after a crash. The log that was using the disk must be gone.
    pub(crate) fn crash(&self, crash: Crash, dice: &mut Dice) {
        let mut state = self.state();
        state.started.clear();
        state.ended.clear();
        state.preparing = None;
        if matches!(crash, Crash::Kill) {
            state.volatile.iter_mut().for_each(|sector| sector.completed = true);
            return;
        }
        let volatile = std::mem::take(&mut state.volatile);
        let mut cut: BTreeMap<u64, bool> = BTreeMap::new();
        for sector in volatile {
            let keep = match crash {
                Crash::PowerNone | Crash::Kill => false,
                Crash::PowerAll => true,
                Crash::PowerSubset => dice.chance(50),
                Crash::PowerPrefix => {
                    let cut = cut.entry(sector.ticket).or_insert(false);
                    *cut |= dice.chance(10);
                    !*cut
                }
            };
            if keep {
                state.store(&sector);
            }
        }
    }

    /// Changes flushed bytes behind the log's back.
    pub(crate) fn tamper(&self, segment: u64, change: impl FnOnce(&mut [u8])) {
        change(self.state().durable.get_mut(&segment).unwrap());
    }

    pub(crate) fn has(&self, segment: u64) -> bool {
        self.state().durable.contains_key(&segment)
    }

    /// Every place where `needle` stands in flushed bytes.
    pub(crate) fn find(&self, needle: &[u8]) -> Vec<(u64, usize)> {
        let state = self.state();
        let mut places = Vec::new();
        for (number, file) in &state.durable {
            let hits = file.windows(needle.len()).enumerate();
            let hits = hits.filter(|(_, window)| *window == needle);
            places.extend(hits.map(|(at, _)| (*number, at)));
        }
        places
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.state().durable.values().map(|file| file.len() as u64).sum()
    }
}

impl State {
    fn store(&mut self, sector: &Volatile) {
        let file = self.durable.get_mut(&sector.segment).unwrap();
        file[sector.offset..sector.offset + sector.bytes.len()].copy_from_slice(&sector.bytes);
    }

    /// Makes durable what `which` selects.
    fn flush(&mut self, which: impl Fn(&Volatile) -> bool) {
        let (flushed, left) = std::mem::take(&mut self.volatile)
            .into_iter()
            .partition(|sector| which(sector));
        self.volatile = left;
        let flushed: Vec<Volatile> = flushed;
        flushed.iter().for_each(|sector| self.store(sector));
    }

    fn write(&mut self, ticket: u64, segment: u64, source: &Source) {
        let bytes = &source.buffer[..source.bytes];
        for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            self.volatile.push(Volatile {
                ticket,
                segment,
                offset: usize::try_from(source.offset).unwrap() + index * SECTOR_BYTES,
                bytes: sector.to_vec(),
                completed: false,
            });
        }
    }

    fn complete(&mut self, index: usize, result: Result<(), LogError>) {
        let flush = self.started.remove(index).unwrap();
        if result.is_ok() {
            match flush.work {
                // The least that a flush promises: what this one wrote.
                Work::WriteSync(_) => self.flush(|sector| sector.ticket == flush.ticket),
                Work::Write(_) => {
                    let own = |sector: &&mut Volatile| sector.ticket == flush.ticket;
                    let sectors = self.volatile.iter_mut().filter(own);
                    sectors.for_each(|sector| sector.completed = true);
                }
                Work::Sync => self.flush(|sector| sector.completed && sector.segment == flush.segment),
            }
        }
        self.ended.push(Done {
            ticket: flush.ticket,
            result,
            elapsed_us: 1,
        });
    }
}

/// What the log is given.
struct FaultyMedium {
    disk: FaultyDisk,
    event: Event,
}

impl ReadSegments for FaultyMedium {
    fn read_at(&mut self, segment: u64, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        let state = self.disk.state();
        let mut file = state.durable[&segment].clone();
        for sector in state.volatile.iter().filter(|sector| sector.segment == segment) {
            file[sector.offset..sector.offset + sector.bytes.len()].copy_from_slice(&sector.bytes);
        }
        let from = usize::try_from(offset).unwrap();
        into.copy_from_slice(&file[from..from + into.len()]);
        Ok(())
    }

    fn path(&self, segment: u64) -> PathBuf {
        Path::new("simulated").join(segment.to_string())
    }
}

impl Medium for FaultyMedium {
    fn sync_all(&mut self) -> Result<(), LogError> {
        self.disk.state().flush(|_| true);
        Ok(())
    }

    fn adopt(&mut self, _pool: &mut [AlignedBuffer]) {}

    fn prepare(&mut self, segment: Segment, header: Vec<u8>) {
        let mut state = self.disk.state();
        assert!(state.preparing.is_none());
        state.preparing = Some((segment, header));
    }

    fn grant(&mut self, _bytes: u64) {}

    fn prepared(&mut self) -> Option<Result<Segment, PrepareFault>> {
        let mut state = self.disk.state();
        if !state.prepare_allowed {
            return None;
        }
        let (segment, mut file) = state.preparing.take()?;
        if state.no_space {
            return Some(Err(PrepareFault::NoSpace));
        }
        file.resize(usize::try_from(segment.bytes).unwrap(), 0);
        let before = state.durable.insert(segment.number, file);
        assert!(before.is_none(), "a segment is never made twice");
        Some(Ok(segment))
    }

    fn start(&mut self, flush: Flush) -> Result<(), LogError> {
        let mut state = self.disk.state();
        if let Work::Write(source) | Work::WriteSync(source) = &flush.work {
            state.write(flush.ticket, flush.segment, source);
        }
        state.started.push_back(flush);
        Ok(())
    }

    fn reap(&mut self, wait: bool, done: &mut Vec<Done>) -> Result<(), LogError> {
        let mut state = self.disk.state();
        if wait && state.ended.is_empty() && !state.started.is_empty() {
            state.complete(0, Ok(()));
        }
        done.append(&mut state.ended);
        Ok(())
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    fn device(&self) -> &'static str {
        "simulated"
    }

    fn registered(&self) -> bool {
        false
    }

    fn direct(&self) -> bool {
        true
    }

    fn now_us(&self) -> u64 {
        let mut state = self.disk.state();
        state.now_us += 100_000;
        state.now_us
    }

    fn draw(&mut self) -> u64 {
        let mut state = self.disk.state();
        state.draws += 1;
        state.draws
    }
}
