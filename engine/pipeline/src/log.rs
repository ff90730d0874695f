//! The log stage: appends in groups, and lets frames go when the records that they ride on are durable (R-DURABLE).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, Sleep, sleep_until};
use trireme_core::api::{AppendId, Stored};
use trireme_core::message::{Batch, Envelope, Message, SignedBlock};
use trireme_core::record::{Record, VoteRecord};
use trireme_core::types::Epoch;
use trireme_core::wire::{MAX_BLOCKS_PER_ANSWER, decode_record, encode_envelope, is_bulk};
use trireme_core::{MemberId, To, View};
use trireme_crypto::Digest;
use trireme_log::{Durability, Log, LogConfig, LogError, Lsn, RecordKey};
use trireme_transport::Class;

use crate::error::ReplicaError;
use crate::gate::Gate;
use crate::items::{EncodedRecord, LogJob, ToMembers};
use crate::link::{Receiver, Sender};
use crate::log_event::LogEvent;
use crate::stage::{Finish, Turn, Work, entries};
use crate::topology::Stage;

/// Records that nobody waits for are written after this time at the latest.
const PATIENCE: Duration = Duration::from_millis(50);
/// An append that found the disk full is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);
/// The most bytes that are kept for what is under way when new requests are refused.
const INTAKE_ROOM_BYTES: u64 = 64 << 20;
/// And the most keys.
const INTAKE_ROOM_KEYS: usize = 65_536;
/// Bytes of batches in one answer to a member that catches up; it asks again for the rest.
const MAX_SERVED_BYTES: usize = 16 << 20;

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
    timer: Option<Pin<Box<Sleep>>>,
    stalled: bool,
    stalls: u64,
    served_records: u64,
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
    records: std::vec::IntoIter<EncodedRecord>,
    record: Option<EncodedRecord>,
    release: Vec<ToMembers>,
    urgent: bool,
}

struct Waiting {
    lsn: Lsn,
    id: AppendId,
    release: Vec<ToMembers>,
}

impl LogStage {
    /// Takes over an open log; inside the runtime of its thread.
    pub(crate) fn new(
        log: Log,
        links: LogLinks,
        gate: Arc<Gate>,
        epoch: Epoch,
        limits: LogLimits,
    ) -> Result<Self, ReplicaError> {
        let event = LogEvent::new(log.event_fd())?;
        Ok(Self {
            log,
            event,
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
            stalled: false,
            stalls: 0,
            served_records: 0,
        })
    }

