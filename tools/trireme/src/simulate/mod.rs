//! `trireme simulate`: the protocol under simulated time, faults and Byzantine members.
//!
//! One file a mode. A new mode: a flag in [`SimulateArgs`] in the group `mode`, an arm in [`run`], a file
//! with a function that takes the arguments and returns an [`ExitCode`]; a table in `tools/trireme/README.md` if it
//! writes JSON. All modes end with 0 (nothing found), 1 (something found) or 2 (impossible arguments).

mod bank;
mod figures;
mod files;
mod many;
mod options;
mod replay;
mod stages;
mod twins;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use options::{Profile, Replicas, Signatures};

/// Arguments of `trireme simulate`.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("mode").required(true).multiple(true))]
pub(crate) struct SimulateArgs {
    /// Replay this seed with a line for each event
    #[arg(long, value_name = "S", group = "mode", conflicts_with_all = ["seeds", "first", "json"])]
    seed: Option<u64>,
    /// Run so many seeds and say which of them break an invariant
    #[arg(long, value_name = "N", group = "mode", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// Run seeds for so long; with --seeds, whichever ends first
    #[arg(long, value_name = "M", group = "mode", value_parser = options::minutes)]
    minutes: Option<f64>,
    /// The first of the seeds
    #[arg(long, value_name = "S", default_value_t = 0)]
    first: u64,
    /// Run the pipeline's stages of a whole cluster on one thread, in place of the core alone; members are 4 or 7
    #[arg(long)]
    stages: bool,
    /// Members: a number, or a range from which each seed draws [default: each seed draws of 4, 5, 6, 7 and 10]
    #[arg(long, value_name = "N or A..B")]
    replicas: Option<Replicas>,
    /// What the replicas have to stand
    #[arg(long, value_enum, default_value_t = Profile::Swarm)]
    profile: Profile,
    /// Which signatures replicas and clients make
    #[arg(long, value_enum, default_value_t = Signatures::Swarm)]
    signatures: Signatures,
    /// Seeds that run at the same time [default: all processors]
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Switch this clause of the protocol off (a build with the feature `bugs`)
    #[arg(long, value_name = "NAME", conflicts_with = "scenario")]
    clause: Option<String>,
    /// Write a report of the run to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    twins: twins::TwinsArgs,
    #[command(flatten)]
    bank: bank::BankArgs,
    #[command(flatten)]
    files: files::FileArgs,
}

/// What has the switches that the release has not.
const WITH_BUGS: &str = "it needs the switches of the bug bank, which no release has; run\n  \
    cargo run --release --features bugs --bin trireme -- simulate";

/// Runs `trireme simulate`.
pub(crate) fn run(args: &SimulateArgs) -> ExitCode {
    if let Err(words) = args.possible() {
        eprintln!("trireme: {words}");
        return ExitCode::from(2);
    }
    let outcome = match (args.seed, args.files.scenario()) {
        _ if args.twins.chosen() => twins::run(args),
        _ if args.stages => stages::run(args),
        _ if args.files.shrinks() => files::make_smaller(args),
        (_, Some(file)) => files::run(args, file),
        (Some(seed), None) => match args.bank.scenario() {
            Some(file) => files::write(args, seed, file),
            None => replay::run(args, seed),
        },
        (None, None) if args.bank.chosen() => bank::run(args),
        (None, None) => many::run(args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("trireme: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A report's file, made before the run: one that cannot be written shows now and not after hours.
fn create_report(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}
