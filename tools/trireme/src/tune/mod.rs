//! `trireme tune`: is this host fit for a replica, what suits it best, and the changes that make it so.

mod apply;
mod calibrate;
mod check;
mod finding;
mod host;
mod profile;
mod steps;

use std::process::ExitCode;

use anyhow::Result;

use crate::say::say;

/// Arguments of `trireme tune`.
#[derive(Debug, clap::Args)]
pub(crate) struct TuneArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Look at this host: exit code 0 nothing to do, 3 something would pay, 4 something has to be mended
    Check(check::CheckArgs),
    /// Measure flush methods quiet and busy, signatures, and QUIC on loopback, and write this host's profile
    Calibrate(calibrate::CalibrateArgs),
    /// Change this host, and settings of replicas, to a profile: says what it would do; --yes does it, --revert undoes it
    Apply(apply::ApplyArgs),
    /// List the profiles that come with the program, or print one
    Profiles {
        /// Print this one
        name: Option<String>,
    },
}

/// Runs `trireme tune`.
pub(crate) fn run(args: &TuneArgs) -> ExitCode {
    let outcome = match &args.what {
        What::Check(args) => check::run(args),
        What::Calibrate(args) => calibrate::run(args),
        What::Apply(args) => apply::run(args),
        What::Profiles { name } => profiles(name.as_deref()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("trireme tune: {error:#}");
        ExitCode::FAILURE
    })
}

fn profiles(name: Option<&str>) -> Result<ExitCode> {
    match name {
        Some(name) => say!("{}", profile::text(name)?.trim_end()),
        None => {
            for name in profile::NAMES {
                say!("{name:<12} {}", profile::named(name)?.about);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
