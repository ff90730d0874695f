//! Backups: snapshots apart from a running replica.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trireme_config::Cluster;
use trireme_core::check::CheckContext;
use trireme_core::types::Keys;
use trireme_core::{MemberId, Slot};
use trireme_crypto::{Digest, Domain, Signature, VerifyingKey};

use super::file::{Snapshot, sync_dir};
use super::{SnapshotError, dir_of, list, load, name_of};
use crate::keys::{invalid_among, members_of};
use crate::thread::executor;

/// The mark of a data directory. One that ends with the word "restored" says that its replica has to go through
/// R-QUARANTINE before it votes.
pub const QUARANTINE_MARKER: &str = "identity";

/// What a sound snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The checkpoint.
    pub slot: Slot,
    /// Its time, in microseconds since the Unix epoch.
    pub timestamp_us: u64,
    /// Root of the state.
    pub state_root: Digest,
    /// Digest of the block of that slot.
    pub block: Digest,
    /// Who vouches for it.
    pub signers: Vec<MemberId>,
    /// Sessions of clients in it.
    pub sessions: u64,
    /// Leaves of the application's state.
    pub entries: u64,
    /// Size of the file.
    pub bytes: u64,
}

/// Checks all of a snapshot or backup, with nothing but the cluster file: at least f+1 signatures, the block under the
/// root, and the root of the state made of the parts.
///
/// # Errors
///
/// [`SnapshotError`]: what is wrong with it.
pub fn verify(path: &Path, cluster: &Cluster) -> Result<Summary, SnapshotError> {
    let snapshot = Snapshot::open(path, cluster.fingerprint())?;
    let keys = Arc::new(PublicKeys::new(cluster)?);
    let context = CheckContext::new(cluster.params.clone(), cluster.genesis(), keys);
    load(&snapshot, &context, &executor(cluster).blank())?;
    let (vote, outline) = (&snapshot.certificate.vote, &snapshot.manifest.outline);
    Ok(Summary {
        slot: vote.slot,
        timestamp_us: vote.timestamp,
        state_root: vote.state_root,
        block: outline.block,
        signers: snapshot.certificate.votes.iter().map(|vote| vote.0).collect(),
        sessions: outline.sessions.count,
        entries: outline.app.count,
        bytes: snapshot.bytes,
    })
}

/// Copies the newest sound snapshot of a data directory, whose replica may be running.
///
/// # Errors
///
/// [`SnapshotError`]: there is none, or it cannot be copied.
pub fn backup(data_dir: &Path, out: &Path, cluster: &Cluster) -> Result<Summary, SnapshotError> {
    free(out, "a backup never replaces a file")?;
    let dir = dir_of(data_dir);
    for (slot, path) in list(&dir) {
        // A running replica may remove the older ones meanwhile.
        let copied = copy(&path, out).and_then(|part| {
            let summary = verify(&part, cluster);
            let kept = summary.and_then(|summary| rename(&part, out).map(|()| summary));
            kept.inspect_err(|_| drop(std::fs::remove_file(&part)))
        });
        match copied {
            Ok(summary) => return Ok(summary),
            Err(error) => tracing::warn!(slot, %error, "this snapshot is not taken"),
        }
    }
    Err(SnapshotError::None { dir })
}

/// Puts a backup into an empty data directory. The replica that starts there has forgotten what it signed: the marker
/// [`QUARANTINE_MARKER`] is durable before the state is.
///
/// # Errors
///
/// [`SnapshotError`]: the backup is not sound, or the directory holds data already.
pub fn restore(backup: &Path, data_dir: &Path, cluster: &Cluster) -> Result<Summary, SnapshotError> {
    let summary = verify(backup, cluster)?;
    let dir = dir_of(data_dir);
    std::fs::create_dir_all(&dir).map_err(SnapshotError::io(&dir))?;
    let mut entries = std::fs::read_dir(data_dir)
        .map_err(SnapshotError::io(data_dir))?
        .flatten();
    // The last is what a file system of its own begins with.
    let known = ["snapshots", QUARANTINE_MARKER, "lost+found"];
    let foreign = entries.find(|entry| known.iter().all(|name| entry.file_name() != *name));
    if let Some(entry) = foreign {
        return Err(SnapshotError::InTheWay {
            path: entry.path(),
            what: "the directory holds a replica's data; restore into an empty one",
        });
    }
    let marker = data_dir.join(QUARANTINE_MARKER);
    let (cluster, slot) = (cluster.fingerprint(), summary.slot);
    let text = format!("a replica of cluster {cluster}, from a backup of slot {slot}\nrestored\n");
    let written = std::fs::write(&marker, text).and_then(|()| File::open(&marker)?.sync_all());
    written.map_err(SnapshotError::io(&marker))?;
    sync_dir(&marker)?;
    let name = name_of(&dir, summary.slot);
    let part = copy(backup, &name)?;
    rename(&part, &name)?;
    Ok(summary)
}

fn free(path: &Path, what: &'static str) -> Result<(), SnapshotError> {
    if path.exists() {
        let path = path.to_path_buf();
        return Err(SnapshotError::InTheWay { path, what });
    }
    Ok(())
}

/// Copies to a name beside the final one.
fn copy(from: &Path, to: &Path) -> Result<PathBuf, SnapshotError> {
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    std::fs::copy(from, &part).map_err(SnapshotError::io(&part))?;
    let synced = File::open(&part).and_then(|file| file.sync_all());
    synced.map_err(SnapshotError::io(&part))?;
    Ok(part)
}

fn rename(from: &Path, to: &Path) -> Result<(), SnapshotError> {
    std::fs::rename(from, to).map_err(SnapshotError::io(to))?;
    sync_dir(to)
}

/// The members' public keys, for whoever signs nothing.
struct PublicKeys {
    domain: Domain,
    members: Vec<VerifyingKey>,
}

impl PublicKeys {
    fn new(cluster: &Cluster) -> Result<Self, SnapshotError> {
        Ok(Self {
            domain: cluster.domain(),
            members: members_of(cluster).map_err(|error| SnapshotError::Cluster(error.to_string()))?,
        })
    }
}

impl Keys for PublicKeys {
    fn me(&self) -> MemberId {
        0
    }

    fn domain(&self) -> Domain {
        self.domain
    }

    fn sign(&self, _: &Digest) -> Signature {
        unreachable!("there is no secret key to sign with")
    }

    fn invalid(&self, entries: &[(MemberId, Digest, Signature)]) -> Vec<usize> {
        invalid_among(&self.members, entries)
    }
}
