//! A replica's write-ahead log, behind one interface: an abstract list of records that loses tails only, or the real
//! log (format, group commit, recovery) on a simulated disk with faults. Which one a seed has is drawn (`atlas`).

pub(crate) mod atlas;
mod logged;
mod plain;

use serde::{Deserialize, Serialize};
use trireme_core::api::{AppendId, Stored};
use trireme_core::record::{Record, VoteRecord};
use trireme_core::types::Height;
use trireme_core::{Outbound, Slot};
use trireme_crypto::{Digest, Domain};
use trireme_log::LogError;
use trireme_log::simulation::Fault;

use crate::prng::Prng;
use crate::quarantine::Forget;
pub(crate) use atlas::{LogShape, Storage};
pub(crate) use logged::{Finding, LoggedDisk};
use plain::PlainDisk;

/// How slow the disk is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiskPace {
    /// A flush takes at least this long.
    pub(crate) flush_us: u64,
    /// And at most this much longer.
    pub(crate) spread_us: u64,
    /// An append that nobody waits for is flushed after this time at the latest.
    pub(crate) linger_us: u64,
}

/// What [`trireme_core::Effect::Append`] asks for.
pub(crate) struct Append {
    pub(crate) id: AppendId,
    pub(crate) records: Vec<Record>,
    pub(crate) release: Vec<Outbound>,
    pub(crate) urgent: bool,
}

/// An append that is durable.
pub(crate) struct Ended {
    pub(crate) id: AppendId,
    /// What leaves now.
    pub(crate) release: Vec<Outbound>,
}

/// Something that goes wrong with a member's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DiskFault {
    /// At the next operation that it can strike.
    Strike(#[serde(with = "crate::scenario::text::HarmText")] Fault),
    /// The next recovery does not come to its end.
    DieInRecovery,
    /// The disk is brought back to an earlier state.
    RollBack,
    /// A stored batch is damaged.
    RotBatch,
    /// A correct member's disk forgets; it has to come back through quarantine.
    Forget(Forget),
}

/// What a checkpoint makes needless ([`trireme_core::Effect::Release`]).
#[derive(Clone, Debug)]
pub(crate) struct Needless {
    /// Blocks below it.
    pub(crate) slot: Slot,
    /// By lane: batches up to there.
    pub(crate) heights: Vec<Height>,
}

impl Needless {
    /// Whether a record with this mark is needed all the same: a block's slot with the highest bit, or lane and height.
    fn is_live(&self, mark: u64) -> bool {
        if mark >> 63 == 1 {
            return mark & !(1 << 63) >= self.slot;
        }
        let lane = usize::try_from(mark >> 48).expect("a small number");
        self.heights
            .get(lane)
            .is_none_or(|height| mark & 0xffff_ffff_ffff > *height)
    }
}

/// What a start finds.
pub(crate) enum Restart {
    /// These records, in order.
    Up(Vec<Record>),
    /// The log is not opened.
    Refused(LogError),
    /// The process ended once more before it was done.
    Died,
}

/// The log of one replica.
pub(crate) enum Disk {
    Plain(PlainDisk),
    Logged(Box<LoggedDisk>),
}

impl Disk {
    /// As the seed's plan has it; `host` tells disks of one seed apart.
    pub(crate) fn new(pace: DiskPace, storage: &Storage, host: u64, domain: Domain) -> Self {
        match &storage.log {
            None => Self::Plain(PlainDisk::new(pace)),
            Some(shape) => Self::Logged(Box::new(LoggedDisk::new(&pace, shape, host, domain))),
        }
    }

    /// Writes an append. Returns when to call [`Disk::complete`], unless that is known already.
    pub(crate) fn append(&mut self, now: u64, prng: &mut Prng, append: Append) -> Option<u64> {
        match self {
            Self::Plain(disk) => Some(disk.append(now, prng, append)),
            Self::Logged(disk) => disk.append(now, append),
        }
    }

