//! From the log back to a replica: every record in order into the core, every committed slot into the application.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};

use trireme_config::{Cluster, DeviceKind, Durability, FlushKind, ReplicaConfig};
use trireme_core::api::Effect;
use trireme_core::wire::decode_record;
use trireme_core::{MemberId, Outbox};
use trireme_crypto::{Digest, context, hash_parts};
use trireme_log::{DeviceChoice, FlushMethod, Log, LogConfig, Opening};

use crate::clock::Clock;
use crate::error::ReplicaError;
use crate::execute::Machine;
use crate::gate::Gate;
use crate::identity::Mark;
use crate::log_event::LogEvent;
use crate::orderer::Orderer;

/// Records are handed from the reader to the replay in pieces of about so many bytes,
const CHUNK_BYTES: usize = 1 << 20;
/// of which so many may wait.
const CHUNKS_AHEAD: usize = 4;
/// What a record takes besides its payload.
const RECORD_WEIGHT: usize = 256;

/// What recovery gives.
pub(crate) struct Recovered {
    pub(crate) log: Log,
    /// Tells when to ask the log for news.
    pub(crate) event: LogEvent,
    /// To be set with the first durable record.
    pub(crate) mark: Option<Mark>,
}

/// The log's settings for this member.
#[cfg_attr(not(feature = "simulation"), allow(unreachable_pub))]
pub fn log_config(cluster: &Cluster, config: &ReplicaConfig) -> LogConfig {
    let mut log = LogConfig::new(config.data_dir.clone(), fingerprint(cluster, config.member).0);
    log.segment_bytes = config.log.segment_bytes;
    log.max_log_bytes = config.log.max_log_bytes;
    log.reserve_bytes = log.reserve_bytes.min(log.max_log_bytes / 4);
    log.max_record_bytes = config.log.max_record_bytes;
    log.buffer_bytes = config.log.buffer_bytes as usize;
    log.in_flight = config.log.flushes_in_flight;
    log.durability = match config.durability {
        Durability::Sync => trireme_log::Durability::Sync,
        Durability::Async => trireme_log::Durability::Async,
        Durability::None => trireme_log::Durability::None,
    };
    log.device = match config.device {
        DeviceKind::Auto => DeviceChoice::Auto,
        DeviceKind::IoUring => DeviceChoice::IoUring,
        DeviceKind::Plain => DeviceChoice::Plain,
    };
    log.flush = match config.flush {
        FlushKind::Linked => FlushMethod::Linked,
        FlushKind::Dsync => FlushMethod::Dsync,
    };
    log
}

/// A log belongs to one member of one cluster.
fn fingerprint(cluster: &Cluster, member: MemberId) -> Digest {
    hash_parts(
        context::CLUSTER,
        &[b"log     ", &cluster.fingerprint().0, &member.to_le_bytes()],
    )
}

/// Replays a log. Blocks as long as that takes and tells how far it is. Nothing comes of it if the replica is told to
/// stop meanwhile: the log is as it was.
pub(crate) fn recover(
    mut opening: Opening,
    dir: PathBuf,
    (gate, clock): (&Gate, &Clock),
    replica: &mut Orderer,
    machine: &mut Machine,
) -> Result<Option<Log>, ReplicaError> {
    let mut replay = Replay {
        dir,
        replica,
        machine,
        out: Outbox::new(),
        records: 0,
        percent: 0,
    };
    replay.machine.replay();
    let began = clock.tick();
    let Some(waited_us) = replay.all(&mut opening, gate, clock)? else {
        return Ok(None);
    };
    if replay.replica.forgot() {
        let what = "it begins above the newest sound snapshot".to_owned();
        return Err(ReplicaError::VotesLost { dir: replay.dir, what });
    }
    let bytes = opening.found_bytes();
    let Replay {
        records,
        machine,
        replica,
        ..
    } = replay;
    let log = opening.finish()?;
    for note in log.notes() {
        tracing::warn!("log: {note}");
    }
    // A log that was brought back to an earlier state is found out before anything is signed.
    replica.await_proof();
    if records > 0 {
        let (view, committed, executed) = (replica.view(), replica.committed(), machine.executed());
        let elapsed_us = clock.tick().since(began);
        let per_second = |count: u64| count.saturating_mul(1_000_000) / elapsed_us.max(1);
        tracing::info!(
            records,
            bytes,
            view,
            committed,
            executed,
            ms = elapsed_us / 1_000,
            waited_for_disk_ms = waited_us / 1_000,
            records_per_second = per_second(records),
            bytes_per_second = per_second(bytes),
            "recovered from the log"
        );
    }
    Ok(Some(log))
}

