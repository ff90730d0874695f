//! What can be wrong with a network that is to be emulated.

use std::io;
use std::path::PathBuf;

/// Why there is no emulation, or no change of it.
#[derive(Debug, thiserror::Error)]
pub enum WanError {
    /// A matrix that is no matrix.
    #[error("round-trip times, line {line}: {why}")]
    Matrix {
        /// Line of the CSV text, from 1.
        line: usize,
        /// What is wrong there.
        why: String,
    },
    /// A region that the matrix does not have.
    #[error("there is no region {name:?}: the matrix has {known}")]
    Region {
        /// As it was given.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A pair that names nothing.
    #[error("{pair:?} is no pair of places: give a-b, each a region, the number of a replica, `clients` or `all`")]
    Pair {
        /// As it was given.
        pair: String,
    },
    /// A setting that is none.
    #[error("{text:?}: {why}")]
    Setting {
        /// As it was given.
        text: String,
        /// What would be one.
        why: &'static str,
    },
    /// A network whose parts contradict each other.
    #[error("{0}")]
    Network(String),
    /// A file that is no network.
    #[error("{path}: {why}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The operating system refused something.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
