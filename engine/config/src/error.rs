//! What can be wrong with a configuration text.

use std::fmt;
use std::path::{Path, PathBuf};

/// A configuration text that was refused: where, what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, once the caller that read it has said so.
    pub file: Option<PathBuf>,
    /// Line of the text, from 1, where one line is at fault.
    pub line: Option<usize>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a configuration text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not TOML, an unknown or missing key, or a value of the wrong type.
    #[error("{0}")]
    Syntax(String),
    /// A public key that is not 64 hex characters or not a point that signatures can be checked with.
    #[error("{key}: {why}")]
    Key {
        /// Name of the entry.
        key: &'static str,
        /// Why it is refused.
        why: String,
    },
    /// Two entries that must differ are equal.
    #[error("{key} is used twice (first in line {first_line})")]
    Duplicate {
        /// Name of the entry.
        key: &'static str,
        /// Line of the first use, from 1.
        first_line: usize,
    },
    /// The number of members does not fit f, or a limit.
    #[error("{members} members cannot stand f = {f} Byzantine ones: n >= 3f + 1 and n <= {limit} must hold")]
    Members {
        /// Members listed.
        members: usize,
        /// Byzantine members to be stood.
        f: u16,
        /// The most members.
        limit: u16,
    },
    /// A value outside its range, or in contradiction to another one.
    #[error("{key}: {why}")]
    Value {
        /// Name of the entry.
        key: &'static str,
        /// Why it is refused.
        why: String,
    },
}

impl Fault {
    /// What the operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Fault::Syntax(_) => "correct that line; `trireme init` writes a complete example",
            Fault::Key { .. } => "copy the key from the output of `trireme init`, or make a new one",
            Fault::Duplicate { .. } => "every member and client needs keys and addresses of its own",
            Fault::Members { .. } => "list every member once, or lower f",
            Fault::Value { .. } => "choose a value within the limits",
        }
    }
}

impl ConfigError {
    pub(crate) fn new(line: Option<usize>, fault: Fault) -> ConfigError {
        ConfigError {
            file: None,
            line,
            fault,
        }
    }

    /// The same error with the file's name.
    #[must_use]
    pub fn in_file(mut self, file: &Path) -> ConfigError {
        self.file = Some(file.to_path_buf());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{}:{line}: ", file.display())?,
            (Some(file), None) => write!(f, "{}: ", file.display())?,
            (None, Some(line)) => write!(f, "line {line}: ")?,
            (None, None) => {}
        }
        write!(f, "{} ({})", self.fault, self.fault.remedy())
    }
}

impl std::error::Error for ConfigError {}
