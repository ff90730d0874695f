//! The real log on a simulated disk: what `engine/pipeline`'s log stage does with it, under simulated time.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use trireme_core::api::AppendId;
use trireme_core::record::{Record, VoteRecord};
use trireme_core::wire::{decode_record, encode_record};
use trireme_crypto::{Digest, Domain};
use trireme_log::simulation::{Crash, Pace, SimulatedDisk};
use trireme_log::{Entry, Gap, Log, LogError, Lsn, OldSegment, Opening, RecordKey, worth_releasing};

use super::{Append, DiskFault, DiskPace, Ended, LogShape, Needless, Restart};
use crate::prng::Prng;

/// An append that found the disk full is tried again after this time, and a disk without room looked at.
const RETRY_US: u64 = 100_000;

/// One in so many completions is followed by a look-up: members that are far behind are rare in short runs.
const COMPLETIONS_A_LOOK_UP: usize = 16;

/// Something that the disk's tests have to tell.
#[derive(Debug)]
pub(crate) enum Finding {
    /// A promise of the log that did not hold.
    Broken(String),
    /// Something that should happen sometimes.
    Seen(&'static str),
}

struct Waiting {
    lsn: Lsn,
    append: Ended,
}

/// The log of one replica.
pub(crate) struct LoggedDisk {
    disk: SimulatedDisk,
    shape: LogShape,
    /// None while the replica is down.
    log: Option<Log>,
    domain: Domain,
    linger_us: u64,
    /// What the log has been given, and what it should therefore give back.
    records: Vec<Record>,
    durable: usize,
    /// Of those, what was released or damaged.
    gone: BTreeSet<usize>,
    /// Records that a torn tail took.
    cut: Vec<(usize, Record)>,
    /// The newest append, and how many records were before it.
    newest: (AppendId, usize),
    /// What a checkpoint made needless, and how many records come before what still counts.
    needless: Option<(Needless, usize)>,
    /// Copies of what was still needed are on their way: with so many records durable, all below this segment may go.
    settling: Option<(usize, u64)>,
    /// Appends that the log had no room for yet; of the first one some records may be in.
    jobs: VecDeque<Append>,
    /// Appended and not durable.
    waiting: VecDeque<Waiting>,
    /// Something urgent was appended since the last submit; or anything.
    urgent: bool,
    gathered: bool,
    linger_at: Option<u64>,
    /// An append found no room at all.
    stalled: bool,
    /// The owner has been told to look then.
    look_at: Option<u64>,
    /// So many recoveries do not come to their end.
    deaths: u32,
    /// Completions so far.
    completions: usize,
    findings: Vec<Finding>,
}

impl LoggedDisk {
    pub(super) fn new(pace: &DiskPace, shape: &LogShape, host: u64, domain: Domain) -> Self {
        let pace_of_disk = Pace {
            flush_us: pace.flush_us,
            spread_us: pace.spread_us,
            prepare_us: shape.prepare_us,
        };
        let disk = SimulatedDisk::new(&shape.config(), Some(pace_of_disk), shape.seed ^ (host << 32));
        disk.set_direct(shape.direct);
        disk.set_bugs(shape.bugs.clone());
        let log = Log::open_simulated(shape.config(), &disk).and_then(trireme_log::Opening::finish);
        Self {
            log: Some(log.expect("a new disk is sound")),
            disk,
            shape: shape.clone(),
            domain,
            linger_us: pace.linger_us,
            records: Vec::new(),
            durable: 0,
            gone: BTreeSet::new(),
            cut: Vec::new(),
            newest: (0, 0),
            needless: None,
            settling: None,
            jobs: VecDeque::new(),
            waiting: VecDeque::new(),
            urgent: false,
            gathered: false,
            linger_at: None,
            stalled: false,
            look_at: None,
            deaths: 0,
            completions: 0,
            findings: Vec::new(),
        }
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("the replica is up")
    }

