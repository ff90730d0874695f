//! `trireme local`: a whole cluster on this machine, loaded, checked, and gone afterwards.

mod compare;
mod etcd;
mod figures;
pub(crate) mod kill;
pub(crate) mod loading;
mod network;
pub(crate) mod options;
pub(crate) mod place;
mod ports;
pub(crate) mod replicas;
pub(crate) mod report;
pub(crate) mod session;
pub(crate) mod signals;
pub(crate) mod summary;
pub(crate) mod watch;
pub(crate) mod wire;

use std::cell::Cell;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use tokio::sync::Notify;

pub(crate) use options::LocalArgs;
use place::Place;
use report::Report;
use signals::{Interruption, Signals};

use crate::names::System;
use crate::parent;
use crate::say::say;

/// Runs `trireme local`. Exit code 0: everything was done and every check held; 2: impossible arguments; 128 and the
/// signal's number: interrupted; 1: all else. The JSON file says why.
pub(crate) fn run(args: LocalArgs) -> ExitCode {
    if let Err(error) = args.check() {
        eprintln!("trireme local: {error:#}");
        return ExitCode::from(2);
    }
    let mut report = args.report();
    // Written at once: it must be possible to write it, and if this process is killed the file says that there was no
    // end.
    report.error = Some("the run has not come to its end".to_owned());
    if let Some(Err(error)) = args.json.as_ref().map(|path| report.write(path)) {
        eprintln!("trireme local: {error:#}");
        return ExitCode::from(2);
    }
    let place = Place::default();
    let control = Control::default();
    let outcome = crate::block_on(drive(&control, async {
        match args.system {
            System::Trireme => session::run(&args, &mut report, &place, &control).await,
            System::Etcd => etcd::run(&args, &mut report, &place).await,
        }
    }));
    finish(&args, report, &place, outcome)
}

/// Runs a session until its end or that of the patience of whoever sends signals. When this returns, no replica
/// runs any more: the session, which owns them, is gone.
pub(crate) async fn drive(control: &Control, session: impl Future<Output = Result<()>>) -> Result<()> {
    let started_by = parent::id();
    let mut signals = Signals::catch()?;
    // SIGTERM is caught above, so this process cleans up when its parent ends.
    parent::end_with_parent(Signal::TERM, started_by)?;
    tokio::pin!(session);
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            // Ctrl-C is the ordinary end of a cluster that serves; a second one is not.
            interruption = signals.next() => match interruption {
                Interruption::Interrupt if control.serving.get() && !stopping => {
                    stopping = true;
                    control.stop.notify_one();
                }
                other => return Err(other.into()),
            },
            done = &mut session => return done,
        }
    }
}

/// How a session that serves is told to end.
#[derive(Default)]
pub(crate) struct Control {
    stop: Notify,
    serving: Cell<bool>,
}

/// Writes the report, removes the data unless they are wanted, and says how it went.
fn finish(args: &LocalArgs, mut report: Report, place: &Place, outcome: Result<()>) -> ExitCode {
    let interruption = outcome
        .as_ref()
        .err()
        .and_then(|error| error.downcast_ref::<Interruption>().copied());
    let failed = outcome.is_err() && interruption.is_none();
    // After a failure the data are what there is to look at.
    report.data_kept = args.keep || failed;
    let place_note = place.leave(report.data_kept);
    report.ok = outcome.is_ok();
    report.error = outcome.err().map(|error| format!("{error:#}"));
    if let Some(path) = &args.json {
        let written = report.write(path).context("the report is lost");
        if let Err(error) = written {
            eprintln!("trireme local: {error:#}");
            report.ok = false;
        } else {
            say!("      report: {}", path.display());
        }
    }
    if let Some(note) = place_note {
        say!("      {note}");
    }
    match (&report.error, interruption) {
        (Some(error), _) => eprintln!("trireme local: {error}"),
        (None, _) => say!("ok"),
    }
    match interruption {
        Some(interruption) => ExitCode::from(interruption.exit_code()),
        None if report.ok => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}
