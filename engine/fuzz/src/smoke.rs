//! The smoke run: every target over its corpus and a fixed number of mutants of it.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::mutate::{Chance, mutate};
use crate::targets::Target;

/// Beginning of the names of files that a finding left: the generator does not touch them.
pub const FINDING: &str = "found-";

/// The corpus in the repository.
pub fn corpus_directory() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).join("corpus")
}

/// The files of one target, by name.
///
/// # Errors
///
/// If the directory cannot be read.
pub fn read_corpus(directory: &Path, target: &Target) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let directory = directory.join(target.name);
    for entry in fs::read_dir(&directory).with_context(|| format!("no corpus in {}", directory.display()))? {
        let entry = entry?;
        let bytes = fs::read(entry.path()).with_context(|| format!("cannot read {}", entry.path().display()))?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), bytes);
    }
    ensure!(!files.is_empty(), "the corpus of {} is empty", target.name);
    Ok(files)
}

/// Writes the target's samples, and takes away old ones; findings stay.
///
/// # Errors
///
/// If a file cannot be written.
pub fn write_corpus(directory: &Path, target: &Target) -> Result<usize> {
    let directory = directory.join(target.name);
    fs::create_dir_all(&directory)?;
    for entry in fs::read_dir(&directory)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(FINDING) {
            fs::remove_file(entry.path())?;
        }
    }
    let samples = (target.samples)();
    for (name, bytes) in &samples {
        fs::write(directory.join(name), bytes)?;
    }
    Ok(samples.len())
}

/// What a run of a target showed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ran {
    /// Inputs.
    pub inputs: u64,
    /// Of these, such as the target calls accepted.
    pub accepted: u64,
}

/// Runs a target over its corpus and `mutants` inputs made of it.
///
/// # Errors
///
/// If the target panics: the input is kept in a file that the error names.
pub fn run(target: &Target, corpus: &BTreeMap<String, Vec<u8>>, mutants: u64) -> Result<Ran> {
    let mut ran = Ran::default();
    for (name, bytes) in corpus {
        try_one(target, bytes, &mut ran).with_context(|| format!("corpus file {}/{name}", target.name))?;
    }
    let seeds: Vec<Vec<u8>> = corpus.values().cloned().collect();
    for number in 0..mutants {
        let bytes = mutate(&seeds, &mut Chance::new(target.name, number));
        try_one(target, &bytes, &mut ran).with_context(|| format!("mutant {number} of {}", target.name))?;
    }
    Ok(ran)
}

fn try_one(target: &Target, bytes: &[u8], ran: &mut Ran) -> Result<()> {
    ran.inputs += 1;
    match catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))) {
        Ok(accepted) => ran.accepted += u64::from(accepted),
        Err(_) => {
            let name = format!("trireme-fuzz-{}-{:016x}", target.name, print_of(bytes));
            let path = std::env::temp_dir().join(name);
            fs::write(&path, bytes)?;
            anyhow::bail!("panicked; the input is in {}", path.display());
        }
    }
    Ok(())
}

fn print_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(bytes.len() as u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
