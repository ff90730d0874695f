//! Signs of life on a terminal while something takes time; nothing in a file or a pipe.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often it moves.
const TICK: Duration = Duration::from_millis(120);

/// Something of which nobody knows how long it takes, with the time that it took so far. Gone when dropped.
pub(crate) struct Waiting(ProgressBar);

impl Waiting {
    /// Begins to show it, on the standard error.
    pub(crate) fn on(message: String) -> Waiting {
        if !std::io::stderr().is_terminal() {
            return Waiting(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(style("{spinner} {msg}, {elapsed}", ProgressStyle::default_spinner()));
        bar.set_message(message);
        bar.enable_steady_tick(TICK);
        Waiting(bar)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Something of which the end is known, or of which only words are; with words beside it.
pub(crate) fn bar(all: Option<u64>) -> ProgressBar {
    if !std::io::stdout().is_terminal() || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, form) = match all {
        Some(all) => (ProgressBar::new(all), "{bar:30} {pos}/{len}, {eta} left  {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
    };
    bar.set_style(style(form, ProgressStyle::default_bar()));
    bar.enable_steady_tick(TICK);
    bar
}

fn style(form: &str, otherwise: ProgressStyle) -> ProgressStyle {
    ProgressStyle::with_template(form).unwrap_or(otherwise)
}
