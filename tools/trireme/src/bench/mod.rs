//! `trireme bench`: what the engine was built to reach, measured on this machine.

mod alone;
mod bound;
mod busy;
mod goals;
mod limits;
mod memory;
mod outcome;
mod runs;
mod settings;
mod whole;

use std::process::ExitCode;

/// Arguments of `trireme bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Measure every goal of the engine and print it beside the figure: exit code 0 all reached, 3 some missed or not
    /// measured, 1 a run failed
    Goals(goals::GoalsArgs),
    /// Compare a cluster's throughput with what its stages do alone
    Efficiency(whole::EfficiencyArgs),
    /// Cost and latency against the number of members, 4 to 31, on simulated time with measured costs
    Curve(whole::CurveArgs),
    /// Watch the replicas' memory under load: a slope with its error, and bytes for each request in flight
    Memory(memory::MemoryArgs),
}

/// Runs `trireme bench`.
pub(crate) fn run(args: &BenchArgs) -> ExitCode {
    let outcome = match &args.what {
        What::Goals(args) => goals::run(args),
        What::Efficiency(args) => whole::efficiency(args),
        What::Curve(args) => whole::curve(args),
        What::Memory(args) => memory::run(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("trireme bench: {error:#}");
        ExitCode::FAILURE
    })
}
