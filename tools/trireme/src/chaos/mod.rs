//! `trireme chaos`: a cluster on this machine under load, whose replicas are killed, stopped, cut off and slowed, whose
//! files are damaged and lost and whose disks are filled from a seed, at most f at once; afterwards everything that clients
//! saw and everything that replicas promised is checked.

mod act;
mod after;
mod audit;
mod damage;
mod fault;
mod links;
mod picture;
mod report;
mod restore;
mod room;
mod session;
mod timeline;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};

use trireme_load::Sizes;

use crate::load::ShapeArgs;
use crate::local::place::Place;
use crate::local::signals::Interruption;
use crate::local::{Control, LocalArgs, drive};
use crate::names::{self, Rate};
use crate::say::say;
use fault::{Kind, Target};
use report::Outcome;

/// Arguments of `trireme chaos`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ChaosArgs {
    /// How long the load runs, in minutes
    #[arg(long, value_name = "M", default_value_t = 1.0)]
    minutes: f64,
    /// Seed of the faults and of the load
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Which faults, separated by commas
    #[arg(
        long,
        value_name = "KIND,...",
        value_delimiter = ',',
        default_value = "kill,restart,damage,snapshot,log-lost,restore,disk-full,stop,partition,one-way,partial,slow"
    )]
    faults: Vec<Kind>,
    /// End when so many faults are done, if that is before the time is over
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Slots between two checkpoints
    #[arg(long, value_name = "SLOTS", default_value_t = 512, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    checkpoint_slots: u64,
    /// Whom they hit
    #[arg(long, default_value = "any")]
    target: Target,
    /// How long each fault lasts [default: drawn, some 50 ms to 8 s]
    #[arg(long, value_name = "TIME", value_parser = names::duration)]
    length: Option<Duration>,
    /// The mean pause between two faults
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = names::duration)]
    pause: Duration,
    /// Number of replicas
    #[arg(long, value_name = "N", default_value_t = 4)]
    replicas: u16,
    /// Byzantine replicas to be stood, and faults at once [default: the most that the number of replicas allows]
    #[arg(long, value_name = "F")]
    f: Option<u16>,
    /// Requests per second (open loop), or max (closed loop of 32)
    #[arg(long, value_name = "R|max", default_value = "300", value_parser = names::rate)]
    rate: Rate,
    /// The network: lan (no delays but those of the faults), autobahn, ibm, three-regions, or a CSV file
    #[arg(long, value_name = "NAME|FILE", default_value = crate::wan::LAN)]
    wan: String,
    /// Directory for the data: empty or not there yet [default: a fresh one on a disk]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Keep the data after the run
    #[arg(long)]
    keep: bool,
    /// Where to write the report
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to draw throughput, latency and faults over time (SVG)
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

impl ChaosArgs {
    fn duration(&self) -> Duration {
        Duration::try_from_secs_f64(self.minutes * 60.0).unwrap_or_default()
    }

    /// The run that the faults happen to, without its history file.
    fn local(&self) -> LocalArgs {
        let defaults = LocalArgs::defaults();
        LocalArgs {
            replicas: self.replicas,
            f: self.f,
            duration: self.duration(),
            load: ShapeArgs {
                rate: self.rate,
                in_flight: Some(32),
                payload: Some(Sizes::Constant(128)),
                keys: Some(KEYS),
                seed: self.seed,
                ..defaults.load.clone()
            },
            wan: Some(self.wan.clone()),
            data: self.data.clone(),
            keep: self.keep,
            ..defaults
        }
    }

    /// Leaves out what cannot be done here, and says why.
    fn skip_impossible(&mut self) -> Vec<String> {
        let full = |kind: &Kind| *kind == Kind::DiskFull;
        if !self.faults.iter().any(full) {
            return Vec::new();
        }
        let Err(error) = room::enter() else {
            return Vec::new();
        };
        self.faults.retain(|kind| !full(kind));
        vec![format!(
            "disk-full: no file systems of its own can be mounted here ({error:#})"
        )]
    }

    fn check(&self) -> Result<()> {
        ensure!(
            self.duration() >= SHORTEST,
            "--minutes must be at least {:.1}",
            SHORTEST.as_secs_f64() / 60.0
        );
        ensure!(!self.faults.is_empty(), "--faults names no fault");
        let local = self.local();
        local.check()?;
        ensure!(local.f() > 0, "without f >= 1 no fault can be stood");
        ensure!(
            self.length.is_none_or(|length| length + CALM < self.duration()),
            "--length leaves no time within --minutes"
        );
        Ok(())
    }
}

/// Few enough that operations meet, so that the check of the history has something to say.
const KEYS: u32 = 500;
/// The end of the load, in which no fault begins.
const CALM: Duration = Duration::from_secs(4);
const SHORTEST: Duration = Duration::from_secs(6);

/// Runs `trireme chaos`. Exit codes are those of `trireme local`.
pub(crate) fn run(args: &ChaosArgs) -> ExitCode {
    if let Err(error) = args.check() {
        eprintln!("trireme chaos: {error:#}");
        return ExitCode::from(2);
    }
    let mut args = args.clone();
    let skipped = args.skip_impossible();
    if args.faults.is_empty() {
        eprintln!("trireme chaos: no fault is left: {}", skipped.join("; "));
        return ExitCode::from(2);
    }
    let args = &args;
    skipped.iter().for_each(|skipped| say!("skipped: {skipped}"));
    let mut outcome = Outcome::new(args);
    outcome.skipped = skipped;
    outcome.error = Some("the run has not come to its end".to_owned());
    if let Some(Err(error)) = args.json.as_ref().map(|path| outcome.write(path)) {
        eprintln!("trireme chaos: {error:#}");
        return ExitCode::from(2);
    }
    let place = Place::default();
    let done = crate::block_on(drive(&Control::default(), session::run(args, &mut outcome, &place)));
    finish(args, outcome, &place, done)
}

fn finish(args: &ChaosArgs, mut outcome: Outcome, place: &Place, done: Result<()>) -> ExitCode {
    let interruption = done
        .as_ref()
        .err()
        .and_then(|error| error.downcast_ref::<Interruption>().copied());
    let failed = done.is_err() && interruption.is_none();
    let place_note = place.leave(args.keep || failed);
    outcome.ok = done.is_ok();
    outcome.error = done.err().map(|error| format!("{error:#}"));
    let picture = args.picture.as_ref().map(|path| (path, outcome.draw(path)));
    let json = args.json.as_ref().map(|path| (path, outcome.write(path)));
    for (path, written) in picture.into_iter().chain(json) {
        match written {
            Ok(()) => say!("      written: {}", path.display()),
            Err(error) => {
                eprintln!("trireme chaos: {error:#}");
                outcome.ok = false;
            }
        }
    }
    if let Some(note) = place_note {
        say!("      {note}");
    }
    match &outcome.error {
        Some(error) => eprintln!("trireme chaos: {error}"),
        None => say!("ok"),
    }
    match interruption {
        Some(interruption) => ExitCode::from(interruption.exit_code()),
        None if outcome.ok => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}
