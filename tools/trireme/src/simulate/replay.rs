//! One seed, with a line for each event.

use std::io::{BufWriter, Write as _};

use anyhow::Result;
use trireme_sim::replay;

use super::SimulateArgs;
use crate::say::say;

/// Whether the seed breaks nothing.
pub(super) fn run(args: &SimulateArgs, seed: u64) -> Result<bool> {
    let options = args.options(seed);
    // On a guarded thread of its own: a panic leaves the lines before it.
    let report = trireme_sim::guarded(move || {
        let mut out = BufWriter::new(std::io::stdout());
        let mut broken = None;
        replay(seed, &options, |line| {
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
            Ok(report.violations.is_empty())
        }
        Err(words) => {
            say!("seed {seed} panics: {words}");
            Ok(false)
        }
    }
}
