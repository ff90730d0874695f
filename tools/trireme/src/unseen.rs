//! Slots whose requests a replica did not execute itself, because it took the state behind them from others: its executed
//! stream has nothing of them.
//!
//! A text file beside the stream, with a line `FROM TO` for each range of slots above FROM and up to TO.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The ranges of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unseen {
    path: PathBuf,
    ranges: Vec<(u64, u64)>,
}

impl Unseen {
    /// Those beside a stream; none if there is no file.
    pub(crate) fn of(stream: &Path) -> Result<Unseen> {
        let mut name = stream.as_os_str().to_owned();
        name.push(".unseen");
        let path = PathBuf::from(name);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let range = |line: &str| {
            let (from, to) = line.split_once(' ')?;
            Some((from.parse().ok()?, to.parse().ok()?))
        };
        let ranges: Option<Vec<(u64, u64)>> = text.lines().map(range).collect();
        let ranges = ranges.with_context(|| format!("{}: not lines of two numbers", path.display()))?;
        Ok(Unseen { path, ranges })
    }

    /// Nothing is seen of the slots above `from` and up to `to`.
    pub(crate) fn add(&mut self, from: u64, to: u64) -> Result<()> {
        if from < to {
            self.ranges.push((from, to));
        }
        self.write()
    }

    /// The stream was cut: it goes on behind `slot`, and what lies above is executed again or told again.
    pub(crate) fn cut(&mut self, slot: u64) -> Result<()> {
        for range in &mut self.ranges {
            range.1 = range.1.min(slot);
        }
        self.ranges.retain(|(from, to)| from < to);
        self.write()
    }

    /// Whether the stream lacks a slot.
    pub(crate) fn holds(&self, slot: u64) -> bool {
        self.ranges.iter().any(|(from, to)| *from < slot && slot <= *to)
    }

    fn write(&self) -> Result<()> {
        if self.ranges.is_empty() && !self.path.exists() {
            return Ok(());
        }
        let mut text = String::new();
        for (from, to) in &self.ranges {
            writeln!(text, "{from} {to}").expect("writing to a String does not fail");
        }
        std::fs::write(&self.path, text).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_kept_and_cut() {
        let dir = tempfile::tempdir().unwrap();
        let stream = dir.path().join("executed");
        let mut unseen = Unseen::of(&stream).unwrap();
        unseen.cut(5).unwrap();
        assert!(!unseen.path.exists());
        unseen.add(10, 20).unwrap();
        unseen.add(30, 40).unwrap();
        let read = Unseen::of(&stream).unwrap();
        assert_eq!(read, unseen);
        assert!(!read.holds(10) && read.holds(11) && read.holds(20) && !read.holds(21) && read.holds(35));
        unseen.cut(15).unwrap();
        let read = Unseen::of(&stream).unwrap();
        assert!(read.holds(15) && !read.holds(16) && !read.holds(35));
        std::fs::write(&unseen.path, "x").unwrap();
        assert!(Unseen::of(&stream).is_err());
    }
}
