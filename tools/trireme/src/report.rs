//! `trireme report`: runs as one HTML page.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use trireme_report::comparison::{self, Comparison, comparison_page};
use trireme_report::{Run, page};

use crate::say::say;

/// Arguments of `trireme report`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Files of `trireme local --json` or `trireme load --json`, or HdrHistogram interval logs; or one of `trireme compare`
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Where to write the page
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    html: PathBuf,
}

/// Runs `trireme report`.
pub(crate) fn run(args: &ReportArgs) -> Result<()> {
    if let [path] = &args.runs[..]
        && let Some(comparison) = comparison(path)?
    {
        return write(&args.html, &comparison_page(&comparison));
    }
    let mut runs = Vec::new();
    for path in &args.runs {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        runs.push(Run::read(&name(path), &bytes)?);
    }
    write(&args.html, &page(&runs))
}

fn write(path: &Path, html: &str) -> Result<()> {
    std::fs::write(path, html).with_context(|| format!("cannot write {}", path.display()))?;
    say!("{} ({} KB)", path.display(), html.len().div_ceil(1_000));
    Ok(())
}

/// The comparison in a file of `trireme compare`; none if it is another file.
fn comparison(path: &Path) -> Result<Option<Comparison>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let value: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    let Some(value) = value.filter(|value| value["schema"] == comparison::SCHEMA) else {
        return Ok(None);
    };
    let read = serde_json::from_value(value);
    Ok(Some(read.with_context(|| format!("{} is incomplete", path.display()))?))
}

/// What the page calls a file: its name without the ending.
fn name(path: &Path) -> String {
    path.file_stem().map_or_else(
        || path.display().to_string(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}
