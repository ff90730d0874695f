//! One seed, with a line for each event.

use std::io::{BufWriter, Write as _};

use anyhow::Result;
use trireme_sim::{Report, replay};

use super::SimulateArgs;
use crate::say::say;

/// Whether the seed breaks nothing.
pub(super) fn run(args: &SimulateArgs, seed: u64) -> Result<bool> {
    let options = args.options(seed);
    let broken = trace(move |line| replay(seed, &options, line));
    Ok(broken.is_none())
}

/// Where the lines of a trace go.
type Line<'a> = &'a mut dyn FnMut(&str);

/// Prints a run's lines and its end. Returns the first invariant that broke.
pub(super) fn trace(run: impl FnOnce(Line<'_>) -> Report + Send + 'static) -> Option<String> {
    // On a guarded thread of its own: a panic leaves the lines before it.
    let report = trireme_sim::guarded(move || {
        let mut out = BufWriter::new(std::io::stdout());
        let mut broken = None;
        run(&mut |line| {
            // A closed pipe (`| head`) ends the trace, not the verdict. Line by line: what a panic would leave in the
            // buffer is what matters most.
            if broken.is_none() {
                broken = writeln!(out, "{line}").and_then(|()| out.flush()).err();
            }
        })
    });
    match report {
        Ok(report) => {
            say!("{report}");
            report.violations.first().map(|violation| violation.invariant.into())
        }
        Err(words) => {
            say!("panic: {words}");
            Some("panic".into())
        }
    }
}
