//! Snapshots: images of stable checkpoints on disk, served to peers, fetched from peers, and the start of a recovery.
//!
//! `data_dir/snapshots/<slot>.snap` ([`file`] has the format) is written beside the running state by a thread of its
//! own, the `keeper`, under another name, and gets its name when image, anchor and certificate are
//! durable. Only then is the core told that the checkpoint is kept, and may the log release what lies below. The newest
//! two are kept, and those that a peer is fetching.
//!
//! Nothing in a snapshot is trusted: not at the start, not from a peer, not from a backup. The certificate's signatures,
//! the anchor, and the root of the state made of the parts are checked every time.

mod file;
mod keeper;
mod offline;
mod stage;

use std::path::{Path, PathBuf};

use trireme_core::Slot;
use trireme_core::api::Reject;
use trireme_core::check::CheckContext;
use trireme_core::message::{SignedBlock, StateCertificate};
use trireme_crypto::Digest;
use trireme_state::transfer::{anchors, certifies};
use trireme_state::{BadImage, Blank, Part, Restored, Restorer};

pub(crate) use file::Snapshot;
pub(crate) use keeper::{Keeper, KeeperSettings};
pub use offline::{QUARANTINE_MARKER, Summary, backup, restore, verify};
pub(crate) use stage::{Snapshots, SnapshotsLinks, StateMessage, ToKeeper};

/// Why a snapshot cannot be written or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// Bytes of the file changed, or are missing.
    #[error("{}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// It belongs to another cluster.
    #[error("{} is a snapshot of another cluster", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Fewer than f+1 members vouch for it.
    #[error("{}: its certificate does not hold ({})", path.display(), reject.name())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reject: Reject,
    },
    /// What the certificate says is not what the file holds.
    #[error("{}: {what} is not the one that the certificate covers", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What.
        what: &'static str,
    },
    /// Its parts do not make the state.
    #[error("{}: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BadImage,
    },
    /// The directory holds no snapshot that can be used.
    #[error("{} holds no sound snapshot of this cluster; a replica writes one at each checkpoint", dir.display())]
    None {
        /// Where.
        dir: PathBuf,
    },
    /// The key or cluster file cannot be used.
    #[error("{0}")]
    Cluster(String),
    /// Something is there already.
    #[error("{}: {what}", path.display())]
    InTheWay {
        /// What.
        path: PathBuf,
        /// Why that matters.
        what: &'static str,
    },
}

impl SnapshotError {
    pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            path: path.clone(),
            source,
        }
    }
}

/// Directory of the snapshots of a data directory.
pub(crate) fn dir_of(data_dir: &Path) -> PathBuf {
    data_dir.join("snapshots")
}

/// Name of a snapshot.
pub(crate) fn name_of(dir: &Path, slot: Slot) -> PathBuf {
    dir.join(format!("{slot:020}.snap"))
}

/// The snapshots of a directory by their names, newest first.
pub(crate) fn list(dir: &Path) -> Vec<(Slot, PathBuf)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let path = entry.path();
        let slot = path.file_name()?.to_str()?.strip_suffix(".snap")?.parse().ok()?;
        Some((slot, path))
    });
    let mut named: Vec<(Slot, PathBuf)> = named.collect();
    named.sort_unstable_by(|a, b| b.cmp(a));
    named
}

/// A checked state, ready to be taken over, with what vouches for it.
pub(crate) struct Installation {
    pub(crate) restored: Restored,
    pub(crate) certificate: StateCertificate,
    pub(crate) anchor: SignedBlock,
}

/// Checks all of a snapshot and makes the state of it. Takes time in proportion to its size.
pub(crate) fn load(snapshot: &Snapshot, context: &CheckContext, blank: &Blank) -> Result<Installation, SnapshotError> {
    let path = || snapshot.path().to_path_buf();
    let mismatch = |what| SnapshotError::Mismatch { path: path(), what };
    let (certificate, manifest) = (&snapshot.certificate, &snapshot.manifest);
    certifies(context, certificate).map_err(|bad| SnapshotError::Certificate {
        path: path(),
        reject: bad.0,
    })?;
    let (vote, outline) = (&certificate.vote, &manifest.outline);
    let parts = outline.check(&blank.scheme(), &vote.state_root);
    parts.ok_or_else(|| mismatch("the manifest"))?;
    if vote.slot != snapshot.slot || !anchors(context, &manifest.anchor, outline, vote.slot) {
        return Err(mismatch("the anchor block"));
    }
    let image = |source| SnapshotError::Image { path: path(), source };
    let mut restorer = Restorer::new(blank, vote.clone(), outline).map_err(image)?;
    for id in snapshot.parts() {
        if let Some(part) = Part::from_id(id) {
            restorer.part(part, &snapshot.part(id)?).map_err(image)?;
        }
    }
    Ok(Installation {
        restored: restorer.finish().map_err(image)?,
        certificate: certificate.clone(),
        anchor: manifest.anchor.clone(),
    })
}

/// What belongs to all snapshots of one cluster.
pub(crate) struct Realm {
    pub(crate) cluster: Digest,
    pub(crate) context: CheckContext,
    pub(crate) blank: Blank,
}
