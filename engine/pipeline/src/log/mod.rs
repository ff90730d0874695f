//! The log stage: appends in groups, and lets frames go when the records that they ride on are durable (R-DURABLE).

mod marks;
mod release;
mod seldom;
mod serve;

pub(crate) use marks::encode;
pub(crate) use serve::MAX_SERVED_BYTES;

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use trireme_core::api::AppendId;
use trireme_core::message::Envelope;
use trireme_core::types::Epoch;
use trireme_core::wire::{encode_envelope, is_bulk};
use trireme_core::{Tick, To};
use trireme_log::{Durability, Entry, Log, LogConfig, LogError, Lsn, Observation};
use trireme_transport::Class;

use crate::clock::{Clock, Timer};
use crate::error::ReplicaError;
use crate::events::Weight;
use crate::gate::Gate;
use crate::histogram::Histogram;
use crate::identity::Mark;
use crate::items::{EncodedRecord, LogJob, ToMembers};
use crate::link::{Receiver, Sender};
use crate::log_event::LogEvent;
use crate::recovery::Recovered;
use crate::stage::{Finish, Turn, Work, entries};
use crate::topology::Stage;
use release::Releases;
use seldom::Seldom;

/// Records that nobody waits for are written after this time at the latest.
const PATIENCE_US: u64 = 50_000;
/// An append that found the disk full is tried again after this time.
const RETRY_US: u64 = 1_000_000;
/// The most bytes that are kept for what is under way when new requests are refused.
const INTAKE_ROOM_BYTES: u64 = 64 << 20;
/// And the most keys.
const INTAKE_ROOM_KEYS: usize = 65_536;

/// The links of the stage.
pub(crate) struct LogLinks {
    pub(crate) jobs: Receiver<LogJob>,
    pub(crate) durable: Sender<AppendId>,
    pub(crate) released: Sender<ToMembers>,
}

/// See the module's text.
pub(crate) struct LogStage {
    log: Log,
    /// Readable when completions may be ready.
    event: LogEvent,
    /// Says that there was a log: durable before anything leaves.
    mark: Option<Mark>,
    links: LogLinks,
    gate: Arc<Gate>,
    epoch: Epoch,
    limits: LogLimits,
    /// The append at work: the log was busy or full in the middle of it.
    current: Option<Append>,
    /// Appended and not yet durable, in order.
    waiting: VecDeque<Waiting>,
    /// Position of the newest record.
    newest: Lsn,
    /// The durable prefix.
    durable: Lsn,
    /// Highest append that is durable and was not told to the core yet.
    untold: Option<AppendId>,
    /// Answers for members that wait for room in `released`.
    served: VecDeque<ToMembers>,
    /// Something urgent was appended since the last submit.
    urgent: bool,
    /// Something was appended since the last submit.
    gathered: bool,
    /// Runs while `gathered` without `urgent`, or while the log is full.
    timer: Option<Timer>,
    clock: Clock,
    stalled: bool,
    stalls: u64,
    served_records: u64,
    /// Bad records met in look-ups.
    bad_records: u64,
    complaints: Seldom,
    releases: Releases,
    /// When the poll under way began.
    now: Tick,
    /// From an append to its durability.
    flush: Histogram,
    /// Flushes by themselves, and records in a group.
    flushes: Histogram,
    groups: Histogram,
}

/// How the stage treats its log: below what room new requests are refused, and when it writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLimits {
    /// Fewer free bytes.
    intake_bytes: u64,
    /// More keys.
    keys: usize,
    /// Nobody waits for writes.
    lazy: bool,
}

impl LogLimits {
    /// Of a log with this configuration.
    pub(crate) fn of(config: &LogConfig) -> Self {
        let LogConfig {
            max_log_bytes,
            max_keys,
            ..
        } = *config;
        Self {
            intake_bytes: INTAKE_ROOM_BYTES.min(max_log_bytes / 8),
            keys: max_keys - INTAKE_ROOM_KEYS.min(max_keys / 8),
            lazy: config.durability == Durability::None,
        }
    }
}

struct Append {
    id: AppendId,
    /// Position of its first record.
    first: Lsn,
    records: std::vec::IntoIter<EncodedRecord>,
    record: Option<EncodedRecord>,
    release: Vec<ToMembers>,
    urgent: bool,
}

struct Waiting {
    lsn: Lsn,
    id: AppendId,
    since: Tick,
    release: Vec<ToMembers>,
}

