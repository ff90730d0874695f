//! `trireme report`: runs as one HTML page.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use trireme_report::{Run, page};

use crate::say::say;

/// Arguments of `trireme report`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Files of `trireme local --json` or `trireme load --json`, or HdrHistogram interval logs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Where to write the page
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    html: PathBuf,
}

/// Runs `trireme report`.
pub(crate) fn run(args: &ReportArgs) -> Result<()> {
    let mut runs = Vec::new();
    for path in &args.runs {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        runs.push(Run::read(&name(path), &bytes)?);
    }
    let html = page(&runs);
    std::fs::write(&args.html, &html).with_context(|| format!("cannot write {}", args.html.display()))?;
    say!("{} ({} KB)", args.html.display(), html.len().div_ceil(1_000));
    Ok(())
}

/// What the page calls a file: its name without the ending.
fn name(path: &Path) -> String {
    path.file_stem().map_or_else(
        || path.display().to_string(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}
