//! The real log on a simulated disk: what `engine/pipeline`'s log stage does with it, under simulated time.

mod release;
mod reopen;

use std::collections::{BTreeSet, VecDeque};

use trireme_core::api::AppendId;
use trireme_core::record::{Record, VoteRecord};
use trireme_core::wire::{decode_record, encode_record};
use trireme_crypto::{Digest, Domain};
use trireme_log::simulation::{Crash, Pace, SimulatedDisk};
use trireme_log::{Entry, Log, LogError, Lsn, RecordKey};

use super::{Append, DiskFault, DiskPace, Ended, LogShape, Needless};
use crate::prng::Prng;
use release::{is_replaceable, mark};

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
        if self.rot(1, |record| matches!(record, Record::Batch(_))) {
            self.see("stored batch damaged");
        }
    }

    /// A bit flips in the record of an acceptance, which no other replica has. False if there is none that is known to be
    /// durable.
    pub(crate) fn rot_vote(&mut self) -> bool {
        self.rot(usize::MAX, |record| {
            matches!(record, Record::Vote(VoteRecord::Accept(_)))
        })
    }

    /// Tries so many records.
    fn rot(&mut self, tries: usize, like: impl Fn(&Record) -> bool) -> bool {
        let domain = self.domain;
        let records = self.records[..self.durable].iter().filter(|record| like(record));
        let keys: Vec<RecordKey> = records.filter_map(|record| record_key(record, &domain)).collect();
        let Some(log) = self.log.as_ref().filter(|_| !keys.is_empty()) else {
            return false;
        };
        // A stride that is prime to most lengths.
        let first = self.completions.wrapping_mul(7_919) % keys.len();
        let mut keys = keys[first..].iter().chain(&keys[..first]).take(tries);
        keys.any(|key| log.contains(key) && self.disk.rot(log, key))
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

/// Under which key a record is stored: as the pipeline does it.
fn record_key(record: &Record, domain: &Domain) -> Option<RecordKey> {
    let digest = match record {
        Record::Batch(batch) => batch.head.header.digest(domain),
        Record::Vote(VoteRecord::Accept(signed) | VoteRecord::Block(signed)) => signed.block.digest(domain),
        Record::Vote(_) | Record::Ordering(_) => return None,
    };
    Some(RecordKey(digest.0))
}
