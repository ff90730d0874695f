//! One process of a load that has several. It is told what to do by a line on its input, begins when the next line says
//! so, and tells what it measures by lines on its output. When its input ends it stops.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use trireme_load::{LoadOptions, Record, Second, Start, Stop, run_blocking};

use crate::load::drive::Whom;
use crate::{files, parent};

/// What a part is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// Process id of the one that starts it.
    pub(super) parent: u32,
    pub(super) reach: Reach,
    pub(super) options: LoadOptions,
}

/// How a part finds whom it loads.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reach {
    /// The client's settings.
    Trireme(PathBuf),
    Etcd(Vec<SocketAddr>),
}

impl Reach {
    pub(super) fn of(whom: &Whom) -> Self {
        match whom {
            Whom::Trireme { config, .. } => Self::Trireme(config.clone()),
            Whom::Etcd(addresses) => Self::Etcd(addresses.clone()),
        }
    }

    fn whom(self) -> Result<Whom> {
        Ok(match self {
            Self::Trireme(config) => {
                let files = files::client(&config)?;
                Whom::Trireme {
                    config,
                    cluster: files.cluster,
                    keys: files.keys,
                }
            }
            Self::Etcd(addresses) => Whom::Etcd(addresses),
        })
    }
}

/// What a part tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// Connected, and its keys are written.
    Ready,
    Second(Box<Second>),
    Done(Box<Record>),
    Failed(String),
}

/// Runs `trireme load part`.
pub(super) fn run() -> Result<()> {
    let order = read_line().context("no order came; this command is `trireme load`'s own")?;
    let order: Order = serde_json::from_str(&order).context("the order is not in the expected form")?;
    parent::end_with_parent(Signal::KILL, Some(order.parent))?;
    let (say, said) = channel();
    let work = move || {
        let word = match work(order, &say) {
            Ok(record) => Word::Done(Box::new(record)),
            Err(error) => Word::Failed(format!("{error:#}")),
        };
        let _ = say.send(word);
    };
    std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(work)
        .context("cannot start a thread")?;
    let mut output = std::io::stdout().lock();
    for word in said {
        let line = serde_json::to_string(&word).context("a word has a form")?;
        writeln!(output, "{line}").context("nobody listens")?;
        output.flush()?;
    }
    Ok(())
}

fn work(order: Order, say: &Sender<Word>) -> Result<Record> {
    let whom = order.reach.whom()?;
    let stop = Stop::default();
    let (tell, at) = oneshot::channel();
    listen(tell, stop.clone())?;
    let ready = say.clone();
    let start = Start {
        ready: Box::new(move || drop(ready.send(Word::Ready))),
        at,
    };
    let report = run_blocking(whom.aim(), &order.options, &stop, Some(start), |second| {
        let _ = say.send(Word::Second(Box::new(second)));
    })?;
    Ok(report.record)
}

/// Waits on a thread of its own for the time to begin, then for the end of the input.
fn listen(tell: oneshot::Sender<SystemTime>, stop: Stop) -> Result<()> {
    let wait = move || {
        let begin = read_line().and_then(|line| line.trim().parse().ok());
        if let Some(micros) = begin {
            let _ = tell.send(SystemTime::UNIX_EPOCH + Duration::from_micros(micros));
        }
        while read_line().is_some() {}
        stop.stop();
    };
    std::thread::Builder::new()
        .name("orders".to_owned())
        .spawn(wait)
        .context("cannot start a thread")?;
    Ok(())
}

/// The next line of the input; none at its end.
fn read_line() -> Option<String> {
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    read.is_ok_and(|bytes| bytes > 0).then_some(line)
}
