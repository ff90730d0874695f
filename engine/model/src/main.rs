//! `cargo run --release -p trireme-model -- [--config NAME|all] [--bug N] [--trace] [--threads N] [--json FILE]`
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use trireme_model::config::{Bug, Config};
use trireme_model::explore::{Effort, Report, explore};

/// Explores every history of the protocol within stated bounds (engine/model/README.md).
///
/// Ends with 0 if each run is as it should be: nothing broken without --bug, something broken with it.
#[derive(Parser)]
#[command(name = "trireme-model")]
struct Arguments {
    /// A configuration, `all`, or `quick` for those that take seconds.
    #[arg(long, default_value = "quick")]
    config: String,
    /// Leaves out the clause of this number in the bug bank; `all` tries every one in the configuration made for it.
    #[arg(long)]
    bug: Option<String>,
    /// Prints the history that breaks an invariant.
    #[arg(long)]
    trace: bool,
    /// Other bounds than the configuration's: highest slot.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=6))]
    slots: Option<u8>,
    /// Views explored.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    views: Option<u8>,
    /// Blocks with the same view, parent and content.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    values: Option<u8>,
    /// Blocks that a replica accepts in one view.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    in_a_view: Option<u8>,
    /// Threads of the checker. With one the history found is a shortest one.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Stops a run after so many seconds: it is then not exhaustive.
    #[arg(long)]
    seconds: Option<u64>,
    /// Writes the reports as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Lists the configurations and ends.
    #[arg(long)]
    list: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.list {
        for config in Config::all() {
            println!("{:10} {config}\n{:10} {}", config.name, "", config.about);
        }
        return Ok(());
    }
    ensure!(arguments.threads > 0, "--threads must be at least 1");
    let effort = Effort {
        threads: arguments.threads,
        most_time: arguments.seconds.map(Duration::from_secs),
    };
    let mut reports = Vec::new();
    let mut unexpected = 0;
    println!("{}", heading());
    for mut config in runs(&arguments)? {
        bound(&arguments, &mut config);
        let report = explore(&config, effort);
        println!("{}", line(&report));
        if arguments.trace {
            report.history.iter().for_each(|step| println!("    {step}"));
        }
        unexpected += usize::from(report.broken.is_some() != report.bug.is_some());
        reports.push(report);
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&reports)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    ensure!(
        unexpected == 0,
        "{unexpected} of {} runs are not as they should be",
        reports.len()
    );
    Ok(())
}

/// The command line's own bounds.
fn bound(arguments: &Arguments, config: &mut Config) {
    for (given, bound) in [
        (arguments.slots, &mut config.slots),
        (arguments.views, &mut config.views),
        (arguments.values, &mut config.values),
        (arguments.in_a_view, &mut config.in_a_view),
    ] {
        *bound = given.unwrap_or(*bound);
    }
}

/// What the command line asks for.
fn runs(arguments: &Arguments) -> Result<Vec<Config>> {
    let configs = match arguments.config.as_str() {
        "all" => Config::all(),
        "quick" => Config::all().into_iter().filter(|config| !config.thorough).collect(),
        name => vec![Config::named(name).with_context(|| format!("no configuration {name}: see --list"))?],
    };
    let named = |bug: Bug| Config::named(bug.config()).context("a bug names a configuration that is not there");
    let chosen = !["all", "quick"].contains(&arguments.config.as_str());
    match arguments.bug.as_deref() {
        None => Ok(configs),
        Some("all") if chosen => bail!("--bug all chooses the configurations itself"),
        Some("all") => Bug::ALL.iter().map(|(_, bug)| Ok(named(*bug)?.with(*bug))).collect(),
        Some(number) => {
            let bug = number.parse().ok().and_then(Bug::numbered);
            let bug = bug.with_context(|| format!("the model has no bug {number}"))?;
            let bases = if chosen { configs } else { vec![named(bug)?] };
            Ok(bases.iter().map(|base| base.with(bug)).collect())
        }
    }
}

fn heading() -> String {
    format!(
        "{:10} {:>4} {:>12} {:>10} {:>6} {:>8}  verdict",
        "config", "bug", "generated", "unique", "depth", "seconds"
    )
}

fn line(report: &Report) -> String {
    let verdict = match (&report.broken, report.exhaustive) {
        (Some(invariant), _) => format!("broken: {invariant}"),
        (None, true) => "holds in every state".to_owned(),
        (None, false) => "nothing found, not exhaustive".to_owned(),
    };
    let bug = report.bug.map_or_else(|| "-".to_owned(), |bug| bug.to_string());
    format!(
        "{:10} {bug:>4} {:>12} {:>10} {:>6} {:>8.1}  {verdict} ({})",
        report.config, report.generated, report.unique, report.depth, report.seconds, report.bounds
    )
}
