//! A simulated disk under the log's own code, for tests and for the simulator. It is compiled for tests and with the
//! feature `simulation` only; [`Log::open`](crate::Log::open) never leads here.
//!
//! The disk has a volatile cache and a surface of 512-byte sectors. Its owner moves time with
//! [`SimulatedDisk::advance`], asks for power cuts with [`SimulatedDisk::crash`] and for faults with
//! [`SimulatedDisk::inject`]; everything else is drawn from one seed. It keeps a ledger of what it was given, so that
//! [`SimulatedDisk::judge_opening`] can say whether the log kept its promises: nothing acknowledged is lost on a sound
//! disk, and what was acknowledged is never cut off as a torn tail while a sound group witnesses it.
//!
//! Modules: `surface` (what is durable), `state` (what is under way), `writes`, `reads`, `segments` (what the log may do),
//! `harm` (faults), `judge` and `ledger` (crashes, and what the log is judged by), `medium` (what the log sees).

mod dice;
mod fault;
mod harm;
mod judge;
mod ledger;
mod medium;
mod reads;
mod segments;
mod state;
mod surface;
#[cfg(test)]
mod tests;
mod writes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

#[cfg(test)]
pub(crate) use dice::Dice;
#[cfg(test)]
pub(crate) use surface::SECTOR_BYTES;

pub use fault::{Crash, Fault};

use crate::bugs::Bugs;
use crate::config::LogConfig;
use crate::error::LogError;
use crate::format::record_bytes;
use crate::opening::Found;
use crate::salvage::Gap;
use crate::{Log, RecordKey};
use state::State;

/// How fast the disk is; all in simulated microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A flush takes at least this long.
    pub flush_us: u64,
    /// And at most this much longer; mostly much less.
    pub spread_us: u64,
    /// Making a segment ready takes at most this long.
    pub prepare_us: u64,
}

/// The owner's hold on a simulated disk; the log that is open on it has another.
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

impl SimulatedDisk {
    /// A disk with an empty log of this configuration's fingerprint and segment size. Without a pace, flushes end when
    /// told, or when the log waits for them.
    pub fn new(config: &LogConfig, pace: Option<Pace>, seed: u64) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(State::new(config, pace, seed))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("a panic under the lock has ended the run")
    }

    pub(crate) fn found(&self) -> Result<Found, LogError> {
        self.state().open(self)
    }

    /// Whether writes bypass the page cache. If they do not, bytes whose flush failed can be read until power is lost.
    pub fn set_direct(&self, direct: bool) {
        self.state().direct = direct;
    }

    /// Clauses of the log that are switched off in the next opening.
    pub fn set_bugs(&self, bugs: Bugs) {
        self.state().bugs = bugs;
    }

    /// It is `now_us`: what was due ends.
    pub fn advance(&self, now_us: u64) {
        self.state().advance(now_us);
    }

    /// When something ends next.
    pub fn next_due(&self) -> Option<u64> {
        self.state().next_due()
    }

    /// Power is lost, or the process is killed. The log that was open on the disk must be gone.
    pub fn crash(&self, crash: Crash) {
        self.state().crash(crash);
    }

    /// Something goes wrong, now or at the next operation that it can strike.
    pub fn inject(&self, fault: Fault) {
        self.state().inject(fault);
    }

    /// Flips a bit in the payload of a record that can be read back, and in nothing else. False if it is not on the disk, or if
    /// nothing there says that it had been durable: its loss would pass for a torn tail.
    pub fn rot(&self, log: &Log, key: &RecordKey) -> bool {
        let header = record_bytes(true, 0) as u64;
        let location = log.index.get(key).filter(|location| u64::from(location.bytes) > header);
        let Some(location) = location else {
            return false;
        };
        let mut state = self.state();
        if !state.ledger.proven(location.address.segment, location.address.offset) {
            return false;
        }
        let (at, bit) = (
            state.dice.below(u64::from(location.bytes) - header),
            state.dice.roll() as u8,
        );
        let address = location.address;
        let hurt = state.surface.flip(address.segment, address.offset + header + at, bit);
        if hurt {
            state.strike(Fault::Rot);
        }
        hurt
    }

    /// Faults that wait for an operation are called off, and a full disk has room again. Damage stays.
    pub fn mend(&self) {
        self.state().mend();
    }

    /// Brings the log back to an earlier state: a restored snapshot, or nothing at all. The log must not be open.
    pub fn roll_back(&self) {
        self.state().roll_back();
    }

    /// How many faults struck that may destroy what was acknowledged.
    pub fn injuries(&self) -> u64 {
        self.state().injuries
    }

    /// How often each kind of fault struck.
    pub fn struck(&self) -> BTreeMap<&'static str, u64> {
        self.state().struck.clone()
    }

    /// Judges a successful recovery whose last record is `recovered`, before anything else is done with the log. Returns
    /// how many acknowledged groups are gone from its end although the log could not know it: those without a witness
    /// (LOG_FORMAT.md, "What the rule cannot see"). That what is missing before that lies in `gaps` is for the owner to
    /// judge, who knows the records.
    pub fn judge_opening(&self, recovered: u64, gaps: &[Gap]) -> Result<u64, String> {
        self.state().judge_opening(recovered, gaps)
    }

    /// Judges an opening that failed: a sound disk gives no reason to.
    pub fn judge_refusal(&self, error: &LogError) -> Result<(), String> {
        self.state().judge_refusal(error)
    }
}

#[cfg(test)]
impl SimulatedDisk {
    pub(crate) fn in_flight(&self) -> usize {
        self.state().flights.len()
    }

    /// Ends the flush with this index, well or with an error.
    pub(crate) fn complete(&self, index: usize, result: Result<(), LogError>) {
        self.state().end_flight(index, result);
    }

    pub(crate) fn set_no_space(&self, no_space: bool) {
        self.state().no_space_until_us = if no_space { u64::MAX } else { 0 };
    }

    pub(crate) fn set_prepare_allowed(&self, allowed: bool) {
        self.state().prepare_allowed = allowed;
    }

    /// Changes flushed bytes behind the log's back.
    pub(crate) fn tamper(&self, segment: u64, change: impl FnOnce(&mut [u8])) {
        let mut state = self.state();
        let mut file = state.whole(segment);
        change(&mut file);
        state.surface.write(segment, 0, &file);
    }

    /// Sequence of the first record that the log may still have.
    pub(crate) fn first_record(&self) -> u64 {
        self.state().start.sequence
    }

    /// In which segment a record stands.
    pub(crate) fn segment_of(&self, sequence: u64) -> u64 {
        let state = self.state();
        let group = state.ledger.holding(sequence);
        group.expect("the record was written").segment
    }

    /// A segment file disappears.
    pub(crate) fn remove(&self, segment: u64) {
        self.state().surface.remove(segment);
    }

    pub(crate) fn has(&self, segment: u64) -> bool {
        self.state().surface.segments().any(|found| found.number == segment)
    }

    /// Every place where `needle` stands in flushed bytes.
    pub(crate) fn find(&self, needle: &[u8]) -> Vec<(u64, usize)> {
        let state = self.state();
        let mut places = Vec::new();
        for segment in state.surface.segments() {
            let file = state.whole(segment.number);
            let hits = file.windows(needle.len()).enumerate();
            let hits = hits.filter(|(_, window)| *window == needle);
            places.extend(hits.map(|(at, _)| (segment.number, at)));
        }
        places
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.state().surface.segments().map(|segment| segment.bytes).sum()
    }
}
