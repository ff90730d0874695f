//! The terminal while `top` runs: another screen without a cursor, keys one by one, and everything as before at the end.

use std::io::{Read as _, Stdout};

use anyhow::{Context as _, Result};
use ratatui_core::terminal::Terminal;
use termion::event::{Event, Key, parse_event};
use termion::raw::{IntoRawMode as _, RawTerminal};
use termion::screen::{AlternateScreen, IntoAlternateScreen as _};
use tokio::sync::mpsc;

use super::ansi::Ansi;

/// Keys that nobody has taken yet; more are dropped.
const KEYS: usize = 64;

/// The screen. When it is dropped the terminal is what it was.
pub(super) type Screen = Terminal<Ansi<AlternateScreen<RawTerminal<Stdout>>>>;

/// Takes the terminal.
pub(super) fn take() -> Result<Screen> {
    let failed = "cannot use the terminal";
    let raw = std::io::stdout().into_raw_mode().context(failed)?;
    let mut screen = Terminal::new(Ansi::new(raw.into_alternate_screen().context(failed)?)).context(failed)?;
    screen.hide_cursor().context(failed)?;
    Ok(screen)
}

/// Keys as they are pressed, until the standard input ends. The thread that reads them ends with the process.
pub(super) fn keys() -> Result<mpsc::Receiver<Key>> {
    let (sender, receiver) = mpsc::channel(KEYS);
    let read = move || {
        let mut bytes = std::io::stdin().lock().bytes();
        while let Some(Ok(first)) = bytes.next() {
            if let Ok(Event::Key(key)) = parse_event(first, &mut bytes)
                && matches!(sender.try_send(key), Err(mpsc::error::TrySendError::Closed(_)))
            {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("keys".to_owned());
    thread.spawn(read).context("cannot start a thread")?;
    Ok(receiver)
}
