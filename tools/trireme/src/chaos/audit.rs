//! After a run: whether any replica ever signed two things that exclude each other, by what the logs say of its promises
//! and by what the others noticed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use trireme_pipeline::audit::audit;

use crate::files;
use crate::local::session::Cluster;
use crate::say::say;

/// What a replica writes when it holds evidence, and when it stops voting.
const EVIDENCE: &str = "evidence of misbehaviour";
const ALARM: &str = "this replica has stopped voting";

/// What was found, over all replicas and all their processes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) promises: u64,
    pub(super) conflicts: u64,
    pub(super) evidence: u64,
    pub(super) alarms: u64,
}

/// Reads the logs of the stopped replicas, those that were taken from them, too, and everything that they wrote.
pub(super) fn check(cluster: &Cluster) -> Result<Found> {
    let mut found = Found::default();
    for (index, file) in cluster.made.replica_files.iter().enumerate() {
        let own = file.parent().context("a replica has a directory")?;
        let config = files::settings(file)?;
        let mut dirs = lost_logs(own)?;
        dirs.extend(put_aside(&config.data_dir)?);
        dirs.push(config.data_dir.clone());
        let audit = audit(&cluster.made.cluster, &config, &dirs)?;
        audit
            .notes
            .iter()
            .for_each(|note| say!("      replica {index}: {note}"));
        audit
            .conflicts
            .iter()
            .for_each(|conflict| say!("      replica {index} CONTRADICTS ITSELF: {conflict}"));
        found.promises += audit.promises;
        found.conflicts += audit.conflicts.len() as u64;
        let text = text_of(&file.with_file_name("output.txt"))?;
        found.evidence += text.matches(EVIDENCE).count() as u64;
        found.alarms += text.matches(ALARM).count() as u64;
    }
    ensure!(found.promises > 0, "no log holds a promise: nothing was checked");
    Ok(found)
}

/// Where a log is kept that a fault takes from a replica, for this check.
pub(super) fn lost_log(replica_dir: &Path, number: usize) -> PathBuf {
    replica_dir.join(format!("lost-log-{number:04}"))
}

fn lost_logs(replica_dir: &Path) -> Result<Vec<PathBuf>> {
    with_prefix(replica_dir, "lost-log-")
}

/// Damaged logs that the replica put aside itself.
fn put_aside(data_dir: &Path) -> Result<Vec<PathBuf>> {
    with_prefix(data_dir, "damaged-log-")
}

/// Directories of this kind that hold a log, in the order of their numbers.
fn with_prefix(dir: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(prefix) && path.join("log.header").exists()
    });
    found.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    Ok(found)
}

/// What a file holds from a place on.
pub(super) fn text_of(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