    /// The next append that is durable by now. An error ends the process (R-DURABLE).
    pub(crate) fn complete(&mut self, now: u64) -> Result<Option<Ended>, LogError> {
        match self {
            Self::Plain(disk) => Ok(disk.complete(now)),
            Self::Logged(disk) => disk.complete(now),
        }
    }

    /// A checkpoint made records needless; what still counts of them stands in the append with this number, the newest.
    pub(crate) fn release(&mut self, after: AppendId, needless: Needless) {
        match self {
            // Later ([`Disk::drop_needless`]).
            Self::Plain(_) => drop(needless),
            Self::Logged(disk) => disk.want_release(after, needless),
        }
    }

    /// When to call [`Disk::complete`] again, unless that is known already.
    pub(crate) fn again(&mut self, now: u64, prng: &mut Prng) -> Option<u64> {
        match self {
            Self::Plain(disk) => disk.waits().then(|| disk.flush(now, prng)),
            Self::Logged(disk) => disk.next_look(now),
        }
    }

    /// Records `from..to` of the log.
    pub(crate) fn range(&self, from: usize, to: usize) -> &[Record] {
        match self {
            Self::Plain(disk) => disk.range(from, to),
            Self::Logged(disk) => disk.range(from, to),
        }
    }

    /// How many records are durable.
    pub(crate) fn durable(&self) -> usize {
        match self {
            Self::Plain(disk) => disk.durable(),
            Self::Logged(disk) => disk.durable(),
        }
    }

    /// A release has become durable: a disk without segments drops what may go, or some of it, once what it has was seen.
    pub(crate) fn drop_needless(&mut self, needless: &Needless, prng: &mut Prng) -> usize {
        match self {
            Self::Plain(disk) => disk.release(needless, prng),
            Self::Logged(_) => 0,
        }
    }

    /// Whether there is so little room that new requests are refused.
    pub(crate) fn full(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Logged(disk) => disk.full(),
        }
    }

    /// Power is lost; with `killed`, the process ends and the machine goes on. Returns how many records are known to
    /// stay that had not been acknowledged.
    pub(crate) fn crash(&mut self, prng: &mut Prng, killed: bool) -> usize {
        match self {
            Self::Plain(disk) => disk.crash(prng),
            Self::Logged(disk) => {
                disk.crash(prng, killed);
                0
            }
        }
    }

    /// Loses the log from some record on, acknowledged or not: a Byzantine replica's disk, or one that was restored
    /// from a snapshot. While it is down.
    pub(crate) fn lose_tail(&mut self, prng: &mut Prng) {
        match self {
            Self::Plain(disk) => disk.lose_tail(prng),
            Self::Logged(disk) => disk.roll_back(),
        }
    }

    /// What a restart finds.
    pub(crate) fn restart(&mut self, now: u64, prng: &mut Prng) -> Restart {
        match self {
            Self::Plain(disk) => Restart::Up(disk.recovered().to_vec()),
            Self::Logged(disk) => disk.restart(now, prng),
        }
    }

    /// A stored batch or block.
    pub(crate) fn look_up(&mut self, kind: Stored, wanted: &Digest, domain: &Domain) -> Option<Record> {
        let record = match self {
            Self::Plain(disk) => disk.find(|record| is_stored(record, kind, wanted, domain).then(|| record.clone())),
            Self::Logged(disk) => disk.read(wanted),
        };
        record.filter(|record| is_stored(record, kind, wanted, domain))
    }

    /// The simulated disk with the real log, if this is one.
    pub(crate) fn logged(&mut self) -> Option<&mut LoggedDisk> {
        match self {
            Self::Plain(_) => None,
            Self::Logged(disk) => Some(disk),
        }
    }
}

/// Whether a record is the batch or block of this digest.
fn is_stored(record: &Record, kind: Stored, wanted: &Digest, domain: &Domain) -> bool {
    match (kind, record) {
        (Stored::Batches, Record::Batch(batch)) => batch.head.header.digest(domain) == *wanted,
        (Stored::Blocks, Record::Vote(VoteRecord::Accept(block) | VoteRecord::Block(block))) => {
            block.block.digest(domain) == *wanted
        }
        _ => false,
    }
}