impl LogStage {
    /// Takes over an open log; inside the runtime of its thread.
    pub(crate) fn new(
        Recovered { log, event, mark }: Recovered,
        links: LogLinks,
        gate: Arc<Gate>,
        epoch: Epoch,
        limits: LogLimits,
        clock: Clock,
    ) -> Self {
        let releases = Releases::new(&log);
        Self {
            log,
            event,
            mark,
            links,
            gate,
            epoch,
            limits,
            current: None,
            waiting: VecDeque::new(),
            newest: Lsn::default(),
            durable: Lsn::default(),
            untold: None,
            served: VecDeque::new(),
            urgent: false,
            gathered: false,
            timer: None,
            clock,
            stalled: false,
            stalls: 0,
            served_records: 0,
            bad_records: 0,
            complaints: Seldom::default(),
            releases,
            now: Tick::default(),
            flush: Histogram::times(),
            flushes: Histogram::times(),
            groups: Histogram::sizes(),
        }
    }

    /// Asks the log how far it is durable, and lets go what waited for that.
    fn reap(&mut self) -> Result<bool, ReplicaError> {
        self.durable = self.log.poll()?;
        for observation in self.log.observed() {
            match observation {
                Observation::Group(records) => self.groups.record(records, 1),
                Observation::Flush(us) => self.flushes.record(us, 1),
            }
        }
        let mut progress = false;
        while let Some(front) = self.waiting.front_mut() {
            if front.lsn > self.durable {
                break;
            }
            if let Some(mark) = self.mark.take() {
                mark.set()?;
            }
            while !front.release.is_empty() && self.links.released.room() {
                let frame = front.release.remove(0);
                self.links.released.push(frame.bytes(), frame);
                progress = true;
            }
            if !front.release.is_empty() {
                break;
            }
            self.untold = Some(front.id);
            self.flush.record(self.now.since(front.since), 1);
            self.waiting.pop_front();
            progress = true;
        }
        if self.untold.is_some() && self.links.durable.room() {
            self.links.durable.push(0, self.untold.take().expect("just seen"));
            progress = true;
        }
        Ok(progress)
    }

    /// Takes jobs as long as the log takes records.
    fn take(&mut self, budget: usize) -> Result<bool, ReplicaError> {
        let mut progress = false;
        for _ in 0..budget {
            if self.current.is_none() {
                match self.links.jobs.pop() {
                    None => break,
                    Some(LogJob::Append {
                        id,
                        records,
                        release,
                        urgent,
                    }) => {
                        let records = records.into_iter();
                        self.current = Some(Append {
                            id,
                            first: Lsn(self.newest.0 + 1),
                            records,
                            record: None,
                            release,
                            urgent,
                        });
                    }
                    Some(LogJob::Release { after, slot, heights }) => {
                        self.releases.want(after, slot, heights);
                        progress = true;
                        continue;
                    }
                    Some(LogJob::Serve {
                        to,
                        view,
                        kind,
                        digests,
                    }) => {
                        self.serve(to, view, kind, &digests)?;
                        progress = true;
                        // An answer may be long: the next one is read when this one has left.
                        if !self.served.is_empty() {
                            break;
                        }
                        continue;
                    }
                }
            }
            let before = self.newest;
            let taken = self.append_current()?;
            progress |= taken || self.newest != before;
            if !taken {
                break;
            }
        }
        Ok(progress)
    }

    /// Goes on with the append at work; false if the log takes no more for now.
    fn append_current(&mut self) -> Result<bool, ReplicaError> {
        let append = self.current.as_mut().expect("the caller has one");
        while let Some(record) = append.record.take().or_else(|| append.records.next()) {
            match self.log.append_entry(&Entry {
                kind: record.kind,
                key: record.key,
                mark: record.mark,
                replaceable: record.replaceable,
                vital: true,
                parts: &[&record.head, &record.body],
            }) {
                Ok(lsn) => {
                    self.newest = lsn;
                    self.gathered = true;
                    self.stalled = false;
                }
                Err(LogError::Busy) => {
                    // What it has gathered is to be written; the event descriptor says when to go on.
                    append.record = Some(record);
                    self.urgent |= self.gathered;
                    return Ok(false);
                }
                Err(error @ LogError::Full { .. }) => {
                    append.record = Some(record);
                    self.stall(&error);
                    return Ok(false);
                }
                Err(error @ LogError::TooLarge { .. }) => return Err(ReplicaError::RecordTooLarge(error)),
                Err(error) => return Err(error.into()),
            }
        }
        let append = self.current.take().expect("still there");
        self.urgent |= append.urgent;
        self.releases.note_append(append.id, append.first, self.newest);
        self.waiting.push_back(Waiting {
            lsn: self.newest,
            id: append.id,
            since: self.now,
            release: append.release,
        });
        Ok(true)
    }

    /// The log is full to the last byte: nothing is acknowledged any more, but the replica stays up and tries again.
    fn stall(&mut self, error: &LogError) {
        self.gate.set_log_full(true);
        if !self.stalled {
            tracing::error!(%error, "the log is full: this replica no longer takes part");
            self.stalled = true;
            self.stalls += 1;
        }
        if self.timer.is_none() {
            self.timer = Some(self.clock.timer(self.clock.tick().plus(RETRY_US)));
        }
    }

