//! Changes of a host, each of which can be undone: files and kernel parameters, and the record of how it was before.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::tune::host::Host;

/// Where the record lies: how it was before the first change.
pub(crate) const RECORD: &str = "/var/lib/trireme/tune-before.json";

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A file gets this text.
    File { path: PathBuf, text: String },
    /// A kernel parameter gets this value, until the host starts again.
    Parameter { key: String, value: String },
}

impl Step {
    /// Whether it changes the system, so that only root can do it.
    pub(crate) fn is_system(&self, host: &Host) -> bool {
        match self {
            Step::File { path, .. } => path.starts_with(host.path("/etc")),
            Step::Parameter { .. } => true,
        }
    }

    /// Whether things are so already.
    pub(crate) fn is_done(&self, host: &Host) -> bool {
        match self {
            Step::File { path, text } => fs::read_to_string(path).is_ok_and(|there| there == *text),
            Step::Parameter { key, value } => host.sysctl(key).is_some_and(|live| live == *value),
        }
    }

    /// What it changes, for people: the old beside the new.
    pub(crate) fn words(&self, host: &Host) -> String {
        match self {
            Step::Parameter { key, value } => {
                format!(
                    "set {key}: {} -> {value}",
                    host.sysctl(key).unwrap_or_else(|| "?".to_owned())
                )
            }
            Step::File { path, text } => match fs::read_to_string(path) {
                Ok(before) => format!("change {}{}", path.display(), difference(&before, text)),
                Err(_) => format!("make {}{}", path.display(), difference("", text)),
            },
        }
    }

    fn carry_out(&self, host: &Host) -> Result<()> {
        match self {
            Step::File { path, text } => write(path, text),
            Step::Parameter { key, value } => host
                .set_sysctl(key, value)
                .with_context(|| format!("cannot set {key} to {value}")),
        }
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    // Whole or not at all.
    let new = path.with_extension("trireme-new");
    fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
    if let Ok(metadata) = fs::metadata(path) {
        fs::set_permissions(&new, metadata.permissions())
            .with_context(|| format!("cannot change {}", new.display()))?;
    }
    fs::rename(&new, path).with_context(|| format!("cannot write {}", path.display()))
}

/// Lines that go and lines that come.
fn difference(before: &str, after: &str) -> String {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (old, new) = (lines(before), lines(after));
    let gone = old
        .iter()
        .filter(|line| !new.contains(line))
        .map(|line| format!("\n      - {line}"));
    let come = new
        .iter()
        .filter(|line| !old.contains(line))
        .map(|line| format!("\n      + {line}"));
    gone.chain(come).collect()
}

/// How things were before the first change that was not undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Before {
    /// Texts of files; null: there was none.
    files: BTreeMap<PathBuf, Option<String>>,
    /// Values of kernel parameters.
    parameters: BTreeMap<String, String>,
}

impl Before {
    /// The record at a place; empty if there is none.
    pub(crate) fn read(path: &Path) -> Result<Before> {
        match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Before::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Whether there is nothing to undo.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.parameters.is_empty()
    }

    fn note(&mut self, step: &Step, host: &Host) {
        match step {
            Step::File { path, .. } => {
                self.files
                    .entry(path.clone())
                    .or_insert_with(|| fs::read_to_string(path).ok());
            }
            Step::Parameter { key, .. } => {
                if let Some(live) = host.sysctl(key) {
                    self.parameters.entry(key.clone()).or_insert(live);
                }
            }
        }
    }

    /// What undoes everything.
    pub(crate) fn words(&self, host: &Host) -> Vec<String> {
        let parameters = self.parameters.iter().map(|(key, value)| {
            let step = Step::Parameter {
                key: key.clone(),
                value: value.clone(),
            };
            step.words(host)
        });
        let files = self.files.iter().map(|(path, text)| match text {
            Some(_) => format!("restore {}", path.display()),
            None => format!("remove {}", path.display()),
        });
        parameters.chain(files).collect()
    }

    /// Whether undoing it changes the system.
    pub(crate) fn is_system(&self, host: &Host) -> bool {
        let step = |path: &PathBuf| {
            Step::File {
                path: path.clone(),
                text: String::new(),
            }
            .is_system(host)
        };
        !self.parameters.is_empty() || self.files.keys().any(step)
    }

    fn write(&self, path: &Path) -> Result<()> {
        write(
            path,
            &serde_json::to_string_pretty(self).context("the record has no JSON form")?,
        )
    }

    /// Undoes everything and forgets the record.
    pub(crate) fn undo(&self, host: &Host, record: &Path) -> Result<()> {
        for (key, value) in &self.parameters {
            let step = Step::Parameter {
                key: key.clone(),
                value: value.clone(),
            };
            step.carry_out(host)?;
        }
        for (path, text) in &self.files {
            match text {
                Some(text) => write(path, text)?,
                None if path.exists() => {
                    fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
                }
                None => {}
            }
        }
        fs::remove_file(record).with_context(|| format!("cannot remove {}", record.display()))
    }
}

/// Carries steps out. How it was is on disk before anything changes; what an earlier record says stands.
pub(crate) fn carry_out(steps: &[Step], host: &Host, record: &Path) -> Result<()> {
    let mut before = Before::read(record)?;
    steps.iter().for_each(|step| before.note(step, host));
    ensure!(!before.is_empty() || steps.is_empty(), "nothing to remember");
    before.write(record)?;
    steps.iter().try_for_each(|step| step.carry_out(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::host::tests::fake;

    #[test]
    fn what_was_changed_twice_is_undone_to_how_it_was_first() {
        let (host, _dir) = fake(&[("/proc/sys/a/b", "1\n"), ("/etc/old", "first\n")]);
        let record = host.path(RECORD);
        let (old, new) = (host.path("/etc/old"), host.path("/etc/sub/new"));
        let steps = |value: &str, text: &str| {
            vec![
                Step::Parameter {
                    key: "a.b".into(),
                    value: value.into(),
                },
                Step::File {
                    path: old.clone(),
                    text: text.into(),
                },
                Step::File {
                    path: new.clone(),
                    text: text.into(),
                },
            ]
        };
        for (value, text) in [("2", "second\n"), ("3", "third\n")] {
            let steps = steps(value, text);
            assert!(steps.iter().all(|step| !step.is_done(&host) && step.is_system(&host)));
            carry_out(&steps, &host, &record).unwrap();
            assert!(steps.iter().all(|step| step.is_done(&host)));
        }
        let before = Before::read(&record).unwrap();
        assert_eq!(before.words(&host)[0], "set a.b: 3 -> 1");
        before.undo(&host, &record).unwrap();
        assert_eq!(host.sysctl("a.b").as_deref(), Some("1"));
        assert_eq!(fs::read_to_string(&old).unwrap(), "first\n");
        assert!(!new.exists() && !record.exists());
        assert!(Before::read(&record).unwrap().is_empty());
    }

    #[test]
    fn the_words_show_what_changes() {
        let (host, _dir) = fake(&[("/x", "a = 1\nb = 2\n")]);
        let step = Step::File {
            path: host.path("/x"),
            text: "a = 1\nb = 3\n".into(),
        };
        assert!(
            step.words(&host).ends_with("\n      - b = 2\n      + b = 3"),
            "{}",
            step.words(&host)
        );
        assert!(!step.is_system(&host), "not under /etc");
    }
}