struct Replay<'a> {
    dir: PathBuf,
    replica: &'a mut Orderer,
    machine: &'a mut Machine,
    out: Outbox,
    records: u64,
    percent: u64,
}

/// Some records, and how far the reader was with them.
struct Chunk {
    records: Vec<trireme_log::Recovered>,
    progress: (u64, u64),
}

/// Reads the log until its end, or until nobody listens.
fn read(opening: &mut Opening, dir: &Path, chunks: &SyncSender<Result<Chunk, ReplicaError>>) {
    let mut ended = false;
    while !ended {
        let (mut records, mut bytes, mut failed) = (Vec::new(), 0, None);
        while bytes < CHUNK_BYTES && !ended {
            let next = opening.next();
            // Before anything is written, and before a record is replayed that stands on what is lost.
            if let Some(gap) = opening.gaps().iter().find(|gap| gap.loses_irreplaceable()) {
                let lost = ReplicaError::VotesLost {
                    dir: dir.to_path_buf(),
                    what: gap.to_string(),
                };
                (failed, ended) = (Some(lost), true);
                break;
            }
            match next {
                Some(Ok(record)) => {
                    bytes += record.payload.len() + RECORD_WEIGHT;
                    records.push(record);
                }
                Some(Err(error)) => (failed, ended) = (Some(error.into()), true),
                None => ended = true,
            }
        }
        let progress = opening.progress();
        let told = chunks.send(Ok(Chunk { records, progress }));
        let told = told.and_then(|()| failed.map_or(Ok(()), |error| chunks.send(Err(error))));
        ended |= told.is_err();
    }
}

impl Replay<'_> {
    /// Replays the whole log while another thread reads ahead. Returns for how many microseconds it waited for that, or
    /// nothing if the replica is to stop.
    fn all(&mut self, opening: &mut Opening, gate: &Gate, clock: &Clock) -> Result<Option<u64>, ReplicaError> {
        std::thread::scope(|scope| {
            let (send, chunks) = sync_channel(CHUNKS_AHEAD);
            let dir = self.dir.clone();
            scope.spawn(move || read(opening, &dir, &send));
            let mut waited_us = 0;
            loop {
                let before = clock.tick();
                let next = chunks.recv();
                waited_us += clock.tick().since(before);
                let Ok(chunk) = next else {
                    return Ok(Some(waited_us));
                };
                let Chunk { records, progress } = chunk?;
                for record in records {
                    self.record(record)?;
                }
                self.tell_progress(progress);
                if gate.stopping() {
                    return Ok(None);
                }
            }
        })
    }

    fn record(&mut self, found: trireme_log::Recovered) -> Result<(), ReplicaError> {
        self.records += 1;
        let (sequence, kind) = (found.sequence, found.kind);
        let record = decode_record(kind, found.payload)
            .map_err(|reject| unreadable(&self.dir, sequence, kind, reject.name()))?;
        self.replica.replay(record, &mut self.out);
        for effect in self.out.drain(..) {
            match effect {
                Effect::Execute(execution) => {
                    if let (_, Some(state)) = self.machine.execute(&execution) {
                        self.replica.replayed(state);
                    }
                }
                other => panic!("a replay only executes, not {other:?}"),
            }
        }
        Ok(())
    }

    fn tell_progress(&mut self, (read, total): (u64, u64)) {
        let percent = (read * 100).checked_div(total).unwrap_or(100);
        if percent >= self.percent + 10 {
            self.percent = percent;
            let executed = self.machine.executed();
            tracing::info!(percent, records = self.records, executed, "recovering from the log");
        }
    }
}

fn unreadable(dir: &Path, sequence: u64, kind: u8, why: &str) -> ReplicaError {
    ReplicaError::Record {
        dir: dir.to_path_buf(),
        sequence,
        kind,
        why: why.to_owned(),
    }
}