    /// Starts writing what was gathered, if somebody waits for it or it has waited long enough. Where nobody waits for
    /// a write at all (durability `none`), a whole run of inputs is written at once.
    fn submit(&mut self, turn: &mut Turn<'_, '_>) -> Result<bool, ReplicaError> {
        if let Some(timer) = &mut self.timer
            && timer.poll(turn.cx)
        {
            self.timer = None;
            self.urgent |= self.gathered;
            if self.stalled {
                return Ok(true);
            }
        }
        if self.urgent && (turn.quiet || !self.limits.lazy) {
            self.log.submit()?;
            (self.urgent, self.gathered) = (false, false);
            if !self.stalled {
                self.timer = None;
            }
            return Ok(true);
        }
        if self.gathered && self.timer.is_none() {
            self.timer = Some(self.clock.timer(turn.now.tick.plus(PATIENCE_US)));
            return Ok(true);
        }
        Ok(false)
    }

    /// New requests are refused while the log could not take what would be under way.
    fn watch_room(&mut self) {
        let stats = self.log.stats();
        let prepared = stats.growth_stopped.map(|_| stats.prepared_bytes);
        let room = prepared.map_or(stats.free_bytes, |prepared| prepared.min(stats.free_bytes));
        let full = self.stalled || room < self.limits.intake_bytes || stats.keys > self.limits.keys;
        if full != self.gate.log_full() {
            let (weight, text) = if full {
                (Weight::Error, "the log is nearly full: new requests are refused")
            } else {
                (Weight::Info, "the log has room again")
            };
            match weight {
                Weight::Error => tracing::error!("{text}"),
                _ => tracing::info!("{text}"),
            }
            self.gate
                .events
                .add(self.clock.wall_us(), weight, "log", text.to_owned());
            self.gate.set_log_full(full);
        }
    }
}

/// A frame for a member or all of them.
pub(crate) fn frame(to: To, envelope: &Envelope) -> ToMembers {
    let class = if is_bulk(&envelope.message) {
        Class::Bulk
    } else {
        Class::Control
    };
    ToMembers::Frame {
        to,
        class,
        frame: encode_envelope(envelope),
    }
}

impl Work for LogStage {
    fn stage(&self) -> Stage {
        Stage::Log
    }

    fn poll(&mut self, turn: &mut Turn<'_, '_>) -> Result<bool, ReplicaError> {
        self.now = turn.now.tick;
        let mut progress = self.event.poll(turn.cx)?;
        progress |= self.reap()?;
        progress |= self.send_served();
        if self.served.is_empty() {
            progress |= self.take(turn.budget)?;
        }
        progress |= self.release()?;
        progress |= self.submit(turn)?;
        if progress {
            self.watch_room();
        }
        Ok(progress)
    }

    fn status(&mut self) -> Map<String, Value> {
        let stats = self.log.stats();
        entries(json!({
            "log": {
                "disk_bytes": stats.disk_bytes,
                "segments": stats.segments,
                "first_segment": stats.first_segment,
                "oldest_slot": self.releases.oldest_slot(&self.log),
                "released_segments": stats.released_segments,
                "released_bytes": stats.released_bytes,
                "copied_records": self.releases.copied_records,
                "growth_stopped": stats.growth_stopped.map(|reason| reason.to_string()),
                "bad_records": self.bad_records,
                "gaps": self.log.gaps().len(),
                "lost_records": self.log.gaps().iter().map(|gap| gap.lost).sum::<u64>(),
                "device": stats.device,
                "registered_buffers": stats.registered_buffers,
                "direct": stats.direct,
                "records": stats.records,
                "groups": stats.groups,
                "fsyncs": stats.flushes,
                "flush_us_sum": stats.flush_us_sum,
                "flush_us_last": stats.flush_us_last,
                "flush_us_max": stats.flush_us_max,
                "flush_times": self.flushes.status(),
                "group_sizes": self.groups.status(),
                "bytes_appended": stats.bytes_appended,
                "bytes_written": stats.bytes_written,
                "free_bytes": stats.free_bytes,
                "busy": stats.busy,
                "full": self.gate.log_full(),
                "stalled": self.stalled,
                "stalls": self.stalls,
                "served_records": self.served_records,
                "waiting": self.waiting.len(),
            },
            "notes": self.log.notes(),
            "stages": { "log": self.flush.status() },
        }))
    }

    fn finish(mut self: Box<Self>) -> Finish {
        Box::pin(async move {
            while self.take(usize::MAX)? {
                self.log.wait()?;
            }
            self.log.wait()?;
            self.reap()?;
            self.log.close()?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
