//! `trireme tune calibrate`: what suits this host, measured.

mod log;
mod quic;
mod signatures;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use trireme_config::Durability;

use crate::say::say;
use crate::tune::profile::{self, Profile};
use crate::{disk, names};

/// Arguments of `trireme tune calibrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct CalibrateArgs {
    /// Where the replica's data will lie [default: where `trireme local` puts them]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How long each case is measured
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = names::duration)]
    duration: Duration,
    /// Where to write this host's profile
    #[arg(long, value_name = "FILE", default_value = "host-profile.toml")]
    out: PathBuf,
}

/// Runs `trireme tune calibrate`.
pub(crate) fn run(args: &CalibrateArgs) -> Result<ExitCode> {
    ensure!(
        args.duration >= Duration::from_millis(50),
        "--duration must be at least 50ms"
    );
    let place = args
        .data
        .as_ref()
        .map(|path| path.join(format!("trireme-calibrate-{}", std::process::id())));
    let disk = disk::choose(place.as_deref(), Durability::Sync)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    say!("log in {} ({}), {cores} cores", disk.dir.display(), disk.filesystem);
    let measured = log::measure(&disk.dir, args.duration, cores);
    disk::discard(&disk.dir);
    let log = measured?;
    let best = log::best(&log).context("no device can write a log here")?;
    say!(
        "      chosen: device {}, flush {}",
        best.case.device_key(),
        best.case.flush_key()
    );
    let signatures = signatures::measure(args.duration);
    say!("signatures: {}", signatures.words());
    let quic = quic::measure(args.duration)?;
    say!("QUIC on loopback: {}", quic.words());
    let base = profile::named(profile::usual(cores))?;
    let written = make(base, &log, best, &signatures, &quic, cores);
    let text = format!(
        "# Measured on this host by `trireme tune calibrate`. Use it: trireme tune apply --profile {} --replica replica.toml\n{}",
        args.out.display(),
        toml::to_string(&written).context("the profile has no TOML form")?
    );
    std::fs::write(&args.out, text).with_context(|| format!("cannot write {}", args.out.display()))?;
    say!(
        "profile {}; use it: trireme tune apply --profile {} --replica replica.toml",
        args.out.display(),
        args.out.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// The usual profile of a host of this size, with what was measured in the place of what is usual.
fn make(
    mut base: Profile,
    log: &[log::Row],
    best: &log::Row,
    signatures: &signatures::Figures,
    quic: &quic::Figures,
    cores: usize,
) -> Profile {
    base.about = format!("this host, measured: {cores} cores");
    let mut replica = toml::Table::new();
    replica.insert("device".into(), best.case.device_key().into());
    replica.insert("flush".into(), best.case.flush_key().into());
    profile::merge(&mut base.replica, &replica);
    let mut measured = toml::Table::new();
    let rows: Vec<toml::Value> = log.iter().map(|row| toml::Value::Table(row.table())).collect();
    measured.insert("log".into(), toml::Value::Array(rows));
    measured.insert("signatures".into(), toml::Value::Table(signatures.table()));
    measured.insert("quic".into(), toml::Value::Table(quic.table()));
    base.measured = measured;
    base
}

/// A figure with one decimal, for the file.
fn figure(value: f64) -> toml::Value {
    toml::Value::Float((value * 10.0).round() / 10.0)
}