    pub(super) fn append(&mut self, now: u64, append: Append) -> Option<u64> {
        self.disk.advance(now);
        self.jobs.push_back(append);
        self.pump(now);
        self.next_look(now)
    }

    /// Gives the log what it takes, and starts to write what somebody waits for.
    fn pump(&mut self, now: u64) {
        while let Some(mut job) = self.jobs.pop_front() {
            if !self.append_records(&mut job) {
                self.jobs.push_front(job);
                break;
            }
            self.urgent |= job.urgent;
            self.waiting.push_back(Waiting {
                lsn: Lsn(self.records.len() as u64),
                append: Ended {
                    id: job.id,
                    release: job.release,
                },
            });
        }
        if self.urgent {
            self.log().submit().expect("only a completion tells of a failure");
            (self.urgent, self.gathered, self.linger_at) = (false, false, None);
        } else if self.gathered && self.linger_at.is_none() {
            self.linger_at = Some(now + self.linger_us);
        }
    }

    /// Appends an append's records; false if the log has no room for all of them now.
    fn append_records(&mut self, job: &mut Append) -> bool {
        let mut taken = 0;
        if job.id != self.newest.0 {
            self.newest = (job.id, self.records.len());
        }
        for record in &job.records {
            match self.append_record(record) {
                Ok(()) => taken += 1,
                Err(LogError::Busy) => {
                    self.urgent |= self.gathered;
                    self.see("log busy");
                    break;
                }
                Err(LogError::Full { .. }) => {
                    self.see("log full to the last byte");
                    self.stalled = true;
                    break;
                }
                Err(error) => panic!("records fit into the simulator's logs: {error}"),
            }
        }
        job.records.drain(..taken);
        job.records.is_empty()
    }

    fn append_record(&mut self, record: &Record) -> Result<(), LogError> {
        let (kind, head, body) = encode_record(record);
        let entry = Entry {
            kind,
            key: record_key(record, &self.domain),
            mark: mark(record),
            replaceable: is_replaceable(record),
            vital: true,
            parts: &[&head, &body],
        };
        let lsn = self.log().append_entry(&entry)?;
        self.records.push(record.clone());
        assert_eq!(lsn, Lsn(self.records.len() as u64), "positions ascend by one");
        (self.gathered, self.stalled) = (true, false);
        Ok(())
    }

    pub(super) fn complete(&mut self, now: u64) -> Result<Option<Ended>, LogError> {
        self.disk.advance(now);
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
        }
        let durable = self.log().poll()?;
        if self.linger_at.is_some_and(|at| at <= now) {
            self.urgent |= self.gathered;
            self.linger_at = None;
        }
        self.release()?;
        self.pump(now);
        if self.waiting.front().is_none_or(|front| front.lsn > durable) {
            return Ok(None);
        }
        self.spot_check();
        let done = self.waiting.pop_front().expect("just seen");
        self.durable = usize::try_from(done.lsn.0).expect("few records");
        Ok(Some(done.append))
    }

    // Release: as the log stage of the pipeline does it, in one go instead of record by record.

    /// What stands is in that append, which is the newest; the rest may go when it is durable.
    pub(super) fn want_release(&mut self, after: AppendId, needless: Needless) {
        if self.newest.0 == after {
            self.needless = Some((needless, self.newest.1));
        }
    }

