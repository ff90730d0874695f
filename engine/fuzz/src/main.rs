//! `trireme-fuzz smoke` is CI's run; `corpus` writes the corpus anew; `replay` runs files; `list` names the targets.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use trireme_fuzz::{TARGETS, Target, named, smoke};

#[derive(Parser)]
#[command(about = "Fuzz targets without coverage: see engine/fuzz/README.md for libFuzzer")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every target, or the named ones, over its corpus and mutants of it.
    Smoke {
        /// Targets; all if none is named.
        targets: Vec<String>,
        /// Mutants for each target, instead of each target's own number.
        #[arg(long)]
        mutants: Option<u64>,
    },
    /// Writes the corpus anew. Findings (files named found-...) stay.
    Corpus,
    /// Runs files through a target.
    Replay {
        /// The target.
        target: String,
        /// The inputs.
        files: Vec<PathBuf>,
    },
    /// Names the targets.
    List,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Smoke { targets, mutants } => run_smoke(&targets, mutants),
        Command::Corpus => write_corpus(),
        Command::Replay { target, files } => replay(&target, &files),
        Command::List => {
            for target in TARGETS {
                println!("{:<14} {}", target.name, target.about);
            }
            Ok(())
        }
    }
}

fn find(name: &str) -> Result<&'static Target> {
    named(name).with_context(|| format!("there is no target {name}"))
}

fn run_smoke(names: &[String], mutants: Option<u64>) -> Result<()> {
    let chosen: Vec<&Target> = if names.is_empty() {
        TARGETS.iter().collect()
    } else {
        names.iter().map(|name| find(name)).collect::<Result<_>>()?
    };
    for target in chosen {
        let corpus = smoke::read_corpus(&smoke::corpus_directory(), target)?;
        let ran = smoke::run(target, &corpus, mutants.unwrap_or(target.mutants))?;
        println!(
            "   {:<14} {:>7} inputs, {:>3} % accepted",
            target.name,
            ran.inputs,
            100 * ran.accepted / ran.inputs.max(1)
        );
    }
    Ok(())
}

fn write_corpus() -> Result<()> {
    for target in TARGETS {
        let count = smoke::write_corpus(&smoke::corpus_directory(), target)?;
        println!("{:<14} {count} files", target.name);
    }
    Ok(())
}

fn replay(name: &str, files: &[PathBuf]) -> Result<()> {
    let target = find(name)?;
    for file in files {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let accepted = (target.run)(&bytes);
        println!("{}: {} bytes, accepted: {accepted}", file.display(), bytes.len());
    }
    Ok(())
}
