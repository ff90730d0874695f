//! A replica whose data are replaced by a backup of another one's, by the commands that an operator would use.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::chaos::damage;
use crate::executed::StreamReader;
use crate::unseen::Unseen;

/// Backs a running replica up, and restores that into the directory of the stopped one. Says from whom and which slot;
/// None if nobody has kept a checkpoint yet: then nothing was changed.
pub(super) fn from_others(files: &[PathBuf], index: usize, data: &str, aside: &Path) -> Result<Option<String>> {
    let own = files[index].parent().context("a replica has a directory")?;
    let backup = own.join("backup");
    let _ = std::fs::remove_file(&backup);
    for turn in 1..files.len() {
        let other = (index + turn) % files.len();
        let dir = files[other].parent().context("a replica has a directory")?;
        if !trireme(&["backup".as_ref(), dir, "--out".as_ref(), &backup])? {
            continue;
        }
        let data_dir = own.join(data);
        damage::take_away(&data_dir, aside, true)?;
        if !trireme(&["restore".as_ref(), &backup, "--into".as_ref(), own])? {
            bail!("the backup of replica {other} cannot be restored at replica {index}");
        }
        let slot = restored_slot(&data_dir)?;
        not_executed_here(&own.join("executed"), slot)?;
        return Ok(Some(format!(
            "its data are those of a backup of replica {other}, slot {slot}"
        )));
    }
    Ok(None)
}

/// Runs a command of this program; whether it succeeded.
fn trireme(args: &[&Path]) -> Result<bool> {
    let exe = std::env::current_exe().context("cannot find the path of this program")?;
    let done = Command::new(exe)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .context("cannot start this program again")?;
    Ok(done.status.success())
}

fn restored_slot(data_dir: &Path) -> Result<u64> {
    let dir = data_dir.join("snapshots");
    let entries = std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let slots: Vec<u64> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".snap")?.parse().ok())
        .collect();
    ensure!(
        slots.len() == 1,
        "{} snapshots in {} after a restore",
        slots.len(),
        dir.display()
    );
    Ok(slots[0])
}

/// The state of the backup is ahead of what this replica had executed, perhaps.
fn not_executed_here(stream: &Path, slot: u64) -> Result<()> {
    let mut last = 0;
    for record in StreamReader::open(stream)? {
        let record = record?;
        if record.slot <= slot {
            last = record.slot;
        }
    }
    Unseen::of(stream)?.add(last, slot)
}
