//! What a replica does after a fault: catching up, leaving quarantine, voting again.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::{Instant, sleep};

use crate::chaos::act::Stage;
use crate::probe::Probe;
use crate::status::Status;

/// How long a replica may take until it is as before, a quarantine included.
const HEALTHY: Duration = Duration::from_secs(120);
/// How long others may take to commit with its vote, under load.
const VOTES: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// What a replica writes when it is quarantined.
pub(super) const QUARANTINED: &str = "quarantined: this replica signs nothing";
/// What it writes of other damage, and the words for it in the report.
const NOTICED: [(&str, &str); 4] = [
    ("the log is full", "no room for votes"),
    ("the log is nearly full", "requests refused"),
    ("a snapshot cannot be used", "snapshot damaged"),
    ("the log is put aside", "votes damaged"),
];

/// Bytes that a replica has written so far.
pub(super) fn written(output: &Path) -> u64 {
    output.metadata().map_or(0, |metadata| metadata.len())
}

/// What it has written since.
pub(super) fn said(output: &Path, since: u64) -> Result<String> {
    let cannot = || format!("cannot read {}", output.display());
    let mut file = File::open(output).with_context(cannot)?;
    file.seek(SeekFrom::Start(since)).with_context(cannot)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).with_context(cannot)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the replica noticed of its fault, by what it wrote.
pub(super) fn noticed(said: &str) -> Option<&'static str> {
    NOTICED
        .iter()
        .find(|(text, _)| said.contains(text))
        .map(|(_, noticed)| *noticed)
}

/// Waits until a replica has executed a slot, is in no quarantine, and has room in its log. If it does not come to that:
/// what is missing.
pub(super) async fn healthy(probe: &mut Probe, member: u16, target: u64, since: Instant) -> Result<Duration, String> {
    let mut missing = "it does not answer".to_owned();
    while since.elapsed() < HEALTHY {
        // It does not answer while it recovers from its log.
        if let Ok(status) = probe.ask(member).await {
            let executed = status["executed_slot"].as_u64().unwrap_or(0);
            let (full, quarantined) = (&status["log"]["full"], &status["quarantined"]);
            if executed >= target && full.as_bool() == Some(false) && quarantined.as_bool() == Some(false) {
                return Ok(since.elapsed());
            }
            missing = format!(
                "executed {executed} of {target}, log full {full}, quarantine {}",
                status["quarantine"]
            );
        }
        sleep(POLL).await;
    }
    Err(format!("{missing} after {} s", HEALTHY.as_secs()))
}

/// Waits until another replica commits by the fast path, which takes the votes of all but p members: after a quarantine
/// that shows that the member votes. None if the load ends before, or if other faults keep the fast path away; an error
/// if it stays away without them.
pub(super) async fn votes(probe: &mut Probe, stage: &Stage, member: u16, since: Instant) -> Result<Option<Duration>> {
    let others: Vec<u16> = (0..stage.args.replicas).filter(|other| *other != member).collect();
    let begin = Instant::now();
    let mut counts = vec![None; others.len()];
    while begin.elapsed() < VOTES && stage.loaded.get() {
        for (other, first) in others.iter().zip(&mut counts) {
            let Ok(status) = probe.ask(*other).await.and_then(Status::read) else {
                continue;
            };
            let before = *first.get_or_insert(status.fast_commits);
            if status.fast_commits > before {
                return Ok(Some(since.elapsed()));
            }
        }
        sleep(POLL).await;
    }
    let alone = stage.taken.borrow().len() == 1;
    if alone && stage.loaded.get() {
        bail!("replica {member} left quarantine, and nobody commits with its vote");
    }
    Ok(None)
}
