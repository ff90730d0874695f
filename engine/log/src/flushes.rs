//! Groups on their way to the disk, in order, and the prefix that has arrived.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::buffer::AlignedBuffer;
use crate::bugs::Bugs;
use crate::config::Durability;
use crate::error::LogError;
use crate::format::{Address, Checksum, ChecksumKey, FIRST_GROUP, Start};
use crate::group::{Group, Seal};
use crate::medium::{Done, Flush, Medium, Source, Work};

/// Observations that wait for somebody who takes them; more are dropped.
const OBSERVATIONS: usize = 1_024;

/// The ticket of a background flush.
const SYNC_TICKET: u64 = u64::MAX;

/// A point in the log: everything up to this group and record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) group: u64,
    pub(crate) sequence: u64,
}

struct Flight {
    point: Point,
    address: Address,
    bytes: usize,
    buffer: Arc<AlignedBuffer>,
    done: bool,
}

/// Written groups of one segment that no flush has covered yet (mode `Async`).
struct Unsynced {
    segment: u64,
    point: Point,
}

/// One group or flush, for statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A group of so many records was handed to the device.
    Group(u64),
    /// A flush took so many microseconds.
    Flush(u64),
}

/// Counters of the flushes.
#[derive(Clone, Copy, Default)]
pub(crate) struct FlushCounts {
    pub(crate) groups: u64,
    pub(crate) flushes: u64,
    pub(crate) bytes_written: u64,
    pub(crate) us_sum: u64,
    pub(crate) us_last: u64,
    pub(crate) us_max: u64,
}

/// The queue between the gathering group and the durable prefix.
pub(crate) struct Flushes {
    durability: Durability,
    in_flight: usize,
    buffer_bytes: usize,
    /// Closed, not started.
    waiting: VecDeque<Group>,
    /// Started, in order of their numbers.
    flying: VecDeque<Flight>,
    pool: Vec<AlignedBuffer>,
    last_number: u64,
    previous: Checksum,
    irreplaceable: u64,
    /// The first group since the log was opened.
    opened_at: u64,
    /// Where the groups of each segment begin that holds any, oldest first.
    starts: VecDeque<Start>,
    written: Point,
    durable: Point,
    unsynced: VecDeque<Unsynced>,
    syncing: Option<Point>,
    pub(crate) counts: FlushCounts,
    observations: Vec<Observation>,
    reaped: Vec<Done>,
    bugs: Bugs,
}

/// Where the log stood when it was opened.
pub(crate) struct Standing {
    pub(crate) point: Point,
    pub(crate) checksum: Checksum,
    pub(crate) irreplaceable: u64,
    pub(crate) starts: VecDeque<Start>,
    pub(crate) bugs: Bugs,
}

impl Flushes {
    pub(crate) fn new(
        durability: Durability,
        in_flight: u32,
        buffer_bytes: usize,
        pool: Vec<AlignedBuffer>,
        start: Standing,
    ) -> Flushes {
        // Without flushes nothing is ever claimed durable, not even what was recovered.
        let claimed = match durability {
            Durability::None => 0,
            Durability::Sync | Durability::Async => start.point.group,
        };
        Flushes {
            durability,
            in_flight: in_flight as usize,
            buffer_bytes,
            waiting: VecDeque::new(),
            flying: VecDeque::new(),
            pool,
            last_number: start.point.group,
            previous: start.checksum,
            irreplaceable: start.irreplaceable,
            opened_at: start.point.group + 1,
            starts: start.starts,
            written: start.point,
            durable: Point {
                group: claimed,
                sequence: start.point.sequence,
            },
            unsynced: VecDeque::new(),
            syncing: None,
            counts: FlushCounts::default(),
            observations: Vec::new(),
            reaped: Vec::new(),
            bugs: start.bugs,
        }
    }

    /// A buffer for a group that must hold `bytes`; one of its own if the pool's are too small.
    pub(crate) fn take_buffer(&mut self, bytes: usize) -> AlignedBuffer {
        if bytes > self.buffer_bytes {
            return AlignedBuffer::new(bytes);
        }
        // One gathers, one waits, `in_flight` fly; a group with a buffer of its own leaves one more here.
        self.pool
            .pop()
            .expect("the pool has a buffer for every place a group can be")
    }

