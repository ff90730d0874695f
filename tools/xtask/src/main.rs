//! `cargo xtask ci` is what CI and a developer run: every check of the repository, each with its name and time.
//! `cargo xtask test` runs the tests alone. `cargo xtask ci NAME...` runs the named steps.

#![forbid(unsafe_code)]

mod dependencies;
mod end_to_end;
mod layout;
mod sources;
mod steps;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};

/// One check: a name and what it does. The repository's root is the argument.
type Step = (&'static str, fn(&Path) -> Result<()>);

/// In this order: what is quick and fails often comes first.
const STEPS: [Step; 12] = [
    ("layout", layout::check),
    ("fmt", steps::fmt),
    ("sources", sources::check),
    ("dependencies", dependencies::check),
    ("clippy", steps::clippy),
    ("docs", steps::docs),
    ("deny", steps::deny),
    ("test", steps::test),
    ("fuzz", steps::fuzz),
    ("build", steps::build),
    ("simulate", end_to_end::simulate),
    ("local", end_to_end::local),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let chosen = match names.as_slice() {
        ["ci"] => STEPS.to_vec(),
        ["test"] => pick(&["test"]),
        ["ci", steps @ ..] if steps.iter().all(|name| known(name)) => pick(steps),
        _ => {
            eprintln!("usage: cargo xtask ci [STEP...] | test");
            eprintln!("steps: {}", STEPS.map(|(name, _)| name).join(" "));
            return ExitCode::from(2);
        }
    };
    match run(&chosen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn known(name: &str) -> bool {
    STEPS.iter().any(|(step, _)| *step == name)
}

fn pick(names: &[&str]) -> Vec<Step> {
    STEPS.into_iter().filter(|(name, _)| names.contains(name)).collect()
}

/// Runs every step, also after one has failed, so that one run says all that is wrong.
fn run(steps: &[Step]) -> Result<()> {
    let root = root()?;
    let mut failed = Vec::new();
    for (name, step) in steps {
        println!("== {name}");
        let start = Instant::now();
        let outcome = step(&root);
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => println!("== {name}: ok, {seconds:.1} s"),
            Err(error) => {
                println!("== {name}: FAILED, {seconds:.1} s: {error:#}");
                failed.push(*name);
            }
        }
    }
    anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// The repository's root: two levels above this package, whose place cargo says when it runs the program.
fn root() -> Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&package).ancestors().nth(2);
    Ok(root
        .context("this package lies two levels below the root")?
        .to_path_buf())
}
