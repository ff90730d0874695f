//! `trireme replica`: one replica as a process.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use trireme_pipeline::{ExecutedItem, NoObserver, Observer};

use crate::executed::{Record, StreamWriter};
use crate::logging::{self, LogFormat};
use crate::unseen::Unseen;
use crate::{files, parent};

/// Arguments of `trireme replica`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReplicaArgs {
    /// The replica's settings (replica.toml)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How to write what happens to the standard error. TRIREME_LOG says what is written: "info", "debug",
    /// "trireme_transport=trace,info" [default: what TRIREME_LOG_FORMAT says, or text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// End when this process, the one that started the replica, ends
    #[arg(long, value_name = "PID", hide = true)]
    parent: Option<u32>,
}

/// Runs a replica until it is told to stop.
pub(crate) fn run(args: &ReplicaArgs) -> Result<()> {
    if let Some(pid) = args.parent {
        parent::end_with_parent(Signal::KILL, Some(pid))?;
    }
    let format = args.log_format.map_or_else(LogFormat::of_environment, Ok)?;
    logging::start(format);
    let files = files::replica(&args.config)?;
    let observer: Box<dyn Observer + Send> = match &files.config.executed_stream {
        Some(path) => Box::new(Stream::new(path.clone())?),
        None => Box::new(NoObserver),
    };
    trireme_pipeline::run_replica(files.cluster, files.config, files.keys, observer).context("the replica ended")
}

/// Writes down what is executed.
struct Stream {
    path: PathBuf,
    writer: StreamWriter,
    unseen: Unseen,
}

impl Stream {
    fn new(path: PathBuf) -> Result<Stream> {
        let writer = StreamWriter::resume(&path, u64::MAX)?;
        let unseen = Unseen::of(&path)?;
        Ok(Stream { path, writer, unseen })
    }
}

impl Observer for Stream {
    fn executed(&mut self, items: &[ExecutedItem]) {
        for item in items {
            let record = Record {
                client: item.client.0,
                number: item.number,
                slot: item.slot,
                result: item.result.unwrap_or_default().0,
                duplicate: item.duplicate,
            };
            // Whoever compares the streams would take a missing record for a lost operation.
            self.writer.push(record).expect("the executed stream can be written");
        }
    }

    fn replayed_from(&mut self, slot: u64) {
        self.checkpoint(slot);
        self.writer = StreamWriter::resume(&self.path, slot).expect("the executed stream can be gone on with");
        self.unseen.cut(slot).expect("what is unseen can be written");
    }

    fn installed(&mut self, slot: u64) {
        self.checkpoint(slot);
        let last = self.writer.last();
        self.unseen.add(last, slot).expect("what is unseen can be written");
    }

    fn checkpoint(&mut self, _: u64) {
        self.writer.flush().expect("the executed stream can be written");
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Err(error) = self.writer.flush() {
            eprintln!("{error:#}");
        }
    }
}