    /// Whether a closed group can be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.is_empty() || self.can_start()
    }

    fn can_start(&self) -> bool {
        self.flying.len() < self.in_flight
    }

    /// Whether a group handed over now would start at once.
    pub(crate) fn would_start(&self) -> bool {
        self.waiting.is_empty() && self.can_start()
    }

    /// Takes a closed group. After `has_room`.
    pub(crate) fn push(&mut self, group: Group, key: &ChecksumKey, medium: &mut dyn Medium) -> Result<(), LogError> {
        assert!(self.has_room());
        self.start_waiting(key, medium)?;
        self.waiting.push_back(group);
        self.start_waiting(key, medium)
    }

    /// Starts waiting groups while flush slots are free.
    pub(crate) fn start_waiting(&mut self, key: &ChecksumKey, medium: &mut dyn Medium) -> Result<(), LogError> {
        while self.can_start() {
            let Some(group) = self.waiting.pop_front() else {
                return Ok(());
            };
            self.start(group, key, medium)?;
        }
        Ok(())
    }

    fn start(&mut self, group: Group, key: &ChecksumKey, medium: &mut dyn Medium) -> Result<(), LogError> {
        self.last_number += 1;
        let point = Point {
            group: self.last_number,
            sequence: group.last_sequence(),
        };
        let (address, bytes) = (group.address(), group.padded_bytes());
        self.observe(Observation::Group(1 + point.sequence - group.first_sequence()));
        if address.offset == FIRST_GROUP {
            self.starts.push_back(Start {
                segment: address.segment,
                group: point.group,
                sequence: group.first_sequence(),
                previous: self.previous,
                irreplaceable: self.irreplaceable,
            });
        }
        let seal = Seal {
            number: point.group,
            durable: self.durable.group,
            previous: self.previous,
            irreplaceable_before: self.irreplaceable,
            opened_at: self.opened_at,
        };
        self.irreplaceable += u64::from(group.irreplaceable());
        let (buffer, checksum) = group.seal(key, &seal);
        self.previous = checksum;
        let buffer = Arc::new(buffer);
        let source = Source {
            buffer: Arc::clone(&buffer),
            bytes,
            offset: address.offset,
        };
        let work = match self.durability {
            Durability::Sync => Work::WriteSync(source),
            Durability::Async | Durability::None => Work::Write(source),
        };
        self.flying.push_back(Flight {
            point,
            address,
            bytes,
            buffer,
            done: false,
        });
        self.counts.groups += 1;
        medium.start(Flush {
            ticket: point.group,
            segment: address.segment,
            work,
        })
    }

    /// Collects completions, advances the prefix, starts what can start.
    pub(crate) fn poll(&mut self, wait: bool, key: &ChecksumKey, medium: &mut dyn Medium) -> Result<(), LogError> {
        let mut reaped = std::mem::take(&mut self.reaped);
        medium.reap(wait && self.in_motion(), &mut reaped)?;
        for done in reaped.drain(..) {
            if done.result.is_err() && self.bugs.retry_failed_flush() {
                self.flush_again(done.ticket, medium)?;
                continue;
            }
            self.complete(done)?;
        }
        self.reaped = reaped;
        self.land();
        self.start_waiting(key, medium)?;
        self.start_sync(medium)
    }

    /// What must never be done: after a failed flush the next one has nothing to write, and succeeds.
    fn flush_again(&self, ticket: u64, medium: &mut dyn Medium) -> Result<(), LogError> {
        let flight = self.flying.iter().find(|flight| flight.point.group == ticket);
        medium.start(Flush {
            ticket,
            segment: flight.expect("a completion belongs to a flight").address.segment,
            work: Work::Sync,
        })
    }

    fn complete(&mut self, done: Done) -> Result<(), LogError> {
        done.result?;
        if done.ticket == SYNC_TICKET {
            self.durable = self.syncing.take().expect("a flush ends once");
            self.count_flush(done.elapsed_us);
            return Ok(());
        }
        let flight = self
            .flying
            .iter_mut()
            .find(|flight| flight.point.group == done.ticket)
            .expect("a completion belongs to a flight");
        assert!(!flight.done, "a write ends once");
        flight.done = true;
        self.counts.bytes_written += flight.bytes as u64;
        if self.durability == Durability::Sync {
            self.count_flush(done.elapsed_us);
        }
        Ok(())
    }

    fn count_flush(&mut self, elapsed_us: u64) {
        self.counts.flushes += 1;
        self.counts.us_sum += elapsed_us;
        self.counts.us_last = elapsed_us;
        self.counts.us_max = self.counts.us_max.max(elapsed_us);
        self.observe(Observation::Flush(elapsed_us));
    }

    fn observe(&mut self, observation: Observation) {
        if self.observations.len() < OBSERVATIONS {
            self.observations.push(observation);
        }
    }

    /// What was seen since the last call.
    pub(crate) fn observed(&mut self) -> std::vec::Drain<'_, Observation> {
        self.observations.drain(..)
    }

    /// Moves the prefix past finished flights. A later group that is finished waits for those before it.
    fn land(&mut self) {
        while self.flying.front().is_some_and(|flight| flight.done) {
            let flight = self.flying.pop_front().expect("the front exists");
            self.written = flight.point;
            match self.durability {
                Durability::Sync => self.durable = flight.point,
                Durability::Async => self.note_unsynced(flight.address.segment, flight.point),
                Durability::None => {}
            }
            let buffer = Arc::into_inner(flight.buffer).expect("the device has let go of the buffer");
            if buffer.len() == self.buffer_bytes {
                self.pool.push(buffer);
            }
        }
    }

    fn note_unsynced(&mut self, segment: u64, point: Point) {
        match self.unsynced.back_mut() {
            Some(last) if last.segment == segment => last.point = point,
            _ => self.unsynced.push_back(Unsynced { segment, point }),
        }
    }

    fn start_sync(&mut self, medium: &mut dyn Medium) -> Result<(), LogError> {
        if self.syncing.is_some() {
            return Ok(());
        }
        let Some(next) = self.unsynced.pop_front() else {
            return Ok(());
        };
        self.syncing = Some(next.point);
        medium.start(Flush {
            ticket: SYNC_TICKET,
            segment: next.segment,
            work: Work::Sync,
        })
    }

    /// Whether the device has work.
    fn in_motion(&self) -> bool {
        !self.flying.is_empty() || self.syncing.is_some()
    }

    /// Whether anything handed over has not ended.
    pub(crate) fn pending(&self) -> bool {
        self.in_motion() || !self.waiting.is_empty() || !self.unsynced.is_empty()
    }

    /// The last record that is written, and the last that is durable.
    pub(crate) fn written(&self) -> u64 {
        self.written.sequence
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.sequence
    }

    /// Where the segments' groups begin, oldest first.
    pub(crate) fn starts(&self) -> &VecDeque<Start> {
        &self.starts
    }

    /// Whether every group before a segment's first has arrived, as far as the mode promises that at all.
    pub(crate) fn kept_before(&self, start: &Start) -> bool {
        match self.durability {
            Durability::Sync | Durability::Async => self.durable.group + 1 >= start.group,
            Durability::None => self.written.group + 1 >= start.group,
        }
    }

    /// Segments below this one have been released.
    pub(crate) fn forget_below(&mut self, segment: u64) {
        while self.starts.front().is_some_and(|start| start.segment < segment) {
            self.starts.pop_front();
        }
    }

    /// The number of the last group and of the last one known durable.
    pub(crate) fn claims(&self) -> (u64, u64) {
        (self.last_number, self.durable.group)
    }

    /// The bytes at `address`, if they are still in a buffer here.
    pub(crate) fn held(&self, address: Address, bytes: usize) -> Option<&[u8]> {
        let waiting = self.waiting.iter().map(|group| (group.address(), group.bytes()));
        let flying = self
            .flying
            .iter()
            .map(|flight| (flight.address, &flight.buffer[..flight.bytes]));
        waiting
            .chain(flying)
            .find_map(|(start, held)| within(start, held, address, bytes))
    }
}

/// The part of a group's bytes that stands at `address`.
pub(crate) fn within(start: Address, held: &[u8], address: Address, bytes: usize) -> Option<&[u8]> {
    if start.segment != address.segment {
        return None;
    }
    let from = usize::try_from(address.offset.checked_sub(start.offset)?).ok()?;
    held.get(from..from.checked_add(bytes)?)
}