    /// Goes on with a release. Only a failure of the log is an error.
    fn release(&mut self) -> Result<(), LogError> {
        if let Some((last, next)) = self.settling {
            if self.durable >= last && self.log().release_below(next)? {
                self.settling = None;
                self.see("old segments released");
            }
            self.urgent |= self.gathered;
            return Ok(());
        }
        let Some((needless, before)) = self.needless.take() else {
            return Ok(());
        };
        // The promises themselves have to be durable.
        if self.durable <= before || self.log().releasing() {
            self.needless = Some((needless, before));
            return Ok(());
        }
        let mut live = |_: u8, mark: u64| needless.is_live(mark);
        let log = self.log();
        let first = Lsn(before as u64 + 1);
        let old: Vec<OldSegment> = (0..).map_while(|at| log.old_segment(at, first, &mut live)).collect();
        let worth = worth_releasing(&old);
        let Some(next) = old[..worth].last().map(|last| last.next) else {
            return Ok(());
        };
        for key in old[..worth].iter().flat_map(|segment| &segment.live) {
            // One that cannot be read is lost as it stands.
            let Some(record) = self.read(&Digest(key.0)) else {
                continue;
            };
            let copy = match record {
                Record::Vote(VoteRecord::Accept(block)) => Record::Vote(VoteRecord::Block(block)),
                record => record,
            };
            match self.append_record(&copy) {
                Ok(()) => self.see("record copied out of an old segment"),
                Err(error) if error.is_refusal() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.settling = Some((self.records.len(), next));
        Ok(())
    }

    /// When something will have changed, if that is earlier than the owner knows.
    pub(super) fn next_look(&mut self, now: u64) -> Option<u64> {
        let releases = self.settling.is_some() || self.needless.is_some();
        let retry = (!self.jobs.is_empty() || self.full() || releases).then_some(now + RETRY_US);
        let next = [self.disk.next_due(), self.linger_at, retry]
            .into_iter()
            .flatten()
            .min()?;
        let next = next.max(now + 1);
        if self.look_at.is_some_and(|at| at <= next) {
            return None;
        }
        self.look_at = Some(next);
        Some(next)
    }

    /// As the log stage's `watch_room`: below two segments of what exists, once no more can be made.
    pub(super) fn full(&self) -> bool {
        let stopped = |log: &Log| {
            let stats = log.stats();
            stats.growth_stopped.is_some() && stats.prepared_bytes < 2 * self.shape.segment_bytes
        };
        self.stalled || self.log.as_ref().is_some_and(stopped)
    }

    pub(super) fn range(&self, from: usize, to: usize) -> &[Record] {
        &self.records[from..to]
    }

    pub(super) fn durable(&self) -> usize {
        self.durable
    }

    /// The record of this key. One that cannot be read is one that is not held: the log goes on.
    pub(super) fn read(&mut self, digest: &Digest) -> Option<Record> {
        let found = match self.log().read(&RecordKey(digest.0)) {
            Ok(found) => found?,
            Err(LogError::Damaged { .. }) => {
                self.see("damaged record noticed in a look-up");
                return None;
            }
            Err(error) => {
                assert!(matches!(error, LogError::Io { .. }), "{error}");
                self.see("read error in a look-up");
                return None;
            }
        };
        let record = decode_record(found.0, found.1).ok();
        let right = record
            .as_ref()
            .is_some_and(|record| record_key(record, &self.domain) == Some(RecordKey(digest.0)));
        if !right {
            self.broken("a look-up gives a wrong record for good".to_owned());
        }
        record.filter(|_| right)
    }

    /// Reads some record back, as if a member had asked for it.
    fn spot_check(&mut self) {
        self.completions += 1;
        if !self.completions.is_multiple_of(COMPLETIONS_A_LOOK_UP) || self.records.is_empty() {
            return;
        }
        // A stride that is prime to most lengths visits all records in time.
        let index = self.completions.wrapping_mul(7_919) % self.records.len();
        if let Some(key) = record_key(&self.records[index], &self.domain) {
            self.see("look-up in the real log");
            self.read(&Digest(key.0));
        }
    }

    // Faults.

    pub(crate) fn strike(&mut self, fault: DiskFault) {
        match fault {
            DiskFault::Strike(fault) => self.disk.inject(fault),
            DiskFault::RotBatch => self.rot_batch(),
            DiskFault::DieInRecovery => self.deaths += 1,
            DiskFault::RollBack | DiskFault::Forget(_) => {}
        }
    }

    /// A bit flips in a stored batch: something that every other replica can make good.
    fn rot_batch(&mut self) {
        let domain = self.domain;
        let batches = self.records[..self.durable]
            .iter()
            .filter(|record| matches!(record, Record::Batch(_)));
        let keys: Vec<RecordKey> = batches.filter_map(|record| record_key(record, &domain)).collect();
        let Some(log) = self.log.as_ref().filter(|_| !keys.is_empty()) else {
            return;
        };
        // A stride that is prime to most lengths.
        let key = keys[self.completions.wrapping_mul(7_919) % keys.len()];
        if log.contains(&key) && self.disk.rot(log, &key) {
            self.see("stored batch damaged");
        }
    }

    /// Faults that wait are called off.
    pub(crate) fn mend(&mut self) {
        self.disk.mend();
        self.deaths = 0;
    }

    pub(super) fn roll_back(&mut self) {
        self.disk.roll_back();
    }

    pub(super) fn crash(&mut self, prng: &mut Prng, killed: bool) {
        // The log goes first, as its process does.
        self.log = None;
        let crash = if killed { Crash::Kill } else { prng.pick(&Crash::ALL) };
        self.disk.crash(crash);
        self.jobs.clear();
        self.waiting.clear();
        (self.urgent, self.gathered, self.stalled) = (false, false, false);
        (self.linger_at, self.look_at) = (None, None);
        (self.needless, self.settling, self.newest) = (None, None, (0, 0));
    }

    pub(super) fn restart(&mut self, now: u64, prng: &mut Prng) -> Restart {
        self.disk.advance(now);
        if self.deaths > 0 {
            self.deaths -= 1;
            self.see("crash during recovery");
            self.begin_recovery(prng);
            let killed = prng.percent(30);
            self.crash(prng, killed);
            return Restart::Died;
        }
        match self.open() {
            Ok(()) => {
                let there = self.records.iter().enumerate();
                let there = there.filter(|(index, _)| !self.gone.contains(index));
                Restart::Up(there.map(|(_, record)| record.clone()).collect())
            }
            Err(error) => {
                if let Err(broken) = self.disk.judge_refusal(&error) {
                    self.broken(broken);
                }
                self.see(match error {
                    LogError::Damaged { .. } => "damaged middle refused",
                    _ => "unreadable log refused",
                });
                Restart::Refused(error)
            }
        }
    }

    /// Reads some records, or all and opens the log; then the process ends.
    fn begin_recovery(&mut self, prng: &mut Prng) {
        let Ok(mut opening) = Log::open_simulated(self.shape.config(), &self.disk) else {
            return;
        };
        let some = prng.index(self.records.len() + 2);
        for _ in 0..some {
            if !matches!(opening.next(), Some(Ok(_))) {
                break;
            }
        }
        if prng.percent(40) {
            drop(opening.finish());
        }
    }

    /// Opens the log and compares what it gives with what it was given.
    fn open(&mut self) -> Result<(), LogError> {
        let mut opening = Log::open_simulated(self.shape.config(), &self.disk)?;
        let mut seen = BTreeSet::new();
        while let Some(found) = opening.next() {
            let found = found?;
            let index = usize::try_from(found.sequence).expect("few records") - 1;
            if !self.same(index, found.kind, found.payload) && !self.revived(index, &opening) {
                self.broken(format!("record {} comes back as another one", found.sequence));
            }
            seen.insert(index);
        }
        let last = seen.last().map_or(0, |last| last + 1);
        let last = opening
            .gaps()
            .iter()
            .map(|gap| gap.until as usize - 1)
            .fold(last, usize::max);
        self.judge_gaps(&opening, &seen, last);
        // As the pipeline does it: a replica that may have forgotten votes must not vote.
        if let Some(gap) = opening.gaps().iter().find(|gap| gap.loses_irreplaceable()) {
            self.see("vote records lost");
            return Err(LogError::Damaged {
                file: "simulated".into(),
                offset: 0,
                what: gap.to_string(),
                remedy: "",
            });
        }
        let (torn, gaps) = (opening.torn(), opening.gaps().to_vec());
        let log = opening.finish()?;
        match self.disk.judge_opening(last as u64, &gaps) {
            Ok(0) => {}
            Ok(_) => self.see("acknowledged tail lost without a witness"),
            Err(broken) => self.broken(broken),
        }
        if torn {
            self.see("torn tail truncated");
        }
        if gaps.iter().any(|gap| gap.lost > 0) {
            self.see("started without damaged batches");
        }
        if last > self.durable {
            self.see("unacknowledged records survive a crash");
        }
        let first = usize::try_from(log.stats().first_record).expect("few records") - 1;
        let lost = self.records.drain(last..).enumerate();
        self.cut.extend(lost.map(|(index, record)| (last + index, record)));
        self.durable = self.records.len();
        self.gone = (0..last)
            .filter(|index| *index < first || !seen.contains(index))
            .collect();
        self.log = Some(log);
        Ok(())
    }

    /// What is missing lies in a gap, and a gap says how much of it no other replica has.
    fn judge_gaps(&mut self, opening: &Opening, seen: &BTreeSet<usize>, last: usize) {
        let told = |gap: &Gap| gap.from as usize - 1..gap.until as usize - 1;
        let first = seen.first().copied().unwrap_or(last);
        let first = opening.gaps().first().map_or(first, |gap| first.min(told(gap).start));
        let missing: Vec<usize> = (first..last).filter(|index| !seen.contains(index)).collect();
        let untold = missing
            .iter()
            .find(|index| !opening.gaps().iter().any(|gap| told(gap).contains(index)));
        if let Some(index) = untold {
            self.broken(format!("record {} is missing, and no gap says so", index + 1));
        }
        for gap in opening.gaps() {
            let here = missing.iter().filter(|index| told(gap).contains(index));
            let votes = here.filter(|index| self.records.get(**index).is_some_and(|r| !is_replaceable(r)));
            if votes.count() > 0 && !gap.loses_irreplaceable() {
                self.broken(format!("votes are missing, and nothing says so: {gap}"));
            }
        }
    }

    fn same(&self, index: usize, kind: u8, payload: Bytes) -> bool {
        let read = decode_record(kind, payload);
        matches!((self.records.get(index), read), (Some(given), Ok(read)) if *given == read)
    }

    /// A record that a torn tail took comes back if damage has taken all that could tell: its place, and what later
    /// openings wrote.
    fn revived(&self, index: usize, opening: &Opening) -> bool {
        !opening.gaps().is_empty() && self.cut.iter().any(|(at, _)| *at == index)
    }

    // Findings.

    fn see(&mut self, what: &'static str) {
        self.findings.push(Finding::Seen(what));
    }

    fn broken(&mut self, what: String) {
        self.findings.push(Finding::Broken(what));
    }

    /// What there is to tell since the last call.
    pub(crate) fn findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// How often each kind of fault struck.
    pub(crate) fn struck(&self) -> std::collections::BTreeMap<&'static str, u64> {
        self.disk.struck()
    }
}

/// What tells whether a record is still needed ([`Needless::is_live`]).
fn mark(record: &Record) -> u64 {
    match record {
        Record::Batch(batch) => u64::from(batch.head.header.lane) << 48 | batch.head.header.height,
        Record::Vote(VoteRecord::Accept(signed) | VoteRecord::Block(signed)) => 1 << 63 | signed.block.slot,
        Record::Vote(_) => 0,
    }
}

/// Whether any other replica can give it.
fn is_replaceable(record: &Record) -> bool {
    matches!(
        record,
        Record::Batch(_) | Record::Vote(VoteRecord::Block(_) | VoteRecord::Committed(..))
    )
}

/// Under which key a record is stored: as the pipeline does it.
fn record_key(record: &Record, domain: &Domain) -> Option<RecordKey> {
    let digest = match record {
        Record::Batch(batch) => batch.head.header.digest(domain),
        Record::Vote(VoteRecord::Accept(signed) | VoteRecord::Block(signed)) => signed.block.digest(domain),
        Record::Vote(_) => return None,
    };
    Some(RecordKey(digest.0))
}