    /// Asks the log how far it is durable, and lets go what waited for that.
    fn reap(&mut self) -> Result<bool, ReplicaError> {
        self.durable = self.log.poll()?;
        let mut progress = false;
        while let Some(front) = self.waiting.front_mut() {
            if front.lsn > self.durable {
                break;
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
                            records,
                            record: None,
                            release,
                            urgent,
                        });
                    }
                    Some(LogJob::Serve {
                        to,
                        view,
                        kind,
                        digests,
                    }) => {
                        self.serve(to, view, kind, &digests)?;
                        progress = true;
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
            match self
                .log
                .append_vital(record.kind, record.key, &[&record.head, &record.body])
            {
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
        self.waiting.push_back(Waiting {
            lsn: self.newest,
            id: append.id,
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
            self.timer = Some(Box::pin(sleep_until(Instant::now() + RETRY)));
        }
    }

    /// Starts writing what was gathered, if somebody waits for it or it has waited long enough. Where nobody waits for
    /// a write at all (durability `none`), a whole run of inputs is written at once.
    fn submit(&mut self, cx: &mut Context<'_>, quiet: bool) -> Result<bool, ReplicaError> {
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll_timer(cx)
        {
            self.timer = None;
            self.urgent |= self.gathered;
            if self.stalled {
                return Ok(true);
            }
        }
        if self.urgent && (quiet || !self.limits.lazy) {
            self.log.submit()?;
            (self.urgent, self.gathered) = (false, false);
            if !self.stalled {
                self.timer = None;
            }
            return Ok(true);
        }
        if self.gathered && self.timer.is_none() {
            self.timer = Some(Box::pin(sleep_until(Instant::now() + PATIENCE)));
            return Ok(true);
        }
        Ok(false)
    }

    /// Reads what a member asked for.
    fn serve(&mut self, to: MemberId, view: View, kind: Stored, digests: &[Digest]) -> Result<(), ReplicaError> {
        let Some(asked) = digests.first().copied() else {
            return Ok(());
        };
        let mut bytes = 0;
        let mut batches: Vec<Batch> = Vec::new();
        let mut blocks: Vec<SignedBlock> = Vec::new();
        for digest in digests {
            match (kind, self.read(digest)?) {
                (Stored::Batches, Some(Record::Batch(batch))) if bytes < MAX_SERVED_BYTES => {
                    bytes += batch.body.len();
                    batches.push(batch);
                }
                (Stored::Blocks, Some(Record::Vote(VoteRecord::Accept(block) | VoteRecord::Block(block))))
                    if blocks.len() < MAX_BLOCKS_PER_ANSWER =>
                {
                    blocks.push(*block);
                }
                _ => break,
            }
        }
        self.served_records += (batches.len() + blocks.len()) as u64;
        if batches.is_empty() && blocks.is_empty() {
            self.answer(to, view, Message::NotHeld { digest: asked });
        }
        if !blocks.is_empty() {
            self.answer(to, view, Message::Blocks { digest: asked, blocks });
        }
        for batch in batches {
            self.answer(to, view, Message::Batch(batch));
        }
        Ok(())
    }

    fn read(&mut self, digest: &Digest) -> Result<Option<Record>, ReplicaError> {
        match self.log.read(&RecordKey(digest.0))? {
            Some((kind, payload)) => Ok(decode_record(kind, payload).ok()),
            None => Ok(None),
        }
    }

    fn answer(&mut self, to: MemberId, view: View, message: Message) {
        let epoch = self.epoch;
        self.served
            .push_back(frame(To::One(to), &Envelope { epoch, view, message }));
    }

    fn send_served(&mut self) -> bool {
        let mut progress = false;
        while !self.served.is_empty() && self.links.released.room() {
            let frame = self.served.pop_front().expect("not empty");
            self.links.released.push(frame.bytes(), frame);
            progress = true;
        }
        progress
    }

    /// New requests are refused while the log could not take what would be under way.
    fn watch_room(&mut self) {
        let stats = self.log.stats();
        let prepared = stats.growth_stopped.map(|_| stats.prepared_bytes);
        let room = prepared.map_or(stats.free_bytes, |prepared| prepared.min(stats.free_bytes));
        let full = self.stalled || room < self.limits.intake_bytes || stats.keys > self.limits.keys;
        if full != self.gate.log_full() {
            if full {
                tracing::error!("the log is nearly full: new requests are refused");
            } else {
                tracing::info!("the log has room again");
            }
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

/// A timer that is polled by hand.
trait PollTimer {
    fn poll_timer(self, cx: &mut Context<'_>) -> bool;
}

impl PollTimer for Pin<&mut Sleep> {
    fn poll_timer(self, cx: &mut Context<'_>) -> bool {
        std::future::Future::poll(self, cx).is_ready()
    }
}

impl Work for LogStage {
    fn stage(&self) -> Stage {
        Stage::Log
    }

    fn poll(&mut self, turn: &mut Turn<'_, '_>) -> Result<bool, ReplicaError> {
        let mut progress = self.event.poll(turn.cx)?;
        progress |= self.reap()?;
        progress |= self.send_served();
        if self.served.is_empty() {
            progress |= self.take(turn.budget)?;
        }
        progress |= self.submit(turn.cx, turn.quiet)?;
        if progress {
            self.watch_room();
        }
        Ok(progress)
    }

    fn status(&mut self) -> Map<String, Value> {
        let stats = self.log.stats();
        entries(json!({
            "log": {
                "device": stats.device,
                "registered_buffers": stats.registered_buffers,
                "direct": stats.direct,
                "records": stats.records,
                "groups": stats.groups,
                "fsyncs": stats.flushes,
                "flush_us_sum": stats.flush_us_sum,
                "flush_us_last": stats.flush_us_last,
                "flush_us_max": stats.flush_us_max,
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

/// Records are read back by the digests of batches and blocks.
pub(crate) fn record_key(record: &Record, domain: &trireme_crypto::Domain) -> Option<RecordKey> {
    let digest = match record {
        Record::Batch(batch) => batch.head.header.digest(domain),
        Record::Vote(VoteRecord::Accept(signed) | VoteRecord::Block(signed)) => signed.block.digest(domain),
        Record::Vote(_) => return None,
    };
    Some(RecordKey(digest.0))
}

/// A record as the log takes it.
pub(crate) fn encode(record: &Record, domain: &trireme_crypto::Domain) -> EncodedRecord {
    let key = record_key(record, domain);
    let (kind, head, body): (u8, Vec<u8>, Bytes) = trireme_core::wire::encode_record(record);
    EncodedRecord { kind, key, head, body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::link;
    use crate::signal::Threads;
    use crate::topology::{APPENDS, DURABLE, RELEASED};
    use bytes::Bytes;
    use std::task::Waker;
    use trireme_core::Now;
    use trireme_core::message::{BatchHeader, SignedHeader};
    use trireme_core::wire::decode_envelope;
    use trireme_crypto::{Domain, Signature};

    const DOMAIN: Domain = Domain {
        cluster_id: Digest([3; 32]),
        epoch: 0,
    };

    struct Bench {
        stage: LogStage,
        jobs: Sender<LogJob>,
        durable: Receiver<AppendId>,
        released: Receiver<ToMembers>,
        gate: Arc<Gate>,
    }

    impl Bench {
        fn new(dir: &std::path::Path, change: impl FnOnce(&mut LogConfig)) -> Self {
            let threads = Threads::new(1);
            let (jobs, jobs_out) = link(&APPENDS, &threads, 0, 0);
            let (durable_in, durable) = link(&DURABLE, &threads, 0, 0);
            let (released_in, released) = link(&RELEASED, &threads, 0, 0);
            let mut config = LogConfig::new(dir.join("log"), [0; 32]);
            (config.segment_bytes, config.max_record_bytes, config.max_log_bytes) = (1 << 20, 1 << 19, 4 << 20);
            (config.durability, config.reserve_bytes) = (Durability::Async, 0);
            change(&mut config);
            let mut opening = Log::open(config.clone()).unwrap();
            while opening.next().is_some() {}
            let gate = Arc::new(Gate::default());
            let links = LogLinks {
                jobs: jobs_out,
                durable: durable_in,
                released: released_in,
            };
            let log = opening.finish().unwrap();
            let stage = LogStage::new(log, links, gate.clone(), 0, LogLimits::of(&config)).unwrap();
            Self {
                stage,
                jobs,
                durable,
                released,
                gate,
            }
        }

        fn append(&mut self, id: AppendId, batch: &Batch, urgent: bool) {
            let frame = frame(
                To::All,
                &envelope(Message::Suspect {
                    view: id,
                    standing: true,
                }),
            );
            let records = vec![encode(&Record::Batch(batch.clone()), &DOMAIN)];
            self.jobs.push(
                0,
                LogJob::Append {
                    id,
                    records,
                    release: vec![frame],
                    urgent,
                },
            );
        }

        fn poll(&mut self) -> bool {
            let mut cx = Context::from_waker(Waker::noop());
            let mut turn = Turn {
                now: Now::default(),
                budget: 100,
                quiet: false,
                cx: &mut cx,
            };
            self.stage.poll(&mut turn).unwrap()
        }

        /// What was released, decoded.
        fn messages(&mut self) -> Vec<Message> {
            std::iter::from_fn(|| self.released.pop())
                .map(|item| match item {
                    ToMembers::Frame { frame, .. } => decode_envelope(frame).unwrap().message,
                    ToMembers::Disconnect(..) => panic!("the log disconnects nobody"),
                })
                .collect()
        }
    }

    fn envelope(message: Message) -> Envelope {
        Envelope {
            epoch: 0,
            view: 0,
            message,
        }
    }

    fn batch(height: u64, bytes: usize) -> Batch {
        let header = BatchHeader {
            lane: 1,
            height,
            parent: Digest::ZERO,
            body_root: Digest::ZERO,
            ops: 1,
            bytes: u32::try_from(bytes).unwrap(),
            witnesses: Vec::new(),
        };
        Batch {
            head: SignedHeader {
                header,
                signature: Signature([0; 64]),
            },
            body: Bytes::from(vec![7; bytes]),
        }
    }

    fn in_runtime(test: impl FnOnce(&std::path::Path)) {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _guard = runtime.enter();
        test(dir.path());
    }

    #[test]
    fn frames_leave_when_their_records_are_durable_and_in_order() {
        in_runtime(|dir| {
            let mut bench = Bench::new(dir, |_| {});
            for id in 1..=20 {
                bench.append(id, &batch(id, 10_000), true);
            }
            let (mut told, mut left) = (0, 0);
            while told < 20 {
                bench.poll();
                for message in bench.messages() {
                    left += 1;
                    assert_eq!(
                        message,
                        Message::Suspect {
                            view: left,
                            standing: true
                        }
                    );
                    assert!(
                        bench.stage.durable.0 >= left,
                        "a frame left before its record was durable"
                    );
                }
                while let Some(id) = bench.durable.pop() {
                    assert!(id > told && id <= left, "told before its frame left");
                    told = id;
                }
            }
        });
    }

    #[test]
    fn what_members_ask_for_is_read_back() {
        in_runtime(|dir| {
            let mut bench = Bench::new(dir, |_| {});
            let (first, second) = (batch(1, 100), batch(2, 200));
            bench.append(1, &first, false);
            bench.append(2, &second, true);
            while bench.durable.pop() != Some(2) {
                bench.poll();
            }
            bench.messages();
            let digest = |batch: &Batch| batch.head.header.digest(&DOMAIN);
            let ask = |kind, digests| LogJob::Serve {
                to: 2,
                view: 5,
                kind,
                digests,
            };
            bench.jobs.push(
                0,
                ask(Stored::Batches, vec![digest(&second), digest(&first), Digest([1; 32])]),
            );
            while bench.poll() {}
            assert_eq!(
                bench.messages(),
                [Message::Batch(second), Message::Batch(first.clone())]
            );
            bench
                .jobs
                .push(0, ask(Stored::Batches, vec![Digest([1; 32]), digest(&first)]));
            bench.jobs.push(0, ask(Stored::Blocks, vec![digest(&first)]));
            while bench.poll() {}
            let not_held = |digest| Message::NotHeld { digest };
            assert_eq!(bench.messages(), [not_held(Digest([1; 32])), not_held(digest(&first))]);
        });
    }

    #[test]
    fn a_full_log_closes_the_gate_before_it_stalls() {
        in_runtime(|dir| {
            let mut bench = Bench::new(dir, |config| config.max_log_bytes = 2 << 20);
            let mut id = 0;
            let mut told = 0;
            while !bench.stage.stalled {
                id += 1;
                bench.append(id, &batch(id, 100_000), true);
                while told < id && !bench.stage.stalled {
                    bench.poll();
                    bench.messages();
                    told = bench.durable.pop().unwrap_or(told);
                }
                if told == id && id > 17 {
                    assert!(bench.gate.log_full(), "nearly two MiB are used");
                }
            }
            assert!(bench.gate.log_full());
            assert!(id > 10, "a full log is not empty");
        });
    }
}
