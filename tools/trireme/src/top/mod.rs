//! `trireme top`: the cluster in a terminal, once a second.

mod data;
mod view;

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::probe::Probe;
use crate::{files, names};
use data::Data;

/// Another screen, without a cursor and without wrapping; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Arguments of `trireme top`.
#[derive(Debug, clap::Args)]
pub(crate) struct TopArgs {
    /// The client's settings (client.toml)
    #[arg(long, value_name = "FILE", default_value = "cluster/client/client.toml")]
    config: PathBuf,
    /// How often to ask
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = names::duration)]
    every: Duration,
    /// How long to wait for each replica
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = names::duration)]
    timeout: Duration,
    /// Print so many screens one after the other and end, for a file or a pipe
    #[arg(long, value_name = "COUNT")]
    screens: Option<u32>,
}

/// Runs `trireme top` until Ctrl-C.
pub(crate) fn run(args: &TopArgs) -> Result<()> {
    let files = files::client(&args.config)?;
    let live = args.screens.is_none();
    ensure!(
        !live || std::io::stdout().is_terminal(),
        "the standard output is no terminal: say how many --screens to print"
    );
    if live {
        put(ENTER)?;
    }
    let outcome = crate::block_on(async {
        let mut probe = Probe::new(&files.cluster, &files.keys, args.timeout);
        let mut data = Data::new(files.cluster.clone());
        let mut left = args.screens;
        loop {
            data.take(probe.ask_all().await);
            let lines = view::screen(&data, live);
            put(&if live { placed(&lines) } else { lines.join("\n") + "\n" })?;
            left = left.map(|left| left.saturating_sub(1));
            if left == Some(0) {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(args.every) => {}
                ended = tokio::signal::ctrl_c() => return ended.context("cannot wait for Ctrl-C"),
            }
        }
    });
    if live {
        put(LEAVE)?;
    }
    outcome
}

/// Lines over what stood on the screen.
fn placed(lines: &[String]) -> String {
    let mut text = String::new();
    for (row, line) in (1..).zip(lines) {
        let row: u32 = row;
        write!(text, "\x1b[{row};1H{line}\x1b[K").expect("writing to a String does not fail");
    }
    text + "\x1b[J"
}

fn put(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to the standard output")
}
