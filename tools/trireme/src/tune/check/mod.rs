//! `trireme tune check`: this host beside what a replica wants of it.

mod disk;
mod memory;
mod network;
mod parameters;
mod processor;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::proc::Machine;
use crate::say::say;
use crate::tune::finding::{Finding, Level, print, worst};
use crate::tune::host::Host;
use crate::tune::profile;

/// Name and version of the file's schema.
const SCHEMA: &str = "trireme.tune-check/1";

/// Arguments of `trireme tune check`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Judge by this profile: a name or a file [default: small-host, from eight cores on big-host]
    #[arg(long, value_name = "NAME|FILE")]
    profile: Option<String>,
    /// Where the replica's data will lie [default: where `trireme local` puts them]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only what is not as it should be
    #[arg(long)]
    quiet: bool,
    /// Where to write the findings
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Read the files of a host under this directory, and try nothing
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
}

/// The file.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    ok: bool,
    version: &'static str,
    machine: Machine,
    profile: &'a str,
    worst: Level,
    findings: &'a [Finding],
}

/// Runs `trireme tune check`.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode> {
    let host = Host::new(&args.root);
    let name = args.profile.as_deref().unwrap_or(profile::usual(host.cores()));
    let wanted = profile::find(name)?;
    let mut findings = parameters::check(&host, &wanted);
    findings.extend(memory::check(&host, &wanted));
    findings.extend(processor::check(&host));
    findings.extend(network::check(&host));
    if host.is_live() {
        findings.extend(network::try_offload());
        findings.extend(disk::check(&host, args.data.as_deref()));
    }
    let worst = worst(&findings);
    let shown: Vec<Finding> = findings
        .iter()
        .filter(|finding| !args.quiet || finding.level > Level::Good)
        .cloned()
        .collect();
    say!("profile {name}: {}", wanted.about);
    print(&shown);
    say!("{}", verdict(worst));
    if let Some(path) = &args.json {
        let report = Report {
            schema: SCHEMA,
            ok: worst < Level::Advice,
            version: env!("CARGO_PKG_VERSION"),
            machine: Machine::read(),
            profile: name,
            worst,
            findings: &findings,
        };
        let text = serde_json::to_string_pretty(&report).context("the findings have no JSON form")?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(exit_code(worst))
}

fn verdict(worst: Level) -> &'static str {
    match worst {
        Level::Good | Level::Note => "this host is fit",
        Level::Advice => "this host will do; what is marked advice would pay",
        Level::Bad => "this host has to be mended first",
    }
}

fn exit_code(worst: Level) -> ExitCode {
    ExitCode::from(match worst {
        Level::Good | Level::Note => 0,
        Level::Advice => 3,
        Level::Bad => 4,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::host::tests::fake;

    /// Ids of findings of a level or above.
    pub(super) fn from(findings: &[Finding], level: Level) -> Vec<&str> {
        let of = findings.iter().filter(|finding| finding.level >= level);
        of.map(|finding| finding.id.as_str()).collect()
    }

    #[test]
    fn a_host_that_tells_nothing_breaks_nothing() {
        let (host, _dir) = fake(&[]);
        let wanted = profile::named("small-host").unwrap();
        let mut all = parameters::check(&host, &wanted);
        all.extend(memory::check(&host, &wanted));
        all.extend(processor::check(&host));
        all.extend(network::check(&host));
        assert_eq!(from(&all, Level::Bad), Vec::<&str>::new());
    }
}
