//! Damage to a replica's log and snapshots while its process is down.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::chaos::fault::Dice;

/// Flipped at most, in one run.
const MOST_BYTES: u64 = 4_096;
/// Read at a time from the end of a file, to find where what was written ends.
const BLOCK: u64 = 64 << 10;

/// Flips bits of some bytes somewhere in what was written to the log in `dir`; a third of the time near its end. Says
/// where. None if nothing was written yet.
pub(super) fn flip(dir: &Path, dice: &mut Dice) -> Result<Option<String>> {
    let mut segments = segments(dir)?;
    segments.retain(|(_, written)| *written > 0);
    let Some(last) = segments.last().cloned() else {
        return Ok(None);
    };
    let (path, written) = if dice.one_in(3) {
        last
    } else {
        dice.one_of(&segments.iter().collect::<Vec<_>>()).clone()
    };
    flip_in(&path, written, dice).map(Some)
}

/// Flips bits in the newest snapshot of a data directory, a third of the time in all of them. Says where. None if there
/// is none yet.
pub(super) fn flip_snapshots(data_dir: &Path, dice: &mut Dice) -> Result<Option<String>> {
    let mut all: Vec<PathBuf> = names(&data_dir.join("snapshots"))?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "snap"))
        .collect();
    all.sort();
    let from = if dice.one_in(3) { 0 } else { all.len().saturating_sub(1) };
    let mut words = Vec::new();
    for path in all.get(from..).unwrap_or_default() {
        words.push(flip_in(path, written(path)?, dice)?);
    }
    Ok((!words.is_empty()).then(|| words.join("; ")))
}

/// Takes the log's own files out of a data directory and puts them into `aside`; all of the directory's content if
/// `all`. The mark that there was a log stays in the first case.
pub(super) fn take_away(data_dir: &Path, aside: &Path, all: bool) -> Result<()> {
    fs::create_dir_all(aside).with_context(|| format!("cannot make {}", aside.display()))?;
    for path in names(data_dir)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let of_log = name.starts_with("segment-") || name.starts_with("log.");
        if of_log {
            // It may be on another file system.
            fs::copy(&path, aside.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
        }
        if of_log || all {
            let gone = match path.is_dir() {
                true if name == "lost+found" => Ok(()),
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            gone.with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn flip_in(path: &Path, written: u64, dice: &mut Dice) -> Result<String> {
    let length = dice.between(1, MOST_BYTES.min(written));
    let near_end = dice.one_in(3);
    let from = if near_end {
        written - length
    } else {
        dice.between(0, written - length)
    };
    let open = || -> std::io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = vec![0; usize::try_from(length).expect("a few KiB")];
        file.read_exact_at(&mut bytes, from)?;
        for byte in &mut bytes {
            *byte ^= 0x5a;
        }
        file.write_all_at(&bytes, from)?;
        file.sync_all()
    };
    open().with_context(|| format!("cannot damage {}", path.display()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(format!("{length} bytes of {name} from {from} of {written}"))
}

/// What is in a directory; nothing if it is not there.
fn names(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", dir.display()))?,
    };
    let path = |entry: std::io::Result<fs::DirEntry>| entry.map(|entry| entry.path());
    let paths: std::io::Result<Vec<PathBuf>> = entries.map(path).collect();
    paths.with_context(|| format!("cannot read {}", dir.display()))
}

/// The log's segments in their order, and how far each is written.
fn segments(dir: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut all = Vec::new();
    for path in names(dir)? {
        let is_segment = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            name.starts_with("segment-") && path.extension().is_some_and(|extension| extension == "log")
        });
        if is_segment {
            let written = written(&path).with_context(|| format!("cannot read {}", path.display()))?;
            all.push((path, written));
        }
    }
    all.sort();
    Ok(all)
}

/// Bytes up to the last that is not zero: segments are as long as they may become from the beginning.
fn written(path: &Path) -> std::io::Result<u64> {
    let file = File::open(path)?;
    let mut end = file.metadata()?.len();
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        block.resize(usize::try_from(end - start).expect("a block"), 0);
        file.read_exact_at(&mut block, start)?;
        if let Some(at) = block.iter().rposition(|byte| *byte != 0) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let mut dice = Dice::new(1, 1);
        assert!(flip(dir.path(), &mut dice).unwrap().is_none(), "nothing is there");
        let path = dir.path().join("segment-0000000001.log");
        let whole: Vec<u8> = (0..200_000u32).map(|at| if at < 10_000 { 7 } else { 0 }).collect();
        fs::write(dir.path().join("lock"), [1; 100]).unwrap();
        for _ in 0..50 {
            fs::write(&path, &whole).unwrap();
            assert!(flip(dir.path(), &mut dice).unwrap().is_some());
            let now = fs::read(&path).unwrap();
            let changed: Vec<usize> = (0..whole.len()).filter(|at| now[*at] != whole[*at]).collect();
            assert!((1..=4_096).contains(&changed.len()));
            assert!(changed.iter().all(|at| *at < 10_000));
        }
        assert_eq!(fs::read(dir.path().join("lock")).unwrap(), [1; 100]);
    }

    #[test]
    fn a_log_is_taken_away_and_the_rest_stays_unless_all_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (data, aside) = (dir.path().join("data"), dir.path().join("aside"));
        fs::create_dir_all(data.join("snapshots")).unwrap();
        for name in ["segment-0000000001.log", "log.header", "identity", "snapshots/1.snap"] {
            fs::write(data.join(name), name).unwrap();
        }
        take_away(&data, &aside, false).unwrap();
        assert!(aside.join("log.header").exists() && aside.join("segment-0000000001.log").exists());
        assert!(!data.join("log.header").exists() && data.join("identity").exists());
        let mut dice = Dice::new(1, 1);
        let before = fs::read(data.join("snapshots/1.snap")).unwrap();
        assert!(flip_snapshots(&data, &mut dice).unwrap().is_some());
        assert_ne!(fs::read(data.join("snapshots/1.snap")).unwrap(), before);
        take_away(&data, &dir.path().join("b"), true).unwrap();
        assert_eq!(names(&data).unwrap(), Vec::<PathBuf>::new());
        assert!(flip_snapshots(&data, &mut dice).unwrap().is_none());
    }
}
