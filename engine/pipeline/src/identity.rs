//! The mark that a data directory has had a log, and what a start makes of a log that is not what it was (R-QUARANTINE).
//!
//! The mark becomes durable before anything leaves that a log has to remember. So a directory with the mark and without
//! a record has lost its log; a directory with neither is new.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use trireme_config::{Cluster, ReplicaConfig};
use trireme_core::quarantine::Cause;

use crate::error::ReplicaError;

/// Name of the mark in the data directory.
const MARK: &str = "identity";
/// What the mark of a restored directory says at its end.
const RESTORED: &str = "restored";
/// Where a damaged log is put aside, with a number.
const ASIDE: &str = "damaged-log";

/// The mark of one data directory.
#[derive(Debug)]
pub(crate) struct Mark {
    dir: PathBuf,
    text: String,
}

impl Mark {
    pub(crate) fn new(cluster: &Cluster, config: &ReplicaConfig) -> Self {
        Self {
            dir: config.data_dir.clone(),
            text: format!("replica {} of cluster {}\n", config.member, cluster.fingerprint()),
        }
    }

    /// Why a start without a single record is a start in quarantine: the mark says that there was a log. None for a new
    /// directory.
    pub(crate) fn tells(&self) -> Result<Option<Cause>, ReplicaError> {
        match fs::read_to_string(self.dir.join(MARK)) {
            Ok(text) if text.trim_end().ends_with(RESTORED) => Ok(Some(Cause::Restored)),
            Ok(_) => Ok(Some(Cause::Missing)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ReplicaError::system("read the mark `identity` of the data directory")(
                error,
            )),
        }
    }

    /// Sets the mark, durably.
    pub(crate) fn set(&self) -> Result<(), ReplicaError> {
        write_mark(&self.dir, &self.text)
            .map_err(ReplicaError::system("write the mark `identity` of the data directory"))
    }
}

fn write_mark(dir: &Path, text: &str) -> io::Result<()> {
    let (new, place) = (dir.join("identity.new"), dir.join(MARK));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, &place)?;
    File::open(dir)?.sync_all()
}

/// Marks a data directory as restored from a backup: its replica starts in quarantine, because a backup does not know
/// what was signed after it.
///
/// # Errors
///
/// What the file system says.
pub fn mark_restored(cluster: &Cluster, config: &ReplicaConfig) -> io::Result<()> {
    fs::create_dir_all(&config.data_dir)?;
    let text = format!(
        "replica {} of cluster {}\n{RESTORED}\n",
        config.member,
        cluster.fingerprint()
    );
    write_mark(&config.data_dir, &text)
}

/// Puts the files of a damaged log aside, unchanged, so that a new one can begin beside them. Returns where they are.
pub(crate) fn set_aside(dir: &Path) -> Result<PathBuf, ReplicaError> {
    move_files(dir).map_err(ReplicaError::system("put the damaged log aside"))
}

fn move_files(dir: &Path) -> io::Result<PathBuf> {
    let free = (1..)
        .map(|number| dir.join(format!("{ASIDE}-{number}")))
        .find(|aside| !aside.exists());
    let aside = free.expect("numbers do not end");
    fs::create_dir(&aside)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        // The log's header and its segments.
        let of_log = |name: &str| name.starts_with("log.") || name.starts_with("segment-");
        if entry.file_type()?.is_file() && name.to_str().is_some_and(of_log) {
            fs::rename(entry.path(), aside.join(name))?;
        }
    }
    File::open(&aside)?.sync_all()?;
    File::open(dir)?.sync_all()?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_outlives_the_log_and_a_damaged_log_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mark = Mark {
            dir: dir.path().to_owned(),
            text: "replica 1 of cluster x\n".into(),
        };
        assert_eq!(mark.tells().unwrap(), None, "a new directory");
        mark.set().unwrap();
        assert_eq!(mark.tells().unwrap(), Some(Cause::Missing));
        write_mark(dir.path(), &format!("{}{RESTORED}\n", mark.text)).unwrap();
        assert_eq!(mark.tells().unwrap(), Some(Cause::Restored));
        fs::write(dir.path().join("log.header"), "h").unwrap();
        let aside = set_aside(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(aside.join("log.header")).unwrap(), "h");
        assert!(dir.path().join(MARK).exists() && !dir.path().join("log.header").exists());
        fs::write(dir.path().join("log.header"), "i").unwrap();
        assert_ne!(set_aside(dir.path()).unwrap(), aside, "the first one stays");
    }
}
