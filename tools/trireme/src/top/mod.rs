//! `trireme top`: the cluster in a terminal, once a second.

mod ansi;
mod budgets;
mod data;
mod network;
mod replicas;
mod terminal;
mod view;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use termion::event::Key;
use tokio::sync::mpsc;

use crate::probe::Probe;
use crate::say::say;
use crate::{files, names};
use data::Data;
use terminal::Screen;
use view::Panel;

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
    /// Columns of a printed screen
    #[arg(long, value_name = "COUNT", default_value_t = 132, requires = "screens")]
    width: u16,
}

/// Runs `trireme top` until `q` or Ctrl-C.
pub(crate) fn run(args: &TopArgs) -> Result<()> {
    let files = files::client(&args.config)?;
    let probe = Probe::new(&files.cluster, &files.keys, args.timeout);
    let data = Data::new(files.cluster.clone());
    let Some(count) = args.screens else {
        ensure!(
            std::io::stdout().is_terminal() && std::io::stdin().is_terminal(),
            "no terminal: say how many --screens to print"
        );
        let keys = terminal::keys()?;
        let screen = terminal::take()?;
        return crate::block_on(live(screen, keys, probe, data, args.every));
    };
    crate::block_on(print(probe, data, args, count))
}

/// Screens one after the other, as text.
async fn print(mut probe: Probe, mut data: Data, args: &TopArgs, count: u32) -> Result<()> {
    for number in 0..count {
        if number > 0 {
            tokio::time::sleep(args.every).await;
        }
        data.take(probe.ask_all().await);
        say!("{}", view::text(&data, args.width));
    }
    Ok(())
}

/// What happened.
enum Event {
    Key(Option<Key>),
    Tick,
    Resized,
    Ended,
}

async fn live(
    mut screen: Screen,
    mut keys: mpsc::Receiver<Key>,
    mut probe: Probe,
    mut data: Data,
    every: Duration,
) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut resized = signal(SignalKind::window_change()).context("cannot follow the terminal's size")?;
    let mut ended = signal(SignalKind::terminate()).context("cannot wait for a signal")?;
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut panel = Panel::default();
    let mut frozen = false;
    loop {
        let event = tokio::select! {
            key = keys.recv() => Event::Key(key),
            _ = tick.tick() => Event::Tick,
            _ = resized.recv() => Event::Resized,
            _ = ended.recv() => Event::Ended,
        };
        match event {
            Event::Ended | Event::Key(None | Some(Key::Char('q') | Key::Esc | Key::Ctrl('c'))) => return Ok(()),
            Event::Key(Some(Key::Char(' '))) => frozen = !frozen,
            Event::Key(Some(key)) => panel = panel.after(key),
            Event::Tick if frozen => continue,
            Event::Tick => data.take(probe.ask_all().await),
            Event::Resized => {}
        }
        let draw = |frame: &mut ratatui_core::terminal::Frame<'_>| {
            view::draw(&data, panel, frozen, frame.area(), frame.buffer_mut())
        };
        screen.draw(draw).context("cannot draw on the terminal")?;
    }
}
