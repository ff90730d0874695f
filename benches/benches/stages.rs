//! `cargo bench -p trireme-benches [-- FILTER] [--json FILE] [--time SECONDS] [--dir DIRECTORY]`: every stage alone.
//! `benches/README.md` says what each figure means.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use trireme_benches::meter::Meter;
use trireme_benches::stages;

/// Measures the stages of the engine, each alone.
#[derive(Parser)]
struct Options {
    /// Only rows that hold this: `verify`, `log: append`, ...
    #[arg(default_value = "")]
    filter: String,
    /// Seconds for each row.
    #[arg(long, default_value_t = 0.5)]
    time: f64,
    /// A directory on the disk that the log is measured on.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where to write the rows.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Cargo says so; it changes nothing.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    // The build directory lies on a disk more often than the temporary one.
    let built = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(PathBuf::from));
    let parent = options.dir.clone().or(built).unwrap_or_else(std::env::temp_dir);
    let dir = parent.join(format!("trireme-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut meter = Meter::new(Duration::from_secs_f64(options.time), &options.filter);
    let measured = stages::all(&mut meter, &dir);
    std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    measured?;
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(meter.rows())?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
